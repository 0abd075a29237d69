"""``gatepost explain`` tells what the servers do: the same answers over generated cases."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.decisions.explain import Case, Explanation, explain
from gatepost.decisions.facts import MessageFacts
from gatepost.decisions.message import decide_message
from gatepost.errors import Unavailable
from gatepost.feedback.rules import SuppressionRules
from gatepost.feedback.session import SESSION_HEADER
from gatepost.feedback.suppression import Reason, Suppressed
from gatepost.modes import Observation
from gatepost.postfix_version import OLDEST_SUPPORTED
from gatepost.snapshot import Snapshot
from gatepost.tenants.client import Client
from gatepost.tls.levels import Level, Requirement
from gatepost.tls.rules import DomainRules
from gatepost.wire.policy import AccessRequest, Action, AdmitRequest
from gatepost.wire.socketmap import NotFound, Ok, Request
from policy_server.handlers import Handlers, format_reject
from policy_server.suppression import SuppressionCheck
from tests.decisions.cases import ACME, CLIENTS, FIELDS, LOGINS, RECIPIENTS, SENDERS, snapshots
from tests.world import NOW, OBSERVE, edited, headers, snapshot

HOST, QUEUE_ID = "explain", "EXPLAIN"
EVERYONE = DomainRules(
    {
        "gov.example": Requirement(Level.VERIFY),
        "partner.example": Requirement(Level.VERIFY, match=frozenset({"mx.elsewhere.example"})),
    }
)


@dataclass
class Live:
    """What the sockets and the milter do with one message to one recipient."""

    rcpt: str = ""
    milter: str | None = None
    admission: str | None = None
    transport: str | None = None
    policy: str | None = None
    waits: bool = False
    tenant: str = ""
    sender: str = ""
    observations: list[Observation] = field(default_factory=list)

    def policy_reply(self, reply: object) -> str:
        assert isinstance(reply, Action)
        return reply.text


class Counting:
    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()

    def policy(self, verdict: str) -> None:
        self.seen[verdict] += 1

    def lookup(self, map_name: str, result: str) -> None:
        self.seen[f"{map_name} {result}"] += 1


class Listed:
    """A suppression list of these tenants that holds everybody."""

    def __init__(self, tenants: frozenset[str]) -> None:
        self.tenants = tenants

    def entry(self, tenant: str) -> Suppressed | None:
        if tenant not in self.tenants:
            return None
        return Suppressed(tenant, "u@example.org", Reason.COMPLAINT, NOW)

    def may_hold(self, tenant: str) -> bool:
        return tenant in self.tenants

    def find(
        self, tenant: str, recipient: str, now: float, rules: SuppressionRules
    ) -> Suppressed | None:
        del recipient, now, rules
        return self.entry(tenant)


class Keeping:
    def __init__(self, kept: list[Observation]) -> None:
        self.kept = kept

    def record(self, observation: Observation) -> None:
        self.kept.append(observation)


def live(case: Case, world: Snapshot, suppressed: frozenset[str] = frozenset()) -> Live:
    """Carry a message through the real handlers, as Postfix would."""
    done = Live()
    handlers = Handlers(
        lambda: world,
        Keeping(done.observations),
        Counting(),
        lambda: NOW,
        OLDEST_SUPPORTED,
        suppression=SuppressionCheck(Listed(suppressed), lambda _: None, lambda _: None),
    )
    client = case.client
    done.rcpt = done.policy_reply(
        handlers.policy(
            AccessRequest(
                {
                    "request": "smtpd_access_policy",
                    "protocol_state": "RCPT",
                    "sasl_username": client.login,
                    "ccert_fingerprint": client.certificate,
                    "client_address": client.address,
                    "client_port": client.port,
                    "policy_context": client.listener,
                    "sender": case.sender,
                    "recipient": case.recipient,
                }
            )
        )
    )
    verb, _, rest = done.rcpt.partition(" ")
    if verb not in ("DUNNO", "PREPEND"):
        return done
    prepended = headers((SESSION_HEADER, rest.partition(": ")[2])) if verb == "PREPEND" else ()
    facts = MessageFacts(
        replace(client, certificate=""),
        HOST,
        QUEUE_ID,
        case.sender,
        (case.recipient,),
        prepended + case.headers,
    )
    plan = decide_message(facts, world, NOW)
    done.tenant = plan.tenant
    done.observations += plan.observations
    done.milter = format_reject(plan.reject) if plan.reject else "accepted"
    if plan.reject is not None:
        return done
    if plan.ask_admission:
        request = AdmitRequest(plan.tenant, client.login, "", case.sender, (case.recipient,))
        done.admission = done.policy_reply(handlers.policy(request))
        if done.admission != "DUNNO":
            return done
    done.sender = edited(facts, plan.actions).sender
    try:
        answer = handlers.lookup(Request("transport", done.sender or "<>"))
        map_name = "tls"
        if isinstance(answer, Ok):
            done.transport = answer.data.removesuffix(":")
            map_name = f"tls-{world.services[done.transport][1]}"
        nexthop = case.nexthop or case.recipient.rpartition("@")[2]
        answer = handlers.lookup(Request(map_name, nexthop))
        done.policy = None if isinstance(answer, NotFound) else answer.data
    except Unavailable:
        done.waits = True
    return done


CASES = st.builds(
    Case,
    CLIENTS,
    SENDERS,
    RECIPIENTS.map(lambda all_: all_[0]),
    st.lists(FIELDS, max_size=5).map(tuple),
    st.sampled_from([None, None, None, "[relay.example]:587", "[gov.example]"]),
)


def shown(explanation: Explanation) -> Live:
    """Return what an explanation says, in the words of the wire."""
    done = Live(tenant=explanation.tenant)
    rcpt = explanation.rcpt
    done.rcpt = "DUNNO"
    if rcpt.reject is not None:
        done.rcpt, done.tenant = format_reject(rcpt.reject), ""
    elif rcpt.prepend is not None:
        done.rcpt = f"PREPEND {SESSION_HEADER}: {rcpt.prepend}"
    done.observations += rcpt.observations
    plan = explanation.plan
    if plan is not None:
        done.milter = format_reject(plan.reject) if plan.reject else "accepted"
        done.observations += plan.observations
    admission = explanation.admission
    if admission is not None:
        done.admission = format_reject(admission.reject) if admission.reject else "DUNNO"
        done.observations += admission.observations
    done.sender = explanation.delivery_sender
    done.waits = explanation.waits is not None
    if explanation.route is not None:
        done.transport = explanation.route.service
    done.policy = explanation.policy
    return done


@pytest.mark.fuzz
@given(CASES, snapshots(), st.frozensets(st.sampled_from(["acme", "shop", "free"])))
def test_explain_says_what_the_servers_do(
    case: Case, world: Snapshot, suppressed: frozenset[str]
) -> None:
    world = replace(world, tls=replace(world.tls, everyone=EVERYONE))
    listed = Listed(suppressed)
    explanation = explain(case, world, OLDEST_SUPPORTED, NOW, suppressed=listed.entry)
    expected = live(case, world, suppressed)
    if expected.waits:
        # What was found before the trouble came is not part of an explanation.
        expected.transport = expected.policy = None
    assert shown(explanation) == expected
    refusals = (expected.rcpt, expected.milter or "", expected.admission or "")
    assert explanation.refused == any(text[:1] == "5" for text in refusals)


def explained(**changes: object) -> Explanation:
    case = Case(Client(login="acme"), "news@acme.example", "u@Example.org")
    world = snapshot(ACME, logins=LOGINS)
    return explain(replace(case, **changes), world, OLDEST_SUPPORTED, NOW)


def test_a_message_from_login_to_policy() -> None:
    told = explained(headers=headers(("From", "a@acme.example"), ("X-Campaign", "spring")))
    assert told.tenant == "acme"
    assert not told.refused
    assert told.delivery_sender.endswith("@bounces.example")
    assert told.route is not None
    assert told.route.service == "gp-bulk-private"
    assert (told.map_name, told.nexthop) == ("tls-private", "Example.org")
    assert told.policy == "encrypt protocols=>=TLSv1.2"
    assert [opinion.source for opinion in told.tls.opinions] == ["profile private"]
    assert told.waits is None


def test_a_refusal_ends_the_explanation() -> None:
    told = explained(sender="x@evil.example")
    assert told.refused
    assert (told.plan, told.route, told.policy) == (None, None, None)
    assert told.rcpt.reasons[-1] == (
        "sender x@evil.example: evil.example is not among the 2 sender domains of this account "
        "(mode enforce)"
    )
    told = explained(headers=headers(("From", "ceo@bank.example")))
    assert told.refused
    assert told.route is None


def test_the_modes_in_force_are_shown() -> None:
    assert explained().modes == ACME.modes
    nobody = explain(
        Case(Client(), "a@b.example", "u@example.org"),
        snapshot(ACME, modes=OBSERVE),
        OLDEST_SUPPORTED,
        NOW,
    )
    assert (nobody.tenant, nobody.modes) == ("", OBSERVE)


@pytest.mark.parametrize(
    ("recipient", "nexthop", "key"),
    [
        ("u@Example.ORG", None, "Example.ORG"),
        ("u@[192.0.2.1]", None, "[192.0.2.1]"),
        ("u@example.org", "[relay.example]:587", "[relay.example]:587"),
        ("root", None, ""),
    ],
)
def test_the_key_is_the_one_that_postfix_asks_for(recipient, nexthop, key) -> None:
    good = headers(("From", "a@acme.example"))
    assert explained(recipient=recipient, nexthop=nexthop, headers=good).nexthop == key
