"""What becomes of mail of nobody where the platform takes only its tenants' mail.

Purpose: one rule for the RCPT TO check, which sees most of such mail, and for the end of message,
where it shows that a platform login has named no tenant.
Source: RFC 5321 §4.5.1: mail for a bare ``postmaster`` must be taken. RFC 3463 §3.8 (5.7.1).
Errors: none.
Security: mail that comes in is not refused: the null sender, recipients whose domain receives mail
here, and recipients without a domain, which are local.
"""

from __future__ import annotations

from collections.abc import Iterable

from gatepost.decisions.actions import Reject
from gatepost.domains import domain_of
from gatepost.modes import Mode
from gatepost.snapshot import Platform, Snapshot, Unknown

REFUSAL = Reject("550", "5.7.1", "mail of an unknown account is not accepted here")


def is_refused(sender: str, recipients: Iterable[str], snapshot: Snapshot) -> bool:
    """Tell whether mail of nobody is refused, or would be in mode enforce."""
    if not sender or snapshot.platform.unknown is Unknown.PASS:
        return False
    if snapshot.modes.sender is Mode.OFF:
        return False
    return not all(_comes_in(recipient, snapshot.platform) for recipient in recipients)


def _comes_in(recipient: str, platform: Platform) -> bool:
    if "@" not in recipient:
        return True
    domain = domain_of(recipient)
    return domain is not None and (domain in platform.inbound or domain == platform.bounce_domain)
