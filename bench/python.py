"""What logging costs from Python, beside its peers, in one run: python bench/python.py [FILTER]

Nanoseconds a call, garbage collector on. `calls`: the best of many short rounds, which take turns;
`forms`: the events that people log, in longer rounds that take turns, the median and the best of
each. Delivery goes on beside them, and what it costs is in the last two parts. Peers: a buffer of
pure Python that an asyncio task would flush, with an adapter that does nothing, and the standard
library's QueueHandler. Close other programs first; prints the interpreter and the number of cores.
"""

from __future__ import annotations

import asyncio
import logging
import logging.handlers
import os
import queue
import statistics
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from namel3ss.safety import (
    AdapterRegistry,
    JSONAdapter,
    SafetyAction,
    SafetyEvent,
    SafetyEventLogger,
    SQLAdapter,
)

if TYPE_CHECKING:
    from collections.abc import Callable

CALLS = 1_000
ROUNDS = 300
BURST = 200_000
END_TO_END = 1_000_000
NOW = datetime(2026, 11, 23, 12, 0, 0, 123456)  # noqa: DTZ001


@dataclass
class Decision:
    """An event as an app of its own would have it."""

    event_id: str
    timestamp: datetime
    policy_name: str
    action: str
    direction: str
    latency_ms: float
    categories: list[str] = field(default_factory=list)


class PureBuffer:
    """The least that a buffer of pure Python does for an event: a lock, a dict, an append."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.buffer: list[dict[str, Any]] = []

    async def log(self, event: Decision) -> None:
        async with self.lock:
            self.buffer.append(asdict(event))
            if len(self.buffer) >= 100:  # noqa: PLR2004
                self.buffer.clear()


def made() -> SafetyEvent:
    return SafetyEvent(
        event_id="evt-001",
        timestamp=NOW,
        policy_name="pii_policy",
        action=SafetyAction.REDACT,
        direction="input",
        latency_ms=10.5,
    )


def logger_to(home: str, name: str, **options: Any) -> SafetyEventLogger:
    registry = AdapterRegistry()
    if name.endswith(".db"):
        registry.register("safety_events", SQLAdapter(f"sqlite:///{home}/{name}"))
    else:
        registry.register("safety_events", JSONAdapter(f"{home}/{name}"))
    return SafetyEventLogger(adapter_registry=registry, fallback_path=home, **options)


async def best(call: Any, calls: int = CALLS) -> float:
    """Nanoseconds a call, awaited; the best of some rounds."""
    least = float("inf")
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for _ in range(calls):
            await call()
        least = min(least, time.perf_counter() - began)
        await asyncio.sleep(0)
    return least / calls * 1e9


def show(name: str, nanos: float, target: str = "") -> None:
    print(f"{name:<58} {nanos:>10,.0f} ns   {target}", flush=True)


async def calls(home: str) -> None:
    """Compare the cost of one call."""
    logger = logger_to(home, "calls.jsonl")
    logger.start()
    log, ready, own = logger.log, made(), Decision("evt", NOW, "pii", "redact", "input", 10.5)
    mapping = asdict(own)
    await log(ready)

    async def nothing() -> None:
        pass

    loop = await best(nothing)
    show("an empty coroutine, awaited", loop)

    least = {
        "ready": float("inf"),
        "made": float("inf"),
        "mapping": float("inf"),
        "own": float("inf"),
    }
    for _ in range(ROUNDS):
        for name in least:
            began = time.perf_counter()
            if name == "ready":
                for _ in range(CALLS):
                    await logger.log(ready)
            elif name == "made":
                for _ in range(CALLS):
                    await logger.log(
                        SafetyEvent(
                            event_id="evt-001",
                            timestamp=NOW,
                            policy_name="pii_policy",
                            action=SafetyAction.REDACT,
                            direction="input",
                            latency_ms=10.5,
                        )
                    )
            elif name == "mapping":
                for _ in range(CALLS):
                    await logger.log(mapping)
            else:
                for _ in range(CALLS):
                    await logger.log(own)
            least[name] = min(least[name], time.perf_counter() - began)
        # What is on its way is not the next round's to pay for.
        await asyncio.sleep(0.01)
    show("await logger.log(ready event)", least["ready"] / CALLS * 1e9, "at most 300")
    show("construct with six keywords and log", least["made"] / CALLS * 1e9, "at most 600")
    show("log a mapping of the user's", least["mapping"] / CALLS * 1e9, "at most 600")
    show("log a dataclass of the user's", least["own"] / CALLS * 1e9, "at most 600")
    await logger.stop()

    pure = PureBuffer()
    show("peer: pure Python buffer, asyncio lock, asdict", await best(lambda: pure.log(own)))
    handler = logging.handlers.QueueHandler(queue.SimpleQueue())
    stdlib = logging.getLogger("bench")
    stdlib.addHandler(handler)
    stdlib.propagate = False
    stdlib.setLevel(logging.INFO)
    least_seconds = float("inf")
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(CALLS):
            stdlib.info("%s %s", own.policy_name, own.action, extra={"event": mapping})
        least_seconds = min(least_seconds, time.perf_counter() - began)
    show("peer: the standard library's QueueHandler", least_seconds / CALLS * 1e9)


FORMS_CALLS = 2_000
FORMS_ROUNDS = 100
THREADS = 4


def form_of(logger: SafetyEventLogger, moments: list[datetime]) -> Callable[[], None]:
    """Construct an event with a timestamp, and log it."""
    log = logger.log

    def run() -> None:
        for moment in moments:
            log(SafetyEvent(timestamp=moment, policy_name="pii", action="block"))

    return run


def forms_of(logger: SafetyEventLogger) -> dict[str, Callable[[], None]]:
    """Give each form: a function that logs FORMS_CALLS events."""
    log = logger.log
    naive = [NOW + timedelta(milliseconds=i) for i in range(FORMS_CALLS)]
    offset, berlin = timezone(timedelta(hours=2)), ZoneInfo("Europe/Berlin")

    def moments(zone: Any) -> list[datetime]:
        return [moment.replace(tzinfo=timezone.utc).astimezone(zone) for moment in naive]

    # As parsers make them: each has a time zone of its own.
    parsed = [datetime.fromisoformat(moment.isoformat()) for moment in moments(offset)]
    found, details = ["pii", "email"], {"rule": 7, "model": "m-1", "score": 0.5}
    mapping = {"timestamp": naive[0], "policy_name": "pii", "action": "block"}
    aware = {**mapping, "timestamp": moments(timezone.utc)[0], "categories": found, "tenant": "a"}
    texts = {**mapping, "timestamp": "2026-11-23T12:00:00Z", "action": "BLOCKED"}
    ready = SafetyEvent(**mapping)

    def details_too() -> None:
        for moment in naive:
            event = SafetyEvent(
                timestamp=moment,
                policy_name="pii",
                action="block",
                categories=found,
                metadata=details,
            )
            log(event)

    def now() -> None:
        for _ in naive:
            log(
                SafetyEvent(timestamp=datetime.now(timezone.utc), policy_name="pii", action="block")
            )

    def without() -> None:
        for _ in naive:
            log(SafetyEvent(policy_name="pii", action="block"))

    def own_name() -> None:
        for moment in naive:
            log(SafetyEvent(timestamp=moment, policy_name="pii", action="block", tenant="a"))

    def each(event: Any) -> Callable[[], None]:
        def run() -> None:
            for _ in naive:
                log(event)

        return run

    def threads() -> None:
        run = each(ready)
        started = [threading.Thread(target=run) for _ in range(THREADS)]
        for thread in started:
            thread.start()
        for thread in started:
            thread.join()

    return {
        "naive": form_of(logger, naive),
        "aware, UTC": form_of(logger, moments(timezone.utc)),
        "aware, a fixed offset": form_of(logger, moments(offset)),
        "aware, an offset of its own each": form_of(logger, parsed),
        "aware, zoneinfo": form_of(logger, moments(berlin)),
        "datetime.now(timezone.utc), the call included": now,
        "no timestamp": without,
        "naive, categories and metadata": details_too,
        "naive, a keyword of the app's own": own_name,
        "a ready event": each(ready),
        "a mapping": each(mapping),
        "a mapping, aware, categories, a name of its own": each(aware),
        "a mapping of texts, action in another spelling": each(texts),
        f"a ready event from {THREADS} threads": threads,
    }


async def forms(home: str) -> None:
    """Compare the forms that people use, by the median of longer rounds that take turns."""
    logger = logger_to(home, "forms.jsonl", buffer_size=1000)
    logger.start()
    runs = forms_of(logger)
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(FORMS_ROUNDS):
        for name, run in runs.items():
            began = time.perf_counter()
            run()
            calls = FORMS_CALLS * (THREADS if "threads" in name else 1)
            taken[name].append((time.perf_counter() - began) / calls * 1e9)
            # What is on its way is not the next round's to pay for.
            await logger.flush()
    await logger.stop()
    naive = statistics.median(taken["naive"])
    for name, nanos in taken.items():
        median = statistics.median(nanos)
        shown = f"best {min(nanos):,.0f}, {median / naive:.2f} of naive"
        show(f"log: {name}, median of {FORMS_ROUNDS}", median, shown)


async def burst(home: str) -> None:
    """Time each call of a burst into JSON lines."""
    worst = []
    for number in range(5):
        logger = logger_to(home, f"burst{number}.jsonl", buffer_size=100)
        logger.start()
        event, log, clock = made(), logger.log, time.perf_counter_ns
        times = [0] * BURST
        await log(event)
        for i in range(BURST):
            began = clock()
            await log(event)
            times[i] = clock() - began
        await logger.stop()
        times.sort()
        worst.append(times[BURST * 999 // 1000])
        p50, p99 = times[BURST // 2], times[BURST * 99 // 100]
        print(f"  p50 {p50} p99 {p99} p99.9 {worst[-1]} max {times[-1]}")
    show(f"burst of {BURST:,} into JSON lines, p99.9", min(worst), "under 5,000")


async def end_to_end(home: str) -> None:
    """Construct, log and deliver."""
    for name, events, target in (
        ("JSON lines", END_TO_END, 800_000),
        ("SQLite", END_TO_END // 2, 250_000),
    ):
        most = 0.0
        for number in range(3):
            suffix = "jsonl" if name == "JSON lines" else "db"
            logger = logger_to(home, f"all{number}.{suffix}", buffer_size=1000)
            logger.start()
            began = time.perf_counter()
            for _ in range(events):
                await logger.log(
                    SafetyEvent(
                        event_id="evt-001",
                        timestamp=NOW,
                        policy_name="pii_policy",
                        action=SafetyAction.REDACT,
                        direction="input",
                        latency_ms=10.5,
                    )
                )
            logged = time.perf_counter() - began
            await logger.stop()
            took = time.perf_counter() - began
            stats = logger.get_stats()
            assert stats["total_flushed"] == events, stats  # noqa: S101
            most = max(most, events / took)
            print(f"  {name}: logged in {logged:.2f} s, on disk after {took:.2f} s")
        shown = f"end to end into {name}: construct, log, on disk"
        print(f"{shown:<58} {most:>10,.0f} /s   at least {target:,}", flush=True)


def main() -> None:
    """Run what the filter names."""
    wanted = sys.argv[1] if len(sys.argv) > 1 else ""
    version = sys.version.split()[0]
    print(f"CPython {version}, {os.cpu_count()} cores", flush=True)
    # On a real file system: /tmp may be memory.
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as home:
        os.environ["NAMEL3SS_SAFETY_HOME"] = home
        for part in (calls, forms, burst, end_to_end):
            if wanted in part.__name__:
                asyncio.run(part(home))


if __name__ == "__main__":
    main()
