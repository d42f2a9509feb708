"""Weak references to what lives as long as somebody uses it."""

from __future__ import annotations

import weakref


class Live:
    """See the module. No lock: the collector may take an item out while a thread adds another."""

    def __init__(self) -> None:
        self._items: dict[int, weakref.ref[object]] = {}

    def add(self, item: object) -> None:
        """Remember it while it lives."""
        key = id(item)
        items = self._items
        # Held by the function itself: modules are emptied before the last objects go.
        remove = _remove
        items[key] = weakref.ref(item, lambda gone: remove(items, key, gone))

    def all(self) -> list[object]:
        """What lives now."""
        # One operation of the interpreter's, so that nothing comes or goes in the middle of it.
        found = [reference() for reference in list(self._items.values())]
        return [item for item in found if item is not None]


def _remove(items: dict[int, weakref.ref[object]], key: int, gone: weakref.ref[object]) -> None:
    # Another object may have the number by now.
    if items.get(key) is gone:
        del items[key]
