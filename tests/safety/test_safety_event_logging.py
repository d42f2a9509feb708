"""The event, the logger and its faces: what the quick reference and the contract say of them."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import inspect
import json
import logging
import os
import subprocess
import sys
import threading
from collections import OrderedDict, UserDict
from enum import Enum
from typing import TYPE_CHECKING, Any
from unittest.mock import AsyncMock, MagicMock, Mock

import namel3ss.safety as package
import pytest
from namel3ss.safety import (
    AdapterRegistry,
    MemoryAdapter,
    SafetyEvent,
    SafetyEventLogger,
    SafetyEventSink,
)
from shared import AT, ids, logger_to, soon, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


STATS = {
    "total_logged", "total_flushed", "total_dropped", "current_buffer_size", "max_buffer_size",
    "overflow_strategy", "flush_interval_seconds", "target_dataset", "total_fallback",
    "total_retries", "total_replayed", "total_recovered", "pending", "backlog_bytes", "dropped",
    "oldest_pending_seconds", "last_error", "journal", "durability", "healthy",
}  # fmt: skip


class TestConstruction:
    """A wrong argument raises ValueError at once, naming parameter, value and the nearest."""

    @pytest.mark.parametrize(
        ("name", "value", "nearest"),
        [
            ("overflow_strategy", "drop_oldes", "drop_oldest"),
            ("overflow_strategy", "drop-newest", "drop_newest"),
            ("overflow_strategy", "blok", "block"),
            ("journal", "fil", "file"),
            ("journal", "memry", "memory"),
            ("durability", "proces", "process"),
            ("durability", "powr", "power"),
        ],
    )
    def test_names_parameter_value_and_nearest(self, name: str, value: str, nearest: str) -> None:
        with pytest.raises(ValueError, match=name) as caught:
            SafetyEventLogger(**{name: value})  # type: ignore[arg-type]
        assert value in str(caught.value)
        assert nearest in str(caught.value)

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("buffer_size", 0),
            ("buffer_size", -1),
            ("buffer_size", 1.5),
            ("buffer_size", "10"),
            ("buffer_size", True),
            ("buffer_size", None),
            ("buffer_size", 10**9),
            pytest.param("buffer_size", 10**5000, id="buffer_size-huge"),
            ("flush_interval_seconds", 0),
            ("flush_interval_seconds", -1.0),
            ("flush_interval_seconds", float("nan")),
            ("flush_interval_seconds", float("inf")),
            ("flush_interval_seconds", "1"),
            pytest.param("flush_interval_seconds", 10**400, id="interval-huge"),
            ("overflow_strategy", ""),
            ("overflow_strategy", None),
            ("overflow_strategy", 7),
            ("target_dataset", ""),
            ("target_dataset", None),
            ("target_dataset", 7),
            ("fallback_path", 7),
            ("fallback_path", ""),
            ("event_sink", 7),
            ("adapter_registry", 7),
            ("journal", 7),
            ("journal", None),
            ("durability", "x" * 1000),
            ("backlog_limit_bytes", 0),
            ("backlog_limit_bytes", -1),
            ("backlog_limit_bytes", 1.5),
            ("max_retries", 0),
            ("retry_delay_seconds", -1),
        ],
    )
    def test_names_the_parameter(self, name: str, value: Any) -> None:
        with pytest.raises(ValueError, match=name) as caught:
            SafetyEventLogger(**{name: value})
        assert len(str(caught.value)) < 300

    def test_a_misspelt_parameter_is_a_type_error(self) -> None:
        with pytest.raises(TypeError, match="bufer_size"):
            SafetyEventLogger(bufer_size=1)  # type: ignore[call-arg]

    def test_defaults(self) -> None:
        logger = SafetyEventLogger()
        assert logger.target_dataset == "safety_events"
        assert logger.buffer_size == 100
        assert logger.flush_interval_seconds == 10.0
        assert logger.overflow_strategy == "drop_oldest"
        stats = logger.get_stats()
        assert (stats["journal"], stats["durability"]) == ("mmap", "process")
        assert logger._sink.max_retries == 3
        assert logger._sink.retry_delay_seconds == 1.0
        assert "namel3ss_safety_fallback" in str(logger._sink.fallback_path)

    def test_parameters_stand_in_their_order(self) -> None:
        names = list(inspect.signature(SafetyEventLogger.__init__).parameters)
        assert names[1:9] == [
            "target_frame",
            "target_dataset",
            "buffer_size",
            "flush_interval_seconds",
            "event_sink",
            "adapter_registry",
            "overflow_strategy",
            "fallback_path",
        ]

    def test_attributes_can_be_read_and_the_sinks_set_at_any_time(self, tmp_path: Path) -> None:
        adapter = Mock()
        adapter.insert.side_effect = Exception("no")
        with logger_to(adapter, fallback_path=tmp_path / "fb", target_dataset="prod") as logger:
            assert logger._sink.dataset_name == "prod"
            logger._sink.max_retries = 2
            logger._sink.retry_delay_seconds = 0.001
            assert (logger._sink.max_retries, logger._sink.retry_delay_seconds) == (2, 0.001)
            logger.log(SafetyEvent())
            logger.flush_sync()
            assert adapter.insert.call_count == 2
            logger._sink.max_retries = 1
            logger.log(SafetyEvent())
            logger.flush_sync()
            assert adapter.insert.call_count == 3

    def test_target_frame_names_a_dataset_or_takes_the_rows(self) -> None:
        assert SafetyEventLogger("frame").target_dataset == "frame"
        holder = Mock(spec=["records"])
        holder.records = []
        with SafetyEventLogger(holder) as logger:
            logger.log(SafetyEvent(event_id="e"))
        assert ids(holder.records) == ["e"]

    def test_event_sink_decides_dataset_and_registry(self) -> None:
        memory = MemoryAdapter()
        registry = AdapterRegistry()
        registry.register("prod_safety", memory)
        sink = SafetyEventSink("prod_safety", registry)
        with SafetyEventLogger(event_sink=sink, buffer_size=500) as logger:
            assert logger._sink is sink
            logger.log(SafetyEvent(event_id="e"))
        assert ids(memory.records) == ["e"]

    @pytest.mark.parametrize("mock", [Mock, MagicMock, AsyncMock])
    def test_any_sink_with_write_events_serves(self, mock: type[Mock]) -> None:
        sink = mock()
        with SafetyEventLogger(event_sink=sink) as logger:
            logger.log(SafetyEvent(event_id="e"))
        sink.write_events.assert_called_once()
        assert ids(sink.write_events.call_args.args[0]) == ["e"]

    @pytest.mark.parametrize("mock", [Mock, MagicMock])
    def test_mocks_serve_as_registries(self, mock: type[Mock]) -> None:
        registry = mock()
        with SafetyEventLogger(adapter_registry=registry) as logger:
            logger.log(SafetyEvent(event_id="e"))
        registry.get.assert_called_with("safety_events")
        registry.get.return_value.insert.assert_called_once()

    def test_async_mock_as_registry_is_no_exception(self, tmp_path: Path) -> None:
        with SafetyEventLogger(
            adapter_registry=AsyncMock(), fallback_path=tmp_path / "fb", retry_delay_seconds=0
        ) as logger:
            logger.log(SafetyEvent(event_id="e"))
        stats = logger.get_stats()
        assert stats["total_flushed"] + stats["total_fallback"] == 1

    def test_repr(self) -> None:
        assert "drop_oldest" in repr(SafetyEventLogger())


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


@dataclasses.dataclass
class Decision:
    """An event of an app's own making."""

    event_id: str
    action: str
    score: float = 0.5
    tags: list[str] = dataclasses.field(default_factory=list)


class WithToDict:
    """Another one."""

    def to_dict(self) -> dict[str, Any]:
        return {"event_id": "e", "timestamp": AT, "confidence": 1, "mine": {"a": (1, 2)}}


class TestForeignEvents:
    """Anything with to_dict(), any dataclass and any mapping can be logged."""

    @pytest.mark.parametrize("kind", [dict, OrderedDict, UserDict])
    def test_mappings(self, kind: Callable[..., Any]) -> None:
        memory, taken = MemoryAdapter(), Mock()
        given = kind(action="block", event_id="e", model="m-1", metadata={"own": True})
        for adapter in (memory, taken):
            with logger_to(adapter) as logger:
                logger.log(given)
        (row,) = memory.records
        assert (row["event_id"], row["action"]) == ("e", "block")
        assert row["metadata"] == {"own": True, "model": "m-1"}
        (as_given,) = taken.insert.call_args.args[0]
        assert as_given == dict(given)
        assert list(as_given) == list(given)

    def test_dataclass(self) -> None:
        memory, taken = MemoryAdapter(), Mock()
        for adapter in (memory, taken):
            with logger_to(adapter) as logger:
                logger.log(Decision("e", "redact", tags=["a"]))
        (row,) = memory.records
        assert row["metadata"] == {"score": 0.5, "tags": ["a"]}
        expected = {"event_id": "e", "action": "redact", "score": 0.5, "tags": ["a"]}
        assert taken.insert.call_args.args[0] == [expected]

    def test_to_dict(self) -> None:
        memory, taken = MemoryAdapter(), Mock()
        for adapter in (memory, taken):
            with logger_to(adapter) as logger:
                logger.log(WithToDict())
        (row,) = memory.records
        assert (row["event_id"], row["confidence"]) == ("e", 1.0)
        assert row["metadata"] == {"mine": {"a": [1, 2]}}
        (as_given,) = taken.insert.call_args.args[0]
        assert list(as_given) == ["event_id", "timestamp", "confidence", "mine"]
        assert as_given["timestamp"] == AT
        assert as_given["mine"] == {"a": [1, 2]}

    def test_safety_event_reaches_python_adapters_as_its_to_dict(self) -> None:
        taken = Mock()
        event = SafetyEvent(timestamp=AT, action="block", metadata={"a": 1}, extra=2)
        with logger_to(taken) as logger:
            logger.log(event)
        assert taken.insert.call_args.args[0] == [event.to_dict()]

    def test_odd_values_are_recorded_and_kept_in_metadata(self) -> None:
        memory = MemoryAdapter()
        with logger_to(memory) as logger:
            logger.log({"action": "explode", "direction": "sideways", "confidence": "much"})
        (row,) = memory.records
        assert (row["action"], row["direction"], row["confidence"]) == ("alert", "input", 1.0)
        assert row["metadata"] == {
            "action": "explode",
            "direction": "sideways",
            "confidence": "much",
        }

    def test_enums_of_the_apps_own(self) -> None:
        class Mine(Enum):
            STOP = "block"

        memory = MemoryAdapter()
        with logger_to(memory) as logger:
            logger.log(SafetyEvent(action=Mine.STOP, metadata={"m": Mine.STOP}))  # type: ignore[arg-type]
        (row,) = memory.records
        assert row["action"] == "block"
        assert row["metadata"] == {"m": "block"}


def assert_balanced(stats: dict[str, Any]) -> None:
    """Check that no event has vanished."""
    settled = stats["total_flushed"] + stats["total_fallback"] + stats["total_dropped"]
    assert stats["total_logged"] == settled + stats["pending"]
    assert sum(stats["dropped"].values()) == stats["total_dropped"]


class TestOverflow:
    """The example of the contract: not started, buffer_size=3, four events."""

    @pytest.mark.parametrize(
        ("strategy", "kept", "dropped"),
        [
            ("drop_oldest", ["2", "3", "4"], 1),
            ("drop_newest", ["1", "2", "3"], 1),
            ("block", ["1", "2", "3", "4"], 0),
        ],
    )
    @pytest.mark.parametrize("journal", ["file", "memory"])
    @pytest.mark.asyncio
    async def test_example(
        self, strategy: str, kept: list[str], dropped: int, journal: str
    ) -> None:
        memory = MemoryAdapter()
        logger = logger_to(
            memory,
            buffer_size=3,
            overflow_strategy=strategy,
            journal=journal,
            autostart=False,
        )
        for number in (1, 2, 3, 4):
            await logger.log(SafetyEvent(event_id=str(number)))
        stats = logger.get_stats()
        assert stats["total_logged"] == 4
        assert stats["total_dropped"] == dropped
        if strategy == "block":
            assert ids(memory.records) == ["1", "2", "3"]
            assert stats["total_flushed"] == 3
            assert stats["current_buffer_size"] == 1
        else:
            assert memory.records == []
            assert stats["current_buffer_size"] == 3
        assert_balanced(stats)
        await logger.flush()
        assert ids(memory.records) == kept
        assert_balanced(logger.get_stats())

    def test_block_delivers_in_synchronous_code_too(self) -> None:
        adapter = Mock()
        logger = logger_to(adapter, buffer_size=3, overflow_strategy="block", autostart=False)
        for number in range(4):
            logger.log(SafetyEvent(event_id=str(number)))
        assert adapter.insert.call_count == 1
        assert ids(adapter.insert.call_args.args[0]) == ["0", "1", "2"]
        logger.stop_sync()
        assert adapter.insert.call_count == 2

    @pytest.mark.asyncio
    async def test_block_does_not_block_the_loop(self) -> None:
        release = threading.Event()

        class Hanging:
            def insert(self, _rows: list[dict[str, Any]]) -> None:
                release.wait(20)

        logger = logger_to(Hanging(), buffer_size=2, overflow_strategy="block", autostart=False)
        logger.log(SafetyEvent())
        logger.log(SafetyEvent())
        waiting = asyncio.ensure_future(logger.log(SafetyEvent()))
        for _ in range(10):
            await asyncio.sleep(0.002)
        assert not waiting.done()
        release.set()
        await asyncio.wait_for(waiting, 10)
        await logger.stop()
        assert logger.get_stats()["total_flushed"] == 3

    @pytest.mark.asyncio
    async def test_a_started_logger_never_drops_however_tight_the_loop(self) -> None:
        memory = MemoryAdapter()
        async with logger_to(memory, buffer_size=2) as logger:
            for _ in range(5000):
                logger.log(SafetyEvent())
            await logger.flush()
            stats = logger.get_stats()
        assert (stats["total_flushed"], stats["total_dropped"]) == (5000, 0)

    @pytest.mark.parametrize("in_loop", [False, True])
    @pytest.mark.asyncio
    async def test_a_slow_dataset_loses_nothing(self, in_loop: bool) -> None:  # noqa: FBT001
        # One that had confirmed nothing for 500 ms counted as dead, and cost events.
        class Slow:
            rows = 0

            def insert(self, rows: list[dict[str, Any]]) -> None:
                threading.Event().wait(1.0)
                self.rows += len(rows)

        adapter = Slow()
        logger = logger_to(adapter, backlog_limit_bytes=500_000)
        event = SafetyEvent(reason="x" * 300)

        def burst() -> None:
            for _ in range(4000):
                logger.log(event)

        if in_loop:
            for _ in range(4000):
                await logger.log(event)
        else:
            await asyncio.to_thread(burst)
        await logger.stop()
        stats = logger.get_stats()
        assert (adapter.rows, stats["total_dropped"]) == (4000, 0)
        assert_balanced(stats)

    def test_the_backlog_limit_is_a_limit(self) -> None:
        release = threading.Event()

        class Hanging:
            def insert(self, _rows: list[dict[str, Any]]) -> None:
                release.wait(30)

        logger = logger_to(
            Hanging(), buffer_size=10, overflow_strategy="drop_newest", backlog_limit_bytes=100_000
        )
        logger.start()
        try:
            # The limit is looked at by a thread, some twenty times a second.
            for _ in range(4000):
                logger.log(SafetyEvent(reason="x" * 1000))
                stats = logger.get_stats()
                if stats["total_dropped"]:
                    break
                threading.Event().wait(0.001)
            assert stats["total_dropped"] > 0
            assert stats["backlog_bytes"] >= 100_000
            assert_balanced(stats)
        finally:
            release.set()
            logger.stop_sync()
        assert_balanced(logger.get_stats())


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


class TestDelivery:
    """When events are handed over, what flush and stop promise, and what comes of failures."""

    @pytest.mark.asyncio
    async def test_reaching_buffer_size_hands_over(self) -> None:
        memory = MemoryAdapter()
        async with logger_to(memory, buffer_size=3, flush_interval_seconds=3600) as logger:
            for _ in range(3):
                logger.log(SafetyEvent())
            await until(lambda: len(memory) == 3)

    @pytest.mark.asyncio
    async def test_the_interval_hands_over(self) -> None:
        memory = MemoryAdapter()
        async with logger_to(memory, flush_interval_seconds=0.05) as logger:
            logger.log(SafetyEvent())
            await until(lambda: len(memory) == 1)

    @pytest.mark.asyncio
    async def test_neither_reached_nothing_is_delivered(self) -> None:
        memory = MemoryAdapter()
        async with logger_to(memory, buffer_size=3, flush_interval_seconds=3600) as logger:
            logger.log(SafetyEvent())
            await asyncio.sleep(0.1)
            assert len(memory) == 0
            assert logger.get_stats()["current_buffer_size"] == 1

    @pytest.mark.asyncio
    async def test_flush_works_without_start(self) -> None:
        memory = MemoryAdapter()
        logger = logger_to(memory)
        logger.log(SafetyEvent())
        await logger.flush()
        assert len(memory) == 1
        assert logger.get_stats()["current_buffer_size"] == 0

    @pytest.mark.asyncio
    async def test_stop_is_idempotent_and_not_the_end(self) -> None:
        memory = MemoryAdapter()
        logger = logger_to(memory)
        await logger.stop()
        await logger.start()
        logger.log(SafetyEvent())
        await logger.stop()
        await logger.stop()
        assert len(memory) == 1
        logger.log(SafetyEvent())
        await logger.start()
        await logger.stop()
        assert len(memory) == 2

    def test_sync_twins(self) -> None:
        memory = MemoryAdapter()
        logger = logger_to(memory)
        logger.start()
        logger.log(SafetyEvent())
        logger.flush_sync()
        assert len(memory) == 1
        logger.log(SafetyEvent())
        logger.sync()
        logger.stop_sync()
        assert len(memory) == 2

    @pytest.mark.asyncio
    async def test_sync_is_awaitable(self) -> None:
        logger = logger_to(MemoryAdapter())
        logger.log(SafetyEvent())
        assert await logger.sync() is None  # type: ignore[func-returns-value]

    @pytest.mark.asyncio
    async def test_flush_obeys_its_timeout(self) -> None:
        release = threading.Event()

        class Hanging:
            def insert(self, _rows: list[dict[str, Any]]) -> None:
                release.wait(30)

        logger = logger_to(Hanging())
        logger.log(SafetyEvent())
        loop = asyncio.get_running_loop()
        began = loop.time()
        await logger.flush(timeout=0.1)
        assert loop.time() - began < 5
        assert logger.get_stats()["pending"] == 1
        release.set()
        await logger.stop()
        assert logger.get_stats()["pending"] == 0

    @pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), 10**300])
    def test_odd_timeouts_raise_nothing(self, timeout: float) -> None:
        logger = logger_to(MemoryAdapter())
        logger.log(SafetyEvent())
        logger.flush_sync(timeout)
        logger.stop_sync(timeout)
        logger.stop_sync()

    def test_what_stop_leaves_is_delivered_by_the_next_run(self) -> None:
        """Run in processes of their own, since what a living one has is its own affair."""
        code = (
            "import sys\n"
            "from namel3ss.safety import *\n"
            "class Away:\n"
            "    def insert(self, rows):\n"
            "        if sys.argv[1] == 'fail': raise ConnectionError\n"
            "        print(len(rows), rows[0]['event_id'])\n"
            "r = AdapterRegistry(); r.register('safety_events', Away())\n"
            "s = SafetyEventSink('safety_events', r, None, 1, 0.0)\n"
            "g = SafetyEventLogger(event_sink=s)\n"
            "with g:\n"
            "    if sys.argv[1] == 'fail': g.log(SafetyEvent(event_id='left'))\n"
        )
        ran = [
            subprocess.run(
                [sys.executable, "-c", code, how], capture_output=True, text=True, timeout=60
            )
            for how in ("fail", "work")
        ]
        assert [run.returncode for run in ran] == [0, 0], ran
        assert ran[1].stdout == "1 left\n"

    def test_max_retries_then_one_fallback_file(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        adapter = Mock()
        adapter.insert.side_effect = Exception("away")
        folder = tmp_path / "fb"
        with caplog.at_level(logging.DEBUG, logger="namel3ss.safety"):
            logger = logger_to(adapter, fallback_path=folder)
            for number in range(5):
                logger.log(SafetyEvent(event_id=str(number)))
            logger.stop_sync()
        assert adapter.insert.call_count == 3
        (path,) = folder.glob("safety_events_*.json")
        assert path.stat().st_mode & 0o777 == 0o600
        assert ids(json.loads(path.read_bytes())) == ["0", "1", "2", "3", "4"]
        critical = [r for r in caplog.records if r.levelno == logging.CRITICAL]
        assert [record.name for record in critical] == ["namel3ss.safety"]
        stats = logger.get_stats()
        assert (stats["total_fallback"], stats["total_retries"]) == (5, 2)
        assert stats["last_error"]
        assert not stats["healthy"]
        assert_balanced(stats)

    def test_no_adapter_is_a_fallback_file_and_one_warning(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.DEBUG, logger="namel3ss.safety"):
            logger = SafetyEventLogger(
                adapter_registry=AdapterRegistry(), fallback_path=tmp_path / "fb"
            )
            logger.log(SafetyEvent(event_id="e"))
            logger.stop_sync()
        assert len(list((tmp_path / "fb").glob("*.json"))) == 1
        warnings = [r for r in caplog.records if r.levelno == logging.WARNING]
        assert len(warnings) <= 1
        assert [r for r in caplog.records if r.levelno >= logging.WARNING]
        assert logger.get_stats()["total_fallback"] == 1

    def test_fallback_files_are_replayed_when_the_dataset_is_back(self, tmp_path: Path) -> None:
        adapter = Mock()
        adapter.insert.side_effect = Exception("away")
        logger = logger_to(adapter, fallback_path=tmp_path / "fb")
        logger.log(SafetyEvent(event_id="first"))
        logger.flush_sync()
        adapter.insert.side_effect = None
        adapter.insert.reset_mock()
        logger.start()
        logger.log(SafetyEvent(event_id="second"))
        logger.flush_sync()
        for _ in range(400):
            stats = logger.get_stats()
            if stats["total_replayed"]:
                break
            threading.Event().wait(0.02)
        logger.stop_sync()
        taken = [row for call in adapter.insert.call_args_list for row in call.args[0]]
        assert sorted(ids(taken)) == ["first", "second"]
        assert_balanced(logger.get_stats())

    def test_an_adapter_that_logs_itself_neither_recurses_nor_hangs(self) -> None:
        class Logging:
            def __init__(self) -> None:
                self.rows: list[dict[str, Any]] = []

            def insert(self, rows: list[dict[str, Any]]) -> None:
                self.rows += rows
                if len(self.rows) < 5:
                    logger.log(SafetyEvent(event_id="own"))

        adapter = Logging()
        logger = logger_to(adapter)
        logger.log(SafetyEvent(event_id="first"))
        logger.start()
        logger.flush_sync()
        logger.stop_sync()
        assert_balanced(logger.get_stats())
        assert ids(adapter.rows)[0] == "first"

    def test_a_logging_handler_that_logs_safety_events(self, tmp_path: Path) -> None:
        adapter = Mock()
        adapter.insert.side_effect = Exception("away")
        logger = logger_to(adapter, fallback_path=tmp_path / "fb")

        class Recursing(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                logger.log(SafetyEvent(reason=record.getMessage()))

        own = logging.getLogger("namel3ss.safety")
        handler = Recursing()
        own.addHandler(handler)
        try:
            with logger:
                logger.log(SafetyEvent())
                logger.flush_sync()
        finally:
            own.removeHandler(handler)
        assert logger.get_stats()["total_logged"] < 50

    def test_a_raising_logging_handler_changes_nothing(self, tmp_path: Path) -> None:
        class Raising(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                raise RuntimeError(record)

        own = logging.getLogger("namel3ss.safety")
        handler = Raising()
        own.addHandler(handler)
        try:
            with SafetyEventLogger(
                adapter_registry=AdapterRegistry(), fallback_path=tmp_path / "fb"
            ) as logger:
                logger.log(SafetyEvent())
        finally:
            own.removeHandler(handler)
        assert logger.get_stats()["total_fallback"] == 1

    def test_journal_may_be_a_folder(self, tmp_path: Path) -> None:
        logger = logger_to(MemoryAdapter(), journal=tmp_path / "journals")
        logger.log(SafetyEvent())
        assert logger.journal_folder is not None
        assert logger.journal_folder.startswith(str(tmp_path / "journals"))
        logger.stop_sync()

    def test_journal_lives_in_the_home(self, tmp_path: Path, safety_home: Path) -> None:
        given = logger_to(MemoryAdapter(), fallback_path=tmp_path / "fb")
        default = logger_to(MemoryAdapter())
        in_memory = logger_to(MemoryAdapter(), journal="memory")
        for logger in (given, default, in_memory):
            logger.log(SafetyEvent())
        for logger in (given, default):
            assert str(logger.journal_folder).startswith(str(safety_home))
        assert in_memory.journal_folder is None


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
