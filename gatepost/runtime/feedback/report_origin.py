"""Where a mail that came back comes from: its DKIM signatures, and the bounces of this host.

Purpose: the first of the two gates of `gatepost.feedback.trust`.
Source: RFC 6376; RFC 5965 §8.2; RFC 9477 §3.1.4; Postfix bounce(8) and smtpd(8), for Received:.
Limits: the first 5 signatures; 4 s for a key and 8 s for all of a mail; a mail of more than 26 MiB,
as much as the spool keeps, counts as unsigned: whoever writes large mail must not be out of reach.
Keys are remembered for as long as DNS says, 60 s at the least and 3,600 s at the most; a domain
that cannot be asked is asked again after 60 s. Once 5 domains have not answered within 60 s, others
have 0.5 s: whoever signs with one dead domain after the other must not hold up the reports of all
others.
Errors: `Unavailable` where DNS has no answer: nobody is called unsigned for that.
Security: a signature with l= is not believed, since anything can be put behind what it covers, and
none that leaves From: out. `signed_part` leaves only header fields that are signed.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable, Iterable
from typing import Final

import dkim

from gatepost.domains import normalise_domain
from gatepost.errors import MalformedMessage, Unavailable
from gatepost.feedback.mime import Part
from gatepost.maillog.provider import provider_of
from gatepost.tls.dns_answer import Outcome
from gatepost.tls.resolver import Resolver

MAX_SIGNATURES = 5
MAX_SIGNED_OCTETS = 26 * 1024 * 1024
KEY_S = 4.0
MAIL_S = 8.0
LEAST_TTL_S = 60
MOST_TTL_S = 3600
MAX_KEYS = 10_000
MAX_SILENT = 5
HURRIED_S = 0.5

# What makes a mail readable at all; none of it can hold a token.
_STRUCTURE: Final = frozenset({b"content-type", b"content-transfer-encoding", b"mime-version"})
_SIGNER = re.compile(r"(?:^|;)\s*d\s*=\s*([^\s;]{1,255})", re.IGNORECASE)
# As cleanup(8) writes it for mail that bounce(8) makes. smtpd(8) writes "from" first, and
# sendmail(1) leaves its mark in the parentheses.
_OWN = re.compile(r"by \S+ \([^(),]+\)\s+id [0-9A-Za-z]+;", re.DOTALL)
_FIELD = re.compile(rb"(?:[!-9;-~]+[ \t]*:[^\n]*\n(?:[ \t][^\n]*\n)*)")

_quiet = logging.getLogger("gatepost.dkim")
_quiet.disabled = True

Clock = Callable[[], float]
# Domain of a signature that verifies, the names that it covers, and what is wrong with another.
Verified = tuple[str, frozenset[bytes], str]


class Keys:
    """Asks DNS for keys of signatures, and remembers them."""

    def __init__(self, resolver: Resolver, clock: Clock = time.monotonic) -> None:
        """Describe it; nothing is asked.

        Args:
            resolver: The resolver.
            clock: Monotonic time in seconds.
        """
        self._resolver = resolver
        self._clock = clock
        self._loop = asyncio.new_event_loop()
        self._keys: dict[str, tuple[float, bytes | None]] = {}
        self._silent: dict[str, float] = {}
        self._deadline = 0.0

    def begin(self) -> None:
        """Begin a mail, for which `MAIL_S` is left."""
        self._deadline = self._clock() + MAIL_S

    def close(self) -> None:
        """Close the loop."""
        self._loop.close()

    def find(self, name: bytes | str, timeout: int = 0) -> bytes | None:  # noqa: ARG002
        """Return the key record at a name, or None if there is none; as dkimpy wants it.

        Raises:
            Unavailable: If nobody can tell.
        """
        text = (name.decode("ascii", "replace") if isinstance(name, bytes) else name).rstrip(".")
        text = text.lower()
        now = self._clock()
        known = self._keys.get(text)
        if known is not None and known[0] > now:
            return known[1]
        domain = provider_of(text.partition("._domainkey.")[2])
        if self._silent.get(domain, 0.0) > now:
            raise Unavailable(f"{domain} could not be asked a moment ago")
        for table in (self._keys, self._silent):
            if len(table) >= MAX_KEYS:
                table.clear()
        return self._ask(text, domain)

    def _ask(self, name: str, domain: str) -> bytes | None:
        now = self._clock()
        silent = sum(1 for until in self._silent.values() if until > now)
        seconds = min(KEY_S if silent < MAX_SILENT else HURRIED_S, self._deadline - now)
        try:
            if seconds <= 0:
                raise TimeoutError
            answer = self._loop.run_until_complete(
                asyncio.wait_for(self._resolver.txt(name), seconds)
            )
        except TimeoutError:
            self._silent[domain] = self._clock() + LEAST_TTL_S
            raise Unavailable(f"{name}: no answer in time") from None
        if answer.failed:
            self._silent[domain] = self._clock() + LEAST_TTL_S
            raise Unavailable(answer.reason)
        record = answer.records[0] if answer.outcome is Outcome.FOUND else None
        lasts_s = min(max(answer.ttl_s, LEAST_TTL_S), MOST_TTL_S)
        self._keys[name] = (self._clock() + lasts_s, record)
        return record


def claimed_signers(mail: Part) -> list[str]:
    """Return the domains that the signatures of a mail claim, whether they verify or not."""
    fields = [value for name, value in mail.headers if name == "dkim-signature"]
    return list(filter(None, map(_claimed, fields[:MAX_SIGNATURES])))


def verified_signers(
    octets: bytes,
    keys: Keys,
    wanted: Callable[[str], bool] = lambda _: True,
    known: dict[int, Verified] | None = None,
) -> tuple[dict[str, frozenset[bytes]], str]:
    """Return the domains whose signatures verify, or why there is none.

    Args:
        octets: The mail.
        keys: Where keys are found.
        wanted: Tells whether a signature of a domain could change anything; DNS is asked for no
            other.
        known: Remembers what was found, for another look at the same mail.

    Returns:
        Each domain with the names of the header fields that its signatures cover, and the reason.

    Raises:
        Unavailable: If a key could not be asked for and no signature verifies without it.
    """
    if len(octets) > MAX_SIGNED_OCTETS:
        return {}, f"more than {MAX_SIGNED_OCTETS} octets are not looked through"
    keys.begin()
    known = {} if known is None else known
    found: dict[str, frozenset[bytes]] = {}
    trouble: Unavailable | None = None
    reason = "it has no DKIM signature"
    for index, field in enumerate(_signatures(octets)):
        claimed = _claimed(field.partition(b":")[2].decode("latin-1"))
        if not claimed or not wanted(claimed):
            reason = f"the DKIM signature of {claimed or 'nobody'} proves nothing here"
            continue
        try:
            if index not in known:
                known[index] = _verify(octets, index, keys)
        except Unavailable as error:
            trouble = error
            continue
        domain, covered, why = known[index]
        if domain:
            found[domain] = found.get(domain, frozenset()) | covered
        reason = why or reason
    if trouble is not None and not found:
        raise trouble
    return found, "" if found else reason


def signed_part(octets: bytes, covered: Iterable[bytes]) -> bytes:
    """Return a mail without the header fields that nobody signed.

    What a stranger writes above a signed report must not be read as if the reporter said it.
    """
    kept = _STRUCTURE | frozenset(covered)
    head, body = _cut(octets)
    fields = _FIELD.findall(head)
    return b"".join(each for each in fields if _name(each) in kept) + b"\r\n" + body


def is_own_bounce(mail: Part, sender: str | None) -> bool:
    """Tell whether this host's Postfix made a mail itself, as its bounce(8) does.

    The first Received: is always written by the Postfix that delivered the mail to us; mail that
    came over SMTP has ``from`` in it.
    """
    first = next((value for name, value in mail.headers if name == "received"), "")
    return sender == "" and _OWN.match(" ".join(first.split())) is not None


def _verify(octets: bytes, index: int, keys: Keys) -> Verified:
    try:
        signature = dkim.DKIM(octets, logger=_quiet)
        verifies = signature.verify(index, dnsfunc=keys.find)
    except Unavailable:
        raise
    except Exception as error:  # whatever it meets in a hostile mail
        return "", frozenset(), f"a DKIM signature is no good: {str(error) or type(error).__name__}"
    domain = _domain(signature.domain.decode("ascii", "replace"))
    covered = frozenset(signature.include_headers)
    if not verifies or not domain:
        return "", frozenset(), f"the DKIM signature of {domain or 'nobody'} does not verify"
    if b"l" in signature.signature_fields or b"from" not in covered:
        return "", frozenset(), f"the DKIM signature of {domain} covers too little"
    return domain, covered, ""


def _claimed(signature: str) -> str:
    found = _SIGNER.search(signature)
    return "" if found is None else _domain(found[1])


def _signatures(octets: bytes) -> list[bytes]:
    head, _ = _cut(octets)
    fields = _FIELD.findall(head)
    return [each for each in fields if _name(each) == b"dkim-signature"][:MAX_SIGNATURES]


def _cut(octets: bytes) -> tuple[bytes, bytes]:
    ends = [
        (place, len(mark)) for mark in (b"\n\r\n", b"\n\n") if (place := octets.find(mark)) >= 0
    ]
    if not ends:
        return octets, b""
    place, length = min(ends)
    return octets[: place + 1], octets[place + length :]


def _name(field: bytes) -> bytes:
    return field.partition(b":")[0].strip().lower()


def _domain(text: str) -> str:
    try:
        return normalise_domain(text)
    except MalformedMessage:
        return ""
