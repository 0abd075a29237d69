"""What doctor has to say: what is so, why it matters, and the command that mends it.

Errors: none.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How bad it is.

    A problem holds up, loses or misdirects mail, or makes Gatepost not do what it was told. A
    warning is something that an operator may have meant so, and should know. A note is about
    something that is in order and could do more.
    """

    PROBLEM = "problem"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found.

    Attributes:
        severity: How bad it is.
        what: What is so, one sentence.
        why: Why it matters, one or two sentences.
        mend: Commands or edits that mend it, in order.
    """

    severity: Severity
    what: str
    why: str
    mend: tuple[str, ...] = ()


def problem(what: str, why: str, *mend: str) -> Finding:
    """Return a finding that counts for the exit status."""
    return Finding(Severity.PROBLEM, what, why, mend)


def warning(what: str, why: str, *mend: str) -> Finding:
    """Return a finding that does not."""
    return Finding(Severity.WARNING, what, why, mend)


def note(what: str, why: str, *mend: str) -> Finding:
    """Return a finding about what could be used and is not."""
    return Finding(Severity.NOTE, what, why, mend)
