"""Generated clients, messages and configurations, drawn from what matters to a decision."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st

from gatepost.decisions.facts import Header, MessageFacts
from gatepost.feedback.session import SESSION_HEADER, seal_session
from gatepost.feedback.token import Purpose, Token, day_of, message_id_of, seal_token
from gatepost.modes import Feature, Mode, Modes
from gatepost.snapshot import Snapshot, Unknown
from gatepost.tenants.client import Client
from gatepost.tenants.model import PlatformLogin, ReturnPath
from tests.world import ENFORCE, KEYS, NOW, OBSERVE, OFF, snapshot, tenant

HOST = "mail.example"
URL = "https://mail.example/unsubscribe"
QUEUE_ID = "4Xyz123"

ACME = tenant(
    "acme",
    senders=("acme.example", ".mail.acme.example"),
    logins=("acme",),
    clients=("192.0.2.0/28",),
    profile="private",
    lane="bulk",
    return_path=ReturnPath.TOKEN,
    check_from=True,
    campaign_header="x-campaign",
    mail_type_header="x-mail-type",
    unsubscribe_types=("news",),
)
SHOP = tenant(
    "shop",
    senders=("shop.example",),
    certificates=("aa:bb",),
    profile="bank",
    listeners=("SHOP",),
    cfbl=False,
)
FREE = tenant("free", logins=("free",))
TENANTS = (ACME, SHOP, FREE)
LOGINS = (
    PlatformLogin("mailer", None),
    PlatformLogin("narrow", frozenset({"shop"})),
)


def token(name: str, purpose: Purpose, queue_id: str = QUEUE_ID) -> str:
    number = {each.id: each.number for each in TENANTS}[name]
    message = message_id_of(HOST, queue_id)
    return seal_token(Token(number, message, 1, day_of(NOW)), purpose, KEYS)


def return_path(name: str, queue_id: str = QUEUE_ID) -> str:
    return f"{token(name, Purpose.BOUNCE, queue_id)}@bounces.example"


def unsubscribe(name: str, queue_id: str = QUEUE_ID) -> str:
    text = token(name, Purpose.UNSUBSCRIBE, queue_id)
    return f"<{URL}/{text}>, <mailto:{text}@fbl.example?subject=unsubscribe>"


CLIENTS = st.builds(
    Client,
    login=st.sampled_from(["", "acme", "free", "mailer", "narrow", "stranger"]),
    certificate=st.sampled_from(["", "AA:BB", "ff"]),
    address=st.sampled_from(["192.0.2.1", "198.51.100.1", "127.0.0.1", "2001:db8::1", ""]),
    port=st.just("4242"),
    listener=st.sampled_from(["", "SHOP"]),
)
SENDERS = st.sampled_from(
    [
        "",
        "news@acme.example",
        "News@ACME.example.",
        "x@eu.mail.acme.example",
        "x@shop.example",
        "x@stranger.example",
        "bare",
        "x@[192.0.2.1]",
        "postmaster@bounces.example",
        "a" * 48 + "@bounces.example",
        return_path("acme"),
        return_path("acme", "other"),
        return_path("shop"),
    ]
)
RECIPIENTS = st.lists(
    st.sampled_from(
        [
            "u@example.org",
            "u@gov.example",
            "u@partner.example",
            "u@old.example",
            "u@inbound.example",
            "u@[192.0.2.9]",
            "postmaster",
        ]
    ),
    min_size=1,
    max_size=3,
).map(tuple)
COVERED = (
    *("from", "X-Tenant-ID", "x-gatepost-token", "Feedback-ID"),
    *("CFBL-Address", "cfbl-feedback-id", "List-Unsubscribe", "list-unsubscribe-post"),
)
FIELDS = st.one_of(
    st.builds(
        Header,
        st.sampled_from(["X-Tenant-ID", "x-tenant-id", "X-TENANT-ID"]),
        st.sampled_from(["acme", "shop", "\tacme", "acme\n ", "nobody", "", "acme\udcff"]),
    ),
    st.builds(
        Header,
        st.sampled_from(["X-Gatepost-Token", "x-gatepost-token"]),
        st.sampled_from(
            [
                token("acme", Purpose.COMPLAINT),
                token("acme", Purpose.COMPLAINT, "other"),
                token("shop", Purpose.COMPLAINT, "other"),
                token("acme", Purpose.BOUNCE),
                "forged",
            ]
        ),
    ),
    st.builds(
        Header,
        st.sampled_from(["Feedback-ID", "feedback-id"]),
        st.sampled_from(["a:b:c:examplesp", "a:b:c:elsewhere", "tacme:examplesp", "é"]),
    ),
    st.builds(
        Header,
        st.just("X-Campaign"),
        st.sampled_from(["spring", "Spring Sale", "user@example.org"]),
    ),
    st.builds(
        Header,
        st.just("From"),
        st.sampled_from(["a@acme.example", "x@shop.example", "ceo@bank.example", '"']),
    ),
    st.builds(Header, st.just("X-Mail-Type"), st.sampled_from(["news", " NEWS\r\n", "invoice"])),
    st.builds(
        Header,
        st.sampled_from(["CFBL-Address", "cfbl-address"]),
        st.sampled_from(["fbl@fbl.example; report=arf", "FBL@FBL.example", "fbl@acme.example"]),
    ),
    st.builds(
        Header,
        st.just("CFBL-Feedback-ID"),
        st.sampled_from(
            [
                token("acme", Purpose.COMPLAINT),
                token("acme", Purpose.COMPLAINT, "other")[:20]
                + "\r\n "
                + token("acme", Purpose.COMPLAINT, "other")[20:],
                "111:222",
            ]
        ),
    ),
    st.builds(
        Header,
        st.sampled_from(["List-Unsubscribe", "list-unsubscribe"]),
        st.sampled_from(
            [
                unsubscribe("acme"),
                unsubscribe("acme", "other"),
                f"<{URL}/forged>",
                "<https://acme.example/u>",
            ]
        ),
    ),
    st.builds(
        Header,
        st.just("List-Unsubscribe-Post"),
        st.sampled_from(["List-Unsubscribe=One-Click", "what"]),
    ),
    st.builds(
        Header,
        st.just("DKIM-Signature"),
        st.lists(st.sampled_from(COVERED), max_size=4).map(
            lambda names: f"v=1; d=acme.example; h={':'.join(names)}; b=x"
        ),
    ),
    st.just(Header(SESSION_HEADER, "forged")),
)
MODES = st.builds(
    Modes, *[st.sampled_from([Mode.OFF, Mode.OBSERVE, Mode.ENFORCE, Mode.ENFORCE])] * len(Feature)
) | st.sampled_from([OFF, OBSERVE, ENFORCE])


@st.composite
def messages(draw: st.DrawFn) -> MessageFacts:
    client = draw(CLIENTS)
    fields = draw(st.lists(FIELDS, max_size=7))
    if client.certificate == "AA:BB" and draw(st.booleans()):
        fields.insert(0, Header(SESSION_HEADER, seal_session(SHOP, client, KEYS, NOW)))
    return MessageFacts(
        replace(client, certificate=""),
        HOST,
        QUEUE_ID,
        draw(SENDERS),
        draw(RECIPIENTS),
        tuple(fields),
        draw(st.sampled_from([False] * 9 + [True])),
    )


@st.composite
def snapshots(draw: st.DrawFn, modes: st.SearchStrategy[Modes] = MODES) -> Snapshot:
    default = draw(modes)
    return snapshot(
        *(replace(each, modes=draw(modes)) for each in TENANTS),
        logins=LOGINS,
        modes=default,
        unknown=draw(st.sampled_from(Unknown)),
        inbound=frozenset({"inbound.example"}),
        sender_id=draw(st.sampled_from(["examplesp", ""])),
        null_sender_profile=draw(st.sampled_from([None, "private"])),
        feedback_domain=draw(st.sampled_from([None, "fbl.example"])),
        unsubscribe_url=draw(st.sampled_from([None, URL])),
    )
