"""What becomes of mail to suppressed addresses."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gatepost.decisions.actions import Reject
from gatepost.decisions.facts import RecipientFacts
from gatepost.decisions.recipient import Verdict, decide_recipient
from gatepost.decisions.suppression import (
    Occasion,
    Outcome,
    asks_for_suppression,
    decide_message_suppressed,
    decide_suppressed,
    decide_unknown,
)
from gatepost.feedback.events import EventKind
from gatepost.feedback.rules import OnFailure, SuppressionRules
from gatepost.feedback.suppression import GLOBAL, Reason, Suppressed
from gatepost.modes import Feature, Mode, Modes
from gatepost.tenants.client import Client
from gatepost.tenants.model import Tenant
from tests.world import NOW, snapshot, tenant

SINCE = 1_795_478_400.0
MESSAGE = "0123456789abcdef"
FROM = "a@acme.example"


def acme(mode: Mode) -> Tenant:
    return tenant("acme", Modes(suppression=mode), senders=("acme.example",), logins=("acme",))


def entry(tenant_id: str = "acme", reason: Reason = Reason.COMPLAINT) -> Suppressed:
    return Suppressed(tenant_id, "u@dest.example", reason, SINCE, None, "ev-1", "call 555")


def verdict_for(mode: Mode, sender: str = FROM, login: str = "acme") -> Verdict:
    facts = RecipientFacts(Client(login), sender, "u@dest.example")
    return decide_recipient(facts, snapshot(acme(mode)), NOW)


def at_rcpt(mode: Mode, found: Suppressed | None) -> Outcome:
    made = snapshot(acme(mode))
    verdict = verdict_for(mode)
    asked = asks_for_suppression(verdict, FROM, made)
    assert asked is not None
    return decide_suppressed(
        verdict, asked, Occasion(FROM, "", "1a.2b.0"), "u@dest.example", found, NOW
    )


def at_end(mode: Mode, *found: Suppressed | None) -> Outcome:
    made = snapshot(acme(mode))
    recipients = [f"u{index}@dest.example" for index in range(len(found))]
    return decide_message_suppressed(
        Verdict("acme"),
        made.tenants.by_id["acme"],
        Occasion(FROM, "4Q", MESSAGE, MESSAGE),
        recipients,
        found,
        NOW,
    )


def test_enforced_the_recipient_is_refused_with_reason_and_date() -> None:
    outcome = at_rcpt(Mode.ENFORCE, entry())
    assert outcome.verdict.reject == Reject(
        "550", "5.7.1", "suppressed for this sender since 2026-11-24: complaint"
    )
    assert not [o for o in outcome.verdict.observations if o.feature is Feature.SUPPRESSION]
    (event,) = outcome.events
    assert (event.kind, event.at, event.tenant) == (EventKind.SUPPRESSED, NOW, "acme")
    assert (event.sender, event.recipient, event.message) == (FROM, "u@dest.example", "")
    assert event.details == {"reason": "complaint", "since": "2026-11-24"}


def test_the_same_refusal_is_the_same_event_and_another_transaction_is_not() -> None:
    made = snapshot(acme(Mode.ENFORCE)).tenants.by_id["acme"]

    def event_id(transaction: str, recipient: str) -> str:
        occasion = Occasion(FROM, "", transaction)
        outcome = decide_suppressed(Verdict("acme"), made, occasion, recipient, entry(), NOW)
        return outcome.events[0].id

    first = event_id("1a.2b.0", "u@dest.example")
    assert first == event_id("1a.2b.0", "U@dest.example")
    assert first != event_id("1a.2b.1", "u@dest.example")
    assert first != event_id("1a.2b.0", "v@dest.example")


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_is_told_in_words_and_nothing_else_is(reason: Reason) -> None:
    outcome = at_rcpt(Mode.ENFORCE, entry(reason=reason))
    assert outcome.verdict.reject is not None
    text = outcome.verdict.reject.text
    assert text.endswith(f": {reason.words}")
    assert text.isascii()
    for secret in ("ev-1", "555", "u@dest.example"):
        assert secret not in text
        assert secret not in str(outcome.events[0].details)


def test_the_global_list_tells_no_date_as_that_would_tell_of_others() -> None:
    outcome = at_rcpt(Mode.ENFORCE, entry(GLOBAL, Reason.INVALID))
    assert outcome.verdict.reject is not None
    assert outcome.verdict.reject.text == "suppressed for every sender: no such address"
    assert outcome.events[0].details == {"reason": "invalid"}


def test_in_observe_it_is_recorded_and_passes() -> None:
    outcome = at_rcpt(Mode.OBSERVE, entry())
    assert outcome.verdict.reject is None
    assert outcome.events == ()
    (seen,) = (o for o in outcome.verdict.observations if o.feature is Feature.SUPPRESSION)
    assert (seen.action, seen.tenant, seen.recipient) == ("reject", "acme", "u@dest.example")
    assert seen.detail == "suppressed for this sender since 2026-11-24: complaint"


@pytest.mark.parametrize("mode", [Mode.OBSERVE, Mode.ENFORCE])
def test_who_is_not_on_the_list_passes_unseen(mode: Mode) -> None:
    assert at_rcpt(mode, None) == Outcome(verdict_for(mode))
    assert at_end(mode, None, None) == Outcome(Verdict("acme"))


@pytest.mark.parametrize(
    ("mode", "sender", "login"),
    [
        (Mode.OFF, FROM, "acme"),
        # The null sender, mail of nobody, and what is refused already.
        (Mode.ENFORCE, "", "acme"),
        (Mode.ENFORCE, FROM, "stranger"),
    ],
)
def test_whom_the_list_is_not_asked_about(mode: Mode, sender: str, login: str) -> None:
    verdict = verdict_for(mode, sender, login)
    assert asks_for_suppression(verdict, sender, snapshot(acme(mode))) is None


def test_what_is_refused_already_is_not_looked_up() -> None:
    refused = Verdict("acme", Reject("553", "5.7.1", "not yours"))
    assert asks_for_suppression(refused, FROM, snapshot(acme(Mode.ENFORCE))) is None


def test_of_a_message_the_suppressed_recipients_are_deleted() -> None:
    outcome = at_end(Mode.ENFORCE, None, entry(), None, entry(reason=Reason.UNSUBSCRIBE))
    assert outcome.verdict.reject is None
    assert outcome.delete == (1, 3)
    assert [event.recipient for event in outcome.events] == ["u1@dest.example", "u3@dest.example"]
    assert {event.message for event in outcome.events} == {MESSAGE}
    assert {event.queue_id for event in outcome.events} == {"4Q"}


def test_a_message_of_which_no_recipient_is_left_is_refused() -> None:
    outcome = at_end(Mode.ENFORCE, entry(), entry(reason=Reason.UNSUBSCRIBE))
    assert outcome.verdict.reject == Reject(
        "550",
        "5.7.1",
        "all recipients are suppressed for this sender; the first: suppressed for this sender "
        "since 2026-11-24: complaint",
    )
    assert outcome.delete == ()
    assert len(outcome.events) == 2
    alone = at_end(Mode.ENFORCE, entry())
    assert alone.verdict.reject is not None
    assert alone.verdict.reject.text == "suppressed for this sender since 2026-11-24: complaint"


def test_in_observe_no_recipient_is_deleted() -> None:
    for found, action in (((None, entry()), "delete-recipient"), ((entry(),), "reject")):
        outcome = at_end(Mode.OBSERVE, *found)
        assert outcome.verdict.reject is None
        assert outcome.delete == ()
        assert outcome.events == ()
        assert [seen.action for seen in outcome.verdict.observations] == [action]


@pytest.mark.parametrize(
    ("mode", "on_failure", "code"),
    [
        (Mode.ENFORCE, OnFailure.DEFER, "451"),
        (Mode.ENFORCE, OnFailure.PASS, None),
        (Mode.OBSERVE, OnFailure.DEFER, None),
        (Mode.OBSERVE, OnFailure.PASS, None),
    ],
)
def test_while_the_list_cannot_be_asked(
    mode: Mode, on_failure: OnFailure, code: str | None
) -> None:
    made = replace(snapshot(acme(mode)), suppression=SuppressionRules(on_failure=on_failure))
    before = Verdict("acme", prepend="x")
    after = decide_unknown(before, made.tenants.by_id["acme"], made)
    if code is None:
        assert after == before
        return
    assert after.reject == Reject(code, "4.3.0", "cannot tell whether this recipient is suppressed")
    assert after.prepend is None
