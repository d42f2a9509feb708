"""The global logger, environment variables and the pytest fixture."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
from namel3ss.safety import (
    MemoryAdapter,
    SafetyAction,
    SafetyEvent,
    SafetyEventLogger,
    get_global_logger,
    guard,
    log_safety_event,
    set_global_logger,
)
from shared import ids, logger_to

if TYPE_CHECKING:
    from pathlib import Path


async def _simplest() -> None:
    logger = get_global_logger()
    await logger.start()
    await logger.log(SafetyEvent(event_id="evt-001", action=SafetyAction.REDACT))
    await logger.stop()


class TestGlobalLogger:
    """The logger that the process shares."""

    def test_is_one_and_can_be_replaced(self) -> None:
        first = get_global_logger()
        assert get_global_logger() is first
        mine = logger_to(MemoryAdapter())
        assert set_global_logger(mine) is first
        assert get_global_logger() is mine
        assert set_global_logger(None) is mine
        assert get_global_logger() not in (first, mine)

    def test_threads_get_the_same_one(self) -> None:
        set_global_logger(None)
        barrier = threading.Barrier(8)
        found: list[SafetyEventLogger] = []

        def look() -> None:
            barrier.wait()
            found.append(get_global_logger())

        threads = [threading.Thread(target=look) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len({id(logger) for logger in found}) == 1

    def test_the_simplest_use_really_persists(self, safety_home: Path) -> None:
        asyncio.run(_simplest())
        connection = sqlite3.connect(safety_home / "safety_events.db")
        found = connection.execute("SELECT event_id, action FROM safety_events").fetchall()
        connection.close()
        assert found == [("evt-001", "redact")]

    def test_starts_itself_at_its_first_log(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("NAMEL3SS_SAFETY_FLUSH_INTERVAL_SECONDS", "0.05")
        set_global_logger(None)
        log_safety_event(SafetyEvent())
        logger = get_global_logger()
        for _ in range(400):
            if logger.get_stats()["total_flushed"]:
                break
            threading.Event().wait(0.02)
        assert logger.get_stats()["total_flushed"] == 1

    @pytest.mark.asyncio
    async def test_log_safety_event_takes_an_event_or_fields(self) -> None:
        memory = MemoryAdapter()
        set_global_logger(logger_to(memory))
        await log_safety_event(SafetyEvent(event_id="a"))
        await log_safety_event({"event_id": "b"})
        await log_safety_event(event_id="c", action="block", own=1)
        await get_global_logger().stop()
        assert ids(memory.records) == ["a", "b", "c"]
        assert memory.records[2]["metadata"] == {"own": 1}

    def test_a_wrong_environment_never_breaks_a_log(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("NAMEL3SS_SAFETY_BUFFER_SIZE", "many")
        set_global_logger(None)
        with pytest.raises(ValueError, match="NAMEL3SS_SAFETY_BUFFER_SIZE is 'many'"):
            get_global_logger()


async def _log_one(logger: SafetyEventLogger) -> None:
    await logger.log(SafetyEvent())


class TestEnvironment:
    """from_env, from_url and the switch."""

    def test_disabled_logs_nothing_and_makes_nothing(
        self, monkeypatch: pytest.MonkeyPatch, safety_home: Path
    ) -> None:
        monkeypatch.setenv("NAMEL3SS_SAFETY_DISABLED", "1")
        memory = MemoryAdapter()
        with logger_to(memory) as logger:
            asyncio.run(_log_one(logger))
            logger.log(object())
            logger.log_many([SafetyEvent()])
            logger.flush_sync()
        assert len(memory) == 0
        assert logger.get_stats()["total_logged"] == 0
        assert not list(safety_home.rglob("*.n3j"))

    @pytest.mark.parametrize("value", ["", "0"])
    def test_zero_is_not_disabled(self, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
        monkeypatch.setenv("NAMEL3SS_SAFETY_DISABLED", value)
        memory = MemoryAdapter()
        with logger_to(memory) as logger:
            logger.log(SafetyEvent())
        assert len(memory) == 1

    def test_from_env(self, tmp_path: Path) -> None:
        environ = {
            "NAMEL3SS_SAFETY_URL": f"file://{tmp_path}/out.jsonl",
            "NAMEL3SS_SAFETY_TARGET_DATASET": "d",
            "NAMEL3SS_SAFETY_BUFFER_SIZE": "5",
            "NAMEL3SS_SAFETY_FLUSH_INTERVAL_SECONDS": "0.5",
            "NAMEL3SS_SAFETY_OVERFLOW_STRATEGY": "block",
            "NAMEL3SS_SAFETY_FALLBACK_PATH": str(tmp_path / "fb"),
            "NAMEL3SS_SAFETY_JOURNAL": "memory",
            "NAMEL3SS_SAFETY_MAX_RETRIES": "7",
            "NAMEL3SS_SAFETY_RETRY_DELAY_SECONDS": "0.25",
        }
        logger = SafetyEventLogger.from_env(environ)
        stats = logger.get_stats()
        assert (stats["target_dataset"], stats["max_buffer_size"]) == ("d", 5)
        assert (stats["flush_interval_seconds"], stats["overflow_strategy"]) == (0.5, "block")
        assert stats["journal"] == "memory"
        assert (logger._sink.max_retries, logger._sink.retry_delay_seconds) == (7, 0.25)
        logger.log(SafetyEvent(event_id="e"))
        logger.stop_sync()
        assert ids([json.loads((tmp_path / "out.jsonl").read_text())]) == ["e"]

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("BUFFER_SIZE", "x"),
            ("FLUSH_INTERVAL_SECONDS", "soon"),
            ("OVERFLOW_STRATEGY", "blok"),
            ("URL", "sqlit:///a.db"),
        ],
    )
    def test_from_env_names_what_is_wrong(self, name: str, value: str) -> None:
        with pytest.raises(ValueError, match="(?i)" + name.replace("URL", "sqlite")):
            SafetyEventLogger.from_env({f"NAMEL3SS_SAFETY_{name}": value})

    def test_url_of_the_environment_is_the_default_dataset(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("NAMEL3SS_SAFETY_URL", f"sqlite:///{tmp_path}/env.db")
        with SafetyEventLogger() as logger:
            logger.log(SafetyEvent())
        assert (tmp_path / "env.db").exists()
        monkeypatch.setenv("NAMEL3SS_SAFETY_URL", "nonsense://x")
        with pytest.raises(ValueError, match="NAMEL3SS_SAFETY_URL"):
            SafetyEventLogger()

    def test_a_delta_table_is_a_dataset(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        url = f"delta+file://{tmp_path}/events"
        monkeypatch.setenv("NAMEL3SS_SAFETY_URL", url)
        for logger in [SafetyEventLogger(), SafetyEventLogger.from_url(url)]:
            with logger:
                for _ in range(3):
                    logger.log(SafetyEvent())
        commits = sorted((tmp_path / "events" / "_delta_log").glob("*.json"))
        lines = [line for commit in commits for line in commit.read_text().splitlines()]
        adds = [json.loads(line)["add"] for line in lines if '"add":' in line]
        assert sum(json.loads(add["stats"])["numRecords"] for add in adds) == 6
        assert all((tmp_path / "events" / add["path"]).exists() for add in adds)
        with pytest.raises(ValueError, match="did you mean checkpoint=") as refused:
            SafetyEventLogger.from_url("delta+s3://safety/t?secret_access_key=canary&chekpoint=7")
        assert "canary" not in str(refused.value)

    def test_a_delta_table_is_fed_and_read_by_the_command(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("NAMEL3SS_SAFETY_HOME", f"{tmp_path}/home")
        url = f"delta+file://{tmp_path}/events"
        code = "import sys; from namel3ss.safety._cli import main; sys.exit(main())"

        def command(*arguments: str) -> str:
            done = [sys.executable, "-c", code, *arguments]
            return subprocess.run(
                done, check=True, timeout=60, capture_output=True, text=True
            ).stdout

        lines = tmp_path / "a.jsonl"
        lines.write_text('{"event_id": "from the command", "action": "block"}\n')
        command("ingest", "--to", url, str(lines))
        with SafetyEventLogger.from_url(url) as logger:
            logger.log(SafetyEvent(event_id="from Python"))
        found = [
            json.loads(row) for row in command("tail", "-o", "json", "--from", url).splitlines()
        ]
        assert [row["event_id"] for row in found] == ["from the command", "from Python"]
        monkeypatch.setenv("NAMEL3SS_SAFETY_URL", url)
        command("ingest", str(lines))
        [counted] = json.loads(command("stats", "-o", "json"))["datasets"]
        assert (counted["rows"], counted["actions"]["block"]) == (3, 2)

    @pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.db"])
    def test_from_url(self, tmp_path: Path, name: str) -> None:
        scheme = "sqlite:///" if name.endswith("db") else "file://"
        with SafetyEventLogger.from_url(f"{scheme}{tmp_path}/{name}", buffer_size=2) as logger:
            logger.log(SafetyEvent())
        assert (tmp_path / name).stat().st_size > 0
        assert logger.buffer_size == 2

    def test_from_several_urls_each_gets_everything(self, tmp_path: Path) -> None:
        urls = [f"sqlite:///{tmp_path}/a.db", f"file://{tmp_path}/b.jsonl"]
        with SafetyEventLogger.from_url(*urls, buffer_size=2) as logger:
            for n in range(7):
                logger.log(SafetyEvent(event_id=str(n)))
        stats = logger.get_stats()
        assert (stats["total_logged"], stats["total_flushed"], stats["pending"]) == (7, 7, 0)
        first, second = stats["sinks"]
        assert first["name"] == "safety_events" != second["name"]
        assert (first["flushed"], second["flushed"]) == (7, 7)
        assert first["destination"].endswith("a.db?table=safety_events")
        assert second["destination"] == urls[1]
        assert first["healthy"]
        assert second["last_error"] is None
        lines = (tmp_path / "b.jsonl").read_text().splitlines()
        assert ids([json.loads(line) for line in lines]) == [str(n) for n in range(7)]
        with sqlite3.connect(tmp_path / "a.db") as database:
            rows = database.execute("SELECT count(*) FROM safety_events").fetchall()
        assert rows == [(7,)]

    def test_a_dead_url_holds_up_nobody(self, tmp_path: Path) -> None:
        dead = "postgresql://u:canary@127.0.0.1:1/d"
        urls = (dead, f"file://{tmp_path}/b.jsonl")
        options = {"buffer_size": 1, "max_retries": 1, "fallback_path": tmp_path / "fallback"}
        logger = SafetyEventLogger.from_url(*urls, **options)
        logger.start()
        for n in range(5):
            logger.log(SafetyEvent(event_id=str(n)))
        logger.stop_sync(timeout=60)
        stats = logger.get_stats()
        failing, other = stats["sinks"]
        assert (other["flushed"], other["pending"], other["healthy"]) == (5, 0, True)
        assert (failing["flushed"], failing["healthy"]) == (0, False)
        assert failing["fallback"] + failing["pending"] == 5
        assert failing["last_error"]
        assert "canary" not in str(stats)
        assert (stats["total_flushed"], stats["healthy"]) == (0, False)

    def test_the_environment_may_hold_several_urls(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        urls = f"file://{tmp_path}/a.jsonl  \n file://{tmp_path}/b b.jsonl"
        monkeypatch.setenv("NAMEL3SS_SAFETY_URL", urls)
        with SafetyEventLogger() as logger:
            logger.log(SafetyEvent())
        for name in ("a.jsonl", "b b.jsonl"):
            assert len((tmp_path / name).read_text().splitlines()) == 1
        monkeypatch.delenv("NAMEL3SS_SAFETY_URL")
        with SafetyEventLogger.from_env({"NAMEL3SS_SAFETY_URL": urls}) as logger:
            logger.log(SafetyEvent())
        assert len((tmp_path / "b b.jsonl").read_text().splitlines()) == 2

    def test_the_same_url_twice_is_said_at_once(self, tmp_path: Path) -> None:
        url = f"file://{tmp_path}/a.jsonl"
        with pytest.raises(ValueError, match="^url is file:.*delivers to already"):
            SafetyEventLogger.from_url(url, url)

    def test_from_url_wants_one(self) -> None:
        with pytest.raises(ValueError, match="url"):
            SafetyEventLogger.from_url()
        with pytest.raises(ValueError, match="url"):
            SafetyEventLogger.from_url("")

    @pytest.mark.parametrize(
        "url", ["postgresql://u:canary@127.0.0.1:1/d", "mysql://u:canary@h/d", "s3://b?key=canary"]
    )
    def test_no_secret_of_a_url_is_told(self, url: str, tmp_path: Path) -> None:
        told = ""
        try:
            # Not into the default folder, which other tests look at.
            logger = SafetyEventLogger.from_url(url, max_retries=1, fallback_path=tmp_path / "f")
        except ValueError as error:
            told = str(error)
        else:
            logger.log(SafetyEvent())
            logger.flush_sync(timeout=0.5)
            told = repr(logger) + str(logger.get_stats())
        assert told
        assert "canary" not in told


class TestFixture:
    """The pytest fixture ``safety_events``."""

    def test_sees_what_the_code_under_test_records(self, safety_events: Any) -> None:
        assert len(safety_events) == 0
        log_safety_event(action="block", policy_name="pii")
        with guard("other"):
            pass
        assert len(safety_events) == 2
        assert safety_events[0]["action"] == "block"
        assert [row["policy_name"] for row in safety_events] == ["pii", "other"]

    def test_starts_empty_each_time(self, safety_events: Any) -> None:
        assert safety_events.rows == []

    def test_puts_the_former_logger_back(self, request: pytest.FixtureRequest) -> None:
        mine = logger_to(MemoryAdapter())
        set_global_logger(mine)
        events = request.getfixturevalue("safety_events")
        assert get_global_logger() is events.logger
        events.close()
        assert get_global_logger() is mine
        set_global_logger(events.logger)
