"""Find our tokens in what came back, each only where its purpose belongs.

Purpose: providers take out addresses and headers, each others; so our reference stands in several
places, and whichever is left is found.
Source: RFC 9477 §3.3 (CFBL-Feedback-ID, in which white space means nothing), RFC 3461 §4.4 (ENVID).
Format:

==================================================================  ==========================
place                                                               purpose
==================================================================  ==========================
envelope recipient of the mail, and the headers that repeat it      bounce, or unsubscribe
``Original-Envelope-Id`` and ``Original-Mail-From`` of a report     bounce
``Return-Path`` and the SPF results of the original                 bounce
``CFBL-Feedback-ID`` and ``Message-ID`` of the original             complaint
any header of the original, or of the mail, that is a token alone   complaint
``List-Unsubscribe`` of the original                                unsubscribe
==================================================================  ==========================

Limits: 60 texts in the form of a token are tried, and 5 of them in places of the same name.
Errors: none.
Security: a token authorises by its signature, wherever it was found; where it stood only says which
signature it must have. What looks like a token and is expired, of another purpose or of nobody is
noted, and never believed. A tenant can put the token of another's mail into a header, and have the
complaints about its own mail count against that other: so the token of the envelope, which no
tenant writes, goes before all headers, and the header that is ours before those of any name.
Not handled: whether a header under any other name was ours once. A token that stands alone in it is
taken for one that was made under an earlier ``platform.token_header``.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

from gatepost.errors import MalformedMessage
from gatepost.feedback.mime import Part
from gatepost.feedback.reading import Reading
from gatepost.feedback.report import FoundToken, Kind
from gatepost.feedback.token import (
    TOKEN_CHARACTERS,
    Keyring,
    Purpose,
    looks_like_token,
    open_token,
)

TOKEN_HEADER: Final = "X-Gatepost-Token"  # noqa: S105  # not a password
MAX_CANDIDATES = 60
MAX_OF_ONE_PLACE = 5
MAX_NOTES = 5

# Which purpose a kind of mail needs; others name the message, and authorise nothing.
NEEDED: Final = {
    Kind.COMPLAINT: Purpose.COMPLAINT,
    Kind.NOT_SPAM: Purpose.COMPLAINT,
    Kind.AUTH_FAILURE: Purpose.COMPLAINT,
    Kind.BOUNCE: Purpose.BOUNCE,
    Kind.AUTO_REPLY: Purpose.BOUNCE,
    Kind.UNSUBSCRIBE: Purpose.UNSUBSCRIBE,
}

_WORD = re.compile(rf"(?<![A-Za-z0-9])[A-Za-z2-7]{{{TOKEN_CHARACTERS}}}(?![A-Za-z0-9])")
_BLANKS = re.compile(r"\s+")
_TO_HERE = ("delivered-to", "x-original-to", "envelope-to", "to")
_OF_THE_SENDER = ("return-path", "received-spf", "authentication-results", "x-envelope-from")
_WHY: Final = {
    "token age": "has expired",
    "token signature": "was not signed by us for this purpose",
    "token key": "has a version or a key that is not ours",
}
# Written by who delivered the original, the surest first.
_ENVELOPE = ("Original-Envelope-Id", "Original-Mail-From", "Return-Path")
_FOREIGN = "the token in {} is of another message than that in {}, and proves nothing"
# Where we put tokens, and where they come back; the token header has a name of the operator's.
_PLACES = frozenset(
    {
        *("envelope recipient", "CFBL-Feedback-ID", "List-Unsubscribe", "Original-Envelope-Id"),
        *("Original-Mail-From", "Delivered-To", "X-Original-To", "Envelope-To", "To"),
        *("Return-Path", "Received-Spf", "Authentication-Results", "X-Envelope-From"),
    }
)
# Texts of this form that are no tokens of ours stand in headers of others.
_OURS_ALONE = frozenset({"envelope recipient", "CFBL-Feedback-ID", "Original-Envelope-Id"})


@dataclass(frozen=True, slots=True)
class Place:
    """A text that may hold a token.

    Attributes:
        where: Its name, for `FoundToken.where`.
        text: What stands there.
        purposes: What a token there may be for.
    """

    where: str
    text: str
    purposes: tuple[Purpose, ...]


@dataclass(frozen=True, slots=True)
class Tokens:
    """What was found.

    Attributes:
        found: Tokens that verified, each once, in the order of the places.
        notes: What looks like one and is none.
    """

    found: tuple[FoundToken, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def envelope(self) -> FoundToken | None:
        """Return the token of the envelope that the original had, or None."""
        return next((each for each in self.found if each.where in _ENVELOPE), None)

    def of(self, purpose: Purpose) -> FoundToken | None:
        """Return the first token of a purpose, or None."""
        return next((each for each in self.found if each.purpose is purpose), None)


def find_tokens(places: Iterable[Place], keyring: Keyring, now: float) -> Tokens:
    """Return the tokens in places, and what is wrong with those that are not believed.

    Args:
        places: Where to look, the surest first.
        keyring: The keys that may have signed them.
        now: Unix time in seconds.
    """
    found: dict[tuple[str, Purpose], FoundToken] = {}
    notes: dict[str, None] = {}
    for place, text in islice(_candidates(places), MAX_CANDIDATES):
        token, why = _open(text, place, keyring, now)
        if token is not None:
            found.setdefault((text, token.purpose), token)
        elif why:
            notes[why] = None
    return Tokens(tuple(found.values()), tuple(notes)[:MAX_NOTES])


def _candidates(places: Iterable[Place]) -> Iterator[tuple[Place, str]]:
    tried: Counter[str] = Counter()
    for place in places:
        for text in _WORD.findall(place.text):
            tried[place.where] += 1
            # Whoever fills one header with texts like tokens hides none in another.
            if tried[place.where] <= MAX_OF_ONE_PLACE:
                yield place, text


def choose_token(tokens: Tokens, kind: Kind, notes: list[str]) -> FoundToken | None:
    """Return the token of the purpose that a kind of mail needs, or else one of another purpose.

    Where the envelope of the original is known, a token of another message proves nothing. One of
    another purpose tells which message it is about; `trust` compares the purpose before anything
    follows.

    Args:
        tokens: What was found.
        kind: What the mail is.
        notes: Takes a sentence if there is more than one message, or only another purpose.
    """
    needed = NEEDED.get(kind)
    # A bounce is addressed to its token; all else that it says of an envelope is a claim.
    sent = None if needed in {None, Purpose.BOUNCE} else tokens.envelope
    right = [each for each in tokens.found if each.purpose is needed]
    if sent is not None:
        of_another = [each for each in right if _message(each) != _message(sent)]
        right = [each for each in right if each not in of_another]
        notes += [_FOREIGN.format(each.where, sent.where) for each in of_another[:1]]
    elif len({_message(each) for each in right}) > 1:
        notes.append("tokens of several messages; the first counts")
    if right or not tokens.found:
        return right[0] if right else None
    token = sent or tokens.found[0]
    if needed is not None:
        notes.append(f"no {needed.value} token; the {token.purpose.value} token only identifies")
    return token


def stands_where_we_write(found: FoundToken, token_header: str) -> bool:
    """Tell whether a token was found where we put tokens, and not under any other name.

    Args:
        found: The token.
        token_header: Name of the header that carries our token.
    """
    return found.where in _PLACES or found.where.lower() == token_header.lower()


def _message(found: FoundToken) -> tuple[int, bytes]:
    return found.token.tenant, found.token.message


def places_in(
    mail: Part, recipient: str, reading: Reading | None, token_header: str = TOKEN_HEADER
) -> Iterator[Place]:
    """Yield the places where tokens of ours may stand, the surest first.

    Args:
        mail: The mail that came.
        recipient: Its envelope recipient, or empty.
        reading: What a parser made of it, or None where none has yet.
        token_header: Name of the header that carries our token.
    """
    here = (Purpose.BOUNCE, Purpose.UNSUBSCRIBE)
    yield Place("envelope recipient", recipient, here)
    for name in _TO_HERE:
        for value in _values(mail, name):
            yield Place(_written(name), value, here)
    if reading is None:
        return
    yield Place("Original-Envelope-Id", reading.envelope_id, (Purpose.BOUNCE,))
    yield Place("Original-Mail-From", reading.mail_from, (Purpose.BOUNCE,))
    if reading.original is not None:
        yield from _places_in_original(reading.original, token_header.lower())
    yield from _tokens_alone(mail)


def _places_in_original(original: Part, token_header: str) -> Iterator[Place]:
    for value in _values(original, token_header):
        yield Place(_written(token_header), value, (Purpose.COMPLAINT,))
    for value in _values(original, "cfbl-feedback-id"):
        yield Place("CFBL-Feedback-ID", _BLANKS.sub("", value), (Purpose.COMPLAINT,))
    for name in _OF_THE_SENDER:
        for value in _values(original, name):
            yield Place(_written(name), value, (Purpose.BOUNCE,))
    for value in _values(original, "list-unsubscribe"):
        # Folding may have put blanks into a URI.
        yield Place("List-Unsubscribe", _BLANKS.sub("", value), (Purpose.UNSUBSCRIBE,))
    for value in _values(original, "message-id"):
        yield Place("Message-ID", value, (Purpose.COMPLAINT,))
    yield from _tokens_alone(original)


def _tokens_alone(part: Part) -> Iterator[Place]:
    for name, value in part.headers:
        text = _BLANKS.sub("", value[: 2 * TOKEN_CHARACTERS])
        if looks_like_token(text) and name != "cfbl-feedback-id":
            yield Place(_written(name), text, (Purpose.COMPLAINT,))


def _open(text: str, place: Place, keyring: Keyring, now: float) -> tuple[FoundToken | None, str]:
    rules = []
    for purpose in place.purposes:
        try:
            return FoundToken(open_token(text, purpose, keyring, now), purpose, place.where), ""
        except MalformedMessage as error:
            rules.append(error.rule)
    # Of several purposes, the one whose signature is right says what is wrong.
    rule = "token age" if "token age" in rules else rules[0]
    if rule == "token key" and place.where not in _OURS_ALONE:
        return None, ""
    return None, f"a token in {place.where} {_WHY.get(rule, 'is no token')}"


def _values(part: Part, name: str) -> list[str]:
    return [value for each, value in part.headers if each == name]


def _written(name: str) -> str:
    return "-".join(word.capitalize() for word in name.split("-"))
