"""Celery's prefork pool, whose children are replaced and end by signals while they log.

billiard masks SIGTERM while it holds the lock of the result queue; a thread of ours that took the
signal then ended the child with the lock held, and the pool stopped for ever. The fault showed in
about every second run.

``N3_SAFETY_CELERY`` names a Python that has Celery and this package, as ``./prove`` makes one;
without it the test is skipped.
"""

from __future__ import annotations

import collections
import contextlib
import os
import signal
import sqlite3
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

PYTHON = os.environ.get("N3_SAFETY_CELERY", "")
TASKS = 200
HANGS = [number for number in range(TASKS) if number % 50 == 49]
WANTED = set(range(TASKS)) - set(HANGS)

APP = f"""
import os, time
from pathlib import Path
from celery import Celery
from namel3ss.safety import SafetyEvent, get_global_logger

ROOT = Path(os.environ["ROOT"])
folders = {{name: ROOT / name for name in ("queue", "processed", "control", "results")}}
for folder in folders.values():
    folder.mkdir(exist_ok=True)
app = Celery("app", broker="filesystem://", backend=folders["results"].as_uri())
app.conf.broker_transport_options = {{
    "data_folder_in": str(folders["queue"]),
    "data_folder_out": str(folders["queue"]),
    "processed_folder": str(folders["processed"]),
    "control_folder": str(folders["control"]),
}}
# Children are replaced after seven tasks, and ended in the middle of one that takes too long.
app.conf.update(worker_max_tasks_per_child=7, task_time_limit=2, task_ignore_result=True)
# Before the pool forks.
get_global_logger().log(SafetyEvent(action="allow", reason="imported"))

@app.task
def check(number):
    get_global_logger().log(SafetyEvent(action="block", reason=str(number)))
    (ROOT / "done" / str(number)).touch()
    if number in {HANGS}:
        # A pool that shuts down no longer ends it.
        time.sleep(20)
"""


def environment(root: Path) -> dict[str, str]:
    return {
        **os.environ,
        "ROOT": str(root),
        "PYTHONPATH": str(root),
        "NAMEL3SS_SAFETY_HOME": str(root / "home"),
    }


def done(root: Path) -> set[int]:
    return {int(path.name) for path in (root / "done").iterdir()}


def wait_for_tasks(root: Path, pool: subprocess.Popen[bytes]) -> None:
    """Wait until all tasks are done; fail once none was for long."""
    last, since = 0, time.monotonic()
    while not done(root) >= WANTED:
        now = len(done(root))
        if now > last:
            last, since = now, time.monotonic()
        log = (root / "log").read_text()
        assert pool.poll() is None, log
        assert time.monotonic() - since < 45, f"stopped at {last} of {TASKS} tasks\n{log}"
        time.sleep(0.1)


@contextlib.contextmanager
def ended(pool: subprocess.Popen[bytes]) -> Iterator[None]:
    """End the pool's own group afterwards, whatever is left of it."""
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pool.pid, signal.SIGKILL)
        pool.wait()


@pytest.mark.skipif(not PYTHON, reason="N3_SAFETY_CELERY names no Python with Celery")
@pytest.mark.parametrize("turn", range(3))
def test_a_pool_whose_children_are_replaced_goes_on(turn: int, tmp_path: Path) -> None:
    root = tmp_path / str(turn)
    (root / "done").mkdir(parents=True)
    (root / "app.py").write_text(APP)
    send = f"import app\nfor number in range({TASKS}): app.check.delay(number)"
    subprocess.run([PYTHON, "-c", send], cwd=root, env=environment(root), check=True, timeout=120)
    command = [PYTHON, "-m", "celery", "-A", "app", "worker", "--pool=prefork", "-c", "3"]
    command += ["-l", "warning", "--without-gossip", "--without-mingle", "--without-heartbeat"]
    with (root / "log").open("w") as log:
        pool = subprocess.Popen(
            command,
            cwd=root,
            env=environment(root),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    with ended(pool):
        wait_for_tasks(root, pool)
        pool.terminate()
        pool.wait(60)
    ran = done(root)
    recover = [Path(PYTHON).parent / "n3-safety", "recover"]
    recovered = subprocess.run(recover, env=environment(root), capture_output=True, check=False)
    assert recovered.returncode == 0, recovered
    with sqlite3.connect(root / "home" / "safety_events.db") as database:
        reasons = database.execute("SELECT reason FROM safety_events WHERE action = 'block'")
        rows = collections.Counter(int(reason) for (reason,) in reasons)
    assert set(rows) >= ran >= WANTED
    # A task that was ended may have been run once more; its events are its own then.
    assert all(times == 1 for number, times in rows.items() if number in WANTED), rows
