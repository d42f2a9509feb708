"""A thread of the operating system's, also where ``threading`` was patched to start greenlets.

gevent and eventlet replace ``_thread.start_new_thread`` and with it ``threading.Thread``. A thread
that waits in ``os.read``, as the one that calls adapters does, would then stop the whole program.
"""

from __future__ import annotations

import sys

from namel3ss.safety import _threads

TYPE_CHECKING = False
if TYPE_CHECKING:
    import threading
    from collections.abc import Callable
    from typing import Any


class RealThread:
    """What of ``threading.Thread`` is needed here, for one that ``threading`` does not know."""

    def __init__(self) -> None:
        """Make one that is about to run."""
        self._alive = True

    def is_alive(self) -> bool:
        """Whether it runs."""
        return self._alive

    def run(self, target: Callable[..., object], args: tuple[Any, ...]) -> None:
        """Run ``target`` to its end."""
        try:
            target(*args)
        finally:
            self._alive = False


def start(
    target: Callable[..., object], args: tuple[Any, ...], name: str
) -> threading.Thread | RealThread:
    """Start a daemon thread; raises RuntimeError where none can be had."""
    import _thread
    from types import BuiltinFunctionType

    if isinstance(_thread.start_new_thread, BuiltinFunctionType):
        import threading

        thread = threading.Thread(target=target, args=args, name=name, daemon=True)
        _threads.start(thread)
        return thread
    real = RealThread()
    # Such threads are daemons: the interpreter's end does not wait for them.
    start_new_thread = _unpatched().start_new_thread
    with _threads.Masked():
        start_new_thread(real.run, (target, args))
    return real


def _unpatched() -> Any:  # noqa: ANN401
    """The module ``_thread`` as the interpreter has it: a second copy, without patches."""
    global _copy  # noqa: PLW0603
    if _copy is None:
        from importlib.machinery import BuiltinImporter
        from importlib.util import module_from_spec

        spec = BuiltinImporter.find_spec("_thread")
        if spec is None or spec.loader is None:
            text = f"this interpreter has no module _thread: {sys.version}"
            raise RuntimeError(text)
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
        _copy = module
    return _copy


_copy: Any = None
