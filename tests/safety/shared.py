"""What several test modules use: loggers, sinks, rows, and waiting."""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
import stat
import threading
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from namel3ss.safety import (
    AdapterRegistry,
    SafetyEvent,
    SafetyEventLogger,
    SafetyEventSink,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FALLBACK_NAME = re.compile(r"safety_events_\d{8}_\d{6}_\d+\.json")
AT = datetime(2026, 3, 1, 12, 30, 15, 250_000, tzinfo=timezone.utc)


def events(count: int) -> list[SafetyEvent]:
    """Make events whose ids say which they are."""
    return [
        SafetyEvent(event_id=f"evt-{number:03}", policy_name="pii", action="redact", latency_ms=1.5)
        for number in range(1, count + 1)
    ]


def ids(rows: list[dict[str, Any]]) -> list[str]:
    """Name the events of some rows."""
    return [row["event_id"] for row in rows]


def registry_with(adapter: object, name: str = "safety_events") -> AdapterRegistry:
    """Make a registry of one."""
    registry = AdapterRegistry()
    registry.register(name, adapter)
    return registry


def sink_for(adapter: object, folder: Path | None = None, **options: Any) -> SafetyEventSink:
    """Make a sink that does not wait between attempts."""
    options = {"retry_delay_seconds": 0.0, **options}
    return SafetyEventSink("safety_events", registry_with(adapter), folder, **options)


def fallback_rows(folder: Path) -> list[dict[str, Any]]:
    """Read all fallback files of a folder, and check their names and modes."""
    rows = []
    for path in sorted(folder.glob("*.json")):
        assert FALLBACK_NAME.fullmatch(path.name), path.name
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        array = json.loads(path.read_bytes())
        assert isinstance(array, list)
        rows += array
    return rows


def table_rows(path: Path, table: str = "safety_events") -> list[dict[str, Any]]:
    """Read a table of an SQLite file."""
    connection = sqlite3.connect(path)
    connection.row_factory = sqlite3.Row
    try:
        found = connection.execute(f"SELECT * FROM {table}").fetchall()  # noqa: S608
        return [dict(row) for row in found]
    finally:
        connection.close()


def logger_to(adapter: object, **options: Any) -> SafetyEventLogger:
    """Make a logger that delivers to one adapter, and does not wait between attempts."""
    registry = AdapterRegistry()
    registry.register(options.get("target_dataset", "safety_events"), adapter)
    options = {"retry_delay_seconds": 0.0, **options}
    return SafetyEventLogger(adapter_registry=registry, **options)


async def until(true: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait until something is so."""
    end = asyncio.get_running_loop().time() + seconds
    while not true():
        assert asyncio.get_running_loop().time() < end, "it did not come to be"
        await asyncio.sleep(0.005)


def soon(done: Callable[[], bool]) -> bool:
    """Wait until it is done, with a generous deadline."""
    for _ in range(1000):
        if done():
            return True
        threading.Event().wait(0.02)
    return False


def assert_balanced(stats: dict[str, Any]) -> None:
    """Check that no event has vanished."""
    settled = stats["total_flushed"] + stats["total_fallback"] + stats["total_dropped"]
    assert stats["total_logged"] == settled + stats["pending"]
    assert sum(stats["dropped"].values()) == stats["total_dropped"]
