"""A handler for Python's ``logging`` that records what guardrails report there."""

from __future__ import annotations

import logging

from namel3ss.safety._pickling import NotPicklable
from namel3ss.safety.logging import SafetyEvent, get_global_logger

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from namel3ss.safety.types import EventLogger

__all__ = ["SafetyLogHandler"]

_OWN = "namel3ss.safety"
_SEVERITIES = (
    (logging.CRITICAL, "critical"),
    (logging.ERROR, "high"),
    (logging.WARNING, "medium"),
    (logging.INFO, "low"),
)
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class SafetyLogHandler(NotPicklable, logging.Handler):
    """Turns log records into safety events: the message is the reason.

    ``extra={"action": "block", "policy_name": "pii"}`` sets fields of the event, other extras go to
    its metadata. **A record without an action is an ``alert``, whatever its level**: nothing says
    that something passed. The library's own diagnostics are passed over.
    """

    def __init__(
        self, logger: EventLogger | None = None, level: int | str = logging.NOTSET
    ) -> None:
        """Take the logger to record with; the global one by default."""
        super().__init__(level)
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        """Record it; raises only where the logger is strict."""
        if record.name == _OWN or record.name.startswith(f"{_OWN}."):
            return
        try:
            logger = get_global_logger() if self._logger is None else self._logger
            event = SafetyEvent(**_fields(record))
        except Exception:  # noqa: BLE001
            self.handleError(record)
            return
        logger.log(event)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    from datetime import datetime, timezone

    severity = next((word for level, word in _SEVERITIES if record.levelno >= level), "none")
    metadata: dict[str, Any] = {"logger": record.name, "level": record.levelname}
    fields: dict[str, Any] = {
        "timestamp": datetime.fromtimestamp(record.created, timezone.utc),
        "action": "alert",
        "severity": severity,
        "reason": _message(record, metadata),
    }
    for name, value in vars(record).items():
        if name in _STANDARD or name.startswith("_"):
            continue
        if name == "metadata" and isinstance(value, dict):
            metadata.update(value)
        elif name in metadata:
            metadata[name] = value
        else:
            # As a keyword: a name that is nearly a field's is warned of.
            fields[name] = value
    if record.exc_info and record.exc_info[0] is not None:
        metadata["error"] = record.exc_info[0].__name__
    fields["metadata"] = metadata
    return fields


def _message(record: logging.LogRecord, metadata: dict[str, Any]) -> str:
    """Return the message; where its arguments don't fit, without them, which go to metadata."""
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001
        metadata["args"] = record.args
        return record.msg if isinstance(record.msg, str) else type(record.msg).__name__
