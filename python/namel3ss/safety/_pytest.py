"""The pytest fixture ``safety_events``: what the code under test has recorded."""

from __future__ import annotations

import pytest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any


class SafetyEvents:
    """The events of one test, as rows with the 17 fields each."""

    def __init__(self) -> None:
        """Put a logger of its own in the global one's place."""
        from namel3ss.safety.logging import SafetyEventLogger, set_global_logger
        from namel3ss.safety.logic_adapters import AdapterRegistry, MemoryAdapter

        self._adapter = MemoryAdapter()
        registry = AdapterRegistry()
        registry.register("safety_events", self._adapter)
        self.logger = SafetyEventLogger(adapter_registry=registry, journal="memory")
        self._former = set_global_logger(self.logger)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """All rows so far, oldest first."""
        self.logger.flush_sync()
        return self._adapter.records

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Go over the rows."""
        return iter(self.rows)

    def __len__(self) -> int:
        """Count the rows."""
        return len(self.rows)

    def __getitem__(self, at: int) -> dict[str, Any]:
        """Return one row."""
        return self.rows[at]

    def close(self) -> None:
        """Put the former global logger back."""
        from namel3ss.safety.logging import set_global_logger

        self.logger.stop_sync()
        set_global_logger(self._former)


@pytest.fixture
def safety_events() -> Iterator[SafetyEvents]:
    """Return what the global logger records during the test; nothing leaves memory."""
    events = SafetyEvents()
    yield events
    events.close()
