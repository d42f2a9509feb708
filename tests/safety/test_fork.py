"""Forks: each process keeps and delivers its own events, and none is delivered twice."""

from __future__ import annotations

from pathlib import Path

import children
import pytest

SETUPS = {
    "sqlite": "logger = made()",
    "jsonl": "logger = made(JSONAdapter(HOME + '/rows.jsonl'))",
    "Adapter": "logger = made(Adapter())",
    "AsyncAdapter": "logger = made(AsyncAdapter())",
}

# Logs from two threads, so that a fork comes in the midst of logging and delivering.
THREADS = """
stopping = threading.Event()
counts = {}
def work(name):
    i = 0
    while not stopping.is_set():
        logger.log(event(f"{name}-{i}"))
        i += 1
        counts[name] = i
        if i % 10 == 0: time.sleep(0.002)
threads = [threading.Thread(target=work, args=(f"parent{n}",)) for n in range(2)]
def finish():
    stopping.set()
    for thread in threads: thread.join()
    logger.stop_sync()
    say(json.dumps({name: count for name, count in counts.items()}))
def in_child(name):
    for i in range(100):
        logger.log(event(f"{name}-{i}"))
    logger.stop_sync()
    stats = logger.get_stats()
    if stats["total_logged"] != 100 or stats["total_dropped"] or stats["pending"]:
        os.write(2, str(stats).encode())
        os._exit(9)
"""


def expected(ended: children.Ended, names: list[str]) -> set[str]:
    """What parent and children have logged."""
    import json

    counts = json.loads(ended.out)
    found = {f"{name}-{i}" for name, count in counts.items() for i in range(count)}
    return found | {f"{name}-{i}" for name in names for i in range(100)}


@pytest.mark.parametrize("kind", SETUPS)
def test_fork_in_the_midst(kind: str, tmp_path: Path) -> None:
    """Eight forks while threads log and the worker delivers; one of the children forks again."""

    def case(python: str, home: Path) -> None:
        body = f"""
{THREADS}
logger.start()
for thread in threads: thread.start()
pids = []
for n in range(8):
    time.sleep(0.01)
    pid = os.fork()
    if pid == 0:
        nested = os.fork() if n == 7 else None
        in_child("nested" if nested == 0 else f"child{{n}}")
        if nested and os.waitpid(nested, 0)[1]: os._exit(8)
        os._exit(0)
    pids.append(pid)
codes = [os.waitpid(pid, 0)[1] for pid in pids]
finish()
assert codes == [0] * 8, codes
"""
        ended = children.run(python, home, body, SETUPS[kind]).check()
        names = [f"child{n}" for n in range(8)] + ["nested"]
        children.assert_once(ended, expected(ended, names))

    children.each(tmp_path, 8, case)


@pytest.mark.parametrize("kind", ["sqlite", "Adapter"])
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing(kind: str, method: str, tmp_path: Path) -> None:
    """The children end without exit handlers; what they have not delivered, the next run does."""

    def case(python: str, home: Path) -> None:
        body = f"""
import multiprocessing
def in_child(name):
    logger.start()
    for i in range(100):
        logger.log(event(f"{{name}}-{{i}}"))
    if name == "stops":
        logger.stop_sync()
if __name__ == "__main__":
    logger.start()
    for i in range(100):
        logger.log(event(f"before-{{i}}"))
    context = multiprocessing.get_context("{method}")
    processes = [context.Process(target=in_child, args=(name,)) for name in ("stops", "ends")]
    for process in processes: process.start()
    for process in processes: process.join()
    for i in range(100):
        logger.log(event(f"after-{{i}}"))
    assert [process.exitcode for process in processes] == [0, 0], processes
    logger.stop_sync()
"""
        ended = children.run(python, home, body, SETUPS[kind]).check()
        children.recover(ended)
        names = ["before", "stops", "ends", "after"]
        wanted = {f"{name}-{i}" for name in names for i in range(100)}
        # One process ends in the middle of a delivery: a Python adapter may see it again.
        (children.assert_once if kind == "sqlite" else children.assert_none_lost)(ended, wanted)

    children.each(tmp_path, 4, case)


LOCKED = """
class Locked:
    def __init__(self):
        self.lock = threading.Lock()
        self.entered = threading.Event()
    def insert(self, rows):
        with self.lock:
            self.entered.set()
            time.sleep(0.3)
            keep(rows)
adapter = Locked()
logger = made(adapter)
"""


def test_fork_while_an_adapter_holds_a_lock(tmp_path: Path) -> None:
    """A child's copy of that lock is held for ever, which is the adapter's own affair; its logger
    takes events all the same, stops in time, and what the adapter does not take is kept."""

    def case(python: str, home: Path) -> None:
        body = """
logger.start()
for i in range(10):
    logger.log(event(f"parent-{i}"))
adapter.entered.wait()
began = time.monotonic()
pid = os.fork()
if pid == 0:
    assert time.monotonic() - began < 0.5
    for i in range(100):
        logger.log(event(f"child-{i}"))
    logger.stop_sync(0.2)
    assert time.monotonic() - began < 2
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
logger.stop_sync()
"""
        ended = children.run(python, home, body, LOCKED).check()
        children.recover(ended)
        wanted = {f"parent-{i}" for i in range(10)} | {f"child-{i}" for i in range(100)}
        children.assert_once(ended, wanted)

    children.each(tmp_path, 4, case)


def test_a_child_that_logs_nothing(tmp_path: Path) -> None:
    """Neither its exit nor its collector touches what is the parent's."""

    def case(python: str, home: Path) -> None:
        body = """
logger.start()
for n in range(6):
    for i in range(20):
        logger.log(event(f"parent{n}-{i}"))
    pid = os.fork()
    if pid == 0:
        if n % 3 == 0: os._exit(0)
        if n % 3 == 1: del logger; gc.collect()
        sys.exit(0)
    assert os.waitpid(pid, 0)[1] == 0, n
logger.stop_sync()
assert logger.get_stats()["total_flushed"] == 120, logger.get_stats()
"""
        ended = children.run(python, home, body, SETUPS["Adapter"]).check()
        children.assert_once(ended, {f"parent{n}-{i}" for n in range(6) for i in range(20)})

    children.each(tmp_path, 4, case)


def test_descriptors_after_forks(tmp_path: Path) -> None:
    """A child has no more of them open than its parent, and a parent none from its forks."""

    def case(python: str, home: Path) -> None:
        body = """
def count():
    return len(os.listdir("/proc/self/fd"))
logger.start()
logger.log(event(0)); logger.flush_sync()
before = count()
for n in range(20):
    pid = os.fork()
    if pid == 0:
        logger.log(event(f"child{n}"))
        logger.flush_sync()
        os._exit(0 if count() <= before + 8 else 9)
    assert os.waitpid(pid, 0)[1] == 0, n
assert count() == before, (before, count())
logger.stop_sync()
"""
        ended = children.run(python, home, body, SETUPS["Adapter"]).check()
        children.assert_once(ended, {"0"} | {f"child{n}" for n in range(20)})

    children.each(tmp_path, 4, case)


APP = """
import os
import time
from namel3ss.safety import SafetyEvent, get_global_logger

logger = get_global_logger()
logger.log(SafetyEvent(event_id="preloaded"))

def app(environ, start_response):
    name = environ["QUERY_STRING"]
    logger.log(SafetyEvent(event_id=name, app_name=str(os.getpid())))
    # While this worker is busy, the kernel hands the next request to another.
    time.sleep(0.02)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]
"""


def test_gunicorn_prefork(tmp_path: Path) -> None:
    """Four workers of an app that was loaded, and had logged, before they were forked."""

    def case(python: str, home: Path) -> None:
        body = f"""
import concurrent.futures, subprocess, urllib.request
with open(os.path.join(HOME, "web.py"), "w") as f: f.write({APP!r})
address = os.path.join(HOME, "port")
server = subprocess.Popen([sys.executable, "-m", "gunicorn", "--preload", "--workers", "4",
    "--bind", "127.0.0.1:0", "--chdir", HOME, "--worker-tmp-dir", HOME, "--no-control-socket",
    "web:app"], stderr=subprocess.PIPE, text=True)
port = None
for line in server.stderr:
    if "Listening at" in line:
        port = line.split("127.0.0.1:")[1].split()[0]
        break
threading.Thread(target=server.stderr.read, daemon=True).start()
def ask(i):
    with urllib.request.urlopen(f"http://127.0.0.1:{{port}}/?{{i}}", timeout=30) as answer:
        return answer.read()
# Until each of the four has answered: a busy machine may start them one by one.
workers = set()
asked = 0
until = time.monotonic() + 30
with concurrent.futures.ThreadPoolExecutor(8) as pool:
    while len(workers) < 4 and time.monotonic() < until:
        workers.update(pool.map(ask, range(asked, asked + 100)))
        asked += 100
assert len(workers) == 4, workers
say(asked)
server.send_signal(signal.SIGTERM)
assert server.wait(30) == 0
"""
        ended = children.run(python, home, body).check()
        logger = "logger = SafetyEventLogger()"
        children.recover(children.run(python, home, "logger.stop_sync()", logger).check())
        children.assert_once(ended, {"preloaded"} | children.numbers(int(ended.said[-1])))

    children.each(tmp_path, 2, case)
