"""The milter's decision: tags, feedback headers, return path, refusals."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given

from gatepost.decisions.actions import AddHeader, ChangeSender, Plan, Reject, RemoveHeader, describe
from gatepost.decisions.facts import CUT
from gatepost.decisions.message import decide_message, wanted_headers
from gatepost.feedback.session import SESSION_HEADER, seal_session
from gatepost.feedback.token import Keyring, Purpose, message_id_of, open_token
from gatepost.modes import Feature, Mode, Modes
from gatepost.snapshot import Snapshot, Unknown
from gatepost.tenants.client import Client
from gatepost.tenants.model import PlatformLogin, ReturnPath
from tests.decisions.cases import messages, snapshots, token
from tests.world import ENFORCE, KEYS, NOW, OBSERVE, edited, message, snapshot, tenant, values

ACME = tenant("acme", senders=("acme.example",), logins=("acme",))
SHOP = tenant("shop", senders=("shop.example",), certificates=("aa:bb",))
STRANGER = Client(address="198.51.100.1", port="4242")
WORLD = snapshot(ACME, SHOP)
FORGED = [
    ("X-Tenant-ID", "shop"),
    ("x-tenant-id", "shop"),
    ("X-TENANT-ID", "\n\tacme"),
    ("X-Tenant-Id", ""),
    ("X-Tenant-ID", "acme"),
]


def decide(facts, world: Snapshot = WORLD) -> Plan:
    return decide_message(facts, world, NOW)


# The tag


@pytest.mark.parametrize("forged", [[], FORGED[:1], FORGED, [("X-Tenant-ID", "acme")] * 2])
def test_a_tenant_gets_its_tag_once(forged: list[tuple[str, str]]) -> None:
    facts = message(*forged, ("Subject", "x"))
    plan = decide(facts)
    assert plan.tenant == "acme"
    assert plan.reject is None
    assert values(edited(facts, plan.actions), "X-Tenant-ID") == ["acme"]


def test_a_tag_that_is_right_is_left_alone() -> None:
    world = snapshot(replace(ACME, modes=replace(ENFORCE, feedback=Mode.OFF)))
    assert decide(message(("x-tenant-id", "acme")), world).actions == ()


@pytest.mark.parametrize("client", [STRANGER, Client(login="stranger"), Client()])
def test_nobody_keeps_no_tag(client: Client) -> None:
    facts = message(*FORGED, client=client)
    plan = decide(facts)
    assert (plan.tenant, plan.reject) == ("", None)
    assert values(edited(facts, plan.actions), "X-Tenant-ID") == []
    assert list(plan.actions) == [RemoveHeader("X-Tenant-ID", place) for place in (5, 4, 3, 2, 1)]


def test_the_tag_header_can_have_another_name() -> None:
    world = snapshot(ACME, tenant_header="X-Customer")
    facts = message(("x-customer", "evil"), ("X-Tenant-ID", "shop"))
    after = edited(facts, decide(facts, world).actions)
    assert values(after, "X-Customer") == ["acme"]
    assert values(after, "X-Tenant-ID") == ["shop"]


@pytest.mark.parametrize(
    "value",
    [
        "acme\u00a0",
        "\u2003acme",
        "\x0bacme\x1c",
        "acme" + "\r\n " * 6000 + CUT,
        "acme evil",
    ],
)
def test_a_tag_that_only_looks_right_is_replaced(value: str) -> None:
    facts = message(("X-Tenant-ID", value))
    assert values(edited(facts, decide(facts).actions), "X-Tenant-ID") == ["acme"]


# Platform logins

MAILER = PlatformLogin("mailer", frozenset({"acme"}))
PLATFORM = snapshot(ACME, SHOP, logins=[MAILER])


def by_mailer(*fields: tuple[str, str], **changes):
    return message(*fields, client=Client(login="mailer", address="192.0.2.9"), **changes)


def test_a_platform_login_names_the_tenant_and_admission_is_asked() -> None:
    facts = by_mailer(("x-tenant-id", " acme"))
    plan = decide(facts, PLATFORM)
    assert (plan.tenant, plan.ask_admission, plan.reject) == ("acme", True, None)
    assert [value.strip() for value in values(edited(facts, plan.actions), "X-Tenant-ID")] == [
        "acme"
    ]
    assert not decide(message(), PLATFORM).ask_admission


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ([("X-Tenant-ID", "shop")], "this login may not send for the tenant named in X-Tenant-ID"),
        (
            [("X-Tenant-ID", "nobody")],
            "this login may not send for the tenant named in X-Tenant-ID",
        ),
        (
            [("X-Tenant-ID", "acme"), ("x-tenant-id", "shop")],
            "X-Tenant-ID names more than one tenant",
        ),
    ],
)
def test_a_platform_login_that_names_a_tenant_it_may_not(fields, text: str) -> None:
    plan = decide(by_mailer(*fields), PLATFORM)
    assert plan.reject == Reject("550", "5.7.1", text)
    assert (plan.tenant, plan.actions, plan.ask_admission) == ("", (), False)
    # Unless the tenant that is named enforces its tag, the general mode decides.
    watching = snapshot(replace(ACME, modes=OBSERVE), replace(SHOP, modes=OBSERVE), logins=[MAILER])
    observed = decide(by_mailer(*fields), replace(watching, modes=OBSERVE))
    assert (observed.reject, observed.actions) == (None, ())
    (observation,) = observed.observations
    assert (observation.feature, observation.action) == (Feature.TAG, "reject")
    assert observation.detail == text
    off = decide(by_mailer(*fields), replace(watching, modes=replace(ENFORCE, tag=Mode.OFF)))
    assert (off.reject, off.actions, off.observations) == (None, (), ())


def test_a_platform_login_without_a_tag_is_nobody() -> None:
    plan = decide(by_mailer(), PLATFORM)
    assert (plan.tenant, plan.reject, plan.ask_admission) == ("", None, False)


def test_a_platform_login_must_name_a_tenant_where_nobody_may_send() -> None:
    world = snapshot(
        ACME, logins=[MAILER], unknown=Unknown.REJECT, inbound=frozenset({"in.example"})
    )
    refused = Reject("550", "5.7.1", "this login must name a tenant in X-Tenant-ID")
    assert decide(by_mailer(), world).reject == refused
    assert decide(by_mailer(("X-Tenant-ID", "acme")), world).reject is None
    # As at RCPT TO, bounces and mail that comes in pass.
    assert decide(by_mailer(sender=""), world).reject is None
    assert decide(by_mailer(recipients=("u@in.example",)), world).reject is None
    mixed = by_mailer(recipients=("u@in.example", "u@example.org"))
    assert decide(mixed, world).reject == refused
    observed = decide(by_mailer(), replace(world, modes=OBSERVE))
    assert observed.reject is None
    assert ("reject", refused.text) in {(o.action, o.detail) for o in observed.observations}
    # Others than platform logins were asked at RCPT TO.
    assert decide(message(client=STRANGER), world).reject is None


# Client certificates

CERTIFIED = Client(certificate="aa:bb", address="198.51.100.1", port="4242")
SESSION = (SESSION_HEADER, seal_session(SHOP, CERTIFIED, KEYS, NOW))


@pytest.mark.parametrize("modes", [ENFORCE, OBSERVE])
def test_the_session_header_tells_the_tenant_and_goes_in_every_mode(modes: Modes) -> None:
    world = snapshot(replace(SHOP, modes=modes), modes=modes)
    facts = message(SESSION, SESSION, ("Subject", "x"), client=STRANGER)
    plan = decide(facts, world)
    assert plan.tenant == "shop"
    after = edited(facts, plan.actions)
    assert values(after, SESSION_HEADER) == []
    assert values(after, "Subject") == ["x"]
    if modes is OBSERVE:
        assert after.headers == facts.headers[2:]


def test_a_forged_session_header_says_nothing() -> None:
    elsewhere = Client(address="198.51.100.1", port="4243")
    facts = message(SESSION, (SESSION_HEADER, "forged"), client=elsewhere)
    plan = decide(facts)
    assert plan.tenant == ""
    assert values(edited(facts, plan.actions), SESSION_HEADER) == []
    # In observe the message leaves as it came: only what our policy server added goes.
    assert decide(facts, snapshot(SHOP, modes=OBSERVE)).actions == ()


def test_a_session_of_a_tenant_that_is_gone_says_nothing() -> None:
    assert decide(message(SESSION, client=STRANGER), snapshot(ACME)).tenant == ""


@pytest.mark.parametrize(
    ("client", "owner"),
    [
        (Client(login="acme", address="198.51.100.1", port="4242"), "acme"),
        (Client(login="unknown", address="198.51.100.1", port="4242"), "shop"),
        # The certificate is stronger than what else the milter sees.
        (Client(address="198.51.100.1", port="4242", listener="NET"), "shop"),
    ],
)
@pytest.mark.parametrize("login", ["", "unknown"])
def test_login_then_certificate_then_address(client: Client, owner: str, login: str) -> None:
    net = tenant("net", clients=("198.51.100.0/24",), listeners=("NET",))
    world = snapshot(ACME, SHOP, net)
    facts = message(SESSION, client=replace(client, login=client.login or login))
    assert decide(facts, world).tenant == owner


# From:

STRICT = replace(ACME, check_from=True)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ([("From", "a@acme.example")], None),
        ([("from", "Ann <a@acme.example>")], None),
        (
            [("From", "ceo@bank.example")],
            "From: bank.example is not among the 1 sender domain of this account",
        ),
        ([], "From: this sender is not among the 1 sender domain of this account"),
        (
            [("From", "a@acme.example"), ("FROM", "a@acme.example")],
            "From: this sender is not among the 1 sender domain of this account",
        ),
    ],
)
def test_from(fields: list[tuple[str, str]], text: str | None) -> None:
    plan = decide(message(*fields), snapshot(STRICT))
    assert plan.reject == (Reject("550", "5.7.1", text) if text else None)
    assert (plan.actions == ()) == (text is not None)
    # Only where it is asked for.
    assert decide(message(*fields), snapshot(ACME)).reject is None
    off = replace(STRICT, modes=replace(ENFORCE, sender=Mode.OFF))
    assert decide(message(*fields), snapshot(off)).reject is None
    observing = replace(STRICT, modes=replace(ENFORCE, sender=Mode.OBSERVE))
    seen = decide(message(*fields), snapshot(observing))
    assert seen.reject is None
    assert [(o.action, o.detail) for o in seen.observations] == ([("reject", text)] if text else [])


@pytest.mark.parametrize(
    "client",
    [Client(login="acme"), Client(login="mailer"), Client(address="198.51.100.1")],
    ids=lambda client: client.login or client.address,
)
def test_from_of_a_bounce_is_not_looked_at(client: Client) -> None:
    relay = replace(STRICT, logins=("acme",), clients=("198.51.100.0/24",))
    tag = [("X-Tenant-ID", "acme")] if client.login == "mailer" else []
    facts = message(("From", "MAILER-DAEMON@mx.example"), *tag, client=client, sender="")
    plan = decide(facts, snapshot(relay, logins=[MAILER]))
    assert (plan.tenant, plan.reject) == ("acme", None)


# Feedback

TOKENS = replace(
    ACME,
    return_path=ReturnPath.TOKEN,
    campaign_header="x-campaign",
    mail_type_header="x-mail-type",
)


def test_a_tenant_s_message_gets_one_feedback_id_and_one_token() -> None:
    facts = message(
        ("X-Campaign", "spring"),
        ("X-Campaign", "second"),
        ("Feedback-ID", "forged:examplesp"),
        ("FEEDBACK-ID", "x"),
        ("X-Gatepost-Token", "forged"),
        ("x-gatepost-token", "forged"),
    )
    plan = decide(facts, snapshot(TOKENS))
    after = edited(facts, plan.actions)
    assert values(after, "Feedback-ID") == ["cspring::tacme:examplesp"]
    (value,) = values(after, "X-Gatepost-Token")
    said = open_token(value, Purpose.COMPLAINT, KEYS, NOW)
    assert said.tenant == ACME.number
    assert said.message == message_id_of("mail.example", "4Xyz123")
    assert said.recipient == 1
    local, _, domain = after.sender.partition("@")
    assert domain == "bounces.example"
    assert open_token(local, Purpose.BOUNCE, KEYS, NOW) == said


def test_several_recipients_share_a_token() -> None:
    facts = message(recipients=("a@x.example", "b@x.example"))
    (value,) = values(edited(facts, decide(facts).actions), "X-Gatepost-Token")
    assert open_token(value, Purpose.COMPLAINT, KEYS, NOW).recipient == 0


def test_the_null_sender_stays_null() -> None:
    plan = decide(message(sender=""), snapshot(TOKENS))
    assert not any(isinstance(action, ChangeSender) for action in plan.actions)
    assert any(isinstance(action, AddHeader) for action in plan.actions)


def test_a_sender_is_kept_unless_a_token_is_asked_for_and_there_is_a_domain_for_it() -> None:
    for world in (snapshot(ACME), snapshot(TOKENS, bounce_domain=None)):
        plan = decide(message(), world)
        assert not any(isinstance(action, ChangeSender) for action in plan.actions)


def test_without_a_sender_id_or_keys_these_headers_are_not_set() -> None:
    facts = message(("Feedback-ID", "mine"), ("X-Gatepost-Token", "forged"))
    bare = snapshot(TOKENS, sender_id="", keyring=Keyring({}, 0))
    after = edited(facts, decide(facts, bare).actions)
    assert values(after, "Feedback-ID") == ["mine"]
    assert values(after, "X-Gatepost-Token") == []
    assert after.sender == facts.sender


def test_mail_of_nobody_keeps_its_own_feedback_id_and_our_genuine_tokens() -> None:
    facts = message(
        ("Feedback-ID", "a:b:c:elsewhere"),
        ("Feedback-ID", "a:b:c:examplesp"),
        ("Feedback-ID", "a : b : examplesp "),
        ("Feedback-ID", "a:b:\u00a0examplesp\x0b"),
        ("Feedback-ID", "a:b:c:elsewhere" + CUT),
        ("X-Gatepost-Token", "forged"),
        ("X-Gatepost-Token", token("acme", Purpose.COMPLAINT)),
        client=STRANGER,
    )
    after = edited(facts, decide(facts).actions)
    assert values(after, "Feedback-ID") == ["a:b:c:elsewhere"]
    assert values(after, "X-Gatepost-Token") == [token("acme", Purpose.COMPLAINT)]
    unnamed = snapshot(ACME, sender_id="")
    assert len(values(edited(facts, decide(facts, unnamed).actions), "Feedback-ID")) == 5


# More fields than were kept


@pytest.mark.parametrize("client", [Client(login="acme"), STRANGER])
def test_a_message_that_could_not_be_read_whole_is_refused_only_where_it_must_be_edited(
    client: Client,
) -> None:
    facts = message(("X-Tenant-ID", "x"), client=client, overfull=True)
    refused = Reject(
        "550", "5.7.1", "too many copies of header fields that this system sets itself"
    )
    assert decide(facts).reject == refused
    for modes in (replace(OBSERVE, tag=Mode.ENFORCE), replace(OBSERVE, feedback=Mode.ENFORCE)):
        world = snapshot(replace(ACME, modes=modes), modes=modes)
        assert decide(facts, world).reject == refused
    seen = decide(facts, snapshot(replace(ACME, modes=OBSERVE), modes=OBSERVE))
    assert seen.reject is None
    assert (Feature.TAG, "reject", refused.text) in {
        (o.feature, o.action, o.detail) for o in seen.observations
    }
    off = Modes(*[Mode.OFF] * 5)
    plan = decide(facts, snapshot(replace(ACME, modes=off), modes=off))
    assert (plan.reject, plan.actions, plan.observations) == (None, (), ())


# What the adapter must keep


def test_the_adapter_keeps_what_is_read_and_nothing_else() -> None:
    always = {"x-tenant-id", "x-gatepost-token", "x-gatepost-session", "feedback-id"}
    always |= {"dkim-signature", "message-id"}
    assert wanted_headers(WORLD) == always
    assert wanted_headers(snapshot(TOKENS)) == always | {"x-campaign", "x-mail-type"}
    assert wanted_headers(snapshot(STRICT)) == always | {"from"}
    renamed = wanted_headers(snapshot(ACME, tenant_header="X-Customer"))
    assert renamed == always - {"x-tenant-id"} | {"x-customer"}


@pytest.mark.fuzz
@given(messages(), snapshots())
def test_headers_that_are_not_wanted_change_nothing(facts, world: Snapshot) -> None:
    wanted = wanted_headers(world)
    kept = tuple(header for header in facts.headers if header.name.lower() in wanted)
    assert decide(facts, world) == decide(replace(facts, headers=kept), world)


def test_every_step_is_told() -> None:
    told = decide(message(("X-Tenant-ID", "x")), snapshot(TOKENS)).reasons
    assert told[0] == "tenant acme by login acme"
    assert told[1:3] == ["tag: remove X-Tenant-ID number 1", "tag: add X-Tenant-ID: acme"]
    assert [line.partition(" ")[0] for line in told[3:]] == ["feedback:"] * 3
    assert decide(message(client=STRANGER)).reasons == [
        "no tenant: no login, certificate, address or listener of a tenant"
    ]
    observing = replace(ACME, modes=replace(OBSERVE, feedback=Mode.OFF))
    assert decide(message(), snapshot(observing)).reasons[1:] == [
        "tag: observe, would add-header X-Tenant-ID: acme"
    ]
    refused = decide(by_mailer(("X-Tenant-ID", "shop")), PLATFORM)
    assert refused.reasons == [
        "tag: refused, this login may not send for the tenant named in X-Tenant-ID"
    ]


def test_actions_in_words() -> None:
    with pytest.raises(AssertionError):
        describe("?")
    assert describe(AddHeader("A", "b")) == "add A: b"
    assert describe(RemoveHeader("A", 2)) == "remove A number 2"
    assert describe(ChangeSender("a@b")) == "change the envelope sender to a@b"
    assert describe(ChangeSender("a@b", "c")).endswith("to a@b, and the envelope id to c")


@pytest.mark.fuzz
@given(messages(), snapshots())
def test_a_plan_is_fit_for_the_wire(facts, world: Snapshot) -> None:
    plan = decide(facts, world)
    for action in plan.actions:
        match action:
            case AddHeader(_, value):
                assert value.isascii()
                assert value.isprintable()
                assert 0 < len(value) <= 900
            case RemoveHeader(name, number):
                assert 1 <= number <= len(values(facts, name))
            case ChangeSender(address):
                assert address.endswith("@bounces.example")
                assert facts.sender
    if plan.reject is not None:
        assert plan.actions == ()
        assert plan.reject.text.isascii()
        assert len(plan.reject.text) <= 200
    for observation in plan.observations:
        assert observation.detail.isascii()
        assert len(observation.detail) <= 200
