"""What a reply of a mail server means: its class, and whether the address is bad for good.

Purpose: suppression, rates and the ladder act on classes; a code alone misleads (5.1.1 stands on
refusals for policy, 4.1.1 on addresses that do not exist), so words are looked at first.
Source: `bounce_rules.yaml`; RFC 3463 and the IANA registry of enhanced codes for what has no words.
Format: the reply as it stands in a Diagnostic-Code field, in Postfix's log or in a notice.
Limits: 2,000 characters of a reply count (see `phrases`). A reply takes 13 µs of processor time on
average, and the worst of a dozen hostile texts 0.3 ms. Measured with `time.process_time`, best of
five times twenty rounds over the replies in ``tests/corpus/replies.txt``, on one core of a
virtual machine; ``tests/feedback/test_classify.py``, run as a program, measures it again.
Errors: none.
Security: text from strangers. No regular expression here can backtrack over more than a few
characters, and the phrases are plain searches.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from operator import itemgetter
from typing import Final

from gatepost.feedback.bounce_rules import Rule, Rules, load_rules
from gatepost.feedback.phrases import MAX_TEXT, found, joined, rarest_words, words_of
from gatepost.feedback.report import Classified

# Postfix and qmail put the remote reply behind these words, and their own host names before them.
_SAID: Final = " said: "
_STATUS: Final = re.compile(r"[245]\.\d{1,3}\.\d{1,3}")
# Where an enhanced code stands in a reply: at its beginning, behind an SMTP code, in brackets. A
# number like it elsewhere may be a version.
_STATUS_IN_TEXT: Final = re.compile(
    r"(?:\A\s{0,9}|[245]\d\d[ -]#?|[#(\[])([245]\.\d{1,3}\.\d{1,3})(?![.\d])"
)
_CODE: Final = re.compile(r"[245]\d\d")
_CODE_IN_TEXT: Final = re.compile(r"(?<![\w.])([245][0-5]\d)(?=[ -])")
_UNTOLD: Final = ".0.0"

# Number of the phrase, which is its rank; both halves of it; its rule.
_Entry = tuple[int, str, str, Rule]
_RANK: Final = itemgetter(0)


@dataclass(frozen=True, slots=True)
class _Index:
    """The rules by what makes them worth a look.

    Attributes:
        by_word: Phrases, by the one of their words that is the rarest.
        words: Those words.
        by_code: Rules without text, by enhanced code or SMTP code, with their rank.
        otherwise: The rule for whatever is left.
    """

    by_word: Mapping[str, list[_Entry]]
    words: frozenset[str]
    by_code: Mapping[str, tuple[int, Rule]]
    otherwise: Rule


def classify(status: str, text: str, code: str = "") -> Classified:
    """Return what a reply means.

    The verdict is one on a final failure: whoever asks for a reply after which Postfix will try
    again must not take ``hard`` for final.

    Args:
        status: Enhanced status code such as ``5.1.1``, or empty. One that ends in ``.0.0`` yields
            to one that the text has.
        text: What the server said.
        code: SMTP reply code such as ``550``; where it is empty, that in the text counts.
    """
    text = text[:MAX_TEXT]
    _, said, reply = text.partition(_SAID)
    if said:
        text = reply
    index = _index()
    words = words_of(text)
    status, code = codes_of(status, text, code)
    known = index.words.intersection(words)
    if known:
        candidates = [entry for word in known for entry in index.by_word[word]]
        candidates.sort(key=_RANK)
        padded = joined(words)
        for _, head, tail, rule in candidates:
            if found(head, tail, padded) and _fits(rule, status, code):
                return rule.answer
    ranked = [
        index.by_code[key]
        for key in (*_patterns_of(status), *_patterns_of_code(code))
        if key in index.by_code
    ]
    return min(ranked, key=_RANK)[1].answer if ranked else index.otherwise.answer


@cache
def _index() -> _Index:
    return _indexed(load_rules())


def _indexed(rules: Rules) -> _Index:
    words = rarest_words(phrase for rule in rules.rules for phrase in rule.phrases)
    by_word: dict[str, list[_Entry]] = {}
    by_code: dict[str, tuple[int, Rule]] = {}
    rank = 0
    for rule in rules.rules:
        rank += 1
        for phrase in rule.phrases:
            rank += 1
            entry = (rank, phrase.head, phrase.tail, rule)
            by_word.setdefault(words[phrase], []).append(entry)
        if not rule.phrases:
            for key in rule.statuses | rule.codes:
                by_code.setdefault(key, (rank, rule))
    return _Index(by_word, frozenset(by_word), by_code, rules.rules[-1])


def codes_of(status: str, text: str, code: str) -> tuple[str, str]:
    """Return both codes; where none was given or it tells nothing, those in the text."""
    if not _STATUS.fullmatch(status):
        status = ""
    if not status or status.endswith(_UNTOLD):
        match = _STATUS_IN_TEXT.search(text)
        status = match[1] if match else status
    if not _CODE.fullmatch(code):
        match = _CODE_IN_TEXT.search(text)
        code = match[1] if match else ""
    return status, code


def _fits(rule: Rule, status: str, code: str) -> bool:
    if rule.final is not None and rule.final == (code or status).startswith("4"):
        return False
    if rule.statuses and rule.statuses.isdisjoint(_patterns_of(status)):
        return False
    return not rule.codes or not rule.codes.isdisjoint(_patterns_of_code(code))


def _patterns_of(status: str) -> tuple[str, ...]:
    """Return the ways in which a rule may name an enhanced code."""
    if not status:
        return ()
    first, subject, detail = status.split(".")
    return (
        status,
        f"*.{subject}.{detail}",
        f"{first}.{subject}.*",
        f"*.{subject}.*",
        f"{first}.*.*",
    )


def _patterns_of_code(code: str) -> tuple[str, ...]:
    return (code, f"{code[:2]}*", f"{code[0]}*") if code else ()
