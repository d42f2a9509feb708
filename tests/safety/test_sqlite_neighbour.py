"""An application that uses its database by its own SQLite, in the process that logs there.

The wheel holds a SQLite of its own, and POSIX locks belong to the process: whichever of two copies
closed the file dropped the other's locks. Of 67,701 rows that were counted as flushed, 65,650 were
gone while a thread opened, counted and closed; where the application wrote as well, the database
was malformed.

``N3_SAFETY_SECONDS`` (10) is how long each case runs; ``./prove`` takes 60.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import children
import pytest

if TYPE_CHECKING:
    from pathlib import Path

SECONDS = float(os.environ.get("N3_SAFETY_SECONDS", "10"))

APP = """
import collections, sqlite3
import sqlalchemy as sql

PATH = os.path.join(HOME, "app.db")
SECONDS = float(os.environ["N3_SAFETY_SECONDS"])
engine = sql.create_engine("sqlite:///" + PATH, connect_args={"timeout": 60})
orders = sql.Table("orders", sql.MetaData(), sql.Column("id", sql.Integer, primary_key=True),
                   sql.Column("note", sql.Text))
with engine.begin() as connection:
    connection.exec_driver_sql(f"PRAGMA journal_mode={MODE}")
    orders.create(connection)
logger = made(SQLAdapter(engine, "safety_events"), buffer_size=100, flush_interval_seconds=0.02)
logger.start()
logger.log(event("first"))
logger.flush_sync()

stopping = threading.Event()
errors = collections.Counter()
committed = []
opened = collections.Counter()

def thread(work):
    def run():
        while not stopping.is_set():
            try:
                work()
            except Exception as error:
                errors[f"{work.__name__}: {error!r}"[:200]] += 1
    made = threading.Thread(target=run)
    made.start()
    return made

def read():
    connection = sqlite3.connect(PATH, timeout=60)
    connection.execute("SELECT count(*) FROM safety_events").fetchall()
    connection.close()
    opened["read"] += 1
    stopping.wait(0.02)

def write():
    number = len(committed) + 1
    with engine.begin() as connection:
        connection.execute(orders.insert(), [{"id": number, "note": "x" * 500}])
    committed.append(number)
    # A pool that is emptied closes its connections.
    if number % 10 == 0: engine.dispose()
    stopping.wait(0.005)

def log_until(end):
    n = 0
    while time.monotonic() < end:
        for _ in range(50):
            logger.log(event(f"parent-{n}", metadata={"k": "v" * 100}))
            n += 1
        time.sleep(0.004)
    return n
"""

END = """
stopping.set()
for one in threads: one.join()
logger.stop_sync(timeout=60)
engine.dispose()
stats = logger.get_stats()
connection = sqlite3.connect(PATH, timeout=60)
rows = [row[0] for row in connection.execute("SELECT event_id FROM safety_events")]
say(json.dumps({
    "logged": stats["total_logged"], "flushed": stats["total_flushed"],
    "error": stats["last_error"], "errors": errors, "opened": opened["read"],
    "mode": connection.execute("PRAGMA journal_mode").fetchall()[0][0],
    "integrity": [row[0] for row in connection.execute("PRAGMA integrity_check(3)")],
    "rows": len(rows), "distinct": len(set(rows)), "wanted": sorted(WANTED - set(rows))[:3],
    "missing": sorted(set(committed) -
                      {row[0] for row in connection.execute("SELECT id FROM orders")})[:3],
    "committed": len(committed),
}))
"""


def check(ended: children.Ended, mode: str) -> dict[str, object]:
    """Everything that was confirmed to somebody is there, once."""
    found: dict[str, object] = json.loads(ended.check().out.splitlines()[-1])
    assert found["integrity"] == ["ok"], found
    assert found["errors"] == {}, found
    assert found["error"] is None, found
    assert found["mode"] == mode, found
    assert found["flushed"] == found["logged"], found
    assert found["rows"] == found["distinct"], found
    assert found["wanted"] == [], found
    assert found["missing"] == [], found
    return found


@pytest.fixture(autouse=True)
def time_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A case ends later than others do."""
    monkeypatch.setenv("N3_SAFETY_SECONDS", str(SECONDS))
    monkeypatch.setattr(children, "HANG_SECONDS", 120 + SECONDS)


@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_the_app_reads_and_writes_while_rows_are_stored(mode: str, tmp_path: Path) -> None:
    """Two threads open, count and close 50 times a second, and one writes through SQLAlchemy."""
    body = f"""
threads = [thread(read), thread(read), thread(write)]
n = log_until(time.monotonic() + SECONDS)
WANTED = {{f"parent-{{i}}" for i in range(n)}} | {{"first"}}
{END}
"""
    ended = children.run(children.PYTHONS[0], tmp_path, body, f"MODE = {mode!r}\n{APP}")
    found = check(ended, mode)
    assert found["logged"] == found["rows"], found
    assert found["committed"], found
    assert found["opened"], found


@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_a_fork_in_the_midst(mode: str, tmp_path: Path) -> None:
    """Children log to the same table; one that only lives on keeps none of the parent's locks."""
    body = f"""
threads = [thread(read), thread(write)]
pids, names = [], []
end = time.monotonic() + SECONDS
lasting, wake = os.pipe()
n = 0
def log_for(seconds):
    global n
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for _ in range(50):
            logger.log(event(f"parent-{{n}}", metadata={{"k": "v" * 100}}))
            n += 1
        time.sleep(0.004)
while time.monotonic() < end:
    name = f"child{{len(pids)}}"
    pid = os.fork()
    if pid == 0:
        os.close(wake)
        if name == "child0":
            # Until the parent has closed everything.
            os.read(lasting, 1)
            os._exit(0)
        for i in range(100):
            logger.log(event(f"{{name}}-{{i}}"))
        logger.stop_sync(timeout=60)
        stats = logger.get_stats()
        if stats["total_flushed"] != 100:
            os.write(2, str(stats).encode())
            os._exit(9)
        os._exit(0)
    pids.append(pid)
    if name != "child0":
        names += [f"{{name}}-{{i}}" for i in range(100)]
    log_for(SECONDS / 8)
codes = [os.waitpid(pid, 0)[1] for pid in pids[1:]]
assert codes == [0] * len(codes), codes
WANTED = {{f"parent-{{i}}" for i in range(n)}} | set(names) | {{"first"}}
{END}
# Nobody holds a lock any more, with the logger's own connection gone: this takes the whole file.
del logger
gc.collect()
for mode in ("delete", "wal"):
    assert connection.execute(f"PRAGMA journal_mode={{mode}}").fetchone()[0] == mode
os.close(wake)
assert os.waitpid(pids[0], 0)[1] == 0
"""
    ended = children.run(children.PYTHONS[0], tmp_path, body, f"MODE = {mode!r}\n{APP}")
    check(ended, mode)


def test_what_the_app_closes_is_closed(tmp_path: Path) -> None:
    """Descriptors are kept only while somebody's locks depend on them."""
    body = """
import sqlite3
def open_files():
    links = []
    for name in os.listdir("/proc/self/fd"):
        try: links.append(os.readlink(f"/proc/self/fd/{name}"))
        except FileNotFoundError: pass
    return [link for link in links if ".db" in link]
for n in range(40):
    logger = SafetyEventLogger.from_url(f"sqlite:///{HOME}/{n}.db")
    logger.log(event(n))
    logger.stop_sync()
    del logger
gc.collect()
assert open_files() == [], open_files()
app = sqlite3.connect(f"{HOME}/0.db")
app.execute("BEGIN")
assert app.execute("SELECT count(*) FROM safety_events").fetchone()[0] == 1
logger = SafetyEventLogger.from_url(f"sqlite:///{HOME}/0.db")
logger.log(event("second"))
logger.stop_sync()
del logger
gc.collect()
# The log is still there, since the application reads.
assert os.path.exists(f"{HOME}/0.db-wal")
app.rollback()
assert app.execute("SELECT count(*) FROM safety_events").fetchone()[0] == 2
"""
    children.run(children.PYTHONS[0], tmp_path, body).check()
