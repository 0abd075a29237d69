from __future__ import annotations

import pytest

from gatepost.tenants.ownership import from_allowed, refusal, sender_domain_allowed
from tests.world import tenant

ACME = tenant("acme", senders=("acme.example", ".mail.acme.example"))
ONE = tenant("one", senders=("one.example",))
FREE = tenant("free")


@pytest.mark.parametrize(
    ("sender", "allowed"),
    [
        ("news@acme.example", True),
        ("news@ACME.example.", True),
        ("x@eu.mail.acme.example", True),
        ("x@mail.acme.example", False),
        ("x@other.example", False),
        ("x@acme.example.evil.example", False),
        ("x@notacme.example", False),
        ("bare", False),
        ("x@[192.0.2.1]", False),
        ('"x@acme.example"@other.example', False),
        ("", True),
    ],
)
def test_envelope_sender(sender: str, *, allowed: bool) -> None:
    assert sender_domain_allowed(sender, ACME) is allowed
    assert sender_domain_allowed(sender, FREE)


@pytest.mark.parametrize(
    ("values", "result"),
    [
        (["a@acme.example"], (True, None)),
        (["a@acme.example, b@x.mail.acme.example"], (True, None)),
        (["a@acme.example, b@other.example"], (False, "other.example")),
        (["ceo@bank.example <a@acme.example>"], (False, "bank.example")),
        (["a@[192.0.2.1]"], (False, None)),
        (["a@acme.example", "a@acme.example"], (False, None)),
        ([], (False, None)),
        (["nonsense"], (False, None)),
    ],
)
def test_from_field(values: list[str], result: tuple[bool, str | None]) -> None:
    assert from_allowed(values, ACME) == result
    assert from_allowed(values, FREE) == (True, None)


def test_a_refusal_counts_the_domains_and_names_none_of_them() -> None:
    assert refusal("x.example", ACME) == (
        "x.example is not among the 2 sender domains of this account"
    )
    assert refusal("x.example", ONE) == "x.example is not among the 1 sender domain of this account"
    assert refusal(None, ONE) == "this sender is not among the 1 sender domain of this account"
    assert "acme.example" not in refusal("x.example", ACME)


def test_a_refusal_stays_short() -> None:
    longest = ".".join(["a" * 60] * 4)
    text = refusal(longest, tenant("t", senders=tuple(f"{i}.example" for i in range(100_000))))
    assert len(text) <= 200
    assert text.startswith("...aaa")
    exact = ".".join(["a" * 30, "b" * 30, "c" * 30, "d" * 27])
    assert len(exact) == 120
    assert refusal(exact, ONE).startswith(exact)
    assert refusal("x" + exact, ONE).startswith("..." + exact)
