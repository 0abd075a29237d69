"""One right-hand side of a TLS policy table as a requirement, and what of it no requirement says.

Source: Postfix src/smtp/smtp_tls_policy.c (words are separated by commas or blanks, names and
levels in any case), postconf(5) smtp_tls_policy_maps, smtp_tls_verify_cert_match,
smtp_tls_secure_cert_match; TLS_README, "Client TLS security levels".
Errors: none; what cannot be said is told in words, each time with what to do instead.
Security: a policy is never read as one that asks for less. Where no rule asks for as much, there is
no requirement, and the entry has to stay where it is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from gatepost.domains import normalise_domain
from gatepost.errors import MalformedMessage
from gatepost.tls.levels import Level, Requirement, TlsVersion

STAYS = "leave the entry in smtp_tls_policy_maps, which Postfix asks where Gatepost has no answer"

_WORDS = re.compile(r"\{[^{}]*\}|[^\s,{}]+")
_VERSIONS = {version.keyword.lower(): version for version in TlsVersion}
# Oldest first. SSLv2 and SSLv3 are off in every OpenSSL that Postfix 3.7 is built with.
_ORDER = ["sslv2", "sslv3", *_VERSIONS]
_LEVELS = {
    "none": Level.NONE,
    "may": Level.MAY,
    "encrypt": Level.ENCRYPT,
    "verify": Level.VERIFY,
    "secure": Level.VERIFY,
}
_BEYOND = {
    "dane": "DANE by destination is no rule: with tls.dane: yes, TLSA records join the answer for "
    "every destination that has them",
    "dane-only": "no rule asks for TLSA records alone: with tls.dane: yes and level verify, they "
    "are used where they are, and a trusted certificate is asked for where not",
    "fingerprint": "no rule pins certificates: deliver there by a service of your own, with an "
    "entry in transport_maps",
}
_SET_INSTEAD = {
    "ciphers": "set smtp_tls_mandatory_ciphers in main.cf, for all destinations",
    "exclude": "set smtp_tls_mandatory_exclude_ciphers in main.cf, for all destinations",
    "connection_reuse": "set smtp_tls_connection_reuse in main.cf, for all destinations",
    "enable_rpk": "set smtp_tls_enable_rpk in main.cf, for all destinations",
}
_MTA_STS = frozenset(
    {
        *("policy_type", "policy_domain", "policy_string", "policy_ttl", "policy_failure"),
        "mx_host_pattern",
    }
)


@dataclass(frozen=True, slots=True)
class Policy:
    """What a right-hand side asks for.

    Attributes:
        requirement: As far as a rule can say it, or None where no rule asks for as much.
        losses: What no rule says, and what to do; a sentence each, without a full stop.
    """

    requirement: Requirement | None
    losses: tuple[str, ...] = ()


def read_policy(value: str, key: str) -> Policy:
    """Return what a right-hand side asks of a destination.

    Args:
        value: The right-hand side.
        key: The rule's domain, A-label; with a leading dot for sub-domains.
    """
    words = _WORDS.findall(value)
    if not words:
        return _none("it has no policy, so Postfix defers all mail there: remove it")
    level = words[0].lower()
    if level in _BEYOND:
        return _none(f"{_BEYOND[level]}; or {STAYS}")
    if level not in _LEVELS:
        return _none(f"{words[0]!a} is no level, so Postfix defers all mail there: correct it")
    if level == "none":
        dropped = ("Postfix ignores attributes at level none",) if words[1:] else ()
        return Policy(Requirement(Level.NONE), dropped)
    reader = _Reader(level, key)
    for word in words[1:]:
        reader.word(word)
    return reader.policy()


def _none(why: str) -> Policy:
    return Policy(None, (why,))


class _Reader:
    """Reads the attributes of one policy."""

    def __init__(self, level: str, key: str) -> None:
        self._word = level
        self._level = _LEVELS[level]
        self._key = key
        self._min_version: TlsVersion | None = None
        self._match: list[str] = []
        self._losses: list[str] = []
        self._fatal = ""

    def word(self, word: str) -> None:
        """Take one attribute."""
        name, equals, value = word.strip("{} \t").partition("=")
        name, value = name.strip().lower(), value.strip()
        if not equals:
            self._fatal = f"{word!a} is no attribute, so Postfix defers all mail there: correct it"
        elif name == "protocols":
            self._protocols(value)
        elif name == "match":
            self._names(value)
        elif name == "servername":
            self._servername(value)
        elif name == "tafile":
            self._fatal = (
                f"tafile={value}: no rule has a trust anchor of its own; add it to smtp_tls_CAfile "
                f"and import again without it, or {STAYS}"
            )
        elif name in _SET_INSTEAD:
            self._losses.append(f"{word}: {_SET_INSTEAD[name]}")
        elif name in _MTA_STS:
            self._losses.append(f"{word}: tls.mta_sts: yes has Gatepost look up the policy itself")
        else:
            self._fatal = f"{name!a} is no attribute, so Postfix defers all mail there: correct it"

    def policy(self) -> Policy:
        """Return what was read."""
        match = self._certificate_names()
        if self._fatal:
            return _none(self._fatal)
        losses = tuple(dict.fromkeys(self._losses))
        return Policy(Requirement(self._level, self._min_version, match), losses)

    def _protocols(self, value: str) -> None:
        found = lowest_version(value)
        if found is None:
            self._losses.append(
                f"protocols={value}: a rule has only a lowest version, min_version; set "
                "smtp_tls_mandatory_protocols in main.cf, for all destinations"
            )
            return
        lowest, exact = found
        if self._level < Level.ENCRYPT:
            self._losses.append(
                f"protocols={value}: at level may a lowest version would send in plaintext where "
                "only older ones are offered; set smtp_tls_protocols in main.cf if you want that"
            )
            return
        self._min_version = lowest
        if not exact:
            self._losses.append(
                f"protocols={value}: a rule has only a lowest version, and newer ones than listed "
                "are accepted"
            )

    def _names(self, value: str) -> None:
        if self._level is not Level.VERIFY:
            self._fatal = (
                f"match at level {self._word} is an error, so Postfix defers all mail there: "
                "correct it"
            )
        self._match += [name for name in value.split(":") if name]

    def _servername(self, value: str) -> None:
        # Gatepost's own answers at level verify have it.
        if value.lower() != "hostname" or self._level is not Level.VERIFY:
            self._losses.append(
                f"servername={value}: rules send the name of the MX host at level verify, and what "
                "smtp_tls_servername says below it"
            )

    def _certificate_names(self) -> frozenset[str] | None:
        if self._level is not Level.VERIFY:
            return None
        names = self._match
        if not names:
            names = ["hostname"] if self._word == "verify" else ["nexthop", "dot-nexthop"]
        if [name.lower() for name in names] == ["hostname"]:
            return None
        found: set[str] = set()
        for name in names:
            word = name.lower()
            if word == "hostname":
                self._losses.append(
                    "match has hostname beside names: a rule has either; only the names are taken"
                )
            elif word in {"nexthop", "dot-nexthop"}:
                found |= self._next_hop(dotted=word == "dot-nexthop")
            else:
                found |= self._name(name)
        return frozenset(found)

    def _next_hop(self, *, dotted: bool) -> set[str]:
        if self._key.startswith("."):
            # Next-hops below it differ, and all of their names are below it.
            self._losses.append(
                f"a certificate for any name below {self._key[1:]} is accepted, where Postfix asks "
                "for the next-hop or a name below it"
            )
            return {self._key}
        return {f".{self._key}" if dotted else self._key}

    def _name(self, name: str) -> set[str]:
        dot = "." if name.startswith(".") else ""
        try:
            return {dot + normalise_domain(name.removeprefix("."))}
        except MalformedMessage:
            self._fatal = f"match={name!a} is no host name: correct it"
            return set()


def lowest_version(value: str) -> tuple[TlsVersion, bool] | None:
    """Return the lowest version that a list of protocols allows, and whether that says it all.

    Args:
        value: Such as ``>=TLSv1.2``, ``!SSLv2:!SSLv3`` or ``TLSv1.2:TLSv1.3``.

    Returns:
        None where the list has no lowest version, or a word that is none.
    """
    words = [word for word in value.lower().split(":") if word]
    ranges = [word[2:] for word in words if word.startswith(">=")]
    upper = [word for word in words if word.startswith("<=")]
    off = {word[1:] for word in words if word.startswith("!")}
    on = {word for word in words if word[0] not in "!<>"}
    named = {*ranges, *off, *on}
    if not named or not named <= set(_ORDER) or len(ranges) > 1:
        return None
    allowed = [word for word in _ORDER if word not in off and (not on or word in on)]
    if ranges:
        allowed = [word for word in allowed if _ORDER.index(word) >= _ORDER.index(ranges[0])]
    # An SSL version that is not switched off is not there either.
    allowed = [word for word in allowed if word in _VERSIONS]
    if not allowed:
        return None
    exact = allowed == list(_VERSIONS)[list(_VERSIONS).index(allowed[0]) :] and not upper
    return _VERSIONS[allowed[0]], exact
