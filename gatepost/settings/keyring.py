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

from gatepost.feedback.token import MAX_KEY_ID, MIN_KEY_OCTETS, Keyring
from gatepost.settings.keys import KeyFile
from gatepost.settings.problems import Place, Report

_HEADER = """\
# The keys that sign tokens. Whoever has one can forge return paths: keep this file secret.
# Several hosts that send for the same tenants need the same keys.
#
# A new key: gatepost init --rotate-key, then gatepost reload. Old keys go on to verify
# until the day that is given; their lines may be removed after it.
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


def rotated(section: KeyFile, last_day: dt.date) -> str | None:
    """Return the text of a key file with a further key that signs from now on.

    Args:
        section: The file as it is.
        last_day: Until when the keys of today are accepted, where they have no earlier end.

    Returns:
        The text, or None if every number is taken.
    """
    keys: dict[int, tuple[bytes, str | None]] = {
        int(name): (each.secret or b"", each.until or last_day.isoformat())
        for name, each in section.keys.items()
    }
    free = [number for number in range(1, MAX_KEY_ID + 1) if number not in keys]
    if not free:
        return None
    keys[free[0]] = (secrets.token_bytes(MIN_KEY_OCTETS), None)
    return format_key_file(keys, free[0])


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
