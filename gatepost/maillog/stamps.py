"""Time stamps of log lines as Unix time.

Purpose: the traditional stamp of syslog has no year and no zone; that of RFC 5424 has both.
Source: RFC 3164 §4.1.2 (``Nov 24 15:00:00``), RFC 5424 §6.2.3 and RFC 3339 (rsyslog's own file
format, Debian 12's default).
Format: a stamp without a zone is in the zone of this host, or in the one that is given.
Limits: a traditional stamp more than a day ahead of the reference belongs to the year before.
Errors: None for what is no time.
"""

from __future__ import annotations

import datetime as dt

_MONTHS = {
    name: number
    for number, name in enumerate(
        ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"), 1
    )
}
_A_DAY_S = 86400.0
_MAX_CACHED = 2000
# The 29th of February comes every four years, and once in eight around 1900 and 2100.
_YEARS_BACK = 8


class Clock:
    """Turns stamps into Unix time; remembers the hours that it has seen, as a log has few."""

    def __init__(self, reference: float, zone: dt.tzinfo | None = None) -> None:
        """Set the time by which a missing year is found.

        Args:
            reference: Unix time in seconds at which the log's last line can have been written.
            zone: Zone of stamps that have none; None for that of this host.
        """
        self._reference = reference
        self._zone = zone
        self._hours: dict[str, float | None] = {}

    def move(self, reference: float) -> None:
        """Set another reference: a log that is followed goes on into the next year."""
        if reference - self._reference > _A_DAY_S / 2 or reference < self._reference:
            self._hours.clear()
            self._reference = reference

    def traditional(self, stamp: str) -> float | None:
        """Return the Unix time of a stamp such as ``Nov  4 15:00:00``, or None."""
        hour = stamp[:9]
        start = self._hours.get(hour, -1.0)
        if start == -1.0:
            if len(self._hours) >= _MAX_CACHED:
                self._hours.clear()
            start = self._hours[hour] = self._hour(hour)
        try:
            minute, second = int(stamp[10:12]), int(stamp[13:15])
        except ValueError:
            return None
        if start is None or minute > 59 or second > 60:
            return None
        return start + minute * 60 + second

    def iso(self, stamp: str) -> float | None:
        """Return the Unix time of a stamp such as ``2026-11-24T15:00:00.123456+00:00``, or None."""
        try:
            moment = dt.datetime.fromisoformat(stamp)
            if moment.tzinfo is None:
                moment = moment.replace(tzinfo=self._zone)
            return moment.timestamp()
        except (ValueError, OverflowError, OSError):
            return None

    def _hour(self, text: str) -> float | None:
        """Return the Unix time at which an hour such as ``Nov  4 15`` began."""
        try:
            month, day, hour = _MONTHS[text[:3]], int(text[4:6]), int(text[7:9])
            latest = dt.datetime.fromtimestamp(self._reference + _A_DAY_S, tz=dt.UTC).year
        except (KeyError, ValueError, OverflowError, OSError):
            return None
        for year in range(latest, latest - _YEARS_BACK - 1, -1):
            try:
                start = dt.datetime(year, month, day, hour, tzinfo=self._zone).timestamp()
            except (ValueError, OverflowError, OSError):
                continue
            if start <= self._reference + _A_DAY_S:
                return start
        return None
