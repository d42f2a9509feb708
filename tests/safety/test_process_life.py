"""What a process pays for having loggers: import time, threads, descriptors, memory."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import children
import pytest
from namel3ss.safety import (
    AdapterRegistry,
    CSVAdapter,
    MemoryAdapter,
    SafetyEventDatabaseWriter,
    SafetyEventLogger,
    SafetyEventSink,
    SafetyLogHandler,
)

if TYPE_CHECKING:
    from collections.abc import Callable

# The import may take this long beyond bare Python, on a machine that does nothing else.
IMPORT_SECONDS = 0.015


IMPORT = """
import sys, time
begun = time.process_time()
import namel3ss.safety.logging
print(time.process_time() - begun)
heavy = {"asyncio", "dataclasses", "datetime", "json", "logging", "re", "threading", "typing"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
"""


@pytest.mark.parametrize("python", children.PYTHONS)
def test_import_time(python: str, tmp_path: Path) -> None:
    """The best of some, of the processor's time: what the machine does meanwhile is not ours."""
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(tmp_path)}
    # An installed package is compiled.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    command = [python, "-c", IMPORT]
    took = [float(subprocess.check_output(command, env=environment, text=True)) for _ in range(10)]
    assert min(took) < IMPORT_SECONDS, took


COUNTS = """
def threads():
    return len(os.listdir("/proc/self/task"))
def descriptors():
    return len(os.listdir("/proc/self/fd"))
def settle(count, wanted):
    until = time.monotonic() + 5
    while count() > wanted and time.monotonic() < until:
        time.sleep(0.01)
    return count()
"""

MADE = {
    "sqlite": "made()",
    "jsonl": "made(JSONAdapter(HOME + '/rows.jsonl'))",
    "Adapter": "made(Adapter())",
    "AsyncAdapter": "made(AsyncAdapter())",
    "own registry": "SafetyEventLogger(adapter_registry={'safety_events': Adapter()}, "
    "fallback_path=HOME + '/fallback')",
}


@pytest.mark.parametrize("kind", MADE)
def test_dropped_without_stop(kind: str, tmp_path: Path) -> None:
    """200 loggers, one after the other: neither threads nor descriptors stay, and an idle one's
    end takes no time."""

    def case(python: str, home: Path) -> None:
        body = f"""
{COUNTS}
def one(i):
    logger = {MADE[kind]}
    logger.start()
    logger.log(event(i))
    logger.flush_sync()
    began = time.perf_counter()
    del logger
    return time.perf_counter() - began
one(-1)
gc.collect()
time.sleep(0.2)
before = threads(), descriptors()
took = sorted(one(i) for i in range(200))
assert took[100] < 0.06, took[100]
assert took[-10] < 0.09, took[-10:]
assert settle(threads, before[0]) <= before[0], (before, threads())
assert settle(descriptors, before[1]) <= before[1], (before, descriptors())
"""
        ended = children.run(python, home, body).check()
        children.assert_once(ended, children.numbers(200) | {"-1"})

    children.each(tmp_path, 4, case)


@pytest.mark.parametrize("kind", MADE)
def test_dropped_with_events(kind: str, tmp_path: Path) -> None:
    """What was not delivered is adopted by the next logger of the dataset."""

    def case(python: str, home: Path) -> None:
        setup = f"logger = {MADE[kind]}"
        body = f"""
del logger
for n in range(20):
    logger = {MADE[kind]}
    if n % 2: logger.start()
    for i in range(5): logger.log(event(n * 5 + i))
    began = time.perf_counter()
    del logger
    took = time.perf_counter() - began
    assert took < 0.5, took
"""
        ended = children.run(python, home, body, setup).check()
        children.recover(ended)
        if kind in ("sqlite", "jsonl"):
            children.assert_once(ended, children.numbers(100))
        else:
            children.assert_none_lost(ended, children.numbers(100))

    children.each(tmp_path, 4, case)


def test_dropped_in_the_middle_of_a_delivery(tmp_path: Path) -> None:
    """The end of a logger waits for its adapter, for 100 ms at most; the other threads, event loops
    among them, stood still meanwhile."""

    def case(python: str, home: Path) -> None:
        body = """
sys.setswitchinterval(0.001)
ticks = [0]
def tick():
    while True:
        time.sleep(0.002)
        ticks[0] += 1
threading.Thread(target=tick, daemon=True).start()
class Slower:
    def insert(self, rows):
        entered.set()
        time.sleep(1)
ticked = took = 0
for i in range(5):
    entered = threading.Event()
    logger = made(Slower(), buffer_size=1)
    logger.start()
    logger.log(event(i))
    entered.wait()
    before, began = ticks[0], time.monotonic()
    del logger
    took = max(took, time.monotonic() - began)
    ticked += ticks[0] - before
assert ticked > 20, ticked
assert took < 0.5, took
os._exit(0)
"""
        children.run(python, home, body).check()

    children.each(tmp_path, 4, case)


def test_cycles_are_collected(tmp_path: Path) -> None:
    """An adapter that refers to its logger, a logger that refers to itself, a bound one."""

    def case(python: str, home: Path) -> None:
        body = f"""
import weakref
{COUNTS}
def cycle(i):
    adapter = Adapter()
    registry = AdapterRegistry()
    registry.register("safety_events", adapter)
    registry.own = registry
    logger = SafetyEventLogger(adapter_registry=registry, fallback_path=HOME + "/fallback")
    adapter.logger = logger
    logger.bound = logger.bind(app_name="app")
    logger.itself = logger
    logger.start()
    logger.bound.log(event(i))
    logger.flush_sync()
    return [weakref.ref(item) for item in (adapter, registry, logger, logger._handle)]
cycle(-1); gc.collect(); time.sleep(0.2)
before = threads(), descriptors()
references = [reference for i in range(20) for reference in cycle(i)]
gc.collect()
time.sleep(0.1)
gc.collect()
alive = [reference() for reference in references if reference() is not None]
assert not alive, alive
assert settle(threads, before[0]) <= before[0], (before, threads())
assert settle(descriptors, before[1]) <= before[1], (before, descriptors())
"""
        ended = children.run(python, home, body).check()
        children.assert_once(ended, children.numbers(20) | {"-1"})

    children.each(tmp_path, 4, case)


# ./prove makes 1,000.
LOGGERS = int(os.environ.get("N3_SAFETY_LOGGERS", "120"))
FORGOTTEN = """
import collections, resource
del logger
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
failed, ended = [], threading.Event()
def application():
    while not ended.is_set():
        files = []
        try:
            for _ in range(100):
                files.append(os.open("/dev/null", os.O_RDONLY))
        except OSError as error:
            failed.append(error)
        for file in files:
            os.close(file)
        time.sleep(0.001)
thread = threading.Thread(target=application, daemon=True)
thread.start()
kept = collections.deque()
for n in range({loggers}):
    logger = {made}
    for i in range(10):
        logger.log(event(n * 10 + i))
    kept.append(logger)
    del logger
    if len(kept) >= {alive}:
        kept.popleft()
kept.clear()
ended.set()
thread.join()
assert not failed, (len(failed), failed[0])
"""


@pytest.mark.parametrize("alive", [1, 40])
@pytest.mark.parametrize("kind", ["sqlite", "jsonl", "Adapter"])
def test_forgotten_with_few_descriptors(kind: str, alive: int, tmp_path: Path) -> None:
    """At a limit of 256 descriptors: nothing is lost, and the app can open 100 files throughout."""
    body = FORGOTTEN.format(loggers=LOGGERS, made=MADE[kind], alive=alive)

    def case(python: str, home: Path) -> None:
        setup, most = f"logger = {MADE[kind]}", children.HANG_SECONDS + LOGGERS
        ended = children.run(python, home, body, setup, seconds_max=most).check()
        children.recover(ended)
        children.assert_once(ended, children.numbers(10 * LOGGERS))

    children.each(tmp_path, 1, case)


SUBINTERPRETER = """
import sys
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
program = '''
import sys
sys.path[:] = {path!r}
try:
    import namel3ss.safety
except ImportError as error:
    text = str(error)
    assert "interpreter" in text, text
else:
    raise SystemError("it was imported")
'''.format(path=sys.path)
if {before}:
    import namel3ss.safety
one = interpreters.create()
failed = interpreters.run_string(one, program)
assert failed is None, failed
interpreters.destroy(one)
import namel3ss.safety
namel3ss.safety.SafetyEvent()
"""


@pytest.mark.parametrize("before", [True, False])
def test_subinterpreters_are_refused(before: bool, tmp_path: Path) -> None:  # noqa: FBT001
    """By an ImportError that says so, whether the main one has imported it or not."""

    def case(python: str, home: Path) -> None:
        home.mkdir(parents=True)
        program = SUBINTERPRETER.replace("{before}", str(before))
        (home / "case.py").write_text(program)
        child = children.Child(python, home, {}, "")
        child.end().check()

    children.each(tmp_path, 4, case)


def unpicklable(folder: Path) -> dict[str, object]:
    """One of each kind that holds threads, files or locks of its process."""
    logger = SafetyEventLogger.from_url(f"file://{folder}/rows.jsonl")
    return {
        "SafetyEventLogger": logger,
        "BoundLogger": logger.bind(app_name="a"),
        "SafetyLogHandler": SafetyLogHandler(logger),
        "MemoryAdapter": MemoryAdapter(),
        "CSVAdapter": CSVAdapter(folder / "rows.csv"),
        "AdapterRegistry": AdapterRegistry(),
        "SafetyEventSink": SafetyEventSink(),
        "SafetyEventDatabaseWriter": SafetyEventDatabaseWriter(f"sqlite:///{folder}/rows.db"),
    }


@pytest.mark.parametrize("how", [pickle.dumps, copy.copy])
def test_what_holds_threads_is_not_pickled(how: Callable[[object], object], tmp_path: Path) -> None:
    """``multiprocessing.Pool(initargs=(logger,))`` failed with the name of an inner class."""
    for kind, found in unpicklable(tmp_path).items():
        with pytest.raises(
            TypeError, match=f"cannot pickle or copy a {kind}: .* from the same URL"
        ):
            how(found)


FORGET = {
    "native": "made(JSONAdapter(HOME + '/rows.jsonl'), **OPTIONS)",
    "python": "made(Adapter(), **OPTIONS)",
    "dead": "made(RaisingAdapter(), **OPTIONS, fallback_path=HOME + '/case.py')",
    "filed": "made(RaisingAdapter(), **OPTIONS, retry_delay_seconds=30)",
}


@pytest.mark.parametrize("ends", ["forgotten", "exits"])
@pytest.mark.parametrize("kind", FORGET)
def test_a_journal_in_memory_outlives_no_logger_without_a_word(
    kind: str, ends: str, tmp_path: Path
) -> None:
    """Ten events of a logger that a cell had made were gone when the cell was run again."""

    def case(python: str, home: Path) -> None:
        started = home.name.endswith("1")
        body = f"""
import logging
class Kept(logging.Handler):
    def emit(self, record):
        say(record.levelname + " " + record.getMessage())
logging.getLogger("namel3ss.safety").addHandler(Kept())
OPTIONS = dict(journal="memory", buffer_size=100, flush_interval_seconds=600, autostart={started})
logger = {FORGET[kind]}
for i in range(10):
    logger.log(event(i))
if {ends == "forgotten"}:
    began = time.monotonic()
    del logger
    say(f"took {{time.monotonic() - began < 2}}")
    time.sleep(1.5)
"""
        ended = children.run(python, home, body, "").check()
        said = ended.out.splitlines()
        lost = [line for line in said if line.startswith("CRITICAL 10 events")]
        if kind == "dead":
            assert len(lost) == 1, said
        elif kind == "filed":
            assert (ended.ids().total(), lost) == (10, []), said
        else:
            children.assert_once(ended, children.numbers(10))
            assert not lost, said
        if ends == "forgotten":
            assert "took True" in said

    children.each(tmp_path, 2, case)
