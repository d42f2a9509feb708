"""Runs snippets of Python as processes of their own, and collects what is left of them.

A case is a setup, which makes an ``adapter`` and a ``logger``, and a body, which uses them. After
the process has ended, ``recover`` runs the setup alone and flushes, as the app's next run would.

``N3_SAFETY_PYTHONS`` names the interpreters (paths, separated by ``os.pathsep``), by default the
one that runs the tests; ``N3_SAFETY_RUNS`` multiplies how often each case runs.
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

PYTHONS = os.environ.get("N3_SAFETY_PYTHONS", sys.executable).split(os.pathsep)
RUNS = int(os.environ.get("N3_SAFETY_RUNS", "1"))

# A child that takes longer hangs; they share two cores with each other.
HANG_SECONDS = 60.0
_AT_ONCE = 4

PRELUDE = '''
import asyncio, atexit, gc, json, os, signal, sys, threading, time
from namel3ss.safety import *

# A shell starts what runs in its background with it ignored, and everything that this starts.
signal.signal(signal.SIGINT, signal.default_int_handler)
HOME = os.environ["NAMEL3SS_SAFETY_HOME"]
RECOVERS = sys.argv[1:] == ["recover"]

def say(word):
    """A line for the parent, in one write."""
    os.write(1, (str(word) + "\\n").encode())

def keep(rows):
    """Stores rows as an adapter does: one line an event, in one write."""
    file = os.open(os.path.join(HOME, "python.txt"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(file, "".join(row["event_id"] + "\\n" for row in rows).encode())
    finally:
        os.close(file)

class Adapter:
    def insert(self, rows):
        keep(rows)

class AsyncAdapter:
    async def insert(self, rows):
        await asyncio.sleep(0.001)
        keep(rows)

class SlowAdapter:
    def insert(self, rows):
        if not RECOVERS:
            time.sleep(0.05)
        keep(rows)

class HangingAdapter:
    def insert(self, rows):
        while not RECOVERS:
            time.sleep(3600)
        keep(rows)

class RaisingAdapter:
    def insert(self, rows):
        if not RECOVERS:
            raise SystemExit(7)
        keep(rows)

def made(adapter=None, **options):
    registry = AdapterRegistry()
    if adapter is not None:
        registry.register("safety_events", adapter)
    else:
        registry = None
    options.setdefault("buffer_size", 10)
    options.setdefault("flush_interval_seconds", 0.05)
    options.setdefault("retry_delay_seconds", 0.01)
    options.setdefault("fallback_path", os.path.join(HOME, "fallback"))
    return SafetyEventLogger(adapter_registry=registry, **options)

def event(name, **fields):
    return SafetyEvent(event_id=str(name), policy_name="life", action="block", **fields)
'''

_RECOVERY = """
if RECOVERS:
    logger.flush_sync(30)
    say(json.dumps(logger.get_stats()))
    logger.stop_sync(5)
    os._exit(0)
"""


@dataclasses.dataclass
class Ended:
    """A process that has ended."""

    python: str
    home: Path
    code: int
    out: str
    err: str
    seconds: float

    @property
    def said(self) -> list[str]:
        """The lines it printed."""
        return self.out.split()

    def check(self, code: int = 0) -> Ended:
        """Fail unless it ended as expected and no one had to complain."""
        shown = f"{self.python}: exit code {self.code} after {self.seconds:.1f} s\n{self.err}"
        assert self.code == code, shown
        for word in ("Fatal Python error", "panicked", "FATAL:", "cannot catch foreign"):
            assert word not in self.err, shown
        return self

    def ids(self) -> collections.Counter[str]:
        """Every event that is in some dataset or in a fallback file, and how often."""
        found: collections.Counter[str] = collections.Counter()
        python = self.home / "python.txt"
        if python.exists():
            found.update(python.read_text().split())
        lines = self.home / "rows.jsonl"
        if lines.exists():
            found.update(json.loads(line)["event_id"] for line in lines.open())
        database = self.home / "safety_events.db"
        if database.exists():
            with sqlite3.connect(database) as connection:
                rows = connection.execute("SELECT event_id FROM safety_events").fetchall()
            connection.close()
            found.update(row[0] for row in rows)
        for path in self.home.glob("fallback/safety_events_*.json"):
            found.update(row["event_id"] for row in json.loads(path.read_text()))
        return found


class Child:
    """A process that runs."""

    def __init__(
        self, python: str, home: Path, environ: dict[str, str], argument: str = ""
    ) -> None:
        """Start it."""
        self.python = python
        self.home = home
        environment = {
            key: value for key, value in os.environ.items() if not key.startswith("NAMEL3SS_")
        }
        environment.update(NAMEL3SS_SAFETY_HOME=str(home), PYTHONDONTWRITEBYTECODE="1", **environ)
        self._began = time.monotonic()
        self.process = subprocess.Popen(
            [python, "-X", "faulthandler", str(home / "case.py"), *argument.split()],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=home,
            # Only this process gets what is sent to it, and all that it forks can be ended with it.
            start_new_session=True,
        )

    def until(self, word: str) -> None:
        """Wait until it has said a word."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.strip() == word:
                return
        message = f"{self.python} ended before it said {word}: {self.end().err}"
        raise AssertionError(message)

    def end(self, signum: int | None = None, seconds_max: float | None = None) -> Ended:
        """Send a signal, if any, and wait for its end."""
        if signum is not None:
            self.process.send_signal(signum)
        # Looked up now: a test with longer cases sets it.
        seconds_max = HANG_SECONDS if seconds_max is None else seconds_max
        try:
            out, err = self.process.communicate(timeout=seconds_max)
        except subprocess.TimeoutExpired:
            # Where it hangs, on stderr.
            self.process.send_signal(signal.SIGABRT)
            time.sleep(0.3)
            os.killpg(self.process.pid, signal.SIGKILL)
            out, err = self.process.communicate()
            err = f"it hung for {seconds_max} s\n{err}"
        seconds = time.monotonic() - self._began
        return Ended(self.python, self.home, self.process.returncode, out, err, seconds)


def start(
    python: str, home: Path, body: str, setup: str = "", environ: dict[str, str] | None = None
) -> Child:
    """Start a case."""
    home.mkdir(parents=True, exist_ok=True)
    recovery = _RECOVERY if "logger" in setup else ""
    (home / "case.py").write_text(f"{PRELUDE}\n{setup}\n{recovery}\n{body}\n")
    return Child(python, home, environ or {})


def run(
    python: str,
    home: Path,
    body: str,
    setup: str = "",
    environ: dict[str, str] | None = None,
    seconds_max: float | None = None,
) -> Ended:
    """Run a case to its end."""
    return start(python, home, body, setup, environ).end(seconds_max=seconds_max)


def recover(ended: Ended) -> dict[str, object]:
    """Run the setup of a case alone, and deliver what the case has left; its statistics."""
    child = Child(ended.python, ended.home, {}, "recover")
    recovered = child.end().check()
    stats: dict[str, object] = json.loads(recovered.out)
    return stats


def each(folder: Path, times: int, case: Callable[[str, Path], None]) -> None:
    """Run a case so often (but at least once an interpreter), spread over them, some at once."""
    times = max(times * RUNS, len(PYTHONS))
    runs = list(zip(itertools.cycle(PYTHONS), range(times)))
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for done in [pool.submit(case, python, folder / f"run-{at}") for python, at in runs]:
            done.result()


def numbers(many: int) -> set[str]:
    """What ``event(0)`` to ``event(many - 1)`` are called."""
    return {str(number) for number in range(many)}


def assert_once(ended: Ended, expected: Iterable[str]) -> None:
    """Fail unless every event is in a dataset or a fallback file exactly once."""
    found = ended.ids()
    missing = set(expected) - set(found)
    assert not missing, f"{ended.python}: {len(missing)} lost, {sorted(missing)[:5]}\n{ended.err}"
    twice = [name for name, times in found.items() if times > 1]
    assert not twice, f"{ended.python}: {len(twice)} came twice, {twice[:5]}\n{ended.err}"


def assert_none_lost(ended: Ended, expected: Iterable[str]) -> None:
    """Fail unless every event is in a dataset or a fallback file."""
    missing = set(expected) - set(ended.ids())
    assert not missing, f"{ended.python}: {len(missing)} lost, {sorted(missing)[:5]}\n{ended.err}"


def seconds_between(marks: Sequence[str], first: str, second: str) -> float:
    """From one ``name=seconds`` that was said to another."""
    found = dict(mark.split("=") for mark in marks if "=" in mark)
    return float(found[second]) - float(found[first])
