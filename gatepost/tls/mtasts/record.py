"""The TXT record that announces a policy.

Source: RFC 8461 §3.1: its ABNF, and how a sender chooses among several TXT records.
Errors: none; whatever is not exactly one good record announces nothing, and `Announcement.problem`
says why, if there was anything to say.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

LABEL = "_mta-sts"

_VERSION = re.compile(rb"v=STSv1[ \t]*;")
# sts-text-record, its fields and the field that has to be among them. The blanks of *WSP stand
# around the delimiter only.
_FIELD = re.compile(rb"([A-Za-z0-9][A-Za-z0-9_.-]{0,31})=([\x21-\x3a\x3c\x3e-\x7e]+)")
_ID = re.compile(r"[A-Za-z0-9]{1,32}")


@dataclass(frozen=True, slots=True)
class Announcement:
    """What the TXT records of a domain announce.

    Attributes:
        policy_id: The id of the policy, empty if none is announced.
        problem: Why not, if there are records that look as if they should; else empty.
    """

    policy_id: str = ""
    problem: str = ""


NOTHING = Announcement()


def read_records(texts: Sequence[bytes]) -> Announcement:
    """Return what the TXT records at ``_mta-sts.<domain>`` announce.

    Args:
        texts: Each record with its strings joined.
    """
    candidates = [text for text in texts if _VERSION.match(text)]
    if not candidates:
        return NOTHING
    if len(candidates) > 1:
        return Announcement(problem=f"{len(candidates)} TXT records begin with v=STSv1")
    fields = _fields(candidates[0])
    if fields is None:
        return Announcement(problem="the TXT record does not follow the syntax")
    policy_id = fields.get("id")
    if policy_id is None:
        return Announcement(problem="the TXT record has no id")
    if not _ID.fullmatch(policy_id):
        return Announcement(problem="the id of the TXT record is not 1 to 32 letters and digits")
    return Announcement(policy_id)


def _fields(text: bytes) -> dict[str, str] | None:
    """Return the fields behind the version, the first of each name, or None for bad syntax."""
    parts = [part.strip(b" \t") for part in text.split(b";")[1:]]
    if parts and not parts[-1]:
        parts.pop()
    fields: dict[str, str] = {}
    for part in parts:
        found = _FIELD.fullmatch(part)
        if found is None:
            return None
        fields.setdefault(found[1].decode("ascii"), found[2].decode("ascii"))
    return fields
