"""What an app may hand over by accident, and what an attacker may make it hand over.

``log()`` never raises and nothing hangs; every call is counted once, as flushed, in a fallback
file, dropped or pending; and what was taken is read back the same from every dataset.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import datetime as dt
import decimal
import enum
import json
import math
import re
import sqlite3
import threading
import time
import types
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from namel3ss.safety import (
    AdapterRegistry,
    JSONAdapter,
    MemoryAdapter,
    SafetyEvent,
    SafetyEventLogger,
    SQLAdapter,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

slow = settings(
    deadline=None,
    max_examples=40,
    suppress_health_check=list(HealthCheck),
    database=None,
    phases=[Phase.explicit, Phase.generate],
)

_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")
_LONE = re.compile("[\ud800-\udfff]")


def normalised(value: Any) -> Any:
    """Say how a value is read back from a dataset that holds JSON: the one place that knows.

    Text is Unicode: two surrogates of a pair are one character, a lone one is U+FFFD. Mappings have
    text as keys, the last of equal ones wins. Tuples are lists. JSON has no number for NaN and the
    infinities: they are the texts ``NaN``, ``Infinity``, ``-Infinity``. All else is as it was.
    """
    if isinstance(value, str):
        text = _PAIR.sub(lambda m: m[0].encode("utf-16", "surrogatepass").decode("utf-16"), value)
        return _LONE.sub("\ufffd", text)
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {normalised(str(key)): normalised(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [normalised(item) for item in value]
    return value


def logger_to(adapter: object, **options: Any) -> SafetyEventLogger:
    """Make a logger that delivers to one adapter."""
    registry = AdapterRegistry()
    registry.register("safety_events", adapter)
    options = {"journal": "memory", "retry_delay_seconds": 0.0, **options}
    return SafetyEventLogger(adapter_registry=registry, **options)


def assert_balanced(logger: SafetyEventLogger, logged: int) -> None:
    """Check that each of so many calls is accounted for."""
    stats = logger.get_stats()
    settled = stats["total_flushed"] + stats["total_fallback"] + stats["total_dropped"]
    assert stats["total_logged"] == settled + stats["pending"] == logged
    assert stats["panics"] == 0


@contextlib.contextmanager
def within(seconds: float) -> Iterator[None]:
    """Check that a block takes no longer."""
    began = time.monotonic()
    yield
    assert time.monotonic() - began < seconds


texts = st.text(
    st.one_of(
        st.characters(),
        st.sampled_from("\x00\ud800\udfff\ud83d\ude00\u202e\u2066=+-@\t\r\n'\x1b\x7f"),
    ),
    max_size=30,
)
whole = st.one_of(st.integers(), st.sampled_from([2**63, -(2**63) - 1, 2**64, 10**400, -(10**400)]))
numbers = st.one_of(whole, st.floats(), st.sampled_from([1e308, 5e-324, -0.0, 0.1]))
scalars = st.one_of(st.none(), st.booleans(), numbers, texts)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.tuples(inner, inner),
        st.dictionaries(texts, inner, max_size=4),
    ),
    max_leaves=12,
)
moments = st.datetimes(timezones=st.just(dt.timezone.utc))
safety_events = st.builds(
    SafetyEvent,
    timestamp=moments,
    app_name=st.none() | texts,
    policy_name=st.none() | texts,
    reason=st.none() | texts,
    user_id=st.none() | texts,
    direction=st.sampled_from(["input", "output"]),
    action=st.sampled_from(["allow", "block", "redact", "alert"]),
    categories=st.lists(texts, max_size=4),
    severity=st.one_of(st.sampled_from(["none", "low", "critical"]), texts),
    confidence=st.floats(),
    latency_ms=st.floats(),
    metadata=st.dictionaries(texts, values, max_size=5),
)


def expected_row(event: SafetyEvent) -> dict[str, Any]:
    """Say what a dataset gives back for an event."""
    row = {name: normalised(getattr(event, name)) for name in event.to_dict()}
    row["timestamp"] = event.timestamp
    return row


def comparable(row: dict[str, Any]) -> dict[str, Any]:
    """Bring a row that was read to the form of ``expected_row``."""
    row = {key: value for key, value in row.items() if key not in {"journal_id", "seq"}}
    for name in ("categories", "metadata"):
        if isinstance(row[name], str):
            row[name] = json.loads(row[name])
    with contextlib.suppress(ValueError):
        # A moment before year 1 or after 9999 stays text.
        row["timestamp"] = dt.datetime.fromisoformat(row["timestamp"].replace("Z", "+00:00"))
    for name in ("confidence", "latency_ms"):
        # SQLite has no NaN: it is NULL there.
        row[name] = math.nan if row[name] is None else row[name]
    timestamp = row.pop("timestamp")
    return {**normalised(row), "timestamp": timestamp}


class Datasets:
    """One logger each to memory, JSON lines, SQLite and a Python adapter, and what they hold."""

    def __init__(self, folder: Path) -> None:
        self.memory = MemoryAdapter()
        self.taken: list[dict[str, Any]] = []
        self.lines = (folder / "a.jsonl", folder / "a.db")
        taker = types.SimpleNamespace(insert=self.taken.extend)
        self.loggers = [
            logger_to(self.memory),
            logger_to(JSONAdapter(self.lines[0])),
            logger_to(SQLAdapter(f"sqlite:///{self.lines[1]}", "t")),
            logger_to(taker),
        ]
        self.read_bytes = 0
        self.logged = 0

    def rows_of(self, events: list[Any]) -> list[list[dict[str, Any]]]:
        """Log events everywhere; what each dataset then has more."""
        self.taken.clear()
        for logger in self.loggers:
            for event in events:
                assert logger.log(event) is not None
            logger.flush_sync(timeout=30)
        self.logged += len(events)
        count = len(events)
        found = [self.memory.records[-count:], self._lines(), self._table(count), list(self.taken)]
        for logger in self.loggers:
            assert_balanced(logger, self.logged)
        return found

    def _lines(self) -> list[dict[str, Any]]:
        if not self.lines[0].exists():
            return []
        with self.lines[0].open("rb") as file:
            file.seek(self.read_bytes)
            found = [json.loads(line) for line in file]
            self.read_bytes = file.tell()
        return found

    def _table(self, count: int) -> list[dict[str, Any]]:
        if not self.lines[1].exists():
            return []
        connection = sqlite3.connect(self.lines[1])
        connection.row_factory = sqlite3.Row
        query = "SELECT * FROM t ORDER BY rowid DESC LIMIT ?"
        found = [dict(row) for row in connection.execute(query, (count,))]
        connection.close()
        return found[::-1]


@pytest.fixture
def datasets(tmp_path: Path) -> Iterator[Datasets]:
    made = Datasets(tmp_path)
    yield made
    for logger in made.loggers:
        logger.stop_sync(timeout=30)


@slow
@given(events=st.lists(safety_events, min_size=1, max_size=5))
def test_what_was_taken_is_read_back_the_same(
    datasets: Datasets, events: list[SafetyEvent]
) -> None:
    expected = [expected_row(event) for event in events]
    for rows in datasets.rows_of(events):
        assert [comparable(row) for row in rows] == expected


@slow
@given(event=safety_events)
def test_python_side_keeps_numbers_as_they_are(datasets: Datasets, event: SafetyEvent) -> None:
    """Memory and Python adapters hold what JSON has no word for."""
    memory, _, _, taken = datasets.rows_of([event])
    for row in (memory[0], taken[0]):
        for name in ("confidence", "latency_ms"):
            assert repr(row[name]) == repr(getattr(event, name))
        assert _shape(row["metadata"]) == _shape(event.metadata)


def _shape(value: Any) -> Any:
    """Make numbers comparable: NaN equals itself, and 1 is not 1.0."""
    if isinstance(value, dict):
        return {normalised(key): _shape(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_shape(item) for item in value]
    return repr(value) if isinstance(value, (int, float)) else normalised(value)


class Raises:
    """Everything about it raises."""

    def __getattribute__(self, name: str) -> NoReturn:
        raise RuntimeError(name)

    def __str__(self) -> NoReturn:
        raise RuntimeError

    __repr__ = __bool__ = __len__ = __iter__ = __float__ = __index__ = __str__
    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> NoReturn:
        raise RuntimeError


class ToDictRaises:
    def __init__(self, error: BaseException) -> None:
        self.error = error

    def to_dict(self) -> NoReturn:
        raise self.error


class ToDictLies:
    def __init__(self, lie: Any) -> None:
        self.lie = lie

    def to_dict(self) -> Any:
        return self.lie


class ToDictCallsItself:
    def to_dict(self) -> Any:
        return self.to_dict()


class LyingDict(dict):  # type: ignore[type-arg]
    """A dict whose every method lies."""

    def __iter__(self) -> NoReturn:
        raise RuntimeError

    keys = items = values = __len__ = __iter__

    def __getitem__(self, key: Any) -> NoReturn:
        raise KeyError(key)

    def copy(self) -> NoReturn:
        raise RuntimeError


class LyingMapping(collections.abc.Mapping):  # type: ignore[type-arg]
    def __len__(self) -> int:
        return 10**9

    def __iter__(self) -> Iterator[str]:
        return iter(["a", "b"])

    def __getitem__(self, key: str) -> NoReturn:
        raise KeyError(key)


class EndlessMapping(LyingMapping):
    def __iter__(self) -> Iterator[str]:
        yield "a"
        raise RuntimeError


class LyingText(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "another"

    def encode(self, *_: Any) -> NoReturn:
        raise RuntimeError

    def __hash__(self) -> int:
        return 7

    def __eq__(self, other: object) -> bool:
        raise RuntimeError


class LyingInt(int):
    def __str__(self) -> str:
        return "not a number"

    __repr__ = __str__

    def __index__(self) -> NoReturn:
        raise RuntimeError


class LyingFloat(float):
    def __float__(self) -> NoReturn:
        raise RuntimeError


class LyingClass:
    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        return SafetyEvent


class BrokenZone(dt.tzinfo):
    def utcoffset(self, _: Any) -> NoReturn:
        raise RuntimeError


class HugeText:
    def __str__(self) -> str:
        return "x" * 1_000_000


class NoText:
    def __str__(self) -> Any:
        return 7  # noqa: PLE0307


class Word(enum.Enum):
    A = "a"
    B = Raises


@dataclasses.dataclass
class Half:
    """A dataclass of which fields are missing."""

    event_id: str
    action: str

    def __post_init__(self) -> None:
        del self.__dict__["action"]


def _nested(depth: int, wrap: Callable[[Any], Any]) -> Any:
    value: Any = "core"
    for _ in range(depth):
        value = wrap(value)
    return value


def _self_referring() -> list[Any]:
    one: dict[str, Any] = {}
    one["me"] = one
    two: list[Any] = []
    two.append(two)
    three: dict[str, Any] = {"a": [one, two]}
    three["a"].append(three)
    return [one, two, three]


ODD: dict[str, Callable[[], Any]] = {
    "raises": Raises,
    "class that raises": lambda: type("T", (), {"__doc__": property(lambda _: 1 / 0)}),
    "lying dict": lambda: LyingDict(event_id="e", metadata=LyingDict(a=1)),
    "lying mapping": LyingMapping,
    "mapping that ends badly": EndlessMapping,
    "lying text": lambda: LyingText("text"),
    "lying int": lambda: LyingInt(3),
    "lying float": lambda: LyingFloat(0.5),
    "lying class": LyingClass,
    "huge text": HugeText,
    "no text": NoText,
    "enum": lambda: Word.A,
    "enum of a class": lambda: Word.B,
    "half a dataclass": lambda: Half("e", "block"),
    "dataclass itself": lambda: Half,
    "generator": lambda: (n for n in range(3)),
    "endless iterator": lambda: iter(int, 1),
    "module": lambda: types,
    "function": lambda: _nested,
    "bytes": lambda: b"\xff\x00",
    "complex": lambda: 1j,
    "decimal": lambda: decimal.Decimal("sNaN"),
    "set": lambda: {1, "a", (2,)},
    "frozenset": lambda: frozenset({1}),
    "range": lambda: range(10**9),
    "memoryview": lambda: memoryview(b"abc"),
    "10**5000": lambda: 10**5000,
    "-10**5000": lambda: -(10**5000),
    "broken zone": lambda: dt.datetime(2026, 1, 1, tzinfo=BrokenZone()),  # type: ignore[abstract]
    "first moment": lambda: dt.datetime.min.replace(tzinfo=dt.timezone(dt.timedelta(hours=14))),
    "last moment": lambda: dt.datetime.max.replace(tzinfo=dt.timezone(-dt.timedelta(hours=14))),
    "date": lambda: dt.date(2026, 1, 1),
    "deep list": lambda: _nested(20_000, lambda v: [v]),
    "deep dict": lambda: _nested(20_000, lambda v: {"k": v}),
    "deep tuple": lambda: _nested(20_000, lambda v: (v,)),
    "deep mapping": lambda: _nested(2000, lambda v: collections.UserDict(k=v)),
    "deep mappings proxy": lambda: _nested(20_000, lambda v: types.MappingProxyType({"k": v})),
    "self-referring": _self_referring,
    "self-referring to_dict": ToDictCallsItself,
    "to_dict raises": lambda: ToDictRaises(RuntimeError()),
    "to_dict raises a BaseException": lambda: ToDictRaises(SystemExit()),
    "to_dict lies": lambda: ToDictLies(7),
    "to_dict gives itself": lambda: ToDictLies(ToDictLies(None)),
    "to_dict gives an odd dict": lambda: ToDictLies({1: 2, None: Raises(), "event_id": []}),
    "wide dict": lambda: {str(n): n for n in range(20_000)},
    "wide list": lambda: list(range(20_000)),
    "many odd": lambda: [Raises(), LyingDict(a=1), NoText()] * 100,
}
FIELDS = tuple(SafetyEvent().to_dict())


@pytest.mark.parametrize("name", ODD)
def test_odd_objects_are_counted_and_never_raised(name: str) -> None:
    make = ODD[name]
    memory = MemoryAdapter()
    taken: list[dict[str, Any]] = []
    loggers = [logger_to(memory), logger_to(types.SimpleNamespace(insert=taken.extend))]
    for logger in loggers:
        with within(30):
            odd = make()
            logger.log(odd)
            calls = 1
            for field in FIELDS:
                logger.log(SafetyEvent(**{field: odd}))
                logger.log({field: odd})
                calls += 2
            logger.log(SafetyEvent(metadata={"k": odd, "l": [odd], "m": {"n": odd}}, own=odd))
            logger.log({"event_id": "e", "own": odd})
            logger.log(ToDictLies({"own": odd}))
            logger.bind(trace_id="t").log(SafetyEvent(own=odd))
            calls += 4
            logger.flush_sync(timeout=30)
        assert_balanced(logger, calls)
        stats = logger.get_stats()
        # A field may be anything; only what is no event at all is none.
        assert stats["dropped"].get("invalid", 0) <= 1 + len(FIELDS)
        assert stats["total_flushed"] >= len(FIELDS) + 4
        logger.stop_sync(timeout=30)
    assert len(memory) == len(taken) == stats["total_flushed"]
    for row in memory.records:
        assert tuple(row) == FIELDS
        json.dumps(row)


@slow
@given(fields=st.dictionaries(st.sampled_from(FIELDS), values, max_size=6))
def test_fields_of_any_type(datasets: Datasets, fields: dict[str, Any]) -> None:
    memory, lines, table, taken = datasets.rows_of([SafetyEvent(**fields)])
    assert len(memory) == len(lines) == len(table) == len(taken) == 1
    assert comparable(memory[0]) == comparable(lines[0]) == comparable(table[0])


@slow
@given(given_row=st.dictionaries(texts | st.sampled_from(FIELDS), values, max_size=6))
def test_python_adapters_get_rows_as_objects_gave_them(
    datasets: Datasets, given_row: dict[str, Any]
) -> None:
    """Mappings, dataclasses and objects with to_dict() alike."""

    class Own:
        def to_dict(self) -> dict[str, Any]:
            return given_row

    for event in (given_row, collections.UserDict(given_row), Own()):
        (row,) = datasets.rows_of([event])[3]
        assert _shape(row) == _shape(given_row)


@slow
@given(score=values, tags=st.lists(texts, max_size=3), action=texts)
def test_python_adapters_get_dataclasses_as_they_are(
    datasets: Datasets, score: Any, tags: list[str], action: str
) -> None:
    made = dataclasses.make_dataclass("Made", ["event_id", "action", "score", "tags"])
    event = made("e", action, score, tags)
    (row,) = datasets.rows_of([event])[3]
    assert list(row) == ["event_id", "action", "score", "tags"]
    assert _shape(row) == _shape(dataclasses.asdict(event))


@slow
@given(odd=st.one_of(values, st.binary(), st.complex_numbers(), st.dates(), st.fractions()))
def test_what_is_no_event_is_counted(odd: Any) -> None:
    logger = logger_to(MemoryAdapter())
    logger.log(odd)
    logger.log_many([odd, odd])
    stats = logger.get_stats()
    assert stats["total_logged"] == 3
    assert stats["total_dropped"] == (0 if isinstance(odd, dict) else 3)


def test_a_text_of_100_mb_once() -> None:
    memory = MemoryAdapter()
    logger = logger_to(memory)
    with within(60):
        huge = "x\u00e9" * 50_000_000
        logger.log(SafetyEvent(event_id="e", reason=huge, metadata={"k": huge}))
        logger.log({"event_id": "f", "own": huge})
        logger.flush_sync(timeout=30)
    assert_balanced(logger, 2)
    for row in memory.records:
        assert row["metadata"]["truncated"] is True
        assert len(json.dumps(row, ensure_ascii=False).encode()) <= 256 << 10
    assert huge.startswith(memory.records[0]["reason"])
    assert len(memory.records[0]["reason"]) > 1000


def test_large_events_are_cut_and_say_so() -> None:
    memory = MemoryAdapter()
    logger = logger_to(memory)
    for event in (
        SafetyEvent(categories=["c" * 1000] * 1000),
        SafetyEvent(metadata={f"k{n}": "v" * 1000 for n in range(1000)}),
        SafetyEvent(event_id="e" * 1_000_000, user_id="\ud800" * 1_000_000),
        SafetyEvent(metadata={"deep": _nested(100_000, lambda v: [v])}),
        SafetyEvent(metadata={"deep": _nested(100_000, lambda v: {"k": v})}),
        SafetyEvent(metadata={"me": _self_referring()}),
    ):
        logger.log(event)
    logger.flush_sync(timeout=30)
    assert len(memory) == 6
    for row in memory.records:
        assert row["metadata"]["truncated"] is True
        assert len(json.dumps(row, ensure_ascii=False).encode()) <= 300 << 10


def test_changes_during_the_look_are_no_harm() -> None:
    """``str()`` of a value runs the app's code, which may change what is being read."""
    memory = MemoryAdapter()
    logger = logger_to(memory)
    event = SafetyEvent(event_id="e")

    class Changing:
        def __str__(self) -> str:
            event.metadata.clear()
            event.metadata.update({str(n): n for n in range(100)})
            event.categories[:] = ["x"] * 100
            event.metadata = {"other": 1}
            event.event_id = "changed"
            return "changing"

    categories: Any = [Changing(), "a", Changing()]
    for fields in (
        {"metadata": {"a": Changing(), "b": 1, "c": Changing()}, "categories": ["a", "b"]},
        {"categories": categories, "metadata": {"a": 1}},
        {"reason": Changing(), "metadata": {"l": [Changing(), 1], "d": {"x": Changing()}}},
        {"event_id": Changing(), "severity": Changing(), "action": Changing()},
    ):
        event.event_id = "e"
        event.categories = []
        for name, value in fields.items():
            setattr(event, name, value)
        logger.log(event)
    logger.flush_sync(timeout=30)
    assert_balanced(logger, 4)
    assert len(memory) == 4


def test_an_event_that_logs_itself_while_it_is_read() -> None:
    memory = MemoryAdapter()
    logger = logger_to(memory)
    depth = 0

    class Logging:
        def __str__(self) -> str:
            nonlocal depth
            depth += 1
            if depth < 5:
                logger.log(SafetyEvent(event_id=f"inner-{depth}", metadata={"k": Logging()}))
            logger.log(event)
            return "text"

    event = SafetyEvent(event_id="outer")
    logger.log(SafetyEvent(metadata={"k": Logging()}, reason=Logging()))  # type: ignore[arg-type]
    logger.flush_sync(timeout=30)
    stats = logger.get_stats()
    assert_balanced(logger, stats["total_logged"])
    assert stats["total_dropped"] == 0


def test_changes_from_other_threads_are_no_harm() -> None:
    memory = MemoryAdapter()
    logger = logger_to(memory, buffer_size=10_000)
    shared: dict[str, Any] = {}
    event = SafetyEvent(metadata={"shared": shared, "list": []})
    over = threading.Event()

    def change() -> None:
        number = 0
        while not over.is_set():
            number += 1
            shared[str(number % 50)] = [number]
            if number % 7 == 0:
                shared.clear()
            event.categories.append(str(number))
            del event.categories[10:]

    threads = [threading.Thread(target=change) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(2000):
        logger.log(event)
    over.set()
    for thread in threads:
        thread.join()
    logger.flush_sync(timeout=30)
    assert_balanced(logger, 2000)
    assert logger.get_stats()["total_dropped"] == 0
    assert len(memory) == 2000


def test_python_rows_are_json_for_append() -> None:
    lines: list[str] = []
    logger = logger_to(types.SimpleNamespace(append=lines.append))
    logger.log({"event_id": "e", "n": math.nan, "i": [-math.inf], "b": 10**400, "s": "\ud800\x00"})
    logger.log({"event_id": "f", "at": dt.datetime(2026, 1, 1), "set": {1}})  # noqa: DTZ001
    logger.flush_sync(timeout=30)

    def refuse(word: str) -> NoReturn:
        pytest.fail(f"{word} is no JSON")

    first, second = (json.loads(line, parse_constant=refuse) for line in lines)
    assert first == {
        "event_id": "e",
        "n": "NaN",
        "i": ["-Infinity"],
        "b": 10**400,
        "s": "\ufffd\x00",
    }
    assert second["set"] == [1]


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "a/b", "..", "\x00", "x" * 5000, "\ud800", "a\nb"]
)
def test_hostile_dataset_names_stay_in_their_folder(name: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    folder = tmp_path / "fb"
    try:
        logger = SafetyEventLogger(
            adapter_registry=AdapterRegistry(), target_dataset=name, fallback_path=folder
        )
    except ValueError as error:
        assert "target_dataset" in str(error)
        return
    logger.log(SafetyEvent())
    logger.stop_sync(timeout=30)
    assert logger.get_stats()["total_fallback"] == 1
    assert {path.name for path in tmp_path.iterdir()} <= {home.name, folder.name}
    assert len(list(folder.glob("*.json"))) == 1
