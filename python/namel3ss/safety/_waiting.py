"""Waiting for what goes on in a native thread, without blocking an event loop or Ctrl-C.

All waiting is done here, in Python, by sleeping a little: no native code waits on behalf of a
thread of Python's, so none can be met by an interpreter that shuts down.
"""

from __future__ import annotations

import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from types import TracebackType
    from typing import Any

    from namel3ss.safety._core import Ticket

_FIRST_SECONDS = 0.0002
_LONGEST_SECONDS = 0.02
# A native side that keeps the time has told by then what it came to.
_GRACE_SECONDS = 0.05


def _nothing() -> None:
    """Serve nobody: what is waited for needs nothing of Python's."""


def in_event_loop() -> bool:
    """Whether an asyncio event loop runs in this thread; others are waited for as threads."""
    events = sys.modules.get("asyncio.events")
    return events is not None and events._get_running_loop() is not None


def wait_sync(over: Callable[[], bool], serve: Callable[[], None]) -> None:
    """Wait in a thread of the caller's."""
    seconds = _FIRST_SECONDS
    while not over():
        serve()
        time.sleep(seconds)
        seconds = min(seconds * 1.5, _LONGEST_SECONDS)


async def wait(over: Callable[[], bool], serve: Callable[[], None] = _nothing) -> None:
    """Wait in whatever event loop runs; where that is none of asyncio's, in the thread."""
    if not in_event_loop():
        wait_sync(over, serve)
        return
    import asyncio

    seconds = _FIRST_SECONDS
    while not over():
        serve()
        await asyncio.sleep(seconds)
        seconds = min(seconds * 1.5, _LONGEST_SECONDS)


def over(ticket: Ticket, timeout: float | None) -> Callable[[], bool]:
    """Whether a ticket is done, or ``timeout`` seconds have passed.

    An adapter that hangs keeps the native side longer, which then goes on by itself.
    """
    if timeout is None:
        return ticket.done
    until = time.monotonic() + min(max(0.0, timeout), 1e9) + _GRACE_SECONDS
    return lambda: ticket.done() or time.monotonic() >= until


async def result(ticket: Ticket, serve: Callable[[], None] = _nothing) -> dict[str, Any]:
    """Wait for a ticket; what came of it."""
    await wait(ticket.done, serve)
    return ticket.result()


def result_sync(ticket: Ticket, serve: Callable[[], None] = _nothing) -> dict[str, Any]:
    """Wait for a ticket; what came of it."""
    wait_sync(ticket.done, serve)
    return ticket.result()


class Pending:
    """What ``log()`` returns where its strategy has to wait: awaited, it waits; forgotten, not.

    The event is kept either way.
    """

    __slots__ = ("_coroutine", "_over", "_serve")

    def __init__(self, over: Callable[[], bool], serve: Callable[[], None]) -> None:
        self._over = over
        self._serve = serve
        self._coroutine: Any = None

    def _begun(self) -> Any:  # noqa: ANN401
        if self._coroutine is None:
            self._coroutine = wait(self._over, self._serve)
        return self._coroutine

    def __await__(self) -> Generator[Any, None, None]:
        """Wait."""
        coroutine: Generator[Any, None, None] = self._begun().__await__()
        return coroutine

    def send(self, value: object) -> object:
        """Go on, as a coroutine does."""
        return self._begun().send(value)

    def throw(
        self,
        kind: Any,  # noqa: ANN401
        value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> object:
        """Raise inside, as a coroutine does."""
        raised = kind if value is None else value
        if traceback is not None:
            raised = raised.with_traceback(traceback)
        return self._begun().throw(raised)

    def close(self) -> None:
        """End it, as a coroutine ends."""
        if self._coroutine is not None:
            self._coroutine.close()
