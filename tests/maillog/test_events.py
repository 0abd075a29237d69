"""What a line says: every field of it, and lines that lie."""

from __future__ import annotations

import pytest

from gatepost.maillog.events import (
    Active,
    Attempt,
    Removed,
    Tls,
    Trouble,
    Unreadable,
    parse_event,
    parse_tls_field,
)
from gatepost.maillog.model import TlsClass

HEAD = "4jYnPv2tdjz4Y: to=<u@good.example>, relay=mx.good.example[198.18.1.1]:25"
TAIL = "delay=0.07, delays=0.01/0.04/0.02/0.5, dsn=2.0.0, status=sent (250 2.0.0 taken)"


def attempt(text: str) -> Attempt:
    found = parse_event("smtp", text)
    assert isinstance(found, Attempt), found
    return found


def test_a_delivery_line():
    found = attempt(f"{HEAD}, {TAIL}")
    assert found == Attempt(
        "4jYnPv2tdjz4Y",
        "u@good.example",
        "mx.good.example",
        "198.18.1.1",
        1,
        pytest.approx(0.52),
        "0.04/0.02",
        None,
        "2.0.0",
        "sent",
        False,
        "250 2.0.0 taken",
    )


def test_a_delivery_line_with_all_that_is_optional():
    found = attempt(
        "4A: ".replace("4A", "4AAAA")
        + "to=<u@a.example>, orig_to=<x@b.example>, relay=MX.A.example[2001:db8::1]:25, conn_use=7,"
        " delay=1200, delays=10/0/0/1190, tls=dane, dsn=2.0.0, status=sent (ok)"
    )
    assert (found.host, found.address, found.use) == ("mx.a.example", "2001:db8::1", 7)
    assert (found.took_s, found.tls) == (1190, TlsClass.AUTHENTICATED)


def test_a_delivery_that_reached_no_server():
    found = attempt(
        "4jYnP30pHCz37: to=<a@b.example>, relay=none, delay=0.06, delays=0.01/0.05/0/0, dsn=5.4.4, "
        "status=bounced (Host or domain name not found.)"
    )
    assert (found.host, found.address, found.status, found.refused) == ("", "", "bounced", False)


@pytest.mark.parametrize(
    "reply",
    [
        "250 ok, relay=mx.lie.example[192.0.2.9]:25, dsn=2.0.0, status=sent (250 really)",
        "Verified TLS connection established to mx.good.example[198.18.1.1]:25: TLSv1.3 with",
        "tls=dane, dsn=2.0.0, status=sent",
        ")))) (((",
        "",
    ],
)
def test_a_reply_that_lies_is_a_reply(reply):
    line = f"{HEAD}, delay=1, delays=0/0/0/1, dsn=4.7.0, status=deferred ({reply})"
    found = attempt(line)
    assert (found.status, found.dsn, found.host) == ("deferred", "4.7.0", "mx.good.example")
    assert (found.tls, found.refused) == (None, False)


@pytest.mark.parametrize(
    "local",
    [
        '"x>, relay=mx.lie[192.0.2.1]:25, delay=1, delays=0/0/0/1, dsn=2.0.0, status=sent (ok)"',
        r'"a\">, relay=b"',
        '"<>"',
        '""',
    ],
)
def test_an_address_that_lies_stays_within_its_quotes(local):
    found = attempt(
        f"4AAAA: to=<{local}@plain.example>, relay=mx.plain.example[192.0.2.2]:25, {TAIL}"
    )
    assert (found.recipient, found.host) == (f"{local}@plain.example", "mx.plain.example")


@pytest.mark.parametrize("cut", range(10, len(HEAD) + len(TAIL) - 21, 9))
def test_a_line_that_was_cut_off_is_told(cut):
    text = f"{HEAD}, {TAIL}"[:cut]
    found = parse_event("smtp", text)
    assert found in (Unreadable.LINE, None) or isinstance(found, Trouble)
    if text.startswith("4jYnPv2tdjz4Y: to=<"):
        assert found is Unreadable.LINE


def test_a_line_that_was_cut_off_in_the_reply_is_whole_enough():
    assert attempt(f"{HEAD}, {TAIL}"[:-8]).status == "sent"


@pytest.mark.parametrize(
    ("reason", "refused"),
    [
        ("TLS is required, but was not offered by host mx.a.example[192.0.2.1]", True),
        ("TLS is required, but host mx.a.example[192.0.2.1] refused to start TLS: 454 no", True),
        ("Server certificate not verified", True),
        ("Server certificate not trusted", True),
        # A time-out or a server that is busy looks like this, too.
        ("Cannot start TLS: handshake failure", False),
        (
            "host mx.a.example[192.0.2.1] said: 450 TLS is required, but was not offered by host",
            False,
        ),
        ("TLS is required, but our TLS engine is unavailable", False),
    ],
)
def test_what_was_refused_for_want_of_tls(reason, refused):
    line = f"{HEAD}, delay=1, delays=0/0/0/1, dsn=4.7.4, status=deferred ({reason})"
    assert attempt(line).refused is refused


def test_the_field_of_3_11_tells_a_refusal():
    line = f"{HEAD}, delay=1, delays=0/0/0/1, tls=!encrypt, dsn=4.7.4, status=deferred (x)"
    assert attempt(line).refused


@pytest.mark.parametrize(
    ("field", "tls"),
    [
        ("none", TlsClass.PLAINTEXT),
        ("may", TlsClass.ENCRYPTED),
        ("may:none", TlsClass.PLAINTEXT),
        ("may?", None),
        ("verify?", None),
        ("encrypt", TlsClass.ENCRYPTED),
        ("verify", TlsClass.AUTHENTICATED),
        ("secure", TlsClass.AUTHENTICATED),
        ("fingerprint", TlsClass.AUTHENTICATED),
        ("dane", TlsClass.AUTHENTICATED),
        ("dane-only", TlsClass.AUTHENTICATED),
        ("half-dane", TlsClass.ENCRYPTED),
        ("dane:half-dane", TlsClass.ENCRYPTED),
        ("dane:encrypt", TlsClass.ENCRYPTED),
        ("dane:may", TlsClass.ENCRYPTED),
        ("!encrypt", TlsClass.UNKNOWN),
        ("dane/requiretls", TlsClass.AUTHENTICATED),
        ("(may)", TlsClass.ENCRYPTED),
        ("may:none/!requiretls", TlsClass.PLAINTEXT),
        ("something-new", TlsClass.UNKNOWN),
        ("dane:something-new", TlsClass.UNKNOWN),
        ("", TlsClass.UNKNOWN),
    ],
)
def test_the_field_of_3_11(field, tls):
    assert parse_tls_field(field) is tls


@pytest.mark.parametrize("word", ["established", "reused"])
@pytest.mark.parametrize(
    ("trust", "tls"),
    [
        ("Anonymous", TlsClass.ENCRYPTED),
        ("Untrusted", TlsClass.ENCRYPTED),
        ("Trusted", TlsClass.ENCRYPTED),
        ("Verified", TlsClass.AUTHENTICATED),
    ],
)
def test_a_tls_line(word, trust, tls):
    text = (
        f"{trust} TLS connection {word} to MX.good.example[198.18.1.1]:25: TLSv1.3 with cipher "
        "TLS_AES_256_GCM_SHA384 (256/256 bits) key-exchange X25519"
    )
    assert parse_event("smtp", text) == Tls(tls, "mx.good.example", "198.18.1.1", "TLSv1.3")


@pytest.mark.parametrize(
    "text",
    [
        "x Verified TLS connection established to mx.a[192.0.2.1]:25: TLSv1.3 with cipher X",
        "Verified TLS connection established from mx.a[192.0.2.1]: TLSv1.3 with cipher X",
        "SSL_connect error to mx.a.example[192.0.2.1]:25: lost connection",
        "warning: TLS library problem: error:0A00014D",
        "certificate verification failed for mx.a[192.0.2.1]:25: self-signed certificate",
        "connect to mx.a.example[192.0.2.1]:25: Connection refused",
        "TLSRPT: status=success, domain=a.example",
        "4jYnPv2tdjz4Y: breaking line > 998 bytes with <CR><LF>SPACE",
        "4jYnPv2tdjz4Y: enabling PIX workarounds: disable_esmtp for mx.a[192.0.2.1]:25",
    ],
)
def test_lines_that_tell_nothing(text):
    assert parse_event("smtp", text) is None


@pytest.mark.parametrize(
    ("rest", "ended"),
    [
        ("lost connection with mx.a[192.0.2.1] while sending DATA command", True),
        ("conversation with mx.a[192.0.2.1] timed out while sending RCPT TO", True),
        ("host mx.a[192.0.2.1] said: 451 later (in reply to RCPT TO command)", True),
        ("Cannot start TLS: handshake failure", True),
        ("something that a later version says", False),
    ],
)
def test_trouble_in_the_middle_of_a_message(rest, ended):
    assert parse_event("smtp", f"4jYnPv2tdjz4Y: {rest}") == Trouble("4jYnPv2tdjz4Y", ended)


@pytest.mark.parametrize(
    ("text", "event"),
    [
        (
            "4AAAA: from=<a@b.example>, size=393, nrcpt=1 (queue active)",
            Active("4AAAA", "a@b.example"),
        ),
        ("4AAAA: from=<>, size=393, nrcpt=1 (queue active)", Active("4AAAA", "")),
        (
            '4AAAA: from=<"x>, size=1"@b.example>, size=393, nrcpt=1 (queue active)',
            Active("4AAAA", '"x>, size=1"@b.example'),
        ),
        ("4AAAA: removed", Removed("4AAAA")),
        ("4AAAA: from=<a@b.example>, status=expired, returned to sender", None),
        ("4AAAA: skipped, still being delivered: removed", None),
        (
            "4AAAA: to=<a@b>, relay=none, delay=1, delays=1/0/0/0, dsn=4.3.0, status=deferred (x)",
            None,
        ),
    ],
)
def test_the_queue_manager(text, event):
    assert parse_event("qmgr", text) == event
