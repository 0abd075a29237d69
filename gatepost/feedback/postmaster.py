"""Gmail's Postmaster Tools: what is asked, and what the answers say.

Purpose: which share of the mail of a tenant, a campaign or a mail type was reported as spam at
Gmail, day by day, by the values that Feedback-ID carries.
Source: Gmail Postmaster Tools API v2, discovery document of May 2026, method
``domains.domainStats.query``; RFC 6749 §6 (refresh of a token).
Format: first ``FEEDBACK_LOOP_ID`` tells which values Gmail knows of on each day, then
``FEEDBACK_LOOP_SPAM_RATE`` the share for each. Both are asked for with ``ALL_DKIM``: the default,
``FROM_HEADER``, would leave out all mail whose author is in a tenant's domain.
Limits: 20 values a request, so that a week of them fits the 200 rows of a page; 1,000 values a
domain; values of at most 60 characters.
Errors: `MalformedMessage` for what is no such answer.
Security: only values in the form that we write are asked for, so nothing that Gmail says gets into
a filter. The secrets of a token file are in no `repr`.
Not handled: nobody has run this against Google; it is written and tested by its published schema.
"""

from __future__ import annotations

import datetime as dt
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from gatepost.errors import MalformedMessage

PAGE_SIZE: Final = 200
LABELS_A_REQUEST: Final = 20
MAX_LABELS: Final = 1000
MAX_DAYS: Final = PAGE_SIZE // LABELS_A_REQUEST

_RULE: Final = "Postmaster Tools API v2"
_EPOCH: Final = dt.date(1970, 1, 1).toordinal()
_LABEL: Final = re.compile(r"[tcm][A-Za-z0-9._~%-]{1,59}")
_ALL_DKIM: Final = 'aggregation_key_type = "ALL_DKIM"'
_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})
_FIELDS: Final = ("client_id", "client_secret", "refresh_token", "token_uri")


@dataclass(frozen=True, slots=True)
class OAuthToken:
    """What the operator's token file says.

    Attributes:
        client_id: Of the OAuth client.
        client_secret: Likewise.
        refresh_token: What Google gave for the operator's consent.
        token_uri: Where access tokens are had.
    """

    client_id: str
    client_secret: str = field(repr=False)
    refresh_token: str = field(repr=False)
    token_uri: str


@dataclass(frozen=True, slots=True)
class Stat:
    """One value of an answer.

    Attributes:
        metric: The name that the request gave it.
        day: Days since 1970-01-01.
        number: If it is a number.
        texts: If it is a list of texts.
    """

    metric: str
    day: int
    number: float | None
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Page:
    """One answer.

    Attributes:
        stats: What it says.
        after: Token of the next page, or empty.
    """

    stats: tuple[Stat, ...]
    after: str


def parse_token(text: str) -> OAuthToken:
    """Return what a token file says.

    Args:
        text: JSON with ``client_id``, ``client_secret``, ``refresh_token`` and ``token_uri``, as
            Google's own tools write it; other fields do not matter.

    Raises:
        MalformedMessage: If one of them is missing, or the token would be sent in plaintext.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise MalformedMessage("is not JSON", rule="RFC 8259") from error
    if not isinstance(found, dict):
        raise MalformedMessage("holds no JSON object", rule=_RULE)
    missing = [name for name in _FIELDS if not isinstance(found.get(name), str) or not found[name]]
    if missing:
        raise MalformedMessage(f"has no {' and no '.join(missing)}", rule=_RULE)
    if not is_protected(found["token_uri"]):
        raise MalformedMessage("has a token_uri without https", rule="RFC 6749 §3.2")
    return OAuthToken(*(found[name] for name in _FIELDS))


def is_protected(url: str) -> bool:
    """Tell whether a secret may go to an address: by https, or to this host itself."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        return False
    return bool(host) and (
        parts.scheme == "https" or (parts.scheme == "http" and host in _LOOPBACK)
    )


def refresh_form(token: OAuthToken) -> dict[str, str]:
    """Return the form that is posted for an access token."""
    return {
        "client_id": token.client_id,
        "client_secret": token.client_secret,
        "refresh_token": token.refresh_token,
        "grant_type": "refresh_token",
    }


def parse_access(document: object) -> str:
    """Return the access token in an answer.

    Raises:
        MalformedMessage: If there is none.
    """
    found = document.get("access_token") if isinstance(document, dict) else None
    if not isinstance(found, str) or not found.isascii() or not found.isprintable():
        raise MalformedMessage("an answer without access_token", rule="RFC 6749 §5.1")
    return found


def labels_query(first: int, last: int, after: str = "") -> dict[str, Any]:
    """Return the body that asks which values Gmail knows of on each day.

    Args:
        first: First day, since 1970-01-01.
        last: Last day.
        after: `Page.after` of the page before.
    """
    metric = {
        "name": "labels",
        "baseMetric": {"standardMetric": "FEEDBACK_LOOP_ID"},
        "filter": _ALL_DKIM,
    }
    return _query([metric], first, last, after)


def shares_query(labels: Sequence[str], first: int, last: int, after: str = "") -> dict[str, Any]:
    """Return the body that asks for the shares of some values; their names are their places.

    Args:
        labels: At most `LABELS_A_REQUEST`, as `usable` returns them.
        first: First day, since 1970-01-01.
        last: Last day.
        after: `Page.after` of the page before.
    """
    metrics = [
        {
            "name": str(number),
            "baseMetric": {"standardMetric": "FEEDBACK_LOOP_SPAM_RATE"},
            "filter": f'feedback_loop_id = "{label}" AND {_ALL_DKIM}',
        }
        for number, label in enumerate(labels)
    ]
    return _query(metrics, first, last, after)


def usable(found: Iterable[str], sender_id: str) -> list[str]:
    """Return those values that are ours, each once, at most `MAX_LABELS` of them.

    Args:
        found: What Gmail named.
        sender_id: The platform's SenderId, which all of its mail carries.
    """
    ours = (each for each in found if each == sender_id or _LABEL.fullmatch(each))
    return sorted(dict.fromkeys(ours), key=lambda each: each != sender_id)[:MAX_LABELS]


def parse_page(document: object) -> Page:
    """Return what an answer to a query says.

    Raises:
        MalformedMessage: If it is none.
    """
    if not isinstance(document, dict):
        raise MalformedMessage("an answer that is no JSON object", rule=_RULE)
    stats = document.get("domainStats", [])
    after = document.get("nextPageToken", "")
    if not isinstance(stats, list) or not isinstance(after, str):
        raise MalformedMessage("an answer without a list of domainStats", rule=_RULE)
    return Page(tuple(found for each in stats if (found := _stat(each)) is not None), after)


def share_of(stat: Stat) -> float | None:
    """Return the share that a value is, or None if it is none."""
    number = stat.number
    return number if number is not None and 0 <= number <= 1 else None


def _query(
    metrics: Sequence[Mapping[str, object]], first: int, last: int, after: str
) -> dict[str, Any]:
    days = {"start": _date(first), "end": _date(last)}
    return {
        "metricDefinitions": list(metrics),
        "timeQuery": {"dateRanges": {"dateRanges": [days]}},
        "aggregationGranularity": "DAILY",
        "pageSize": PAGE_SIZE,
        **({"pageToken": after} if after else {}),
    }


def _date(day: int) -> dict[str, int]:
    found = dt.date.fromordinal(_EPOCH + day)
    return {"year": found.year, "month": found.month, "day": found.day}


def _stat(found: object) -> Stat | None:
    """Return one value, or None for one that is not there yet."""
    if not isinstance(found, dict):
        raise MalformedMessage("a DomainStat that is no JSON object", rule=_RULE)
    metric, date, value = (found.get(name) for name in ("metric", "date", "value"))
    if value is None or date is None:
        return None
    if not isinstance(metric, str) or not isinstance(date, dict) or not isinstance(value, dict):
        raise MalformedMessage("a DomainStat of another form", rule=_RULE)
    try:
        day = dt.date(date["year"], date["month"], date["day"]).toordinal() - _EPOCH
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise MalformedMessage("a DomainStat without a date", rule=_RULE) from error
    return Stat(metric, day, _number(value), _texts(value))


def _number(value: Mapping[str, object]) -> float | None:
    for name in ("floatValue", "doubleValue"):
        found = value.get(name)
        if isinstance(found, int | float) and not isinstance(found, bool) and math.isfinite(found):
            return float(found)
    return None


def _texts(value: Mapping[str, object]) -> tuple[str, ...]:
    found = value.get("stringList")
    texts = found.get("values") if isinstance(found, dict) else None
    if not isinstance(texts, list):
        return ()
    return tuple(each for each in texts if isinstance(each, str))
