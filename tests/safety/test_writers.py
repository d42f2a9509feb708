"""Writers for databases and object stores, without a journal."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy
from namel3ss.safety import (
    SafetyEvent,
    SafetyEventDatabaseWriter,
    SafetyEventObjectStoreWriter,
    SafetyEventWriteError,
)
from shared import events, ids, table_rows

if TYPE_CHECKING:
    from pathlib import Path


PASSWORD = "hunter2canary"  # noqa: S105


class TestSafetyEventDatabaseWriter:
    """Writing rows to a database by hand."""

    @pytest.mark.asyncio
    async def test_writes_all_rows(self, tmp_path: Path) -> None:
        writer = SafetyEventDatabaseWriter(f"sqlite:///{tmp_path}/a.db", "prod_events")
        await writer.write_events([event.to_dict() for event in events(3)])
        await writer.write_events(events(1))
        found = table_rows(tmp_path / "a.db", "prod_events")
        assert sorted(ids(found)) == ["evt-001", "evt-001", "evt-002", "evt-003"]

    def test_connects_at_the_first_write(self, tmp_path: Path) -> None:
        SafetyEventDatabaseWriter(f"sqlite:///{tmp_path}/a.db")
        assert not (tmp_path / "a.db").exists()

    @pytest.mark.asyncio
    async def test_driver_is_ignored(self, tmp_path: Path) -> None:
        writer = SafetyEventDatabaseWriter(f"sqlite+aiosqlite:///{tmp_path}/a.db")
        await writer.write_events(events(1))
        assert ids(table_rows(tmp_path / "a.db")) == ["evt-001"]

    def test_write_events_sync(self, tmp_path: Path) -> None:
        SafetyEventDatabaseWriter(f"sqlite:///{tmp_path}/a.db").write_events_sync(events(2))
        assert ids(table_rows(tmp_path / "a.db")) == ["evt-001", "evt-002"]

    @pytest.mark.asyncio
    async def test_raises_one_error_that_says_what_to_do(self, tmp_path: Path) -> None:
        (tmp_path / "a.db").mkdir()
        writer = SafetyEventDatabaseWriter(f"sqlite:///{tmp_path}/a.db")
        with pytest.raises(SafetyEventWriteError, match="failed to"):
            await writer.write_events(events(1))

    @pytest.mark.asyncio
    @pytest.mark.parametrize("rows", [[SafetyEvent(), 7], [None], None, 7])
    async def test_what_are_no_rows_is_refused_before_anything_is_stored(
        self, tmp_path: Path, rows: Any
    ) -> None:
        writer = SafetyEventDatabaseWriter(f"sqlite:///{tmp_path}/a.db")
        with pytest.raises(TypeError):
            await writer.write_events(rows)
        with pytest.raises(TypeError):
            writer.write_events_sync(rows)
        assert not (tmp_path / "a.db").exists()

    @pytest.mark.parametrize(
        "url",
        [
            f"postgresql://user:{PASSWORD}@127.0.0.1:1/db",
            f"postgresql+asyncpg://user:{PASSWORD}@127.0.0.1:1/db",
            f"postgresql://127.0.0.1:1/db?user=u&password={PASSWORD}",
            f"mysql://user:{PASSWORD}@127.0.0.1:1/db",
        ],
    )
    def test_no_password_is_told(self, url: str, caplog: pytest.LogCaptureFixture) -> None:
        told = ""
        try:
            writer = SafetyEventDatabaseWriter(url)
            told = f"{writer!r} {vars(writer)}"
            writer.write_events_sync(events(1))
            told += str(vars(writer))
        except (SafetyEventWriteError, ValueError) as error:
            told += repr(error) + str(error)
            while error.__cause__ or error.__context__:  # noqa: PERF203, RUF100
                error = error.__cause__ or error.__context__  # type: ignore[assignment] # noqa: PLW2901, RUF100
                told += repr(error)
        assert told
        assert PASSWORD not in told + caplog.text

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ((7,), "connection_string"),
            (("",), "connection_string"),
            (("sqlite:///a.db", "a b"), "table"),
            (("nonsense://x",), "scheme"),
        ],
    )
    def test_a_wrong_argument_is_refused(self, arguments: tuple[Any, ...], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            SafetyEventDatabaseWriter(*arguments)


class TestSafetyEventObjectStoreWriter:
    """Writing rows as objects by hand."""

    @pytest.mark.parametrize(
        ("arguments", "message"), [((7,), "bucket_name"), (("",), "bucket_name")]
    )
    def test_a_wrong_argument_is_refused(self, arguments: tuple[Any, ...], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            SafetyEventObjectStoreWriter(*arguments)

    @pytest.mark.asyncio
    @pytest.mark.parametrize("kind", ["parquet", "json", "csv"])
    async def test_writes_to_a_folder(self, tmp_path: Path, kind: str) -> None:
        """A build without object stores says so at construction, as a ValueError."""
        try:
            writer = SafetyEventObjectStoreWriter(f"file://{tmp_path}/bucket", "safety", kind)
        except ValueError as error:
            assert "build" in str(error)
            pytest.skip("object stores are not in this build")
        await writer.write_events(events(2))
        (path,) = (tmp_path / "bucket").rglob("events_*")
        assert re.search(r"safety/year=\d{4}/month=\d\d/day=\d\d/events_", str(path))


class TestDatabaseInMemory:
    """A writer for a database in memory could not even be made."""

    URLS = ("sqlite:///:memory:", "sqlite://", "sqlite+aiosqlite:///:memory:")

    @pytest.mark.asyncio
    @pytest.mark.parametrize("url", URLS)
    async def test_it_is_written_through_sqlalchemy(self, url: str) -> None:
        writer = SafetyEventDatabaseWriter(url, "t")
        await writer.write_events(events(2))
        writer.write_events_sync(events(3)[2:])
        with writer._open()._engine.connect() as connection:
            found = connection.execute(sqlalchemy.text("SELECT event_id FROM t")).all()
        assert [row[0] for row in found] == ["evt-001", "evt-002", "evt-003"]

    @pytest.mark.parametrize("url", URLS)
    def test_without_sqlalchemy_the_first_write_says_what_to_install(
        self, url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "sqlalchemy", None)
        writer = SafetyEventDatabaseWriter(url)
        with pytest.raises(SafetyEventWriteError, match="install sqlalchemy"):
            writer.write_events_sync(events(1))
