"""Every python block of docs/quick-reference.md, run as it is written there.

Blocks stand in the page's order; ``await`` at their top level runs in an event loop. What a block
leaves open comes from ``_open_names``, and the only texts that are replaced in it are in
``_replacements``: folders and servers that are not there on every machine.

The two blocks that need a server are run against one, and what they wrote is read by clients of
others.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import json
import re
import sqlite3
import subprocess
import sys
import uuid
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
import servers
import sqlalchemy
from namel3ss.safety import (
    AdapterRegistry,
    CSVAdapter,
    JSONAdapter,
    MemoryAdapter,
    SafetyEvent,
    SafetyEventLogger,
    SafetyEventWriteError,
    SQLAdapter,
)

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "quick-reference.md"
_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def _blocks() -> dict[str, str]:
    """Find the python blocks, by the headings that they stand under."""
    page = PAGE.read_text(encoding="utf-8")
    found = {}
    for block in _BLOCK.finditer(page):
        # A comment within a block looks like a heading.
        before = _BLOCK.sub("", page[: block.start()])
        heading = [match[1] for match in _HEADING.finditer(before)][-1]
        assert heading not in found, "two blocks under one heading"
        found[heading] = block[1]
    return found


BLOCKS = _blocks()


def _replacements(folder: Path, postgres: str) -> dict[str, str]:
    """Say what in a block is replaced by what."""
    return {
        "/var/log/safety": str(folder / "var-log-safety"),
        "/data/": f"{folder}/data/",
        "/tmp/test_safety": str(folder / "test_safety"),
        # Nobody listens there, but for the test that says otherwise.
        "postgresql://localhost/safety": postgres,
    }


def _rows() -> list[dict[str, Any]]:
    # All of one day, wherever the test finds itself.
    now = datetime.now(timezone.utc).replace(microsecond=123456)
    return [
        SafetyEvent(
            event_id=str(uuid.uuid4()), timestamp=now, action="block", metadata={"rule": [number]}
        ).to_dict()
        for number in range(3)
    ]


def _open_names(folder: Path) -> dict[str, Any]:
    """Name what the blocks leave open: the page says what they are elsewhere, or leaves it."""
    return {
        "SafetyEventLogger": SafetyEventLogger,
        "CSVAdapter": CSVAdapter,
        "SQLAdapter": SQLAdapter,
        "JSONAdapter": JSONAdapter,
        "my_registry": AdapterRegistry(),
        "adapter_registry": AdapterRegistry(),
        "engine": sqlalchemy.create_engine(f"sqlite:///{folder}/data/engine.db"),
        "rows": _rows(),
        "logger": SafetyEventLogger(buffer_size=200, target_dataset="my_safety_events"),
    }


def run(
    heading: str, folder: Path, postgres: str = "postgresql://127.0.0.1:1/safety", **names: Any
) -> dict[str, Any]:
    """Run a block; what its names are afterwards."""
    source = BLOCKS[heading]
    for text, replacement in _replacements(folder, postgres).items():
        source = source.replace(text, replacement)
    (folder / "data").mkdir(exist_ok=True)
    code = compile(source, str(PAGE), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    scope = {**_open_names(folder), **names}

    async def in_a_loop() -> None:
        result = eval(code, scope)
        if inspect.isawaitable(result):
            await result

    asyncio.run(in_a_loop())
    return scope


def write_some(logger: SafetyEventLogger, count: int = 3) -> list[str]:
    """Log some events."""
    events = [SafetyEvent() for _ in range(count)]
    for event in events:
        logger.log(event)
    return [event.event_id for event in events]


def test_every_block_has_its_test() -> None:
    tested = {
        "Quick Start",
        "Statistics",
        "Advanced: Custom Sink",
        "Database Writer (Optional)",
        "Object Store Writer (Optional)",
        "Integration with Datasets",
        "High-Volume Logging",
        "Critical Events Only",
        "Testing/Development",
        "Testing",
    }
    assert set(BLOCKS) == tested


def test_quick_start(tmp_path: Path, safety_home: Path) -> None:
    scope = run("Quick Start", tmp_path)
    connection = sqlite3.connect(safety_home / "safety_events.db")
    connection.row_factory = sqlite3.Row
    (row,) = connection.execute("SELECT * FROM safety_events").fetchall()
    connection.close()
    assert (row["event_id"], row["policy_name"]) == ("evt-001", "pii_policy")
    assert (row["action"], row["direction"], row["latency_ms"]) == ("redact", "input", 10.5)
    logger = scope["logger"]
    assert (logger.target_dataset, logger.buffer_size) == ("my_safety_events", 200)
    assert (logger.flush_interval_seconds, logger.overflow_strategy) == (5.0, "block")


def test_statistics(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logger = SafetyEventLogger(buffer_size=200, target_dataset="my_safety_events")
    write_some(logger, 2)
    run("Statistics", tmp_path, logger=logger)
    assert [line.strip() for line in capsys.readouterr().out.strip().splitlines()] == [
        "Total Logged: 2",
        "Total Flushed: 0",
        "Total Dropped: 0",
        "Current Buffer: 2/200",
        "Dataset: my_safety_events",
    ]


def test_custom_sink(tmp_path: Path) -> None:
    memory, registry = MemoryAdapter(), AdapterRegistry()
    registry.register("prod_safety", memory)
    scope = run("Advanced: Custom Sink", tmp_path, my_registry=registry)
    sink, logger = scope["sink"], scope["logger"]
    assert (sink.max_retries, sink.retry_delay_seconds) == (5, 2.0)
    assert (logger.buffer_size, logger._sink) == (500, sink)
    logged = write_some(logger)
    logger.stop_sync()
    assert [row["event_id"] for row in memory.records] == logged


def test_custom_sink_falls_back_to_the_path_that_it_names(tmp_path: Path) -> None:
    scope = run("Advanced: Custom Sink", tmp_path)
    scope["sink"].retry_delay_seconds = 0.0
    logged = write_some(scope["logger"])
    scope["logger"].stop_sync()
    (path,) = (tmp_path / "var-log-safety").glob("safety_events_*_*_*.json")
    assert [row["event_id"] for row in json.loads(path.read_bytes())] == logged


def test_database_writer(tmp_path: Path) -> None:
    rows = _rows()
    with servers.postgres("safety") as url:
        scope = run("Database Writer (Optional)", tmp_path, postgres=url, rows=rows)
        found = servers.ask("psycopg", "psycopg-binary", program=servers.ROWS_OF_TABLE, url=url)
    assert found == rows
    assert "safety_events" in repr(scope["writer"])


def test_database_writer_without_a_server(tmp_path: Path) -> None:
    with pytest.raises(SafetyEventWriteError, match="failed to connect"):
        run("Database Writer (Optional)", tmp_path)


def test_object_store_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = _rows()
    bucket = "my-safety-bucket"
    with servers.s3(tmp_path / "s3", bucket) as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        scope = run("Object Store Writer (Optional)", tmp_path, rows=rows)
        assert "events/safety" in repr(scope["writer"])
        got = {"bucket": bucket, "folder": str(tmp_path)}
        objects = servers.ask("boto3", program=servers.OBJECTS, environ=variables, **got)
    stored = [(key, path) for key, path in objects if key.endswith(".parquet")]
    ((key, path),) = stored
    year, month, day = rows[0]["timestamp"][:10].split("-")
    assert key.startswith(f"events/safety/year={year}/month={month}/day={day}/events_")
    found = servers.ask("pyarrow", program=servers.ROWS_OF_PARQUET, path=path)
    assert found == rows


def test_object_store_writer_without_a_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "testtest",
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SafetyEventWriteError, match="failed to"):
        run("Object Store Writer (Optional)", tmp_path)


def test_integration_with_datasets(tmp_path: Path) -> None:
    scope = run("Integration with Datasets", tmp_path)
    # The last one that was registered is the dataset's.
    adapter = scope["adapter_registry"].get("safety_events")
    assert isinstance(adapter, JSONAdapter)
    logger = SafetyEventLogger(adapter_registry=scope["adapter_registry"])
    logged = write_some(logger)
    logger.stop_sync()
    array = json.loads((tmp_path / "data" / "safety.json").read_bytes())
    assert [row["event_id"] for row in array] == logged
    assert not (tmp_path / "data" / "safety.csv").exists()


@pytest.mark.parametrize(("kind", "name"), [(CSVAdapter, "safety.csv"), (SQLAdapter, "engine.db")])
def test_each_adapter_of_the_integration_stores(tmp_path: Path, kind: type, name: str) -> None:
    """Each line of the block alone, in place of the others."""
    made: dict[str, object] = {}

    class Registry(AdapterRegistry):
        def register(self, name: str, adapter: object) -> object | None:
            made[type(adapter).__name__] = adapter
            return super().register(name, adapter)

    run("Integration with Datasets", tmp_path, adapter_registry=Registry())
    registry = AdapterRegistry()
    registry.register("safety_events", made[kind.__name__])
    with SafetyEventLogger(adapter_registry=registry) as logger:
        write_some(logger)
    assert (tmp_path / "data" / name).stat().st_size > 0
    assert logger.get_stats()["total_flushed"] == 3


@pytest.mark.parametrize(
    ("heading", "size", "seconds", "strategy"),
    [
        ("High-Volume Logging", 1000, 5.0, "drop_oldest"),
        ("Critical Events Only", 10, 1.0, "block"),
        ("Testing/Development", 5, 0.5, "drop_oldest"),
    ],
)
def test_common_patterns(
    tmp_path: Path, safety_home: Path, heading: str, size: int, seconds: float, strategy: str
) -> None:
    logger = run(heading, tmp_path)["logger"]
    assert (logger.buffer_size, logger.flush_interval_seconds) == (size, seconds)
    assert logger.overflow_strategy == strategy
    logged = write_some(logger)
    logger.stop_sync()
    connection = sqlite3.connect(safety_home / "safety_events.db")
    found = connection.execute("SELECT event_id FROM safety_events ORDER BY seq").fetchall()
    connection.close()
    assert [event_id for (event_id,) in found] == logged


def test_testing() -> None:
    """The last block is a shell's: its commands name tests that there are."""
    commands = [
        line.split()
        for line in BLOCKS["Testing"].splitlines()
        if line.strip() and not line.startswith("#")
    ]
    assert len(commands) == 3
    targets = [command[1] for command in commands]
    assert all(command[0] == "pytest" and command[2:] == ["-v"] for command in commands)
    collected = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-o",
            "addopts=",
            "--collect-only",
            "-q",
            "-p",
            "no:cacheprovider",
            *targets,
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    for target in targets:
        assert target in collected.stdout


def test_parameters_and_their_defaults() -> None:
    """The table of the page: each parameter, its default, as the constructor has it."""
    page = PAGE.read_text(encoding="utf-8")
    table = re.findall(r"^\| `(\w+)` \| `([^`]+)` \|", page, re.MULTILINE)
    assert len(table) == 6
    parameters = inspect.signature(SafetyEventLogger.__init__).parameters
    for name, default in table:
        assert name in parameters
        if name not in {"adapter_registry", "fallback_path"}:
            assert parameters[name].default == ast.literal_eval(default)
    # These two are made at construction.
    logger = SafetyEventLogger()
    assert isinstance(logger._sink.adapter_registry, AdapterRegistry)
    default = ast.literal_eval(dict(table)["fallback_path"])
    assert str(logger._sink.fallback_path).startswith(default)
