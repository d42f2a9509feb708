"""Telling what a signal handler raised from what the code that it interrupted did.

Signal handlers run in the main thread, between any two instructions: an exception that one raises
comes out of whatever code runs there at that moment.
"""

from __future__ import annotations

import signal
import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType, TracebackType


def is_from_a_handler(error: BaseException, traceback: TracebackType | None) -> bool:
    """Whether a signal handler raised it; a ``KeyboardInterrupt`` of the main thread always is."""
    if threading.current_thread() is not threading.main_thread():
        return False
    if isinstance(error, KeyboardInterrupt):
        return True
    codes = {code for number in signal.valid_signals() if (code := _code_of(number)) is not None}
    while traceback is not None:
        if traceback.tb_frame.f_code in codes:
            return True
        traceback = traceback.tb_next
    return False


def _code_of(number: int) -> CodeType | None:
    handler: object = signal.getsignal(number)
    # A functools.partial, a bound method, a function; or an object that is called.
    handler = getattr(handler, "func", handler)
    handler = getattr(handler, "__func__", handler)
    if not hasattr(handler, "__code__"):
        handler = vars(type(handler)).get("__call__")
    return getattr(handler, "__code__", None)
