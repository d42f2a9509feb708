"""Starting threads that take none of the application's signals.

A thread inherits the signal mask of the one that starts it, so the mask is set around the start: a
signal that the application masks, waits for or handles must not go to a thread of this package.
"""

from __future__ import annotations

import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    import threading

# A fault of the thread itself raises these: a thread that blocks one and meets it is killed.
_SYNCHRONOUS = ("SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGTRAP", "SIGSYS")


class Masked:
    """Within it all asynchronous signals are blocked in this thread, and in those it starts."""

    def __enter__(self) -> None:
        """Block them."""
        if hasattr(signal, "pthread_sigmask"):
            never = {getattr(signal, name, 0) for name in _SYNCHRONOUS}
            blocked = signal.valid_signals() - never
            self._before = signal.pthread_sigmask(signal.SIG_BLOCK, blocked)

    def __exit__(self, *_: object) -> None:
        """Restore the mask."""
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_SETMASK, self._before)


def start(thread: threading.Thread) -> None:
    """Start ``thread`` with all asynchronous signals blocked in it.

    Raises RuntimeError where no thread is to be had, as ``thread.start()`` does.
    """
    with Masked():
        thread.start()
