"""Adapters of Python's: a daemon thread takes up what the native worker lays down, and calls them.

Whatever an adapter does, the app never notices: it may raise anything, hang, or log itself.
"""

from __future__ import annotations

import os
import sys

from namel3ss.safety import _core, _life, _real_thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    import threading
    from collections.abc import Callable
    from typing import Any

    Answer = tuple[str, str, list[int], _core.Native | None]

_TIMEOUT_SECONDS = 60.0

_MESSAGE_CHARS_MAX = 300
_INFINITY = float("inf")
# Errors that most likely lie with a row: the batch is cut until the bad ones are found.
_OF_A_ROW = (ValueError, TypeError, LookupError, ArithmeticError, AttributeError, AssertionError)


def native_of(adapter: object) -> _core.Native | None:
    """The native adapter that an adapter of ours stands for."""
    native = getattr(adapter, "_native", None)
    return native if isinstance(native, _core.Native) else None


def identity_of(adapter: object) -> str:
    """Name where rows land: a crashed process's events go to the same class of the same program."""
    kind = type(adapter)
    program = os.path.realpath(sys.argv[0]) if sys.argv and sys.argv[0] else "interactive"
    # Processes that multiprocessing spawns import the program under another name.
    module = "__main__" if kind.__module__ == "__mp_main__" else kind.__module__
    return f"python:{module}.{kind.__qualname__}@{program}"


def _timeout_of(adapter: object) -> float:
    """How long a batch waits for its adapter to return; what is no number says nothing."""
    seconds = getattr(adapter, "insert_timeout_seconds", None)
    if isinstance(seconds, (int, float)) and not isinstance(seconds, bool) and seconds > 0:
        return float(seconds)
    return _TIMEOUT_SECONDS


class Connection:
    """One adapter of Python's, or a registry of the user's own that has some, and its thread."""

    def __init__(
        self,
        find: Callable[[], object | None],
        identity: str,
        adapter: object = None,
    ) -> None:
        """Connect; ``find`` gives the adapter, at each call anew; ``adapter`` is it for now."""
        self.core = _core.Bridge(identity, _timeout_of(adapter))
        self.native = self.core.native()
        self._server = _Server(self.core, find)
        self._thread: threading.Thread | _real_thread.RealThread | None = None
        _life.connections.add(self)
        self.ensure()

    def ensure(self) -> None:
        """Have a thread take up what is laid down, if one is to be had."""
        if self._has_thread() or not _life.can_start_threads():
            return
        import weakref

        # While it has nothing to do it holds nothing: an adapter that refers to its own logger
        # would otherwise live as long as the process.
        try:
            thread = _real_thread.start(
                _run, (self.core, weakref.ref(self)), "namel3ss-safety-adapter"
            )
        except RuntimeError:
            # An interpreter that shuts down starts none: whoever waits does the work.
            return
        self._thread = thread

    def serve(self) -> None:
        """Do the thread's work here, where there is no thread."""
        if not self._has_thread():
            self.take_up()

    def take_up(self) -> None:
        """Call the adapter with what is laid down."""
        self._server.serve()

    def _has_thread(self) -> bool:
        # The interpreter's end stops all daemon threads, and does not tell their objects.
        thread = self._thread
        return thread is not None and thread.is_alive() and not sys.is_finalizing()

    def after_fork(self) -> None:
        """In a forked child: the thread is gone, and may have held anything."""
        self.core.after_fork()
        self._server = _Server(self.core, self._server.find)
        self._thread = None

    def __del__(self) -> None:
        """Let the thread end."""
        core = getattr(self, "core", None)
        if core is not None:
            core.close()


def _run(core: _core.Bridge, connection: Callable[[], Connection | None]) -> None:
    """Take up what is laid down, until the connection has gone."""
    while True:
        try:
            if not os.read(core.fileno(), 64) or core.closed():
                return
        except OSError:
            return
        found = connection()
        if found is None:
            return
        found.take_up()
        del found


class _Server:
    """Takes up batches and calls the adapter; one batch at a time."""

    def __init__(self, core: _core.Bridge, find: Callable[[], object | None]) -> None:
        self.core = core
        self.find = find
        self._busy = False
        self._loop: asyncio.AbstractEventLoop | None = None
        # Of a batch that failed in the middle: the rows that `append` has taken.
        self._appended: list[dict[str, Any]] = []
        self._pid = os.getpid()

    def __del__(self) -> None:
        """Close the loop: left to the collector it would keep its descriptors for long."""
        loop = getattr(self, "_loop", None)
        # A forked child's copy is wired to the parent's.
        if loop is not None and not loop.is_running() and self._pid == os.getpid():
            loop.close()

    def serve(self) -> None:
        if self._busy:
            return
        self._busy = True
        try:
            while (job := self.core.take()) is not None:
                number, rows = job
                self.core.answer(number, *self._deliver(rows))
        finally:
            self._busy = False

    def _deliver(self, rows: list[dict[str, Any]]) -> Answer:
        try:
            adapter = self.find()
        except KeyError:
            adapter = None
        except BaseException as error:  # noqa: BLE001
            return "transient", f"find an adapter: {type(error).__name__}", [], None
        if adapter is None:
            return "config", "find an adapter for the dataset: register one", [], None
        native = native_of(adapter)
        if native is not None:
            return "native", "", [], native
        try:
            return self._hand(adapter, rows)
        except BaseException as error:  # noqa: BLE001
            kind = "unknown" if isinstance(error, _OF_A_ROW) else "transient"
            return kind, f"insert the rows: {_shown(error, rows)}", [], None

    def _hand(self, adapter: Any, rows: list[dict[str, Any]]) -> Answer:  # noqa: ANN401
        stored: Answer = "stored", "", [], None
        if callable(getattr(adapter, "insert", None)):
            self._finish(adapter.insert(rows))
            return stored
        if callable(getattr(adapter, "append", None)):
            self._append(adapter.append, rows)
            return stored
        if callable(getattr(adapter, "write", None)):
            self._finish(adapter.write(rows))
            return stored
        records: Any = getattr(adapter, "records", None)
        if callable(getattr(records, "extend", None)):
            records.extend(rows)
            return stored
        kind = type(adapter).__qualname__
        wants = "give it insert(rows), append(text), write(rows) or records"
        return "config", f"insert the rows: {kind} has no way to take them, {wants}", [], None

    def _append(self, append: Callable[[str], object], rows: list[dict[str, Any]]) -> None:
        """Append a row at a time; a batch that is tried again goes on where it stopped."""
        done = 0
        for had, row in zip(self._appended, rows, strict=False):
            if had != row:
                break
            done += 1
        self._appended = rows[:done]
        for row in rows[done:]:
            self._finish(append(to_json(row)))
            self._appended.append(row)
        self._appended = []

    def _finish(self, value: Any) -> None:  # noqa: ANN401
        """Run what an ``async def`` has returned."""
        if not hasattr(type(value), "__await__"):
            return
        if self._loop is None or self._loop.is_closed():
            import asyncio

            self._loop = asyncio.new_event_loop()

        async def awaited() -> None:
            await value

        self._loop.run_until_complete(awaited())


def to_json(row: dict[str, Any]) -> str:
    """One row as JSON text; what is not JSON as its ``str()``."""
    import json

    try:
        return json.dumps(row, default=str, ensure_ascii=False, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(row), default=str, ensure_ascii=False)


def _finite(value: object) -> object:
    """Write what JSON has no number for as the datasets do."""
    if isinstance(value, float) and not -_INFINITY < value < _INFINITY:
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"  # noqa: PLR0124
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return value


def _shown(error: BaseException, rows: list[dict[str, Any]]) -> str:
    """What an error says, unless it repeats something of an event."""
    kind = type(error).__name__
    try:
        lines = str(error).splitlines()
        text = lines[0][:_MESSAGE_CHARS_MAX] if lines else ""
        if not text or any(_repeats(text, row) for row in rows):
            return kind
    except BaseException:  # noqa: BLE001
        return kind
    return f"{kind}: {text}"


_SHORT_CHARS = 5


def _repeats(text: str, value: object) -> bool:
    if isinstance(value, str):
        return len(value) >= _SHORT_CHARS and (value in text or text in value)
    if isinstance(value, dict):
        return any(_repeats(text, item) for pair in value.items() for item in pair[1:])
    if isinstance(value, list):
        return any(_repeats(text, item) for item in value)
    return False
