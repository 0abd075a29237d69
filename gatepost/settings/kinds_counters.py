"""Kinds of values that only the settings of shared counters have; see `kinds`.

Format: ``valkey://[user:password@]host[:port][/database]``, the same with ``valkeys`` for TLS, and
``valkey+unix:///path``; ``redis``, ``rediss`` and ``redis+unix`` are the same.
Errors: each parser raises `Rejected`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import SplitResult, urlsplit

from gatepost.settings.kinds import matching
from gatepost.settings.problems import Rejected, quoted
from gatepost.settings.schema import Scalar, did_you_mean

_SCHEMES: Final = {
    "valkey": "redis",
    "valkeys": "rediss",
    "valkey+unix": "unix",
    "redis": "redis",
    "rediss": "rediss",
    "redis+unix": "unix",
}
_PORT: Final = 6379
_REMEDY: Final = "write memory, valkey://host:6379/0, or valkey+unix:///run/valkey/valkey.sock"
_DATABASE = re.compile(r"/?|/[0-9]{1,3}")


@dataclass(frozen=True, slots=True)
class CountersUrl:
    """Where counters are shared.

    Attributes:
        url: As the library wants it.
        shown: Without a password.
        secret: Whether a password is in it.
        encrypted: Whether it is reached by TLS.
    """

    url: str = field(repr=False)
    shown: str
    secret: bool
    encrypted: bool


def _counters(text: str) -> CountersUrl | None:
    if text == "memory":
        return None
    scheme, found, rest = text.partition("://")
    if not found or scheme not in _SCHEMES:
        # Whatever it is, there may be a password in it.
        said = quoted(scheme) if found else "this"
        raise Rejected(
            f"{said} is nothing that counts", did_you_mean(scheme, [*_SCHEMES, "memory"]) or _REMEDY
        )
    url = f"{_SCHEMES[scheme]}://{rest}"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise Rejected("is no URL, or its port is no number", _REMEDY) from error
    if parts.query or parts.fragment:
        raise Rejected("has options behind a ? or #, which mean nothing here", _REMEDY)
    if parts.scheme == "unix":
        return _by_socket(scheme, url, parts)
    if not parts.hostname:
        raise Rejected("names no host", _REMEDY)
    if not _DATABASE.fullmatch(parts.path):
        raise Rejected(f"{quoted(parts.path)} is no number of a database", _REMEDY)
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    shown = f"{scheme}://{host}:{port or _PORT}{parts.path.rstrip('/')}"
    return CountersUrl(url, shown, bool(parts.password), parts.scheme == "rediss")


def _by_socket(scheme: str, url: str, parts: SplitResult) -> CountersUrl:
    if parts.hostname or not parts.path.startswith("/") or parts.path == "/":
        raise Rejected("names no absolute path of a socket", "write three slashes before the path")
    shown = f"{scheme}://{parts.path}"
    return CountersUrl(url, shown, bool(parts.password), encrypted=False)


COUNTERS = Scalar("memory, or the URL of Valkey or Redis", _counters, "valkey://127.0.0.1:6379")
NODE = matching(
    "a name of at most 63 letters, digits, dots and hyphens",
    r"[A-Za-z0-9][A-Za-z0-9.-]{0,62}",
    "mx1",
)
