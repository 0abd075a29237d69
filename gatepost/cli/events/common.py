"""What the commands of events share: times, and webhooks of the configuration.

Errors: a usage error leaves with status 2.
"""

from __future__ import annotations

from gatepost.cli.common import fail
from gatepost.cli.periods import ends_as_period, seconds_of
from gatepost.errors import MalformedMessage
from gatepost.feedback.rules import Webhook
from gatepost.feedback.suppression_table import parse_time
from gatepost.settings.schema import did_you_mean, there_are
from gatepost.snapshot import Snapshot


def since_when(text: str, now: float) -> float:
    """Return the Unix time that ``--since`` says; leave with a usage error if it is none.

    Args:
        text: A period such as 2h, or a time such as 2027-01-31T08:00Z, in UTC without a zone.
        now: Unix time in seconds.
    """
    if ends_as_period(text):
        return now - seconds_of(text)
    try:
        return parse_time(text)
    except MalformedMessage:
        fail(f"--since takes a period such as 2h or a time such as 2027-01-31T08:00, not {text!a}")


def webhook_named(name: str, snapshot: Snapshot) -> Webhook:
    """Return a webhook of the configuration; leave with a usage error if there is none."""
    by_name = {each.name: each for each in snapshot.webhooks}
    if name not in by_name:
        hint = did_you_mean(name, by_name) or (there_are(by_name) if by_name else "")
        fail(f"there is no webhook {name!a} in the configuration" + (f"; {hint}" if hint else ""))
    return by_name[name]
