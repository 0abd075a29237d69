"""Fields of a report as they come: each is taken as what it was meant for, or noted as a deviation.

Purpose: what senders write differs from RFC 8460 in small ways, and a report that is refused for
``contact-info: null`` is a failure that nobody sees. Each deviation is read in the one way that
makes sense, and told.
Source: RFC 8460 §4.4; RFC 3339 (times).
Errors: `Fields` raises `MalformedMessage` only where a value has no possible meaning.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping

from gatepost.domains import normalise_domain
from gatepost.errors import MalformedMessage
from gatepost.tls.tlsrpt.limits import MAX_LIST, MAX_TEXT, RULE

# Sums of a database are 64 bits wide, and no domain has a million million sessions a day.
MAX_COUNT = 10**12

_DIGITS = re.compile(r"[0-9]{1,13}")
_EARLIEST = dt.datetime(2015, 1, 1, tzinfo=dt.UTC).timestamp()
_LATEST = dt.datetime(2200, 1, 1, tzinfo=dt.UTC).timestamp()
_MAX_DEVIATIONS = 20
# Names of drafts that are still written.
_ALIASES = {
    "mx-host-pattern": "mx-host",
    "additional-info-uri": "additional-information",
    "session-count": "failed-session-count",
    "policy-strings": "policy-string",
    "success-aggregate": "total-successful-session-count",
    "failure-aggregate": "total-failure-session-count",
}


class Deviations:
    """Collects what was not as the standard wants it, each once."""

    def __init__(self) -> None:
        self._found: dict[str, None] = {}

    def add(self, text: str) -> None:
        """Add one."""
        if len(self._found) < _MAX_DEVIATIONS:
            self._found[text] = None

    @property
    def found(self) -> tuple[str, ...]:
        """Return them in order."""
        return tuple(self._found)


class Fields:
    """One JSON object, read by the names of RFC 8460.

    Attributes:
        deviations: Where deviations go.
    """

    def __init__(self, data: object, where: str, deviations: Deviations) -> None:
        """Take an object.

        Args:
            data: What stands in the place of the object.
            where: Its name, for messages.
            deviations: Where deviations go.

        Raises:
            MalformedMessage: If it is no object.
        """
        if not isinstance(data, Mapping):
            raise MalformedMessage(f"{where} is no object", rule=RULE)
        self.deviations = deviations
        self._where = where
        self._data: dict[str, object] = {}
        for name, value in data.items():
            plain = str(name).strip().lower().replace("_", "-")
            known = _ALIASES.get(plain, plain)
            if known != name:
                deviations.add(f"{known} is called {clip(str(name), 40)!a}")
            self._data.setdefault(known, value)

    def __contains__(self, name: str) -> bool:
        """Tell whether a field is there and is not null."""
        return self._data.get(name) is not None

    def raw(self, name: str) -> object:
        """Return a field as it is, or None."""
        return self._data.get(name)

    def text(self, name: str, *, expected: bool = False) -> str:
        """Return a field as text, empty if it is not there.

        Args:
            name: The field.
            expected: Whether its absence is a deviation.
        """
        value = self._data.get(name)
        if isinstance(value, str) and value.strip():
            return clip(value.strip())
        if isinstance(value, int | float) and not isinstance(value, bool):
            self.deviations.add(f"{name} is a number")
            return clip(str(value))
        if isinstance(value, list) and len(value) == 1 and isinstance(value[0], str):
            self.deviations.add(f"{name} is a list")
            return clip(value[0].strip())
        if value not in (None, ""):
            self.deviations.add(f"{name} is no text")
        elif expected:
            self.deviations.add(f"{name} is missing")
        return ""

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a field as a list of texts; one text alone is a list of its lines."""
        value = self._data.get(name)
        if isinstance(value, str):
            # RFC 8460 §4.4 has an array for mx-host, and its Appendix B a text.
            self.deviations.add(f"{name} is a text, not a list")
            value = value.splitlines()
        elif not isinstance(value, list):
            if value is not None:
                self.deviations.add(f"{name} is no list")
            return ()
        found = [clip(each.strip()) for each in value if isinstance(each, str) and each.strip()]
        return tuple(found[:MAX_LIST])

    def objects(self, name: str, limit: int) -> list[object]:
        """Return a field as a list of objects; one object alone is a list of it.

        Raises:
            MalformedMessage: If there are more than `limit`, or it is neither list nor object.
        """
        value = self._data.get(name)
        if value is None:
            return []
        if isinstance(value, Mapping):
            self.deviations.add(f"{name} is an object, not a list")
            return [value]
        if not isinstance(value, list):
            raise MalformedMessage(f"{name} is no list", rule=RULE)
        if len(value) > limit:
            raise MalformedMessage(f"{name} has {len(value)} items; {limit} are taken", rule=RULE)
        return value

    def count(self, name: str) -> int | None:
        """Return a number of sessions, or None if the field is not there.

        Raises:
            MalformedMessage: If it is no count, or one that cannot be.
        """
        value = self._data.get(name)
        if value is None or value == "":
            return None
        if isinstance(value, str) and _DIGITS.fullmatch(value.strip()):
            self.deviations.add(f"{name} is a text")
            value = int(value)
        if isinstance(value, float) and value.is_integer():
            self.deviations.add(f"{name} is written with a point")
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_COUNT:
            raise MalformedMessage(f"{self._where}: {name} is no count", rule=RULE)
        return value

    def time(self, name: str) -> float | None:
        """Return a time in Unix seconds, or None if the field is missing or tells none."""
        value = self._data.get(name)
        if isinstance(value, str):
            found, exact = parse_time(value)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found, exact = _seconds(value), False
        else:
            found, exact = None, True
        if found is None:
            self.deviations.add(f"{name} is {'missing' if value in (None, '') else 'no time'}")
        elif not exact:
            self.deviations.add(f"{name} is not as in RFC 3339")
        return found

    def domain(self, name: str) -> str:
        """Return a field as an A-label domain, empty if it is none."""
        text = self.text(name)
        if not text:
            return ""
        try:
            return normalise_domain(text)
        except MalformedMessage:
            self.deviations.add(f"{name} is no domain")
            return ""


def parse_time(text: str) -> tuple[float | None, bool]:
    """Return a time, and whether it is written as RFC 3339 wants it, with its zone.

    A time without zone is taken for UTC, since RFC 8460 §4.1 wants days of UTC.
    """
    plain = text.strip()
    if _DIGITS.fullmatch(plain):
        return _seconds(int(plain)), False
    try:
        found = dt.datetime.fromisoformat(plain.replace(" UTC", "Z").replace(" Z", "Z"))
        exact = found.tzinfo is not None and "T" in plain.upper()
        aware = found if found.tzinfo is not None else found.replace(tzinfo=dt.UTC)
        return _seconds(aware.timestamp()), exact
    except (ValueError, OverflowError):
        return None, True


def _seconds(value: float) -> float | None:
    return float(value) if _EARLIEST <= value <= _LATEST else None


def clip(text: str, limit: int = MAX_TEXT) -> str:
    """Return text cut to a length, without the lone surrogates that JSON can hold."""
    return text[:limit].encode("utf-8", "replace").decode("utf-8")
