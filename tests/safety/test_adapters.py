"""Registries and adapters: where rows land."""

from __future__ import annotations

import csv
import json
import logging
import sqlite3
import stat
import subprocess
import sys
from collections import UserDict
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import pytest
import sqlalchemy
from namel3ss.safety import (
    AdapterRegistry,
    CSVAdapter,
    DatasetAdapter,
    JSONAdapter,
    MemoryAdapter,
    ObjectStoreAdapter,
    ParquetAdapter,
    SafetyEvent,
    SafetyEventDatabaseWriter,
    SafetyEventLogger,
    SafetyEventSink,
    SQLAdapter,
)
from shared import events, fallback_rows, ids, registry_with, sink_for, table_rows
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import StaticPool

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class TestAdapterRegistry:
    """AdapterRegistry, and registries of the user's own."""

    def test_is_empty_at_first(self) -> None:
        registry = AdapterRegistry()
        assert registry.get("safety_events") is None
        assert registry.names() == []
        assert "safety_events" not in registry

    def test_register_replaces_and_returns_the_former_one(self) -> None:
        registry = AdapterRegistry()
        first, second = MemoryAdapter(), Mock()
        assert registry.register("a", first) is None
        assert registry.register("a", second) is first
        assert registry.get("a") is second
        assert registry.register("a", first) is second
        assert registry.names() == ["a"]
        assert "a" in registry

    @pytest.mark.parametrize("name", ["", None, 7])
    def test_register_refuses_what_is_no_name(self, name: Any) -> None:
        with pytest.raises(ValueError, match="name"):
            AdapterRegistry().register(name, MemoryAdapter())

    def test_register_refuses_no_adapter(self) -> None:
        with pytest.raises(ValueError, match="adapter is None"):
            AdapterRegistry().register("a", None)

    @pytest.mark.asyncio
    async def test_a_replaced_adapter_gets_no_more_rows(self) -> None:
        first, second, third = MemoryAdapter(), Mock(), MemoryAdapter()
        registry = registry_with(first)
        sink = SafetyEventSink("safety_events", registry)
        one, two, three = events(3)
        await sink.write_events([one])
        registry.register("safety_events", second)
        await sink.write_events([two])
        registry.register("safety_events", third)
        await sink.write_events([three])
        assert ids(first.records) == ["evt-001"]
        assert ids(second.insert.call_args.args[0]) == ["evt-002"]
        assert ids(third.records) == ["evt-003"]

    @pytest.mark.asyncio
    async def test_a_dict_serves_as_registry(self) -> None:
        memory = MemoryAdapter()
        await SafetyEventSink("a", {"a": memory}).write_events(events(1))
        assert ids(memory.records) == ["evt-001"]

    @pytest.mark.asyncio
    async def test_a_registry_may_raise_key_error(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        class Strict:
            def get(self, name: str) -> object:
                raise KeyError(name)

        sink = SafetyEventSink("a", Strict(), tmp_path / "fb", retry_delay_seconds=0.0)
        with caplog.at_level(logging.DEBUG, logger="namel3ss.safety"):
            await sink.write_events(events(2))
        assert ids(fallback_rows(tmp_path / "fb")) == ["evt-001", "evt-002"]
        assert len([r for r in caplog.records if r.levelno >= logging.WARNING]) == 1

    @pytest.mark.asyncio
    @pytest.mark.parametrize("error", [RuntimeError, LookupError, BaseException])
    async def test_a_registry_may_raise_anything(
        self, tmp_path: Path, error: type[BaseException]
    ) -> None:
        class Broken:
            def get(self, _name: str) -> object:
                raise error

        sink = SafetyEventSink("a", Broken(), tmp_path / "fb", retry_delay_seconds=0.0)
        await sink.write_events(events(1))
        assert ids(fallback_rows(tmp_path / "fb")) == ["evt-001"]

    @pytest.mark.asyncio
    async def test_an_own_registry_is_asked_at_each_batch(self, tmp_path: Path) -> None:
        adapters: dict[str, object] = {}
        sink = SafetyEventSink("a", adapters, tmp_path / "fb", retry_delay_seconds=0.0)
        one, two, three = events(3)
        await sink.write_events([one])
        memory, mock = MemoryAdapter(), Mock()
        adapters["a"] = memory
        await sink.write_events([two])
        adapters["a"] = mock
        await sink.write_events([three])
        assert ids(fallback_rows(tmp_path / "fb")) == ["evt-001"]
        assert ids(memory.records) == ["evt-002"]
        assert ids(mock.insert.call_args.args[0]) == ["evt-003"]

    def test_logger_takes_an_own_registry(self) -> None:
        memory = MemoryAdapter()
        with SafetyEventLogger(adapter_registry={"safety_events": memory}) as logger:
            logger.log(events(1)[0])
        assert ids(memory.records) == ["evt-001"]


class TestDatasetAdapters:
    """The adapters of the package, called by hand and through a sink."""

    def test_memory_gives_copies_of_17_fields(self) -> None:
        memory = MemoryAdapter()
        assert not memory.records
        assert len(memory) == 0
        assert memory
        memory.insert(events(2))
        assert len(memory) == 2
        assert len(memory.records[0]) == 17
        memory.records[0]["event_id"] = "changed"
        assert memory.records[0]["event_id"] == "evt-001"
        assert memory.rows == memory.records

    def test_subclass_of_dataset_adapter(self) -> None:
        class Mine(DatasetAdapter):
            def __init__(self) -> None:
                self.taken: list[dict[str, Any]] = []

            def insert(self, rows: list[dict[str, Any]]) -> None:
                self.taken.extend(rows)

        mine = Mine()
        sink_for(mine).write_events_sync(events(1))
        assert ids(mine.taken) == ["evt-001"]
        with pytest.raises(NotImplementedError):
            DatasetAdapter().insert([])

    def test_csv_holds_a_header_and_the_rows(self, tmp_path: Path) -> None:
        path = tmp_path / "safety.csv"
        CSVAdapter(path).insert(events(2))
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert ids(rows) == ["evt-001", "evt-002"]
        assert rows[0]["action"] == "redact"

    def test_csv_writes_formulas_inert_and_reads_them_back(self, tmp_path: Path) -> None:
        texts = ["=1+1", "+1", "-1", "@x", "\tx", "\rx", "'=1", "'", "''x", "it's", "", "a\n=b"]
        path, back = tmp_path / "safety.csv", tmp_path / "back.jsonl"
        CSVAdapter(path).insert([SafetyEvent(event_id=f"e{text}", reason=text) for text in texts])
        with path.open(newline="") as file:
            cells = [row["reason"] for row in csv.DictReader(file)]
        assert len(cells) == len(texts)
        assert not [cell for cell in cells if cell.startswith(tuple("=+-@\t\r"))]
        code = "import sys; from namel3ss.safety._cli import main; sys.exit(main())"
        command = [sys.executable, "-c", code, "ingest", "--to", f"file://{back}", str(path)]
        subprocess.run(command, check=True, timeout=60, capture_output=True)
        read = [json.loads(line)["reason"] for line in back.read_text().splitlines()]
        assert read == texts

    def test_json_is_one_array_after_every_batch(self, tmp_path: Path) -> None:
        path = tmp_path / "safety.json"
        adapter = JSONAdapter(path)
        for number, event in enumerate(events(3), 1):
            adapter.insert([event])
            assert len(json.loads(path.read_bytes())) == number
        assert ids(json.loads(path.read_bytes())) == ["evt-001", "evt-002", "evt-003"]

    @pytest.mark.parametrize("name", ["safety.jsonl", "safety.ndjson"])
    def test_json_lines(self, tmp_path: Path, name: str) -> None:
        JSONAdapter(str(tmp_path / name)).insert(events(2))
        lines = (tmp_path / name).read_text().splitlines()
        assert ids([json.loads(line) for line in lines]) == ["evt-001", "evt-002"]

    @pytest.mark.parametrize("kind", [CSVAdapter, JSONAdapter])
    @pytest.mark.parametrize("path", [None, "", 7, b""])
    def test_a_wrong_path_is_named(self, kind: Callable[[Any], object], path: Any) -> None:
        with pytest.raises(ValueError, match="path is"):
            kind(path)

    def test_a_folder_in_its_place_is_an_error_by_hand_and_a_fallback_in_a_sink(
        self, tmp_path: Path
    ) -> None:
        (tmp_path / "a.jsonl").mkdir()
        adapter = JSONAdapter(tmp_path / "a.jsonl")
        with pytest.raises(OSError, match="failed to"):
            adapter.insert(events(1))
        sink_for(adapter, tmp_path / "fb").write_events_sync(events(1))
        assert ids(fallback_rows(tmp_path / "fb")) == ["evt-001"]

    @pytest.mark.parametrize(
        "make",
        [
            lambda path: CSVAdapter(path / "a.csv"),
            lambda path: JSONAdapter(path / "a.jsonl"),
            lambda path: SQLAdapter(f"sqlite:///{path}/a.db"),
            lambda path: SafetyEventDatabaseWriter(f"sqlite:///{path}/a.db"),
            lambda path: ObjectStoreAdapter(f"file://{path}", format="json"),
            lambda path: SafetyEventLogger.from_url(f"file://{path}/a.json"),
        ],
    )
    def test_a_missing_folder_is_made_or_refused_at_once(
        self, tmp_path: Path, make: Callable[[Path], object]
    ) -> None:
        """A dataset in a folder that did not exist filed every batch."""
        make(tmp_path / "new" / "deep")
        for folder in (tmp_path / "new", tmp_path / "new" / "deep"):
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        (tmp_path / "file").touch()
        with pytest.raises(ValueError, match="make the folder"):
            make(tmp_path / "file" / "deep")

    def test_a_file_url_without_slashes_is_relative(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        with SafetyEventLogger.from_url("file:x.jsonl") as logger:
            logger.log(SafetyEvent(event_id="evt-001"))
        lines = (tmp_path / "x.jsonl").read_text().splitlines()
        assert ids([json.loads(line) for line in lines]) == ["evt-001"]

    def test_mappings_are_rows(self) -> None:
        memory = MemoryAdapter()
        memory.insert([{"event_id": "a", "unknown": 1}, UserDict(event_id="b")])
        assert ids(memory.records) == ["a", "b"]
        assert memory.records[0]["metadata"] == {"unknown": 1}

    @pytest.mark.parametrize("rows", [None, 7, [7], [None]])
    def test_what_are_no_rows_is_refused(self, rows: Any) -> None:
        with pytest.raises(TypeError):
            MemoryAdapter().insert(rows)

    def test_identity_and_delivery_are_told(self, tmp_path: Path) -> None:
        adapter = CSVAdapter(tmp_path / "a.csv")
        assert str(tmp_path / "a.csv") in adapter.identity
        assert adapter.exactly_once
        assert str(tmp_path / "a.csv") in repr(adapter)

    def test_object_store_adapter_refuses_or_writes_a_folder(self, tmp_path: Path) -> None:
        """Object stores may be missing from a build; then that is said at construction."""
        try:
            adapter = ObjectStoreAdapter(f"file://{tmp_path}/bucket", format="json")
        except ValueError as error:
            assert "build" in str(error)
            pytest.skip("object stores are not in this build")
        sink_for(adapter).write_events_sync(events(1))
        assert list((tmp_path / "bucket").rglob("events_*"))


class TestParquetAdapter:
    def test_all_17_fields_read_back_with_pyarrow(self, tmp_path: Path) -> None:
        pyarrow_dataset = pytest.importorskip("pyarrow.dataset")
        moment = datetime(2026, 3, 1, 12, 30, 0, 250_000, tzinfo=timezone.utc)
        event = SafetyEvent(
            event_id="evt-001",
            timestamp=moment,
            app_name="support",
            chain_name="chain",
            agent_name="agent",
            policy_name="pii",
            reason="naïve 日本 '\n",
            trace_id="trace",
            session_id="session",
            user_id="u-7",
            direction="output",
            action="redact",
            categories=["email", "phone"],
            severity="critical",
            confidence=0.25,
            latency_ms=1.5,
            metadata={"b": 1, "a": {"deep": [True, None]}},
        )
        folder = tmp_path / "100% parquet"
        sink_for(ParquetAdapter(folder)).write_events_sync([event, {"event_id": "evt-002"}])
        (path, _) = sorted(folder.rglob("events_*.parquet"))
        assert path.parent == folder / "year=2026" / "month=03" / "day=01"
        found = pyarrow_dataset.dataset(folder, partitioning="hive")
        row, other = found.to_table().sort_by("event_id").to_pylist()
        expected = event.to_dict() | {"timestamp": moment}
        fields = [name for name in expected if name != "metadata"]
        assert len(fields) == 16
        assert {name: row[name] for name in fields} == {name: expected[name] for name in fields}
        assert json.loads(row["metadata"]) == event.metadata
        assert (row["year"], row["month"], row["day"]) == (2026, 3, 1)
        assert len(row["journal_id"]) == 32
        assert other["app_name"] is None
        assert other["categories"] == []

    def test_a_logger_delivers_and_the_url_names_the_same(self, tmp_path: Path) -> None:
        pyarrow_dataset = pytest.importorskip("pyarrow.dataset")
        folder = tmp_path / "events"
        adapter = ParquetAdapter(folder)
        assert adapter.identity == f"file://{folder}/?format=parquet"
        assert adapter.exactly_once
        registry = AdapterRegistry()
        registry.register("safety_events", adapter)
        home = tmp_path / "home"
        with SafetyEventLogger(adapter_registry=registry, fallback_path=str(home)) as logger:
            for event in events(250):
                logger.log(event)
        with SafetyEventLogger.from_url(f"file://{folder}/", fallback_path=str(home)) as logger:
            logger.log({"event_id": "evt-251"})
        table = pyarrow_dataset.dataset(folder, partitioning="hive").to_table()
        assert sorted(table["event_id"].to_pylist()) == [f"evt-{n:03}" for n in range(1, 252)]
        assert set(table["action"].to_pylist()) == {"redact", "alert"}

    def test_its_files_are_the_owners_alone_and_relative_names_mean_the_folder(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        ParquetAdapter("here").insert(events(1))
        (path,) = (tmp_path / "here").rglob("events_*.parquet")
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE((tmp_path / "here").stat().st_mode) == 0o700

    @pytest.mark.parametrize("folder", [7, "", None])
    def test_a_wrong_folder_is_refused(self, folder: Any) -> None:
        with pytest.raises(ValueError, match="folder is .*takes the path of a folder"):
            ParquetAdapter(folder)


class TestSQLAdapter:
    """SQLAdapter: a URL, an Engine, an AsyncEngine, in-memory SQLite."""

    def test_engine_is_used_through_its_url_natively(self, tmp_path: Path) -> None:
        engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path}/a.db")
        adapter = SQLAdapter(engine, "safety_events")
        assert isinstance(adapter, SQLAdapter)
        assert adapter.exactly_once
        sink_for(adapter).write_events_sync(events(2))
        assert ids(table_rows(tmp_path / "a.db")) == ["evt-001", "evt-002"]

    def test_readers_in_the_same_process_take_nothing_away(self, tmp_path: Path) -> None:
        """Python's own SQLite does not see the native one's locks: on closing the file it removed
        the write-ahead log, and whatever was stored afterwards was gone.
        """
        adapter = SQLAdapter(f"sqlite:///{tmp_path}/a.db")
        for number, event in enumerate(events(20), 1):
            adapter.insert([event])
            assert len(table_rows(tmp_path / "a.db")) == number

    def test_url(self, tmp_path: Path) -> None:
        adapter = SQLAdapter(f"sqlite:///{tmp_path}/a.db", "my_events")
        sink_for(adapter).write_events_sync(events(1))
        assert ids(table_rows(tmp_path / "a.db", "my_events")) == ["evt-001"]

    def test_async_engine_of_a_file(self, tmp_path: Path) -> None:
        engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/a.db")
        sink_for(SQLAdapter(engine, "t")).write_events_sync(events(1))
        assert ids(table_rows(tmp_path / "a.db", "t")) == ["evt-001"]

    def test_in_memory_engine_is_used_as_it_is(self) -> None:
        engine = sqlalchemy.create_engine(
            "sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False}
        )
        sink_for(SQLAdapter(engine, "t")).write_events_sync(events(2))
        with engine.connect() as connection:
            found = connection.execute(sqlalchemy.text("SELECT event_id, categories FROM t")).all()
        assert [row[0] for row in found] == ["evt-001", "evt-002"]

    @pytest.mark.asyncio
    async def test_in_memory_async_engine(self) -> None:
        engine = create_async_engine("sqlite+aiosqlite://", poolclass=StaticPool)
        await sink_for(SQLAdapter(engine, "t")).write_events(events(2))
        async with engine.connect() as connection:
            found = await connection.execute(sqlalchemy.text("SELECT event_id FROM t"))
            assert [row[0] for row in found.all()] == ["evt-001", "evt-002"]
        await engine.dispose()

    def test_a_table_with_other_columns_gets_what_matches(self, tmp_path: Path) -> None:
        connection = sqlite3.connect(tmp_path / "a.db")
        connection.execute("CREATE TABLE t (event_id TEXT, action TEXT, metadata TEXT)")
        connection.close()
        event = SafetyEvent(event_id="e", reason="why", metadata={"own": 1})
        SQLAdapter(f"sqlite:///{tmp_path}/a.db", "t").insert([event])
        (row,) = table_rows(tmp_path / "a.db", "t")
        assert row["event_id"] == "e"
        metadata = json.loads(row["metadata"])
        assert metadata["own"] == 1
        assert metadata["reason"] == "why"

    def test_in_memory_table_with_other_columns(self) -> None:
        engine = sqlalchemy.create_engine(
            "sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False}
        )
        with engine.begin() as connection:
            connection.execute(sqlalchemy.text("CREATE TABLE t (event_id TEXT, metadata JSON)"))
        sink_for(SQLAdapter(engine, "t")).write_events_sync([SafetyEvent(event_id="e", reason="w")])
        with engine.connect() as connection:
            ((event_id, metadata),) = connection.execute(sqlalchemy.text("SELECT * FROM t")).all()
        assert event_id == "e"
        assert json.loads(metadata)["reason"] == "w"

    @pytest.mark.parametrize(
        "table", ["", "a b", "a;DROP TABLE x", "1a", "a" * 64, 'a"b', None, 7, "a.b.c"]
    )
    def test_a_wrong_table_is_refused(self, table: Any) -> None:
        with pytest.raises(ValueError, match="table"):
            SQLAdapter("sqlite:///a.db", table)

    @pytest.mark.parametrize("engine", [None, 7, object(), "", "nonsense://x"])
    def test_a_wrong_engine_is_refused(self, engine: Any) -> None:
        with pytest.raises(ValueError, match="engine|dataset"):
            SQLAdapter(engine, "t")

    def test_a_lookalike_scheme_is_suggested(self) -> None:
        with pytest.raises(ValueError, match='did you mean "sqlite"'):
            SQLAdapter("sqlit:///a.db", "t")


class TestFolders:
    """Where fallback files and journals are, from construction on."""

    def test_the_fallback_folder_is_there_after_construction(self, tmp_path: Path) -> None:
        folder = tmp_path / "a" / "fb"
        SafetyEventSink(fallback_path=folder)
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        other = tmp_path / "other"
        SafetyEventLogger(adapter_registry=AdapterRegistry(), fallback_path=other)
        assert stat.S_IMODE(other.stat().st_mode) == 0o700

    def test_the_journal_is_in_the_home_whatever_the_fallback_path(
        self, tmp_path: Path, safety_home: Path
    ) -> None:
        folder = tmp_path / "fb"
        with SafetyEventLogger(adapter_registry=AdapterRegistry(), fallback_path=folder) as logger:
            logger.log(events(1)[0])
            journal = str(logger.journal_folder)
            assert journal.startswith(str(safety_home / "journal" / "safety_events"))
        assert [path.read_text() for path in (safety_home / "folders").iterdir()] == [str(folder)]
        assert not (folder / "journal").exists()
