"""Hostile mail: any header fields, senders and keys get a decision, and never an exception."""

from __future__ import annotations

import contextlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.decisions.facts import Header, MessageFacts, RecipientFacts
from gatepost.decisions.message import decide_message
from gatepost.decisions.recipient import decide_recipient
from gatepost.decisions.tlsmap import decide_policy
from gatepost.decisions.transport import decide_transport
from gatepost.errors import RemoteProtocolError, Unavailable
from gatepost.feedback.feedback_id import encode_label, format_feedback_id
from gatepost.feedback.session import SESSION_HEADER, tenant_of_session
from gatepost.feedback.token import Purpose
from gatepost.postfix_version import OLDEST_SUPPORTED
from gatepost.snapshot import Snapshot
from gatepost.tenants.client import Client
from gatepost.wire.netstring import NetstringDecoder
from gatepost.wire.signals import CLOSED, NEED_DATA
from gatepost.wire.xtext import decode_xtext, encode_xtext
from milters.session import MessageInProgress
from tests.decisions.cases import return_path, snapshots, token
from tests.world import KEYS, NOW, edited

pytestmark = pytest.mark.fuzz

# Header values and addresses as a milter gets them: octets, read as UTF-8 where they are.
OCTETS = st.lists(
    st.one_of(
        st.sampled_from(
            [
                *(b"acme", b"shop", b"@", b".", b"example", b"bounces.example", b"<", b">", b'"'),
                *(b"(", b")", b",", b"\\", b":", b"%", b" ", b"\n\t", b"\0", b"\xff", b"\xc3"),
                *(b"examplesp", b"IPv6:", b"127.0.0.1", b"[", b"]", b"=?utf-8?q?", b"~", b"xn--"),
                *(token("acme", purpose).encode() for purpose in Purpose),
                return_path("acme").encode(),
            ]
        ),
        st.binary(max_size=5),
    ),
    max_size=12,
).map(b"".join)
TEXTS = OCTETS.map(lambda octets: octets.decode("utf-8", "surrogateescape"))
NAMES = st.sampled_from(
    ["X-Tenant-ID", "x-tenant-id", "X-Gatepost-Token", "Feedback-ID", "From", SESSION_HEADER]
)
CLIENTS = st.builds(
    Client, st.sampled_from(["", "acme", "mailer", "\udcff"]), TEXTS, TEXTS, TEXTS, TEXTS
)


@given(
    CLIENTS,
    TEXTS,
    st.lists(TEXTS, max_size=3),
    st.lists(st.builds(Header, NAMES, TEXTS)),
    snapshots(),
)
def test_a_message(client, sender: str, recipients, fields, world: Snapshot) -> None:
    facts = MessageFacts(client, sender, sender, sender, tuple(recipients), tuple(fields))
    plan = decide_message(facts, world, NOW)
    for observation in plan.observations:
        assert observation.detail.isascii()
    for action in plan.actions:
        assert repr(action).isascii()
    edited(facts, plan.actions)


@given(CLIENTS, TEXTS, TEXTS, snapshots())
def test_a_recipient(client: Client, sender: str, recipient: str, world: Snapshot) -> None:
    verdict = decide_recipient(RecipientFacts(client, sender, recipient), world, NOW)
    if verdict.reject is not None:
        assert verdict.reject.text.isascii()
        assert verdict.reject.text.isprintable()


@given(TEXTS, st.sampled_from(["tls", "tls-private", "tls-bank", "tls-standard"]), snapshots())
def test_a_key(key: str, map_name: str, world: Snapshot) -> None:
    with contextlib.suppress(Unavailable):
        assert decide_transport(key, world, NOW).service in {None, *world.services}
    policy = decide_policy(map_name, key, world, OLDEST_SUPPORTED)
    assert policy is None or re.fullmatch(r"[a-z]+( [a-z]+=[A-Za-z0-9.:>=_-]+)*", policy)


@given(TEXTS, TEXTS)
def test_labels(one: str, two: str) -> None:
    value = format_feedback_id(campaign=one, mail_type=two, tenant_id="t", sender_id="examplesp")
    assert re.fullmatch(r"[A-Za-z0-9._~%:-]+", value)
    assert value.count(":") <= 3
    assert len(encode_label(one)) <= 48


@given(TEXTS, TEXTS)
def test_a_session_header(value: str, address: str) -> None:
    assert tenant_of_session(value, Client(address=address), KEYS, NOW) is None


@given(OCTETS, OCTETS, OCTETS)
def test_what_a_milter_is_told(sender: bytes, recipient: bytes, value: bytes) -> None:
    text = sender.decode("utf-8", "surrogateescape")
    message = MessageInProgress(Client(), "", text, frozenset({"from"}))
    message.add_recipient(recipient)
    message.add_header("From", value)
    (field,) = message.facts("").headers
    assert field.value.encode("utf-8", "surrogateescape") == value


@given(
    st.lists(st.sampled_from([b"1", b"0", b"12", b":", b",", b"abc", b"-"]) | st.binary(max_size=4))
)
def test_netstrings(chunks: list[bytes]) -> None:
    decoder = NetstringDecoder(max_octets=1000)
    for chunk in [*filter(None, chunks), b""]:
        decoder.receive_data(chunk)
        try:
            while (event := decoder.next_event()) not in (NEED_DATA, CLOSED):
                assert isinstance(event, bytes | bytearray)
        except RemoteProtocolError:
            return


@given(TEXTS)
def test_xtext(text: str) -> None:
    assert decode_xtext(encode_xtext(text)) == text
