"""How a process ends: the app's exit code stays its own, it never hangs, and nothing is lost."""

from __future__ import annotations

import itertools
import signal
from pathlib import Path

import children
import pytest

NATIVE = {
    "sqlite": "logger = made()",
    "jsonl": "logger = made(JSONAdapter(HOME + '/rows.jsonl'))",
}
PYTHON = {
    name: f"logger = made({name}())"
    for name in (
        "Adapter",
        "AsyncAdapter",
        "SlowAdapter",
        "HangingAdapter",
        "RaisingAdapter",
    )
}
SETUPS = {**NATIVE, **PYTHON}
ENDINGS = {
    "": 0,
    "sys.exit(3)": 3,
    "raise RuntimeError('the app is done for')": 1,
    "import _thread; _thread.interrupt_main(); time.sleep(1)": -signal.SIGINT,
}
EVENTS = 200


def check(ended: children.Ended, kind: str, code: int, events: int = EVENTS) -> None:
    """The code is the app's, and the next run delivers what this one has left."""
    ended.check(code)
    assert ended.seconds < 30, ended
    children.recover(ended)
    if kind in NATIVE:
        children.assert_once(ended, children.numbers(events))
    else:
        children.assert_none_lost(ended, children.numbers(events))


@pytest.mark.parametrize("kind", SETUPS)
def test_exit_at_any_time(kind: str, tmp_path: Path) -> None:
    """With and without stop(), by return, sys.exit, an exception and Ctrl-C, during a delivery."""
    ways = itertools.cycle(itertools.product(ENDINGS.items(), ("", "logger.stop_sync(0.3)")))

    def case(python: str, home: Path) -> None:
        (ending, code), stop = turns[home.name]
        body = f"""
logger.start()
for i in range({EVENTS}):
    logger.log(event(i))
{stop}
{ending}
"""
        check(children.run(python, home, body, SETUPS[kind]), kind, code)

    turns = {f"run-{at}": next(ways) for at in range(1000)}
    children.each(tmp_path, 12, case)


@pytest.mark.parametrize("kind", ["sqlite", "Adapter", "SlowAdapter"])
@pytest.mark.parametrize(
    ("ending", "code"),
    [
        ("os._exit(4)", 4),
        ("os.abort()", -signal.SIGABRT),
        ("os.kill(os.getpid(), signal.SIGTERM); time.sleep(9)", -signal.SIGTERM),
        ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
    ],
)
def test_ends_without_exit_handlers(kind: str, ending: str, code: int, tmp_path: Path) -> None:
    """No handler runs then; the journal has everything."""

    def case(python: str, home: Path) -> None:
        body = f"logger.start()\nfor i in range({EVENTS}): logger.log(event(i))\n{ending}"
        ended = children.run(python, home, body, SETUPS[kind])
        assert ended.code == code, ended.err
        children.recover(ended)
        if kind in NATIVE:
            children.assert_once(ended, children.numbers(EVENTS))
        else:
            children.assert_none_lost(ended, children.numbers(EVENTS))

    children.each(tmp_path, 4, case)


@pytest.mark.parametrize("kind", NATIVE)
def test_kill_after_the_last_log(kind: str, tmp_path: Path) -> None:
    """Default settings, 100,000 events: the next process delivers each exactly once."""
    setups = {
        "sqlite": "logger = SafetyEventLogger()",
        "jsonl": "r = AdapterRegistry(); r.register('safety_events', JSONAdapter(HOME + "
        "'/rows.jsonl')); logger = SafetyEventLogger(adapter_registry=r)",
    }

    def case(python: str, home: Path) -> None:
        body = """
logger.start()
for i in range(100_000):
    logger.log(event(i))
os.kill(os.getpid(), signal.SIGKILL)
"""
        ended = children.run(python, home, body, setups[kind])
        assert ended.code == -signal.SIGKILL, ended.err
        children.recover(ended)
        children.assert_once(ended, children.numbers(100_000))

    children.each(tmp_path, 1, case)


# What a thread of the app's logs while the interpreter goes away below it.
LOGGED = {
    "events": "event(i, metadata={'n': i})",
    "mappings": "{'event_id': str(i)}",
    "objects": "Given(i)",
    "words": "event(i, metadata={'n': Slow()})",
}


@pytest.mark.parametrize("logged", LOGGED)
@pytest.mark.parametrize("kind", ["sqlite", "Adapter"])
def test_daemon_threads_that_log_at_exit(kind: str, logged: str, tmp_path: Path) -> None:
    """A thread that is met by the end inside ``log()`` aborted the process: once in native code, it
    must not go back to an interpreter that is gone."""

    def case(python: str, home: Path) -> None:
        body = f"""
class Slow:
    def __str__(self):
        return "-".join(str(i) for i in range(200))
class Given:
    def __init__(self, i):
        self.i = i
    def to_dict(self):
        return {{"event_id": str(self.i), "reason": "-".join(str(i) for i in range(200))}}
begun = threading.Event()
highest = [0]
def work(first):
    for i in range(first, 10**9, 4):
        logger.log({LOGGED[logged]})
        begun.set()
logger.start()
for first in range(4):
    threading.Thread(target=work, args=(first,), daemon=True).start()
begun.wait()
time.sleep(0.1)
sys.exit(3)
"""
        children.run(python, home, body, SETUPS[kind]).check(3)

    children.each(tmp_path, 8, case)


def test_a_daemon_thread_that_waits_at_exit(tmp_path: Path) -> None:
    """The strategy block waits in Python, called from native code: the same end, the same abort."""

    def case(python: str, home: Path) -> None:
        body = """
def work():
    for i in range(10**9):
        logger.log(event(i, reason="x" * 1000))
logger.start()
for _ in range(3):
    threading.Thread(target=work, daemon=True).start()
until = time.monotonic() + 10
while logger._handle.core.is_full() is False and time.monotonic() < until:
    time.sleep(0.01)
time.sleep(0.1)
sys.exit(3)
"""
        setup = "logger = made(HangingAdapter(), overflow_strategy='block', "
        setup += "backlog_limit_bytes=1 << 20)"
        children.run(python, home, body, setup).check(3)

    children.each(tmp_path, 8, case)


AT_THE_END = {
    "atexit before": "atexit.register(last); logger = fresh(); logger.start()",
    "atexit after": "logger = fresh(); logger.start(); atexit.register(last)",
    "__del__": "logger = fresh(); logger.start(); _kept = Kept()",
    "new logger": "atexit.register(renew)",
}


@pytest.mark.parametrize("way", AT_THE_END)
@pytest.mark.parametrize("kind", ["sqlite", "Adapter", "AsyncAdapter"])
def test_logs_and_stops_while_the_interpreter_ends(kind: str, way: str, tmp_path: Path) -> None:
    """Python 3.12 starts no thread then; logging, flushing and stopping go on all the same."""

    def case(python: str, home: Path) -> None:
        setup = SETUPS[kind].replace("logger = ", "def fresh(): return ")
        setup += "\nif RECOVERS: logger = fresh()"
        body = f"""
def last():
    for i in range(50, 100):
        logger.log(event(i))
    logger.stop_sync()
    say("pending=" + str(logger.get_stats()["pending"]))
def renew():
    global logger
    logger = fresh()
    logger.start()
    for i in range(50):
        logger.log(event(i))
    last()
class Kept:
    def __del__(self, last=last):
        last()
{AT_THE_END[way]}
if {way != "new logger"}:
    for i in range(50):
        logger.log(event(i))
"""
        ended = children.run(python, home, body, setup)
        ended.check(0)
        assert "Traceback" not in ended.err, ended.err
        assert ended.seconds < 20, ended
        assert ended.said == ["pending=0"], ended
        children.recover(ended)
        (children.assert_once if kind in NATIVE else children.assert_none_lost)(
            ended, children.numbers(100)
        )
        assert not list(home.glob("fallback/*.json")), ended.err

    children.each(tmp_path, 4, case)


LAST_WORDS = {
    "log": "logger.log({'event_id': '0', 'action': 'block'})",
    "event": "SafetyEvent(event_id='0')",
}


@pytest.mark.parametrize("what", LAST_WORDS)
def test_first_call_is_made_by_a_last_finalizer(what: str, tmp_path: Path) -> None:
    """An object in a cycle through its class is finalized when the interpreter is gone already.

    The first call of a process from there aborted it: the binding asserted that Python runs.
    """

    def case(python: str, home: Path) -> None:
        body = f"""
class Session:
    def __del__(self, logger=logger, SafetyEvent=SafetyEvent):
        {LAST_WORDS[what]}
Session.kept = Session()
"""
        ended = children.run(python, home, body, NATIVE["sqlite"])
        ended.check(0)
        children.recover(ended)
        assert set(ended.ids()) <= {"0"}

    children.each(tmp_path, 1, case)


def test_what_only_memory_has_is_said_with_its_number_at_exit(tmp_path: Path) -> None:
    """No place could be written: the events were gone with the process, and nobody was told."""
    body = """
import logging
logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
with open("a file", "w"):
    pass
logger = made(RaisingAdapter(), journal="memory", fallback_path=os.path.join(HOME, "a file", "fb"))
for n in range(7):
    logger.log(event(n))
"""
    for python in children.PYTHONS:
        ended = children.run(python, tmp_path / "home", body).check()
        critical = [line for line in ended.err.splitlines() if line.startswith("CRITICAL")]
        assert any("7 events are in memory only" in line for line in critical), ended.err
        assert "in the journal" not in ended.err
