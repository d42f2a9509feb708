"""The event, the logger and its faces: what the quick reference and the contract say of them."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import logging
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import namel3ss.safety as package
import pytest
from namel3ss.safety import (
    MemoryAdapter,
    SafetyEvent,
    SafetyEventLogger,
)
from shared import assert_balanced, ids, logger_to, soon

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


STATS = {
    "total_logged", "total_flushed", "total_dropped", "current_buffer_size", "max_buffer_size",
    "overflow_strategy", "flush_interval_seconds", "target_dataset", "total_fallback",
    "total_retries", "total_replayed", "total_recovered", "pending", "backlog_bytes", "dropped",
    "oldest_pending_seconds", "last_error", "journal", "durability", "healthy",
}  # fmt: skip


class TestLog:
    """``log()``: work at the call, an awaitable that is done, never an exception."""

    @pytest.mark.asyncio
    async def test_each_way_to_call_it_stores_once(self) -> None:
        memory = MemoryAdapter()
        async with logger_to(memory) as logger:
            await logger.log(SafetyEvent(event_id="await"))
            await asyncio.gather(
                logger.log(SafetyEvent(event_id="gather-1")),
                logger.log(SafetyEvent(event_id="gather-2")),
            )
            await asyncio.create_task(logger.log(SafetyEvent(event_id="task")))  # type: ignore[arg-type]
            await asyncio.ensure_future(logger.log(SafetyEvent(event_id="future")))
            await asyncio.wait_for(logger.log(SafetyEvent(event_id="wait_for")), 5)
            await asyncio.shield(logger.log(SafetyEvent(event_id="shield")))
            logger.log(SafetyEvent(event_id="forgotten"))
            task: asyncio.Task[None] = asyncio.create_task(
                logger.log(SafetyEvent(event_id="cancelled"))  # type: ignore[arg-type]
            )
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        assert ids(memory.records) == [
            "await", "gather-1", "gather-2", "task", "future", "wait_for", "shield", "forgotten",
            "cancelled",
        ]  # fmt: skip

    @pytest.mark.asyncio
    async def test_awaited_twice_it_is_still_one_event(self) -> None:
        memory = MemoryAdapter()
        async with logger_to(memory) as logger:
            done = logger.log(SafetyEvent())
            assert await done is None  # type: ignore[func-returns-value]
            assert await done is None  # type: ignore[func-returns-value]
        assert len(memory) == 1

    @pytest.mark.asyncio
    async def test_is_done_at_the_call(self) -> None:
        logger = logger_to(MemoryAdapter())
        logger.log(SafetyEvent())
        assert logger.get_stats()["total_logged"] == 1

    def test_asyncio_run(self) -> None:
        memory = MemoryAdapter()
        logger = logger_to(memory)

        async def one() -> None:
            await logger.log(SafetyEvent())

        for _ in range(3):
            asyncio.run(one())
        asyncio.run(logger.stop())
        assert len(memory) == 3

    def test_is_marked_as_a_coroutine_function(self) -> None:
        logger = SafetyEventLogger()
        assert inspect.iscoroutinefunction(logger.log)
        assert asyncio.iscoroutinefunction(logger.log)
        assert inspect.iscoroutinefunction(logger.bind(a=1).log)
        assert logger.log.__doc__

    def test_serves_synchronous_code_and_many_threads(self) -> None:
        memory = MemoryAdapter()
        with logger_to(memory) as logger:

            def work(number: int) -> None:
                for step in range(100):
                    logger.log(SafetyEvent(event_id=f"{number}-{step}"))

            threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        found = ids(memory.records)
        assert len(found) == len(set(found)) == 800
        for number in range(8):
            mine = [name for name in found if name.startswith(f"{number}-")]
            assert mine == [f"{number}-{step}" for step in range(100)]

    def test_what_is_logged_is_what_the_event_was_at_the_call(self) -> None:
        memory = MemoryAdapter()
        with logger_to(memory) as logger:
            event = SafetyEvent(event_id="e", categories=["a"], metadata={"deep": {"k": [1]}})
            logger.log(event)
            event.action = "block"
            event.categories.append("b")
            event.metadata["deep"]["k"].append(2)
            event.metadata["new"] = 1
        (row,) = memory.records
        assert row["action"] == "allow"
        assert row["categories"] == ["a"]
        assert row["metadata"] == {"deep": {"k": [1]}}

    def test_the_same_event_twice_is_stored_twice(self) -> None:
        memory = MemoryAdapter()
        event = SafetyEvent(event_id="same")
        with logger_to(memory) as logger:
            logger.log(event)
            logger.log(event)
        assert ids(memory.records) == ["same", "same"]

    @pytest.mark.parametrize("wrong", [None, 7, "text", b"x", object(), [], int, lambda: None])
    def test_what_is_no_event_is_counted_never_raised(self, wrong: Any) -> None:
        with logger_to(MemoryAdapter()) as logger:
            logger.log(wrong)
            stats = logger.get_stats()
            assert (stats["total_logged"], stats["total_dropped"]) == (1, 1)
            assert stats["dropped"] == {"invalid": 1}

    def test_log_many(self) -> None:
        memory = MemoryAdapter()
        with logger_to(memory) as logger:
            logger.log_many(SafetyEvent(event_id=str(number)) for number in range(250))
            logger.log_many([])
            logger.log_many([7, {"event_id": "last"}])
        assert ids(memory.records) == [*map(str, range(250)), "last"]
        assert logger.get_stats()["dropped"] == {"invalid": 1}

    def test_log_many_raises_what_its_iterator_raises(self) -> None:
        def events() -> Iterator[SafetyEvent]:
            yield SafetyEvent(event_id="0")
            text = "the app's own"
            raise RuntimeError(text)

        memory = MemoryAdapter()
        with logger_to(memory) as logger:
            with pytest.raises(RuntimeError, match="the app's own"):
                logger.log_many(events())
            logger.log_many([SafetyEvent(event_id="1")])
        # What came before is kept.
        assert ids(memory.records) == ["0", "1"]

    @pytest.mark.asyncio
    async def test_log_many_is_awaitable(self) -> None:
        memory = MemoryAdapter()
        async with logger_to(memory) as logger:
            await logger.log_many([SafetyEvent(), SafetyEvent()])
        assert len(memory) == 2

    @pytest.mark.asyncio
    async def test_log_many_with_block_loses_none(self) -> None:
        memory = MemoryAdapter()
        logger = logger_to(memory, buffer_size=3, overflow_strategy="block")
        await logger.log_many(SafetyEvent(event_id=str(number)) for number in range(20))
        await logger.stop()
        assert ids(memory.records) == [str(number) for number in range(20)]
        assert logger.get_stats()["total_dropped"] == 0


class TestAutostart:
    """An event starts the logger, also after ``stop()``; what is lost is told at once."""

    def test_nobody_has_to_start_it(self) -> None:
        # All but the last buffer_size events were dropped, and nothing said so.
        memory = MemoryAdapter()
        logger = logger_to(memory, buffer_size=3)
        for number in range(300):
            logger.log(SafetyEvent(event_id=str(number)))
        assert soon(lambda: len(memory) == 300)
        stats = logger.get_stats()
        assert (stats["total_dropped"], stats["healthy"]) == (0, True)
        logger.stop_sync()

    def test_an_adapter_of_pythons_is_called_in_time_without_a_start(self) -> None:
        # Its thread is one of Python's, which only the start began.
        memory = MemoryAdapter()
        logger = logger_to(memory, flush_interval_seconds=0.05)
        logger.log(SafetyEvent())
        assert soon(lambda: len(memory) == 1)
        logger.stop_sync()

    def test_a_cell_that_is_run_again(self) -> None:
        memory = MemoryAdapter()
        logger = logger_to(memory, buffer_size=2, flush_interval_seconds=0.05)
        for cell in range(1, 4):
            for _ in range(10):
                logger.log(SafetyEvent())
            assert soon(lambda wanted=10 * cell: len(memory) == wanted)  # type: ignore[misc]
            logger.stop_sync()
        assert logger.get_stats()["total_dropped"] == 0

    def test_a_stop_that_returned_does_not_end_a_later_start(self) -> None:
        # stop(timeout) had returned and went on; it stopped the logger after it was started again,
        # which then dropped events far below its limit.
        release = threading.Event()

        class Hanging:
            def __init__(self) -> None:
                self.rows = 0

            def insert(self, rows: list[dict[str, Any]]) -> None:
                release.wait(30)
                self.rows += len(rows)

        adapter = Hanging()
        logger = logger_to(adapter, buffer_size=10, autostart=False)
        logger.start()
        logger.log(SafetyEvent())
        logger.stop_sync(timeout=0.1)
        logger.stop_sync(timeout=0.1)
        logger.start()
        release.set()
        for number in range(300):
            logger.log(SafetyEvent())
            if number % 100 == 0:
                threading.Event().wait(0.05)
        assert soon(lambda: adapter.rows == 301)
        assert logger.get_stats()["total_dropped"] == 0
        logger.stop_sync()

    @pytest.mark.parametrize("strategy", ["drop_oldest", "drop_newest"])
    def test_a_drop_is_told_at_once(self, strategy: str, caplog: pytest.LogCaptureFixture) -> None:
        logger = logger_to(
            MemoryAdapter(), buffer_size=3, overflow_strategy=strategy, autostart=False
        )
        with caplog.at_level(logging.INFO, logger="namel3ss.safety"):
            for _ in range(50):
                logger.log(SafetyEvent())
            logger.flush_sync()
        told = [r for r in caplog.records if "dropped" in r.message]
        assert [r.levelname for r in told] == ["CRITICAL"]
        assert told[0].message.startswith("1 event was dropped")
        assert logger.get_stats()["healthy"] is False
        with caplog.at_level(logging.INFO, logger="namel3ss.safety"):
            logger.stop_sync()
        assert any(r.message.startswith("46 events were dropped") for r in caplog.records)

    def test_what_is_no_event_is_told_at_once(self, caplog: pytest.LogCaptureFixture) -> None:
        logger = logger_to(MemoryAdapter())
        with caplog.at_level(logging.INFO, logger="namel3ss.safety"):
            logger.log(7)
            logger.flush_sync()
        told = [r for r in caplog.records if r.levelname == "CRITICAL"]
        assert len(told) == 1
        assert "could not be read" in told[0].message
        assert logger.get_stats()["healthy"] is False
        logger.stop_sync()

    def test_autostart_is_a_bool(self) -> None:
        with pytest.raises(ValueError, match="autostart is 'yes': it takes True or False"):
            SafetyEventLogger(autostart="yes")  # type: ignore[arg-type]


class TestStats:
    """``get_stats()``."""

    def test_keys(self) -> None:
        stats = SafetyEventLogger(target_dataset="d", buffer_size=7).get_stats()
        assert set(stats) >= STATS
        assert (stats["max_buffer_size"], stats["target_dataset"]) == (7, "d")
        assert (stats["overflow_strategy"], stats["flush_interval_seconds"]) == ("drop_oldest", 10)
        assert (stats["total_logged"], stats["pending"], stats["dropped"]) == (0, 0, {})
        assert stats["last_error"] is None
        assert stats["healthy"] is True
        assert stats["unhealthy"] == []
        json.dumps(stats)

    def test_what_makes_it_unhealthy_has_a_word(self, tmp_path: Path) -> None:
        release = threading.Event()

        class Hanging:
            insert_timeout_seconds = 0.05

            def __init__(self) -> None:
                self.running = 0
                self.most = 0

            def insert(self, _rows: list[dict[str, Any]]) -> None:
                self.running += 1
                self.most = max(self.most, self.running)
                release.wait(30)
                self.running -= 1

        adapter = Hanging()
        logger = logger_to(adapter, fallback_path=tmp_path)
        logger.log(SafetyEvent())
        logger.flush_sync()
        assert logger.get_stats()["unhealthy"] == ["destination"]
        assert logger.get_stats()["healthy"] is False
        release.set()

        def recovered() -> bool:
            logger.log(SafetyEvent())
            logger.flush_sync()
            return logger.get_stats()["healthy"] is True

        assert soon(recovered)
        assert adapter.most == 1
        logger.log(7)
        assert logger.get_stats()["unhealthy"] == ["no_event"]
        logger.stop_sync()

    def test_they_add_up_at_every_moment(self) -> None:
        memory = MemoryAdapter()
        with logger_to(memory, buffer_size=2) as logger:
            for _ in range(50):
                logger.log(SafetyEvent())
                assert_balanced(logger.get_stats())
            logger.flush_sync()
            stats = logger.get_stats()
        assert (stats["total_logged"], stats["total_flushed"]) == (50, 50)


class TestContextManagers:
    """``with`` and ``async with`` start and stop."""

    @pytest.mark.asyncio
    async def test_async_with(self) -> None:
        memory = MemoryAdapter()
        async with logger_to(memory) as logger:
            assert isinstance(logger, SafetyEventLogger)
            await logger.log(SafetyEvent())
        assert len(memory) == 1

    def test_an_exception_goes_on_and_the_events_are_kept(self) -> None:
        memory = MemoryAdapter()
        with pytest.raises(ZeroDivisionError), logger_to(memory) as logger:
            logger.log(SafetyEvent())
            raise ZeroDivisionError
        assert len(memory) == 1


class TestPackage:
    """The package as such."""

    def test_everything_is_exported_and_documented(self) -> None:
        for name in package.__all__:
            item = getattr(package, name)
            if name != "__version__":
                assert item.__doc__, name
        with pytest.raises(AttributeError, match="nonsense"):
            _ = package.nonsense

    def test_all_of_it_is_imported_without_pytest(self) -> None:
        code = (
            "import sys; sys.modules['pytest'] = None\nfrom namel3ss.safety import *\nSafetyEvent()"
        )
        command = [sys.executable, "-c", code]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert ran.returncode == 0, ran.stderr

    def test_there_is_no_init_of_namel3ss(self) -> None:
        import namel3ss

        assert getattr(namel3ss, "__file__", None) is None

    def test_needs_no_other_package(self) -> None:
        code = (
            "import sys, namel3ss.safety\n"
            "own = {n for n in sys.modules if n.partition('.')[0] in ('sqlalchemy', 'pyarrow')}\n"
            "assert not own, own\n"
            "assert 'asyncio' not in sys.modules and 'logging' not in sys.modules\n"
        )
        subprocess.run(
            [sys.executable, "-S", "-c", code],
            check=True,
            timeout=60,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
