"""The reader of TLS reports takes anything: reports, or the one error that its docstring names."""

from __future__ import annotations

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.errors import MalformedMessage
from gatepost.tls.tlsrpt import TlsReport, read_report
from gatepost.tls.tlsrpt.mail import parse_mail

pytestmark = pytest.mark.fuzz

JSON = (
    *(
        b'{"policies":[',
        b'{"policy":{"policy-type":"sts","policy-domain":"a.example"}',
        b"}]}",
        b",",
    ),
    *(
        b'"summary":{"total-failure-session-count":3}',
        b'"failure-details":[',
        b"{",
        b"}",
        b"[",
        b"]",
    ),
    *(
        b'"date-range":{"start-datetime":"2016-04-01T00:00:00Z"}',
        b'"mx-host":"x"',
        b'"',
        b"\\",
        b":",
    ),
    *(
        b'"report-id":',
        b"null",
        b"1",
        b"-1",
        b"1e9",
        b"NaN",
        b'"\\ud800"',
        b"\xef\xbb\xbf",
        b"\xff",
    ),
)
MAIL = (
    *(
        b"Content-Type: multipart/report; report-type=tlsrpt; boundary=b\n",
        b"\n",
        b"\n--b\n",
        b"\r\n",
    ),
    *(
        b"Content-Type: application/tlsrpt+gzip\n",
        b"Content-Transfer-Encoding: base64\n",
        b"\n--b--\n",
    ),
    *(
        b"Content-Type: message/rfc822\n",
        b"Content-Transfer-Encoding: x-uuencode\n",
        b"begin 644 x\n",
    ),
    *(b"Content-Transfer-Encoding: quoted-printable\n", b"TLS-Report-Domain: a..example\n", b"=\n"),
    *(
        b"Content-Disposition: attachment; filename*0*=utf-9''%C3; filename=\"a!b!1!2.json\"\n",
        b"e30=",
    ),
)


def mixed(*words: bytes) -> st.SearchStrategy[bytes]:
    return st.lists(st.one_of(st.sampled_from(words), st.binary(max_size=6))).map(b"".join)


def read(data: bytes, name: str = "") -> tuple[TlsReport, ...]:
    try:
        return read_report(data, name)
    except MalformedMessage:
        return ()


@given(mixed(*JSON), st.sampled_from(["", "a!b.example!1!2!x.json", "!!!!"]))
def test_json(data: bytes, name: str) -> None:
    assert len(read(b'{"policies":[' + data, name)) <= 1
    read(data, name)
    read(gzip.compress(data)[: len(data) + 10], name)


@given(mixed(*MAIL, *JSON))
def test_mail(data: bytes) -> None:
    try:
        assert parse_mail(data)
    except MalformedMessage:
        return


@given(st.binary(max_size=60))
def test_noise_behind_the_first_octets_of_gzip(data: bytes) -> None:
    read(b"\x1f\x8b\x08" + data)
