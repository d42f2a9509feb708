"""Threads of the package take none of the application's signals, and block no fault."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

_MASKS = """
import os, signal, sys, time
from pathlib import Path
never = {signal.SIGKILL, signal.SIGSTOP, signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE,
         signal.SIGILL, signal.SIGTRAP, signal.SIGSYS}
def wrong():
    # A thread that is just being made has everything blocked, for a moment.
    found = look()
    if found: time.sleep(0.1)
    return sorted(found & look())
def look():
    found = set()
    for task in Path("/proc/self/task").iterdir():
        if task.name == str(os.getpid()): continue
        try: lines = (task / "status").read_text().splitlines()
        except OSError: continue
        fields = dict(line.split(":\\t", 1) for line in lines if ":\\t" in line)
        mask = int(fields["SigBlk"], 16)
        for number in signal.valid_signals():
            blocked = bool(mask >> (number - 1) & 1)
            if blocked != (number not in never): found.add((task.name, fields["Name"], number))
    return found
class Own:
    def insert(self, rows):
        # In the thread that calls adapters.
        bad = wrong()
        if bad: print("wrong", bad[:5], flush=True)
"""

_LOGGERS = {
    "an adapter of one's own": """
from namel3ss.safety import AdapterRegistry, SafetyEventLogger
registry = AdapterRegistry()
registry.register("safety_events", Own())
logger = SafetyEventLogger(adapter_registry=registry)
""",
    "a file and a database": """
from namel3ss.safety import SafetyEventLogger
logger = SafetyEventLogger.from_url(f"file://{home}/d.jsonl", f"sqlite:////{home}/d.db")
""",
    "Parquet in a folder": """
from namel3ss.safety import SafetyEventLogger
logger = SafetyEventLogger.from_url(f"file://{home}/d.parquet/")
""",
    "a server that is not there": """
from namel3ss.safety import SafetyEventLogger
logger = SafetyEventLogger.from_url("postgresql://u@localhost:9/db?connect_timeout=1",
                                    "s3://none/events")
""",
}


def _run(code: str, tmp_path: Path, timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
    env = {
        "PATH": "/usr/bin:/bin",
        "NAMEL3SS_SAFETY_HOME": str(tmp_path / "state"),
        "AWS_ENDPOINT_URL": "http://localhost:9",
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_REGION": "us-east-1",
    }
    command = [sys.executable, "-c", f"home = {str(tmp_path)!r}\n{code}"]
    return subprocess.run(
        command, env=env, capture_output=True, text=True, timeout=timeout, check=False
    )


@pytest.mark.parametrize("kind", list(_LOGGERS))
def test_every_thread_blocks_what_is_asynchronous(kind: str, tmp_path: Path) -> None:
    """A Celery pool stopped for ever: one of our threads took the SIGTERM that it had masked."""
    code = f"""{_MASKS}{_LOGGERS[kind]}
logger.start()
for i in range(200): logger.log({{"action": "block", "reason": str(i)}})
logger.flush_sync(timeout=1)
bad, until = wrong(), time.monotonic() + 1
while not bad and time.monotonic() < until: bad = wrong()
print("threads", len(os.listdir("/proc/self/task")) > 1, bad[:5], flush=True)
os._exit(0)
"""
    ran = _run(code, tmp_path)
    assert ran.stdout.splitlines() == ["threads True []"], ran.stdout + ran.stderr


def test_an_application_that_waits_for_a_signal_gets_it(tmp_path: Path) -> None:
    """It masks SIGTERM and waits by sigwait; a thread that masks nothing was killed with it."""
    code = f"""{_MASKS}
signal.pthread_sigmask(signal.SIG_BLOCK, {{signal.SIGTERM}})
before = signal.pthread_sigmask(signal.SIG_BLOCK, set())
{_LOGGERS["an adapter of one's own"]}
logger.start()
signal.pthread_sigmask(signal.SIG_UNBLOCK, set())
for i in range(20):
    logger.log({{"action": "block"}})
    os.kill(os.getpid(), signal.SIGTERM)
    assert signal.sigwait({{signal.SIGTERM}}) == signal.SIGTERM
assert signal.pthread_sigmask(signal.SIG_BLOCK, set()) == before
logger.stop_sync(timeout=10)
print("alive", flush=True)
"""
    ran = _run(code, tmp_path)
    assert (ran.returncode, ran.stdout) == (0, "alive\n"), ran.stdout + ran.stderr


def test_a_ring_that_is_cut_does_not_end_the_process(tmp_path: Path) -> None:
    """The app got SIGBUS inside ``log()``; faulthandler, enabled before, still gets the others."""
    code = """
import faulthandler, glob, os, sys
faulthandler.enable()
from namel3ss.safety import SafetyEventLogger
logger = SafetyEventLogger.from_url(f"file://{home}/d.jsonl")
logger.start()
logger.log({"action": "block", "reason": "first"})
logger.flush_sync()
[ring] = glob.glob(f"{home}/state/journal/*/*/ring.n3j")
os.truncate(ring, 0)
for i in range(5000): logger.log({"action": "block", "reason": str(i)})
logger.stop_sync(timeout=20)
stats = logger.get_stats()
rows = len({line for line in open(f"{home}/d.jsonl")})
print("alive", stats["pending"], rows >= 5001, flush=True)
import ctypes, mmap
file = open(f"{home}/other", "w+b"); file.truncate(4096)
mapped = mmap.mmap(file.fileno(), 4096); file.truncate(0)
mapped[0]
"""
    ran = _run(code, tmp_path)
    assert ran.stdout == "alive 0 True\n", ran.stdout + ran.stderr
    assert ran.returncode == -signal.SIGBUS
    assert "Bus error" in ran.stderr
