"""Which addresses are no longer written to: how they are compared, why, and for how long.

Purpose: whoever complained, unsubscribed or does not exist must not be written to again, under no
other spelling of the address either; and nobody else may be left out with them.
Source: RFC 5321 §2.3.11, §4.1.2 and §4.1.3 (mailbox, quoted local part, address literal), RFC 6531
and RFC 6532 §3.1 (internationalised addresses, NFC), RFC 5890 (A-labels), RFC 5233 (sub-addresses).
Format: two spellings are one address if these forms are equal.

==================  ===========================================================================
local part          quoted words without their quotes, NFC, letters without regard to case;
                    dots count, whatever some provider makes of them
domain              lower-case A-labels without a final dot
address literal     the address as RFC 5952 writes it: ``[192.0.2.1]``, ``[ipv6:2001:db8::1]``
sub-address         what follows the first ``+`` of a local part; compared, or left out, as the
                    setting ``suppression.sub_addresses`` says at the moment of the question
==================  ===========================================================================

Limits: 320 octets of an address: 64 of a local part, 255 of a domain, and the "@" between them.
Errors: `canonical_address` raises `MalformedMessage`; an address that is none cannot be suppressed.
Security: an address is known in the store by a keyed hash of tenant and address. Its 96 bits make
it improbable (1 in 10^21) that an address is taken for one of 10 million others.
Not handled: what providers treat as one mailbox beside ``+``, such as dots at Gmail.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
import unicodedata
from dataclasses import dataclass
from enum import StrEnum

from gatepost.domains import normalise_domain
from gatepost.errors import MalformedMessage
from gatepost.feedback.rules import SuppressionRules

# The tenant of the list that holds for everybody.
GLOBAL = ""

MAX_ADDRESS_OCTETS = 320
KEY_OCTETS = 12
SUB_KEY_OCTETS = 8
MAX_SOURCE = 100
MAX_NOTE = 200

_RULE = "RFC 5321 §4.1.2"
# Most addresses have this form, in which only the case of letters can differ.
_PLAIN = re.compile(r"[A-Za-z0-9!#$%&'*/=?^_`{|}~.-]{1,64}")
_QUOTED_PAIR = re.compile(r"\\(.)", re.DOTALL)
_QUOTED_WORD = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_NEEDS_QUOTES = re.compile(r'[\s"(),:;<>@\[\\\]]')
_ESCAPED = re.compile(r'["\\]')
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class Reason(StrEnum):
    """Why an address is suppressed; the first of several that hold is the one that is shown."""

    COMPLAINT = "complaint"
    UNSUBSCRIBE = "unsubscribe"
    INVALID = "invalid"
    MANUAL = "manual"
    HARD_BOUNCE = "hard-bounce"
    SOFT_BOUNCES = "soft-bounces"

    @property
    def lifted_by_delivery(self) -> bool:
        """Tell whether a later delivery to the address shows that it no longer holds."""
        return self in {Reason.HARD_BOUNCE, Reason.SOFT_BOUNCES}

    @property
    def may_expire(self) -> bool:
        """Tell whether it may end by itself: what a person asked for, or what is so, may not."""
        return self.lifted_by_delivery or self is Reason.MANUAL

    @property
    def words(self) -> str:
        """Return the reason as it is told to who sends, and to nobody who may not know."""
        return _WORDS[self]


_WORDS = {
    Reason.COMPLAINT: "complaint",
    Reason.UNSUBSCRIBE: "unsubscribed",
    Reason.INVALID: "no such address",
    Reason.MANUAL: "entered by hand",
    Reason.HARD_BOUNCE: "hard bounce",
    Reason.SOFT_BOUNCES: "repeated soft bounces",
}
STRONGEST_FIRST = tuple(Reason)


@dataclass(frozen=True, slots=True)
class CanonicalAddress:
    """An address in the form in which addresses are compared.

    Attributes:
        local: Local part, with the sub-address.
        base: Local part without it; the same text where there is none.
        domain: Domain or address literal.
    """

    local: str
    base: str
    domain: str

    def __str__(self) -> str:
        """Return the address as it is written, quoted where it has to be."""
        if not _NEEDS_QUOTES.search(self.local):
            return f"{self.local}@{self.domain}"
        quoted = _ESCAPED.sub(r"\\\g<0>", self.local)
        return f'"{quoted}"@{self.domain}'


@dataclass(frozen=True, slots=True)
class AddressKey:
    """What the store knows an address by.

    Attributes:
        base: Keyed hash of tenant and address without its sub-address, `KEY_OCTETS`.
        sub: Keyed hash of tenant and whole address, `SUB_KEY_OCTETS`; empty without sub-address.
    """

    base: bytes
    sub: bytes


@dataclass(frozen=True, slots=True)
class Suppressed:
    """One reason why one address is suppressed.

    Attributes:
        tenant: Tenant id, or `GLOBAL`.
        address: The address; empty where the store keeps only a hash.
        reason: Why.
        at: Unix time in seconds since when; for bounces, that of the last one.
        expires: Unix time until when, or None for good.
        source: Where it comes from, such as an event id or a file, at most `MAX_SOURCE`.
        note: What the operator wrote, at most `MAX_NOTE`. It is not told to who sends.
    """

    tenant: str
    address: str
    reason: Reason
    at: float
    expires: float | None = None
    source: str = ""
    note: str = ""

    def holds(self, now: float) -> bool:
        """Tell whether it is in force at a Unix time."""
        return self.expires is None or self.expires > now


def expiry_of(reason: Reason, at: float, rules: SuppressionRules) -> float | None:
    """Return until when a reason holds if nobody says otherwise, or None for good.

    Args:
        reason: Why.
        at: Unix time of the complaint, bounce or entry.
        rules: How long bounces hold.
    """
    match reason:
        case Reason.HARD_BOUNCE:
            return at + rules.hard_bounce_s
        case Reason.SOFT_BOUNCES:
            return at + rules.soft_window_s
        case _:
            return None


def merged(old: Suppressed, new: Suppressed) -> Suppressed:
    """Return what two entries of one address and one reason become.

    Nothing is shortened: what holds for good goes on, and of two ends the later one counts. So the
    order in which they come does not matter.

    Args:
        old: The entry that is there.
        new: The one that comes.
    """
    last = max if old.reason.lifted_by_delivery else min
    at = new.at if not old.holds(new.at) else last(old.at, new.at)
    endless = old.expires is None or new.expires is None
    return Suppressed(
        old.tenant,
        old.address or new.address,
        old.reason,
        at,
        None if endless else max(old.expires or 0.0, new.expires or 0.0),
        old.source or new.source,
        new.note or old.note,
    )


def canonical_address(address: str) -> CanonicalAddress:
    """Return an address as it is compared.

    Args:
        address: As in an envelope, quoted as on the wire or not as in Postfix's attributes,
            without angle brackets.

    Raises:
        MalformedMessage: If it is no address with a domain.
    """
    local, at, domain = address[: 4 * MAX_ADDRESS_OCTETS].rpartition("@")
    if not at or not local or len(address) > MAX_ADDRESS_OCTETS:
        raise MalformedMessage(f"{address[:60]!a} is not an address", rule=_RULE)
    domain = _literal(domain) if domain.startswith("[") else normalise_domain(domain)
    if _PLAIN.fullmatch(local):
        local = local.lower()
        return CanonicalAddress(local, local, domain)
    local = _fold_case(_unquoted(local))
    if not local or _CONTROL.search(local) or local.startswith("<"):
        raise MalformedMessage(f"{address[:60]!a} is not an address", rule=_RULE)
    try:
        octets = len(local.encode()) + 1 + len(domain)
    except UnicodeEncodeError as error:
        # RFC 6531 §3.3: beyond ASCII, a local part is UTF-8.
        raise MalformedMessage(f"{address[:60]!a} is not UTF-8", rule="RFC 6531 §3.3") from error
    if octets > MAX_ADDRESS_OCTETS:
        raise MalformedMessage(f"{address[:60]!a} is not an address", rule="RFC 5321 §4.5.3.1")
    base, plus, _ = local.partition("+")
    return CanonicalAddress(local, base if plus and base else local, domain)


def key_of(address: CanonicalAddress, tenant: str, secret: bytes) -> AddressKey:
    """Return what the store knows an address of a tenant by.

    Args:
        address: The address.
        tenant: Tenant id or `GLOBAL`. It is part of the hash, so that the lists of two tenants
            do not show which addresses are on both.
        secret: The key of the hash, 16 to 64 octets.
    """
    head = f"{tenant}\0".encode()
    base = _hash(head + f"{address.base}@{address.domain}".encode(), secret, KEY_OCTETS)
    if address.base == address.local:
        return AddressKey(base, b"")
    whole = f"{address.local}@{address.domain}"
    return AddressKey(base, _hash(head + whole.encode(), secret, SUB_KEY_OCTETS))


def _hash(data: bytes, secret: bytes, size: int) -> bytes:
    return hashlib.blake2b(data, digest_size=size, key=secret).digest()


def _unquoted(local: str) -> str:
    # RFC 5321 §4.1.2: a quoted and an unquoted local part of equal content are one mailbox.
    if '"' not in local:
        return local
    return _QUOTED_WORD.sub(lambda found: _QUOTED_PAIR.sub(r"\1", found[1]), local)


def _fold_case(text: str) -> str:
    if text.isascii():
        return text.lower()
    plain = unicodedata.normalize("NFC", text)
    return unicodedata.normalize("NFC", "".join(map(_fold_letter, plain)))


def _fold_letter(letter: str) -> str:
    # One letter for one letter: the full folding would make "straße" and "strasse" one mailbox.
    for folded in (letter.casefold(), letter.lower()):
        if len(folded) == 1:
            return folded
    return letter


def _literal(text: str) -> str:
    inside = text[1:-1].lower()
    is_v6 = inside.startswith("ipv6:")
    try:
        address = ipaddress.ip_address(inside.removeprefix("ipv6:"))
    except ValueError as error:
        raise MalformedMessage(f"{text[:60]!a} is not an address literal", rule=_RULE) from error
    if not text.endswith("]") or (address.version == 6) is not is_v6:
        raise MalformedMessage(f"{text[:60]!a} is not an address literal", rule="RFC 5321 §4.1.3")
    return f"[{'ipv6:' if is_v6 else ''}{address.compressed}]"
