"""What commands that read the store share: open it, or say what its absence means.

Errors: see `open_existing`.
"""

from __future__ import annotations

from gatepost.errors import GatepostError
from gatepost.settings import Settings
from gatepost.store.open import FileT, open_as, sqlite_path


def open_existing(kind: type[FileT], settings: Settings) -> FileT:
    """Return a store; without the file, say what that means and what makes one.

    Args:
        kind: The class of the store.
        settings: Where it is.

    Raises:
        GatepostError: If there is none, or it cannot be read.
    """
    path = sqlite_path(settings.state)
    try:
        if path is not None:
            path.stat()
    except PermissionError as error:
        raise GatepostError(
            f"{path}: permission denied; run this as root or as {settings.user}"
        ) from error
    except (FileNotFoundError, NotADirectoryError) as error:
        known = settings.config.exists()
        source = f"state in {settings.config}" if known else "the default of state"
        remedy = (
            "start gatepost serve with that configuration, which makes it, and let mail pass"
            if known
            else f"{settings.config} does not exist; name the configuration with --config"
        )
        raise GatepostError(
            f"nothing was recorded yet: the store {settings.state} ({source}) does not exist; "
            f"{remedy}"
        ) from error
    return open_as(kind, settings.state, create=False)
