"""How far those have read the stream of events who keep nothing else, such as the events file.

Errors: every method raises `StoreUnavailable` and nothing else.
"""

from __future__ import annotations

from typing import Protocol


class ReaderStore(Protocol):
    """Keeps the positions of readers."""

    def position(self, name: str, start: int) -> int:
        """Return up to where a reader has read.

        Args:
            name: The reader.
            start: Where one that is new begins; this is then kept.
        """

    def read(self, name: str, position: int) -> None:
        """Note up to where a reader has read."""

    def close(self) -> None:
        """Close the connection of the calling thread."""
