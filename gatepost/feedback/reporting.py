"""Which providers report complaints message by message, and which do not.

Purpose: a rate of complaints is a share of the mail whose reader could have complained to us. Mail
to a provider that never reports would water it down, and Gmail's complaints come as a daily share
and not as reports.
Source: Yahoo Sender Hub (Complaint Feedback Loop, by DKIM domain); Microsoft JMRP (by address of
the sending host, for Outlook.com and not for the mailboxes of firms at Microsoft 365); Validity
Universal Feedback Loop, by its list of members; Google Postmaster Tools.
Format: providers are named as `provider_at` names them, by the domain of their mail servers.
Limits: which mail servers a provider has is what was generally known when this was written.
Errors: none.
Not handled: whether the platform is enrolled. Where it is not, that provider's deliveries make the
rate look lower than it is, and the ladder acts later.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from gatepost.maillog.provider import provider_of

# Outlook.com has the registrable domain of all Microsoft mail, and mail servers of its own.
OUTLOOK: Final = "olc.protection.outlook.com"
GMAIL: Final = "google.com"

# Provider to the loop by which it reports.
LOOPS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "yahoodns.net": "Yahoo Complaint Feedback Loop (Yahoo, AOL)",
        OUTLOOK: "Microsoft JMRP (Outlook.com, Hotmail)",
        "comcast.net": "Validity Universal Feedback Loop",
        "messagingengine.com": "Validity Universal Feedback Loop (Fastmail)",
        "emailsrvr.com": "Validity Universal Feedback Loop (Rackspace)",
        "hostedemail.com": "Validity Universal Feedback Loop (OpenSRS)",
        "bluewin.ch": "Validity Universal Feedback Loop (Swisscom)",
        "yandex.ru": "Validity Universal Feedback Loop (Yandex)",
    }
)
# Those whose complaints come as shares only.
SHARES_ONLY: Final = frozenset({GMAIL})

_OUTLOOK_HOSTS = f".{OUTLOOK}"


def provider_at(host: str) -> str:
    """Return who runs a mail server, so that those who report are told from those who do not.

    Args:
        host: Its name in lower case.
    """
    return OUTLOOK if host.endswith(_OUTLOOK_HOSTS) else provider_of(host)
