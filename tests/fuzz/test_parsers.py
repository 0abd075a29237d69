"""Every parser takes anything: an answer, or the error that its docstring names, and nothing else.

Input is made of the words of the format and of noise, so that it gets past the first check. The
properties that a parser has beyond that are tested beside the other tests of its package.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.domains import domain_of, normalise_domain, parents
from gatepost.errors import MalformedMessage, RemoteProtocolError
from gatepost.feedback.token import Keyring, Purpose, Token, day_of, open_token, seal_token
from gatepost.postfix import main_cf, master_cf
from gatepost.postfix_version import parse_version
from gatepost.settings import tree
from gatepost.tenants.authors import author_domains
from gatepost.tenants.identity import parse_address
from gatepost.tls.nexthop import nexthop_domain
from gatepost.wire.policy import Action, AdmitRequest, PolicyClient, PolicyServer
from gatepost.wire.signals import CLOSED, NEED_DATA, Signal
from gatepost.wire.socketmap import NotFound, SocketmapServer
from gatepost.wire.xtext import decode_xtext

pytestmark = pytest.mark.fuzz

KEYRING = Keyring({0: bytes(range(32)), 7: bytes(32)}, 7)
NOW = 1_700_000_000.0


def mixed(*words: bytes) -> st.SearchStrategy[bytes]:
    return st.lists(st.one_of(st.sampled_from(words), st.binary(max_size=6))).map(b"".join)


def text_of(words: str) -> st.SearchStrategy[str]:
    word = st.one_of(st.sampled_from(words.split(" ")), st.text(max_size=4))
    return st.lists(word, max_size=30).map("".join)


SOCKETMAP = mixed(
    *(b"17:transport a@b.cd,", b"13:tls acme.test,", b"3:a b,", b"0:,", b"01:", b"99999999:", b":"),
    *(b",", b"12:", b"tls \xc3\xa9", b"-1:", b" "),
)
POLICY = mixed(
    *(b"request=smtpd_access_policy\n", b"request=gatepost_admit\n", b"protocol_state=RCPT\n"),
    *(b"sender=a@b.cd\n", b"size=12\n", b"size=-1\n", b"recipient_count=x\n", b"tenant=acme\n"),
    *(b"recipients=a@b.cd\n", b"recipients=+41,+4\n", b"=\n", b"=", b"\n\n", b"\n", b"\0", b"\r\n"),
)
REPLY = mixed(b"action=DUNNO\n\n", b"action=", b"REJECT no", b"\n", b"\n\n", b"x=y\n", b"=")


def cut(data: bytes, places: list[int]) -> list[bytes]:
    bounds = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    chunks = [data[a:b] for a, b in itertools.pairwise(bounds)]
    return [*(chunk for chunk in chunks if chunk), b""]


def talk(codec: Any, chunks: list[bytes], reply: Any) -> list[Any]:
    """Return what a server makes of a stream: its requests, and how it ended."""
    events: list[Any] = []
    for chunk in chunks:
        codec.receive_data(chunk)
        try:
            while (event := codec.next_event()) is not NEED_DATA:
                if event is CLOSED:
                    return [*events, CLOSED]
                events.append(event)
                assert codec.send(reply)
        except RemoteProtocolError:
            return [*events, RemoteProtocolError]
    raise AssertionError("the stream has ended, and the server still waits")


@given(SOCKETMAP, st.lists(st.integers(0, 400), max_size=8))
def test_socketmap_server(data: bytes, places: list[int]) -> None:
    whole = talk(SocketmapServer(), cut(data, []), NotFound())
    assert talk(SocketmapServer(), cut(data, places), NotFound()) == whole


@given(POLICY, st.lists(st.integers(0, 400), max_size=8))
def test_policy_server(data: bytes, places: list[int]) -> None:
    whole = talk(PolicyServer(), cut(data, []), Action("DUNNO"))
    assert talk(PolicyServer(), cut(data, places), Action("DUNNO")) == whole


@given(REPLY)
def test_policy_client(data: bytes) -> None:
    client = PolicyClient()
    client.send(AdmitRequest("acme", "mailer", "4Q", "a@acme.example", ("b@example.org",)))
    for chunk in cut(data, []):
        client.receive_data(chunk)
        try:
            event = client.next_event()
        except RemoteProtocolError:
            return
        assert isinstance(event, Action | Signal)


@pytest.mark.parametrize("purpose", Purpose)
@given(text=text_of("a b c d 2 3 4 5 6 7 aaaaaaaaaaaaaaaaaaaaaaaa 777777777777"))
def test_token(purpose: Purpose, text: str) -> None:
    with pytest.raises(MalformedMessage):
        open_token(text, purpose, KEYRING, NOW)


@given(st.integers(0, 47), st.sampled_from("abcdefghijklmnopqrstuvwxyz234567"))
def test_a_token_with_one_other_character_is_refused(place: int, character: str) -> None:
    token = Token(5, b"12345678", 1, day_of(NOW))
    good = seal_token(token, Purpose.BOUNCE, KEYRING)
    assert open_token(good, Purpose.BOUNCE, KEYRING, NOW) == token
    changed = good[:place] + character + good[place + 1 :]
    if changed != good:
        with pytest.raises(MalformedMessage):
            open_token(changed, Purpose.BOUNCE, KEYRING, NOW)


def answers_or(error: type[Exception] | None, parse: Callable[[Any], Any], value: Any) -> Any:
    if error is None:
        return parse(value)
    try:
        return parse(value)
    except error:
        return None


@pytest.mark.parametrize(
    ("parse", "error"),
    [
        (normalise_domain, MalformedMessage),
        (domain_of, None),
        (nexthop_domain, None),
        (parse_address, None),
        (author_domains, None),
        (decode_xtext, RemoteProtocolError),
        (parse_version, MalformedMessage),
    ],
)
@given(
    text=text_of(
        'a @ . .. - _ xn-- xn--a [ ] [192.0.2.1] ::ffff: :: : 587 %lo < > , ; ( ) \\ " '
        "+ +4 +41 3.7 example.org \u3002 \xdf \u200d \udcff \0"
    )
)
def test_small_parsers(
    parse: Callable[[str], Any], error: type[Exception] | None, text: str
) -> None:
    answers_or(error, parse, text)


@given(text_of("a . - _ xn-- xn--a \xe9 \u3002 A example.org \u0130"))
def test_a_normal_domain_stays_as_it_is(text: str) -> None:
    domain = answers_or(MalformedMessage, normalise_domain, text)
    if domain is not None:
        assert normalise_domain(domain) == domain
        assert all(domain.endswith(parent) for parent in parents(domain))


CF = text_of(
    "smtp inet unix - n y smtpd -o -o\ta=b {a=b} { } = a a=b \n # #x $a ${a?{b}:{c}} , \\ \r \t "
    "\n\n \n\t smtpd_milters=x"
)


@given(CF)
def test_main_cf_values_are_found_where_they_are_said_to_be(text: str) -> None:
    for parameter in main_cf.parameters(text):
        assert (
            text[parameter.start : parameter.end].split() == parameter.value.split() or "#" in text
        )


@given(CF)
def test_master_cf(text: str) -> None:
    master_cf.services(text)


@given(
    mixed(
        *(b"a: ", b"- ", b"\n", b"  ", b"{", b"}", b"[", b"]", b"&x ", b"*x", b"<<: *x", b"!!int "),
        *(
            b"'",
            b'"',
            b"|\n",
            b"? ",
            b"%YAML 1.1\n",
            b"---\n",
            b"...",
            b"\t",
            b"1",
            b"#",
            b"\xff\xfe",
        ),
    )
)
def test_yaml(data: bytes) -> None:
    answers_or(tree.Unreadable, tree.parse, data)
