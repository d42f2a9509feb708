"""Refuses subinterpreters, before anything native is loaded.

Native code that is initialised by two interpreters of a process shares its objects between them,
which crashes both; some versions of Python load it all the same.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def _module() -> Any:  # noqa: ANN401
    """Return the interpreters' own module, which has had two names."""
    try:
        return __import__("_interpreters")
    except ImportError:
        pass
    try:
        return __import__("_xxsubinterpreters")
    except ImportError:
        return None


_known = _module()

# A Python without that module makes no subinterpreters, unless it is embedded.
if _known is not None and _known.get_current() != _known.get_main():
    _TEXT = (
        "namel3ss.safety can't be imported by a subinterpreter: import it in the main interpreter"
    )
    raise ImportError(_TEXT)
