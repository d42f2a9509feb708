"""The command ``n3-safety``: the same code as the binary's, from the native module."""

from __future__ import annotations

import signal
import sys

from namel3ss.safety import _core


def main() -> int:
    """Run the command line."""
    # Python's handler would only make a note of Ctrl-C for code that never runs.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    return _core.command(["n3-safety", *sys.argv[1:]])
