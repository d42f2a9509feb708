"""How a logger is made: wrong arguments, settings, and defaults."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any
from unittest.mock import AsyncMock, MagicMock, Mock

import pytest
from namel3ss.safety import (
    AdapterRegistry,
    MemoryAdapter,
    SafetyEvent,
    SafetyEventLogger,
    SafetyEventSink,
)
from shared import ids, logger_to

if TYPE_CHECKING:
    from pathlib import Path


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
