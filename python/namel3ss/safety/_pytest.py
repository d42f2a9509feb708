"""The pytest plugin: a home of its own for each test run, and the fixture ``safety_events``.

Code under test that logs with the global logger would otherwise write to the developer's real
dataset. The run has a temporary home, and ``NAMEL3SS_SAFETY_URL`` is unset in it. To switch that
off::

    [tool.pytest.ini_options]
    namel3ss_safety_isolate = false
"""

from __future__ import annotations

import os
import sys

import pytest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any


_HOME = "NAMEL3SS_SAFETY_HOME"
_URL = "NAMEL3SS_SAFETY_URL"
_STOP_SECONDS = 2.0


class _Isolated:
    """The environment of one test run."""

    def __init__(self) -> None:
        """Set it."""
        import tempfile

        self._former = {name: os.environ.get(name) for name in (_HOME, _URL)}
        self._home = tempfile.mkdtemp(prefix="namel3ss-safety-pytest-")
        os.environ[_HOME] = self._home
        os.environ.pop(_URL, None)

    def end(self) -> None:
        """Put it back; deliver what the global logger has left, and remove the home."""
        import shutil

        logging = sys.modules.get("namel3ss.safety.logging")
        if logging is not None:
            logger = logging.set_global_logger(None)
            if logger is not None:
                logger.stop_sync(timeout=_STOP_SECONDS)
        for name, value in self._former.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        shutil.rmtree(self._home, ignore_errors=True)


_isolated: pytest.StashKey[_Isolated] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Know the switch."""
    parser.addini(
        "namel3ss_safety_isolate",
        "give a test run a NAMEL3SS_SAFETY_HOME of its own, and unset NAMEL3SS_SAFETY_URL",
        type="bool",
        default=True,
    )


def pytest_configure(config: pytest.Config) -> None:
    """Isolate the run, before any test module is imported."""
    if config.getini("namel3ss_safety_isolate"):
        config.stash[_isolated] = _Isolated()


def pytest_unconfigure(config: pytest.Config) -> None:
    """End it."""
    isolated = config.stash.get(_isolated, None)
    if isolated is not None:
        del config.stash[_isolated]
        isolated.end()


class SafetyEvents:
    """The events of one test, as rows with the 17 fields each."""

    def __init__(self) -> None:
        """Put a logger of its own in the global one's place."""
        from namel3ss.safety.logging import SafetyEventLogger, set_global_logger
        from namel3ss.safety.logic_adapters import AdapterRegistry, MemoryAdapter

        self._adapter = MemoryAdapter()
        registry = AdapterRegistry()
        registry.register("safety_events", self._adapter)
        self.logger = SafetyEventLogger(adapter_registry=registry, journal="memory", strict=True)
        self._former = set_global_logger(self.logger)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """All rows so far, oldest first."""
        self.logger.flush_sync()
        return self._adapter.records

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Go over the rows."""
        return iter(self.rows)

    def __len__(self) -> int:
        """Count the rows."""
        return len(self.rows)

    def __getitem__(self, at: int) -> dict[str, Any]:
        """Return one row."""
        return self.rows[at]

    def __repr__(self) -> str:
        """Show how many there are."""
        return f"<SafetyEvents {len(self._adapter)} delivered>"

    def close(self) -> None:
        """Put the former global logger back."""
        from namel3ss.safety.logging import set_global_logger

        self.logger.stop_sync()
        set_global_logger(self._former)


@pytest.fixture
def safety_events() -> Iterator[SafetyEvents]:
    """Return what the global logger records during the test; nothing leaves memory."""
    events = SafetyEvents()
    yield events
    events.close()
