"""Which messages go into the book, and with what."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gatepost.decisions.accepted import MAX_LABEL, accepted_event, accepted_message
from gatepost.decisions.facts import MessageFacts
from gatepost.decisions.message import decide_message
from gatepost.feedback.event_ids import accepted_id
from gatepost.feedback.events import EventKind
from gatepost.feedback.sent import Message
from gatepost.feedback.token import Keyring, message_id_of
from gatepost.modes import Mode
from gatepost.snapshot import Snapshot
from tests.world import ENFORCE, NOW, edited, message, snapshot, tenant

ACME = tenant(
    "acme", logins=("acme",), senders=("acme.example",),
    campaign_header="x-campaign", mail_type_header="x-mail-type",
)  # fmt: skip
WORLD = snapshot(ACME)
FACTS = message(
    ("Message-ID", "<1@acme.example>"), ("X-Campaign", "Spring"), ("X-Mail-Type", "marketing")
)


def booked(facts: MessageFacts, world: Snapshot = WORLD) -> Message | None:
    return accepted_message(facts, decide_message(facts, world, NOW), world, NOW)


def test_a_message_with_our_token_is_in_the_book():
    assert booked(FACTS) == Message(
        message_id_of("mail.example", "4Xyz123"), NOW, "acme", "4Xyz123", "news@acme.example",
        "<1@acme.example>", "Spring", "marketing", ("user@example.org",),
    )  # fmt: skip


@pytest.mark.parametrize("mode", [Mode.OFF, Mode.OBSERVE])
def test_what_carries_no_token_is_not(mode):
    modes = replace(ENFORCE, feedback=mode)
    assert booked(FACTS, snapshot(replace(ACME, modes=modes))) is None


def test_neither_is_what_nobody_sends_or_what_is_refused_or_what_has_no_key():
    assert booked(replace(FACTS, client=replace(FACTS.client, login=""))) is None
    strict = snapshot(replace(ACME, check_from=True))
    assert booked(FACTS, strict) is None
    assert booked(FACTS, snapshot(ACME, keyring=Keyring({}, 0))) is None


def test_a_second_run_is_in_the_book_already():
    again = edited(FACTS, decide_message(FACTS, WORLD, NOW).actions)
    assert booked(again) is None
    # Also where something is left to do.
    less = replace(again, headers=tuple(h for h in again.headers if h.name != "Feedback-ID"))
    assert decide_message(less, WORLD, NOW).actions
    assert booked(less) is None
    # Whoever logs in sends another message, whatever token it bears.
    replayed = booked(replace(again, queue_id="4Other"))
    assert replayed is not None
    assert replayed.queue_id == "4Other"


def test_long_labels_are_cut():
    facts = message(("X-Campaign", "x" * 5000))
    found = booked(facts)
    assert found is not None
    assert found.campaign == "x" * MAX_LABEL


def test_the_event_tells_what_the_tenant_knows():
    found = booked(FACTS)
    assert found is not None
    event = accepted_event(found)
    assert (event.id, event.kind) == (accepted_id(found.id.hex()), EventKind.ACCEPTED)
    assert (event.recipient, event.campaign, event.details) == (
        "user@example.org", "Spring", {"recipients": 1}
    )  # fmt: skip
    many = accepted_event(replace(found, recipients=("a@b.example", "c@d.example")))
    assert (many.recipient, many.details) == ("", {"recipients": 2})
