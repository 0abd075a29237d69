"""What a delivery says of rate and reputation, and what counts for a warm-up."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gatepost.decisions.lane import choose_lane
from gatepost.decisions.shaping import lane_of_service, pair_of, provider_name, signal_of
from gatepost.decisions.tlsmap import lane_of_map
from gatepost.decisions.transport import Route
from gatepost.decisions.warmup import handed_out, sent_by
from gatepost.feedback.phrases import parse_phrase
from gatepost.feedback.status import NO_STATUSES
from gatepost.maillog.evidence import Record
from gatepost.maillog.model import Delivery, TlsClass
from gatepost.modes import Mode
from gatepost.traffic.lanes import Lane
from gatepost.traffic.services import services_for
from gatepost.traffic.shaping import SUSPEND, Group, Rule, ShapingRules
from gatepost.traffic.state import NothingKnown
from gatepost.traffic.warmup import Warmup, WarmupRules
from tests.world import ENFORCE, NOW, PROFILES, index, snapshot, tenant

ALL = Rule("all", frozenset({"rate-limited", "ip-blocked", "reputation"}), to=SUSPEND)
PHRASE = parse_phrase("come back ... later")
TEXT = Rule("text", phrases=((PHRASE.head, PHRASE.tail),), to=SUSPEND)
RULES = ShapingRules(
    True, (ALL, TEXT), (Group("big", (".mail.example.net",), frozenset({"own.example"})),)
)
LANES = {name: Lane(name, concurrency=2) for name in ("bulk", "fresh")} | {"normal": Lane("normal")}
ACME = tenant("acme", ENFORCE, senders=("acme.example",), lane="fresh")
OTHER = tenant("other", ENFORCE, senders=("other.example",), lane="bulk")
WORLD = replace(
    snapshot(),
    tenants=index([ACME, OTHER]),
    lanes=LANES,
    services=services_for([("fresh", "standard"), ("bulk", "standard")], LANES, PROFILES),
    shaping=RULES,
    warmups=WarmupRules({"fresh": Warmup(1, (5,), "bulk")}, {"acme": Warmup(1, (5,), "normal")}),
)


def delivery(reply: str = "", dsn: str = "4.7.1", **fields: str) -> Delivery:
    whole = {
        "sender": "a@acme.example",
        "recipient": "u@a.example",
        "service": "gp-bulk-standard",
        "host": "mx1.a.example",
        "address": "192.0.2.1",
        "status": "deferred",
        **fields,
    }
    return Delivery(NOW, NOW - 1, "4AAAA", dsn=dsn, tls=TlsClass.UNKNOWN, reply=reply, **whole)


def said(reply: str) -> str:
    return f"host mx1.a.example[192.0.2.1] said: {reply} (in reply to RCPT TO command)"


@pytest.mark.parametrize(
    ("reply", "rule"),
    [
        (said("450 4.7.1 too many messages from you, slow down"), ALL),
        (said("421 4.7.28 unusual rate of unsolicited mail from your IP address"), ALL),
        (said("554 5.7.1 192.0.2.9 is listed by spamhaus"), ALL),
        (said("451 4.3.0 come back to us somewhat later"), TEXT),
        ("host mx1.a.example[192.0.2.1] refused to talk to me: 421 too many connections", ALL),
        # Of an address, of a mailbox, of TLS, of the network: never.
        (said("550 5.1.1 no such user, do not come back later"), None),
        (said("452 4.2.2 mailbox full, come back later"), None),
        ("TLS is required, but was not offered by host mx1.a.example[192.0.2.1]", None),
        ("connect to mx1.a.example[192.0.2.1]:25: Connection timed out", None),
        # What Postfix says of us, in whatever words.
        ("held back: this lane is slowed down towards the destination", None),
        ("client TLS configuration problem", None),
        ("delivery temporarily suspended: too many messages", None),
        (said("451 4.3.0 something else"), None),
    ],
)
def test_signals(reply: str, rule: Rule | None) -> None:
    dsn = "5.1.1" if "5.1.1" in reply else "4.0.0"
    found = signal_of(delivery(reply, dsn), "a.example", RULES)
    assert (found and found.rule) == rule
    if found:
        assert found.reply.startswith(("4", "5"))
        assert len(found.reply) <= 120


def test_what_was_sent_is_no_signal() -> None:
    reply = said("250 too many messages but taken")
    assert signal_of(delivery(reply, "2.0.0", status="sent"), "a.example", RULES) is None


def test_a_rule_for_some_providers_leaves_others_alone() -> None:
    reply = delivery(said("450 4.7.1 too many messages"))
    some = ShapingRules(True, (replace(ALL, providers=frozenset({"big"})),))
    assert signal_of(reply, "big", some)
    assert signal_of(reply, "a.example", some) is None


@pytest.mark.parametrize(
    ("domain", "host", "provider"),
    [
        ("a.example", "mx1.a.example", "a.example"),
        ("a.example", "aspmx.l.google.com", "google.com"),
        ("a.example", "in.mail.example.net", "big"),
        ("own.example", "mx.elsewhere.example", "big"),
        ("a.example", "192.0.2.1", "192.0.2.1"),
    ],
)
def test_providers(domain: str, host: str, provider: str) -> None:
    assert provider_name(domain, host, RULES) == provider


def test_pairs() -> None:
    assert pair_of(delivery(), WORLD) == ("bulk", "a.example")
    assert pair_of(delivery(service=""), WORLD) == ("normal", "a.example")
    # Somebody else's service, and a delivery without a server.
    assert pair_of(delivery(service="gp-gone-standard"), WORLD) is None
    assert pair_of(delivery(host=""), WORLD) is None
    assert lane_of_service("gp-fresh-standard", WORLD) == "fresh"


@pytest.mark.parametrize(
    ("name", "map_and_lane"),
    [
        ("tls", ("tls", "normal")),
        ("tls-private", ("tls-private", None)),
        ("tls-private@bulk", ("tls-private", "bulk")),
        ("tls-private@", ("tls-private", None)),
    ],
)
def test_maps_tell_the_lane(name: str, map_and_lane: tuple[str, str | None]) -> None:
    assert lane_of_map(name) == map_and_lane


def record(service: str, whose: str, tls: TlsClass = TlsClass.ENCRYPTED, count: int = 1) -> Record:
    place = ("u@a.example", "a.example", "mx", "192.0.2.1", "a.example", service)
    return Record(NOW, "4A", whose, *place, tls, deliveries=count)


def test_what_counts_for_a_warm_up() -> None:
    day = int(NOW // 86_400)
    records = [
        record("gp-fresh-standard", "acme", count=2),
        record("gp-fresh-standard", "other"),
        record("gp-fresh-standard", ""),
        record("gp-fresh-standard", "acme", TlsClass.REFUSED),
        # By another lane than its own.
        record("gp-bulk-standard", "acme"),
        record("", "acme"),
    ]
    assert sent_by(records, WORLD) == {("lane fresh", day): 4, ("tenant acme", day): 2}
    assert sent_by(records, replace(WORLD, warmups=WarmupRules())) == {}


def test_what_is_handed_out() -> None:
    both = ("tenant acme", "lane fresh")
    assert handed_out(Route("gp-fresh-standard", ACME, ""), WORLD) == both
    assert handed_out(Route("gp-bulk-standard", ACME, ""), WORLD) == ()
    assert handed_out(Route("gp-fresh-standard", OTHER, ""), WORLD) == ("lane fresh",)
    assert handed_out(Route("retry", ACME, ""), WORLD) == ()
    assert handed_out(Route(None, None, ""), WORLD) == ()


class Over(NothingKnown):
    """Says what is over."""

    def __init__(self, *keys: str) -> None:
        self.keys = keys

    def over_warmup(self, key: str) -> bool:
        return key in self.keys


@pytest.mark.parametrize(
    ("over", "lane"),
    [
        ((), "fresh"),
        (("lane fresh",), "bulk"),
        (("tenant acme",), "normal"),
        (("tenant acme", "lane fresh"), "normal"),
        (("tenant other", "lane bulk"), "fresh"),
    ],
)
def test_what_is_above_takes_the_other_lane(over: tuple[str, ...], lane: str) -> None:
    choice = choose_lane(ACME, WORLD, NO_STATUSES, Over(*over))
    assert choice.lane == lane
    assert ("is used up for today" in choice.why) == (lane != "fresh")


def test_an_observed_lane_says_what_it_would_take() -> None:
    observed = replace(ACME, modes=replace(ENFORCE, lane=Mode.OBSERVE))
    choice = choose_lane(observed, WORLD, NO_STATUSES, Over("lane fresh"))
    assert choice.lane == "normal"
    assert [(would.lane, would.why) for would in choice.would] == [
        ("bulk", "warm-up of lane fresh is used up for today")
    ]
