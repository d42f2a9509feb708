"""What the library says about itself, told to Python's ``logging`` under ``namel3ss.safety``.

From a thread of Python's, never from a worker: a handler that logs safety events itself can neither
recurse nor deadlock. Rate-limited, so that an outage does not flood anybody's log.
"""

from __future__ import annotations

import logging
import threading
import time

from namel3ss.safety import _core, _life, _threads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    Told = tuple[str, str, str, int]

_log = logging.getLogger("namel3ss.safety")
_LEVELS = {
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
}
# Events that did not get to their dataset: the quick reference promises a critical entry.
_CRITICAL_KINDS = frozenset({"fallback"})

_PULL_SECONDS = 0.5
_RECORDS_MAX = 50
_PER_SECONDS = 10.0

_lock = threading.Lock()
_thread: threading.Thread | None = None
_left_window = [0.0, 0.0, 0.0]


def tell(notices: Iterable[Told], window: list[float]) -> None:
    """Log what one sink or logger said; ``window`` is its own, three zeros at first."""
    for level, kind, text, times in notices:
        if not _has_room(window):
            continue
        number = logging.CRITICAL if kind in _CRITICAL_KINDS else _LEVELS.get(level, logging.ERROR)
        repeated = f" ({times} times)" if times > 1 else ""
        try:
            _log.log(number, "%s%s", text, repeated)
        except Exception:  # noqa: BLE001, S112
            # A handler of somebody's that raises is not this library's to report.
            continue


def tell_warnings(warnings: Iterable[Told]) -> None:
    """Log what the package as a whole warns of: mistakes in how it is used, each once."""
    tell(warnings, [0.0, 0.0, 0.0])


def _has_room(window: list[float]) -> bool:
    now = time.monotonic()
    with _lock:
        began, told, withheld = window
        fresh = now - began >= _PER_SECONDS
        if fresh:
            window[:] = [now, 0.0, 0.0]
            told = 0.0
        room = told < _RECORDS_MAX
        window[1 if room else 2] += 1
    if fresh and withheld:
        _log.warning("%d notices were withheld: there were too many at once", int(withheld))
    return room


def ensure() -> None:
    """Have a thread pull them, if one is to be had."""
    global _thread  # noqa: PLW0603
    if (_thread is not None and _thread.is_alive()) or not _life.can_start_threads():
        return
    thread = threading.Thread(target=_run, name="namel3ss-safety-notices", daemon=True)
    try:
        _threads.start(thread)
    except RuntimeError:
        return
    _thread = thread


def after_fork() -> None:
    """In a forked child: the thread is gone, and may have held the lock."""
    global _thread, _lock  # noqa: PLW0603
    _thread = None
    _lock = threading.Lock()


def _run() -> None:
    while True:
        time.sleep(_PULL_SECONDS)
        pull()


def pull() -> None:
    """Log what waits to be said, also of loggers that are gone."""
    for handle in _life.handles.all():
        handle.pull()  # type: ignore[attr-defined]
    tell(_core.take_left(), _left_window)
