"""What commands that read the store share: open it, or say what its absence means.

Errors: see `open_existing`.
"""

from __future__ import annotations

from typing import Protocol, TypeVar

from gatepost.errors import GatepostError
from gatepost.settings import Settings
from gatepost.store.open import LOCAL, sqlite_path

StoreT_co = TypeVar("StoreT_co", covariant=True)


class Opener(Protocol[StoreT_co]):
    """A function of `gatepost.store.open`."""

    def __call__(self, url: str, *, create: bool = True) -> StoreT_co:
        """Return the store at a URL."""


def url_of(opener: Opener[object], settings: Settings) -> str:
    """Return where a kind of store is."""
    return settings.local_state if opener in LOCAL else settings.state


def open_existing(opener: Opener[StoreT_co], settings: Settings) -> StoreT_co:
    """Return a store; without the file, say what that means and what makes one.

    Args:
        opener: Opens it.
        settings: Where it is.

    Raises:
        GatepostError: If there is none, or it cannot be read.
    """
    url = url_of(opener, settings)
    path = sqlite_path(url)
    try:
        if path is not None:
            path.stat()
    except PermissionError as error:
        raise GatepostError(
            f"{path}: permission denied; run this as root or as {settings.user}"
        ) from error
    except (FileNotFoundError, NotADirectoryError) as error:
        known = settings.config.exists()
        setting = "state" if url == settings.state else "local_state"
        source = f"{setting} in {settings.config}" if known else f"the default of {setting}"
        remedy = (
            "start gatepost serve with that configuration, which makes it, and let mail pass"
            if known
            else f"{settings.config} does not exist; name the configuration with --config"
        )
        raise GatepostError(
            f"nothing was recorded yet: the store {url} ({source}) does not exist; {remedy}"
        ) from error
    return opener(url, create=False)
