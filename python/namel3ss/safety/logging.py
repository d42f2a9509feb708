"""Logging what guardrails decide: the event, the logger, and the global logger.

``logger.log(event)`` keeps the event on disk before it returns, and returns an awaitable that is
already done: it serves ``await logger.log(event)`` and plain calls alike.
"""

from __future__ import annotations

import os

from namel3ss.safety import _core, _waiting
from namel3ss.safety._core import SafetyEvent
from namel3ss.safety._pickling import NotPicklable
from namel3ss.safety.runtime import SafetyAction, SafetyViolation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable, Mapping
    from types import TracebackType
    from typing import Any

    from namel3ss.safety._handle import Handle
    from namel3ss.safety.persistence import SafetyEventSink
    from namel3ss.safety.types import (
        Durability,
        EventSink,
        LoggerOptions,
        OverflowStrategy,
        Registry,
        SafetyStats,
    )
    from typing_extensions import Self, Unpack

__all__ = [
    "SafetyEvent",
    "SafetyEventLogger",
    "create_safety_event_from_enforcement",
    "get_global_logger",
    "log_safety_event",
    "set_global_logger",
]

DATASET = "safety_events"
BACKLOG_LIMIT_BYTES = 1 << 30


def _dataclass_fields() -> dict[str, Any]:
    """Make ``SafetyEvent.__dataclass_fields__`` when somebody asks: dataclasses import slowly."""
    global _fields  # noqa: PLW0603
    if _fields is not None:
        return _fields
    import dataclasses
    from datetime import datetime, timezone

    texts: dict[str, tuple[Any, Any]] = {
        name: (str | None, dataclasses.field(default=None)) for name in _core.FIELDS
    }
    texts["event_id"] = (str, dataclasses.field(default_factory=lambda: SafetyEvent().event_id))
    now = dataclasses.field(default_factory=lambda: datetime.now(timezone.utc))
    texts["timestamp"] = (datetime, now)
    texts["direction"] = (str, dataclasses.field(default="input"))
    texts["action"] = (SafetyAction, dataclasses.field(default=SafetyAction.ALLOW))
    texts["categories"] = (list, dataclasses.field(default_factory=list))
    texts["severity"] = (str, dataclasses.field(default="none"))
    texts["confidence"] = (float, dataclasses.field(default=1.0))
    texts["latency_ms"] = (float, dataclasses.field(default=0.0))
    texts["metadata"] = (dict, dataclasses.field(default_factory=dict))
    made = dataclasses.make_dataclass(
        "SafetyEvent", [(name, kind, field) for name, (kind, field) in texts.items()]
    )
    fields: dict[str, Any] = vars(made)["__dataclass_fields__"]
    _fields = fields
    return fields


_fields: dict[str, Any] | None = None


def _signature() -> Any:  # noqa: ANN401
    """Make ``SafetyEvent.__signature__``: the fields, and names of the app's own."""
    import inspect

    kinds = inspect.Parameter
    parameters = [kinds(name, kinds.POSITIONAL_OR_KEYWORD, default=None) for name in _core.FIELDS]
    return inspect.Signature([*parameters, kinds("fields", kinds.VAR_KEYWORD)])


# Whether calls of the class take the interpreter's fast way; it does the same, in half the time.
_is_called_fast = _core.complete_event_class(SafetyAction.ALLOW, _dataclass_fields, _signature)


async def _log(event: Any) -> None:  # noqa: ANN401
    """Keep one event.

    When it returns, the event survives the end of the process, however it comes (with a journal in
    a file, the default; not a power cut: see ``sync``). It never raises. It waits for no dataset
    while the backlog is below half of its limit; above that for 500 ms at most, as it does where
    the disk is full, and only the strategy ``block`` for as long as the buffer is full: who awaits
    it blocks no event loop meanwhile. What is logged is what the event is now. Events are
    ``SafetyEvent``, mappings, dataclasses, pydantic models, and whatever has ``to_dict()``. An
    action is read in any spelling; of any other word, and of an object without an action, it makes
    an ``alert``, with one warning a kind. A strict logger raises ValueError instead.
    """


_log.__name__ = "log"
_log.__qualname__ = "SafetyEventLogger.log"


def _marked(log: _core.Log) -> _core.Log:
    """Mark a native ``log`` as the coroutine function that it serves as."""
    for name in (
        "__name__",
        "__qualname__",
        "__doc__",
        "__code__",
        "__defaults__",
        "__kwdefaults__",
    ):
        setattr(log, name, getattr(_log, name))
    log.__annotations__ = {}
    return log


class _LogMethod:
    """``SafetyEventLogger.log``, for subclasses that extend it: their instances' own is native."""

    __doc__ = _log.__doc__
    __name__ = "log"
    __qualname__ = _log.__qualname__
    __code__ = _log.__code__
    __defaults__ = None
    __kwdefaults__ = None
    __annotations__: dict[str, Any] = {}

    def __get__(self, instance: Any, owner: object = None) -> Any:  # noqa: ANN401
        return self if instance is None else instance._native_log

    def __call__(self, instance: Any, event: Any) -> Any:  # noqa: ANN401
        return instance._native_log(event)


class _Stats(dict):  # type: ignore[type-arg]
    """Statistics: a dict that notebooks show as a table."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        from namel3ss.safety import _html

        return _html.stats(self)


def _event_html(event: SafetyEvent) -> str:
    from namel3ss.safety import _html

    return _html.event(event)


SafetyEvent._repr_html_ = _event_html  # type: ignore[method-assign,assignment]


class _Logging(NotPicklable):
    """What a logger and one bound to a context have in common."""

    _handle: Handle
    _native_log: _core.Log
    _context: _core.Context | None = None

    if TYPE_CHECKING:

        def log(self, event: object) -> Awaitable[None]: ...
    else:
        log = _LogMethod()

    def _ready_log(self) -> None:
        native = _marked(_core.Log.of(self._handle.core, self._context))
        self._native_log = native
        if type(self).log is _Logging.log:
            # Found at once, before any look at the class.
            self.__dict__["log"] = native

    def log_many(self, events: Iterable[Any]) -> Awaitable[None]:
        """Keep each event, in order; as ``log`` does."""
        done: Awaitable[None] = self._native_log.many(events)
        return done

    def bind(self, *, defaults: Mapping[str, Any] | None = None, **context: object) -> BoundLogger:
        """Return a logger that fills in what its events leave open.

        ``app_name``, ``chain_name``, ``agent_name``, ``policy_name``, ``reason``, ``trace_id``,
        ``session_id`` and ``user_id`` fill fields; other names go to ``metadata``. ``defaults`` is
        a mapping with the same names: it fills what the event, the running ``context`` and what is
        bound all leave empty.

        >>> bound = logger.bind(app_name="support", trace_id="abc")  # doctest: +SKIP
        """
        given = None if defaults is None else dict(defaults)
        return BoundLogger(self._handle, _core.Context(context, self._context, given))

    @property
    def strict(self) -> bool:
        """Whether ``log`` raises ValueError for what it can't read, instead of recording it."""
        return self._handle.core.is_strict()

    def start(self) -> Awaitable[None]:
        """Start delivering; the first event does so too, unless ``autostart=False``.

        It can't fail. Awaited or not, it is done when it returns.
        """
        self._handle.start()
        return _core.DONE

    async def flush(self, timeout: float | None = None) -> None:
        """Return when everything accepted before the call is delivered or in a fallback file.

        Works without ``start()``. Never raises; returns early after ``timeout`` seconds, or where
        neither the dataset nor a fallback file takes it: the journal has it then.
        """
        handle = self._handle
        await _waiting.wait(handle.begun(handle.core.begin_flush, timeout), handle.serve)
        handle.pull()

    def flush_sync(self, timeout: float | None = None) -> None:
        """As ``flush``, in this thread."""
        handle = self._handle
        _waiting.wait_sync(handle.begun(handle.core.begin_flush, timeout), handle.serve)
        handle.pull()

    async def stop(self, timeout: float | None = None) -> None:
        """Flush, then stop the worker; what ``timeout`` leaves stays in the journal.

        A second call does no harm. An event that is logged later starts the logger again; with
        ``autostart=False`` it is kept for the next ``start()``, ``flush()`` or run. A ``start()``
        that comes before this has come to its end is not undone by it.
        """
        handle = self._handle
        await _waiting.wait(handle.begun(handle.core.begin_stop, timeout), handle.serve)
        handle.pull()

    def stop_sync(self, timeout: float | None = None) -> None:
        """As ``stop``, in this thread."""
        handle = self._handle
        _waiting.wait_sync(handle.begun(handle.core.begin_stop, timeout), handle.serve)
        handle.pull()

    def sync(self) -> Awaitable[None]:
        """Make everything logged so far survive a power cut; raises OSError where it can't.

        Waits for the disk, for some milliseconds. Awaited or not, it is done when it returns.
        """
        self._handle.core.sync()
        return _core.DONE

    def get_stats(self) -> SafetyStats:
        """Count: ``total_logged = total_flushed + total_fallback + total_dropped + pending``.

        The same holds for each dict of the list ``sinks``, with ``flushed``, ``fallback``,
        ``dropped`` and ``pending``. With several sinks the totals count an event as flushed only if
        each dataset has it, as pending as long as one has yet to settle it, and as dropped as soon
        as one has given it up.
        """
        stats: Any = _Stats(self._handle.core.stats())
        return stats  # type: ignore[no-any-return]

    async def __aenter__(self) -> Self:
        """Start."""
        self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop."""
        await self.stop()

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop."""
        self.stop_sync()


class SafetyEventLogger(_Logging):
    """Keeps safety events in a journal on disk and delivers them to a dataset.

    Without a registry and a sink the dataset is what ``NAMEL3SS_SAFETY_URL`` names, which may be
    several URLs with spaces between them, or else an embedded SQLite file ``safety_events.db``
    under ``NAMEL3SS_SAFETY_HOME``.

    It may be used from any thread, event loop and forked child.
    """

    def __init__(  # noqa: PLR0913
        self,
        target_frame: object = None,
        target_dataset: str = DATASET,
        buffer_size: int = 100,
        flush_interval_seconds: float = 10.0,
        event_sink: EventSink | None = None,
        adapter_registry: Registry | None = None,
        overflow_strategy: OverflowStrategy = "drop_oldest",
        fallback_path: str | os.PathLike[str] | None = None,
        *,
        journal: str | os.PathLike[str] = "file",
        durability: Durability = "process",
        backlog_limit_bytes: int = BACKLOG_LIMIT_BYTES,
        max_retries: int = 3,
        retry_delay_seconds: float = 1.0,
        autostart: bool = True,
        strict: bool | None = None,
    ) -> None:
        """Raise ValueError for a wrong argument, naming it; later only ``strict`` raises.

        ``target_frame``: a dataset's name, or an object that takes its rows; no registry then.
        ``buffer_size``: events that are handed to the worker at once, 1 to 10,000,000.
        ``flush_interval_seconds``: how long an event waits for that at most, 0.001 to 86,400.
        ``overflow_strategy``: ``drop_oldest``, ``drop_newest`` or ``block``.
        ``fallback_path``: where batches go that the dataset won't take.
        ``journal``: ``file``, ``memory``, or a folder.
        ``durability``: ``process`` survives the end of the process; ``power`` syncs every 50 ms.
        ``backlog_limit_bytes``: how much journal may wait for the dataset.
        ``autostart``: whether an event starts the logger, also after ``stop()``. Without it nothing
        is handed over before ``start()``: a buffer of ``buffer_size`` events is full, and the
        overflow strategy applies.
        ``strict``: ``log`` raises ValueError for an event with an unknown action or none, a
        misspelt name or a value that does not fit; by default as ``NAMEL3SS_SAFETY_STRICT`` says.
        """
        from namel3ss.safety import _making

        made = _making.Making(
            target_frame=target_frame,
            target_dataset=target_dataset,
            event_sink=event_sink,
            adapter_registry=adapter_registry,
            fallback_path=fallback_path,
            max_retries=max_retries,
            retry_delay_seconds=retry_delay_seconds,
        )
        self.target_dataset: str = made.dataset
        self.buffer_size: int = buffer_size
        self.flush_interval_seconds: float = flush_interval_seconds
        self.overflow_strategy: OverflowStrategy = overflow_strategy
        self._sink: SafetyEventSink = made.sink
        self._handle = made.handle(
            buffer_size=buffer_size,
            flush_interval_seconds=flush_interval_seconds,
            overflow_strategy=overflow_strategy,
            journal=journal,
            durability=durability,
            backlog_limit_bytes=backlog_limit_bytes,
            autostart=autostart,
            strict=strict,
        )
        self._ready_log()

    @classmethod
    def from_url(cls, *urls: str, **options: Unpack[LoggerOptions]) -> SafetyEventLogger:
        """Return a logger whose dataset is at a URL; options are those of the class.

        Of several URLs each gets every event. They share the journal and nothing else: a dead one
        holds up nobody, and catches up when it is back. Raises ValueError if two are one place.

        >>> logger = SafetyEventLogger.from_url("file:///var/log/safety.jsonl")  # doctest: +SKIP
        """
        from namel3ss.safety import _making

        dataset = options.get("target_dataset", DATASET)
        return cls(adapter_registry=_making.registry_of(urls, dataset), **options)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> SafetyEventLogger:
        """Return a logger that is set up by variables, each ``NAMEL3SS_SAFETY_`` and a parameter.

        ``URL``, ``TARGET_DATASET``, ``BUFFER_SIZE``, ``FLUSH_INTERVAL_SECONDS``,
        ``OVERFLOW_STRATEGY``, ``FALLBACK_PATH``, ``JOURNAL``, ``DURABILITY``,
        ``BACKLOG_LIMIT_BYTES``, ``MAX_RETRIES``, ``RETRY_DELAY_SECONDS``.
        """
        from namel3ss.safety import _making

        return cls(**_making.options_of(os.environ if environ is None else environ))

    @property
    def journal_folder(self) -> str | None:
        """The folder of its journal; None before the first event, or in memory."""
        folder = self._handle.core.journal_folder()
        return None if folder is None else os.fspath(folder)

    def __repr__(self) -> str:
        """Show its settings."""
        return (
            f"SafetyEventLogger(target_dataset={self.target_dataset!r}, "
            f"buffer_size={self.buffer_size}, overflow_strategy={self.overflow_strategy!r})"
        )


class BoundLogger(_Logging):
    """A logger that fills in what its events leave open; made by ``bind``."""

    def __init__(self, handle: Handle, context: _core.Context) -> None:
        """Share a logger's all but its ``log``."""
        self._handle = handle
        self._context = context
        self._ready_log()

    def __repr__(self) -> str:
        """Show the dataset; what is bound may be personal."""
        return f"<BoundLogger {self._handle.core.stats()['target_dataset']}>"


_global: SafetyEventLogger | None = None


def get_global_logger() -> SafetyEventLogger:
    """Return the logger that the whole process shares."""
    global _global  # noqa: PLW0603
    found = _global
    if found is None:
        found = SafetyEventLogger.from_env()
        if _global is None:
            _global = found
        found = _global
    return found


def set_global_logger(logger: SafetyEventLogger | None) -> SafetyEventLogger | None:
    """Put another in its place, or None for a new one; return the former one."""
    global _global
    former, _global = _global, logger
    return former


def log_safety_event(event: object = None, **fields: Any) -> Awaitable[None]:  # noqa: ANN401
    """Log an event, or one made of ``fields``, with the global logger; as its ``log`` does."""
    return get_global_logger().log(SafetyEvent(**fields) if event is None else event)


def create_safety_event_from_enforcement(  # noqa: PLR0913
    direction: str,
    action: SafetyAction | str,
    violation: SafetyViolation | None,
    latency_ms: float,
    policy_name: str | None = None,
    chain_name: str | None = None,
    agent_name: str | None = None,
    trace_id: str | None = None,
    **fields: Any,  # noqa: ANN401
) -> SafetyEvent:
    """Return the event of an enforcement: what was found comes from the violation, if any."""
    found: dict[str, Any] = {}
    if violation is not None:
        found = {
            "categories": list(getattr(violation, "categories", None) or []),
            "severity": getattr(violation, "severity", None) or "high",
            "confidence": getattr(violation, "confidence", 1.0),
            "reason": getattr(violation, "reason", None),
        }
        metadata = getattr(violation, "metadata", None)
        if metadata:
            found["metadata"] = dict(metadata)
    return SafetyEvent(
        **{
            **found,
            "direction": direction,
            "action": action,
            "latency_ms": latency_ms,
            "policy_name": policy_name,
            "chain_name": chain_name,
            "agent_name": agent_name,
            "trace_id": trace_id,
            **fields,
        }
    )
