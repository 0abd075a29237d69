"""Whatever an operator has of a report: a mail, the JSON, or either of them compressed.

Limits: see `limits` and `mail`.
Errors: `read_report` raises `MalformedMessage`, and nothing else.
Not handled: mailboxes in mbox form; split them with ``formail -s gatepost tls reports add -``.
"""

from __future__ import annotations

from gatepost.errors import MalformedMessage
from gatepost.tls.tlsrpt.json_report import hints_of_name, parse_json
from gatepost.tls.tlsrpt.limits import GZIP_MAGIC, MAX_OCTETS, RULE, inflate
from gatepost.tls.tlsrpt.mail import parse_mail, starts_as_json
from gatepost.tls.tlsrpt.model import TlsReport


def read_report(octets: bytes, name: str = "") -> tuple[TlsReport, ...]:
    """Return the reports in a file or mail; at least one.

    Args:
        octets: What it holds.
        name: Its file name, which may tell domain and period; RFC 8460 §5.1.

    Raises:
        MalformedMessage: If there is none in it, or it exceeds a limit.
    """
    if len(octets) > MAX_OCTETS:
        raise MalformedMessage(f"it has more than {MAX_OCTETS} octets", rule=RULE)
    plain = inflate(octets) if octets.startswith(GZIP_MAGIC) else octets
    if starts_as_json(plain):
        return (parse_json(plain, hints_of_name(name)),)
    if not plain.strip():
        raise MalformedMessage("it is empty", rule=RULE)
    return parse_mail(plain)
