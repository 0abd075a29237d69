"""Kinds of values that only the settings of what comes back have; see `kinds`.

Source: RFC 3986 §3 (addresses on the web).
Limits: an address of 1,000 characters, or 400 where it stands in a header of one line; shares to a
ten-thousandth of a per cent.
Errors: each parser raises `Rejected`.
Security: an address with a login would put a password into a file that everybody may read.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from gatepost.settings.kinds import absolute, matching, text
from gatepost.settings.problems import Rejected, quoted
from gatepost.settings.schema import Scalar

_FALSE = frozenset({"false", "no", "off"})
_SHARE = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,4})?)%")
_MAX_IN_HEADER = 400
_URL = re.compile(r"[!-;=?-Z\[\]_a-z~%]{1,1000}")


def _path_or_off(text: str) -> str | None:
    return None if text.lower() in _FALSE else absolute(text)


def _share(text: str) -> float | None:
    if text.lower() in _FALSE:
        return None
    found = _SHARE.fullmatch(text)
    if found is None or not 0 < (share := float(found[1]) / 100) <= 1:
        raise Rejected(
            f"{quoted(text)} is not a share of the whole", "write one such as 0.1%, or off"
        )
    return share


def _http_url(text: str) -> str:
    try:
        parts = urlsplit(text)
        # Looked at for its error alone.
        fits = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        parts, fits = None, False
    if (
        parts is None
        or not fits
        or parts.scheme not in {"http", "https"}
        or not _URL.fullmatch(text)
    ):
        raise Rejected(
            f"{quoted(text)} is no HTTP address", "write one such as https://hooks.example.org/mail"
        )
    if parts.username is not None or parts.fragment:
        raise Rejected(
            f"{quoted(text)} has a login or a fragment", "write scheme, host, port, path and query"
        )
    return text


def _https_url(text: str) -> str:
    url = _http_url(text)
    if not url.startswith("https:") or "?" in url:
        raise Rejected(
            f"{quoted(text)} is no address of HTTPS without a query",
            "write one such as https://mail.example.org/unsubscribe",
        )
    if len(url) > _MAX_IN_HEADER:
        raise Rejected(
            f"it has {len(url)} characters, and {_MAX_IN_HEADER} fit the header with the token",
            "choose a shorter one",
        )
    return url.rstrip("/")


PATH_OR_OFF = Scalar("an absolute path or off", _path_or_off, "/var/log/gatepost/events.jsonl")
SHARE = Scalar("a share in per cent, or off", _share, "0.1%")
HTTP_URL = Scalar("an HTTP address", _http_url, "https://hooks.example.org/mail")
HTTPS_URL = Scalar("an HTTPS address", _https_url, "https://mail.example.org/unsubscribe")
LABEL = matching("a name of a-z, 0-9 and hyphen", r"[a-z0-9][a-z0-9-]{0,30}", "acme")
MAIL_TYPE = text(48)
