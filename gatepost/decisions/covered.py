"""Edits of header fields that leave alone whatever a DKIM signature covers.

Purpose: a tenant may sign its mail before it hands it in. A header of ours is worth less than that
signature, on which DMARC may rest: the field is then left as it came, and the tenant is told.
Source: `feedback.signed`; RFC 9477 §2.1.4 (a signature made earlier that covers CFBL fields).
Errors: none.
Security: signatures are believed without being verified, so a tenant can keep our headers off its
mail by claiming one. It is told as often as it is done; the return path, which no signature covers,
stays ours. What speaks in our name and is not true goes all the same: its sender wrote it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from gatepost.decisions.actions import Action, Notice
from gatepost.decisions.facts import Header
from gatepost.decisions.headers import drop_header, drop_occurrences, set_header, values_of
from gatepost.feedback.signed import DKIM_SIGNATURE, covered_fields

SIGNED = "signed-header"


class Fields:
    """The header fields of a message, and the edits that one feature wants to make to them.

    Attributes:
        headers: The fields.
        covered: Name in lower case to the domain whose signature covers it.
        edits: The edits so far.
        notices: What the tenant should be told of those that were not made.
    """

    __slots__ = ("covered", "edits", "headers", "notices")

    def __init__(self, headers: Sequence[Header], covered: Mapping[str, str] | None = None) -> None:
        """Begin without edits.

        Args:
            headers: The fields.
            covered: What signatures cover, or None to look.
        """
        self.headers = headers
        self.covered = covered_fields(self.values(DKIM_SIGNATURE)) if covered is None else covered
        self.edits: list[Action] = []
        self.notices: list[Notice] = []

    def values(self, name: str) -> list[str]:
        """Return the values of all fields of a name, in message order."""
        return values_of(self.headers, name)

    def set(self, name: str, value: str, lies: Callable[[str], bool] | None = None) -> None:
        """Have a field stand once with a value.

        Args:
            name: Field name as written.
            value: Its value.
            lies: Tells of a value that is not this one whether it speaks in our name.
        """
        edits = set_header(self.headers, name, value)
        if edits and self.covered and (domain := self.covered.get(name.lower())) is not None:
            if lies is None or not any(map(lies, self.values(name))):
                self.leave(name, domain)
                return
            self.notices.append(Notice(SIGNED, name, _replaced(name, domain)))
        self.edits += edits

    def set_both(
        self,
        one: tuple[str, str],
        other: tuple[str, str],
        lies: Callable[[str], bool] = lambda _: False,
    ) -> None:
        """Have two fields that belong together stand once each, or leave both as they are.

        Args:
            one: Name as written, and value, of one.
            other: Likewise.
            lies: Tells of a value of the other that is not this one whether it speaks in our name.
        """
        edits = []
        lie = any(map(lies, self.values(other[0])))
        for name, value in (one, other):
            needed = set_header(self.headers, name, value)
            if needed and self.covered and (domain := self.covered.get(name.lower())) is not None:
                if not lie:
                    self.leave(name, domain)
                    return
                self.notices.append(Notice(SIGNED, name, _replaced(name, domain)))
            edits += needed
        self.edits += edits

    def drop(self, name: str, numbers: Sequence[int] | None = None) -> None:
        """Delete a field, or some of its occurrences (1-based)."""
        edits = (
            drop_header(self.headers, name) if numbers is None else drop_occurrences(name, numbers)
        )
        domain = self.covered.get(name.lower()) if edits else None
        if domain is None:
            self.edits += edits
        else:
            self.leave(name, domain)

    def leave(self, name: str, domain: str) -> None:
        """Note that a field stays as it is for the sake of a domain's signature."""
        self.notices.append(Notice(SIGNED, name, _left(name, domain, self.values(name))))


def _left(name: str, domain: str, present: Sequence[str]) -> str:
    if present:
        return f"{name} was left as it came, since {_signature(domain)} covers it"
    return f"{name} was not added, since {_signature(domain)} covers its absence"


def _replaced(name: str, domain: str) -> str:
    return (
        f"{name} was replaced, although {_signature(domain)} covers it and now fails: "
        "it spoke in the name of this platform, and was not true"
    )


def _signature(domain: str) -> str:
    return f"the DKIM signature of {domain or 'no readable domain'}"
