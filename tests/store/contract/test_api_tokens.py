"""What every store must do with the tokens of the API."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace

import pytest

from gatepost.errors import StoreUnavailable
from gatepost.store import api_tokens as module
from gatepost.store.api_tokens import PLATFORM, ApiToken, ApiTokenStore
from gatepost.store.open import open_api_tokens

TOKEN = ApiToken("billing", PLATFORM, read_only=True, created=100.0, by="ann", expires=200.0)
DIGEST = b"d" * 32


@pytest.fixture
def tokens(url: str) -> Iterator[ApiTokenStore]:
    with contextlib.closing(open_api_tokens(url)) as opened:
        yield opened


def test_finds_a_token_by_its_hash_alone(tokens: ApiTokenStore) -> None:
    assert tokens.find(DIGEST) is None
    assert tokens.add(TOKEN, DIGEST)
    assert tokens.find(DIGEST) == TOKEN
    assert tokens.find(b"e" * 32) is None
    assert tokens.find(DIGEST[:-1]) is None


def test_keeps_all_by_name(tokens: ApiTokenStore) -> None:
    other = ApiToken("acme", "acme", read_only=False, created=1.0, by="bob")
    tokens.add(TOKEN, DIGEST)
    tokens.add(other, b"e" * 32)
    assert tokens.all() == [other, TOKEN]


def test_takes_neither_a_name_nor_a_hash_twice(tokens: ApiTokenStore) -> None:
    tokens.add(TOKEN, DIGEST)
    assert not tokens.add(replace(TOKEN, tenant="acme"), b"e" * 32)
    assert not tokens.add(replace(TOKEN, name="other"), DIGEST)
    assert tokens.all() == [TOKEN]


def test_what_is_revoked_is_found_no_more(tokens: ApiTokenStore) -> None:
    tokens.add(TOKEN, DIGEST)
    assert tokens.revoke("billing")
    assert not tokens.revoke("billing")
    assert tokens.find(DIGEST) is None
    assert tokens.all() == []


def test_takes_no_more_than_a_bound(tokens: ApiTokenStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_TOKENS", 1)
    tokens.add(TOKEN, DIGEST)
    with pytest.raises(StoreUnavailable, match="there are 1 tokens already; revoke some"):
        tokens.add(replace(TOKEN, name="other"), b"e" * 32)


def test_a_token_holds_until_it_ends() -> None:
    assert TOKEN.holds(199.9)
    assert not TOKEN.holds(200.0)
    assert replace(TOKEN, expires=None).holds(1e12)
