"""Suppression lists as CSV."""

from __future__ import annotations

import csv
import dataclasses
import io
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.errors import MalformedMessage
from gatepost.feedback.rules import SuppressionRules
from gatepost.feedback.suppression import Reason, Suppressed
from gatepost.feedback.suppression_table import (
    HEADER,
    MAX_LINE,
    BadLine,
    Defaults,
    bounded_lines,
    format_time,
    parse_time,
    read_entries,
    row_of,
)

NOW = 1_800_000_000.0
DAY = 86_400
DEFAULTS = Defaults("acme", ("acme",), None, None, "import of x.csv", "", NOW, SuppressionRules())
OPEN = dataclasses.replace(DEFAULTS, tenant=None)


def read(text: str, defaults: Defaults = DEFAULTS) -> list[Suppressed | BadLine]:
    return list(read_entries(io.StringIO(text, newline=""), defaults))


def entry(address: str, reason: Reason = Reason.MANUAL, **fields: object) -> Suppressed:
    values = {"at": NOW, "source": "import of x.csv", **fields}
    return Suppressed("acme", address, reason, **values)  # type: ignore[arg-type]


def test_a_bare_list_of_addresses() -> None:
    text = '\n# people\n\nAnn@example.org\r\n "a b"@example.org\nnonsense\nbob@example.org'
    assert read(text) == [
        entry("ann@example.org"),
        entry('"a b"@example.org'),
        BadLine(6, "'nonsense' is not an address (RFC 5321 §4.1.2)"),
        entry("bob@example.org"),
    ]


def test_an_empty_file_holds_nothing() -> None:
    assert read("") == read("\n\n# nothing\n") == []


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_our_own_columns_in_any_order(separator: str) -> None:
    text = (
        "Reason,Address,Note,Expires,Since,Other\n"
        "complaint,ann@example.org,by phone,,2026-11-24T00:00:00Z,1\n"
        "manual,bob@example.org,,2027-11-24,2026-11-24,2\n"
        ",carl@example.org\n"
    ).replace(",", separator)
    at = parse_time("2026-11-24")
    assert read(text) == [
        entry("ann@example.org", Reason.COMPLAINT, at=at, note="by phone"),
        entry("bob@example.org", at=at, expires=parse_time("2027-11-24")),
        entry("carl@example.org"),
    ]


def test_exports_of_sendgrid() -> None:
    text = (
        "status,reason,email,created\n"
        '5.1.1,"550 5.1.1 no such user, ""x""",ann@example.org,1799999000\n'
    )
    assert read(text, dataclasses.replace(DEFAULTS, reason=Reason.HARD_BOUNCE)) == [
        entry(
            "ann@example.org",
            Reason.HARD_BOUNCE,
            at=1_799_999_000.0,
            expires=1_799_999_000.0 + 90 * DAY,
        )
    ]
    # Without --reason, the text of the bounce is no reason of ours.
    (bad,) = read(text)
    assert isinstance(bad, BadLine)
    assert bad.line == 2
    assert "is no reason" in bad.problem


def test_exports_of_amazon_ses() -> None:
    text = (
        "EmailAddress,Reason,LastUpdateTime\n"
        "ann@example.org,BOUNCE,2027-01-15T07:00:00.123000+00:00\n"
        "bob@example.org,COMPLAINT,\n"
    )
    at = parse_time("2027-01-15T07:00:00.123Z")
    assert read(text) == [
        entry("ann@example.org", Reason.HARD_BOUNCE, at=at, expires=at + 90 * DAY),
        entry("bob@example.org", Reason.COMPLAINT),
    ]


def test_exports_of_mailgun() -> None:
    text = 'address,tags,created_at\nann@example.org,*,"Fri, 15 Jan 2027 07:00:00 UTC"\n'
    at = parse_time("2027-01-15T07:00:00Z")
    assert read(text, dataclasses.replace(DEFAULTS, reason=Reason.UNSUBSCRIBE)) == [
        entry("ann@example.org", Reason.UNSUBSCRIBE, at=at)
    ]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("x,complaint,,,acme", "'x' is not an address"),
        ("a@b.example,anger,,,acme", "anger is no reason"),
        ("a@b.example,complaint,yesterday,,acme", "'yesterday' is no time"),
        ("a@b.example,complaint,,2030-01-01,acme", "the reason complaint has no end"),
        ("a@b.example,complaint,,,zeta", "it is for the list of 'zeta'"),
        ("a@b.example,complaint,,,", "it is for the list of ''"),
        ("a\udcff@b.example,complaint,,,acme", "is not UTF-8"),
    ],
)
def test_bad_lines_have_their_number_and_what_is_wrong(line: str, problem: str) -> None:
    good = "ok@b.example,complaint,,,acme"
    text = f"address,reason,since,expires,tenant\n{good}\n{line}\n{good}\n"
    first, bad, last = read(text)
    assert first == last == entry("ok@b.example", Reason.COMPLAINT)
    assert isinstance(bad, BadLine)
    assert bad.line == 3
    assert problem in bad.problem


def test_lists_of_several_tenants_need_a_column_for_them() -> None:
    text = (
        "tenant,address,reason\nacme,ann@example.org,complaint\n,bob@example.org,\n"
        ",c@d.example,manual\n"
    )
    ours, invalid, bad, nobody = read(f"{text}other,d@e.example,\n", OPEN)
    assert ours == entry("ann@example.org", Reason.COMPLAINT)
    assert invalid == dataclasses.replace(entry("bob@example.org", Reason.INVALID), tenant="")
    assert bad == BadLine(
        4, "the global list takes addresses with the reason invalid alone (suppression)"
    )
    assert nobody == BadLine(5, "there is no tenant 'other' (suppression)")
    assert read("ann@example.org\n", OPEN) == [
        BadLine(1, "no column tells whose list it is for (suppression)")
    ]


@pytest.mark.parametrize("text", ["name,reason\n", "hello\n", "\0\n", '"unclosed\n'])
def test_a_header_without_addresses_is_refused(text: str) -> None:
    with pytest.raises(MalformedMessage, match="neither an address nor a column"):
        read(text)


def test_a_quote_that_is_never_closed_is_one_bad_line() -> None:
    rest = "".join(f"user{number}@example.org,manual\n" for number in range(20_000))
    found = read(f'address,reason\n"oops@example.org,manual\n{rest}')
    assert isinstance(found[0], BadLine)
    assert found[0].line == 2


def test_lines_that_are_too_long_are_cut_and_bad() -> None:
    text = "a@example.org\n" + "x" * (3 * MAX_LINE) + "@example.org\nb@example.org"
    found = list(read_entries(bounded_lines(io.StringIO(text).readline), DEFAULTS))
    assert [type(each) for each in found] == [Suppressed, BadLine, Suppressed]
    assert found[1].line == 2  # type: ignore[union-attr]


ENTRIES = st.builds(
    lambda local, reason, days, ends, note: Suppressed(
        "acme",
        f"{local}@example.org",
        reason,
        NOW - days * DAY,
        NOW + ends * DAY if ends and reason.may_expire else None,
        "a source",
        note,
    ),
    st.text(string.ascii_lowercase + "+.", min_size=1, max_size=20),
    st.sampled_from([r for r in Reason if not r.lifted_by_delivery]),
    st.integers(0, 1000),
    st.integers(0, 3),
    st.text(st.characters(codec="utf-8", exclude_categories=["C"]), max_size=20).map(str.strip),
)


@given(st.lists(ENTRIES))
def test_what_is_written_is_read_again(entries: list[Suppressed]) -> None:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(HEADER)
    writer.writerows(map(row_of, entries))
    file.seek(0)
    assert list(read_entries(file, OPEN)) == entries


@given(st.text(max_size=300))
def test_every_text_is_read_or_refused(text: str) -> None:
    try:
        found = read(text, OPEN)
    except MalformedMessage:
        return
    for each in found:
        assert isinstance(each, Suppressed | BadLine)


@given(st.text(max_size=40))
def test_every_time_is_read_or_refused(text: str) -> None:
    try:
        at = parse_time(text)
    except MalformedMessage:
        return
    assert parse_time(format_time(at)) == int(at)
