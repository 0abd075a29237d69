"""What ``gatepost status`` says of the server of state.

Errors: none: what cannot be found out is told.
"""

from __future__ import annotations

from gatepost.errors import StoreUnavailable
from gatepost.settings import Settings
from gatepost.store.open import is_postgres


def state_server(settings: Settings) -> tuple[str, list[str]]:
    """Return what a server of state says of itself, or why it cannot be used.

    Args:
        settings: Where it is; for a file, nothing is said.

    Returns:
        One line, and what should be looked at.
    """
    if not is_postgres(settings.state):
        return "", []
    # Loads a driver that a platform with a file never needs.
    from gatepost.store.postgres_look import look_at_server  # noqa: PLC0415

    try:
        seen = look_at_server(settings.state)
    except StoreUnavailable as error:
        return f"cannot be used: {error}", [f"state cannot be used: {error}"]
    if seen.needs > seen.known:
        return str(seen), [f"state is for a newer Gatepost than this one: {seen}"]
    return str(seen), []
