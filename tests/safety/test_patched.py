"""Programs whose ``threading`` was patched: adapters of one's own are called all the same."""

from __future__ import annotations

from pathlib import Path

import children
import pytest

PATCHES = {
    "gevent": "from gevent import monkey; monkey.patch_all()",
    "eventlet": "import eventlet; eventlet.monkey_patch()",
}


@pytest.mark.parametrize("patch", PATCHES)
@pytest.mark.parametrize("adapter", ["Adapter", "SlowAdapter"])
def test_own_adapters_are_called(patch: str, adapter: str, tmp_path: Path) -> None:
    """The thread that calls adapters waits in ``os.read``.

    As a greenlet it stopped the program in the constructor, for ever.
    """

    def case(python: str, home: Path) -> None:
        # Patched before anything else is imported, as both libraries ask for.
        setup = f"logger = made({adapter}())"
        body = "logger.start()\nfor n in range(30): logger.log(event(n))\nlogger.stop_sync(30)"
        home.mkdir(parents=True)
        (home / "sitecustomize.py").write_text(f"if True:\n    {PATCHES[patch]}\n")
        ended = children.run(python, home, body, setup, {"PYTHONPATH": str(home)}).check()
        children.assert_once(ended, children.numbers(30))

    children.each(tmp_path, 1, case)
