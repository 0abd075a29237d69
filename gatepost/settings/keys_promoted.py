"""The settings of the file that ``gatepost tls promote`` writes and an operator may edit.

See `keys`; the file is named by ``tls.promoted``.
"""

from __future__ import annotations

from gatepost.settings import kinds
from gatepost.settings.schema import Section, Table, optional, part, required, section, setting
from gatepost.tls.levels import Level
from gatepost.tls.promoted import Downgrade

_LEVEL = kinds.choice({level.keyword: level for level in (Level.ENCRYPT, Level.VERIFY)}, "encrypt")
MAX_EVIDENCE = 400


@section
class PromotedRuleSection:
    """What a destination has to go on offering."""

    level: Level | None = required(
        _LEVEL,
        doc="""encrypt: only with TLS. verify: only with TLS and a certificate from a trusted root
        that carries the name of the MX host.""",
        example="encrypt",
    )
    since: str | None = required(
        kinds.DATE, doc="The day on which the rule was made.", example="2030-10-31"
    )
    expires: str | None = required(
        kinds.DATE,
        doc="""The last day on which it has an effect, in UTC. gatepost tls promote --apply sets a
        later one while the evidence holds.""",
        example="2030-12-31",
    )
    downgrade: Downgrade = setting(
        kinds.choice_of(Downgrade),
        "defer",
        doc="""What happens when the destination no longer offers this. defer: the rule stays, and
        mail waits. alert: the next gatepost tls promote --apply gives the rule up and says so.""",
        example="alert",
    )
    dropped: str | None = optional(
        kinds.DATE,
        doc="""The day on which gatepost tls promote noticed that. With downgrade: alert, the rule
        has no effect from then on.""",
        example="2030-11-30",
    )
    evidence: str | None = optional(
        kinds.text(MAX_EVIDENCE),
        doc="What the rule rests on. It is for people only.",
        example='"1204 deliveries, all encrypted"',
    )


@section
class PromotedFile:
    """TLS rules that evidence has earned, as gatepost tls promote --apply writes them.

    They hold for everyone and for the domain itself, not for sub-domains, and are joined to all
    other rules. You may edit the file, take rules out, or make them end; comments are not kept when
    it is written anew.
    """

    promoted: dict[str, PromotedRuleSection] = part(
        Table(kinds.DOMAIN, Section(PromotedRuleSection), "example.org"),
        doc="Rules by destination.",
    )
