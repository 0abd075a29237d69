"""A second run over a message changes nothing, and copied tokens buy nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given

from gatepost.decisions.actions import ChangeSender
from gatepost.decisions.message import decide_message
from gatepost.decisions.rerun import processed_tenant
from gatepost.feedback.token import Purpose, open_token
from gatepost.snapshot import Snapshot
from gatepost.tenants.client import Client
from gatepost.tenants.model import ReturnPath
from tests.decisions.cases import QUEUE_ID, messages, return_path, snapshots, token
from tests.world import KEYS, NOW, edited, message, snapshot, tenant, values

ACME = tenant("acme", senders=("acme.example",), logins=("acme",), return_path=ReturnPath.TOKEN)
SHOP = tenant("shop", senders=("shop.example",), logins=("shop",))
WORLD = snapshot(ACME, SHOP)
LATER = NOW + 3 * 86_400
HERE = Client(address="127.0.0.1", port="0")
ELSEWHERE = Client(address="198.51.100.1", port="4242")


@pytest.mark.fuzz
@given(messages(), snapshots())
def test_what_a_plan_leaves_needs_no_further_edit(facts, world: Snapshot) -> None:
    """Apply a plan to the message and decide again: there is nothing left to do."""
    plan = decide_message(facts, world, NOW)
    if plan.reject is not None:
        return
    after = edited(facts, plan.actions)
    # A certificate's session header is gone, as it must be; who sent it is then told otherwise.
    again = decide_message(after, world, NOW)
    if again.tenant == plan.tenant:
        assert again.actions == ()
        assert again.reject is None


def processed(queue_id: str = QUEUE_ID):
    facts = message(queue_id=queue_id)
    return edited(facts, decide_message(facts, WORLD, NOW).actions)


@pytest.mark.parametrize(
    "client",
    [
        # A content filter hands it back: from this host, without login.
        HERE,
        Client(address="::1"),
    ],
)
def test_a_content_filter_brings_it_back_under_another_queue_id(client: Client) -> None:
    again = replace(processed(), queue_id="another", client=client)
    plan = decide_message(again, WORLD, LATER)
    assert plan.tenant == "acme"
    assert (plan.actions, plan.reject, plan.observations) == ((), None, ())


@pytest.mark.parametrize("address", ["192.0.2.1", "127.0.0.1"])
def test_who_logs_in_cannot_send_all_its_mail_with_one_token(address: str) -> None:
    """All complaints about it would count as one: a complaint counts once for each token."""
    replayed = replace(
        processed(), queue_id="another", client=Client(login="acme", address=address)
    )
    after = edited(replayed, decide_message(replayed, WORLD, NOW).actions)
    (new,) = values(after, "X-Gatepost-Token")
    assert [new] != values(replayed, "X-Gatepost-Token")
    assert after.sender != replayed.sender
    found = open_token(new, Purpose.COMPLAINT, KEYS, NOW)
    assert open_token(after.sender.partition("@")[0], Purpose.BOUNCE, KEYS, NOW) == found


@pytest.mark.parametrize(
    ("address", "queue_id", "again"),
    [
        ("127.0.0.1", "another", False),
        ("192.0.2.1", QUEUE_ID, True),
        ("192.0.2.1", "another", False),
    ],
)
def test_a_tenant_that_keeps_its_sender_has_only_the_header(
    address: str, queue_id: str, *, again: bool
) -> None:
    facts = message(client=Client(login="shop", address="192.0.2.1"), sender="a@shop.example")
    once = edited(facts, decide_message(facts, WORLD, NOW).actions)
    twice = replace(once, queue_id=queue_id, client=Client(login="shop", address=address))
    assert (decide_message(twice, WORLD, NOW).actions == ()) == again


def test_the_same_queue_id_is_the_same_message() -> None:
    again = replace(processed(), client=ELSEWHERE)
    assert decide_message(again, WORLD, NOW).actions == ()


@pytest.mark.parametrize("client", [ELSEWHERE, Client(login="stranger"), Client()])
def test_copied_marks_from_elsewhere_are_worth_nothing(client: Client) -> None:
    """Every recipient can copy tag, token header and return path of a message."""
    copied = replace(processed(), queue_id="another", client=client)
    plan = decide_message(copied, WORLD, NOW)
    after = edited(copied, plan.actions)
    assert plan.tenant == ""
    assert values(after, "X-Tenant-ID") == []
    assert values(after, "Feedback-ID") == []
    # The token is genuine and names nobody in clear: mail that came back keeps it.
    assert values(after, "X-Gatepost-Token") == values(copied, "X-Gatepost-Token")


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [("X-Tenant-ID", "acme")],
        [("X-Gatepost-Token", token("acme", Purpose.COMPLAINT))],
        [("X-Tenant-ID", "shop"), ("X-Gatepost-Token", token("acme", Purpose.COMPLAINT))],
        [("X-Tenant-ID", "nobody"), ("X-Gatepost-Token", token("acme", Purpose.COMPLAINT))],
        [("X-Tenant-ID", "acme"), ("X-Gatepost-Token", token("acme", Purpose.BOUNCE))],
        [("X-Tenant-ID", "acme"), ("X-Gatepost-Token", "forged")],
        [("X-Tenant-ID", "acme\u00a0"), ("X-Gatepost-Token", token("acme", Purpose.COMPLAINT))],
        [("X-Tenant-ID", "acme"), ("X-Gatepost-Token", token("acme", Purpose.COMPLAINT) + "\x0b")],
        [("X-Tenant-ID", "acme")] * 2 + [("X-Gatepost-Token", token("acme", Purpose.COMPLAINT))],
        [("X-Tenant-ID", "acme")] + [("X-Gatepost-Token", token("acme", Purpose.COMPLAINT))] * 2,
    ],
)
def test_half_the_marks_are_none(fields: list[tuple[str, str]]) -> None:
    facts = message(*fields, client=HERE)
    assert processed_tenant(facts, WORLD, NOW) is None
    assert values(edited(facts, decide_message(facts, WORLD, NOW).actions), "X-Tenant-ID") == []


def test_marks_expire() -> None:
    again = replace(processed(), client=HERE)
    assert processed_tenant(again, WORLD, NOW) == "acme"
    assert processed_tenant(again, WORLD, NOW + 61 * 86_400) is None


def test_a_tenant_that_sends_on_an_old_message_of_its_own_gets_a_new_token() -> None:
    old = token("acme", Purpose.COMPLAINT, "old")
    facts = message(("X-Gatepost-Token", old))
    after = edited(facts, decide_message(facts, WORLD, NOW).actions)
    (new,) = values(after, "X-Gatepost-Token")
    assert new != old
    assert open_token(new, Purpose.COMPLAINT, KEYS, NOW).message != (
        open_token(old, Purpose.COMPLAINT, KEYS, NOW).message
    )


def test_a_tenant_that_uses_an_old_return_path_gets_a_new_one() -> None:
    facts = message(sender=return_path("acme", "old"))
    plan = decide_message(facts, WORLD, NOW)
    new = ChangeSender(return_path("acme"), envid=token("acme", Purpose.BOUNCE))
    assert new in plan.actions
    # Also with an old token header of yet another message.
    facts = message(
        ("X-Gatepost-Token", token("acme", Purpose.COMPLAINT, "older")),
        sender=return_path("acme", "old"),
    )
    assert new in decide_message(facts, WORLD, NOW).actions


def test_another_tenant_s_tokens_are_replaced() -> None:
    facts = replace(processed(), client=Client(login="shop", address="127.0.0.1"))
    after = edited(facts, decide_message(facts, WORLD, NOW).actions)
    assert values(after, "X-Tenant-ID") == ["shop"]
    assert values(after, "Feedback-ID") == ["tshop:examplesp"]
    (value,) = values(after, "X-Gatepost-Token")
    assert open_token(value, Purpose.COMPLAINT, KEYS, NOW).tenant == SHOP.number


def test_a_tenant_that_got_a_return_path_since_gets_it_on_the_second_run() -> None:
    before = snapshot(replace(ACME, return_path=ReturnPath.KEEP))
    facts = message(client=Client(login="acme", address="127.0.0.1"))
    once = edited(facts, decide_message(facts, before, NOW).actions)
    assert once.sender == facts.sender
    (action,) = decide_message(once, WORLD, NOW).actions
    assert isinstance(action, ChangeSender)
