"""From the journal to the dataset: flush, stop, retries, and what is left behind."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import pytest
from namel3ss.safety import (
    AdapterRegistry,
    MemoryAdapter,
    SafetyEvent,
    SafetyEventLogger,
)
from shared import assert_balanced, ids, logger_to, until

if TYPE_CHECKING:
    from pathlib import Path


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
