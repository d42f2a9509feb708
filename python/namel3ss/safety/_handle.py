"""One logger's native part and what of Python's belongs to it; all its faces share one."""

from __future__ import annotations

import sys
import time

from namel3ss.safety import _core, _life, _waiting

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import ModuleType
    from typing import Any

    from namel3ss.safety._bridge import Connection


_RESCUE_SECONDS = 0.1
"""How long a logger that is forgotten waits for what would be lost with it."""

_loaded: ModuleType | None = None


def _notices() -> Any:  # noqa: ANN401
    """The module that tells; None where an interpreter that ends imports nothing any more."""
    global _loaded  # noqa: PLW0603
    if _loaded is None:
        try:
            from namel3ss.safety import _notices as module
        except ImportError:
            return None
        _loaded = module
    return _loaded


class Handle:
    """See the module."""

    def __init__(self, core: _core.Logger, sink: Any) -> None:  # noqa: ANN401
        """Take a native logger and the sink it delivers to."""
        self.core = core
        self.sink = sink
        self._window = [0.0, 0.0, 0.0]
        core.set_helper(_Helper(self))
        _life.handles.add(self)
        # It may have been loaded after this package.
        if "snapshot_restore_py" in sys.modules:
            from namel3ss.safety import _snapshots

            _snapshots.register()

    def connections(self) -> Sequence[Connection]:
        """Those of its dataset."""
        found: Sequence[Connection] = self.sink._connections()
        return found

    def ready(self) -> None:
        """Have the threads that deliver and tell."""
        _life.look_for_fork()
        # Also after the end has begun, since somebody asks for it now.
        _core.set_exiting(False)
        for connection in self.connections():
            connection.ensure()
        notices = _notices()
        if notices is not None:
            notices.ensure()

    def begun(
        self, begin: Callable[[float | None], _core.Ticket], timeout: float | None
    ) -> Callable[[], bool]:
        """Begin a flush or a stop; whether it is over, or its time."""
        self.ready()
        return _waiting.over(begin(timeout), timeout)

    def serve(self) -> None:
        """Do what its threads would do, where they are not to be had."""
        for connection in self.connections():
            connection.serve()

    def start(self) -> None:
        """Start delivering."""
        self.ready()
        self.core.start()

    def pull(self) -> None:
        """Tell what it has to say."""
        told = self.core.notices()
        warnings = _core.take_warnings()
        notices = _notices() if told or warnings else None
        if notices is not None:
            notices.tell(told, self._window)
            notices.tell_warnings(warnings)

    def drain(self, seconds: float) -> None:
        """Deliver what is on its way, for at most so long; never raises."""
        try:
            if not self.core.is_started() and not self.core.unkept():
                return
            until = time.monotonic() + seconds
            ticket = self.core.begin_flush(seconds)
            _waiting.wait_sync(lambda: ticket.done() or time.monotonic() > until, self.serve)
            if self.core.unkept():
                self._rescue()
            # What only memory has is lost with the process, and is said so.
            self.core.say_rest()
            self.pull()
        except BaseException:  # noqa: BLE001, S110
            # The process ends; the journal has everything.
            pass

    def _rescue(self) -> None:
        """Deliver what only memory has, or have it put into a fallback file."""
        until = time.monotonic() + _RESCUE_SECONDS
        for connection in self.connections():
            connection.ensure()
        ticket = self.core.begin_rescue(_RESCUE_SECONDS)
        _waiting.wait_sync(lambda: ticket.done() or time.monotonic() > until, self.serve)

    def __del__(self) -> None:
        """Have adapters of Python's take what only memory has: they are gone before the logger is.

        Native ones take it when that goes. What nobody takes is said by a thread that lives on.
        """
        try:
            if not self.core.unkept():
                return
            notices = _notices()
            if notices is not None:
                notices.ensure()
            if self.connections():
                self._rescue()
        except BaseException:  # noqa: BLE001, S110
            # An interpreter that ends has no modules any more.
            pass


class _Helper:
    """What the native part calls for what only Python can do."""

    def __init__(self, handle: Handle) -> None:
        import weakref

        self._handle = weakref.ref(handle)

    def __call__(self, word: str, event: _core.Encoded | None) -> object:
        handle = self._handle()
        if handle is None:
            return _core.DONE
        if word == "start":
            handle.start()
        elif word == "revive":
            _life.look_for_fork()
            if handle.core.is_started():
                handle.ready()
        elif event is not None:
            return _wait(handle, event)
        return _core.DONE


def _room(core: _core.Logger) -> Callable[[], bool]:
    """Whether the buffer has room, and a call has waited for as long as the backlog asks for."""
    began = time.monotonic()

    def over() -> bool:
        return not core.is_full() and time.monotonic() - began >= core.held_up_seconds()

    return over


def _wait(handle: Handle, event: _core.Encoded) -> object:
    """Log an event that has to wait: for room, or for a dataset that is slower than its callers."""
    core = handle.core
    handle.ready()
    started = core.is_started()
    if core.overfill(event):
        # It is kept, and in its order; what waits is only its caller, until there is room.
        over: Callable[[], bool]
        over = _room(core) if started else core.begin_make_room().done
    else:
        over = core.begin_log(event).done
    if _waiting.in_event_loop():
        return _waiting.Pending(over, handle.serve)
    # Below this is native code, which the interpreter's end must not find here.
    _waiting.wait_sync(lambda: over() or _core.must_leave(), handle.serve)
    return _core.DONE
