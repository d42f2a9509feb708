"""Copies of a process, restored from a snapshot: each begins a new journal, as after a fork."""

from __future__ import annotations

import os
import sqlite3
import subprocess
from typing import TYPE_CHECKING

import children
import pytest

if TYPE_CHECKING:
    from pathlib import Path

BEFORE = "import snapshot_restore_py\nfrom namel3ss.safety import *"
AFTER = "from namel3ss.safety import *\nimport snapshot_restore_py"


@pytest.mark.parametrize("order", [BEFORE, AFTER], ids=["loaded before", "loaded after"])
def test_lambda_is_told_without_a_call(order: str, tmp_path: Path) -> None:
    """Lambda's own package calls what was registered with it, in each copy."""
    for at, python in enumerate(children.PYTHONS):
        home = tmp_path / str(at)
        home.mkdir()
        body = f"""
{order}
logger = SafetyEventLogger()
def log(name):
    logger.log(SafetyEvent(event_id=name, policy_name="life", action="block"))
    logger.flush_sync(20)
log("before")
log("before too")
[(call, args, kwargs)] = snapshot_restore_py.get_after_restore()
assert call is after_restore
for n in range(2):
    call(*args, **kwargs)
    log(f"copy {{n}}")
SafetyEventLogger()
assert len(snapshot_restore_py.get_after_restore()) == 1
stats = logger.get_stats()
assert stats["total_flushed"] == 4 and stats["pending"] == 0, stats
logger.stop_sync(20)
"""
        environment = {**os.environ, "NAMEL3SS_SAFETY_HOME": str(home)}
        subprocess.run([python, "-c", body], env=environment, check=True, timeout=60)
        with sqlite3.connect(home / "safety_events.db") as database:
            columns = "event_id, journal_id, seq"
            rows = database.execute(f"SELECT {columns} FROM safety_events").fetchall()  # noqa: S608
        journals = {name: journal for name, journal, _ in rows}
        assert [name for name, *_ in rows] == ["before", "before too", "copy 0", "copy 1"]
        assert journals["before"] == journals["before too"]
        assert len(set(journals.values())) == 3
        assert [seq for *_, seq in rows] == [1, 2, 1, 1]


def test_after_restore_without_a_logger() -> None:
    """It may be called at any time, and never raises."""
    from namel3ss.safety import after_restore

    assert after_restore() is None  # type: ignore[func-returns-value]
    assert "restored from one snapshot" in (after_restore.__doc__ or "")
