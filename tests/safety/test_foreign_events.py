"""Events of an app's own, of any shape."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict, UserDict
from enum import Enum
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import pytest
from namel3ss.safety import (
    MemoryAdapter,
    SafetyEvent,
)
from shared import AT, logger_to

if TYPE_CHECKING:
    from collections.abc import Callable


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
