"""Event loops: one after the other, at once, nested, closed too early, and never blocked."""

from __future__ import annotations

from pathlib import Path

import children
import pytest

SETUPS = {"sqlite": "logger = made()", "AsyncAdapter": "logger = made(AsyncAdapter())"}

# How many events each logs is the number behind it.
BODIES = {
    "asyncio.run twice": (
        """
async def main(first):
    await logger.start()
    for i in range(first, first + 50): await logger.log(event(i))
    await logger.flush()
    if first: await logger.stop()
asyncio.run(main(0)); asyncio.run(main(50))
""",
        100,
    ),
    "gather, create_task, wait_for, shield, wait": (
        """
async def main():
    await logger.start()
    await asyncio.gather(*(logger.log(event(i)) for i in range(20)))
    for i in range(20, 40): await asyncio.create_task(logger.log(event(i)))
    for i in range(40, 60): await asyncio.wait_for(logger.log(event(i)), 1)
    for i in range(60, 80): await asyncio.shield(logger.log(event(i)))
    await asyncio.wait([asyncio.ensure_future(logger.log(event(i))) for i in range(80, 100)])
    if sys.version_info >= (3, 11):
        async with asyncio.TaskGroup() as group:
            for i in range(100, 120): group.create_task(logger.log(event(i)))
    else:
        for i in range(100, 120): logger.log(event(i))
    await logger.stop()
asyncio.run(main(), debug=True)
""",
        120,
    ),
    "forgotten await": (
        """
import warnings; warnings.simplefilter("error")
async def main():
    logger.start()
    for i in range(100): logger.log(event(i))
    await logger.stop()
asyncio.run(main())
""",
        100,
    ),
    "loops in threads": (
        """
async def main(first):
    await logger.start()
    for i in range(first, first + 25):
        await logger.log(event(i))
        await asyncio.sleep(0)
    await logger.flush()
threads = [threading.Thread(target=lambda n=n: asyncio.run(main(n * 25))) for n in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
asyncio.run(logger.stop())
""",
        200,
    ),
    "uvloop": (
        """
import uvloop
async def main():
    await logger.start()
    await asyncio.gather(*(logger.log(event(i)) for i in range(100)))
    await logger.flush()
    await logger.stop()
loop = uvloop.new_event_loop()
loop.run_until_complete(main())
loop.close()
""",
        100,
    ),
    "nest_asyncio": (
        """
import nest_asyncio
nest_asyncio.apply()
async def inner():
    await logger.log(event(0))
    await logger.flush()
async def main():
    await logger.start()
    asyncio.get_event_loop().run_until_complete(inner())
    asyncio.run(inner())
    await logger.log(event(1))
    await logger.stop()
asyncio.run(main())
""",
        2,
    ),
    "loop closed with pending": (
        """
async def main():
    await logger.start()
    for i in range(100): await logger.log(event(i))
    asyncio.ensure_future(logger.flush())
    asyncio.ensure_future(logger.stop())
    await asyncio.sleep(0)
loop = asyncio.new_event_loop()
loop.run_until_complete(main())
pending = asyncio.all_tasks(loop)
for task in pending: task.cancel()
loop.run_until_complete(asyncio.gather(*pending, return_exceptions=True))
loop.close()
async def again():
    await logger.start()
    await logger.log(event(100))
    await logger.stop()
asyncio.run(again())
""",
        101,
    ),
    "cancelled flush": (
        """
async def main():
    await logger.start()
    for i in range(100): await logger.log(event(i))
    for _ in range(5):
        task = asyncio.create_task(logger.flush())
        await asyncio.sleep(0.001)
        task.cancel()
        try: await task
        except asyncio.CancelledError: pass
    await asyncio.wait_for(logger.stop(), 20)
asyncio.run(main())
""",
        100,
    ),
    "async with": (
        """
async def main():
    async with logger:
        async with asyncio.Lock():
            for i in range(100): await logger.log(event(i))
asyncio.run(main())
""",
        100,
    ),
    "a coroutine function": (
        """
import inspect
assert inspect.iscoroutinefunction(logger.log)
assert asyncio.iscoroutinefunction(logger.log)
assert asyncio.iscoroutine(logger.log(event(0))) and inspect.isawaitable(logger.log(event(1)))
logger.stop_sync()
""",
        2,
    ),
}


@pytest.mark.parametrize("way", BODIES)
@pytest.mark.parametrize("kind", SETUPS)
def test_each_event_is_stored_once(kind: str, way: str, tmp_path: Path) -> None:
    """However it is awaited, or not."""
    body, events = BODIES[way]

    def case(python: str, home: Path) -> None:
        ended = children.run(python, home, body, SETUPS[kind]).check()
        assert "never awaited" not in ended.err, ended.err
        if way == "nest_asyncio":
            assert ended.ids() == {"0": 2, "1": 1}
            return
        children.assert_once(ended, children.numbers(events))

    children.each(tmp_path, 4, case)


@pytest.mark.parametrize("started", [True, False])
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_block_never_blocks_the_loop(loop: str, started: bool, tmp_path: Path) -> None:  # noqa: FBT001
    """While log() waits for room, the loop's other tasks go on."""

    def case(python: str, home: Path) -> None:
        body = f"""
import {loop}
gaps = []
async def tick():
    last = time.monotonic()
    while True:
        await asyncio.sleep(0.005)
        now = time.monotonic()
        gaps.append(now - last)
        last = now
async def main():
    ticker = asyncio.create_task(tick())
    if {started}: await logger.start()
    began = time.monotonic()
    for i in range(600):
        await logger.log(event(i, reason="x" * 20_000))
        # The limit is looked at every 60 ms at most; without a pause all would be logged by then.
        if i % 20 == 0: await asyncio.sleep(0.01)
    waited = time.monotonic() - began
    ticker.cancel()
    await logger.stop()
    say("waited=" + str(waited))
    # A loop that is blocked sees a wait as one gap; a busy machine makes a few of its own.
    blocked = sum(gap for gap in gaps if gap > 0.1)
    assert blocked < waited / 2, (blocked, waited)
loop = {loop}.new_event_loop()
loop.run_until_complete(main())
assert logger.get_stats()["total_flushed"] == 600, logger.get_stats()
"""
        setup = "class Slower(SlowAdapter):\n    def insert(self, rows):\n        time.sleep(0.1)\n"
        setup += "        SlowAdapter.insert(self, rows)\n"
        setup += "logger = made(Slower(), overflow_strategy='block', "
        setup += "backlog_limit_bytes=1 << 20, buffer_size=50)"
        ended = children.run(python, home, body, setup).check()
        assert float(ended.out.split("=")[1]) > 0.4, ended.out
        children.assert_once(ended, children.numbers(600))

    children.each(tmp_path, 4, case)
