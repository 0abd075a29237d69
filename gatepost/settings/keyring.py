"""The key file: from its settings to a keyring, and a new one or a further key.

Format: YAML, see `keys.KeyFile`: which key signs, and every key by its number.
Limits: 32 keys, by the five bits that a token has for the number; secrets of at least 32 octets,
the output of the hash.
Errors: problems of a file go to the report.
Security: no message and no log line holds a secret or a part of one.
"""

from __future__ import annotations

import datetime as dt
import secrets
from collections.abc import Mapping

from gatepost.feedback.token import MAX_AGE_DAYS, MAX_KEY_ID, MIN_KEY_OCTETS, Keyring
from gatepost.settings.keys import KeyFile
from gatepost.settings.problems import Place, Report

_HEADER = """\
# The keys that sign tokens. Whoever has one can forge them: keep this file secret.
# Several hosts that send for the same tenants need the same keys.
#
# A new key: gatepost keys rotate, then gatepost reload. An old key goes on to verify
# until the day that is given; its line may be removed after it.
"""


def build_keyring(section: KeyFile, file: str, today: dt.date, report: Report) -> Keyring:
    """Return the keys that are in force on a day."""
    keys: dict[int, bytes] = {}
    for name, each in section.keys.items():
        place = Place(file, ("keys", name))
        if each.until is None or dt.date.fromisoformat(each.until) >= today:
            keys[int(name)] = each.secret or b""
        elif section.current != int(name):
            report.warn(place, f"is no longer accepted since {each.until}", "remove it")
    current = section.current
    ending = section.keys.get(str(current))
    if ending is not None and ending.until is not None and current in keys:
        report.warn(
            Place(file, ("current",)),
            f"key {current} signs and yet ends on {ending.until}",
            "remove its until, or run gatepost keys rotate",
        )
    if current is not None and current not in keys:
        day = section.keys[str(current)].until if str(current) in section.keys else None
        problem = f"ended on {day}" if day else "is not among the keys"
        report.error(
            Place(file, ("current",)), f"key {current} {problem}", "name the key that signs"
        )
    return Keyring(keys, current or 0)


def new_key_file() -> str:
    """Return the text of a key file with one new key."""
    return format_key_file({1: (secrets.token_bytes(MIN_KEY_OCTETS), None)}, 1)


def rotated(section: KeyFile, today: dt.date) -> tuple[str, int] | None:
    """Return the text of a key file with a further key that signs, and the number of that key.

    Keys that have ended are left out; the others go on to verify until the last token that they
    may have signed has expired.

    Args:
        section: The file as it is.
        today: The day of the change.

    Returns:
        None if every number is taken.
    """
    # One day more, for the time until every host has reloaded.
    last_day = (today + dt.timedelta(days=MAX_AGE_DAYS + 1)).isoformat()
    keys: dict[int, tuple[bytes, str | None]] = {
        int(name): (each.secret or b"", each.until or last_day)
        for name, each in section.keys.items()
        if each.until is None or dt.date.fromisoformat(each.until) >= today
    }
    # The next number and not the lowest: one that has just become free may be in old tokens.
    numbers = (((section.current or 0) + step) % (MAX_KEY_ID + 1) for step in range(MAX_KEY_ID + 1))
    number = next((number for number in numbers if number not in keys), None)
    if number is None:
        return None
    keys[number] = secrets.token_bytes(MIN_KEY_OCTETS), None
    return format_key_file(keys, number), number


def format_key_file(keys: Mapping[int, tuple[bytes, str | None]], current: int) -> str:
    """Return the text of a key file.

    Args:
        keys: Secret and last day by number.
        current: Number of the key that signs.
    """
    lines = [f"{_HEADER}current: {current}", "keys:"]
    for number, (secret, until) in sorted(keys.items()):
        end = f", until: {until}" if until else ""
        lines.append(f"  {number}: {{secret: {secret.hex()}{end}}}")
    return "\n".join(lines) + "\n"
