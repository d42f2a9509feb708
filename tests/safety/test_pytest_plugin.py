"""The pytest plugin keeps a test run out of the developer's real dataset."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TEST = """
import os
from namel3ss.safety import SafetyEvent, get_global_logger

def test_of_an_app():
    logger = get_global_logger()
    logger.log(SafetyEvent(policy_name="pii", action="block"))
    logger.flush_sync(10)
    assert logger.get_stats()["total_flushed"] == 1
    has_url = "NAMEL3SS_SAFETY_URL" in os.environ
    print(f"home={os.environ['NAMEL3SS_SAFETY_HOME']} url={has_url}")
"""


@pytest.mark.parametrize("isolate", [True, False])
def test_a_run_has_a_home_of_its_own(isolate: bool, tmp_path: Path) -> None:  # noqa: FBT001
    """A first run of an app's tests had put its events beside those of production."""
    real = tmp_path / "real"
    run = tmp_path / "run"
    run.mkdir()
    (run / "test_app.py").write_text(TEST)
    (run / "pytest.ini").write_text(
        "[pytest]\n" + ("" if isolate else "namel3ss_safety_isolate = false\n")
    )
    url = f"sqlite:///{real}/url.db"
    environment = {
        **os.environ,
        "NAMEL3SS_SAFETY_HOME": str(real),
        "NAMEL3SS_SAFETY_URL": url,
        "XDG_STATE_HOME": str(tmp_path / "state"),
    }
    real.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rP", "-q", str(run)],
        cwd=run,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    home = next(line for line in done.stdout.splitlines() if line.startswith("home="))
    if isolate:
        assert str(real) not in home
        assert home.endswith("url=False")
        assert list(real.iterdir()) == []
        # Nothing is left of the run's home.
        assert not Path(home.split()[0].removeprefix("home=")).exists()
    else:
        assert home == f"home={real} url=True"
        assert (real / "url.db").exists()
