"""The settings of bursts and backlogs, of one tenant and of all.

See `keys`; what they need of one another is in `burst`.
"""

from __future__ import annotations

from gatepost.settings import kinds, kinds_burst
from gatepost.settings.schema import Section, optional, part, section
from gatepost.traffic.burst import Cap
from gatepost.traffic.quota import Limit

_BACKLOG = kinds.whole_number(1, kinds_burst.MAX_BACKLOG, "2000")


@section
class BurstSection:
    """When mail is moved to another lane for its amount, and when it comes back.

    Part of the feature lane. It needs above, backlog or both, and lane. Of a tenant, what is not
    given here is as in traffic.burst. A tenant whose own lane is this lane is not moved.
    """

    above: Limit | None = optional(
        kinds_burst.RATE,
        doc="""More than this moves the tenant: so many messages at once, and as many again in each
        second, minute or hour, as far as one. With the word recipients behind it, recipients are
        counted instead.""",
        example="20/second",
    )
    backlog: int | None = optional(
        _BACKLOG,
        doc="""More outstanding messages than this move the tenant: those in Postfix's queue that
        are not on hold. It needs maillog.""",
        example="2000",
    )
    lane: str | None = optional(
        kinds.SHORT_NAME, doc="The lane that it is moved to.", example="bulk"
    )
    below: Limit | None = optional(
        kinds_burst.RATE,
        doc="As long as more than this comes, it stays there. Without it, half of above.",
        example="10/second",
    )
    backlog_below: int | None = optional(
        _BACKLOG,
        doc="""As long as more messages than this are outstanding, it stays there. Without it, half
        of backlog; without that, as many as were outstanding when it was moved, or as above lets
        pass in a minute if that is more.""",
        example="1000",
    )
    stay: int | None = optional(
        kinds.duration(1, 86_400, "60s"),
        doc="""So long it must have been below both before it comes back, and so it stays for that
        time at least. Without it, 60s.""",
        example="60s",
    )


@section
class TrafficSection:
    """What holds for all tenants whose settings do not say otherwise."""

    burst: BurstSection = part(Section(BurstSection))
    backlog: Cap | None = optional(
        kinds_burst.CAP,
        doc="""How much of the mail of each tenant may be outstanding; see backlog of a tenant. It
        does not hold for tenants with quota_exempt.""",
        example="50000",
    )
