"""A full buffer: what each strategy does, and that the numbers add up."""

from __future__ import annotations

import asyncio
import threading
from typing import Any
from unittest.mock import Mock

import pytest
from namel3ss.safety import (
    MemoryAdapter,
    SafetyEvent,
)
from shared import assert_balanced, ids, logger_to


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
