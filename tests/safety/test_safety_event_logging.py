"""The event, the logger and its faces: what the quick reference and the contract say of them."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import dataclasses
import inspect
import json
import logging
import os
import pickle
import sqlite3
import subprocess
import sys
import threading
import uuid
from collections import OrderedDict, UserDict
from datetime import datetime, timedelta, timezone
from enum import Enum
from typing import TYPE_CHECKING, Any
from unittest.mock import AsyncMock, MagicMock, Mock

import namel3ss.safety as package
import pytest
from namel3ss.safety import (
    AdapterRegistry,
    MemoryAdapter,
    SafetyAction,
    SafetyEvent,
    SafetyEventLogger,
    SafetyEventSink,
    SafetyViolation,
    audited,
    context,
    create_safety_event_from_enforcement,
    get_global_logger,
    guard,
    log_safety_event,
    set_global_logger,
)
from namel3ss.safety.handler import SafetyLogHandler

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

FIELDS = (
    "event_id", "timestamp", "app_name", "chain_name", "agent_name", "policy_name", "reason",
    "trace_id", "session_id", "user_id", "direction", "action", "categories", "severity",
    "confidence", "latency_ms", "metadata",
)  # fmt: skip
AT = datetime(2026, 3, 1, 12, 30, 15, 250_000, tzinfo=timezone.utc)
STATS = {
    "total_logged", "total_flushed", "total_dropped", "current_buffer_size", "max_buffer_size",
    "overflow_strategy", "flush_interval_seconds", "target_dataset", "total_fallback",
    "total_retries", "total_replayed", "total_recovered", "pending", "backlog_bytes", "dropped",
    "oldest_pending_seconds", "last_error", "journal", "durability", "healthy",
}  # fmt: skip


def ids(rows: list[dict[str, Any]]) -> list[str]:
    """Name the events of some rows."""
    return [row["event_id"] for row in rows]


def logger_to(adapter: object, **options: Any) -> SafetyEventLogger:
    """Make a logger that delivers to one adapter, and does not wait between attempts."""
    registry = AdapterRegistry()
    registry.register(options.get("target_dataset", "safety_events"), adapter)
    options = {"retry_delay_seconds": 0.0, **options}
    return SafetyEventLogger(adapter_registry=registry, **options)


def assert_balanced(stats: dict[str, Any]) -> None:
    """Check that no event has vanished."""
    settled = stats["total_flushed"] + stats["total_fallback"] + stats["total_dropped"]
    assert stats["total_logged"] == settled + stats["pending"]
    assert sum(stats["dropped"].values()) == stats["total_dropped"]


async def until(true: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait until something is so."""
    end = asyncio.get_running_loop().time() + seconds
    while not true():
        assert asyncio.get_running_loop().time() < end, "it did not come to be"
        await asyncio.sleep(0.005)


class TestSafetyEvent:
    """The record: 17 fields, a dataclass's manners."""

    def test_defaults(self) -> None:
        before = datetime.now(timezone.utc)
        event = SafetyEvent()
        after = datetime.now(timezone.utc)
        assert uuid.UUID(event.event_id).version == 7
        assert before - timedelta(milliseconds=5) <= event.timestamp <= after
        assert event.timestamp.utcoffset() == timedelta(0)
        assert [getattr(event, name) for name in FIELDS[2:10]] == [None] * 8
        assert event.direction == "input"
        assert event.action is SafetyAction.ALLOW
        assert event.categories == []
        assert event.severity == "none"
        assert (event.confidence, event.latency_ms) == (1.0, 0.0)
        assert event.metadata == {}

    def test_each_has_an_id_and_containers_of_its_own(self) -> None:
        one, two = SafetyEvent(), SafetyEvent()
        assert one.event_id != two.event_id
        one.metadata["a"] = 1
        one.categories.append("x")
        assert two.metadata == {}
        assert two.categories == []
        assert one.metadata == {"a": 1}
        assert one.categories == ["x"]

    def test_the_same_default_at_each_look(self) -> None:
        event = SafetyEvent()
        assert event.event_id == event.event_id
        assert event.timestamp == event.timestamp
        assert event.metadata is event.metadata

    def test_to_dict_gives_the_17_keys_in_their_order(self) -> None:
        row = SafetyEvent(timestamp=AT, action=SafetyAction.BLOCK).to_dict()
        assert tuple(row) == FIELDS
        assert datetime.fromisoformat(row["timestamp"].replace("Z", "+00:00")) == AT
        assert type(row["action"]) is str
        assert row["action"] == "block"
        json.dumps(row)

    def test_naive_timestamp_means_utc(self) -> None:
        naive = SafetyEvent(timestamp=AT.replace(tzinfo=None))
        assert naive.timestamp == AT.replace(tzinfo=None)
        assert naive.to_dict()["timestamp"] == SafetyEvent(timestamp=AT).to_dict()["timestamp"]

    def test_other_zones_are_brought_to_utc(self) -> None:
        moved = AT.astimezone(timezone(timedelta(hours=5, minutes=30)))
        row = SafetyEvent(timestamp=moved).to_dict()
        assert row["timestamp"] == SafetyEvent(timestamp=AT).to_dict()["timestamp"]

    @pytest.mark.parametrize("action", ["allow", "block", "redact", "alert"])
    def test_action_is_a_string_or_its_member(self, action: str) -> None:
        assert SafetyEvent(action=action).to_dict()["action"] == action
        assert SafetyEvent(action=SafetyAction(action)).to_dict()["action"] == action

    def test_positional_construction(self) -> None:
        event = SafetyEvent("evt-1", AT, "app")
        assert (event.event_id, event.timestamp, event.app_name) == ("evt-1", AT, "app")
        with pytest.raises(TypeError, match="multiple values for event_id"):
            SafetyEvent("evt-1", event_id="evt-2")  # type: ignore[misc]
        with pytest.raises(TypeError, match="17"):
            SafetyEvent(*range(18))

    def test_unknown_keywords_go_to_metadata(self) -> None:
        given = {"own": 1}
        event = SafetyEvent(
            metadata=given,
            violation_category="pii",
            violation_severity="high",
            violation_confidence=0.9,
        )
        assert event.metadata == {
            "own": 1,
            "violation_category": "pii",
            "violation_severity": "high",
            "violation_confidence": 0.9,
        }
        assert given == {"own": 1}, "the caller's dict is the caller's"

    def test_unknown_keyword_does_not_overwrite_metadata(self) -> None:
        assert SafetyEvent(metadata={"a": 1}, a=2).metadata == {"a": 1}

    def test_equality(self) -> None:
        event = SafetyEvent(event_id="e", timestamp=AT, metadata={"a": [1]})
        assert event == SafetyEvent(event_id="e", timestamp=AT, metadata={"a": [1]})
        assert event != SafetyEvent(event_id="e", timestamp=AT, metadata={"a": [2]})
        assert event != event.to_dict()
        assert event != None  # noqa: E711
        assert SafetyEvent(action="block", event_id="e", timestamp=AT) == SafetyEvent(
            action=SafetyAction.BLOCK, event_id="e", timestamp=AT
        )
        with pytest.raises(TypeError):
            hash(event)

    def test_repr_can_be_evaluated(self) -> None:
        event = SafetyEvent(event_id="e", action="block", metadata={"a": 1})
        shown = repr(event)
        assert shown.startswith("SafetyEvent(event_id='e', timestamp=datetime.datetime(")
        import datetime as module  # noqa: ICN001

        names = {"SafetyEvent": SafetyEvent, "datetime": module}
        assert eval(shown, names) == event

    def test_is_a_dataclass(self) -> None:
        assert dataclasses.is_dataclass(SafetyEvent)
        fields = dataclasses.fields(SafetyEvent)
        assert tuple(field.name for field in fields) == FIELDS
        assert tuple(field.name for field in dataclasses.fields(SafetyEvent())) == FIELDS
        by_name = {field.name: field for field in fields}
        assert by_name["severity"].default == "none"
        assert by_name["metadata"].default_factory() == {}  # type: ignore[operator]
        assert by_name["action"].default is SafetyAction.ALLOW

    def test_asdict_and_astuple(self) -> None:
        event = SafetyEvent(event_id="e", timestamp=AT, categories=["a"], metadata={"k": {"l": 1}})
        values = dataclasses.asdict(event)
        assert tuple(values) == FIELDS
        assert values["timestamp"] == AT
        values["metadata"]["k"]["l"] = 2
        values["categories"].append("b")
        assert event.metadata == {"k": {"l": 1}}
        assert event.categories == ["a"]
        assert dataclasses.astuple(event)[:2] == ("e", AT)

    def test_replace(self) -> None:
        event = SafetyEvent(event_id="e", timestamp=AT, metadata={"a": 1})
        changed = dataclasses.replace(event, action="block")
        assert changed.action == "block"
        assert dataclasses.replace(changed, action=SafetyAction.ALLOW) == event
        assert event.action == "allow"
        if sys.version_info >= (3, 13):
            assert copy.replace(event, action="block") == changed  # type: ignore[attr-defined, unused-ignore]

    def test_pickle_copy_deepcopy(self) -> None:
        event = SafetyEvent(user_id="u", metadata={"a": [1]}, categories=["x"])
        for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
            assert pickle.loads(pickle.dumps(event, protocol)) == event
        shallow, deep = copy.copy(event), copy.deepcopy(event)
        assert shallow == event == deep
        assert shallow.metadata is event.metadata
        assert deep.metadata is not event.metadata

    def test_pickle_of_a_fresh_one_keeps_its_defaults(self) -> None:
        event = SafetyEvent()
        again = pickle.loads(pickle.dumps(event))
        assert again.event_id == event.event_id
        assert again.timestamp == event.timestamp

    def test_match(self) -> None:
        match SafetyEvent(event_id="e", action="block", user_id="u"):
            case SafetyEvent(action="allow"):
                pytest.fail("it was no allow")
            case SafetyEvent(event_id, action="block", user_id=user):
                assert (event_id, user) == ("e", "u")
            case _:
                pytest.fail("no case")

    def test_is_mutable(self) -> None:
        event = SafetyEvent()
        for name in FIELDS:
            setattr(event, name, "x")
            assert getattr(event, name) == "x"

    def test_can_be_subclassed(self) -> None:
        class Mine(SafetyEvent):
            extra = 1

        memory = MemoryAdapter()
        memory.insert([Mine(event_id="e")])
        assert ids(memory.records) == ["e"]
        assert repr(Mine()).startswith("TestSafetyEvent.") or "Mine(" in repr(Mine())
        assert Mine(event_id="e", timestamp=AT) != SafetyEvent(event_id="e", timestamp=AT)

    def test_signature_names_the_fields(self) -> None:
        assert tuple(inspect.signature(SafetyEvent).parameters)[:17] == FIELDS

    def test_annotations_and_docstring(self) -> None:
        assert SafetyEvent.__doc__
        assert SafetyEvent.__module__ == "namel3ss.safety.logging"
        assert SafetyEvent.__qualname__ == "SafetyEvent"


class TestSafetyActionAndViolation:
    """The words of a decision."""

    def test_action_is_a_str_enum(self) -> None:
        assert [action.value for action in SafetyAction] == ["allow", "block", "redact", "alert"]
        assert isinstance(SafetyAction.BLOCK, str)
        assert SafetyAction.BLOCK == "block"  # type: ignore[comparison-overlap]
        assert SafetyAction("redact") is SafetyAction.REDACT
        assert str(SafetyAction.ALERT) == f"{SafetyAction.ALERT}" == "alert"
        assert json.dumps(SafetyAction.BLOCK) == '"block"'
        with pytest.raises(ValueError, match="nonsense"):
            SafetyAction("nonsense")

    def test_violation(self) -> None:
        violation = SafetyViolation(["pii"], reason="an address")
        assert (violation.severity, violation.confidence) == ("high", 1.0)
        assert violation.metadata == {}
        assert violation == SafetyViolation(["pii"], "high", 1.0, "an address", {})
        assert violation != SafetyViolation(["other"])
        assert "pii" in repr(violation)
        assert SafetyViolation("pii").categories == ["pii"]
        assert pickle.loads(pickle.dumps(violation)) == violation
        assert copy.deepcopy(violation) == violation


class TestCreateSafetyEventFromEnforcement:
    """The event of an enforcement."""

    def test_with_a_violation(self) -> None:
        violation = SafetyViolation(["pii", "email"], "medium", 0.75, "an address", {"at": 3})
        event = create_safety_event_from_enforcement(
            "output", SafetyAction.REDACT, violation, 12.5, "policy", "chain", "agent", "trace"
        )
        assert event.direction == "output"
        assert event.action is SafetyAction.REDACT
        assert event.categories == ["pii", "email"]
        assert (event.severity, event.confidence, event.reason) == ("medium", 0.75, "an address")
        assert event.latency_ms == 12.5
        assert (event.policy_name, event.chain_name) == ("policy", "chain")
        assert (event.agent_name, event.trace_id) == ("agent", "trace")
        assert event.metadata == {"at": 3}

    def test_without_a_violation(self) -> None:
        event = create_safety_event_from_enforcement("input", "allow", None, 0.5)
        assert event.categories == []
        assert (event.severity, event.confidence, event.reason) == ("none", 1.0, None)

    def test_fields_and_unknown_keywords(self) -> None:
        event = create_safety_event_from_enforcement(
            "input", "block", SafetyViolation(["a"], reason="x"), 1.0, user_id="u", reason="y", k=1
        )
        assert (event.user_id, event.reason) == ("u", "y")
        assert event.metadata == {"k": 1}

    def test_any_object_with_the_attributes_serves(self) -> None:
        violation = Mock(categories=["c"], severity="low", confidence=0.1, reason="r", metadata={})
        event = create_safety_event_from_enforcement("input", "block", violation, 1.0)
        assert (event.categories, event.severity, event.confidence) == (["c"], "low", 0.1)


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


def soon(done: Callable[[], bool]) -> bool:
    """Wait until it is done, with a generous deadline."""
    for _ in range(1000):
        if done():
            return True
        threading.Event().wait(0.02)
    return False


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


class TestGlobalLogger:
    """The logger that the process shares."""

    def test_is_one_and_can_be_replaced(self) -> None:
        first = get_global_logger()
        assert get_global_logger() is first
        mine = logger_to(MemoryAdapter())
        assert set_global_logger(mine) is first
        assert get_global_logger() is mine
        assert set_global_logger(None) is mine
        assert get_global_logger() not in (first, mine)

    def test_threads_get_the_same_one(self) -> None:
        set_global_logger(None)
        barrier = threading.Barrier(8)
        found: list[SafetyEventLogger] = []

        def look() -> None:
            barrier.wait()
            found.append(get_global_logger())

        threads = [threading.Thread(target=look) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len({id(logger) for logger in found}) == 1

    def test_the_simplest_use_really_persists(self, safety_home: Path) -> None:
        asyncio.run(_simplest())
        connection = sqlite3.connect(safety_home / "safety_events.db")
        found = connection.execute("SELECT event_id, action FROM safety_events").fetchall()
        connection.close()
        assert found == [("evt-001", "redact")]

    def test_starts_itself_at_its_first_log(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("NAMEL3SS_SAFETY_FLUSH_INTERVAL_SECONDS", "0.05")
        set_global_logger(None)
        log_safety_event(SafetyEvent())
        logger = get_global_logger()
        for _ in range(400):
            if logger.get_stats()["total_flushed"]:
                break
            threading.Event().wait(0.02)
        assert logger.get_stats()["total_flushed"] == 1

    @pytest.mark.asyncio
    async def test_log_safety_event_takes_an_event_or_fields(self) -> None:
        memory = MemoryAdapter()
        set_global_logger(logger_to(memory))
        await log_safety_event(SafetyEvent(event_id="a"))
        await log_safety_event({"event_id": "b"})
        await log_safety_event(event_id="c", action="block", own=1)
        await get_global_logger().stop()
        assert ids(memory.records) == ["a", "b", "c"]
        assert memory.records[2]["metadata"] == {"own": 1}

    def test_a_wrong_environment_never_breaks_a_log(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("NAMEL3SS_SAFETY_BUFFER_SIZE", "many")
        set_global_logger(None)
        with pytest.raises(ValueError, match="NAMEL3SS_SAFETY_BUFFER_SIZE is 'many'"):
            get_global_logger()


async def _simplest() -> None:
    logger = get_global_logger()
    await logger.start()
    await logger.log(SafetyEvent(event_id="evt-001", action=SafetyAction.REDACT))
    await logger.stop()


class TestEnvironment:
    """from_env, from_url and the switch."""

    def test_disabled_logs_nothing_and_makes_nothing(
        self, monkeypatch: pytest.MonkeyPatch, safety_home: Path
    ) -> None:
        monkeypatch.setenv("NAMEL3SS_SAFETY_DISABLED", "1")
        memory = MemoryAdapter()
        with logger_to(memory) as logger:
            asyncio.run(_log_one(logger))
            logger.log(object())
            logger.log_many([SafetyEvent()])
            logger.flush_sync()
        assert len(memory) == 0
        assert logger.get_stats()["total_logged"] == 0
        assert not list(safety_home.rglob("*.n3j"))

    @pytest.mark.parametrize("value", ["", "0"])
    def test_zero_is_not_disabled(self, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
        monkeypatch.setenv("NAMEL3SS_SAFETY_DISABLED", value)
        memory = MemoryAdapter()
        with logger_to(memory) as logger:
            logger.log(SafetyEvent())
        assert len(memory) == 1

    def test_from_env(self, tmp_path: Path) -> None:
        environ = {
            "NAMEL3SS_SAFETY_URL": f"file://{tmp_path}/out.jsonl",
            "NAMEL3SS_SAFETY_TARGET_DATASET": "d",
            "NAMEL3SS_SAFETY_BUFFER_SIZE": "5",
            "NAMEL3SS_SAFETY_FLUSH_INTERVAL_SECONDS": "0.5",
            "NAMEL3SS_SAFETY_OVERFLOW_STRATEGY": "block",
            "NAMEL3SS_SAFETY_FALLBACK_PATH": str(tmp_path / "fb"),
            "NAMEL3SS_SAFETY_JOURNAL": "memory",
            "NAMEL3SS_SAFETY_MAX_RETRIES": "7",
            "NAMEL3SS_SAFETY_RETRY_DELAY_SECONDS": "0.25",
        }
        logger = SafetyEventLogger.from_env(environ)
        stats = logger.get_stats()
        assert (stats["target_dataset"], stats["max_buffer_size"]) == ("d", 5)
        assert (stats["flush_interval_seconds"], stats["overflow_strategy"]) == (0.5, "block")
        assert stats["journal"] == "memory"
        assert (logger._sink.max_retries, logger._sink.retry_delay_seconds) == (7, 0.25)
        logger.log(SafetyEvent(event_id="e"))
        logger.stop_sync()
        assert ids([json.loads((tmp_path / "out.jsonl").read_text())]) == ["e"]

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("BUFFER_SIZE", "x"),
            ("FLUSH_INTERVAL_SECONDS", "soon"),
            ("OVERFLOW_STRATEGY", "blok"),
            ("URL", "sqlit:///a.db"),
        ],
    )
    def test_from_env_names_what_is_wrong(self, name: str, value: str) -> None:
        with pytest.raises(ValueError, match="(?i)" + name.replace("URL", "sqlite")):
            SafetyEventLogger.from_env({f"NAMEL3SS_SAFETY_{name}": value})

    def test_url_of_the_environment_is_the_default_dataset(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("NAMEL3SS_SAFETY_URL", f"sqlite:///{tmp_path}/env.db")
        with SafetyEventLogger() as logger:
            logger.log(SafetyEvent())
        assert (tmp_path / "env.db").exists()
        monkeypatch.setenv("NAMEL3SS_SAFETY_URL", "nonsense://x")
        with pytest.raises(ValueError, match="NAMEL3SS_SAFETY_URL"):
            SafetyEventLogger()

    def test_a_delta_table_is_a_dataset(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        url = f"delta+file://{tmp_path}/events"
        monkeypatch.setenv("NAMEL3SS_SAFETY_URL", url)
        for logger in [SafetyEventLogger(), SafetyEventLogger.from_url(url)]:
            with logger:
                for _ in range(3):
                    logger.log(SafetyEvent())
        commits = sorted((tmp_path / "events" / "_delta_log").glob("*.json"))
        lines = [line for commit in commits for line in commit.read_text().splitlines()]
        adds = [json.loads(line)["add"] for line in lines if '"add":' in line]
        assert sum(json.loads(add["stats"])["numRecords"] for add in adds) == 6
        assert all((tmp_path / "events" / add["path"]).exists() for add in adds)
        with pytest.raises(ValueError, match="did you mean checkpoint=") as refused:
            SafetyEventLogger.from_url("delta+s3://safety/t?secret_access_key=canary&chekpoint=7")
        assert "canary" not in str(refused.value)

    def test_a_delta_table_is_fed_and_read_by_the_command(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("NAMEL3SS_SAFETY_HOME", f"{tmp_path}/home")
        url = f"delta+file://{tmp_path}/events"
        code = "import sys; from namel3ss.safety._cli import main; sys.exit(main())"

        def command(*arguments: str) -> str:
            done = [sys.executable, "-c", code, *arguments]
            return subprocess.run(
                done, check=True, timeout=60, capture_output=True, text=True
            ).stdout

        lines = tmp_path / "a.jsonl"
        lines.write_text('{"event_id": "from the command", "action": "block"}\n')
        command("ingest", "--to", url, str(lines))
        with SafetyEventLogger.from_url(url) as logger:
            logger.log(SafetyEvent(event_id="from Python"))
        found = [
            json.loads(row) for row in command("tail", "-o", "json", "--from", url).splitlines()
        ]
        assert [row["event_id"] for row in found] == ["from the command", "from Python"]
        monkeypatch.setenv("NAMEL3SS_SAFETY_URL", url)
        command("ingest", str(lines))
        [counted] = json.loads(command("stats", "-o", "json"))["datasets"]
        assert (counted["rows"], counted["actions"]["block"]) == (3, 2)

    @pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.db"])
    def test_from_url(self, tmp_path: Path, name: str) -> None:
        scheme = "sqlite:///" if name.endswith("db") else "file://"
        with SafetyEventLogger.from_url(f"{scheme}{tmp_path}/{name}", buffer_size=2) as logger:
            logger.log(SafetyEvent())
        assert (tmp_path / name).stat().st_size > 0
        assert logger.buffer_size == 2

    def test_from_several_urls_each_gets_everything(self, tmp_path: Path) -> None:
        urls = [f"sqlite:///{tmp_path}/a.db", f"file://{tmp_path}/b.jsonl"]
        with SafetyEventLogger.from_url(*urls, buffer_size=2) as logger:
            for n in range(7):
                logger.log(SafetyEvent(event_id=str(n)))
        stats = logger.get_stats()
        assert (stats["total_logged"], stats["total_flushed"], stats["pending"]) == (7, 7, 0)
        first, second = stats["sinks"]
        assert first["name"] == "safety_events" != second["name"]
        assert (first["flushed"], second["flushed"]) == (7, 7)
        assert first["destination"].endswith("a.db?table=safety_events")
        assert second["destination"] == urls[1]
        assert first["healthy"]
        assert second["last_error"] is None
        lines = (tmp_path / "b.jsonl").read_text().splitlines()
        assert ids([json.loads(line) for line in lines]) == [str(n) for n in range(7)]
        with sqlite3.connect(tmp_path / "a.db") as database:
            rows = database.execute("SELECT count(*) FROM safety_events").fetchall()
        assert rows == [(7,)]

    def test_a_dead_url_holds_up_nobody(self, tmp_path: Path) -> None:
        dead = "postgresql://u:canary@127.0.0.1:1/d"
        urls = (dead, f"file://{tmp_path}/b.jsonl")
        options = {"buffer_size": 1, "max_retries": 1, "fallback_path": tmp_path / "fallback"}
        logger = SafetyEventLogger.from_url(*urls, **options)
        logger.start()
        for n in range(5):
            logger.log(SafetyEvent(event_id=str(n)))
        logger.stop_sync(timeout=60)
        stats = logger.get_stats()
        failing, other = stats["sinks"]
        assert (other["flushed"], other["pending"], other["healthy"]) == (5, 0, True)
        assert (failing["flushed"], failing["healthy"]) == (0, False)
        assert failing["fallback"] + failing["pending"] == 5
        assert failing["last_error"]
        assert "canary" not in str(stats)
        assert (stats["total_flushed"], stats["healthy"]) == (0, False)

    def test_the_environment_may_hold_several_urls(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        urls = f"file://{tmp_path}/a.jsonl  \n file://{tmp_path}/b b.jsonl"
        monkeypatch.setenv("NAMEL3SS_SAFETY_URL", urls)
        with SafetyEventLogger() as logger:
            logger.log(SafetyEvent())
        for name in ("a.jsonl", "b b.jsonl"):
            assert len((tmp_path / name).read_text().splitlines()) == 1
        monkeypatch.delenv("NAMEL3SS_SAFETY_URL")
        with SafetyEventLogger.from_env({"NAMEL3SS_SAFETY_URL": urls}) as logger:
            logger.log(SafetyEvent())
        assert len((tmp_path / "b b.jsonl").read_text().splitlines()) == 2

    def test_the_same_url_twice_is_said_at_once(self, tmp_path: Path) -> None:
        url = f"file://{tmp_path}/a.jsonl"
        with pytest.raises(ValueError, match="^url is file:.*delivers to already"):
            SafetyEventLogger.from_url(url, url)

    def test_from_url_wants_one(self) -> None:
        with pytest.raises(ValueError, match="url"):
            SafetyEventLogger.from_url()
        with pytest.raises(ValueError, match="url"):
            SafetyEventLogger.from_url("")

    @pytest.mark.parametrize(
        "url", ["postgresql://u:canary@127.0.0.1:1/d", "mysql://u:canary@h/d", "s3://b?key=canary"]
    )
    def test_no_secret_of_a_url_is_told(self, url: str, tmp_path: Path) -> None:
        told = ""
        try:
            # Not into the default folder, which other tests look at.
            logger = SafetyEventLogger.from_url(url, max_retries=1, fallback_path=tmp_path / "f")
        except ValueError as error:
            told = str(error)
        else:
            logger.log(SafetyEvent())
            logger.flush_sync(timeout=0.5)
            told = repr(logger) + str(logger.get_stats())
        assert told
        assert "canary" not in told


async def _log_one(logger: SafetyEventLogger) -> None:
    await logger.log(SafetyEvent())


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


class TestBindAndContext:
    """What fills in what events leave open."""

    def test_bind(self) -> None:
        memory = MemoryAdapter()
        with logger_to(memory) as logger:
            bound = logger.bind(app_name="support", trace_id="t", tenant="acme")
            bound.log(SafetyEvent(event_id="a"))
            bound.log(SafetyEvent(event_id="b", trace_id="own", metadata={"tenant": "own"}))
            bound.bind(trace_id="inner", user_id="u").log({"event_id": "c"})
            logger.log(SafetyEvent(event_id="d"))
        a, b, c, d = memory.records
        assert (a["app_name"], a["trace_id"], a["metadata"]) == ("support", "t", {"tenant": "acme"})
        assert (b["trace_id"], b["metadata"]) == ("own", {"tenant": "own"})
        assert (c["app_name"], c["trace_id"], c["user_id"]) == ("support", "inner", "u")
        assert (d["app_name"], d["metadata"]) == (None, {})

    def test_bound_shares_the_loggers_all(self) -> None:
        memory = MemoryAdapter()
        bound = logger_to(memory).bind(a=1)
        with bound as same:
            same.log(SafetyEvent())
        assert bound.get_stats()["total_flushed"] == 1

    @pytest.mark.parametrize("name", ["action", "event_id", "timestamp", "metadata", "direction"])
    def test_what_belongs_to_one_event_is_refused(self, name: str) -> None:
        with pytest.raises(TypeError, match=name):
            SafetyEventLogger().bind(**{name: "x"})
        with pytest.raises(TypeError, match=name):
            context(**{name: "x"})

    def test_context_nests_and_beats_bind(self) -> None:
        memory = MemoryAdapter()
        with logger_to(memory) as logger:
            bound = logger.bind(trace_id="bound", app_name="app")
            with context(trace_id="outer", user_id="u"):
                with context(trace_id="inner"):
                    bound.log(SafetyEvent())
                bound.log(SafetyEvent())
            bound.log(SafetyEvent())
        found = [(row["trace_id"], row["user_id"], row["app_name"]) for row in memory.records]
        assert found == [("inner", "u", "app"), ("outer", "u", "app"), ("bound", None, "app")]

    @pytest.mark.asyncio
    async def test_context_belongs_to_the_task(self) -> None:
        memory = MemoryAdapter()

        async def work(name: str) -> None:
            async with context(trace_id=name):
                await asyncio.sleep(0.005)
                await logger.log(SafetyEvent(event_id=name))

        async with logger_to(memory) as logger:
            await asyncio.gather(*(work(str(number)) for number in range(10)))
        assert all(row["trace_id"] == row["event_id"] for row in memory.records)

    def test_context_reaches_python_adapters(self) -> None:
        taken = Mock()
        with logger_to(taken) as logger, context(trace_id="t"):
            logger.log({"event_id": "e"})
        assert taken.insert.call_args.args[0] == [{"event_id": "e", "trace_id": "t"}]


class TestGuards:
    """guard and audited."""

    def test_guard_times_and_records(self) -> None:
        memory = MemoryAdapter()
        with logger_to(memory) as logger:
            with guard("pii", "output", logger=logger, user_id="u") as check:
                check.redact(categories=["email"], severity="low")
            with guard("pii", logger=logger):
                pass
        first, second = memory.records
        assert (first["policy_name"], first["direction"], first["user_id"]) == (
            "pii",
            "output",
            "u",
        )
        assert (first["action"], first["categories"]) == ("redact", ["email"])
        assert 0 <= first["latency_ms"] < 60_000
        assert (second["action"], second["direction"]) == ("allow", "input")

    @pytest.mark.parametrize("word", ["allow", "block", "redact", "alert"])
    def test_each_word(self, word: str) -> None:
        memory = MemoryAdapter()
        with logger_to(memory) as logger, guard("p", logger=logger) as check:
            getattr(check, word)(reason="r")
        assert (memory.records[0]["action"], memory.records[0]["reason"]) == (word, "r")

    def test_a_violation_and_a_later_decision(self) -> None:
        memory = MemoryAdapter()
        with logger_to(memory) as logger, guard("p", logger=logger) as check:
            check.allow()
            check.decide("block", SafetyViolation(["a"], "critical", 0.5, "why", {"k": 1}))
        (row,) = memory.records
        assert (row["action"], row["severity"], row["confidence"]) == ("block", "critical", 0.5)
        assert (row["reason"], row["metadata"]["k"]) == ("why", 1)

    def test_a_raising_guardrail_is_recorded_and_goes_on(self) -> None:
        memory = MemoryAdapter()
        with (
            pytest.raises(ZeroDivisionError),
            logger_to(memory) as logger,
            guard("p", logger=logger),
        ):
            _ = 1 / 0
        (row,) = memory.records
        assert (row["action"], row["severity"]) == ("alert", "high")
        assert row["metadata"] == {"error": "ZeroDivisionError"}

    @pytest.mark.asyncio
    async def test_async_guard(self) -> None:
        memory = MemoryAdapter()
        async with logger_to(memory) as logger, guard("p", logger=logger) as check:
            check.block()
        assert memory.records[0]["action"] == "block"

    def test_guard_uses_the_global_logger(self) -> None:
        memory = MemoryAdapter()
        set_global_logger(logger_to(memory))
        with guard("p"):
            pass
        get_global_logger().stop_sync()
        assert len(memory) == 1

    @pytest.mark.parametrize(
        ("result", "action"),
        [
            (None, "allow"),
            (True, "allow"),
            (False, "block"),
            ("redact", "redact"),
            (SafetyAction.ALERT, "alert"),
            (SafetyViolation(["x"]), "block"),
            ("some text", "alert"),
            (0, "alert"),
        ],
    )
    def test_audited(self, result: object, action: str) -> None:
        memory = MemoryAdapter()
        with logger_to(memory) as logger:

            @audited("p", "output", logger=logger, user_id="u")
            def check(text: str) -> object:
                """Look."""
                assert text == "x"
                return result

            assert check("x") is result
            assert check.__name__ == "check"
            assert check.__doc__ == "Look."
        (row,) = memory.records
        assert (row["action"], row["direction"], row["user_id"]) == (action, "output", "u")

    @pytest.mark.asyncio
    async def test_audited_async(self) -> None:
        memory = MemoryAdapter()
        async with logger_to(memory) as logger:

            @audited("p", logger=logger)
            async def check() -> bool:
                await asyncio.sleep(0)
                return False

            assert inspect.iscoroutinefunction(check)
            assert await check() is False
        assert memory.records[0]["action"] == "block"


class TestSafetyLogHandler:
    """Records of Python's logging as events."""

    @pytest.fixture
    def log(self) -> Any:
        memory = MemoryAdapter()
        logger = logger_to(memory)
        handler = SafetyLogHandler(logger)
        log = logging.getLogger("guardrails.test")
        log.addHandler(handler)
        log.setLevel(logging.DEBUG)
        yield log, logger, memory
        log.removeHandler(handler)
        logger.stop_sync()

    def test_fields(self, log: Any) -> None:
        source, logger, memory = log
        source.warning("saw %s", "it", extra={"policy_name": "pii", "own": 1})
        source.info("fine")
        source.error("no", extra={"action": "block", "metadata": {"k": 2}})
        logger.flush_sync()
        first, second, third = memory.records
        assert (first["reason"], first["action"], first["severity"]) == (
            "saw it",
            "alert",
            "medium",
        )
        assert first["policy_name"] == "pii"
        assert first["metadata"]["own"] == 1
        assert first["metadata"]["logger"] == "guardrails.test"
        assert (second["action"], second["severity"]) == ("alert", "low")
        assert (third["action"], third["metadata"]["k"]) == ("block", 2)

    def test_exception_and_broken_format(self, log: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        source, logger, memory = log
        try:
            raise ZeroDivisionError
        except ZeroDivisionError:
            source.exception("went wrong")
        monkeypatch.setattr(logging, "raiseExceptions", False)
        source.warning("%d", "no number")
        logger.flush_sync()
        assert memory.records[0]["metadata"]["error"] == "ZeroDivisionError"

    def test_own_diagnostics_are_passed_over(self, log: Any) -> None:
        _, logger, memory = log
        own = logging.getLogger("namel3ss.safety.something")
        handler = SafetyLogHandler(logger)
        own.addHandler(handler)
        own.warning("about itself")
        own.removeHandler(handler)
        logger.flush_sync()
        assert len(memory) == 0

    def test_is_exported(self) -> None:
        assert package.SafetyLogHandler is SafetyLogHandler


class TestFixture:
    """The pytest fixture ``safety_events``."""

    def test_sees_what_the_code_under_test_records(self, safety_events: Any) -> None:
        assert len(safety_events) == 0
        log_safety_event(action="block", policy_name="pii")
        with guard("other"):
            pass
        assert len(safety_events) == 2
        assert safety_events[0]["action"] == "block"
        assert [row["policy_name"] for row in safety_events] == ["pii", "other"]

    def test_starts_empty_each_time(self, safety_events: Any) -> None:
        assert safety_events.rows == []

    def test_puts_the_former_logger_back(self, request: pytest.FixtureRequest) -> None:
        mine = logger_to(MemoryAdapter())
        set_global_logger(mine)
        events = request.getfixturevalue("safety_events")
        assert get_global_logger() is events.logger
        events.close()
        assert get_global_logger() is mine
        set_global_logger(events.logger)


class TestPackage:
    """The package as such."""

    def test_everything_is_exported_and_documented(self) -> None:
        for name in package.__all__:
            item = getattr(package, name)
            if name != "__version__":
                assert item.__doc__, name
        with pytest.raises(AttributeError, match="nonsense"):
            _ = package.nonsense

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
