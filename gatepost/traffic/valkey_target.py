"""Where Valkey or Redis is, and who asks it."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Target:
    """Where Valkey is.

    Attributes:
        url: ``redis://``, ``rediss://`` or ``unix://``, as the library wants it; it may hold a
            password.
        shown: The same for people, without a password.
        node: Name of the node that asks.
        nodes: How many nodes there are at least.
        password_file: A file with the password, or None.
        ca_file: Trusted roots for TLS, or None for those of the system.
    """

    # Whoever shows all settings shows no password.
    url: str = field(repr=False)
    shown: str
    node: str = "node"
    nodes: int = 1
    password_file: str | None = None
    ca_file: str | None = None
