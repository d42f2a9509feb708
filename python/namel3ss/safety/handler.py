"""A handler for Python's ``logging`` that records what guardrails report there."""

from __future__ import annotations

import logging

from namel3ss.safety import _core
from namel3ss.safety._pickling import NotPicklable
from namel3ss.safety.logging import SafetyEvent, get_global_logger

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

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
    its metadata. Without an action a record of level WARNING and above is an ``alert``, below it
    ``allow``. The library's own diagnostics are passed over.
    """

    def __init__(self, logger: Any = None, level: int | str = logging.NOTSET) -> None:  # noqa: ANN401
        """Take the logger to record with; the global one by default."""
        super().__init__(level)
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        """Record it; never raises."""
        if record.name == _OWN or record.name.startswith(f"{_OWN}."):
            return
        try:
            logger = get_global_logger() if self._logger is None else self._logger
            logger.log(SafetyEvent(**_fields(record)))
        except Exception:  # noqa: BLE001
            self.handleError(record)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    from datetime import datetime, timezone

    severity = next((word for level, word in _SEVERITIES if record.levelno >= level), "none")
    fields: dict[str, Any] = {
        "timestamp": datetime.fromtimestamp(record.created, timezone.utc),
        "action": "alert" if record.levelno >= logging.WARNING else "allow",
        "severity": severity,
        "reason": record.getMessage(),
    }
    metadata: dict[str, Any] = {"logger": record.name, "level": record.levelname}
    for name, value in vars(record).items():
        if name in _STANDARD or name.startswith("_"):
            continue
        if name == "metadata" and isinstance(value, dict):
            metadata.update(value)
        elif name in _core.FIELDS:
            fields[name] = value
        else:
            metadata[name] = value
    if record.exc_info and record.exc_info[0] is not None:
        metadata["error"] = record.exc_info[0].__name__
    fields["metadata"] = metadata
    return fields
