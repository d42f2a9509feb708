"""Ctrl-C while Python waits for a delivery: met at once, and ends the program as it ends any."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import children
import pytest

HANGING = "logger = made(HangingAdapter(), {})"
# No more of it than this fits: then log() waits.
BLOCK = "overflow_strategy='block', backlog_limit_bytes=1 << 20"

WAITS = {
    "flush_sync": "logger.flush_sync()",
    "stop_sync": "logger.stop_sync()",
    "log": "while True: logger.log(event(1, reason='x' * 10_000))",
    "log, not started": "while True: stopped.log(event(1))",
    "sink": "sink.write_events_sync([event(1)])",
    "await flush": "asyncio.run(logger.flush())",
    "await stop": "asyncio.run(logger.stop())",
    "await log": """
async def main():
    while True: await logger.log(event(1, reason="x" * 10_000))
asyncio.run(main())
""",
}


def setup_of(wait: str) -> str:
    """Where it waits for ever."""
    made = HANGING.format(BLOCK if "log" in wait else "")
    return f"""
{made}
stopped = made(HangingAdapter(), overflow_strategy='block', autostart=False)
registry = AdapterRegistry(); registry.register("safety_events", HangingAdapter())
sink = SafetyEventSink(adapter_registry=registry)
"""


@pytest.mark.parametrize("wait", WAITS)
def test_met_at_once(wait: str, tmp_path: Path) -> None:
    """Within 0.2 s, in each of the places that wait, as far as the machine has time for it."""
    took: list[float] = []

    def case(python: str, home: Path) -> None:
        inside = "".join(f"    {line}\n" for line in WAITS[wait].splitlines())
        body = f"""
logger.start()
logger.log(event(0))
def interrupt():
    time.sleep(0.7)
    say("sent=" + str(time.monotonic()))
    os.kill(os.getpid(), signal.SIGINT)
    # A loop that is not met would fill the disk.
    time.sleep(25)
    os._exit(9)
threading.Thread(target=interrupt, daemon=True).start()
try:
{inside}
    say("it did not wait")
except KeyboardInterrupt:
    say("met=" + str(time.monotonic()))
os._exit(0)
"""
        # `setup_of` makes more than one logger, whose recovery is not what is asked here.
        ended = children.run(python, home, setup_of(wait) + body).check()
        took.append(children.seconds_between(ended.said, "sent", "met"))
        assert took[-1] < 20, ended

    for attempt in range(4):
        children.each(tmp_path / str(attempt), 4, case)
        # One of four: where everything is slow no single one says much.
        if min(took) < 0.2:
            return
    pytest.fail(f"met after {took} s")


def test_ends_as_any_program(tmp_path: Path) -> None:
    """With the usual traceback and the usual code, within the two seconds of the exit handler."""

    def case(python: str, home: Path) -> None:
        body = "logger.start(); logger.log(event(0)); say('waits'); logger.flush_sync()"
        child = children.start(python, home, body, HANGING.format(""))
        child.until("waits")
        time.sleep(0.3)
        began = time.monotonic()
        ended = child.end(signal.SIGINT).check(-signal.SIGINT)
        assert time.monotonic() - began < 4
        assert ended.err.rstrip().endswith("KeyboardInterrupt"), ended.err
        assert "flush_sync" in ended.err
        children.recover(ended)
        children.assert_once(ended, {"0"})

    children.each(tmp_path, 4, case)


def test_twice(tmp_path: Path) -> None:
    """Who presses it again while the exit handler waits does not wait."""

    def case(python: str, home: Path) -> None:
        body = "logger.start(); logger.log(event(0)); say('waits'); logger.flush_sync()"
        child = children.start(python, home, body, HANGING.format(""))
        child.until("waits")
        time.sleep(0.3)
        child.process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        began = time.monotonic()
        ended = child.end(signal.SIGINT)
        assert time.monotonic() - began < 1
        assert "Fatal" not in ended.err, ended.err
        children.recover(ended)
        children.assert_once(ended, {"0"})

    children.each(tmp_path, 4, case)


@pytest.mark.parametrize("kind", ["Adapter", "AsyncAdapter", "SlowAdapter"])
def test_waiting_never_holds_the_interpreter(kind: str, tmp_path: Path) -> None:
    """A wait in native code that held the interpreter's lock hung 20 of 20 times: the adapter could
    not run for which it waited."""

    def case(python: str, home: Path) -> None:
        body = """
for _ in range(10):
    logger.start()
    for i in range(20): logger.log(event(i))
    logger.flush_sync()
    for i in range(20): logger.log(event(i))
    logger.stop_sync()
    logger.stop_sync()
assert logger.get_stats()["total_flushed"] == 400, logger.get_stats()
"""
        ended = children.run(python, home, body, f"logger = made({kind}())").check()
        assert ended.ids() == dict.fromkeys(children.numbers(20), 20)

    children.each(tmp_path, 4, case)


RAISED_BY_HANDLERS = {
    "Ctrl-C": ("KeyboardInterrupt", "signal.SIGINT", ""),
    "a time limit": (
        "TimeoutError",
        "signal.SIGALRM",
        "def late(*_): raise TimeoutError('late')\nsignal.signal(signal.SIGALRM, late)",
    ),
    "a method": (
        "TimeoutError",
        "signal.SIGALRM",
        (
            "class Limit:\n    def late(self, *_): raise TimeoutError('late')\n"
            "signal.signal(signal.SIGALRM, Limit().late)"
        ),
    ),
}


@pytest.mark.parametrize("what", RAISED_BY_HANDLERS)
@pytest.mark.parametrize("own", ["__str__", "to_dict"])
def test_what_a_handler_raises_in_an_events_own_code_is_raised(
    what: str, own: str, tmp_path: Path
) -> None:
    """It was swallowed as if the event's own code had raised it: the user had to press it again."""
    error, number, handler = RAISED_BY_HANDLERS[what]
    event = {"__str__": "{'event_id': '0', 'action': 'block', 'reason': Own()}", "to_dict": "Own()"}

    def case(python: str, home: Path) -> None:
        setup = "logger = made(JSONAdapter(HOME + '/rows.jsonl'))"
        body = f"""
{handler}
class Own:
    def {own}(self):
        os.kill(os.getpid(), {number})
        time.sleep(10)
        return {{}}
try:
    logger.log({event[own]})
    say("lost")
except {error}:
    say("raised")
logger.log(event(1))
logger.stop_sync(20)
say(logger.get_stats()["total_logged"])
"""
        ended = children.run(python, home, body, setup).check()
        assert ended.said == ["raised", "2"]
        # One that could not even be read is counted, as any that is no event.
        kept = children.numbers(2) if own == "__str__" else {"1"}
        children.assert_once(ended, kept)

    children.each(tmp_path, 1, case)


def test_what_an_events_own_code_raises_is_its_own_affair(tmp_path: Path) -> None:
    """Also where a handler for signals is set, and whatever it raises."""

    def case(python: str, home: Path) -> None:
        body = """
def late(*_): raise TimeoutError('late')
signal.signal(signal.SIGALRM, late)
class Own:
    def __str__(self): raise self.error
for error in (TimeoutError(), SystemExit(3), GeneratorExit(), ValueError()):
    Own.error = error
    logger.log({"event_id": type(error).__name__, "action": "block", "reason": Own()})
logger.stop_sync(20)
"""
        ended = children.run(python, home, body, "logger = made(JSONAdapter(HOME + '/rows.jsonl'))")
        names = {"TimeoutError", "SystemExit", "GeneratorExit", "ValueError"}
        children.assert_once(ended.check(), names)

    children.each(tmp_path, 1, case)


def test_what_a_handler_raises_is_raised_by_the_call_that_waits_for_room(tmp_path: Path) -> None:
    """At a full buffer the event is read on another way, and the next call raised it."""

    def case(python: str, home: Path) -> None:
        setup = """
logger = made(JSONAdapter(HOME + '/rows.jsonl'), overflow_strategy='block', buffer_size=2,
              autostart=False)
"""
        body = """
class Own:
    def __str__(self):
        os.kill(os.getpid(), signal.SIGINT)
        return "own"
logger.log(event(0))
logger.log(event(1))
try:
    logger.log(event(2, reason=Own()))
    say("lost")
except KeyboardInterrupt:
    say("raised")
logger.log(event(3))
logger.stop_sync(20)
"""
        ended = children.run(python, home, body, setup).check()
        assert ended.said == ["raised"]
        children.assert_once(ended, children.numbers(4))

    children.each(tmp_path, 1, case)
