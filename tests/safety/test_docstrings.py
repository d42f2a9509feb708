"""Docstrings: every public name has one, and the examples in them run."""

from __future__ import annotations

import doctest
import importlib
import inspect
from typing import TYPE_CHECKING, Any

import namel3ss.safety as package
import pytest
from namel3ss.safety import AdapterRegistry, MemoryAdapter, SafetyEvent, SafetyEventLogger

if TYPE_CHECKING:
    from pathlib import Path

MODULES = ["logging", "runtime", "persistence", "logic_adapters", "guards", "handler"]


def _public(module: Any) -> list[tuple[str, Any]]:
    """Name what a module makes public, and the public members of its classes."""
    found = [(name, getattr(module, name)) for name in module.__all__ if name != "__version__"]
    for name, item in list(found):
        if inspect.isclass(item):
            for member, value in inspect.getmembers(item):
                ours = [base for base in item.__mro__ if base.__module__.startswith("namel3ss")]
                is_ours = any(member in vars(base) for base in ours)
                is_field = isinstance(value, item) or inspect.ismemberdescriptor(value)
                is_field |= item is SafetyEvent and member != "to_dict"
                if is_ours and not member.startswith("_") and not is_field:
                    found.append((f"{name}.{member}", value))
    return found


@pytest.mark.parametrize("name", [None, *MODULES])
def test_every_public_name_has_a_docstring(name: str | None) -> None:
    module = package if name is None else importlib.import_module(f"namel3ss.safety.{name}")
    assert module.__doc__
    assert [name for name, item in _public(module) if not inspect.getdoc(item)] == []


@pytest.mark.parametrize("name", [None, *MODULES])
def test_examples_in_docstrings_run(name: str | None, tmp_path: Path) -> None:
    """Examples that are marked to be skipped run as well, up to paths that are not there."""
    module = package if name is None else importlib.import_module(f"namel3ss.safety.{name}")
    registry = AdapterRegistry()
    registry.register("safety_events", MemoryAdapter())
    logger = SafetyEventLogger(adapter_registry=registry, journal="memory")
    names = {"logger": logger, "prompt": "a@b.org", "SafetyEvent": SafetyEvent}
    finder = doctest.DocTestFinder(exclude_empty=True)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    for test in finder.find(module, extraglobs=names):
        for example in test.examples:
            example.options.pop(doctest.SKIP, None)
            example.source = example.source.replace("/var/log", str(tmp_path))
            if ".log(" in example.source:
                example.want = "<done>\n"
        runner.run(test)
    assert runner.failures == 0
