"""Sinks, adapters, registries and writers: how events get to their dataset, or not."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any
from unittest.mock import AsyncMock, MagicMock, Mock

import pytest
from namel3ss.safety import (
    AdapterRegistry,
    MemoryAdapter,
    SafetyEvent,
    SafetyEventSink,
)
from shared import events, fallback_rows, ids, sink_for

if TYPE_CHECKING:
    from pathlib import Path


class TestSafetyEventSink:
    """SafetyEventSink: attempts, then a fallback file, never an exception."""

    @pytest.mark.asyncio
    async def test_write_events_uses_insert_method(self) -> None:
        adapter = Mock()
        adapter.insert = AsyncMock()
        registry = Mock()
        registry.get.return_value = adapter
        sink = SafetyEventSink(dataset_name="test_safety", adapter_registry=registry)

        await sink.write_events(events(2))

        registry.get.assert_called_once_with("test_safety")
        adapter.insert.assert_called_once()
        rows = adapter.insert.call_args[0][0]
        assert ids(rows) == ["evt-001", "evt-002"]
        assert rows[0] == events(1)[0].to_dict() | {"timestamp": rows[0]["timestamp"]}
        adapter.append.assert_not_called()
        adapter.write.assert_not_called()

    @pytest.mark.asyncio
    async def test_write_events_uses_append_method(self) -> None:
        adapter = Mock(spec=["append", "write", "records"])
        await sink_for(adapter).write_events(events(3))
        texts = [call.args[0] for call in adapter.append.call_args_list]
        assert all(isinstance(text, str) for text in texts)
        assert ids([json.loads(text) for text in texts]) == ["evt-001", "evt-002", "evt-003"]
        adapter.write.assert_not_called()

    @pytest.mark.asyncio
    async def test_write_events_uses_write_method(self) -> None:
        adapter = Mock(spec=["write", "records"])
        await sink_for(adapter).write_events(events(2))
        adapter.write.assert_called_once()
        assert ids(adapter.write.call_args.args[0]) == ["evt-001", "evt-002"]

    @pytest.mark.asyncio
    async def test_write_events_extends_records(self) -> None:
        class Holder:
            def __init__(self) -> None:
                self.records: list[dict[str, Any]] = []

        holder = Holder()
        await sink_for(holder).write_events(events(2))
        assert ids(holder.records) == ["evt-001", "evt-002"]

    @pytest.mark.asyncio
    async def test_adapter_without_a_way_to_take_rows_falls_back(self, tmp_path: Path) -> None:
        await sink_for(object(), tmp_path / "fb").write_events(events(2))
        assert ids(fallback_rows(tmp_path / "fb")) == ["evt-001", "evt-002"]

    @pytest.mark.asyncio
    @pytest.mark.parametrize("name", ["insert", "append", "write"])
    @pytest.mark.parametrize("mock", [Mock, MagicMock, AsyncMock])
    async def test_mocks_serve_as_adapters(self, name: str, mock: type[Mock]) -> None:
        adapter = mock(spec=[name])
        setattr(adapter, name, mock())
        await sink_for(adapter).write_events(events(1))
        getattr(adapter, name).assert_called_once()

    @pytest.mark.asyncio
    @pytest.mark.parametrize("mock", [Mock, MagicMock])
    async def test_bare_mocks_serve_as_adapters_and_registries(self, mock: type[Mock]) -> None:
        registry = mock()
        sink = SafetyEventSink("x", registry, retry_delay_seconds=0.0)
        await sink.write_events(events(1))
        registry.get.return_value.insert.assert_called_once()

    @pytest.mark.asyncio
    async def test_async_insert_runs_to_its_end(self) -> None:
        taken: list[dict[str, Any]] = []

        class Slow:
            async def insert(self, rows: list[dict[str, Any]]) -> None:
                await asyncio.sleep(0.01)
                taken.extend(rows)

        await sink_for(Slow()).write_events(events(2))
        assert ids(taken) == ["evt-001", "evt-002"]

    @pytest.mark.asyncio
    async def test_adapter_is_called_outside_the_loop_thread(self) -> None:
        threads: list[threading.Thread] = []

        class Where:
            def insert(self, _rows: list[dict[str, Any]]) -> None:
                threads.append(threading.current_thread())

        await sink_for(Where()).write_events(events(1))
        assert threads[0] is not threading.current_thread()

    @pytest.mark.asyncio
    async def test_max_retries_counts_all_attempts(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        adapter = Mock()
        adapter.insert = AsyncMock(side_effect=Exception("the database is away"))
        folder = tmp_path / "fb"
        sink = sink_for(adapter, folder)
        with caplog.at_level(logging.DEBUG, logger="namel3ss.safety"):
            await sink.write_events(events(4))

        assert adapter.insert.call_count == 3
        assert all(len(call.args[0]) == 4 for call in adapter.insert.call_args_list)
        assert len(list(folder.glob("*.json"))) == 1
        assert ids(fallback_rows(folder)) == ["evt-001", "evt-002", "evt-003", "evt-004"]
        critical = [r for r in caplog.records if r.levelno == logging.CRITICAL]
        assert len(critical) == 1
        assert critical[0].name == "namel3ss.safety"

    @pytest.mark.asyncio
    @pytest.mark.parametrize("attempts", [1, 2, 5])
    async def test_max_retries_is_obeyed(self, tmp_path: Path, attempts: int) -> None:
        adapter = Mock()
        adapter.insert.side_effect = Exception("no")
        await sink_for(adapter, tmp_path / "fb", max_retries=attempts).write_events(events(1))
        assert adapter.insert.call_count == attempts

    @pytest.mark.asyncio
    async def test_a_retry_that_works_leaves_no_fallback_file(self, tmp_path: Path) -> None:
        adapter = Mock()
        adapter.insert.side_effect = [Exception("1"), ConnectionError("2"), None]
        await sink_for(adapter, tmp_path / "fb").write_events(events(2))
        assert adapter.insert.call_count == 3
        assert fallback_rows(tmp_path / "fb") == []

    @pytest.mark.asyncio
    async def test_waits_double_between_attempts(self, tmp_path: Path) -> None:
        loop = asyncio.get_running_loop()
        at: list[float] = []

        class Failing:
            def insert(self, _rows: list[dict[str, Any]]) -> None:
                at.append(loop.time())
                raise OSError

        sink = sink_for(Failing(), tmp_path / "fb", retry_delay_seconds=0.1)
        await sink.write_events(events(1))
        assert 0.09 <= at[1] - at[0] <= 0.19
        assert at[2] - at[1] >= 0.18

    @pytest.mark.asyncio
    @pytest.mark.parametrize(
        "error", [BaseException, SystemExit, KeyboardInterrupt, GeneratorExit, MemoryError]
    )
    async def test_no_error_of_an_adapter_gets_out(
        self, tmp_path: Path, error: type[BaseException]
    ) -> None:
        adapter = Mock()
        adapter.insert.side_effect = error("x")
        await sink_for(adapter, tmp_path / "fb", max_retries=2).write_events(events(1))
        assert ids(fallback_rows(tmp_path / "fb")) == ["evt-001"]

    @pytest.mark.asyncio
    async def test_stop_iteration_and_cancelled_error_get_out_neither(self, tmp_path: Path) -> None:
        class Odd:
            def __init__(self) -> None:
                self.errors = [StopIteration(), asyncio.CancelledError(), StopAsyncIteration()]

            async def insert(self, _rows: list[dict[str, Any]]) -> None:
                raise self.errors.pop()

        await sink_for(Odd(), tmp_path / "fb").write_events(events(1))
        assert ids(fallback_rows(tmp_path / "fb")) == ["evt-001"]

    @pytest.mark.asyncio
    async def test_one_bad_row_costs_one_row(self, tmp_path: Path) -> None:
        stored: list[dict[str, Any]] = []

        def insert(rows: list[dict[str, Any]]) -> None:
            if "evt-003" in ids(rows):
                raise ValueError("a row is wrong")  # noqa: EM101
            stored.extend(rows)

        adapter = Mock()
        adapter.insert.side_effect = insert
        await sink_for(adapter, tmp_path / "fb").write_events(events(8))
        assert sorted(ids(stored)) == [f"evt-{n:03}" for n in (1, 2, 4, 5, 6, 7, 8)]
        assert ids(fallback_rows(tmp_path / "fb")) == ["evt-003"]

    @pytest.mark.asyncio
    async def test_an_append_that_fails_midway_goes_on_where_it_stopped(self) -> None:
        taken: list[str] = []
        failures = iter([True])

        def append(text: str) -> None:
            if len(taken) == 2 and next(failures, False):
                raise ConnectionError
            taken.append(text)

        adapter = Mock(spec=["append"])
        adapter.append.side_effect = append
        await sink_for(adapter).write_events(events(4))
        assert ids([json.loads(text) for text in taken]) == [e.event_id for e in events(4)]

    @pytest.mark.asyncio
    async def test_no_fallback_path_says_how_many_were_lost(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.DEBUG, logger="namel3ss.safety"):
            await sink_for(object()).write_events(events(7))
        critical = [r for r in caplog.records if r.levelno == logging.CRITICAL]
        assert len(critical) == 1
        assert "7" in critical[0].getMessage()

    @pytest.mark.asyncio
    @pytest.mark.parametrize("given", [None, 7, "text", [None], [object()], [1, "a"]])
    async def test_what_are_no_events_raises_nothing(
        self, given: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        memory = MemoryAdapter()
        with caplog.at_level(logging.DEBUG, logger="namel3ss.safety"):
            await sink_for(memory).write_events(given)
        assert memory.records == []
        assert any(record.levelno == logging.CRITICAL for record in caplog.records)

    @pytest.mark.asyncio
    async def test_an_iterable_that_raises_is_no_error_of_the_apps(self) -> None:
        def broken() -> Any:
            yield SafetyEvent()
            raise RuntimeError

        await sink_for(MemoryAdapter()).write_events(broken())

    @pytest.mark.asyncio
    async def test_no_events_is_no_call(self) -> None:
        adapter = Mock()
        await sink_for(adapter).write_events([])
        adapter.insert.assert_not_called()

    @pytest.mark.asyncio
    async def test_one_event_alone_and_generators_are_taken(self) -> None:
        memory = MemoryAdapter()
        sink = sink_for(memory)
        await sink.write_events(events(1)[0])  # type: ignore[arg-type]
        await sink.write_events({"event_id": "evt-002"})
        await sink.write_events(event for event in [{"event_id": "evt-003"}])
        assert ids(memory.records) == ["evt-001", "evt-002", "evt-003"]

    def test_write_events_sync(self, tmp_path: Path) -> None:
        memory = MemoryAdapter()
        sink_for(memory).write_events_sync(events(2))
        assert ids(memory.records) == ["evt-001", "evt-002"]
        adapter = Mock()
        adapter.insert.side_effect = Exception("no")
        sink_for(adapter, tmp_path / "fb").write_events_sync(events(1))
        assert adapter.insert.call_count == 3
        assert ids(fallback_rows(tmp_path / "fb")) == ["evt-001"]

    @pytest.mark.asyncio
    async def test_two_batches_in_one_second_make_two_files(self, tmp_path: Path) -> None:
        sink = sink_for(object(), tmp_path / "fb")
        for event in events(5):
            await sink.write_events([event])
        assert len(list((tmp_path / "fb").glob("*.json"))) == 5
        assert sorted(ids(fallback_rows(tmp_path / "fb"))) == ids([e.to_dict() for e in events(5)])

    @pytest.mark.asyncio
    async def test_fallback_file_is_named_in_utc_and_holds_the_rows(self, tmp_path: Path) -> None:
        before = datetime.now(timezone.utc)
        await sink_for(object(), tmp_path / "fb").write_events(events(1))
        after = datetime.now(timezone.utc)
        (path,) = (tmp_path / "fb").glob("*.json")
        stamp = "_".join(path.name.split("_")[2:4])
        assert before.strftime("%Y%m%d_%H%M%S") <= stamp <= after.strftime("%Y%m%d_%H%M%S")
        (row,) = fallback_rows(tmp_path / "fb")
        expected = events(1)[0].to_dict()
        assert {**expected, "timestamp": row["timestamp"]}.items() <= row.items()

    @pytest.mark.asyncio
    async def test_the_loop_turns_while_an_adapter_hangs(self) -> None:
        release = threading.Event()

        class Hanging:
            def insert(self, _rows: list[dict[str, Any]]) -> None:
                release.wait(20)

        writing = asyncio.ensure_future(sink_for(Hanging()).write_events(events(1)))
        for _ in range(20):
            await asyncio.sleep(0.001)
        assert not writing.done()
        release.set()
        await asyncio.wait_for(writing, 10)

    def test_settings_can_be_read_and_set(self, tmp_path: Path) -> None:
        registry = AdapterRegistry()
        sink = SafetyEventSink("prod", registry, str(tmp_path / "fb"), 5, 2.0)
        assert sink.dataset_name == "prod"
        assert sink.adapter_registry is registry
        assert sink.fallback_path == str(tmp_path / "fb")
        assert (sink.max_retries, sink.retry_delay_seconds) == (5, 2.0)
        sink.max_retries = 7
        sink.retry_delay_seconds = 0.5
        assert (sink.max_retries, sink.retry_delay_seconds) == (7, 0.5)
        assert "prod" in repr(sink)

    def test_defaults(self) -> None:
        sink = SafetyEventSink()
        assert sink.dataset_name == "safety_events"
        assert sink.adapter_registry.names() == []
        assert sink.fallback_path is None
        assert (sink.max_retries, sink.retry_delay_seconds) == (3, 1.0)

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("dataset_name", ""),
            ("dataset_name", 7),
            ("adapter_registry", object()),
            ("fallback_path", 7),
            ("fallback_path", ""),
            ("max_retries", 0),
            ("max_retries", -1),
            ("max_retries", 1.5),
            ("max_retries", True),
            ("max_retries", 10**30),
            ("retry_delay_seconds", -1),
            ("retry_delay_seconds", float("nan")),
            ("retry_delay_seconds", float("inf")),
            ("retry_delay_seconds", "1"),
            pytest.param("retry_delay_seconds", 10**400, id="delay-huge"),
        ],
    )
    def test_a_wrong_argument_is_named(self, name: str, value: Any) -> None:
        with pytest.raises(ValueError, match=f"^{name} is "):
            SafetyEventSink(**{name: value})

    @pytest.mark.parametrize(
        ("name", "value"),
        [("max_retries", 0), ("max_retries", "3"), ("retry_delay_seconds", -0.1)],
    )
    def test_a_wrong_setting_is_refused_and_changes_nothing(self, name: str, value: Any) -> None:
        sink = SafetyEventSink()
        before = getattr(sink, name)
        with pytest.raises(ValueError, match=name):
            setattr(sink, name, value)
        assert getattr(sink, name) == before

    @pytest.mark.asyncio
    async def test_the_dataset_decides_not_the_time_of_registering(self) -> None:
        registry = AdapterRegistry()
        sink = SafetyEventSink("late", registry, retry_delay_seconds=0.0)
        memory = MemoryAdapter()
        registry.register("late", memory)
        await sink.write_events(events(1))
        assert ids(memory.records) == ["evt-001"]

    @pytest.mark.asyncio
    async def test_a_passed_over_event_is_counted_and_the_others_stored(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        memory = MemoryAdapter()
        with caplog.at_level(logging.DEBUG, logger="namel3ss.safety"):
            await sink_for(memory).write_events([events(1)[0], 7, events(2)[1]])
        assert ids(memory.records) == ["evt-001", "evt-002"]
        assert "1" in caplog.records[-1].getMessage()
