"""A policy file: what may be in it, and which mail exchangers it names.

Source: RFC 8461 §3.2 (format), §4.1 (MX matching); RFC 6125 §6.4.3 for the wildcard, one label.
Format: ``key: value`` lines ended by LF or CRLF; unknown keys are ignored, of a key that stands
twice the first counts, except ``mx``.
Limits: 64 KiB, as §3.3 suggests; 1,000 ``mx`` patterns, more than any list of MX hosts; a
``max_age`` above 31,557,600 s (a year) counts as that.
Errors: `parse_policy` raises `MalformedMessage` for what is no valid policy.
Security: each pattern becomes a name in the normal form of `domains`, so that nothing in a policy
file can carry a separator into what Postfix is told.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from gatepost.domains import normalise_domain
from gatepost.errors import MalformedMessage

MAX_OCTETS = 64 * 1024
MAX_PATTERNS = 1_000
MAX_AGE_S = 31_557_600
MEDIA_TYPE = "text/plain"

_RULE = "RFC 8461 §3.2"
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}")
_AGE = re.compile(r"[0-9]{1,10}")


class StsMode(StrEnum):
    """What a policy asks of senders (§5)."""

    ENFORCE = "enforce"
    TESTING = "testing"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class StsPolicy:
    """A valid policy.

    Attributes:
        mode: What to do where a mail exchanger does not fit.
        max_age_s: Seconds for which it holds after it was fetched.
        patterns: Normalised host names; a first label ``*`` stands for exactly one label.
    """

    mode: StsMode
    max_age_s: int
    patterns: tuple[str, ...] = ()

    def names(self, host: str) -> bool:
        """Tell whether the policy names a mail exchanger (§4.1).

        Args:
            host: The name in the MX record, normalised.
        """
        _, dot, parent = host.partition(".")
        return host in self.patterns or (bool(dot) and f"*.{parent}" in self.patterns)


def parse_policy(octets: bytes) -> StsPolicy:
    """Return the policy in a file.

    Raises:
        MalformedMessage: If it is too long or not a valid policy.
    """
    if len(octets) > MAX_OCTETS:
        raise MalformedMessage(f"policy of more than {MAX_OCTETS} octets", rule="RFC 8461 §3.3")
    try:
        text = octets.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedMessage("the policy is not UTF-8", rule=_RULE) from error
    values: dict[str, str] = {}
    patterns: list[str] = []
    for key, value in _lines(text):
        if key == "mx":
            patterns.append(_pattern(value))
        else:
            values.setdefault(key, value)
    if values.get("version") != "STSv1":
        raise MalformedMessage("the policy has no version: STSv1", rule=_RULE)
    mode = _mode(values.get("mode"))
    age = values.get("max_age", "")
    if not _AGE.fullmatch(age):
        raise MalformedMessage("max_age is not 1 to 10 digits", rule=_RULE)
    if mode is not StsMode.NONE and not patterns:
        raise MalformedMessage(f"mode {mode} without mx", rule=_RULE)
    if len(patterns) > MAX_PATTERNS:
        raise MalformedMessage(f"more than {MAX_PATTERNS} mx patterns", rule=_RULE)
    return StsPolicy(mode, min(int(age), MAX_AGE_S), tuple(dict.fromkeys(patterns)))


def format_policy_text(policy: StsPolicy) -> str:
    """Return a policy as a file that parses to the same."""
    lines = ["version: STSv1", f"mode: {policy.mode}"]
    lines += [f"mx: {pattern}" for pattern in policy.patterns]
    return "\n".join([*lines, f"max_age: {policy.max_age_s}", ""])


def _lines(text: str) -> Iterable[tuple[str, str]]:
    lines = text.replace("\r\n", "\n").split("\n")
    while lines and not lines[-1].strip(" \t"):
        lines.pop()
    for line in lines:
        key, colon, value = line.partition(":")
        # sts-policy-field-delim is a colon with blanks behind it, and none before it.
        if not colon or not _KEY.fullmatch(key):
            raise MalformedMessage(f"policy line {line[:60]!a} is not key: value", rule=_RULE)
        yield key, value.strip(" \t")


def _mode(value: str | None) -> StsMode:
    try:
        return StsMode(value or "")
    except ValueError:
        raise MalformedMessage(
            f"mode {(value or '')[:60]!a} is not enforce, testing or none", rule=_RULE
        ) from None


def _pattern(value: str) -> str:
    star, host = ("*.", value[2:]) if value.startswith("*.") else ("", value)
    # Names are A-labels here (§3.2); a U-label would be another name to other senders.
    if not host.isascii():
        raise MalformedMessage(f"mx {value[:60]!a} is not in A-labels", rule=_RULE)
    return star + normalise_domain(host)
