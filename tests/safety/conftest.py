"""What every test of the Python package stands on: a home of its own, and a fresh global logger."""

from __future__ import annotations

import os
import pathlib
from typing import TYPE_CHECKING

import pytest
from namel3ss.safety import _core
from namel3ss.safety.logging import set_global_logger

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True, scope="session")
def no_fallback_files_left() -> Iterator[None]:
    """Take away what tests of the documented default have left in its folder."""
    folder = pathlib.Path(_core.default_fallback_path())
    # Those for other destinations than the folder's are in folders within it.
    before = set(folder.rglob("*.json"))
    yield
    for path in set(folder.rglob("*.json")) - before:
        path.unlink()


@pytest.fixture(autouse=True)
def safety_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Keep journals and the embedded database of a test under its own folder."""
    for name in [name for name in os.environ if name.startswith("NAMEL3SS_SAFETY_")]:
        monkeypatch.delenv(name)
    home = tmp_path / "home"
    monkeypatch.setenv("NAMEL3SS_SAFETY_HOME", str(home))
    former = set_global_logger(None)
    yield home
    made = set_global_logger(former)
    if made is not None:
        made.stop_sync(timeout=2)
