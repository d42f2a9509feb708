"""How events get to their dataset: the sink, and writers for databases and object stores."""

from __future__ import annotations

import os

from namel3ss.safety import _bridge, _core, _threads, _waiting
from namel3ss.safety._pickling import NotPicklable
from namel3ss.safety.logic_adapters import AdapterRegistry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    from namel3ss.safety.types import ObjectFormat, Registry

__all__ = [
    "SafetyEventDatabaseWriter",
    "SafetyEventObjectStoreWriter",
    "SafetyEventSink",
    "SafetyEventWriteError",
]


class SafetyEventWriteError(OSError):
    """Rows were not written; it says why, and what to do. Never a password, nor an event's text."""


class SafetyEventSink(NotPicklable):
    """Delivers events to one dataset: attempts, then a fallback file. It never raises.

    ``max_retries`` counts all attempts, the first included; between them it waits
    ``retry_delay_seconds`` times 1, 2, 4, … up to 60 s. Without a ``fallback_path`` rows that can't
    be delivered stay in the journal of the logger that has this sink; without a journal they are
    lost, which one critical log entry says.
    """

    def __init__(
        self,
        dataset_name: str = "safety_events",
        adapter_registry: Registry | None = None,
        fallback_path: str | os.PathLike[str] | None = None,
        max_retries: int = 3,
        retry_delay_seconds: float = 1.0,
    ) -> None:
        """Raise ValueError, naming the parameter, for a wrong argument."""
        check_text("dataset_name", dataset_name)
        check_int("max_retries", max_retries)
        delay = check_number("retry_delay_seconds", retry_delay_seconds)
        self._registry = AdapterRegistry() if adapter_registry is None else adapter_registry
        self._dataset = dataset_name
        self._window = [0.0, 0.0, 0.0]
        self._table, self._find_connections = _look_up(self._registry, dataset_name)
        fallback = check_path("fallback_path", fallback_path)
        self._core = _core.Sink(dataset_name, self._table, fallback, max_retries, delay)

    @property
    def dataset_name(self) -> str:
        """The dataset, by its name in the registry."""
        return self._core.dataset_name

    @property
    def adapter_registry(self) -> Registry:
        """Where adapters are looked up."""
        return self._registry

    @property
    def fallback_path(self) -> str | None:
        """The folder of the fallback files."""
        path = self._core.fallback_path
        return None if path is None else os.fspath(path)

    @property
    def max_retries(self) -> int:
        """All attempts for one batch, the first included; can be set at any time."""
        return self._core.max_retries

    @max_retries.setter
    def max_retries(self, value: int) -> None:
        check_int("max_retries", value)
        self._core.max_retries = value

    @property
    def retry_delay_seconds(self) -> float:
        """The wait after the first failed attempt; can be set at any time."""
        return self._core.retry_delay_seconds

    @retry_delay_seconds.setter
    def retry_delay_seconds(self, value: float) -> None:
        self._core.retry_delay_seconds = check_number("retry_delay_seconds", value)

    async def write_events(self, events: Iterable[Any]) -> None:
        """Deliver events, or put them into a fallback file; never raises, never blocks the loop."""
        begun = self._begin(events)
        if begun is not None:
            await _waiting.result(begun, self._serve)
            self._tell()

    def write_events_sync(self, events: Iterable[Any]) -> None:
        """As ``write_events``, in this thread."""
        begun = self._begin(events)
        if begun is not None:
            _waiting.result_sync(begun, self._serve)
            self._tell()

    def _begin(self, events: Iterable[Any]) -> _core.Ticket | None:
        from namel3ss.safety import _notices

        try:
            if hasattr(events, "to_dict") or isinstance(events, (dict, str)):
                events = [events]
            for connection in self._connections():
                connection.ensure()
            ticket, refused = self._core.begin_write(events)
        except Exception as error:  # noqa: BLE001
            text = f"dataset {self.dataset_name}: no events to write: {type(error).__name__}"
            _notices.tell([("critical", "lost", text, 1)], self._window)
            return None
        if refused:
            text = f"dataset {self.dataset_name}: lost {refused} events that were none"
            _notices.tell([("critical", "lost", text, 1)], self._window)
        return ticket

    def _tell(self) -> None:
        from namel3ss.safety import _notices

        _notices.tell(self._core.notices(), self._window)

    def _connections(self) -> Sequence[_bridge.Connection]:
        return self._find_connections()

    def _identify(self) -> None:
        """Name where rows land, for a journal; a registry of the user's own is asked."""
        if isinstance(self._registry, AdapterRegistry):
            return
        try:
            adapter = self._registry.get(self._dataset)
        except Exception:  # noqa: BLE001
            adapter = None
        native = _bridge.native_of(adapter)
        own = native.identity() if native is not None else None
        identity = own or _bridge.identity_of(adapter or self._registry)
        for connection in self._connections():
            connection.core.set_identity(identity)

    def _serve(self) -> None:
        for connection in self._connections():
            connection.serve()

    def __repr__(self) -> str:
        """Show its settings."""
        return (
            f"SafetyEventSink(dataset_name={self.dataset_name!r}, max_retries={self.max_retries}, "
            f"retry_delay_seconds={self.retry_delay_seconds}, fallback_path={self.fallback_path!r})"
        )


def _look_up(
    registry: object,
    dataset: str,
) -> tuple[_core.Table, Callable[[], Sequence[_bridge.Connection]]]:
    """Connect a registry: ours, which the worker reads itself, or one of the user's own."""
    if isinstance(registry, AdapterRegistry):
        return registry._table, registry._connections
    get = getattr(registry, "get", None)
    if not callable(get):
        text = f"adapter_registry is a {type(registry).__name__}: it takes an object with get(name)"
        raise ValueError(text)

    def find() -> object | None:
        return get(dataset)  # type: ignore[no-any-return]

    link = _bridge.Connection(find, "")
    table = _core.Table()
    table.set(dataset, link.native)
    return table, lambda: (link,)


_INT_BITS = 63


class _Writer(NotPicklable):
    """Writes rows without a journal: all of a call, or none."""

    def _open(self) -> Any:  # noqa: ANN401
        raise NotImplementedError

    async def write_events(self, rows: Iterable[Any]) -> None:
        """Write all rows, or raise one SafetyEventWriteError that says what to do."""
        adapter = self._open()
        if isinstance(adapter, _core.Native):
            _check(await _waiting.result(adapter.begin_insert(_listed(rows))))
            return
        await _in_thread(lambda: _insert(adapter, rows))

    def write_events_sync(self, rows: Iterable[Any]) -> None:
        """As ``write_events``, in this thread."""
        adapter = self._open()
        if isinstance(adapter, _core.Native):
            _check(_waiting.result_sync(adapter.begin_insert(_listed(rows))))
            return
        _insert(adapter, rows)


def _listed(rows: Iterable[Any]) -> Iterable[Any]:
    return [rows] if hasattr(rows, "to_dict") or isinstance(rows, dict) else rows


def _check(result: dict[str, Any]) -> None:
    if result["error"] is not None:
        text = f"failed to {result['error']}"
        raise SafetyEventWriteError(text)


def _insert(adapter: Any, rows: Iterable[Any]) -> None:  # noqa: ANN401
    """Through an engine: rows as the 17 fields."""
    from namel3ss.safety.logic_adapters import MemoryAdapter

    memory = MemoryAdapter()
    memory.insert(_listed(rows))
    try:
        done = adapter.insert(memory.records)
        if hasattr(done, "__await__"):
            import asyncio

            async def awaited() -> None:
                await done

            asyncio.run(awaited())
    except Exception as error:  # noqa: BLE001
        text = f"failed to insert the rows: {type(error).__name__}; look at the database's log"
        raise SafetyEventWriteError(text) from None


async def _in_thread(work: Callable[[], None]) -> None:
    import threading

    raised: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001
            raised.append(error)

    thread = threading.Thread(target=run, name="namel3ss-safety-insert", daemon=True)
    _threads.start(thread)
    await _waiting.wait(lambda: not thread.is_alive())
    if raised:
        raise raised[0]


class SafetyEventDatabaseWriter(_Writer):
    """Writes rows to a table of a database; a missing table is made.

    ``connection_string`` is a URL as SQLAlchemy writes it; the driver in it is ignored. It connects
    at the first write. ``sqlite:///:memory:`` is written through SQLAlchemy, which that needs.
    """

    def __init__(self, connection_string: str, table_name: str = "safety_events") -> None:
        """Raise ValueError for a wrong argument."""
        from namel3ss.safety import _sql

        check_text("connection_string", connection_string)
        _sql.check_table(table_name)
        self.table_name = table_name
        # Only a function holds the connection string, which may have a password: who looks at the
        # attributes, as error trackers do, does not see it.
        self._scheme = connection_string.partition(":")[0]
        self._connect: Callable[[], Any] = lambda: _sql.EngineAdapter(connection_string, table_name)
        # A database in memory is one connection's own: SQLAlchemy's, so that it can be read back.
        in_memory = _sql.is_in_memory(connection_string)
        self._adapter: Any = None if in_memory else _sql.open_native(connection_string, table_name)

    def _open(self) -> Any:  # noqa: ANN401
        if self._adapter is None:
            try:
                self._adapter = self._connect()
            except ImportError as error:
                text = f"failed to open the database: its driver is missing, install {error.name}"
                raise SafetyEventWriteError(text) from None
        return self._adapter

    def __repr__(self) -> str:
        """Show the table; the connection string may hold a password."""
        return f"<SafetyEventDatabaseWriter {self._scheme} {self.table_name}>"


class SafetyEventObjectStoreWriter(_Writer):
    """Writes rows as objects: parquet, json or csv.

    ``bucket_name`` is a bucket of S3, with credentials, endpoint and region from the usual
    variables, or a URL: ``s3://``, ``gs://``, ``az://``, ``file://``.
    """

    def __init__(
        self,
        bucket_name: str,
        prefix: str = "safety_events",
        format: ObjectFormat = "parquet",  # noqa: A002
    ) -> None:
        """Raise ValueError for a wrong argument."""
        check_text("bucket_name", bucket_name)
        self.bucket_name = bucket_name
        self.prefix = prefix
        self.format = format
        self._adapter = _core.Native.object_store(bucket_name, prefix, format)

    def _open(self) -> _core.Native:
        return self._adapter

    def __repr__(self) -> str:
        """Show where rows go, without secrets."""
        return f"<SafetyEventObjectStoreWriter {self._adapter.identity()}>"


def check_text(name: str, value: object) -> None:
    """Refuse what is no text, with ValueError."""
    if not isinstance(value, str) or not value:
        text = f"{name} is {_short(value)}: it takes a text"
        raise ValueError(text)
    if not value.isascii() and any("\ud800" <= char <= "\udfff" for char in value):
        text = f"{name} is {value[:40]!a}: it takes text without lone surrogates"
        raise ValueError(text)


def check_int(name: str, value: object) -> None:
    """Refuse what is no whole number of 64 bits, with ValueError."""
    if not isinstance(value, int) or isinstance(value, bool) or value.bit_length() > _INT_BITS:
        text = f"{name} is {_short(value)}: it takes a whole number, and not a huge one"
        raise ValueError(text)


def check_number(name: str, value: object) -> float:
    """Refuse what is no number, with ValueError."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            # Said below.
            pass
    text = f"{name} is {_short(value)}: it takes a number of seconds"
    raise ValueError(text) from None


def check_path(name: str, value: object) -> str | None:
    """Refuse what is no path, with ValueError."""
    if value is None:
        return None
    if isinstance(value, (str, os.PathLike)) and os.fspath(value):
        return os.path.abspath(os.path.expanduser(os.fsdecode(value)))  # noqa: PTH100, PTH111
    text = f"{name} is {_short(value)}: it takes the path of a folder"
    raise ValueError(text)


def _short(value: object) -> str:
    try:
        shown = repr(value)
    except Exception:  # noqa: BLE001
        # A number of thousands of digits has none.
        shown = f"a {type(value).__name__}"
    return shown if len(shown) <= 40 else f"{shown[:40]}…"  # noqa: PLR2004
