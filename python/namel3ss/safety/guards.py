"""Recording a guardrail's decision where it is made: ``guard``, ``audited`` and ``context``."""

from __future__ import annotations

import time

from namel3ss.safety import _core
from namel3ss.safety.logging import SafetyEvent, get_global_logger
from namel3ss.safety.runtime import SafetyAction, SafetyViolation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Any, TypeVar

    from typing_extensions import Self

    F = TypeVar("F", bound=Callable[..., Any])

__all__ = ["Guard", "audited", "context", "guard"]


class context:  # noqa: N801
    """Fill in what events leave open, for as long as the block runs, in this task or thread.

    Takes what ``SafetyEventLogger.bind`` takes; blocks nest, the inner one wins. A context of the
    running task beats what a logger is bound to.

    >>> with context(trace_id="abc", user_id="u-1"):  # doctest: +SKIP
    ...     logger.log(SafetyEvent(action="block"))
    """

    def __init__(self, **values: Any) -> None:  # noqa: ANN401
        """Raise TypeError for a field that belongs to one event, such as ``action``."""
        self._values = values
        self._tokens: list[Any] = []
        _core.Context(values, None)

    def __enter__(self) -> None:
        """Set it."""
        variable = _core.context_variable()
        self._tokens.append(variable.set(_core.Context(self._values, variable.get())))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Put back what was there."""
        _core.context_variable().reset(self._tokens.pop())

    async def __aenter__(self) -> None:
        """Set it."""
        self.__enter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Put back what was there."""
        self.__exit__(kind, error, traceback)


class Guard:
    """Times a block and records what was decided in it; made by ``guard``.

    Without a word of its own it is recorded as ``allow``. Where the guardrail itself raises, that
    is recorded (``alert``, with the error's type in ``metadata["error"]``) and goes on.
    """

    def __init__(
        self,
        policy: str,
        direction: str,
        logger: Any,  # noqa: ANN401
        fields: dict[str, Any],
    ) -> None:
        """Begin nothing yet."""
        self.fields: dict[str, Any] = {**fields, "policy_name": policy, "direction": direction}
        self._logger = logger
        self._decided = False
        self._began = 0.0
        self._pending: Any = None

    def decide(
        self,
        action: SafetyAction | str,
        violation: SafetyViolation | None = None,
        **fields: Any,  # noqa: ANN401
    ) -> None:
        """Record this; a later decision in the same block takes its place."""
        if violation is not None:
            self.fields.update(_found(violation))
        self.fields.update(fields)
        self.fields["action"] = action
        self._decided = True

    def allow(self, **fields: Any) -> None:  # noqa: ANN401
        """Record that it passed."""
        self.decide(SafetyAction.ALLOW, **fields)

    def block(self, **fields: Any) -> None:  # noqa: ANN401
        """Record that it was refused."""
        self.decide(SafetyAction.BLOCK, **fields)

    def redact(self, **fields: Any) -> None:  # noqa: ANN401
        """Record that something was taken out of it."""
        self.decide(SafetyAction.REDACT, **fields)

    def alert(self, **fields: Any) -> None:  # noqa: ANN401
        """Record that somebody was told."""
        self.decide(SafetyAction.ALERT, **fields)

    def __enter__(self) -> Self:
        """Start the clock."""
        self._began = time.perf_counter()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Record what was decided, and how long it took."""
        fields = dict(self.fields)
        fields["latency_ms"] = (time.perf_counter() - self._began) * 1000
        if error is not None:
            fields["metadata"] = {**(fields.get("metadata") or {}), "error": type(error).__name__}
            if not self._decided:
                fields["action"] = SafetyAction.ALERT
                fields.setdefault("severity", "high")
                fields.setdefault("reason", f"the guardrail raised {type(error).__name__}")
        logger = get_global_logger() if self._logger is None else self._logger
        self._pending = logger.log(SafetyEvent(**fields))

    async def __aenter__(self) -> Self:
        """Start the clock."""
        return self.__enter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Record what was decided, and how long it took."""
        self.__exit__(kind, error, traceback)
        await self._pending


def guard(
    policy: str,
    direction: str = "input",
    *,
    logger: Any = None,  # noqa: ANN401
    **fields: Any,  # noqa: ANN401
) -> Guard:
    """Time a block and record the decision made in it; ``with`` and ``async with``.

    ``logger`` is the global one by default; ``fields`` are those of the event.

    >>> with guard("pii", "input") as check:  # doctest: +SKIP
    ...     if "@" in prompt:
    ...         check.redact(categories=["email"])
    """
    return Guard(policy, direction, logger, fields)


def audited(
    policy: str,
    direction: str = "input",
    *,
    logger: Any = None,  # noqa: ANN401
    **fields: Any,  # noqa: ANN401
) -> Callable[[F], F]:
    """Record what a guardrail function returns, and how long it took; plain and ``async`` ones.

    An action or its word is what was done; a ``SafetyViolation`` and False are a block; None and
    True let it pass; anything else does too, and is the function's own affair.
    """

    def decorate(function: F) -> F:
        import functools
        import inspect

        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def recorded_async(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
                async with guard(policy, direction, logger=logger, **fields) as check:
                    result = await function(*args, **kwargs)
                    _decide(check, result)
                return result

            return recorded_async  # type: ignore[return-value]

        @functools.wraps(function)
        def recorded(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
            with guard(policy, direction, logger=logger, **fields) as check:
                result = function(*args, **kwargs)
                _decide(check, result)
            return result

        return recorded  # type: ignore[return-value]

    return decorate


_WORDS = frozenset(action.value for action in SafetyAction)


def _decide(check: Guard, result: object) -> None:
    if isinstance(result, SafetyViolation):
        check.decide(SafetyAction.BLOCK, result)
    elif result is False:
        check.block()
    elif isinstance(result, str) and result in _WORDS:
        check.decide(SafetyAction(result))


def _found(violation: SafetyViolation) -> dict[str, Any]:
    found: dict[str, Any] = {
        "categories": list(violation.categories),
        "severity": violation.severity,
        "confidence": violation.confidence,
        "reason": violation.reason,
    }
    if violation.metadata:
        found["metadata"] = dict(violation.metadata)
    return found
