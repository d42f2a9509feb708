"""Adapters of the app's own that misbehave: the app never notices, and no event is lost."""

from __future__ import annotations

import json
from pathlib import Path

import children
import pytest

RAISED = ["SystemExit(5)", "KeyboardInterrupt()", "GeneratorExit()", "BaseException('odd')"]


@pytest.mark.parametrize("raised", RAISED)
@pytest.mark.parametrize("word", ["def", "async def"])
def test_raises_what_is_no_exception(raised: str, word: str, tmp_path: Path) -> None:
    """It counts as a failed attempt: the third stores the rows, and the process goes on."""

    def case(python: str, home: Path) -> None:
        setup = f"""
class Raising:
    calls = 0
    {word} insert(self, rows):
        self.calls += 1
        if self.calls < 3: raise {raised}
        keep(rows)
logger = made(Raising())
"""
        body = """
logger.start()
for i in range(10): logger.log(event(i))
logger.flush_sync()
assert logger.get_stats()["total_retries"] == 2, logger.get_stats()
logger.stop_sync()
"""
        children.assert_once(children.run(python, home, body, setup).check(), children.numbers(10))

    children.each(tmp_path, 4, case)


@pytest.mark.parametrize("word", ["def", "async def"])
def test_hangs_beyond_its_deadline(word: str, tmp_path: Path) -> None:
    """The batch goes to a fallback file, and so do the next while the call does not return; when
    it does, deliveries go on, in the same thread."""

    def case(python: str, home: Path) -> None:
        wait = "await asyncio.sleep" if word == "async def" else "time.sleep"
        setup = f"""
class Hanging:
    insert_timeout_seconds = 0.2
    calls = 0
    {word} insert(self, rows):
        self.calls += 1
        if self.calls == 1: {wait}(1.5)
        keep(rows)
adapter = Hanging()
logger = made(adapter)
"""
        body = """
logger.start()
began = time.monotonic()
for i in range(10): logger.log(event(i))
logger.flush_sync()
assert time.monotonic() - began < 1.4
assert logger.get_stats()["total_fallback"] == 10, logger.get_stats()
error = logger.get_stats()["last_error"]
assert "hangs" in error, error
time.sleep(1.7)
for i in range(10, 20): logger.log(event(i))
logger.flush_sync()
assert logger.get_stats()["total_flushed"] >= 10, logger.get_stats()
assert sum(thread.name == "namel3ss-safety-adapter" for thread in threading.enumerate()) == 1
logger.stop_sync()
"""
        ended = children.run(python, home, body, setup).check()
        children.assert_none_lost(ended, children.numbers(20))

    children.each(tmp_path, 4, case)


@pytest.mark.parametrize("strategy", ["drop_oldest", "drop_newest", "block"])
@pytest.mark.parametrize("word", ["def", "async def"])
def test_logs_to_its_own_logger(strategy: str, word: str, tmp_path: Path) -> None:
    """Its events come after those that it is storing; calls that would wait for it return."""

    def case(python: str, home: Path) -> None:
        flushes = "await logger.flush(0.05)" if word == "async def" else "logger.flush_sync(0.05)"
        setup = f"""
class Logging:
    left = 50
    {word} insert(self, rows):
        keep(rows)
        for row in rows:
            if self.left:
                self.left -= 1
                logger.log(event(f"own{{self.left}}"))
        logger.get_stats()
        {flushes}
logger = made(Logging(), overflow_strategy="{strategy}")
"""
        body = """
logger.start()
for i in range(50): logger.log(event(i))
deadline = time.monotonic() + 20
while logger.get_stats()["pending"] and time.monotonic() < deadline: logger.flush_sync(1)
logger.stop_sync()
"""
        ended = children.run(python, home, body, setup).check()
        own = {f"own{n}" for n in range(50)}
        children.assert_once(ended, children.numbers(50) | own)
        assert ended.seconds < 15, ended

    children.each(tmp_path, 4, case)


def test_stops_its_own_logger(tmp_path: Path) -> None:
    """Waiting for itself can't succeed; with a timeout it ends, and nothing is lost."""

    def case(python: str, home: Path) -> None:
        setup = """
class Stopping:
    def insert(self, rows):
        keep(rows)
        if not RECOVERS: logger.stop_sync(0.1)
logger = made(Stopping())
"""
        body = """
logger.start()
for i in range(50): logger.log(event(i))
time.sleep(0.5)
logger.stop_sync(5)
"""
        ended = children.run(python, home, body, setup).check()
        children.recover(ended)
        children.assert_none_lost(ended, children.numbers(50))

    children.each(tmp_path, 4, case)


def test_a_logging_handler_that_records(tmp_path: Path) -> None:
    """The library's own diagnostics, which a handler turns into events, whose failing delivery
    makes diagnostics: neither a deadlock nor a flood."""

    def case(python: str, home: Path) -> None:
        setup = """
import logging
class Failing:
    def insert(self, rows):
        if not RECOVERS:
            logging.getLogger("app").error("storing failed")
            raise OSError("no")
        keep(rows)
logger = made(Failing())
class Handler(logging.Handler):
    count = 0
    def emit(self, record):
        Handler.count += 1
        logger.log(event(f"record{Handler.count}", reason=record.getMessage()))
        logger.flush_sync(0.01)
if not RECOVERS: logging.getLogger().addHandler(Handler())
"""
        body = """
logger.start()
for i in range(20): logger.log(event(i))
time.sleep(1.5)
logger.stop_sync(2)
assert 0 < Handler.count < 500, Handler.count
say(Handler.count)
os._exit(0)
"""
        ended = children.run(python, home, body, setup).check()
        children.recover(ended)
        records = {f"record{n}" for n in range(1, int(ended.out) + 1)}
        children.assert_none_lost(ended, children.numbers(20) | records)

    children.each(tmp_path, 4, case)


ODD = {
    "changes what it is in": """
class Odd:
    def __str__(self):
        given.clear()
        given.update((str(n), Odd2()) for n in range(100))
        return "odd"
class Odd2:
    def __str__(self):
        given[str(len(given))] = 1
        return "odd2"
given = {"a": Odd(), "b": Odd(), "c": {"d": Odd()}}
""",
    "logs": """
class Odd:
    depth = 0
    def __str__(self):
        Odd.depth += 1
        if Odd.depth < 20: logger.log(event(f"inner{Odd.depth}", metadata={"inner": Odd()}))
        return "odd"
given = {"a": Odd()}
""",
    "raises": """
class Odd:
    def __str__(self): raise SystemExit(9)
    def __repr__(self): raise KeyboardInterrupt
given = {"a": Odd(), Odd(): 1}
""",
    "flushes": """
class Odd:
    def __str__(self):
        logger.flush_sync()
        return "odd"
given = {"a": Odd(), "b": [Odd()]}
""",
    "stops": """
class Odd:
    def __str__(self):
        logger.stop_sync()
        logger.start()
        return "odd"
given = {"a": Odd()}
""",
    "is no text": """
class Odd:
    def __str__(self): return 7
given = {"a": Odd(), "b": type("Odd2", (dict,), {"items": None, "__iter__": None})(x=1)}
""",
}


@pytest.mark.parametrize("odd", ODD)
def test_odd_objects_in_an_event(odd: str, tmp_path: Path) -> None:
    """Code of the app's runs in the middle of log(), and does what it should not."""

    def case(python: str, home: Path) -> None:
        body = f"""
{ODD[odd]}
logger.start()
for i in range(20): logger.log(event(i, metadata=given))
logger.stop_sync()
assert logger.get_stats()["panics"] == 0, logger.get_stats()
"""
        setup = "logger = made(JSONAdapter(HOME + '/rows.jsonl'))"
        ended = children.run(python, home, body, setup).check()
        inner = {f"inner{n}" for n in range(1, 20)} if odd == "logs" else set()
        children.assert_once(ended, children.numbers(20) | inner)

    children.each(tmp_path, 4, case)


def test_own_code_that_logs_its_own_object_is_bounded(tmp_path: Path) -> None:
    """An object whose ``__str__`` logs the object twice made 2^n calls, and filled the disk."""

    def case(python: str, home: Path) -> None:
        body = """
import logging
logging.basicConfig(stream=sys.stdout, format="%(message)s")
class Loud:
    calls = 0
    def __str__(self):
        Loud.calls += 1
        for _ in range(2):
            logger.log({"action": "block", "reason": self})
        return "loud"
for n in range(5):
    logger.log({"event_id": str(n), "action": "block", "reason": Loud()})
logger.stop_sync(20)
say(f"calls={Loud.calls}")
say(f"logged={logger.get_stats()['total_logged']}")
"""
        ended = children.run(python, home, body, "logger = made(JSONAdapter(HOME + '/rows.jsonl'))")
        ended.check()
        # An event of a mapping is read twice, for native datasets and for own adapters: two
        # calls for each of the five, and two for each of the two events that each call logs.
        assert "calls=50" in ended.said
        assert "logged=105" in ended.said
        assert ended.out.count("own code") == 1, ended.out
        reasons = [json.loads(line)["reason"] for line in (home / "rows.jsonl").open()]
        assert reasons.count("loud") == 5 + 5 * 2 * 2

    children.each(tmp_path, 1, case)
