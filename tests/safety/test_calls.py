"""However Python's side calls the native classes, the same comes of it."""

from __future__ import annotations

import asyncio
import functools
import inspect
import json
import pickle
import sys
from typing import Any

import pytest
from namel3ss.safety import AdapterRegistry, MemoryAdapter, SafetyEvent, SafetyEventLogger, logging


class Mine(SafetyEvent):
    """A class of the app's own."""


class Plain(SafetyEvent):
    """One that makes its objects itself."""

    def __new__(cls, *args: Any, **fields: Any) -> Any:
        made = super().__new__(cls, *args, **fields)
        made.reason = "made by __new__"
        return made


def by_new(*args: Any, **fields: Any) -> SafetyEvent:
    return SafetyEvent.__new__(SafetyEvent, *args, **fields)


def by_type_call(*args: Any, **fields: Any) -> SafetyEvent:
    return type.__call__(SafetyEvent, *args, **fields)


WAYS = [SafetyEvent, by_new, by_type_call, Mine, functools.partial(SafetyEvent)]


class TestConstruct:
    """Through vectorcall, through ``__new__``, and through a subclass."""

    @pytest.mark.skipif(sys.version_info >= (3, 15), reason="types may be laid out otherwise there")
    def test_is_called_fast(self) -> None:
        assert logging._is_called_fast

    @pytest.mark.parametrize("way", WAYS)
    def test_values(self, way: Any) -> None:
        shown = {"event_id": "e", "action": "block", "policy_name": "p", "rule": 7}
        made = way("e", **{key: value for key, value in shown.items() if key != "event_id"})
        assert (made.event_id, made.action, made.policy_name) == ("e", "block", "p")
        assert made.metadata == {"rule": 7}
        assert way(**shown).to_dict()["metadata"] == {"rule": 7}
        assert way().event_id != way().event_id
        assert way("e", None, "app").timestamp is not None

    @pytest.mark.parametrize("way", WAYS)
    def test_all_positional(self, way: Any) -> None:
        values = tuple(SafetyEvent(event_id="all").to_dict().values())
        made = way(*values)
        assert tuple(made.to_dict().values()) == values

    @pytest.mark.parametrize("way", WAYS)
    def test_errors(self, way: Any) -> None:
        with pytest.raises(TypeError, match="multiple values for event_id"):
            way("e", event_id="f")
        with pytest.raises(TypeError, match="takes 17 values, got 18"):
            way(*range(18))

    @pytest.mark.parametrize("way", WAYS)
    def test_references(self, way: Any) -> None:
        value = object()
        before = sys.getrefcount(value)
        made = [way(value, policy_name=value, own=value) for _ in range(100)]
        assert sys.getrefcount(value) == before + 300
        del made
        assert sys.getrefcount(value) == before

    def test_subclass_with_new(self) -> None:
        assert Plain(policy_name="p").reason == "made by __new__"
        assert type(pickle.loads(pickle.dumps(Mine(event_id="e")))) is Mine

    def test_names_made_at_run_time(self) -> None:
        """They are not where the interpreter keeps those of source code."""
        name = json.loads('"policy_name"')
        assert SafetyEvent(**{name: "p"}).policy_name == "p"


class TestLog:
    """Through vectorcall, and through a tuple."""

    def logger(self) -> tuple[SafetyEventLogger, MemoryAdapter]:
        registry, memory = AdapterRegistry(), MemoryAdapter()
        registry.register("safety_events", memory)
        return SafetyEventLogger(adapter_registry=registry, journal="memory"), memory

    def test_calls(self) -> None:
        logger, memory = self.logger()
        event = SafetyEvent(event_id="e")
        with logger:
            logger.log(event)
            logger.log(event=event)
            logger.log(*[event])
            logger.log(**dict(event=event))  # noqa: C408
            functools.partial(logger.log, event)()
            list(map(logger.log, [event, event]))
            logger.log.__call__(event)  # type: ignore[attr-defined]
        assert [row["event_id"] for row in memory.records] == ["e"] * 8

    def test_wrong_calls(self) -> None:
        logger, memory = self.logger()
        log: Any = logger.log
        with logger:
            for call in (
                log,
                lambda: log(1, 2),
                lambda: log(other=1),
                lambda: log(1, event=2),
                lambda: log(event=1, other=2),
            ):
                with pytest.raises(TypeError):
                    call()
        assert memory.records == []
        assert logger.get_stats()["total_logged"] == 0

    def test_references(self) -> None:
        """No object of Python's is kept, and none is let go of twice."""
        logger, _memory = self.logger()
        event = SafetyEvent(event_id="e")
        before = sys.getrefcount(event)
        with logger:
            done = logger.log(event)
            known = sys.getrefcount(done)
            for _ in range(1000):
                logger.log(event)
                logger.log(event=event)
            assert sys.getrefcount(event) == before
            # Immortal in some versions, else as often as it is held.
            assert sys.getrefcount(done) == known

    def test_awaitable(self) -> None:
        logger, memory = self.logger()

        async def main() -> None:
            done = logger.log(SafetyEvent())
            assert await done is None
            assert await done is None
            assert inspect.isawaitable(done)
            assert asyncio.iscoroutine(done)
            await asyncio.gather(done, logger.log(SafetyEvent()))
            await asyncio.create_task(logger.log(SafetyEvent()))  # type: ignore[arg-type]
            await asyncio.wait_for(logger.log(SafetyEvent()), 5)
            assert list(done) == []  # type: ignore[call-overload]

        with logger:
            asyncio.run(main())
        assert len(memory.records) == 4
