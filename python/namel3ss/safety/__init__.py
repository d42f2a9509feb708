"""The record of what an AI application's guardrails decided, kept through any crash.

>>> from namel3ss.safety import SafetyEvent, get_global_logger
>>> get_global_logger().log(SafetyEvent(policy_name="pii", action="redact"))  # doctest: +SKIP
"""

from __future__ import annotations

import sys

from namel3ss.safety import _interpreter  # noqa: F401
from namel3ss.safety._core import __version__, after_restore
from namel3ss.safety.guards import audited, context, guard
from namel3ss.safety.logging import (
    SafetyEvent,
    SafetyEventLogger,
    create_safety_event_from_enforcement,
    get_global_logger,
    log_safety_event,
    set_global_logger,
)
from namel3ss.safety.logic_adapters import (
    AdapterRegistry,
    CSVAdapter,
    DatasetAdapter,
    JSONAdapter,
    MemoryAdapter,
    ObjectStoreAdapter,
    ParquetAdapter,
    SQLAdapter,
)
from namel3ss.safety.persistence import (
    SafetyEventDatabaseWriter,
    SafetyEventObjectStoreWriter,
    SafetyEventSink,
    SafetyEventWriteError,
)
from namel3ss.safety.runtime import SafetyAction, SafetyViolation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from namel3ss.safety._pytest import safety_events as safety_events
    from namel3ss.safety.handler import SafetyLogHandler

__all__ = [
    "AdapterRegistry",
    "CSVAdapter",
    "DatasetAdapter",
    "JSONAdapter",
    "MemoryAdapter",
    "ObjectStoreAdapter",
    "ParquetAdapter",
    "SQLAdapter",
    "SafetyAction",
    "SafetyEvent",
    "SafetyEventDatabaseWriter",
    "SafetyEventLogger",
    "SafetyEventObjectStoreWriter",
    "SafetyEventSink",
    "SafetyEventWriteError",
    "SafetyLogHandler",
    "SafetyViolation",
    "__version__",
    "after_restore",
    "audited",
    "context",
    "create_safety_event_from_enforcement",
    "get_global_logger",
    "guard",
    "log_safety_event",
    "set_global_logger",
]

if "snapshot_restore_py" in sys.modules:
    from namel3ss.safety import _snapshots

    _snapshots.register()


def __getattr__(name: str) -> object:
    # Importing `logging` would double what importing this package takes.
    if name == "SafetyLogHandler":
        from namel3ss.safety.handler import SafetyLogHandler

        return SafetyLogHandler
    # A plugin of pytest's, which need not be installed: so it is not in `__all__`.
    if name == "safety_events":
        from namel3ss.safety._pytest import safety_events as safety_events

        return safety_events
    text = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(text)
