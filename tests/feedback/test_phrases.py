"""Phrases: what they find, what they do not, and that they never take long."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.feedback.phrases import (
    MAX_TEXT,
    found,
    joined,
    parse_phrase,
    rarest_words,
    words_of,
)


def finds(phrase: str, text: str) -> bool:
    parsed = parse_phrase(phrase)
    return found(parsed.head, parsed.tail, joined(words_of(text)))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("User Unknown", ["user", "unknown"]),
        ("550-5.1.1 The email\r\n550 5.1.1 account", ["the", "email", "account"]),
        ("<bob@example.org>: no such user", ["no", "such", "user"]),
        ("550_sorry,_no_mailbox_(#5.1.1)/", ["sorry", "no", "mailbox"]),
        ("550_sorry,_bob@example.org_is_unknown", ["sorry", "is", "unknown"]),
        ("it doesn't exist", ["it", "doesn", "t", "exist"]),
        ("it doesn’t exist", ["it", "doesn", "t", "exist"]),
        ("Empfänger «unbekannt»", ["empfänger", "unbekannt"]),
        ("[TSS04] S3150", ["tss04", "s3150"]),
        ("", []),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    assert words_of(text) == words


@pytest.mark.parametrize(
    ("phrase", "text", "answer"),
    [
        ("user unknown", "550 User unknown", True),
        ("user unknown", "550 User <bob@example.org> unknown", True),
        ("user unknown", "550-5.1.1 user\n550 5.1.1 unknown", True),
        ("user unknown", "550 superuser unknown", False),
        ("user unknown", "550 user unknowns", False),
        ("sender verif*", "sender verification failed", True),
        ("sender verif*", "sender not verified", False),
        ("user ... does not exist", "the user bob in the domain does not exist", True),
        ("user ... not exist", "user not exist", True),
        ("user ... gone", f"user {'x' * 79} gone", True),
        ("user ... gone", f"user {'x' * 90} gone", False),
        ("user ... gone", f"user {'x' * 90} user is gone", True),
        ("user ... gone", "gone is the user", False),
        ("moved* ... address", "moved to another address", True),
    ],
)
def test_what_is_found(phrase: str, text: str, answer: bool) -> None:  # noqa: FBT001
    assert finds(phrase, text) is answer


@pytest.mark.parametrize("text", ["", "a ... b ... c", "us*er unknown", "550", "antispo*", "a ..."])
def test_what_is_no_phrase(text: str) -> None:
    with pytest.raises(ValueError, match=r"more than one|no words|no complete word"):
        parse_phrase(text)


def test_only_the_beginning_counts() -> None:
    assert not finds("user unknown", "x" * MAX_TEXT + " user unknown")
    assert finds("user unknown", "x" * (MAX_TEXT - 13) + " user unknown")


def test_the_rarest_word_is_chosen() -> None:
    one, two, three = map(parse_phrase, ["user unknown", "unknown host", "user gone"])
    assert rarest_words([one, two, three])[two] == "host"
    assert rarest_words([one, two, three])[three] == "gone"


WORDS = st.lists(st.sampled_from(["user", "is", "not", "known", "here", "mailbox"]), max_size=12)


@given(WORDS, st.lists(st.sampled_from(["user", "is", "not"]), min_size=1, max_size=3))
def test_a_phrase_is_words_in_a_row(text: list[str], phrase: list[str]) -> None:
    places = range(len(text) - len(phrase) + 1)
    assert finds(" ".join(phrase), " ".join(text)) == any(
        text[place : place + len(phrase)] == phrase for place in places
    )


@given(WORDS, WORDS.filter(len), WORDS.filter(len))
def test_a_gap_is_two_phrases_in_order(text: list[str], one: list[str], two: list[str]) -> None:
    def places(words: list[str]) -> list[int]:
        last = len(text) - len(words) + 1
        return [place for place in range(last) if text[place : place + len(words)] == words]

    # Twelve short words are less than what a gap spans.
    expected = any(a + len(one) <= b for a in places(one) for b in places(two))
    assert finds(f"{' '.join(one)} ... {' '.join(two)}", " ".join(text)) == expected
