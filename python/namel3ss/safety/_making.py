"""How a logger is made from what a user gave: everything is checked here, and never again."""

from __future__ import annotations

import os

from namel3ss.safety import _core
from namel3ss.safety.logging import DATASET
from namel3ss.safety.logic_adapters import AdapterRegistry
from namel3ss.safety.persistence import (
    SafetyEventSink,
    check_int,
    check_number,
    check_path,
    check_text,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from namel3ss.safety._handle import Handle

_PREFIX = "NAMEL3SS_SAFETY_"
_TEXTS = ("target_dataset", "overflow_strategy", "fallback_path", "journal", "durability")
_INTS = ("buffer_size", "backlog_limit_bytes", "max_retries")
_NUMBERS = ("flush_interval_seconds", "retry_delay_seconds")


class Making:
    """A logger in the making."""

    def __init__(  # noqa: PLR0913
        self,
        *,
        target_frame: object,
        target_dataset: str,
        event_sink: Any,  # noqa: ANN401
        adapter_registry: Any,  # noqa: ANN401
        fallback_path: object,
        max_retries: int,
        retry_delay_seconds: float,
    ) -> None:
        """Find the dataset and the sink."""
        check_text("target_dataset", target_dataset)
        if isinstance(target_frame, str) and target_frame and target_dataset == DATASET:
            target_dataset, target_frame = target_frame, None
        self.dataset = target_dataset
        self._further: Sequence[_core.Native] = ()
        if isinstance(adapter_registry, _Registry):
            self._further = adapter_registry.further
        self._fallback = check_path("fallback_path", fallback_path)
        if event_sink is not None:
            self.sink = self._taken(event_sink)
            return
        if adapter_registry is None:
            adapter_registry = AdapterRegistry()
            if target_frame is not None:
                adapter_registry.register(target_dataset, target_frame)
            else:
                first, *self._further = _default(target_dataset)
                adapter_registry._table.set(target_dataset, first)
        self.sink = SafetyEventSink(
            target_dataset,
            adapter_registry,
            self._fallback or _core.default_fallback_path(),
            max_retries,
            retry_delay_seconds,
        )

    def _taken(self, sink: Any) -> SafetyEventSink:  # noqa: ANN401
        if isinstance(sink, SafetyEventSink):
            if self.dataset == DATASET:
                self.dataset = sink.dataset_name
            return sink
        write = getattr(sink, "write_events", None)
        if not callable(write):
            text = f"event_sink is a {type(sink).__name__}: it takes a SafetyEventSink"
            raise ValueError(text)
        # A sink of the user's own: it gets the rows as an adapter does.
        registry = AdapterRegistry()
        registry.register(self.dataset, _Written(sink))
        return SafetyEventSink(self.dataset, registry, self._fallback)

    def handle(  # noqa: PLR0913
        self,
        *,
        buffer_size: int,
        flush_interval_seconds: float,
        overflow_strategy: str,
        journal: object,
        durability: str,
        backlog_limit_bytes: int,
        autostart: bool,
        strict: bool | None,
    ) -> Handle:
        """Make the logger."""
        from namel3ss.safety._handle import Handle

        check_int("buffer_size", buffer_size)
        check_int("backlog_limit_bytes", backlog_limit_bytes)
        interval = check_number("flush_interval_seconds", flush_interval_seconds)
        check_text("overflow_strategy", overflow_strategy)
        check_text("durability", durability)
        check_bool("autostart", autostart)
        self.sink._identify()
        core = _core.Logger(
            target_dataset=self.dataset,
            buffer_size=buffer_size,
            flush_interval_seconds=interval,
            overflow_strategy=overflow_strategy,
            sink=self.sink._core,
            further=self._further,
            journal=_journal(journal),
            durability=durability,
            backlog_limit_bytes=backlog_limit_bytes,
            disabled=_is_set("DISABLED"),
            autostart=autostart,
            strict=_is_set("STRICT") if strict is None else check_bool("strict", strict),
        )
        warn_of_misspelt_variables()
        return Handle(core, self.sink)


def _is_set(name: str) -> bool:
    return os.environ.get(f"{_PREFIX}{name}", "") not in ("", "0")


def check_bool(name: str, value: object) -> bool:
    """Return a switch; raise ValueError for what is none."""
    if isinstance(value, bool):
        return value
    text = f"{name} is {str(value)[:40]!r}: it takes True or False"
    raise ValueError(text)


_VARIABLES = frozenset(
    ("URL", "HOME", "DISABLED", "STRICT", *(name.upper() for name in (*_TEXTS, *_INTS, *_NUMBERS)))
)
_told: set[str] = set()


def warn_of_misspelt_variables() -> None:
    """Warn once of each variable with our prefix that is none of ours."""
    for variable in os.environ:
        name = variable.removeprefix(_PREFIX)
        if name == variable or name in _VARIABLES or variable in _told:
            continue
        _told.add(variable)
        import difflib

        near = difflib.get_close_matches(name, _VARIABLES, n=1)
        hint = f"did you mean {_PREFIX}{near[0]}?" if near else "no variable of ours has that name"
        _core.warn(f"the environment variable {variable} is not used: {hint}")


class _Written:
    """A sink of the user's own, as an adapter."""

    def __init__(self, sink: Any) -> None:  # noqa: ANN401
        self._sink = sink

    def insert(self, rows: list[dict[str, Any]]) -> Any:  # noqa: ANN401
        return self._sink.write_events(rows)


def _journal(journal: object) -> str:
    if isinstance(journal, os.PathLike):
        return os.path.abspath(os.fsdecode(journal))  # noqa: PTH100
    if journal in ("file", "memory"):
        return str(journal)
    if isinstance(journal, str) and (os.sep in journal or os.path.isdir(journal)):  # noqa: PTH112
        return os.path.abspath(os.path.expanduser(journal))  # noqa: PTH100, PTH111
    import difflib

    words = ["file", "memory"]
    near = difflib.get_close_matches(str(journal)[:40], words, n=1)
    hint = f"did you mean {near[0]!r}?" if near else "it takes 'file', 'memory' or a folder's path"
    text = f"journal is {str(journal)[:40]!r}: {hint}"
    raise ValueError(text)


def _default(dataset: str) -> Sequence[_core.Native]:
    """What ``NAMEL3SS_SAFETY_URL`` names, or the embedded database."""
    urls = os.environ.get(f"{_PREFIX}URL", "").strip()
    if not urls:
        home = _core.home()
        try:
            os.makedirs(home, mode=0o700, exist_ok=True)  # noqa: PTH103
        except OSError:
            # Its rows wait in the journal then, or in fallback files.
            pass
        return [_core.Native.embedded(os.path.join(home, "safety_events.db"), dataset)]  # noqa: PTH118
    try:
        return _core.Native.open_several(urls)
    except ValueError as error:
        text = f"{_PREFIX}URL: {error}"
        raise ValueError(text) from None


class _Registry(AdapterRegistry):
    """A dataset at several places: the first one's is registered."""

    def __init__(self, dataset: str, adapters: Sequence[_core.Native]) -> None:
        super().__init__()
        first, *self.further = adapters
        self._table.set(dataset, first)


def registry_of(urls: Sequence[str], dataset: str) -> AdapterRegistry:
    """Return a registry with the dataset at one URL or several."""
    if not urls:
        text = "urls are none: from_url takes one or several"
        raise ValueError(text)
    for url in urls:
        check_text("url", url)
    return _Registry(dataset, [_core.Native.open(url) for url in urls])


def options_of(environ: Mapping[str, str]) -> dict[str, Any]:
    """Read a logger's options from variables."""
    options: dict[str, Any] = {}
    for name in (*_TEXTS, *_INTS, *_NUMBERS):
        variable = f"{_PREFIX}{name.upper()}"
        given = environ.get(variable, "")
        if not given:
            continue
        kind = int if name in _INTS else float if name in _NUMBERS else str
        try:
            options[name] = kind(given)
        except ValueError:
            text = f"{variable} is {given[:40]!r}: it takes a number"
            raise ValueError(text) from None
    url = environ.get(f"{_PREFIX}URL", "").strip()
    if url and url != os.environ.get(f"{_PREFIX}URL"):
        dataset = options.get("target_dataset", DATASET)
        options["adapter_registry"] = _Registry(dataset, _core.Native.open_several(url))
    return options
