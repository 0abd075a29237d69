"""From a store's URL to the store.

Format: ``sqlite:///relative/path`` or ``sqlite:////absolute/path``.
Errors: `open_as` raises `StoreUnavailable`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from gatepost.errors import StoreUnavailable
from gatepost.store.interface import ObservationStore
from gatepost.store.sqlite import SqliteStore
from gatepost.store.sqlite_file import SqliteFile

_SQLITE = "sqlite:///"

FileT = TypeVar("FileT", bound=SqliteFile)


def sqlite_path(url: str) -> Path | None:
    """Return the file that a URL names, or None if it is not for SQLite."""
    path = url.removeprefix(_SQLITE)
    return Path(path) if path and path != url else None


def open_store(url: str, *, create: bool = True) -> ObservationStore:
    """Return the store of observations at a URL; arguments and errors as of `open_as`."""
    return open_as(SqliteStore, url, create=create)


def open_as(kind: type[FileT], url: str, *, create: bool = True) -> FileT:
    """Return a store at a URL.

    Args:
        kind: The class of the store.
        url: Where, see above.
        create: Make the database if there is none; otherwise its absence is an error.

    Raises:
        StoreUnavailable: If it cannot be opened or made, or was made by a newer version.
    """
    path = sqlite_path(url)
    if path is None:
        raise StoreUnavailable(f"{url!a} is no store that is known here; use sqlite:////path")
    return kind(path, create=create)
