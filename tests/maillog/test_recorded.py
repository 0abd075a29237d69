"""Logs of real runs, message by message against what the mail servers recorded themselves."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from gatepost.maillog.join import Joiner, deliveries
from gatepost.maillog.model import SENT, Delivery, TlsClass
from gatepost.maillog.stamps import Clock

LOGS = Path(__file__).parent / "logs"
VERSIONS = ("3.7.11", "3.10.13", "3.11.7")
# The 24th of November 2026, when they were made.
MADE_AT = 1_795_540_000.0
# From which service the log says so, and nowhere else in the world of record.py.
VERIFYING = "gp-normal-bank"


def read(name: str, *, tls_logged: bool = True) -> list[Delivery]:
    lines = (LOGS / name).read_bytes().split(b"\n")
    joiner = Joiner(Clock(MADE_AT), tls_logged=tls_logged)
    found = deliveries(lines, joiner)
    assert joiner.tally.unreadable == 0
    return found


def sent(name: str, **options: bool) -> list[Delivery]:
    return [each for each in read(name, **options) if each.status == SENT]


def recorded(version: str) -> Counter[tuple[str, str, str]]:
    """Return how often each recipient got a message at a host with a TLS version, or none."""
    arrived = json.loads((LOGS / f"{version}.json").read_text(encoding="ascii"))
    return Counter(
        # The lab's servers show a quoted address with the parameter behind it.
        (recipient.partition("> ORCPT=")[0], message["host"], message["tls"] or "")
        for message in arrived
        for recipient in message["recipients"]
    )


@pytest.mark.parametrize("version", VERSIONS)
def test_each_message_is_told_as_it_arrived(version):
    found = sent(f"{version}.log")
    assert Counter((each.recipient, each.host, each.version) for each in found) == recorded(version)
    for each in found:
        assert (each.tls is TlsClass.PLAINTEXT) == (each.version == "")
        assert (each.tls is TlsClass.AUTHENTICATED) == (each.service == VERIFYING)
        assert each.sender in {"news@private.example", "news@bank.example", "news@acme.example"}


@pytest.mark.parametrize("version", VERSIONS)
def test_a_log_that_may_not_tell_tls_is_not_called_plaintext(version):
    unsure, sure = sent(f"{version}.log", tls_logged=False), sent(f"{version}.log")
    for one, other in zip(unsure, sure, strict=True):
        assert one.tls is other.tls or (one.tls, other.tls) == (
            TlsClass.UNKNOWN,
            TlsClass.PLAINTEXT,
        )


@pytest.mark.parametrize("version", VERSIONS)
def test_what_was_refused_is_told(version):
    refused = {
        (each.service, each.host) for each in read(f"{version}.log") if each.tls is TlsClass.REFUSED
    }
    assert refused == {
        ("gp-normal-private", "mx.plain.example"),
        ("gp-normal-private", "mx.refusestls.example"),
        *(
            ("gp-normal-bank", f"mx.{kind}.example")
            for kind in ("plain", "refusestls", "selfsigned", "wrongname", "expired")
        ),
    }


@pytest.mark.parametrize("version", VERSIONS)
def test_sessions_are_fewer_than_deliveries(version):
    found = sent(f"{version}.log")
    many = [
        each for each in found if each.recipient.startswith("u") and each.recipient[1:2] in "012"
    ]
    assert [each.opens for each in many] == [True, False, False]
    reused = [
        each for each in found if each.recipient.startswith("r") and each.host == "mx.good.example"
    ]
    # r0 opened it; the others found it open.
    assert Counter(each.opens for each in reused)[True] <= 2


def test_the_format_of_3_8():
    found = read("3.8-documented.log")
    assert [(e.recipient, e.sender, e.service, e.tls, e.version, e.opens) for e in found] == [
        (
            "u@good.example",
            "news@acme.example",
            "gp-normal-private",
            "authenticated",
            "TLSv1.3",
            True,
        ),
        (
            "v@good.example",
            "news@acme.example",
            "gp-normal-private",
            "authenticated",
            "TLSv1.3",
            False,
        ),
        ("u@old.example", "", "", "encrypted", "TLSv1.2", True),
        ("u@plain.example", "news@beta.example", "", "plaintext", "", True),
        ("u@plain.example", None, "gp-normal-private", "refused", "", True),
    ]
