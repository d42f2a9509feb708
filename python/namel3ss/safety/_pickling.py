"""What holds threads, files and locks of its process can't be pickled, and says what to do."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn, SupportsIndex


class NotPicklable:
    """Refuses ``pickle`` and ``copy`` with a clear error."""

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        """Raise TypeError."""
        kind = type(self).__qualname__
        text = (
            f"cannot pickle or copy a {kind}: it holds threads and files of its process; make"
            " one in the child, from the same URL or arguments"
        )
        raise TypeError(text)
