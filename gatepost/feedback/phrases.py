"""Phrases that are looked for in what mail servers say, quickly and in linear time.

Purpose: hundreds of phrases against each reply. A dictionary from one rare word of each phrase to
the phrase leaves a handful to be looked for; a reply that shares no word with any costs nothing.
Format: both sides are lower-case words. Words of digits alone (reply codes, addresses, "550-5.1.1"
at the head of each line of a long reply) and words with "@" (the recipient) do not count. A phrase
is words in a row; ``*`` at the end of its last word, or of the last before ``...``, stands for any
ending; ``...``, once, for anything that is at most 80 characters long.
Limits: the first 2,000 characters of a text count, as a reply line of SMTP has 512 octets and few
replies have more than ten lines.
Errors: `parse_phrase` raises `ValueError`.
Security: no regular expression and nothing that grows faster than the text: `str.find` is linear,
and after each place of the first half of a phrase, at most 80 characters are searched.
Not handled: languages that put no blanks between words.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

MAX_TEXT = 2000

_REACH: Final = 80
_GAP: Final = "..."
_ENDING: Final = "*"
# Every ASCII character that is no letter or digit parts words, and an apostrophe as well:
# "doesn't" and "doesn&#39;t" shall be as alike as they can be.
_TABLE: Final = {code: " " for code in range(128) if not chr(code).isalnum()}
_WORD: Final = re.compile(r"[^\W_]+")


@dataclass(frozen=True, slots=True)
class Phrase:
    """One phrase, ready to be looked for.

    Attributes:
        head: What to find, between blanks.
        tail: What to find after it, or empty.
        words: Those of its words that are complete.
    """

    head: str
    tail: str
    words: frozenset[str]


def words_of(text: str) -> list[str]:
    """Return the words of a text that count, in lower case."""
    text = text[:MAX_TEXT]
    if "@" in text:
        # qmail logs a reply with "_" for each blank.
        blanks = text if " " in text else text.replace("_", " ")
        text = " ".join([word for word in blanks.split() if "@" not in word])
    text = text.lower()
    words = text.translate(_TABLE).split() if text.isascii() else _WORD.findall(text)
    return [word for word in words if not word.isdigit()]


def joined(words: Iterable[str]) -> str:
    """Return words as `found` wants them."""
    return f" {' '.join(words)} "


def parse_phrase(text: str) -> Phrase:
    """Return a phrase from its notation.

    Raises:
        ValueError: If it has more than one gap, an ending elsewhere, or no complete word.
    """
    halves = text.split(_GAP)
    if len(halves) > 2:
        raise ValueError(f"{text!r} has more than one {_GAP!r}")
    words: set[str] = set()
    parts = []
    for half in halves:
        stem = half.strip().removesuffix(_ENDING)
        if _ENDING in stem or not (found := words_of(stem)):
            raise ValueError(f"{text!r} has no words, or a {_ENDING!r} that does not end it")
        is_open = half.strip().endswith(_ENDING)
        words.update(found[:-1] if is_open else found)
        parts.append(joined(found).removesuffix(" ") if is_open else joined(found))
    if not words:
        raise ValueError(f"{text!r} has no complete word")
    return Phrase(parts[0], parts[1] if len(parts) > 1 else "", frozenset(words))


def found(head: str, tail: str, text: str) -> bool:
    """Tell whether a phrase stands in a text, both as `joined` returns them."""
    if not tail:
        return head in text
    place = text.find(head)
    while place >= 0:
        # The blank that ends the one half may begin the other.
        after = place + len(head) - 1
        if text.find(tail, after, after + _REACH + len(tail)) >= 0:
            return True
        place = text.find(head, place + 1)
    return False


def rarest_words(phrases: Iterable[Phrase]) -> Mapping[Phrase, str]:
    """Return for each phrase the one of its words that the fewest phrases have."""
    phrases = list(phrases)
    counts = Counter(word for phrase in phrases for word in phrase.words)
    return {
        phrase: min(phrase.words, key=lambda word: (counts[word], -len(word), word))
        for phrase in phrases
    }
