"""From a store's URL to the store.

Format: ``sqlite:///relative/path`` or ``sqlite:////absolute/path``.
Errors: `open_store` raises `StoreUnavailable`.
"""

from __future__ import annotations

from pathlib import Path

from gatepost.errors import StoreUnavailable
from gatepost.store.interface import ObservationStore
from gatepost.store.sqlite import SqliteStore

_SQLITE = "sqlite:///"


def sqlite_path(url: str) -> Path | None:
    """Return the file that a URL names, or None if it is not for SQLite."""
    path = url.removeprefix(_SQLITE)
    return Path(path) if path and path != url else None


def open_store(url: str, *, create: bool = True) -> ObservationStore:
    """Return the store at a URL.

    Args:
        url: Where, see above.
        create: Make the database if there is none; otherwise its absence is an error.

    Raises:
        StoreUnavailable: If it cannot be opened or made, or was made by a newer version.
    """
    path = sqlite_path(url)
    if path is None:
        raise StoreUnavailable(f"{url!a} is no store that is known here; use sqlite:////path")
    return SqliteStore(path, create=create)
