"""Snapshots of AWS Lambda: its runtime calls, in each copy, what was registered for that."""

from __future__ import annotations

import sys

from namel3ss.safety._core import after_restore

_registered: object = None


def register() -> None:
    """Have Lambda call ``after_restore``, where its module is loaded; once for each module."""
    global _registered  # noqa: PLW0603
    module = sys.modules.get("snapshot_restore_py")
    if module is None or module is _registered:
        return
    call = getattr(module, "register_after_restore", None)
    if callable(call):
        call(after_restore)
        _registered = module
