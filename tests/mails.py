"""Mails that came back, for tests: the corpus with tokens filled in, and reports made to measure.

A corpus file begins with a header field that tells where it comes from. ``@BOUNCE@``,
``@COMPLAINT@`` and ``@UNSUBSCRIBE@`` in it stand for tokens of one recipient of one message.
"""

from __future__ import annotations

from pathlib import Path

from gatepost.feedback.token import Purpose, Token, day_of, seal_token
from tests.world import KEYS, NOW

CORPUS = Path(__file__).parent / "corpus"
MESSAGE = b"\x01\x23\x45\x67\x89\xab\xcd\xef"
TENANT = 0xACCE


def token(
    purpose: Purpose, *, recipient: int = 1, age_days: int = 0, message: bytes = MESSAGE
) -> str:
    """Return a token that the keys of `tests.world` have signed."""
    made = Token(TENANT, message, recipient, day_of(NOW) - age_days)
    return seal_token(made, purpose, KEYS)


def fill(text: str) -> bytes:
    """Return a mail with its placeholders replaced."""
    for purpose in (Purpose.BOUNCE, Purpose.COMPLAINT, Purpose.UNSUBSCRIBE):
        text = text.replace(f"@{purpose.name}@", token(purpose))
    complaint = token(Purpose.COMPLAINT)
    text = text.replace("@COMPLAINT-HALF1@", complaint[:20])
    return text.replace("@COMPLAINT-HALF2@", complaint[20:]).encode()


def corpus(name: str) -> bytes:
    """Return a file of the corpus with its placeholders replaced."""
    return fill((CORPUS / name).read_text(encoding="utf-8"))


def corpus_files(folder: str) -> list[str]:
    """Return the names of all mails in a folder of the corpus."""
    return sorted(f"{folder}/{path.name}" for path in (CORPUS / folder).glob("*.eml"))
