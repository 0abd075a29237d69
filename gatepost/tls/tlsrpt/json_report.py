"""The JSON of a TLS report, as RFC 8460 has it and as it comes.

Source: RFC 8460 §4.4; Appendix B shows ``mx-host`` as a text, where §4.4 has an array.
Limits: see `limits`; all of them are checked before the objects are built.
Errors: `parse_json` raises `MalformedMessage`.
Deviations that are read, and noted in the report: a byte order mark; names with underscores, in
capitals or of drafts; counts as texts; times without zone, with a blank, or as seconds; ``mx-host``
and ``policy-string`` as texts; one policy or detail in the place of a list; null, or nothing, for
anything but the policies.
Not handled: whether a report is true. Anybody can send one.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from gatepost.domains import normalise_domain
from gatepost.errors import MalformedMessage
from gatepost.tls.tlsrpt.fields import Deviations, Fields, clip
from gatepost.tls.tlsrpt.limits import MAX_DETAILS, MAX_POLICIES, MAX_TEXT, RULE, check_shape
from gatepost.tls.tlsrpt.model import NO_POLICY, FailureDetail, PolicyResult, TlsReport

_BYTE_ORDER_MARK = "\ufeff"
_UTF_16_MARKS = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True, slots=True)
class Hints:
    """What stands around a report and can fill its gaps.

    Attributes:
        domain: TLS-Report-Domain of the mail, or the domain in the name of the file; A-label.
        submitter: TLS-Report-Submitter of the mail, or the sender in the name of the file.
        start: Begin in the name of the file, or None.
        end: End in the name of the file, or None.
    """

    domain: str = ""
    submitter: str = ""
    start: float | None = None
    end: float | None = None


NO_HINTS = Hints()


def hints_of_name(name: str) -> Hints:
    """Return what a file name tells, RFC 8460 §5.1: ``sender!domain!begin!end[!id].json[.gz]``."""
    parts = name.rpartition("/")[2].split("!")
    if len(parts) < 4:
        return NO_HINTS
    times = [part.partition(".")[0] for part in parts[2:4]]
    start, end = (
        float(text) if text.isascii() and text.isdigit() and len(text) <= 10 else None
        for text in times
    )
    return Hints(as_domain(parts[1]), as_domain(parts[0]), start, end)


def as_domain(text: str) -> str:
    """Return text as an A-label domain, or empty if it is none."""
    try:
        return normalise_domain(text.strip())
    except MalformedMessage:
        return ""


def parse_json(octets: bytes, hints: Hints = NO_HINTS) -> TlsReport:
    """Return the report that JSON text holds.

    Args:
        octets: The text, not compressed.
        hints: What stands around it.

    Raises:
        MalformedMessage: If it is no JSON, exceeds a limit, or is no TLS report.
    """
    deviations = Deviations()
    fields = Fields(_decode(octets, deviations), "the report", deviations)
    if "policies" not in fields:
        raise MalformedMessage("the report has no policies", rule=RULE)
    policies = tuple(
        _policy(item, hints, deviations) for item in fields.objects("policies", MAX_POLICIES)
    )
    if sum(len(policy.details) for policy in policies) > MAX_DETAILS:
        raise MalformedMessage(f"the report has more than {MAX_DETAILS} details", rule=RULE)
    start, end = _period(fields, hints, deviations)
    contact = fields.text("contact-info", expected=True)
    organization = fields.text("organization-name", expected=True)
    return TlsReport(
        organization or hints.submitter or contact.rpartition("@")[2] or "unknown",
        _report_id(fields, octets),
        start,
        end,
        contact,
        policies,
        deviations.found,
    )


def _decode(octets: bytes, deviations: Deviations) -> object:
    if octets.startswith(_UTF_16_MARKS):
        deviations.add("the text is UTF-16")
        # Decoding doubles it at most, so what is looked at stays bounded.
        octets = octets.decode("utf-16", "replace").encode("utf-8", "replace")
    check_shape(octets)
    text = octets.decode("utf-8", "replace")
    if text.startswith(_BYTE_ORDER_MARK):
        deviations.add("the text starts with a byte order mark")
        text = text.removeprefix(_BYTE_ORDER_MARK)
    try:
        # strict=False: tabs and line ends within texts are common and harmless.
        return json.loads(text, strict=False, parse_constant=_no_number)
    except ValueError as error:
        raise MalformedMessage(f"the report is no JSON: {error}", rule="RFC 8259 §2") from error


def _no_number(word: str) -> object:
    raise ValueError(f"{word} is no number")


def _report_id(fields: Fields, octets: bytes) -> str:
    raw = fields.raw("report-id")
    digest = f"sha256:{hashlib.sha256(octets).hexdigest()}"
    if isinstance(raw, str) and len(raw) > MAX_TEXT:
        fields.deviations.add(f"report-id has {len(raw)} characters")
        # Cut, two of them could become one.
        return f"sha256:{hashlib.sha256(raw.encode('utf-8', 'replace')).hexdigest()}"
    return fields.text("report-id", expected=True) or digest


def _period(
    fields: Fields, hints: Hints, deviations: Deviations
) -> tuple[float | None, float | None]:
    raw = fields.raw("date-range")
    if raw is None:
        deviations.add("date-range is missing")
        return hints.start, hints.end
    inner = Fields(raw, "date-range", deviations)
    start, end = inner.time("start-datetime"), inner.time("end-datetime")
    start = hints.start if start is None else start
    end = hints.end if end is None else end
    if start is not None and end is not None and start > end:
        deviations.add("the period ends before it begins")
        start, end = end, start
    return start, end


def _policy(item: object, hints: Hints, deviations: Deviations) -> PolicyResult:
    whole = Fields(item, "a policy", deviations)
    policy = Fields(whole.raw("policy") or {}, "policy", deviations)
    summary = Fields(whole.raw("summary") or {}, "summary", deviations)
    details = tuple(
        _detail(each, deviations) for each in whole.objects("failure-details", MAX_DETAILS)
    )
    policy_type = policy.text("policy-type", expected=True).lower()
    domain = policy.domain("policy-domain")
    if not domain:
        domain = hints.domain
        deviations.add(
            "policy-domain is missing"
            + ("; taken from the mail or the name of the file" if domain else "")
        )
    successes = summary.count("total-successful-session-count")
    failures = summary.count("total-failure-session-count")
    if successes is None or failures is None:
        deviations.add("summary is incomplete")
    return PolicyResult(
        domain,
        clip(policy_type, 64) or NO_POLICY,
        successes or 0,
        sum(detail.count for detail in details) if failures is None else failures,
        details,
        policy.texts("policy-string"),
        policy.texts("mx-host"),
    )


def _detail(item: object, deviations: Deviations) -> FailureDetail:
    fields = Fields(item, "a failure detail", deviations)
    count = fields.count("failed-session-count")
    if count is None:
        deviations.add("failed-session-count is missing; counted as one")
    return FailureDetail(
        clip(fields.text("result-type", expected=True).lower(), 64) or "validation-failure",
        1 if count is None else count,
        fields.text("sending-mta-ip"),
        fields.text("receiving-mx-hostname").lower().removesuffix("."),
        fields.text("receiving-mx-helo"),
        fields.text("receiving-ip"),
        fields.text("failure-reason-code"),
        fields.text("additional-information"),
    )
