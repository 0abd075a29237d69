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

Limits: 60 texts in the form of a token are tried.
Errors: none.
Security: a token authorises by its signature, wherever it was found; where it stood only says which
signature it must have. What looks like a token and is expired, of another purpose or of nobody is
noted, and never believed.
Not handled: the header that carries tokens is found by its content, not by its name, so that a
token made under an earlier ``platform.token_header`` is found as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
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

MAX_CANDIDATES = 60
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
    tried = 0
    for place in places:
        for text in _candidates(place):
            tried += 1
            if tried > MAX_CANDIDATES:
                return Tokens(tuple(found.values()), tuple(notes)[:MAX_NOTES])
            token, why = _open(text, place, keyring, now)
            if token is not None:
                found.setdefault((text, token.purpose), token)
            elif why:
                notes[why] = None
    return Tokens(tuple(found.values()), tuple(notes)[:MAX_NOTES])


def choose_token(tokens: Tokens, kind: Kind, notes: list[str]) -> FoundToken | None:
    """Return the token of the purpose that a kind of mail needs, or else one of another purpose.

    One of another purpose tells which message it is about; `trust` compares the purpose before
    anything follows.

    Args:
        tokens: What was found.
        kind: What the mail is.
        notes: Takes a sentence if there is more than one message, or only another purpose.
    """
    needed = NEEDED.get(kind)
    token = None if needed is None else tokens.of(needed)
    messages = {(each.token.tenant, each.token.message) for each in tokens.found}
    if len(messages) > 1:
        notes.append("tokens of several messages; the first of the right purpose counts")
    if token is None and tokens.found:
        token = tokens.found[0]
        if needed is not None:
            notes.append(
                f"no {needed.value} token; the {token.purpose.value} token only identifies"
            )
    return token


def places_in(mail: Part, recipient: str, reading: Reading | None) -> Iterator[Place]:
    """Yield the places where tokens of ours may stand, the surest first.

    Args:
        mail: The mail that came.
        recipient: Its envelope recipient, or empty.
        reading: What a parser made of it, or None where none has yet.
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
        yield from _places_in_original(reading.original)
    yield from _tokens_alone(mail)


def _places_in_original(original: Part) -> Iterator[Place]:
    for value in _values(original, "cfbl-feedback-id"):
        yield Place("CFBL-Feedback-ID", _BLANKS.sub("", value), (Purpose.COMPLAINT,))
    yield from _tokens_alone(original)
    for name in _OF_THE_SENDER:
        for value in _values(original, name):
            yield Place(_written(name), value, (Purpose.BOUNCE,))
    for value in _values(original, "list-unsubscribe"):
        # Folding may have put blanks into a URI.
        yield Place("List-Unsubscribe", _BLANKS.sub("", value), (Purpose.UNSUBSCRIBE,))
    for value in _values(original, "message-id"):
        yield Place("Message-ID", value, (Purpose.COMPLAINT,))


def _tokens_alone(part: Part) -> Iterator[Place]:
    for name, value in part.headers:
        text = _BLANKS.sub("", value[: 2 * TOKEN_CHARACTERS])
        if looks_like_token(text) and name != "cfbl-feedback-id":
            yield Place(_written(name), text, (Purpose.COMPLAINT,))


def _candidates(place: Place) -> list[str]:
    return _WORD.findall(place.text)


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
