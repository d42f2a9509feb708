"""Verdicts: how actions, missing actions and misspelt names are read, and what is warned of."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import importlib
import json
import logging
import pathlib
import re
import subprocess
import sys
import threading
from collections import OrderedDict, namedtuple
from enum import Enum
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import namel3ss.safety as package
import numpy as np
import pytest
from namel3ss.safety import (
    AdapterRegistry,
    MemoryAdapter,
    SafetyAction,
    SafetyEvent,
    SafetyEventLogger,
    SafetyLogHandler,
    SafetyViolation,
    _core,
    audited,
    context,
    get_global_logger,
    guard,
    log_safety_event,
)
from pydantic import BaseModel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

UTC = dt.timezone.utc


class Recorded:
    """A logger into memory, and the warnings that it gave."""

    def __init__(self, caplog: pytest.LogCaptureFixture, **options: Any) -> None:
        self.memory = MemoryAdapter()
        registry = AdapterRegistry()
        registry.register("safety_events", self.memory)
        self.logger = SafetyEventLogger(adapter_registry=registry, journal="memory", **options)
        self._caplog = caplog
        # What other tests were warned of, and this module's own examples at its import.
        _core.take_warnings()

    def log(self, event: Any) -> dict[str, Any]:
        """Log one event; return its row."""
        self.logger.log(event)
        return self.last

    @property
    def rows(self) -> list[dict[str, Any]]:
        """All rows so far."""
        self.logger.flush_sync()
        return self.memory.records

    @property
    def last(self) -> dict[str, Any]:
        """The newest row."""
        return self.rows[-1]

    def warnings(self, *parts: str) -> list[str]:
        """Give what was warned of so far and holds all of the parts."""
        self.logger.flush_sync()
        told = [r.getMessage() for r in self._caplog.records if r.name == "namel3ss.safety"]
        return [text for text in told if all(part in text for part in parts)]


@pytest.fixture
def recorded(caplog: pytest.LogCaptureFixture) -> Iterator[Recorded]:
    """Give a logger that is not strict."""
    made = Recorded(caplog)
    yield made
    made.logger.stop_sync()


@pytest.fixture
def strict(caplog: pytest.LogCaptureFixture) -> Iterator[Recorded]:
    """Give a strict logger."""
    made = Recorded(caplog, strict=True)
    yield made
    made.logger.stop_sync()


class Plain(Enum):
    """An app's own enum, whose values are numbers."""

    BLOCKED = 1
    SOMETHING = 2


WORDS = [
    ("allow", "allow"),
    ("Passed", "allow"),
    ("OK", "allow"),
    ("none", "allow"),
    ("BLOCK", "block"),
    ("block ", "block"),
    ("deny", "block"),
    ("GUARDRAIL_INTERVENED", "block"),
    (" Masked", "redact"),
    ("anonymised", "redact"),
    ("flagged", "alert"),
    ("quarantine", "alert"),
    (SafetyAction.BLOCK, "block"),
    (Plain.BLOCKED, "block"),
]
NOT_WORDS = ["explode", "", True, 1, ["block"], None, Plain.SOMETHING, "skipped", "not_run"]


class TestActions:
    """An action that is none, or none at all, was stored as ``allow`` wherever it came from."""

    @pytest.mark.parametrize(("word", "action"), WORDS)
    def test_each_spelling(self, recorded: Recorded, word: Any, action: str) -> None:
        for event in (SafetyEvent(action=word), {"action": word}):
            row = recorded.log(event)
            assert (row["action"], row["metadata"]) == (action, {})
        assert recorded.warnings() == []

    @pytest.mark.parametrize("word", NOT_WORDS)
    def test_anything_else_is_an_alert(self, recorded: Recorded, word: Any) -> None:
        for event in (SafetyEvent(action=word), {"action": word}):
            row = recorded.log(event)
            assert row["action"] == "alert"
            kept = {} if word is None else {"action": 2 if word is Plain.SOMETHING else word}
            assert row["metadata"] == kept
        assert len(recorded.warnings()) == 1

    def test_what_was_not_enforced(self, recorded: Recorded) -> None:
        row = recorded.log(SafetyEvent(action="would_block"))
        assert (row["action"], row["metadata"]) == ("block", {"mode": "monitor"})
        row = recorded.log({"action": "would_mask", "mode": "shadow"})
        assert (row["action"], row["metadata"]) == ("redact", {"mode": "shadow"})

    def test_severity_and_direction_in_any_spelling(self, recorded: Recorded) -> None:
        row = recorded.log(SafetyEvent(severity="HIGH ", direction="Response"))
        assert (row["severity"], row["direction"]) == ("high", "output")
        row = recorded.log({"action": "block", "severity": "Sev-2", "direction": "prompt"})
        assert (row["severity"], row["direction"]) == ("Sev-2", "input")

    def test_an_object_without_an_action_is_an_alert(self, recorded: Recorded) -> None:
        @dataclasses.dataclass
        class Bare:
            policy_name: str = "p"

        class WithToDict:
            def to_dict(self) -> dict[str, Any]:
                return {"policy_name": "p"}

        class Model(BaseModel):
            policy_name: str = "p"

        for event in ({"policy_name": "p"}, OrderedDict(), Bare(), WithToDict(), Model()):
            assert recorded.log(event)["action"] == "alert"
        (warning,) = recorded.warnings("no action")
        assert "dict" in warning
        assert f"{pathlib.Path(__file__).name}:" in warning

    def test_each_logger_warns(self, caplog: pytest.LogCaptureFixture) -> None:
        for _ in range(2):
            each = Recorded(caplog)
            each.log({})
            each.log({})
            each.logger.stop_sync()
        assert len(each.warnings("no action")) == 2

    def test_allow_without_a_word(self, recorded: Recorded) -> None:
        @dataclasses.dataclass
        class Decision:
            action: str = "allow"

        assert recorded.log(SafetyEvent())["action"] == "allow"
        assert recorded.log(Decision())["action"] == "allow"
        assert recorded.warnings() == []

    def test_the_original_beside_the_apps_own_entries(self, recorded: Recorded) -> None:
        row = recorded.log({"action": "explode", "metadata": {"action": "mine"}})
        assert row["metadata"] == {"action": "mine", "row.action": "explode"}
        row = recorded.log({"action": "block", "rule": 1, "metadata": {"rule": 2}})
        assert row["metadata"] == {"rule": 2, "row.rule": 1}

    def test_what_an_event_says_goes_before_a_context(self, recorded: Recorded) -> None:
        recorded.logger.bind(tenant="bound").log({"action": "block", "tenant": "own"})
        assert recorded.last["metadata"] == {"tenant": "own"}

    def test_each_is_counted(self, recorded: Recorded) -> None:
        for event in (SafetyEvent(), {}, {"action": "x"}, SafetyEvent(timestamp="whenever")):  # type: ignore[arg-type]
            recorded.logger.log(event)
        assert recorded.logger.get_stats()["misread"] == 3
        assert recorded.logger.get_stats()["total_logged"] == 4

    def test_a_warning_holds_no_value(self, recorded: Recorded) -> None:
        recorded.log({"action": "my secret", "confidence": "my secret", "my secret": 1})
        assert recorded.warnings()
        assert recorded.warnings("secret") == []


class TestNames:
    """``SafetyEvent(actoin="block")`` was an ``allow``, without a word."""

    def test_a_misspelt_action_is_an_alert(self, recorded: Recorded) -> None:
        event = SafetyEvent(actoin="block")
        assert event.action == "alert"
        row = recorded.log(event)
        assert (row["action"], row["metadata"]) == ("alert", {"actoin": "block"})
        (warning,) = recorded.warnings("actoin")
        assert "did you mean action?" in warning
        assert f"{pathlib.Path(__file__).name}:" in warning

    def test_one_warning_a_call_site(self, recorded: Recorded) -> None:
        for _ in range(3):
            SafetyEvent(action="block", polcy_name="p")
        assert len(recorded.warnings("policy_name")) == 1
        SafetyEvent(action="block", polcy_name="p")
        assert len(recorded.warnings("policy_name")) == 2
        log_safety_event(action="block", resaon="r")
        (warning,) = recorded.warnings("resaon")
        assert pathlib.Path(__file__).name in warning

    def test_with_an_action_it_stays(self, recorded: Recorded) -> None:
        row = recorded.log(SafetyEvent(action="block", acton="allow"))
        assert (row["action"], row["metadata"]) == ("block", {"acton": "allow"})

    def test_names_of_the_apps_own_are_no_mistakes(self, recorded: Recorded) -> None:
        names = ("violation_category", "violation_severity", "model", "tenant", "score", "rule")
        assert SafetyEvent(**dict.fromkeys(names, 1)).action == "allow"
        recorded.log({"action": "block", **dict.fromkeys(names, 1)})
        assert recorded.warnings() == []

    def test_mappings_too(self, recorded: Recorded) -> None:
        for _ in range(2):
            row = recorded.log({"actoin": "block"})
            assert (row["action"], row["metadata"]) == ("alert", {"actoin": "block"})
        assert len(recorded.warnings("actoin")) == 1
        assert len(recorded.warnings("no action")) == 1

    def test_keys_in_another_spelling(self, caplog: pytest.LogCaptureFixture) -> None:
        given = {"Action": "BLOCKED", "policyName": "p", "trace-id": "t", "reason": "r"}
        own: list[dict[str, Any]] = []

        class Adapter:
            def insert(self, rows: list[dict[str, Any]]) -> None:
                own.extend(rows)

        row = Recorded(caplog).log(given)
        fields = ("action", "policy_name", "trace_id", "reason")
        assert [row[name] for name in fields] == ["block", "p", "t", "r"]
        assert row["metadata"] == {}
        registry = AdapterRegistry()
        registry.register("safety_events", Adapter())
        with SafetyEventLogger(adapter_registry=registry, journal="memory") as logger:
            logger.log(given)
        assert own == [given]

    def test_the_fields_very_name_goes_first(self, recorded: Recorded) -> None:
        row = recorded.log({"Action": "allow", "action": "block"})
        assert (row["action"], row["metadata"]) == ("block", {"Action": "allow"})


class TestStrict:
    """``strict=True`` raises at the call, and stores nothing."""

    @pytest.mark.parametrize(
        ("event", "says"),
        [
            ({"action": "blok"}, 'did you mean "block"'),
            ({}, "no action"),
            ({"action": "skipped"}, "no check ran"),
            (SafetyEvent(action=None), "no action"),  # type: ignore[arg-type]
            (SafetyEvent(actoin="block"), "did you mean action"),
            (SafetyEvent(action="block", polcy_name="p"), "did you mean policy_name"),
            ({"action": "block", "confidence": "HIGH"}, "confidence"),
            ({"action": "block", "categories": 5}, "categories"),
            ({"action": "block", "metadata": "text"}, "metadata"),
            ({"action": "block", "timestamp": "whenever"}, "timestamp"),
        ],
    )
    def test_raises(self, strict: Recorded, event: Any, says: str) -> None:
        with pytest.raises(ValueError, match=re.escape(says)):
            strict.logger.log(event)
        with pytest.raises(ValueError, match=re.escape(says)):
            strict.logger.log_many([event])
        assert strict.rows == []

    def test_what_can_be_read_does_not(self, strict: Recorded) -> None:
        strict.log(SafetyEvent())
        strict.log(SafetyEvent(action="BLOCKED", own=1))
        strict.log({"action": "would_block", "categories": {"hate": True}})
        assert len(strict.rows) == 3

    @pytest.mark.parametrize(("value", "on"), [("1", True), ("0", False), ("", False)])
    def test_by_the_environment(
        self, monkeypatch: pytest.MonkeyPatch, value: str, *, on: bool
    ) -> None:
        monkeypatch.setenv("NAMEL3SS_SAFETY_STRICT", value)
        assert SafetyEventLogger(journal="memory").strict is on
        assert SafetyEventLogger(journal="memory", strict=not on).strict is not on
        assert SafetyEventLogger(journal="memory").bind(a=1).strict is on
        assert get_global_logger().strict is on

    def test_a_wrong_switch_is_named(self) -> None:
        with pytest.raises(ValueError, match="strict is 'yes'"):
            SafetyEventLogger(strict="yes")  # type: ignore[arg-type]

    def test_on_in_the_pytest_fixture(self, safety_events: Any) -> None:
        with pytest.raises(ValueError, match="actoin"):
            log_safety_event(actoin="block")
        assert len(safety_events) == 0

    def test_a_guard_and_a_function(self, strict: Recorded) -> None:
        with (
            pytest.raises(ValueError, match="unknown word"),
            guard("p", logger=strict.logger) as check,
        ):
            check.decide("explode")

        @audited(logger=strict.logger)
        def score() -> float:
            return 0.9

        with pytest.raises(ValueError, match="score.*returned a float"):
            score()
        assert strict.rows == []


class TestGuard:
    """The strictest decision wins; what a check did not decide is not recorded as if it had."""

    @pytest.mark.parametrize(
        ("decisions", "action"),
        [
            (["block", "allow"], "block"),
            (["allow", "BLOCKED"], "block"),
            (["redact", "alert"], "redact"),
            (["allow", "alert", "allow"], "alert"),
            (["explode", "allow"], "alert"),
            (["redact", "deny", "mask"], "block"),
        ],
    )
    def test_the_strictest_wins(
        self, recorded: Recorded, decisions: list[str], action: str
    ) -> None:
        with guard("p", logger=recorded.logger, metadata={"own": 1}) as check:
            assert check.action is SafetyAction.ALLOW
            for at, word in enumerate(decisions):
                check.decide(word, reason=str(at), metadata={str(at): at})
            assert check.action is SafetyAction(action)
        row = recorded.last
        assert row["action"] == action
        won = int(row["reason"])
        assert row["metadata"]["own"] == 1
        assert row["metadata"][str(won)] == won
        kept = row["metadata"]["decisions"]
        assert [entry["reason"] for entry in kept] == [str(at) for at in range(len(decisions))]
        assert kept[won]["action"] in (action, "explode")

    def test_the_later_of_equals(self, recorded: Recorded) -> None:
        with guard("p", logger=recorded.logger) as check:
            check.block(reason="first", categories=["a"])
            check.block(reason="second")
        row = recorded.last
        assert (row["reason"], row["categories"]) == ("second", [])
        assert [entry["reason"] for entry in row["metadata"]["decisions"]] == ["first", "second"]

    def test_one_decision_is_not_listed_and_a_guard_can_be_used_again(
        self, recorded: Recorded
    ) -> None:
        check = guard("p", logger=recorded.logger)
        with check:
            check.block()
        with check:
            pass
        assert [row["action"] for row in recorded.rows] == ["block", "allow"]
        assert [row["metadata"] for row in recorded.rows] == [{}, {}]

    def test_raising_after_a_decision(self, recorded: Recorded) -> None:
        with pytest.raises(KeyError), guard("p", logger=recorded.logger) as check:
            check.block(reason="r")
            raise KeyError
        row = recorded.last
        assert (row["action"], row["reason"]) == ("block", "r")
        assert row["metadata"] == {"error": "KeyError"}
        with pytest.raises(KeyError), guard("p", logger=recorded.logger) as check:
            check.allow()
            raise KeyError
        row = recorded.last
        assert (row["action"], row["severity"]) == ("alert", "high")
        assert [entry["action"] for entry in row["metadata"]["decisions"]] == ["allow", "alert"]

    def test_raising_keeps_the_class_name_only(self, recorded: Recorded) -> None:
        with (
            pytest.raises(ValueError, match="secret"),
            guard("p", logger=recorded.logger, severity="low"),
        ):
            text = "a secret"
            raise ValueError(text)
        row = recorded.last
        assert (row["action"], row["severity"]) == ("alert", "high")
        assert row["metadata"] == {"error": "ValueError"}
        assert "secret" not in json.dumps(row, default=str)

    def test_block_on(self, recorded: Recorded) -> None:
        class Tripwire(BaseException):
            """No Exception, as some frameworks have it."""

        def check(error: BaseException) -> None:
            with guard("p", logger=recorded.logger, block_on=(Tripwire, KeyError)):
                raise error

        for error in (Tripwire(), KeyError("k")):
            with pytest.raises(type(error)):
                check(error)
            row = recorded.last
            assert (row["action"], row["severity"]) == ("block", "none")
            assert row["metadata"] == {"error": type(error).__name__}
        with pytest.raises(ValueError, match="v"):
            check(ValueError("v"))
        assert recorded.last["action"] == "alert"

    @pytest.mark.asyncio
    async def test_a_cancelled_check_decided_nothing(self, recorded: Recorded) -> None:
        async def check(options: dict[str, Any], decide: str | None = None) -> None:
            async with guard("p", logger=recorded.logger, **options) as running:
                if decide is not None:
                    running.decide(decide)
                await asyncio.sleep(60)

        async def cancelled(*args: Any) -> None:
            task = asyncio.create_task(check(*args))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        await cancelled({})
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(check({}), 0.001)
        with pytest.raises(asyncio.TimeoutError):
            async with guard("p", logger=recorded.logger):
                await asyncio.wait_for(asyncio.sleep(60), 0.001)
        assert recorded.rows == []
        await cancelled({"record_cancelled": True})
        row = recorded.last
        assert row["action"] == "alert"
        assert row["metadata"] == {"outcome": "cancelled", "error": "CancelledError"}
        await cancelled({}, "block")
        assert (recorded.last["action"], len(recorded.rows)) == ("block", 2)

    def test_a_misspelt_field_of_a_guard(self, recorded: Recorded) -> None:
        with guard("p", logger=recorded.logger, actoin="block"):
            pass
        assert recorded.last["action"] == "alert"
        assert len(recorded.warnings("actoin", pathlib.Path(__file__).name)) == 1


class Moderation(BaseModel):
    """What a moderation service answers."""

    flagged: bool
    categories: dict[str, bool] = {}


Named = namedtuple("Named", "label action")  # noqa: PYI024
Pair = namedtuple("Pair", "passed text")  # noqa: PYI024


@dataclasses.dataclass
class Verdict:
    """An app's own."""

    action: str
    reason: str | None = None


class TestAudited:
    """``'BLOCK'``, None, 0.9, ``{'flagged': True}`` and ``(False, 'x')`` were all allowed."""

    @pytest.mark.parametrize(
        ("result", "action"),
        [
            (None, "allow"),
            (True, "allow"),
            (False, "block"),
            ("BLOCK", "block"),
            ("passed", "allow"),
            (SafetyAction.REDACT, "redact"),
            (Plain.BLOCKED, "block"),
            (SafetyViolation(["x"]), "block"),
            ({"action": "denied"}, "block"),
            ({"Action": "denied"}, "block"),
            (OrderedDict(action="mask"), "redact"),
            ({"flagged": True}, "block"),
            ({"flagged": False}, "allow"),
            ({"flagged": np.True_}, "block"),
            (Moderation(flagged=True), "block"),
            (Verdict("flag"), "alert"),
            (SafetyEvent(action="redact"), "redact"),
            (SafetyEvent(), "allow"),
            ((False, "x"), "block"),
            ((True, "x"), "allow"),
            (("deny", 0.9), "block"),
            ((SafetyViolation(["x"]), 1), "block"),
            (Named("l", "block"), "block"),
            (Pair(passed=False, text="x"), "block"),
            (np.False_, "block"),
        ],
    )
    def test_what_is_a_decision(self, recorded: Recorded, result: Any, action: str) -> None:
        @audited("p", logger=recorded.logger)
        def check() -> Any:
            return result

        assert check() is result
        assert recorded.last["action"] == action
        assert "returned" not in recorded.last["metadata"]
        assert recorded.warnings() == []

    @pytest.mark.parametrize(
        "result",
        ["my secret", 0.9, 0, 1, [], ["block"], {}, {"score": 1}, (), (0.9, "x"), object(), "skip"],
    )
    def test_anything_else_is_an_alert_with_its_type(self, recorded: Recorded, result: Any) -> None:
        @audited("p", logger=recorded.logger)
        def check() -> Any:
            return result

        assert check() is result
        check()
        row = recorded.last
        assert (row["action"], row["metadata"]) == ("alert", {"returned": type(result).__name__})
        assert len(recorded.warnings("check", "no decision")) == 1
        assert recorded.warnings("secret") == []

    def test_an_unknown_word_in_a_mapping_is_kept(self, recorded: Recorded) -> None:
        @audited("p", logger=recorded.logger)
        def check() -> Any:
            return {"action": "explode", "reason": "r", "prompt": "my secret"}

        check()
        row = recorded.last
        assert (row["action"], row["reason"]) == ("alert", "r")
        assert row["metadata"] == {"action": "explode"}

    def test_details_of_a_decision(self, recorded: Recorded) -> None:
        found = SafetyViolation(["pii"], "critical", 0.5, "why", {"k": 1})
        results: list[Any] = [
            found,
            {"flagged": True, "categories": {"hate": False, "violence": True}},
            Verdict("block", "why"),
        ]

        @audited("p", "output", logger=recorded.logger, user_id="u")
        def check() -> Any:
            return results.pop(0)

        for _ in range(3):
            check()
        first, second, third = recorded.rows
        assert (first["categories"], first["severity"], first["confidence"], first["reason"]) == (
            ["pii"],
            "critical",
            0.5,
            "why",
        )
        assert (first["metadata"], first["direction"], first["user_id"]) == (
            {"k": 1},
            "output",
            "u",
        )
        assert second["categories"] == ["violence"]
        assert third["reason"] == "why"

    def test_bare(self, recorded: Recorded) -> None:
        package.set_global_logger(recorded.logger)

        @audited
        def no_pii(text: str) -> bool:
            """Look."""
            return "@" not in text

        @audited()
        def other() -> None:
            pass

        assert no_pii("a@b") is False
        other()
        first, second = recorded.rows
        assert (first["policy_name"], first["action"]) == ("no_pii", "block")
        assert (second["policy_name"], second["action"]) == ("other", "allow")
        assert (no_pii.__name__, no_pii.__doc__) == ("no_pii", "Look.")

    @pytest.mark.asyncio
    async def test_a_function_that_returns_a_coroutine(self, recorded: Recorded) -> None:
        async def answer() -> str:
            await asyncio.sleep(0)
            return "blocked"

        @audited(logger=recorded.logger)
        def check() -> Any:
            return answer()

        waiting = check()
        assert recorded.rows == []
        assert await waiting == "blocked"
        assert [row["action"] for row in recorded.rows] == ["block"]

    def test_generators(self, recorded: Recorded) -> None:
        @audited(logger=recorded.logger)
        def words(*, fails: bool) -> Any:
            yield "a"
            assert recorded.rows == before
            sent = yield "b"
            if fails:
                raise KeyError(sent)
            return "block"

        before: list[dict[str, Any]] = []
        assert list(words(fails=False)) == ["a", "b"]
        assert recorded.last["action"] == "block"
        before = recorded.rows
        stream = words(fails=True)
        assert (next(stream), next(stream)) == ("a", "b")
        with pytest.raises(KeyError, match="x"):
            stream.send("x")
        row = recorded.last
        assert (row["action"], row["metadata"]) == ("alert", {"error": "KeyError"})

    @pytest.mark.asyncio
    async def test_async_generators(self, recorded: Recorded) -> None:
        """They were recorded as allowed before their first item, whatever they raised later."""
        seen: list[Any] = []

        @audited("p", logger=recorded.logger, block_on=PermissionError)
        async def tokens(error: BaseException | None) -> AsyncIterator[int]:
            try:
                for item in range(3):
                    sent = yield item
                    seen.append(sent)
            except LookupError:
                yield 10
            if error is not None:
                raise error

        assert [item async for item in tokens(None)] == [0, 1, 2]
        assert recorded.last["action"] == "allow"
        for error, action in ((KeyError(), "alert"), (PermissionError(), "block")):
            with pytest.raises(type(error)):
                _ = [item async for item in tokens(error)]
            row = recorded.last
            assert (row["action"], row["metadata"]["error"]) == (action, type(error).__name__)
        seen.clear()
        stream: Any = tokens(None)
        assert await stream.__anext__() == 0
        assert await stream.asend("sent") == 1
        assert seen == ["sent"]
        assert await stream.athrow(LookupError()) == 10
        assert len(recorded.rows) == 3
        with pytest.raises(StopAsyncIteration):
            await stream.__anext__()
        assert len(recorded.rows) == 4

    @pytest.mark.asyncio
    async def test_an_async_generator_that_is_closed_early(self, recorded: Recorded) -> None:
        closed = []

        async def tokens() -> AsyncIterator[int]:
            try:
                yield 1
                yield 2
            finally:
                closed.append(True)

        for options, rows in (({}, 0), ({"record_cancelled": True}, 1)):
            stream: Any = audited("p", logger=recorded.logger, **options)(tokens)()
            assert await stream.__anext__() == 1
            await stream.aclose()
            assert len(recorded.rows) == rows
        assert closed == [True, True]
        assert recorded.last["metadata"] == {"outcome": "cancelled", "error": "GeneratorExit"}

    @pytest.mark.asyncio
    async def test_a_cancelled_function(self, recorded: Recorded) -> None:
        @audited("p", logger=recorded.logger)
        async def check() -> bool:
            await asyncio.sleep(60)
            return True

        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(check(), 0.001)
        assert recorded.rows == []


class TestContext:
    """``context`` raised ValueError when another task closed it."""

    @pytest.mark.asyncio
    async def test_closed_by_another_task(self, recorded: Recorded) -> None:
        async def stream() -> AsyncIterator[int]:
            with context(trace_id="t"):
                yield 1
                recorded.logger.log(SafetyEvent())
                yield 2

        running: Any = stream()
        assert await asyncio.create_task(running.__anext__()) == 1
        assert await asyncio.create_task(running.__anext__()) == 2
        await asyncio.create_task(running.aclose())
        recorded.logger.log(SafetyEvent())
        assert [row["trace_id"] for row in recorded.rows] == [None, None]

    @pytest.mark.asyncio
    async def test_closed_by_a_task_that_has_a_copy(self, recorded: Recorded) -> None:
        outer = context(trace_id="outer")
        inner = context(trace_id="inner")
        outer.__enter__()
        inner.__enter__()

        async def close() -> None:
            inner.__exit__(None, None, None)
            recorded.logger.log(SafetyEvent())
            outer.__exit__(None, None, None)
            recorded.logger.log(SafetyEvent())

        await asyncio.create_task(close())
        assert [row["trace_id"] for row in recorded.rows] == ["outer", None]

    @pytest.mark.asyncio
    async def test_one_object_in_several_tasks(self, recorded: Recorded) -> None:
        shared = context(trace_id="t")
        inside = asyncio.Event()

        async def first() -> None:
            async with shared:
                inside.set()
                await asyncio.sleep(0.01)
            recorded.logger.log(SafetyEvent(event_id="first"))

        async def second() -> None:
            await inside.wait()
            async with shared:
                await asyncio.sleep(0.02)
            recorded.logger.log(SafetyEvent(event_id="second"))

        await asyncio.gather(first(), second())
        assert [row["trace_id"] for row in recorded.rows] == [None, None]

    def test_defaults_fill_only_what_is_empty(self, recorded: Recorded) -> None:
        defaults = {"app_name": "d", "trace_id": "d", "user_id": "d", "tenant": "d", "rule": "d"}
        bound = recorded.logger.bind(app_name="bound", tenant="bound", defaults=defaults)
        with context(trace_id="context", defaults={"rule": "inner", "session_id": "inner"}):
            bound.log(SafetyEvent())
            bound.log(SafetyEvent(app_name="own", metadata={"rule": "own"}))
            bound.bind(user_id="further", defaults={"chain_name": "further"}).log(SafetyEvent())
        first, second, third = recorded.rows
        fields = ("app_name", "trace_id", "user_id", "session_id", "chain_name")
        assert [first[name] for name in fields] == ["bound", "context", "d", "inner", None]
        assert first["metadata"] == {"tenant": "bound", "rule": "inner"}
        assert (second["app_name"], second["metadata"]["rule"]) == ("own", "own")
        assert (third["user_id"], third["chain_name"]) == ("further", "further")

    def test_defaults_take_what_bind_takes(self) -> None:
        with pytest.raises(TypeError, match="action"):
            context(defaults={"action": "block"})
        with pytest.raises(TypeError, match="action"):
            SafetyEventLogger(journal="memory").bind(defaults={"action": "block"})


class TestValues:
    """Values of other libraries, and moments of all kinds."""

    def test_numpy(self, recorded: Recorded) -> None:
        given = {
            "int": np.int64(7),
            "float32": np.float32(0.5),
            "bool": np.bool_(True),  # noqa: FBT003
            "array": np.array([[1, 2], [3, 4]]),
            "moment": np.datetime64("2026-03-01T12:00"),
            "nested": [np.uint8(1)],
        }
        row = recorded.log(
            {
                "action": "block",
                "confidence": np.float32(0.25),
                "latency_ms": np.int32(3),
                "categories": np.array(["a", "b"]),
                "timestamp": np.datetime64("2026-03-01T12:00:00.5"),
                "metadata": given,
            }
        )
        assert row["metadata"] == {
            "int": 7,
            "float32": 0.5,
            "bool": True,
            "array": [[1, 2], [3, 4]],
            "moment": "2026-03-01T12:00",
            "nested": [1],
        }
        assert (row["confidence"], row["latency_ms"]) == (0.25, 3.0)
        assert row["categories"] == ["a", "b"]
        assert row["timestamp"] == "2026-03-01T12:00:00.500000Z"

    def test_pydantic(self, recorded: Recorded) -> None:
        class Span(BaseModel):
            type: str
            start: int

        class Event(BaseModel):
            action: str
            categories: list[Span]
            found: Span

        span = Span(type="EMAIL", start=3)
        row = recorded.log(Event(action="masked", categories=[span], found=span))
        as_dict = {"type": "EMAIL", "start": 3}
        assert (row["action"], row["categories"]) == ("redact", ["EMAIL"])
        assert row["metadata"] == {"found": as_dict, "categories": [as_dict]}
        row = recorded.log(SafetyEvent(action="block", metadata=span))  # type: ignore[arg-type]
        assert row["metadata"] == as_dict

    @pytest.mark.parametrize(
        ("field", "value", "read", "kept"),
        [
            ("confidence", True, 1.0, {"confidence": True}),
            ("confidence", "0,87", 1.0, {"confidence": "0,87"}),
            ("confidence", "0.87", 0.87, {}),
            ("latency_ms", "12ms", 0.0, {"latency_ms": "12ms"}),
            ("reason", ["a", "b"], None, {"reason": ["a", "b"]}),
            ("user_id", {"id": 1}, None, {"user_id": {"id": 1}}),
            ("user_id", 7, "7", {}),
            ("severity", ["high"], "none", {"severity": ["high"]}),
            ("categories", {"hate": False, "violence": True}, ["violence"], {}),
            ("categories", {"hate": 0.9}, [], {"categories": {"hate": 0.9}}),
            ("categories", 5, [], {"categories": 5}),
            ("categories", ("a", 1), ["a", "1"], {}),
            ("categories", [{"label": "x"}], ["x"], {"categories": [{"label": "x"}]}),
            ("categories", '["a"]', ["a"], {}),
            ("metadata", "free text", {"metadata": "free text"}, {}),
            ("metadata", [], {"metadata": []}, {}),
            ("metadata", '{"k": 1}', {"k": 1}, {}),
            ("metadata", "", {}, {}),
            ("event_id", [1], None, {"event_id": [1]}),
        ],
    )
    def test_what_does_not_fit_its_field(
        self, recorded: Recorded, field: str, value: Any, read: Any, kept: dict[str, Any]
    ) -> None:
        for event in ({"action": "block", field: value}, SafetyEvent(**{field: value})):
            row = recorded.log(event)
            if field == "event_id":
                assert len(row["event_id"]) == 36
            else:
                assert row[field] == read
            if field != "metadata":
                assert row["metadata"] == kept

    @pytest.mark.parametrize(
        ("given", "read"),
        [
            (1668535199, "2022-11-15T17:59:59.000000Z"),
            (1668535199945, "2022-11-15T17:59:59.945000Z"),
            (1668535199945123, "2022-11-15T17:59:59.945123Z"),
            (1668535199945123456, "2022-11-15T17:59:59.945123Z"),
            (1668535199.5, "2022-11-15T17:59:59.500000Z"),
            ("1668535199945", "2022-11-15T17:59:59.945000Z"),
            (np.int64(1668535199945), "2022-11-15T17:59:59.945000Z"),
            ("2026-03-01T12:00:00,123Z", "2026-03-01T12:00:00.123000Z"),
            ("20260301T120000Z", "2026-03-01T12:00:00.000000Z"),
            ("Sun, 01 Mar 2026 12:00:00 GMT", "2026-03-01T12:00:00.000000Z"),
            (dt.date(2026, 3, 1), "2026-03-01T00:00:00.000000Z"),
            ({"$date": "2026-03-01T12:00:00Z"}, "2026-03-01T12:00:00.000000Z"),
            (dt.datetime(2026, 3, 1, 12, 0, 0, 7), "2026-03-01T12:00:00.000007Z"),  # noqa: DTZ001
            (dt.datetime(2026, 3, 1, 12, tzinfo=UTC), "2026-03-01T12:00:00.000000Z"),
            (
                dt.datetime(
                    2026, 3, 1, 12, tzinfo=dt.timezone(dt.timedelta(hours=-9, minutes=-30))
                ),
                "2026-03-01T21:30:00.000000Z",
            ),
            (
                dt.datetime(2026, 3, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=5, seconds=7))),
                "2026-02-28T19:59:53.000000Z",
            ),
            (
                dt.datetime(2026, 7, 1, 12, tzinfo=ZoneInfo("Europe/Berlin")),
                "2026-07-01T10:00:00.000000Z",
            ),
            (
                dt.datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin")),
                "2026-10-25T00:30:00.000000Z",
            ),
            (
                dt.datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Berlin")),
                "2026-10-25T01:30:00.000000Z",
            ),
        ],
    )
    def test_moments(self, recorded: Recorded, given: Any, read: str) -> None:
        assert recorded.log({"action": "block", "timestamp": given})["timestamp"] == read
        assert recorded.log(SafetyEvent(timestamp=given))["timestamp"] == read
        assert recorded.warnings() == []

    def test_zones_of_the_apps_own(self, recorded: Recorded) -> None:
        class Zone(dt.tzinfo):
            def __init__(self, offset: Any) -> None:
                self.offset = offset

            def utcoffset(self, _at: dt.datetime | None) -> Any:
                if isinstance(self.offset, BaseException):
                    raise self.offset
                return self.offset

            def __deepcopy__(self, _memo: object) -> Any:
                return self

        class Mine(dt.datetime):
            pass

        class Delta(dt.timedelta):
            pass

        for offset in (dt.timedelta(hours=1), Delta(hours=1)):
            for kind in (dt.datetime, Mine):
                row = recorded.log(SafetyEvent(timestamp=kind(2026, 3, 1, 12, tzinfo=Zone(offset))))
                assert row["timestamp"] == "2026-03-01T11:00:00.000000Z"
        naive = dt.datetime(2026, 3, 1, 12, tzinfo=Zone(None))
        assert recorded.log(SafetyEvent(timestamp=naive))["timestamp"].startswith("2026-03-01T12")
        assert recorded.warnings() == []
        began = dt.datetime.now(UTC)
        for offset in (ValueError("no"), dt.timedelta(days=2), "1h"):
            odd = dt.datetime(2026, 3, 1, 12, tzinfo=Zone(offset))
            row = recorded.log({"action": "block", "timestamp": odd})
            assert dt.datetime.fromisoformat(row["timestamp"].replace("Z", "+00:00")) >= began
            assert "timestamp" in row["metadata"]
        assert len(recorded.warnings("timestamp")) == 1

    @pytest.mark.parametrize("given", ["", "15/11/2022 17:59", True, float("nan"), [1], 1 << 200])
    def test_impossible_moments(self, recorded: Recorded, given: Any) -> None:
        began = dt.datetime.now(UTC)
        row = recorded.log({"action": "block", "timestamp": given})
        assert dt.datetime.fromisoformat(row["timestamp"].replace("Z", "+00:00")) >= began
        assert "timestamp" in row["metadata"]
        assert len(recorded.warnings("timestamp")) == 1


class TestHandler:
    """``SafetyLogHandler``."""

    @pytest.fixture
    def source(self, recorded: Recorded) -> Iterator[logging.Logger]:
        handler = SafetyLogHandler(recorded.logger)
        source = logging.getLogger("guardrails.verdicts")
        source.addHandler(handler)
        source.setLevel(logging.DEBUG)
        source.propagate = False
        yield source
        source.removeHandler(handler)

    def test_arguments_that_do_not_fit(self, recorded: Recorded, source: logging.Logger) -> None:
        """The record was lost, and a traceback was printed in its place."""
        named = {"name": source.name, "levelno": logging.ERROR, "msg": "blocked %d of %s"}
        record = logging.makeLogRecord(named)
        record.args, record.action = ("many",), "block"
        source.handlers[0].handle(record)
        row = recorded.last
        assert (row["action"], row["reason"]) == ("block", "blocked %d of %s")
        assert row["metadata"]["args"] == ["many"]

    def test_what_is_no_action_is_an_alert(
        self, recorded: Recorded, source: logging.Logger
    ) -> None:
        source.info("looked")
        source.info("looked", extra={"action": "blocked"})
        source.info("looked", extra={"actoin": "block"})
        source.info("looked", extra={"action": "explode", "level": 3})
        assert [row["action"] for row in recorded.rows] == ["alert", "block", "alert", "alert"]
        assert recorded.last["metadata"]["action"] == "explode"
        assert recorded.last["metadata"]["level"] == 3
        assert len(recorded.warnings("actoin", pathlib.Path(__file__).name)) == 1


class TestNamesOfThePackage:
    """What the docs name is there, and what the environment names is ours."""

    ROOT = pathlib.Path(__file__).parent.parent.parent

    def test_a_misspelt_variable_is_named_once(
        self, recorded: Recorded, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        name = f"NAMEL3SS_SAFETY_BUFER_SIZE{threading.get_native_id()}"
        monkeypatch.setenv("NAMEL3SS_SAFETY_STRIKT", "my secret")
        monkeypatch.setenv(name, "1")
        monkeypatch.setenv("NAMEL3SS_SAFETY_XYZZY", "1")
        monkeypatch.setenv("NAMEL3SS_SAFETY_DISABLED", "0")
        for _ in range(3):
            SafetyEventLogger(journal="memory")
        (warning,) = recorded.warnings("NAMEL3SS_SAFETY_STRIKT")
        assert "did you mean NAMEL3SS_SAFETY_STRICT?" in warning
        assert len(recorded.warnings("did you mean NAMEL3SS_SAFETY_BUFFER_SIZE?")) == 1
        assert len(recorded.warnings("NAMEL3SS_SAFETY_XYZZY")) == 1
        assert recorded.warnings("DISABLED") == []
        assert recorded.warnings("secret") == []

    def test_every_variable_of_ours_is_known(self) -> None:
        from namel3ss.safety import _making

        texts = [
            path.read_text()
            for folder in ("python", "docs", "crates")
            for path in (self.ROOT / folder).rglob("*")
            if path.suffix in (".py", ".md", ".rs") and "target" not in path.parts
        ]
        found = {name for text in texts for name in re.findall(r"NAMEL3SS_SAFETY_([A-Z_]+)", text)}
        assert {"URL", "HOME", "STRICT"} <= found
        assert found - _making._VARIABLES == set()

    def test_every_name_that_the_docs_say(self) -> None:
        """``safety_events`` could not be imported, though the docs said so."""
        text = (self.ROOT / "docs" / "python.md").read_text()
        text += (self.ROOT / "docs" / "quick-reference.md").read_text()
        imports = re.findall(r"from namel3ss\.safety(\.\w+)? import ([\w, ]+)", text)
        of_types = [names for module, names in imports if module == ".types"]
        types = importlib.import_module("namel3ss.safety.types")
        assert of_types
        assert all(hasattr(types, one.strip()) for line in of_types for one in line.split(","))
        named = {
            name.strip()
            for module, names in imports
            if module != ".types"
            for name in names.split(",")
        }
        of_names = text.partition("| name | what |")[2].partition("\n## ")[0]
        table = re.findall(r"^\| `([A-Za-z]\w*)[`(]", of_names, re.MULTILINE)
        named |= set(table) - {"flush_sync", "stop_sync", "write_events_sync"}
        parameters = set(SafetyEventLogger.__init__.__annotations__)
        missing = {name for name in named - parameters if not hasattr(package, name)}
        assert missing == set()
        assert {"guard", "audited", "safety_events", "SafetyLogHandler"} <= named


def test_nothing_is_imported_for_it() -> None:
    """numpy and pydantic are found by their objects' classes, never imported."""
    import subprocess
    import sys

    code = (
        "import sys; from namel3ss.safety import SafetyEvent; "
        "SafetyEvent(action='x', metadata={'a': object()}).to_dict(); "
        "print([m for m in ('numpy', 'pydantic', 'typing', 'asyncio') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


SPAN = """
import sys
from namel3ss.safety import JSONAdapter, SafetyEvent, SafetyEventLogger, AdapterRegistry, context

registry = AdapterRegistry()
registry.register("safety_events", JSONAdapter(sys.argv[1]))
logger = SafetyEventLogger(adapter_registry=registry)
logger.log(SafetyEvent(event_id="before", action="block"))
assert not any(name.startswith("opentelemetry") for name in sys.modules)

from opentelemetry.sdk.trace import TracerProvider

tracer = TracerProvider().get_tracer("app")
with tracer.start_as_current_span("request") as span:
    print(format(span.get_span_context().trace_id, "032x"))
    logger.log(SafetyEvent(event_id="in", action="block"))
    logger.log({"event_id": "mapping", "action": "block"})
    logger.log(SafetyEvent(event_id="own", action="block", trace_id="own"))
    with context(trace_id="context"):
        logger.log(SafetyEvent(event_id="context", action="block"))
    logger.bind(defaults={"trace_id": "default"}).log({"event_id": "default", "action": "block"})
logger.log(SafetyEvent(event_id="after", action="block"))
logger.stop_sync()
"""


def test_the_running_opentelemetry_span_gives_the_trace(tmp_path: pathlib.Path) -> None:
    """Where neither the event nor a context names one; opentelemetry is not imported for it."""
    path = tmp_path / "rows.jsonl"
    done = subprocess.run(
        [sys.executable, "-c", SPAN, str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    trace = done.stdout.strip()
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert {row["event_id"]: row["trace_id"] for row in rows} == {
        "before": None,
        "in": trace,
        "mapping": trace,
        "own": "own",
        "context": "context",
        "default": "default",
        "after": None,
    }


class TestShown:
    """What a person sees of an object: its settings, and nothing that may be personal."""

    def test_every_public_object_shows_itself(self) -> None:
        classes = [one for one in vars(package).values() if isinstance(one, type)]
        classes += [type(guard("p")), type(package.get_global_logger().bind())]
        assert len(classes) > 15
        for one in classes:
            assert one.__repr__ is not object.__repr__, one

    def test_what_is_bound_is_not_shown(self) -> None:
        bound = package.context(user_id="canary", defaults={"trace_id": "canary"})
        assert repr(bound) == "<context user_id, trace_id>"
        assert "canary" not in repr(package.get_global_logger().bind(user_id="canary"))
        check = guard("pii", "output", user_id="canary")
        with check:
            check.redact(reason="canary")
            assert repr(check) == "<Guard 'pii' output: redact>"

    def test_notebooks_show_events_and_statistics_escaped(self, recorded: Recorded) -> None:
        hostile = "<script>\x1b[31m\u202e"
        event = SafetyEvent(action="block", reason=hostile)
        shown = event._repr_html_()
        assert "&lt;script&gt;\\x1b[31m\\u202e" in shown
        assert "\x1b" not in shown
        assert "user_id" not in shown
        recorded.logger.log(event)
        recorded.logger.flush_sync()
        stats = recorded.logger.get_stats()
        assert json.loads(json.dumps(stats)) == stats
        assert "1 = 1 flushed + 0 fallback + 0 dropped + 0 pending" in stats._repr_html_()

    def test_the_types_of_statistics_are_those_that_are_returned(self, recorded: Recorded) -> None:
        from typing import get_type_hints

        from namel3ss.safety import types

        stats = recorded.logger.get_stats()
        assert set(stats) == set(get_type_hints(types.SafetyStats))
        assert set(stats["sinks"][0]) == set(get_type_hints(types.SinkStats))
        assert isinstance(package.AdapterRegistry(), types.Registry)
        assert isinstance(package.MemoryAdapter(), types.Adapter)

    def test_types_are_not_imported_with_the_package(self) -> None:
        code = (
            "import sys, namel3ss.safety as ours; "
            "assert not {ours.__name__ + name for name in ('.types', '._html')} & set(sys.modules)"
        )
        subprocess.run([sys.executable, "-c", code], check=True)
