"""Where events land: adapters by the names of their datasets."""

from __future__ import annotations

import os

from namel3ss.safety import _bridge, _core, _waiting
from namel3ss.safety._pickling import NotPicklable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence
    from typing import Any

    from namel3ss.safety.types import ObjectFormat

__all__ = [
    "AdapterRegistry",
    "CSVAdapter",
    "DatasetAdapter",
    "JSONAdapter",
    "MemoryAdapter",
    "ObjectStoreAdapter",
    "ParquetAdapter",
    "SQLAdapter",
]


class DatasetAdapter:
    """Base of adapters of one's own; any object with ``insert`` does as well.

    ``insert`` may be a plain or an ``async`` method. It is called from a thread of the library's,
    one batch at a time; whatever it raises, the batch is tried again, and then goes to a fallback
    file. A batch may come again after a crash: rows land at least once.

    ``insert_timeout_seconds`` is how long a batch waits for ``insert`` to return, before it counts
    as failed: 60 s, unless an adapter says otherwise when it is registered.
    """

    insert_timeout_seconds: float = 60.0

    def insert(self, rows: list[dict[str, Any]]) -> Awaitable[object] | object:
        """Store all rows, or raise.

        After ``OSError`` and the like the whole batch is tried again; after ``ValueError``,
        ``TypeError`` and ``LookupError``, which lie with a row, it is cut to find that row.
        """
        raise NotImplementedError

    def __repr__(self) -> str:
        """Show its class."""
        return f"<{type(self).__name__}>"


class _NativeAdapter(NotPicklable, DatasetAdapter):
    """An adapter whose work is native; each row lands exactly once, where its dataset can tell."""

    _native: _core.Native

    def insert(self, rows: Iterable[Any]) -> None:
        """Store all rows, or raise ``OSError``: events, or mappings with their fields.

        Rows that are inserted by hand are in no journal: what is inserted twice is there twice.
        """
        result = _waiting.result_sync(self._native.begin_insert(rows))
        if result["error"] is not None:
            text = f"failed to {result['error']}"
            raise OSError(text)

    @property
    def identity(self) -> str:
        """Where rows land, without secrets."""
        return self._native.identity()

    @property
    def exactly_once(self) -> str | None:
        """The condition under which each row lands exactly once; None where it is at least once."""
        return self._native.exactly_once()

    def __repr__(self) -> str:
        """Show where rows land, without secrets."""
        return f"<{type(self).__name__} {self.identity}>"


def _path(path: object, kind: str, name: str = "path") -> str:
    if isinstance(path, (str, os.PathLike)) and os.fspath(path):
        return os.path.abspath(os.path.expanduser(os.fsdecode(path)))  # noqa: PTH100, PTH111
    text = f"{name} is {path!r}: it takes the path of a {kind}"
    raise ValueError(text)


class MemoryAdapter(_NativeAdapter):
    """Rows in memory, for tests and for looking at what a guard does.

    >>> adapter = MemoryAdapter()
    >>> adapter.insert([{"event_id": "evt-001", "action": "block"}])
    >>> adapter.records[0]["action"]
    'block'
    """

    def __init__(self) -> None:
        """Make an empty one."""
        self._native = _core.Native.memory()

    @property
    def records(self) -> list[dict[str, Any]]:
        """A copy of all rows, oldest first: the 17 fields each."""
        return self._native.rows()

    rows = records

    def __len__(self) -> int:
        """Count the rows."""
        return len(self._native)

    def __bool__(self) -> bool:
        """An adapter is one also while it is empty."""
        return True


class CSVAdapter(_NativeAdapter):
    """A CSV file with a header; text that a spreadsheet would run is written inert.

    The file is made at the first row. Several processes may write to it at once.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Name the file; its folder must exist when the first row comes."""
        self._native = _core.Native.csv(_path(path, "CSV file"))


class JSONAdapter(_NativeAdapter):
    """A JSON file: ``.json`` is one array, valid after every batch; ``.jsonl`` a line an event."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Name the file; its folder must exist when the first row comes."""
        self._native = _core.Native.json(_path(path, "JSON file"))


class SQLAdapter(_NativeAdapter):
    """A table of a database, by a URL or a SQLAlchemy ``Engine`` or ``AsyncEngine``.

    A missing table is made; of another one the matching columns are filled, and what has no column
    goes to ``metadata``. An engine is used through its URL natively; for in-memory SQLite, and
    dialects that are not native, rows are inserted through the engine itself, at least once.
    """

    def __new__(cls, engine: object = None, table: str = "safety_events") -> Any:  # noqa: ANN401
        """Find out how the database is reached."""
        from namel3ss.safety import _sql

        _sql.check_table(table)
        url = _sql.url_of(engine)
        if url is not None and (native := _sql.open_native(url, table)) is not None:
            self = super().__new__(cls)
            self._native = native
            return self
        return _sql.EngineAdapter(engine, table)

    def __init__(self, engine: object, table: str = "safety_events") -> None:
        """Connect to nothing yet: that is done at the first row."""


class ObjectStoreAdapter(_NativeAdapter):
    """Objects in a bucket or folder: ``s3://``, ``gs://``, ``az://``, ``file://``.

    Keys are ``{prefix}/year=YYYY/month=MM/day=DD/events_…``, by the events' own dates.
    """

    def __init__(
        self,
        bucket_name: str,
        prefix: str = "safety_events",
        format: ObjectFormat = "parquet",  # noqa: A002
    ) -> None:
        """Name bucket, prefix and format: parquet, json, jsonl or csv."""
        self._native = _core.Native.object_store(bucket_name, prefix, format)


class ParquetAdapter(_NativeAdapter):
    """A local folder of Parquet files in partitions by day, ``year=YYYY/month=MM/day=DD``.

    pyarrow, polars, DuckDB and pandas read it; none of them is needed to write it. Days are the
    events' own, in UTC. A file is written when 50,000 rows wait, or one has waited for a minute, or
    at a flush. Each row lands exactly once on a local file system; several processes may write at
    once. It is the dataset of the URL ``file:///folder/``.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        """Name the folder, which is made at the first row, for its owner alone."""
        from urllib.parse import quote

        path = quote(os.fsencode(_path(folder, "folder", "folder")))
        self._native = _core.Native.object_store(f"file://{path}", "", "parquet")


class AdapterRegistry(NotPicklable):
    """Adapters by the names of their datasets; empty at first.

    >>> registry = AdapterRegistry()
    >>> registry.register("safety_events", MemoryAdapter())
    >>> registry.get("safety_events")
    <MemoryAdapter memory:...>
    """

    def __init__(self) -> None:
        """Make an empty one."""
        self._adapters: dict[str, object] = {}
        self._links: dict[str, _bridge.Connection] = {}
        self._table = _core.Table()

    def register(self, name: str, adapter: object) -> object | None:
        """Store the dataset's rows in ``adapter`` from now on; return the one it replaces.

        Raises ``ValueError`` for a name that is no text, and for no adapter.
        """
        if not isinstance(name, str) or not name:
            text = f"name is {name!r}: it takes the name of a dataset"
            raise ValueError(text)
        if adapter is None:
            text = "adapter is None: it takes an object with insert(rows)"
            raise ValueError(text)
        former = self._adapters.get(name)
        native = _bridge.native_of(adapter)
        if native is None:
            link = _bridge.Connection(_always(adapter), _bridge.identity_of(adapter), adapter)
            self._links[name] = link
            native = link.native
        else:
            self._links.pop(name, None)
        self._adapters[name] = adapter
        self._table.set(name, native)
        return former

    def get(self, name: str) -> Any:  # noqa: ANN401
        """Return the dataset's adapter, or None."""
        return self._adapters.get(name)

    def names(self) -> list[str]:
        """Return the names of all datasets that have one, sorted."""
        return sorted(self._adapters)

    def __contains__(self, name: object) -> bool:
        """Whether the dataset has one."""
        return name in self._adapters

    def __repr__(self) -> str:
        """Show the names."""
        return f"<AdapterRegistry {', '.join(self.names()) or 'empty'}>"

    def _connections(self) -> Sequence[_bridge.Connection]:
        return list(self._links.values())


def _always(adapter: object) -> Callable[[], object]:
    return lambda: adapter
