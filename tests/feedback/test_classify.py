"""What replies mean: real ones, by the table in tests/corpus/replies.txt.

Run as a program, it prints what classifying costs.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

import pytest

from gatepost.feedback.bounce_rules import load_rules
from gatepost.feedback.classify import classify
from gatepost.feedback.report import Severity

TABLE = Path(__file__).parent.parent / "corpus" / "replies.txt"


class Reply(NamedTuple):
    bounce_class: str
    severity: str
    status: str
    text: str


def replies() -> list[Reply]:
    lines = TABLE.read_text(encoding="utf-8").splitlines()
    rows = [line for line in lines if line and not line.startswith("#")]
    return [Reply(*(cell.strip() for cell in row.split("|", 3))) for row in rows]


@pytest.mark.parametrize("reply", replies(), ids=lambda reply: f"{reply.status} {reply.text}"[:60])
def test_a_reply(reply: Reply) -> None:
    answer = classify(reply.status, reply.text)
    assert (answer.bounce_class, answer.severity.value) == (reply.bounce_class, reply.severity), (
        answer.rule
    )


def test_every_class_is_in_the_table() -> None:
    assert {reply.bounce_class for reply in replies()} == set(load_rules().classes)


@pytest.mark.parametrize(
    ("status", "text", "code", "rule"),
    [
        # The text wins over any code.
        ("5.1.1", "rejected for policy reasons", "550", "policy-named"),
        ("4.1.1", "user unknown", "450", "user-unknown"),
        # A code that tells nothing yields to one in the text, and no other does.
        ("5.0.0", "550 5.2.2 zzz", "", "status-full"),
        ("5.1.1", "550 5.2.2 zzz", "", "status-no-address"),
        ("", "host said: 550 #5.1.1 zzz", "", "status-no-address"),
        ("", "zzz (#5.1.1)", "", "status-no-address"),
        ("", "Exim 5.1.1 zzz", "", "unclassified"),
        ("", "550 5.1.1.9 zzz", "", "unclassified"),
        # Whether it was final is what the server said, before what Postfix made of it.
        ("5.0.0", "450 mailbox unavailable", "", "mailbox-unavailable-for-now"),
        ("5.0.0", "550 mailbox unavailable", "", "mailbox-unavailable"),
        ("", "mailbox unavailable", "450", "mailbox-unavailable-for-now"),
        ("", "zzz", "552", "code-full"),
        ("", "zzz", "55", "unclassified"),
        # What stands before a remote reply is ours: host names are no words of the reply.
        ("", "host spam.blocked.example[192.0.2.1] said: 550 user unknown", "", "user-unknown"),
        ("5.1", "zzz", "", "unclassified"),
        ("5.99.99", "zzz", "", "unclassified"),
        ("4.99.99", "zzz", "", "status-temporary"),
        ("4.1.9", "zzz", "", "status-address"),
        ("5.1.9", "zzz", "", "status-bad-address"),
        ("5.3.9", "zzz", "", "status-system"),
    ],
)
def test_which_rule_decides(status: str, text: str, code: str, rule: str) -> None:
    assert classify(status, text, code).rule == rule


@pytest.mark.parametrize("word", ["spamhaus", "dmarc", "reputation", "rate limit", "policy"])
@pytest.mark.parametrize("status", ["5.1.1", "5.2.1", "5.1.2", "5.7.1", "4.1.1", ""])
def test_a_block_is_never_hard(word: str, status: str) -> None:
    for text in (f"550 {word} zzz", f"550 {status} rejected: {word}"):
        assert classify(status, text).severity is Severity.NONE


def _microseconds(replies_: list[Reply], rounds: int) -> float:
    best = float("inf")
    for _ in range(5):
        start = time.process_time()
        for _ in range(rounds):
            for reply in replies_:
                classify(reply.status, reply.text)
        best = min(best, time.process_time() - start)
    return best / rounds / len(replies_) * 1e6


def _hostile() -> list[Reply]:
    """Return texts that have as many words and beginnings of phrases as fit."""
    phrases = [phrase for rule in load_rules().rules for phrase in rule.phrases]
    words = " ".join(sorted({word for phrase in phrases for word in phrase.words}, key=len))
    heads = " ".join(sorted({phrase.head.strip() for phrase in phrases if phrase.tail}, key=len))
    texts = [words[:2000], words[-2000:], heads[:2000], "550 " * 500, "5.1.1 " * 400, "a@" * 1000]
    texts += ["user " * 400, "sender " * 300, "(" * 2000, "<" * 2000, "é " * 1000, "_" * 2000]
    return [Reply("", "", "", text) for text in texts]


if __name__ == "__main__":
    print(f"{_microseconds(replies(), 20):.1f} us for a reply of the table, on average")
    worst = max((_microseconds([reply], 20), reply.text[:40]) for reply in _hostile())
    print(f"{worst[0]:.0f} us for the worst of the hostile ones: {worst[1]}")
