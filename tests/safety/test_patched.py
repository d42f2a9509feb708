"""Hosts that patch ``threading`` or fork by themselves: own adapters are called all the same."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.request
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


APP = """
import os
from namel3ss.safety import AdapterRegistry, SafetyEvent, SafetyEventLogger

class Adapter:
    def insert(self, rows):
        path = os.path.join(os.environ["OUT"], str(os.getpid()))
        with open(path, "a") as file:
            file.writelines(row["event_id"] + "\\n" for row in rows)

registry = AdapterRegistry()
registry.register("safety_events", Adapter())
logger = SafetyEventLogger(adapter_registry=registry, buffer_size=1, flush_interval_seconds=0.05)
# In the master, which forks its workers afterwards.
logger.log(SafetyEvent(event_id="master", action="allow"))
logger.flush_sync(20)

def application(environ, start_response):
    name = environ["QUERY_STRING"]
    logger.log(SafetyEvent(event_id=name, action="block"))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]
"""
REQUESTS = 20


def test_workers_that_uwsgi_forked_deliver_to_own_adapters(tmp_path: Path) -> None:
    """uWSGI calls none of Python's hooks for forks: its workers never called an adapter."""
    out = tmp_path / "out"
    out.mkdir()
    (tmp_path / "app.py").write_text(APP)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # Not its script, which names the interpreter that it was installed for.
    uwsgi = "import sys, pyuwsgi; sys.argv[0] = 'uwsgi'; pyuwsgi.run()"
    command = [sys.executable, "-c", uwsgi, "--master", "--processes", "2"]
    command += ["--enable-threads", "--die-on-term"]
    command += ["--need-app", "--http-socket", f"127.0.0.1:{port}", "--wsgi-file", "app.py"]
    environment = {
        "PATH": "/usr/bin:/bin",
        "OUT": str(out),
        "NAMEL3SS_SAFETY_HOME": str(tmp_path / "home"),
        "VIRTUAL_ENV": sys.prefix,
    }
    command += ["--virtualenv", sys.prefix]
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=log, stdout=log)
    try:
        for number in range(REQUESTS):
            until = time.monotonic() + 60
            while True:
                try:
                    url = f"http://127.0.0.1:{port}/?{number}"
                    with urllib.request.urlopen(url, timeout=30) as answer:
                        answer.read()
                    break
                except OSError:
                    assert server.poll() is None, (tmp_path / "log").read_text()
                    assert time.monotonic() < until, (tmp_path / "log").read_text()
                    time.sleep(0.05)
        wanted = {"master", *map(str, range(REQUESTS))}
        until = time.monotonic() + 60
        while delivered(out) != sorted(wanted):
            assert time.monotonic() < until, (delivered(out), (tmp_path / "log").read_text())
            time.sleep(0.05)
    finally:
        server.terminate()
        server.wait(30)
    assert delivered(out) == sorted(wanted)


def delivered(out: Path) -> list[str]:
    """What adapters of all processes were given."""
    return sorted(name for path in out.iterdir() for name in path.read_text().split())
