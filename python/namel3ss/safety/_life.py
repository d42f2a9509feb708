"""The life of the process: what is alive in it, how it forks and how it ends."""

from __future__ import annotations

import os
import sys

from namel3ss.safety import _core

TYPE_CHECKING = False
if TYPE_CHECKING:
    from namel3ss.safety._bridge import Connection
    from namel3ss.safety._handle import Handle
    from namel3ss.safety._live import Live

EXIT_SECONDS = 2.0
"""How long a process that ends waits for what is on its way; the rest stays in the journal."""

_FORK_SECONDS = 0.1
# What is native comes to an end by itself, and a child can't write to an SQLite file to which its
# parent was writing when it was forked.
_FORK_NATIVE_SECONDS = 1.0
# Threads in `log()` come back within microseconds, but for those that wait for a processor.
_GATE_SECONDS = 1.0


class _Later:
    """A set of weak references, made at its first use: ``weakref`` takes a while to import."""

    def __init__(self) -> None:
        self._set: Live | None = None

    def add(self, item: Connection | Handle) -> None:
        if self._set is None:
            from namel3ss.safety._live import Live

            self._set = Live()
            _prepare()
        self._set.add(item)

    def all(self) -> list[object]:
        return [] if self._set is None else self._set.all()


connections: _Later = _Later()
handles: _Later = _Later()
_prepared = False
# Whose process the threads and locks of this module's are.
_pid = os.getpid()


def _prepare() -> None:
    global _prepared, _pid  # noqa: PLW0603
    if _prepared:
        return
    _prepared = True
    _pid = os.getpid()
    import atexit

    # Its own hooks for forks come first, then.
    import threading  # noqa: F401

    atexit.register(_at_exit)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(
            before=_before_fork,
            after_in_parent=_after_fork_in_parent,
            after_in_child=_after_fork_in_child,
        )


def _before_fork() -> None:
    import time

    until = time.monotonic() + _FORK_NATIVE_SECONDS
    for handle in handles.all():
        left = max(0.0, until - time.monotonic())
        if handle.connections():  # type: ignore[attr-defined]
            left = min(left, _FORK_SECONDS)
        handle.core.pause(left)  # type: ignore[attr-defined]


def _after_fork_in_parent() -> None:
    for handle in handles.all():
        handle.core.resume()  # type: ignore[attr-defined]


def look_for_fork() -> None:
    """Do what is to be done in a forked child, where nobody told Python of the fork.

    uWSGI forks its workers by itself, and calls Python's hooks only where it is asked to.
    """
    if _prepared and os.getpid() != _pid:
        _after_fork_in_child()


def _after_fork_in_child() -> None:
    global _pid  # noqa: PLW0603
    _pid = os.getpid()
    _core.after_fork_in_child(int.from_bytes(os.urandom(8), "little"))
    for connection in connections.all():
        connection.after_fork()  # type: ignore[attr-defined]
    notices = sys.modules.get("namel3ss.safety._notices")
    if notices is not None:
        notices.after_fork()


def _at_exit() -> None:
    """Deliver what is on its way, for a while; what is left, the journal has."""
    import time

    until = time.monotonic() + EXIT_SECONDS
    for handle in handles.all():
        handle.drain(max(0.0, until - time.monotonic()))  # type: ignore[attr-defined]
    notices = sys.modules.get("namel3ss.safety._notices")
    if notices is not None:
        notices.pull()
    # Nothing more is given to adapters of Python's, unless somebody asks for it.
    _core.set_exiting(True)
    until = time.monotonic() + _GATE_SECONDS
    while _core.close_gate() and time.monotonic() < until:
        time.sleep(0.001)


def can_start_threads() -> bool:
    """Whether a thread that is started begins: while 3.11 ends it never does."""
    return not sys.is_finalizing()
