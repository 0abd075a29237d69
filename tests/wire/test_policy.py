"""The policy codec; tests/dialogs/policy has the conversations."""

from __future__ import annotations

import pytest

from gatepost.errors import LocalProtocolError, RemoteProtocolError
from gatepost.wire.attributes import MAX_LIST_OCTETS
from gatepost.wire.policy import (
    MAX_ACTION_OCTETS,
    AccessRequest,
    Action,
    AdmitRequest,
    Disconnect,
    PolicyClient,
    PolicyServer,
)
from gatepost.wire.signals import CLOSED, NEED_DATA

REFUSED = "refused"
DUNNO = Action("DUNNO")

RCPT = {
    "request": "smtpd_access_policy",
    "protocol_state": "RCPT",
    "client_address": "192.0.2.7",
    "client_port": "51234",
    "sender": "bounce+user=example.org@news.acme.example",
    "recipient": "user@example.org",
    "recipient_count": "0",
    "queue_id": "4Xyz",
    "instance": "1a2b.6740f1a2.3c4d5.0",
    "size": "10240",
    "sasl_username": "acme",
    "ccert_fingerprint": "C2:9D",
    "policy_context": "submission",
}
ADMIT = AdmitRequest(
    tenant="acme",
    sasl_username="platform",
    queue_id="4Xyz",
    sender="",
    recipients=('"a b"@example.org', "x+y=z@example.org", "é@example.org", "\udcff@example.org"),
    message="0123456789abcdef",
    campaign="spring = 1\r\n\udcff",
)


def lines(attributes: dict[str, str]) -> bytes:
    return "".join(f"{k}={v}\n" for k, v in attributes.items()).encode() + b"\n"


def test_access_request(feed):
    assert feed(PolicyServer, lines(RCPT), reply=DUNNO) == [AccessRequest(RCPT), NEED_DATA]
    assert feed(PolicyServer, lines(RCPT) * 3, reply=DUNNO, eof=True) == [
        *[AccessRequest(RCPT)] * 3,
        CLOSED,
    ]


def test_attributes_by_name():
    request = AccessRequest(RCPT)
    names = set(RCPT) - {"request"}
    assert {name: str(getattr(request, name)) for name in names} == {n: RCPT[n] for n in names}
    assert (request.size, request.recipient_count) == (10240, 0)


def test_attributes_that_were_not_sent_are_empty_or_zero():
    request = AccessRequest({"request": "smtpd_access_policy", "size": ""})
    for name in set(RCPT) - {"request", "size", "recipient_count"}:
        assert getattr(request, name) == ""
    assert (request.size, request.recipient_count) == (0, 0)


@pytest.mark.parametrize(
    "attributes",
    [
        pytest.param({"protocol_state": "RCPT"}, id="no request"),
        pytest.param({"request": ""}, id="empty request"),
        pytest.param({"request": "SMTPD_ACCESS_POLICY"}, id="wrong case"),
        pytest.param({"request": "junk"}, id="unknown request"),
        pytest.param({**RCPT, "size": "-1"}, id="negative size"),
        pytest.param({**RCPT, "size": "1_0"}, id="underscore"),
        pytest.param({**RCPT, "size": " 1"}, id="blank"),
        pytest.param({**RCPT, "size": "1\r"}, id="carriage return"),
        pytest.param({**RCPT, "size": "9" * 20}, id="too long a number"),
        pytest.param({**RCPT, "recipient_count": "\u0661"}, id="another script's digit"),
        pytest.param({"request": "gatepost_admit", "recipients": "a@b"}, id="no tenant"),
        pytest.param({"request": "gatepost_admit", "tenant": "a"}, id="no recipients"),
        pytest.param({"request": "gatepost_admit", "tenant": "a", "recipients": ""}, id="none"),
        pytest.param({"request": "gatepost_admit", "tenant": "", "recipients": "a"}, id="empty"),
        pytest.param(
            {"request": "gatepost_admit", "tenant": "a", "recipients": "a b\u00e9"}, id="x"
        ),
    ],
)
def test_refused(feed, attributes):
    assert feed(PolicyServer, lines(attributes)) == [REFUSED]
    # Nothing that comes behind such a request is listened to.
    assert feed(PolicyServer, lines(attributes) + lines(RCPT)) == [REFUSED]


def asked() -> PolicyServer:
    codec = PolicyServer()
    codec.receive_data(lines(RCPT))
    codec.next_event()
    return codec


@pytest.mark.parametrize(
    ("action", "data"),
    [
        ("DUNNO", b"action=DUNNO\n\n"),
        ("553 5.7.1 not yours", b"action=553 5.7.1 not yours\n\n"),
        ("REJECT a=b", b"action=REJECT a=b\n\n"),
        ("REJECT \u00e9\udcff\t", b"action=REJECT \xc3\xa9\xff\t\n\n"),
        ("x" * MAX_ACTION_OCTETS, b"action=" + b"x" * MAX_ACTION_OCTETS + b"\n\n"),
    ],
)
def test_actions(action, data):
    assert asked().send(Action(action)) == data


@pytest.mark.parametrize(
    "action",
    ["", "a\nb", "a\n\naction=OK", "a\rb", "a\0b", "x" * (MAX_ACTION_OCTETS + 1), "\ud800"],
)
def test_actions_that_cannot_be_sent(action):
    codec = asked()
    with pytest.raises(LocalProtocolError):
        codec.send(Action(action))
    assert codec.send(DUNNO) == b"action=DUNNO\n\n"


def test_disconnect_sends_nothing_and_ends_everything():
    codec = PolicyServer()
    codec.receive_data(lines(RCPT) * 2)
    codec.next_event()
    assert codec.send(Disconnect("the database is down")) == b""
    assert codec.next_event() is CLOSED


def test_admit(feed):
    data = PolicyClient().send(ADMIT)
    assert data == (
        b"request=gatepost_admit\ntenant=acme\nsasl_username=platform\nqueue_id=4Xyz\nsender=\n"
        b"message=0123456789abcdef\ncampaign=spring+20+3D+201+0D+0A+FF\n"
        b'recipients="a+20b"@example.org x+2By+3Dz@example.org +C3+A9@example.org'
        b" +FF@example.org\n\n"
    )
    assert feed(PolicyServer, data, reply=DUNNO) == [ADMIT, NEED_DATA]


def test_admit_with_the_least_that_it_needs(feed):
    data = b"request=gatepost_admit\ntenant=a\nrecipients=b@c\n\n"
    assert feed(PolicyServer, data, reply=DUNNO) == [
        AdmitRequest("a", "", "", "", ("b@c",)),
        NEED_DATA,
    ]


def test_a_thousand_of_the_longest_recipients_are_admitted():
    longest = "l" * 64 + "@" + "d" * 189
    request = AdmitRequest("a" * 31, "login", "4Xyz", "s" * 254, (longest,) * 1000)
    codec = PolicyServer()
    codec.receive_data(PolicyClient().send(request))
    assert codec.next_event() == request


@pytest.mark.parametrize(
    "request_",
    [
        AdmitRequest("", "", "", "", ("a@b",)),
        AdmitRequest("a", "", "", "", ()),
        AdmitRequest("a", "", "", "", ("a@b", "")),
        AdmitRequest("a", "b\nrequest=x", "", "", ("a@b",)),
        AdmitRequest("a", "", "", "x" * MAX_LIST_OCTETS, ("a@b",)),
    ],
)
def test_admission_requests_that_cannot_be_sent(request_):
    with pytest.raises(LocalProtocolError):
        PolicyClient().send(request_)


def client() -> PolicyClient:
    codec = PolicyClient()
    codec.send(ADMIT)
    return codec


def test_client_reads_the_answer(feed):
    assert feed(client, b"action=DUNNO\n\n") == [DUNNO, NEED_DATA]
    assert feed(client, b"action=550 5.7.1 a=b\nextra=x\n\n") == [
        Action("550 5.7.1 a=b"),
        NEED_DATA,
    ]


def test_client_sees_that_the_server_hung_up(feed):
    assert feed(client, b"", eof=True) == [CLOSED]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"action=\n\n", id="empty action"),
        pytest.param(b"reply=x\n\n", id="no action"),
        pytest.param(b"action=" + b"x" * (MAX_ACTION_OCTETS + 1) + b"\n\n", id="too long"),
    ],
)
def test_client_refuses_other_answers(feed, data):
    assert feed(client, data) == [REFUSED]


def test_client_refuses_half_an_answer(feed):
    assert feed(client, b"action=DUN", eof=True) == [REFUSED]


def test_client_refuses_a_second_answer(feed):
    assert feed(client, b"action=DUNNO\n\naction=DUNNO\n\n") == [DUNNO, REFUSED]


def test_client_asks_one_at_a_time():
    codec = client()
    with pytest.raises(LocalProtocolError, match="no answer yet"):
        codec.send(ADMIT)
    codec.receive_data(b"action=DUNNO\n\n")
    assert codec.next_event() == DUNNO
    assert codec.send(ADMIT)
    codec.receive_data(b"")
    assert codec.next_event() is CLOSED
    with pytest.raises(LocalProtocolError):
        codec.receive_data(b"x")


def test_an_answer_nobody_asked_for():
    codec = PolicyClient()
    codec.receive_data(b"action=DUNNO\n\n")
    with pytest.raises(RemoteProtocolError, match="nobody asked"):
        codec.send(ADMIT)
    with pytest.raises(RemoteProtocolError, match="nobody asked"):
        codec.next_event()
