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
Not handled: whether the platform is enrolled, which the setting ``feedback.loops`` says.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from gatepost.maillog.provider import provider_of

# Outlook.com has the registrable domain of all Microsoft mail, and mail servers of its own.
OUTLOOK: Final = "olc.protection.outlook.com"
GMAIL: Final = "google.com"


class Loop(StrEnum):
    """A feedback loop that a sender enrols in; the value is the word used in the configuration."""

    YAHOO = "yahoo"
    MICROSOFT = "microsoft"
    VALIDITY = "validity"


# Provider to the loop by which it reports.
LOOPS: Final[Mapping[str, Loop]] = MappingProxyType(
    {
        "yahoodns.net": Loop.YAHOO,  # AOL, too
        OUTLOOK: Loop.MICROSOFT,
        "comcast.net": Loop.VALIDITY,
        "messagingengine.com": Loop.VALIDITY,  # Fastmail
        "emailsrvr.com": Loop.VALIDITY,  # Rackspace
        "hostedemail.com": Loop.VALIDITY,  # OpenSRS
        "bluewin.ch": Loop.VALIDITY,  # Swisscom
        "yandex.ru": Loop.VALIDITY,
    }
)
# Those whose complaints come as shares only.
SHARES_ONLY: Final = frozenset({GMAIL})

_OUTLOOK_HOSTS = f".{OUTLOOK}"


def listed(loops: Collection[Loop]) -> frozenset[str]:
    """Return the providers that report by some loops; without any, by all that are known."""
    return frozenset(name for name, loop in LOOPS.items() if not loops or loop in loops)


def provider_at(host: str) -> str:
    """Return who runs a mail server, so that those who report are told from those who do not.

    Args:
        host: Its name in lower case.
    """
    return OUTLOOK if host.endswith(_OUTLOOK_HOSTS) else provider_of(host)
