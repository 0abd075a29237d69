"""TLS reports as RFC 8460 has them, as they come, and as an attacker would send them."""

from __future__ import annotations

import copy
import gzip
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.errors import MalformedMessage
from gatepost.tls.tlsrpt import FailureDetail, TlsReport, read_report
from gatepost.tls.tlsrpt import limits as bounds
from gatepost.tls.tlsrpt.fields import parse_time
from gatepost.tls.tlsrpt.json_report import hints_of_name, parse_json
from tests.tls.tlsrpt.example import DAY, PLAIN, changed, octets


def parsed(change: Callable[[Any], object]) -> TlsReport:
    return parse_json(octets(changed(change)))


def test_a_report_as_in_the_standard() -> None:
    report = parse_json(octets())
    assert (report.organization, report.report_id) == ("Company-X", PLAIN["report-id"])
    assert (report.start, report.end) == (DAY, DAY + 86399)
    assert report.contact == "sts-reporting@company-x.example"
    assert report.deviations == ()
    [policy] = report.policies
    assert (policy.domain, policy.policy_type) == ("company-y.example", "sts")
    assert (policy.successes, policy.failures, policy.unexplained) == (5326, 303, 0)
    assert policy.mx_hosts == ("*.mail.company-y.example",)
    assert policy.strings[1] == "mode: testing"
    assert policy.details[1] == FailureDetail(
        "starttls-not-supported",
        200,
        sending_ip="2001:db8:abcd:0013::1",
        receiving_host="mx2.mail.company-y.example",
        receiving_ip="203.0.113.56",
        information="https://reports.company-x.example/info?id=5065427c",
    )
    assert policy.details[2].reason == "X509_V_ERR_PROXY_PATH_LENGTH_EXCEEDED"


def policy(document: Any) -> Any:
    return document["policies"][0]["policy"]


def summary(document: Any) -> Any:
    return document["policies"][0]["summary"]


def detail(document: Any) -> Any:
    return document["policies"][0]["failure-details"][0]


def put(place: Callable[[Any], Any], name: str, value: object) -> Callable[[Any], object]:
    return lambda document: place(document).__setitem__(name, value)


def whole(document: Any) -> Any:
    return document


def dates(document: Any) -> Any:
    return document["date-range"]


# What senders were seen to make of it; everything else in the report must come out as before.
@pytest.mark.parametrize(
    ("change", "deviation"),
    [
        (put(policy, "mx-host", "*.mail.company-y.example"), "mx-host is a text"),
        (
            put(policy, "policy-string", "\r\n".join(policy(PLAIN)["policy-string"])),
            "policy-string is a text",
        ),
        (put(summary, "total-failure-session-count", "303"), "count is a text"),
        (put(summary, "total-failure-session-count", 303.0), "written with a point"),
        (lambda d: summary(d).pop("total-failure-session-count"), "summary is incomplete"),
        (put(whole, "policies", copy.deepcopy(PLAIN["policies"][0])), "policies is an object"),
        (put(dates, "start-datetime", "2016-04-01T00:00:00"), "start-datetime is not as in RFC"),
        (put(dates, "start-datetime", "2016-04-01 00:00:00Z"), "start-datetime is not as in RFC"),
        (put(dates, "start-datetime", "2016-04-01"), "start-datetime is not as in RFC 3339"),
        (put(dates, "start-datetime", int(DAY)), "start-datetime is not as in RFC 3339"),
        (put(dates, "start-datetime", str(int(DAY))), "start-datetime is not as in RFC 3339"),
        (lambda d: d.__setitem__("date_range", d.pop("date-range")), "is called 'date_range'"),
        (put(policy, "policy-domain", "Company-Y.example."), None),
        (put(policy, "policy-type", "STS"), None),
        (put(dates, "start-datetime", "2016-04-01T02:00:00+02:00"), None),
        (put(dates, "start-datetime", "2016-04-01T00:00:00.000Z"), None),
        (lambda d: policy(d).__setitem__("mx-host-pattern", policy(d).pop("mx-host")), "mx-host"),
    ],
)
def test_deviations_are_read_as_what_they_mean(
    change: Callable[[Any], object], deviation: str | None
) -> None:
    report = parsed(change)
    plain = parse_json(octets())
    assert report.policies == plain.policies
    assert (report.start, report.key) == (plain.start, plain.key)
    assert (
        any(deviation in each for each in report.deviations)
        if deviation
        else (report.deviations == ())
    )


@pytest.mark.parametrize(
    ("change", "attribute", "value"),
    [
        (put(whole, "contact-info", None), "contact", ""),
        (lambda d: d.pop("contact-info"), "contact", ""),
        (lambda d: d.pop("organization-name"), "organization", "company-x.example"),
        (lambda d: d.pop("date-range"), "start", None),
        (put(dates, "start-datetime", "yesterday"), "start", None),
        (put(whole, "report-id", 7), "report_id", "7"),
        (put(whole, "policies", []), "policies", ()),
    ],
)
def test_missing_fields_leave_a_gap_and_a_note(
    change: Callable[[Any], object], attribute: str, value: object
) -> None:
    report = parsed(change)
    assert getattr(report, attribute) == value
    assert report.deviations or attribute == "policies"


@pytest.mark.parametrize(
    ("change", "deviations"),
    [
        (lambda d: dates(d).pop("start-datetime"), ("start-datetime is missing",)),
        (put(dates, "start-datetime", "soon"), ("start-datetime is no time",)),
        (put(dates, "start-datetime", True), ("start-datetime is no time",)),
        (put(policy, "mx-host", 7), ("mx-host is no list",)),
        (put(policy, "mx-host", None), ()),
        (put(whole, "contact-info", {}), ("contact-info is no text",)),
        (put(whole, "contact-info", ""), ("contact-info is missing",)),
        (put(whole, "contact-info", ["a@b.example"]), ("contact-info is a list",)),
        (put(whole, "organization-name", 3), ("organization-name is a number",)),
        (
            put(policy, "policy-domain", "a b"),
            ("policy-domain is no domain", "policy-domain is missing"),
        ),
        (lambda d: policy(d).pop("policy-domain"), ("policy-domain is missing",)),
        (lambda d: d.pop("report-id"), ("report-id is missing",)),
        (lambda d: d.pop("date-range"), ("date-range is missing",)),
        (
            lambda d: detail(d).pop("failed-session-count"),
            ("failed-session-count is missing; counted as one",),
        ),
        (lambda d: detail(d).pop("result-type"), ("result-type is missing",)),
        (lambda d: policy(d).pop("policy-type"), ("policy-type is missing",)),
    ],
)
def test_each_deviation_is_named(
    change: Callable[[Any], object], deviations: tuple[str, ...]
) -> None:
    assert parsed(change).deviations == deviations


def test_what_stands_for_what_is_missing() -> None:
    assert (
        parsed(lambda d: policy(d).pop("policy-type")).policies[0].policy_type == "no-policy-found"
    )
    [first, *_] = parsed(lambda d: detail(d).pop("result-type")).policies[0].details
    assert first.result_type == "validation-failure"
    [first, *_] = parsed(lambda d: detail(d).pop("failed-session-count")).policies[0].details
    assert first.count == 1
    summed = parsed(lambda d: summary(d).pop("total-failure-session-count"))
    assert summed.policies[0].failures == 303
    assert (
        parsed(lambda d: summary(d).pop("total-successful-session-count")).policies[0].successes
        == 0
    )
    nobody = parsed(lambda d: (d.pop("organization-name"), d.pop("contact-info")))
    assert nobody.organization == "unknown"


def test_a_period_that_ends_before_it_begins_is_turned_round() -> None:
    def change(document: Any) -> None:
        inner = dates(document)
        inner["start-datetime"], inner["end-datetime"] = (
            inner["end-datetime"],
            inner["start-datetime"],
        )

    report = parsed(change)
    assert (report.start, report.end) == (DAY, DAY + 86399)
    assert report.deviations == ("the period ends before it begins",)


def test_the_size_is_checked_on_what_is_parsed() -> None:
    with pytest.raises(MalformedMessage, match="octets"):
        bounds.check_shape(b" " * (bounds.MAX_OCTETS + 1))
    bounds.check_shape(b" " * bounds.MAX_OCTETS)


def test_a_report_without_an_id_is_known_by_its_content() -> None:
    without = changed(lambda d: d.pop("report-id"))
    report, again = parse_json(octets(without)), parse_json(octets(without))
    assert report.report_id.startswith("sha256:")
    assert report.key == again.key
    other = parsed(lambda d: (d.pop("report-id"), put(summary, "x", 1)(d)))
    assert other.key != report.key


def test_long_ids_are_not_cut_into_the_same() -> None:
    one, two = (parsed(put(whole, "report-id", "x" * 600 + tail)) for tail in "ab")
    assert one.report_id != two.report_id
    assert len(one.report_id) < 100


def test_the_same_id_for_two_domains_is_two_reports() -> None:
    one = parsed(put(policy, "policy-domain", "one.example"))
    two = parsed(put(policy, "policy-domain", "two.example"))
    assert one.key != two.key


def test_what_a_large_provider_leaves_out_of_a_failure() -> None:
    def change(document: Any) -> None:
        item = document["policies"][0]
        item["failure-details"] = [
            {"result-type": "sts-policy-fetch-error", "failed-session-count": 3}
        ]
        item["policy"] = {"policy-type": "sts", "policy-domain": "company-y.example"}

    [result] = parsed(change).policies
    assert result.details == (FailureDetail("sts-policy-fetch-error", 3),)
    assert (result.strings, result.mx_hosts, result.unexplained) == ((), (), 300)


@pytest.mark.parametrize("details", [None, [], "gone"])
def test_no_details(details: object) -> None:
    def change(document: Any) -> None:
        if details == "gone":
            document["policies"][0].pop("failure-details")
        else:
            document["policies"][0]["failure-details"] = details

    [result] = parsed(change).policies
    assert (result.details, result.failures, result.unexplained) == ((), 303, 303)


def test_a_policy_without_domain_takes_it_from_the_name_of_the_file() -> None:
    # As Postfix and tlsrpt-reporter send it where there is no policy.
    document = changed(
        lambda d: d["policies"][0].__setitem__("policy", {"policy-type": "no-policy-found"})
    )
    name = "/var/mail/sender.example!Company-Y.example!1459468800!1459555199!7.json.gz"
    [report] = read_report(octets(document), name)
    assert report.policies[0].domain == "company-y.example"
    assert any("policy-domain is missing; taken from" in each for each in report.deviations)
    [report] = read_report(octets(document))
    assert report.policies[0].domain == ""


def test_names_of_files() -> None:
    hints = hints_of_name("a.example!b.example!1459468800!1459555199.json")
    assert (hints.submitter, hints.domain) == ("a.example", "b.example")
    assert (hints.start, hints.end) == (1459468800.0, 1459555199.0)
    assert hints_of_name("report.json").domain == ""
    assert hints_of_name("a!b c!x!y!z").domain == ""


def test_marks_of_byte_order() -> None:
    plain = parse_json(octets())
    text = octets().decode()
    for encoded in (text.encode("utf-8-sig"), text.encode("utf-16")):
        [report] = read_report(encoded)
        assert report.policies == plain.policies
        assert len(report.deviations) == 1


def test_gzip_of_one_and_of_several_members() -> None:
    half = len(octets()) // 2
    both = gzip.compress(octets()[:half]) + gzip.compress(octets()[half:])
    for packed in (gzip.compress(octets()), both, gzip.compress(octets()) + b"\0\0"):
        [report] = read_report(packed)
        assert report == parse_json(octets())


def test_a_time_without_zone_is_utc() -> None:
    assert parse_time("2016-04-01T00:00:00") == (DAY, False)
    assert parse_time("2016-04-01T00:00:00Z") == (DAY, True)
    assert parse_time("0001-01-01T00:00:00+14:00")[0] is None
    assert parse_time("9" * 13)[0] is None


# Refused


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b" \n", "empty"),
        (b"[]", "carries no TLS report"),
        (b"{}", "no policies"),
        (b'{"policies": 3}', "policies is no list"),
        (b'{"policies": [3]}', "a policy is no object"),
        (b'{"policies": [{"policy": 3}]}', "policy is no object"),
        (b'{"policies": [{"failure-details": [3]}]}', "a failure detail is no object"),
        (b'{"policies": [], "x": NaN}', "NaN is no number"),
        (b'{"policies": [], "x": ' + b"1" * 5000 + b"}", "no JSON"),
        (b'{"policies": [', "no JSON"),
        (b'{"a": {"policies": []}}', "no policies"),
        (b"\x1f\x8b\x08\x00", "too early"),
        (b"\x1f\x8bnothing", "damaged"),
        (gzip.compress(octets())[:-20], "too early"),
    ],
)
def test_what_is_no_report(data: bytes, message: str) -> None:
    with pytest.raises(MalformedMessage, match=message):
        read_report(data)


@pytest.mark.parametrize("count", [-1, 1.5, 10**13, True, "many", [1], 1e999])
def test_counts_that_cannot_be(count: object) -> None:
    document = changed(put(summary, "total-failure-session-count", "COUNT"))
    text = octets(document).replace(
        b'"COUNT"', json.dumps(count).replace("Infinity", "1e999").encode()
    )
    with pytest.raises(MalformedMessage, match="no count"):
        parse_json(text)


def test_a_gzip_bomb_is_not_inflated() -> None:
    bomb = gzip.compress(b"{" + b" " * (bounds.MAX_OCTETS + 100))
    assert len(bomb) < 20_000
    with pytest.raises(MalformedMessage, match="more than"):
        read_report(bomb)
    many = gzip.compress(b"") * (bounds.MAX_MEMBERS + 1)
    with pytest.raises(MalformedMessage, match="parts"):
        read_report(many)


def test_the_limit_itself_passes() -> None:
    text = octets()
    filled = text + b" " * (bounds.MAX_OCTETS - len(text))
    assert read_report(gzip.compress(filled))[0].policies == parse_json(text).policies


@pytest.mark.parametrize(
    "data",
    [
        b'{"policies":' + b"[" * 100_000,
        b'{"policies":' + b"[" * (bounds.MAX_DEPTH) + b"]" * (bounds.MAX_DEPTH) + b"}",
        b'{"policies":[' + b"{}," * (bounds.MAX_OBJECTS + 1) + b"{}]}",
        b'{"policies":[' + b"1," * (bounds.MAX_VALUES + 1) + b"1]}",
        b'{"x":"' + b" " * bounds.MAX_OCTETS + b'"}',
    ],
    ids=["deep", "one too deep", "objects", "values", "long"],
)
def test_limits_are_checked_before_parsing(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    def parse(*_: object, **__: object) -> None:
        raise AssertionError("the parser must not see this")

    monkeypatch.setattr(json, "loads", parse)
    with pytest.raises(MalformedMessage):
        read_report(data)


def test_more_policies_and_details_than_are_taken() -> None:
    with pytest.raises(MalformedMessage, match="10000 are taken"):
        parse_json(octets({"policies": [{}] * (bounds.MAX_POLICIES + 1)}))
    details = [{"result-type": "x", "failed-session-count": 1}] * 30_000
    policies = [{"failure-details": details}] * 2
    with pytest.raises(MalformedMessage, match="more than 50000 details"):
        parse_json(octets({"policies": policies}))


def test_brackets_and_quotes_within_texts_do_not_count() -> None:
    text = "[{" * 50_000 + '"\\' * 3
    report = parsed(put(whole, "contact-info", text))
    assert report.contact == text[: bounds.MAX_TEXT]


@pytest.mark.parametrize("data", [b'{"' + b'\\"' * 1_000_000, b'{"' + b"\\" * 2_000_001])
def test_a_text_that_never_ends_costs_one_pass(data: bytes) -> None:
    # Quadratic work here would be hours, and the test's time limit would tell.
    with pytest.raises(MalformedMessage):
        read_report(data)


def test_lone_surrogates_do_not_get_further() -> None:
    text = octets().replace(b"Company-X", b"Company-\\ud800")
    assert parse_json(text).organization == "Company-?"


# Anything else

JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(
                [
                    *PLAIN,
                    *PLAIN["date-range"],
                    *PLAIN["policies"][0],
                    *PLAIN["policies"][0]["policy"],
                    *PLAIN["policies"][0]["summary"],
                    *PLAIN["policies"][0]["failure-details"][1],
                ]
            ),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=12,
)


@given(JSON, st.sampled_from(["policies", "policy", "summary", "failure-details", "date-range"]))
def test_any_value_anywhere_is_a_report_or_an_error_of_ours(value: Any, place: str) -> None:
    document = copy.deepcopy(PLAIN)
    (document if place in document else document["policies"][0])[place] = value
    try:
        report = parse_json(octets(document))
    except MalformedMessage:
        return
    for result in report.policies:
        assert result.failures >= 0
        assert result.successes >= 0
        assert result.domain == result.domain.lower()
        for text in (result.policy_type, *result.strings, *result.mx_hosts):
            text.encode()
