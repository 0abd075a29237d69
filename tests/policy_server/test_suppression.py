"""What the policy socket answers about suppressed recipients."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import logging
from dataclasses import replace

import pytest

from gatepost.errors import StoreUnavailable
from gatepost.feedback.events import Event, EventKind
from gatepost.feedback.rules import OnFailure, SuppressionRules
from gatepost.feedback.suppression import Reason, Suppressed
from gatepost.modes import Feature, Mode, Modes
from gatepost.postfix_version import OLDEST_SUPPORTED
from gatepost.wire.policy import AccessRequest, Action, AdmitRequest
from policy_server.handlers import Handlers
from policy_server.suppression import AT_ONCE, SuppressionCheck
from tests.policy_server.conftest import ENFORCE, NOW, Seen, make_snapshot

ALL = replace(ENFORCE, suppression=Mode.ENFORCE)
DUNNO = Action("DUNNO")
REFUSED = Action("550 5.7.1 suppressed for this sender since 2026-11-24: complaint")
LATER = Action("451 4.3.0 cannot tell whether this recipient is suppressed")


class Server:
    """Handlers, and a list that holds what the test says."""

    def __init__(self, modes: Modes = ALL, on_failure: OnFailure = OnFailure.PASS) -> None:
        self.listed = {("acme", "bad@dest.example"), ("acme", "worse@dest.example")}
        self.asked: list[str] = []
        self.down = False
        self.results: list[str] = []
        self.events: list[Event] = []
        self.seen = Seen()
        rules = SuppressionRules(on_failure=on_failure)
        made = replace(make_snapshot(modes), suppression=rules)
        check = SuppressionCheck(self, self.results.append, self.events.append)
        self.handlers = Handlers(
            lambda: made, self.seen, self.seen, lambda: NOW, OLDEST_SUPPORTED, suppression=check
        )

    def may_hold(self, tenant: str) -> bool:
        return self.down or any(each == tenant for each, _ in self.listed)

    def find(
        self, tenant: str, recipient: str, now: float, rules: SuppressionRules
    ) -> Suppressed | None:
        del rules
        self.asked.append(recipient)
        if self.down:
            raise StoreUnavailable("the disk is gone")
        if (tenant, recipient) not in self.listed:
            return None
        return Suppressed(tenant, recipient, Reason.COMPLAINT, now - 52 * 86_400)

    def rcpt(self, recipient: str, login: str = "acme", sender: str = "a@acme.example") -> Action:
        return self.handlers.policy(  # type: ignore[return-value]
            AccessRequest(
                {
                    "request": "smtpd_access_policy",
                    "protocol_state": "RCPT",
                    "sender": sender,
                    "recipient": recipient,
                    "instance": "1a.2b.0",
                    "sasl_username": login,
                }
            )
        )

    def admit(self, *recipients: str, sender: str = "a@acme.example") -> Action:
        request = AdmitRequest("acme", "mailer", "4Q", sender, recipients, "0123456789abcdef")
        return self.handlers.policy(request)  # type: ignore[return-value]


def test_a_suppressed_recipient_is_refused_and_told(caplog: pytest.LogCaptureFixture) -> None:
    server = Server()
    with caplog.at_level(logging.INFO):
        assert server.rcpt("bad@dest.example") == REFUSED
    assert server.rcpt("good@dest.example") == DUNNO
    assert server.results == ["suppressed", "clear"]
    (event,) = server.events
    assert (event.kind, event.tenant, event.recipient) == (
        EventKind.SUPPRESSED,
        "acme",
        "bad@dest.example",
    )
    (line,) = caplog.messages
    assert line == (
        "reject queue_id=NOQUEUE tenant=acme sender=<a@acme.example> to=<bad@dest.example> "
        'reason="suppressed for this sender since 2026-11-24: complaint"'
    )


@pytest.mark.parametrize(
    ("login", "sender"), [("acme", ""), ("", "a@acme.example"), ("mailer", "a@acme.example")]
)
def test_nobody_is_asked_about_bounces_and_mail_of_no_tenant(login: str, sender: str) -> None:
    server = Server()
    assert server.rcpt("bad@dest.example", login, sender) == DUNNO
    assert server.asked == []


def test_nobody_is_asked_about_what_is_off_or_refused_already() -> None:
    server = Server(replace(ENFORCE, suppression=Mode.OFF))
    assert server.rcpt("bad@dest.example") == DUNNO
    server.handlers = Server().handlers
    assert server.rcpt("bad@dest.example", sender="x@other.example") != DUNNO
    assert server.asked == []


def test_in_observe_it_is_recorded() -> None:
    server = Server(replace(ENFORCE, suppression=Mode.OBSERVE))
    assert server.rcpt("bad@dest.example") == DUNNO
    assert server.admit("bad@dest.example", "good@dest.example") == DUNNO
    seen = [each for each in server.seen.observations if each.feature is Feature.SUPPRESSION]
    assert [each.action for each in seen] == ["reject", "delete-recipient"]
    assert server.events == []


def test_of_a_message_the_suppressed_recipients_are_deleted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = Server()
    with caplog.at_level(logging.INFO):
        reply = server.admit("bad@dest.example", "good@dest.example", "worse@dest.example")
    assert reply == Action("DELETE 1 3")
    assert server.seen.counts["policy", "dunno"] == 1
    assert [(each.recipient, each.message) for each in server.events] == [
        ("bad@dest.example", "0123456789abcdef"),
        ("worse@dest.example", "0123456789abcdef"),
    ]
    assert caplog.messages[0] == (
        "delete-recipient queue_id=4Q tenant=acme sender=<a@acme.example> to=<bad@dest.example> "
        "reason=complaint since=2026-11-24"
    )
    assert server.admit("good@dest.example") == DUNNO
    assert server.admit("bad@dest.example") == REFUSED
    assert server.admit("bad@dest.example", sender="") == DUNNO


async def replies(server: Server, count: int) -> list[tuple[int, Action]]:
    """Ask about a message with many recipients, and meanwhile about as many with one as go.

    Returns:
        How many recipients were asked about when, and the answer; the last is that of the message.
    """
    many = ("bad@dest.example", *(f"u{number}@dest.example" for number in range(1, count)))
    request = AdmitRequest("acme", "mailer", "4Q", "a@acme.example", many, "0123456789abcdef")
    answer = server.handlers.policy(request)
    assert inspect.isawaitable(answer)
    task = asyncio.ensure_future(answer)
    seen = []
    while not task.done():
        await asyncio.sleep(0)
        seen.append((len(server.asked), server.rcpt("bad@dest.example")))
    return [*seen, (len(server.asked), task.result())]


def test_others_are_answered_while_the_recipients_of_a_long_message_are_looked_up() -> None:
    server = Server()
    *others, (asked, reply) = asyncio.run(replies(server, 1000))
    assert reply == Action("DELETE 1")
    assert asked == 1000 + len(others)
    assert {answer for _, answer in others} == {REFUSED}
    asked_at = [0, *(at for at, _ in others)]
    assert max(b - a for a, b in itertools.pairwise(asked_at)) <= AT_ONCE + 1
    assert [each.recipient for each in server.events].count("bad@dest.example") == len(others) + 1


def test_a_list_that_fails_in_the_middle_of_a_long_message_decides_as_for_a_short_one() -> None:
    server = Server(on_failure=OnFailure.DEFER)

    async def work() -> None:
        request = AdmitRequest(
            "acme", "mailer", "4Q", "a@acme.example", ("u@dest.example",) * (AT_ONCE + 1)
        )
        answer = server.handlers.policy(request)
        assert inspect.isawaitable(answer)
        task = asyncio.ensure_future(answer)
        await asyncio.sleep(0)
        assert len(server.asked) == AT_ONCE
        server.down = True
        assert await task == LATER

    asyncio.run(work())
    assert server.events == []


@pytest.mark.parametrize(
    ("on_failure", "reply"), [(OnFailure.PASS, DUNNO), (OnFailure.DEFER, LATER)]
)
def test_while_the_list_cannot_be_read_the_setting_decides(
    on_failure: OnFailure, reply: Action, caplog: pytest.LogCaptureFixture
) -> None:
    server = Server(on_failure=on_failure)
    server.down = True
    with caplog.at_level(logging.WARNING):
        assert server.rcpt("bad@dest.example") == reply
        assert server.admit("bad@dest.example", "good@dest.example") == reply
    assert server.results == ["unknown", "unknown"]
    troubles = [line for line in caplog.messages if line.startswith("suppression-")]
    assert troubles == ['suppression-unavailable reason="the disk is gone"']
    server.down = False
    with caplog.at_level(logging.INFO):
        assert server.rcpt("bad@dest.example") == REFUSED
    assert "suppression-back" in caplog.messages


def test_without_a_list_nothing_is_looked_up() -> None:
    made = make_snapshot(ALL)
    seen = Seen()
    handlers = Handlers(lambda: made, seen, seen, lambda: NOW, OLDEST_SUPPORTED)
    request = AdmitRequest("acme", "mailer", "4Q", "a@acme.example", ("bad@dest.example",))
    assert handlers.policy(request) == DUNNO
