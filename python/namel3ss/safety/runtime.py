"""What a guardrail decides: the action it takes, and what it found."""

from __future__ import annotations

from enum import Enum

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

__all__ = ["SafetyAction", "SafetyViolation"]


class SafetyAction(str, Enum):
    """What a guardrail did with one input or output of a model.

    Members are strings: ``SafetyAction.BLOCK == "block"``.
    """

    ALLOW = "allow"
    """Let it pass."""
    BLOCK = "block"
    """Refused it."""
    REDACT = "redact"
    """Let it pass without the offending part."""
    ALERT = "alert"
    """Let it pass and told somebody."""

    def __str__(self) -> str:
        """Return the word that datasets store."""
        return str(self.value)


class SafetyViolation:
    """What a guardrail found.

    ``categories`` are the app's own words, ``severity`` one of none, low, medium, high, critical or
    a word of the app's own, ``confidence`` is from 0 to 1 by convention.
    """

    __slots__ = ("categories", "confidence", "metadata", "reason", "severity")
    __match_args__ = ("categories", "severity", "confidence", "reason", "metadata")

    def __init__(
        self,
        categories: Iterable[str] | str = (),
        severity: str = "high",
        confidence: float = 1.0,
        reason: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """Keep what was found; nothing is checked, so that reporting it can't fail."""
        self.categories = [categories] if isinstance(categories, str) else list(categories)
        self.severity = severity
        self.confidence = confidence
        self.reason = reason
        self.metadata = dict(metadata or {})

    def _values(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name in self.__match_args__)

    def __eq__(self, other: object) -> bool:
        """Compare by value."""
        if not isinstance(other, SafetyViolation):
            return NotImplemented
        return self._values() == other._values()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        """Show every value."""
        names = self.__match_args__
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
        return f"SafetyViolation({shown})"
