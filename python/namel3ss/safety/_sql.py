"""Databases by a URL or a SQLAlchemy engine: natively where that can be, else through it."""

from __future__ import annotations

import re
import sys

from namel3ss.safety import _core
from namel3ss.safety.logic_adapters import DatasetAdapter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_TABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}(\.[A-Za-z_][A-Za-z0-9_]{0,62})?\Z")


def check_table(table: object) -> None:
    """Refuse what is no table's name, with ValueError."""
    if not isinstance(table, str) or not _TABLE.match(table):
        text = f"table is {str(table)[:40]!r}: it takes letters, digits and _, 63 at most"
        raise ValueError(text)


def url_of(engine: object) -> str | None:
    """Return the URL of an engine or of a text; None where it can't be used without its engine."""
    if isinstance(engine, str):
        return engine
    url = getattr(engine, "url", None)
    render = getattr(url, "render_as_string", None)
    if render is None:
        text = f"engine is a {type(engine).__name__}: it takes a URL or a SQLAlchemy Engine"
        raise ValueError(text)
    shown = str(render(hide_password=False))
    in_memory = shown.startswith("sqlite") and (
        getattr(url, "database", None) in (None, "", ":memory:") or "mode=memory" in shown
    )
    return None if in_memory else shown


def is_in_memory(url: str) -> bool:
    """Whether a URL names an SQLite database in memory, which no other connection can see."""
    scheme, _, rest = url.partition("://")
    place, _, options = rest.partition("?")
    in_memory = place in ("", "/", "/:memory:", ":memory:") or "mode=memory" in options
    return scheme.partition("+")[0].lower() == "sqlite" and in_memory


def with_table(url: str, table: str) -> str:
    """Name the table in a URL that names none."""
    if re.search(r"[?&]table=", url):
        return url
    return f"{url}{'&' if '?' in url else '?'}table={table}"


def open_native(url: str, table: str) -> _core.Native | None:
    """Open a database natively; None where this build has no adapter for its dialect.

    Raises ValueError for a URL that names nothing.
    """
    try:
        return _core.Native.open(with_table(url, table))
    except ValueError as error:
        if "sqlalchemy" in sys.modules and _has_dialect(url) and "build" in str(error):
            return None
        raise


def _has_dialect(url: str) -> bool:
    from sqlalchemy.engine import make_url

    try:
        make_url(url).get_dialect()
    except Exception:  # noqa: BLE001
        return False
    return True


class EngineAdapter(DatasetAdapter):
    """A table reached through a SQLAlchemy engine; rows land at least once."""

    def __init__(self, engine: Any, table: str) -> None:  # noqa: ANN401
        """Take an Engine, an AsyncEngine or a URL."""
        if isinstance(engine, str):
            from sqlalchemy import create_engine, pool

            if is_in_memory(engine):
                # One connection for all threads: each would have a database of its own.
                options = {"check_same_thread": False}
                engine = create_engine("sqlite://", poolclass=pool.StaticPool, connect_args=options)
            else:
                engine = create_engine(engine)
        self._asynchronous = hasattr(engine, "sync_engine")
        self._engine = engine
        self._name = table
        self._table: Any = None

    def __repr__(self) -> str:
        """Show where rows land, without secrets."""
        return f"<SQLAdapter {self._engine.url.render_as_string(hide_password=True)} {self._name}>"

    def insert(self, rows: list[dict[str, Any]]) -> Any:  # noqa: ANN401
        """Store all rows in one transaction, or raise."""
        if self._asynchronous:
            return self._insert_async(rows)
        with self._engine.begin() as connection:
            self._store(connection, rows)
        return None

    async def _insert_async(self, rows: list[dict[str, Any]]) -> None:
        async with self._engine.begin() as connection:
            await connection.run_sync(self._store, rows)

    def _store(self, connection: Any, rows: list[dict[str, Any]]) -> None:  # noqa: ANN401
        if self._table is None:
            self._table = self._find(connection)
        columns = set(self._table.columns.keys())
        if rows:
            connection.execute(self._table.insert(), [_fitted(row, columns) for row in rows])

    def _find(self, connection: Any) -> Any:  # noqa: ANN401
        """Reflect the table, or make it."""
        import sqlalchemy as sql

        schema, _, name = self._name.rpartition(".")
        metadata = sql.MetaData(schema=schema or None)
        if sql.inspect(connection).has_table(name, schema=schema or None):
            return sql.Table(name, metadata, autoload_with=connection)
        kinds: dict[str, Any] = {"confidence": sql.Float, "latency_ms": sql.Float}
        kinds |= {"categories": sql.JSON, "metadata": sql.JSON}
        columns = [sql.Column(field, kinds.get(field, sql.Text)) for field in _core.FIELDS]
        table = sql.Table(name, metadata, *columns)
        table.create(connection)
        return table


def _fitted(row: dict[str, Any], columns: set[str]) -> dict[str, Any]:
    """What of a row has a column; the rest goes to the metadata."""
    fitted = {key: value for key, value in row.items() if key in columns}
    rest = {key: value for key, value in row.items() if key not in columns}
    if not rest:
        return fitted
    if "metadata" not in columns:
        text = f"the table lacks columns: {', '.join(sorted(rest))}; add them, or metadata"
        raise OSError(text)
    fitted["metadata"] = {**(row.get("metadata") or {}), **rest}
    return fitted
