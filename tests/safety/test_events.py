"""The event, violations and enforcements: what the quick reference and the contract say of them."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import json
import pickle
import sys
import uuid
from datetime import datetime, timedelta, timezone
from unittest.mock import Mock

import pytest
from namel3ss.safety import (
    MemoryAdapter,
    SafetyAction,
    SafetyEvent,
    SafetyViolation,
    create_safety_event_from_enforcement,
)
from shared import AT, ids

FIELDS = (
    "event_id", "timestamp", "app_name", "chain_name", "agent_name", "policy_name", "reason",
    "trace_id", "session_id", "user_id", "direction", "action", "categories", "severity",
    "confidence", "latency_ms", "metadata",
)  # fmt: skip


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
