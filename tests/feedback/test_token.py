from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.errors import MalformedMessage
from gatepost.feedback.token import (
    MAX_AGE_DAYS,
    TOKEN_CHARACTERS,
    Keyring,
    Purpose,
    Token,
    day_of,
    looks_like_token,
    message_id_of,
    open_token,
    seal_token,
)
from tests.world import DAY, KEYS, NOW

ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
TODAY = day_of(NOW)
TOKEN = Token(0x1A6D6B8E44F7, b"\x01\x02\x03\x04\x05\x06\x07\x08", 3, TODAY)
TOKENS = st.builds(
    Token,
    st.integers(0, 2**48 - 1),
    st.binary(min_size=8, max_size=8),
    st.integers(0, 2**16 - 1),
    st.just(TODAY),
)
PURPOSES = st.sampled_from(Purpose)


def refused(text: str, purpose: Purpose = Purpose.BOUNCE, keys: Keyring = KEYS, now=NOW) -> str:
    with pytest.raises(MalformedMessage) as caught:
        open_token(text, purpose, keys, now)
    return caught.value.rule


def test_the_form_never_changes() -> None:
    # Tokens in the queues and in the reports of providers outlive a release.
    assert seal_token(TOKEN, Purpose.BOUNCE, KEYS) == (
        "eing224oit3qcaqdaqcqmbyiaabquc3tkh5znh2ywlr2oked"
    )


@given(TOKENS, PURPOSES)
def test_what_was_sealed_opens(token: Token, purpose: Purpose) -> None:
    text = seal_token(token, purpose, KEYS)
    assert len(text) == TOKEN_CHARACTERS <= 64
    assert set(text) <= set(ALPHABET)
    assert looks_like_token(text)
    assert open_token(text, purpose, KEYS, NOW) == token
    # Mail systems fold the case of local parts.
    assert open_token(text.upper(), purpose, KEYS, NOW) == token


@given(TOKENS, PURPOSES, PURPOSES)
def test_a_token_serves_one_purpose(token: Token, made_for: Purpose, used_for: Purpose) -> None:
    text = seal_token(token, made_for, KEYS)
    if made_for is not used_for:
        assert refused(text, used_for) == "token signature"


@given(TOKENS, st.integers(0, TOKEN_CHARACTERS - 1), st.sampled_from(ALPHABET))
def test_a_changed_token_is_refused(token: Token, place: int, character: str) -> None:
    text = seal_token(token, Purpose.BOUNCE, KEYS)
    changed = text[:place] + character + text[place + 1 :]
    if changed != text:
        assert refused(changed) in ("token signature", "token key")


@pytest.mark.parametrize("bit", range(TOKEN_CHARACTERS * 5))
def test_every_bit_counts(bit: int) -> None:
    text = seal_token(TOKEN, Purpose.COMPLAINT, KEYS)
    place, flip = bit // 5, 1 << bit % 5
    changed = ALPHABET[ALPHABET.index(text[place]) ^ flip]
    assert refused(text[:place] + changed + text[place + 1 :], Purpose.COMPLAINT).startswith(
        "token"
    )


@given(st.text(ALPHABET, min_size=TOKEN_CHARACTERS, max_size=TOKEN_CHARACTERS))
def test_nobody_guesses_a_token(text: str) -> None:
    assert looks_like_token(text)
    assert refused(text).startswith("token")


@given(st.text(max_size=60))
def test_any_text_is_opened_or_refused(text: str) -> None:
    refused(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a" * 47,
        "a" * 49,
        "a" * 47 + "=",
        "a" * 42 + "======",
        "a" * 47 + "1",
        "a" * 47 + "\n",
        " " + "a" * 47,
        "a" * 47 + "ä",
        "\u212a" + "a" * 47,
        "ı" + "a" * 47,
    ],
)
def test_the_form_is_checked_first(text: str) -> None:
    assert not looks_like_token(text)
    assert refused(text) == "RFC 4648 §6"


def test_keys_rotate() -> None:
    old = Keyring({1: KEYS.keys[1]}, 1)
    text = seal_token(TOKEN, Purpose.BOUNCE, old)
    assert open_token(text, Purpose.BOUNCE, KEYS, NOW) == TOKEN
    assert seal_token(TOKEN, Purpose.BOUNCE, KEYS) != text
    gone = Keyring({2: KEYS.keys[2]}, 2)
    assert refused(text, keys=gone) == "token key"
    # The same id with another secret is another key.
    assert refused(text, keys=Keyring({1: KEYS.keys[2]}, 1)) == "token signature"
    assert refused(text, keys=Keyring({}, 0)) == "token key"


def test_another_version_is_refused() -> None:
    text = seal_token(TOKEN, Purpose.BOUNCE, KEYS)
    # The first character holds the version and two bits of the key id.
    version_two = ALPHABET[ALPHABET.index(text[0]) + 4] + text[1:]
    assert refused(version_two) == "token key"


@pytest.mark.parametrize(
    ("days", "opens"),
    [(-2, False), (-1, True), (0, True), (MAX_AGE_DAYS, True), (MAX_AGE_DAYS + 1, False)],
)
def test_tokens_expire_and_none_comes_from_the_future(days: int, *, opens: bool) -> None:
    text = seal_token(TOKEN, Purpose.BOUNCE, KEYS)
    if opens:
        assert open_token(text, Purpose.BOUNCE, KEYS, NOW + days * DAY) == TOKEN
    else:
        assert refused(text, now=NOW + days * DAY) == "token age"


def test_days() -> None:
    assert day_of(1_577_836_800.0) == 0
    assert day_of(1_577_836_800.0 + DAY - 1) == 0
    assert day_of(1_577_836_800.0 + DAY) == 1
    # A clock that is far off delays no mail.
    assert day_of(0.0) == 0
    assert day_of(-1e12) == 0
    assert day_of(1e12) == 65_535
    for now in (0.0, 1e12):
        token = Token(1, bytes(8), 0, day_of(now))
        text = seal_token(token, Purpose.BOUNCE, KEYS)
        assert open_token(text, Purpose.BOUNCE, KEYS, now) == token


def test_message_ids_are_derived() -> None:
    one = message_id_of("mail.example", "4Xyz")
    assert one == message_id_of("mail.example", "4Xyz")
    assert len(one) == 8
    others = [
        message_id_of("mail.example", "4Xya"),
        message_id_of("mail2.example", "4Xyz"),
        message_id_of("mail.example4", "Xyz"),
        message_id_of("\udc80", ""),
        message_id_of("", ""),
    ]
    assert len({one, *others}) == 6


def test_keys_do_not_show() -> None:
    assert "\\x01" not in repr(KEYS)
