"""Names for type checkers and editors: what settings may be, and what statistics hold.

Nothing here is needed to run a program, and the package does not import it:

>>> from namel3ss.safety.types import SafetyStats
>>> def is_fine(stats: SafetyStats) -> bool:
...     return stats["healthy"] and not stats["total_dropped"]
"""

from __future__ import annotations

import os  # noqa: TC003 - annotations are read by get_type_hints
from collections.abc import Awaitable  # noqa: TC003 - annotations are read by get_type_hints
from typing import Any, Literal, Protocol, TypedDict, runtime_checkable

__all__ = [
    "Adapter",
    "Direction",
    "Durability",
    "EventLogger",
    "EventSink",
    "LoggerOptions",
    "ObjectFormat",
    "OverflowStrategy",
    "Registry",
    "SafetyStats",
    "Severity",
    "SinkStats",
]

OverflowStrategy = Literal["drop_oldest", "drop_newest", "block"]
"""What becomes of an event for which there is no room: see ``SafetyEventLogger``."""

Durability = Literal["process", "power"]
"""What an event survives: the end of the process, or a power cut too."""

ObjectFormat = Literal["parquet", "json", "jsonl", "csv"]
"""How rows are written in an object."""

Direction = Literal["input", "output"]
"""What was checked: what goes to a model, or what comes from it."""

Severity = Literal["none", "low", "medium", "high", "critical"]
"""How bad it is; a word of the application's own is stored as well."""


class SinkStats(TypedDict):
    """The statistics of one destination. Numbers count events, unless they say otherwise."""

    name: str
    """The dataset's name."""
    destination: str
    """Where rows land, without secrets."""
    flushed: int
    """Stored in the dataset."""
    fallback: int
    """Written to fallback files."""
    dropped: int
    """Lost."""
    pending: int
    """Waiting in the journal."""
    retries: int
    """Attempts beyond a batch's first; of batches, not events."""
    recovered: int
    """Stored for earlier processes; counted nowhere else."""
    recovering: int
    """Waiting of earlier processes."""
    healthy: bool
    """Whether its last batch was stored."""
    last_error: str | None
    """The last warning or error."""


class SafetyStats(TypedDict):
    """What ``get_stats()`` returns. Numbers count events, unless they say otherwise.

    ``total_logged = total_flushed + total_fallback + total_dropped + pending``, at every instant.
    """

    total_logged: int
    """Accepted by ``log()``."""
    total_flushed: int
    """Stored in the dataset; with several, in each of them."""
    total_dropped: int
    """Lost."""
    current_buffer_size: int
    """Logged and not yet handed to the worker."""
    max_buffer_size: int
    """The setting ``buffer_size``."""
    overflow_strategy: OverflowStrategy
    """The setting."""
    flush_interval_seconds: float
    """The setting, in seconds."""
    target_dataset: str
    """The setting."""
    total_fallback: int
    """Written to fallback files."""
    total_retries: int
    """Attempts beyond a batch's first; of batches, not events."""
    total_replayed: int
    """Rows of fallback files that were stored later."""
    total_recovered: int
    """Stored for earlier processes; counted nowhere else."""
    pending: int
    """Waiting in the journal."""
    recovering: int
    """Waiting of earlier processes."""
    backlog_bytes: int
    """How much journal waits, in bytes."""
    dropped: dict[str, int]
    """The lost ones by reason."""
    oldest_pending_seconds: float
    """The age of the oldest that waits, in seconds."""
    last_error: str | None
    """The last warning or error."""
    journal: Literal["mmap", "file", "memory"]
    """What the journal stands on; memory does not survive the process."""
    durability: Durability
    """The setting."""
    healthy: bool
    """Whether nothing is lost and nothing needs care."""
    unhealthy: list[str]
    """Why it is not: ``lost``, ``no_event``, ``journal``, ``destination``, ``memory``, …"""
    sinks: list[SinkStats]
    """One for each destination."""
    misread: int
    """Events in which something could not be read; stored, with the original in ``metadata``."""
    panics: int
    """Faults in this library; should be 0."""


@runtime_checkable
class Adapter(Protocol):
    """What stores rows: any object with ``insert``, plain or async. May raise."""

    def insert(self, rows: list[dict[str, Any]], /) -> Awaitable[object] | object:
        """Store all rows, or raise."""


@runtime_checkable
class Registry(Protocol):
    """What finds the adapter of a dataset by its name; None where there is none."""

    def get(self, name: str, /) -> object | None:
        """Return the adapter."""


@runtime_checkable
class EventLogger(Protocol):
    """What records events: ``SafetyEventLogger``, one that is bound, or one of the user's own."""

    def log(self, event: Any, /) -> Any:  # noqa: ANN401
        """Record one event; what it returns may be awaited."""


@runtime_checkable
class EventSink(Protocol):
    """What delivers events in the place of ``SafetyEventSink``."""

    def write_events(self, events: list[Any], /) -> Awaitable[object] | object:
        """Deliver all, or raise."""


class LoggerOptions(TypedDict, total=False):
    """Options of ``SafetyEventLogger``; its ``__init__`` says what they are, and their units."""

    target_dataset: str
    buffer_size: int
    flush_interval_seconds: float
    overflow_strategy: OverflowStrategy
    fallback_path: str | os.PathLike[str] | None
    journal: str | os.PathLike[str]
    durability: Durability
    backlog_limit_bytes: int
    max_retries: int
    retry_delay_seconds: float
    autostart: bool
    strict: bool | None
