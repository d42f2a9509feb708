"""Contexts, guards and the logging handler: recording a decision where it is made."""

from __future__ import annotations

import asyncio
import inspect
import logging
from typing import Any
from unittest.mock import Mock

import namel3ss.safety as package
import pytest
from namel3ss.safety import (
    MemoryAdapter,
    SafetyAction,
    SafetyEvent,
    SafetyEventLogger,
    SafetyViolation,
    audited,
    context,
    get_global_logger,
    guard,
    set_global_logger,
)
from namel3ss.safety.handler import SafetyLogHandler
from shared import logger_to


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
