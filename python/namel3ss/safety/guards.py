"""Recording a guardrail's decision where it is made: ``guard``, ``audited`` and ``context``."""

from __future__ import annotations

import time

from namel3ss.safety import _core
from namel3ss.safety.logging import SafetyEvent, get_global_logger
from namel3ss.safety.runtime import SafetyAction, SafetyViolation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping
    from contextvars import Token
    from types import TracebackType
    from typing import Any, TypeVar, overload

    from namel3ss.safety.types import EventLogger
    from typing_extensions import Self

    F = TypeVar("F", bound=Callable[..., Any])

__all__ = ["Guard", "audited", "context", "guard"]


class context:  # noqa: N801
    """Fill in what events leave open, for as long as the block runs, in this task or thread.

    Takes what ``SafetyEventLogger.bind`` takes; blocks nest, the inner one wins. A context of the
    running task overrides what a logger is bound to. ``defaults`` is a mapping with the same names:
    it fills what the event, the contexts and the bound logger all leave empty.

    A block may be closed in another task than the one that opened it, as happens to generators.

    >>> with context(trace_id="abc", user_id="u-1"):  # doctest: +SKIP
    ...     logger.log(SafetyEvent(action="block"))
    """

    def __init__(self, *, defaults: Mapping[str, Any] | None = None, **values: object) -> None:
        """Raise TypeError for a field that belongs to one event, such as ``action``."""
        self._values = values
        self._defaults = None if defaults is None else dict(defaults)
        self._entries: list[tuple[Token[Any], _core.Context]] = []
        _core.Context(values, None, self._defaults)

    def __enter__(self) -> None:
        """Set it."""
        variable = _core.context_variable()
        made = _core.Context(self._values, variable.get(), self._defaults)
        self._entries.append((variable.set(made), made))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Restore what was set before."""
        variable = _core.context_variable()
        running = variable.get()
        # Several tasks may have entered this one object: each leaves its own entry.
        own = [at for at, (_, made) in enumerate(self._entries) if made is running]
        token, made = self._entries.pop(own[-1] if own else -1)
        try:
            variable.reset(token)
        except ValueError:
            # Closed by another task, which has a copy of the variable or never had the value.
            if made is running:
                variable.set(None if token.old_value is token.MISSING else token.old_value)

    def __repr__(self) -> str:
        """Show the names; what they hold may be personal."""
        return f"<context {', '.join([*self._values, *(self._defaults or ())]) or 'empty'}>"

    async def __aenter__(self) -> None:
        """Set it."""
        self.__enter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Restore what was set before."""
        self.__exit__(kind, error, traceback)


_RANKS = {"allow": 0, "alert": 1, "redact": 2, "block": 3}


def _rank(decision: dict[str, Any]) -> int:
    """How strict a decision is; a word that is no action is recorded as an alert."""
    return _RANKS[_core.action_of(decision["action"]) or "alert"]


class Guard:
    """Times a block and records what was decided in it; made by ``guard``.

    Without a decision it is recorded as ``allow``. Of several decisions the strictest is recorded
    (block, redact, alert, allow; the later of two equal ones), and all are in
    ``metadata["decisions"]``.

    Where the guardrail itself raises, that is recorded too and the exception goes on: as ``alert``
    with severity ``high``, or as ``block`` for the exceptions of ``block_on``, with the exception's
    class name in ``metadata["error"]``. A check that was cancelled or timed out before it decided
    is not recorded, or with ``record_cancelled`` as an ``alert`` with ``metadata["outcome"]``
    ``"cancelled"``.
    """

    def __init__(  # noqa: PLR0913
        self,
        policy: str,
        direction: str,
        logger: EventLogger | None,
        fields: dict[str, Any],
        block_on: tuple[type[BaseException], ...] = (),
        record_cancelled: bool = False,  # noqa: FBT001, FBT002
    ) -> None:
        """Begin nothing yet."""
        self.fields: dict[str, Any] = {**fields, "policy_name": policy, "direction": direction}
        self._logger = logger
        self._block_on = block_on
        self._record_cancelled = record_cancelled
        self._decisions: list[dict[str, Any]] = []
        self._records = True
        self._began = 0.0
        self._pending: Any = _core.DONE

    def decide(
        self,
        action: SafetyAction | str,
        violation: SafetyViolation | None = None,
        **fields: object,
    ) -> None:
        """Record this decision; of several in one block the strictest wins."""
        found = {} if violation is None else _found(violation)
        self._decisions.append({"action": action, **found, **fields})

    @property
    def action(self) -> SafetyAction:
        """What is recorded if nothing stricter follows: ``allow`` before the first decision."""
        strictest = max(reversed(self._decisions), key=_rank, default=None)
        if strictest is None:
            return SafetyAction.ALLOW
        return SafetyAction(_core.action_of(strictest["action"]) or "alert")

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

    def __repr__(self) -> str:
        """Show what it checks, and the decision so far."""
        policy, direction = self.fields["policy_name"], self.fields["direction"]
        return f"<Guard {policy!r} {direction}: {self.action}>"

    def __enter__(self) -> Self:
        """Start the clock."""
        self._decisions = []
        self._records = True
        self._pending = _core.DONE
        self._began = time.perf_counter()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Record what was decided, and how long it took."""
        latency_ms = (time.perf_counter() - self._began) * 1000
        added: dict[str, Any] = {}
        if error is not None and self._records:
            self._take_error(error, added)
        if not self._records:
            return
        fields = {"latency_ms": latency_ms, **self.fields}
        if self._decisions:
            # The later one of equals.
            strictest = max(reversed(self._decisions), key=_rank)
            if len(self._decisions) > 1:
                added["decisions"] = [_shown(decision) for decision in self._decisions]
            metadata = _merged(fields.get("metadata"), strictest.get("metadata"))
            fields.update(strictest)
            if metadata:
                fields["metadata"] = metadata
        if added:
            fields["metadata"] = _merged(fields.get("metadata"), added)
        self._pending = self._logging().log(SafetyEvent(**fields))

    def _take_error(self, error: BaseException, added: dict[str, Any]) -> None:
        """Take what the guardrail raised for a decision, where it is one."""
        name = type(error).__name__
        strictest = max(map(_rank, self._decisions), default=-1)
        if isinstance(error, self._block_on):
            if strictest < _RANKS["block"]:
                self.decide(SafetyAction.BLOCK)
        elif strictest < 0 and _is_cancelled(error):
            if not self._record_cancelled:
                self._record_nothing()
                return
            self.decide(SafetyAction.ALERT)
            added["outcome"] = "cancelled"
        elif strictest < _RANKS["alert"]:
            self.decide(SafetyAction.ALERT, severity="high", reason=f"the guardrail raised {name}")
        added["error"] = name

    def _record_nothing(self) -> None:
        """Leave this block out of the record."""
        self._records = False

    def _is_strict(self) -> bool:
        return getattr(self._logging(), "strict", False) is True

    def _logging(self) -> EventLogger:
        return get_global_logger() if self._logger is None else self._logger

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


def _merged(given: object, over: object) -> dict[str, Any]:
    """Both as one dict, for metadata; what is no mapping stands under its field's name."""
    from collections.abc import Mapping

    merged: dict[str, Any] = {}
    for part in (given, over):
        if isinstance(part, Mapping):
            merged.update(part)
        elif part is not None:
            merged["metadata"] = part
    return merged


def _shown(decision: dict[str, Any]) -> dict[str, Any]:
    """Return a decision as ``metadata["decisions"]`` holds it."""
    return {**decision, "action": _core.action_of(decision["action"]) or decision["action"]}


_CANCELLATIONS = frozenset(
    (module, name)
    for module in ("builtins", "asyncio.exceptions", "concurrent.futures._base")
    for name in ("TimeoutError", "CancelledError")
)


def _is_cancelled(error: BaseException) -> bool:
    """Whether it ended the check from outside, before the check could decide.

    Cancellations are no ``Exception``, in asyncio, trio and gevent alike; nor are the interpreter's
    exit and Ctrl-C.
    """
    if not isinstance(error, Exception):
        return True
    return any((kind.__module__, kind.__name__) in _CANCELLATIONS for kind in type(error).__mro__)


def guard(
    policy: str,
    direction: str = "input",
    *,
    logger: EventLogger | None = None,
    block_on: type[BaseException] | tuple[type[BaseException], ...] = (),
    record_cancelled: bool = False,
    **fields: object,
) -> Guard:
    """Time a block and record the decision made in it; ``with`` and ``async with``.

    ``logger`` is the global one by default. ``block_on``: exceptions by which the guardrail blocks.
    ``record_cancelled``: also record a check that was cancelled before it decided. ``fields`` are
    those of the event.

    >>> with guard("pii", "input") as check:  # doctest: +SKIP
    ...     if "@" in prompt:
    ...         check.redact(categories=["email"])
    """
    kinds = block_on if isinstance(block_on, tuple) else (block_on,)
    return Guard(policy, direction, logger, fields, kinds, record_cancelled)


if TYPE_CHECKING:

    @overload
    def audited(policy: F, /) -> F: ...

    @overload
    def audited(
        policy: str | None = None,
        direction: str = "input",
        *,
        logger: EventLogger | None = None,
        block_on: type[BaseException] | tuple[type[BaseException], ...] = (),
        record_cancelled: bool = False,
        **fields: object,
    ) -> Callable[[F], F]: ...


def audited(
    policy: Any = None,
    direction: str = "input",
    *,
    logger: Any = None,
    block_on: type[BaseException] | tuple[type[BaseException], ...] = (),
    record_cancelled: bool = False,
    **fields: Any,
) -> Any:
    """Record what a guardrail function returns, and how long it took; plain and ``async`` ones.

    Bare ``@audited`` takes the function's name for the policy's. The other parameters are those of
    ``guard``. What is returned:

    - an action in any spelling that ``log`` reads, or an event, mapping or object with ``action``;
    - a mapping or object with ``flagged``: true is a block, false passed;
    - a ``SafetyViolation``: a block;
    - True and None: it passed; False: a block;
    - a tuple: as its first item says;
    - anything else is an ``alert`` with its type in ``metadata["returned"]``, and one warning for a
      function and type; the value itself is not recorded. A strict logger raises ValueError.

    A generator or async generator is recorded when it ends, with what it raised; ``latency_ms``
    then includes the time that its consumer took. One that its consumer closes early counts as
    cancelled.
    """

    def decorate(function: F) -> F:
        named = None if callable(policy) else policy
        own = getattr(function, "__name__", type(function).__name__)

        def check() -> Guard:
            return guard(
                own if named is None else named,
                direction,
                logger=logger,
                block_on=block_on,
                record_cancelled=record_cancelled,
                **fields,
            )

        return _recorded(function, check, _Returned(getattr(function, "__qualname__", own)))

    return decorate(policy) if callable(policy) else decorate


def _recorded(function: F, guarded: Callable[[], Guard], returned: _Returned) -> F:
    """Wrap a function in what it is itself: a coroutine function, a generator function."""
    import functools
    import inspect

    if inspect.isasyncgenfunction(function):
        made = _async_generator(function, guarded)
    elif inspect.iscoroutinefunction(function):
        made = _coroutine(function, guarded, returned)
    elif inspect.isgeneratorfunction(function):
        made = _generator(function, guarded, returned)
    else:
        made = _plain(function, guarded, returned, inspect.isawaitable)
    wrapped: Any = functools.wraps(function)(made)
    return wrapped  # type: ignore[no-any-return]


def _async_generator(
    function: Callable[..., Any], guarded: Callable[[], Guard]
) -> Callable[..., Any]:
    async def recorded(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:  # noqa: ANN401
        async with guarded():
            stream = function(*args, **kwargs)
            try:
                step = stream.__anext__()
                while True:
                    item = await step
                    try:
                        sent = yield item
                    except GeneratorExit:
                        raise
                    except BaseException as error:  # noqa: BLE001
                        step = stream.athrow(error)
                    else:
                        step = stream.asend(sent)
            except StopAsyncIteration:
                pass
            finally:
                await stream.aclose()

    return recorded


def _coroutine(
    function: Callable[..., Any], guarded: Callable[[], Guard], returned: _Returned
) -> Callable[..., Any]:
    async def recorded(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        async with guarded() as check:
            result = await function(*args, **kwargs)
            returned.decide(check, result)
        return result

    return recorded


def _generator(
    function: Callable[..., Any], guarded: Callable[[], Guard], returned: _Returned
) -> Callable[..., Any]:
    def recorded(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:  # noqa: ANN401
        with guarded() as check:
            result = yield from function(*args, **kwargs)
            returned.decide(check, result)
        return result

    return recorded


def _plain(
    function: Callable[..., Any],
    guarded: Callable[[], Guard],
    returned: _Returned,
    is_awaitable: Callable[[object], bool],
) -> Callable[..., Any]:
    def recorded(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        with guarded() as check:
            result = function(*args, **kwargs)
            if not is_awaitable(result):
                returned.decide(check, result)
                return result
            check._record_nothing()
        return _awaited(check, returned, result)

    return recorded


async def _awaited(check: Guard, returned: _Returned, result: Awaitable[Any]) -> Any:  # noqa: ANN401
    """Wait for what a plain function returned, and record it then."""
    async with check:
        value = await result
        returned.decide(check, value)
    return value


class _Returned:
    """Reads what one guardrail function returns."""

    def __init__(self, function: str) -> None:
        self._function = function
        self._warned: set[str] = set()

    def decide(self, check: Guard, result: object) -> None:
        """Have a guard record it; raise ValueError for no decision where the logger is strict."""
        decision = _decision(result)
        if decision is not None:
            check.decide(**decision)
            return
        kind = type(result).__name__
        what = f"{self._function}() returned a {kind}, which is no decision"
        takes = "return an action, True, False, None, a SafetyViolation, or a mapping with action"
        if check._is_strict():
            check._record_nothing()
            text = f"{what}: {takes}"
            raise ValueError(text)
        check.decide(SafetyAction.ALERT, metadata={"returned": kind})
        if kind not in self._warned:
            self._warned.add(kind)
            _core.warn(f"{what}: it is recorded as an alert; {takes}")


_DETAILS = ("reason", "categories", "severity", "confidence", "metadata")
_IDS = ("app_name", "chain_name", "agent_name", "trace_id", "session_id", "user_id")


def _decision(result: Any) -> dict[str, Any] | None:  # noqa: ANN401, PLR0911
    """Return what ``Guard.decide`` takes for a returned value; None where it is no decision."""
    from enum import Enum

    if result is None or result is True:
        return {"action": SafetyAction.ALLOW}
    if result is False:
        return {"action": SafetyAction.BLOCK}
    if isinstance(result, SafetyViolation):
        return {"action": SafetyAction.BLOCK, "violation": result}
    if isinstance(result, (str, Enum)):
        return None if _core.action_of(result) is None else {"action": result}
    if _is_numpy_bool(result):
        return _decision(bool(result))
    if isinstance(result, tuple):
        # A named tuple may have names of ours.
        named: dict[str, Any] = getattr(result, "_asdict", dict)()
        first = result[0] if result and not isinstance(result[0], tuple) else result
        return _of_fields(named) or (None if first is result else _decision(first))
    fields = _core.fields_of(result)
    return None if fields is None else _of_fields(fields)


def _of_fields(fields: Mapping[str, Any]) -> dict[str, Any] | None:
    decision = {name: fields[name] for name in _DETAILS + _IDS if fields.get(name) is not None}
    action, flagged = fields.get("action"), fields.get("flagged")
    if action is not None:
        return {"action": action, **decision}
    if isinstance(flagged, bool) or _is_numpy_bool(flagged):
        return {"action": SafetyAction.BLOCK if flagged else SafetyAction.ALLOW, **decision}
    return None


def _is_numpy_bool(value: object) -> bool:
    kind = type(value)
    return kind.__module__ == "numpy" and kind.__name__ in ("bool", "bool_")


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
