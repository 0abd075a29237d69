"""Domain names in one form, so that two spellings of a name are never two tenants.

Purpose: configuration, envelope addresses and next-hops name domains in any case and in either
IDNA form; every index and every comparison uses lower-case A-labels without a final dot.
Source: RFC 5890 §2.3.2.1 (A-label), RFC 5321 §2.3.11 (mailbox), RFC 1035 §2.3.4 (sizes).
Limits: 253 octets a name, 63 a label, as in RFC 1035; of a name as written, 1,012 characters are
looked at, four for each octet, so that hostile text costs no time and no room in the cache.
Errors: `normalise_domain` raises `MalformedMessage`; `domain_of` never raises.
Not handled: address literals (``[192.0.2.1]``) are no domains; `domain_of` returns them as None.
"""

from __future__ import annotations

import re
from functools import lru_cache

import idna

from gatepost.errors import MalformedMessage

MAX_DOMAIN_OCTETS = 253
MAX_WRITTEN_CHARACTERS = 4 * MAX_DOMAIN_OCTETS

# Underscores occur in real host names and sender domains, so they are let through; everything
# else that is not a letter, digit or inner hyphen is refused, which also keeps separators of
# Postfix's policy syntax (":", "|", "=", space) out of any name that we emit.
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")


@lru_cache(maxsize=65536)
def normalise_domain(name: str) -> str:
    """Return `name` as lower-case A-labels without a final dot.

    Raises:
        MalformedMessage: If `name` is no domain name.
    """
    if len(name) > MAX_WRITTEN_CHARACTERS:
        raise MalformedMessage(f"{name[:60]!a}… is not a domain name", rule="RFC 1035 §2.3.4")
    plain = name.lower()
    if not plain.isascii():
        try:
            plain = idna.encode(plain, uts46=True).decode("ascii")
        except (idna.IDNAError, UnicodeError) as error:
            raise MalformedMessage(
                f"{name!a} is not a domain name", rule="RFC 5890 §2.3.2"
            ) from error
    # One final dot is the root; two are a name with an empty label.
    plain = plain.removesuffix(".")
    if not plain or len(plain) > MAX_DOMAIN_OCTETS:
        raise MalformedMessage(f"{name!a} is not a domain name", rule="RFC 1035 §2.3.4")
    if not all(_LABEL.fullmatch(label) for label in plain.split(".")):
        raise MalformedMessage(f"{name!a} is not a domain name", rule="RFC 1035 §2.3.1")
    return plain


def domain_of(address: str) -> str | None:
    """Return the normalised domain of an envelope address, or None if it has none.

    The null sender, a bare local part, an address literal and a name that breaks RFC 1035 all
    give None: whoever asks then has no domain to decide by, and never a guessed one.
    """
    _, at, domain = address.rpartition("@")
    if not at:
        return None
    try:
        return normalise_domain(domain)
    except MalformedMessage:
        return None


def parents(domain: str) -> list[str]:
    """Return the leading-dot forms of a domain's parents, nearest first.

    ``a.b.example`` gives ``.b.example`` and ``.example``: the keys under which a rule that covers
    sub-domains may stand. A name is not its own sub-domain.
    """
    labels = domain.split(".")
    return ["." + ".".join(labels[index:]) for index in range(1, len(labels))]
