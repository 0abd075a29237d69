"""The settings of shaping, of its rules in a file of their own, and of warm-up.

See `keys`; the file of rules is named by ``shaping.rules``, and one ships with Gatepost.
"""

from __future__ import annotations

from gatepost.settings import kinds, kinds_feedback
from gatepost.settings.kinds_shaping import DAYS, HOST_END, PHRASE, PROVIDER, RULES, TARGET
from gatepost.settings.schema import (
    ListOf,
    Section,
    Table,
    part,
    required,
    section,
    setting,
)
from gatepost.traffic.lanes import DEFAULT_LANE
from gatepost.traffic.shaping import CLASSES, Target

_CLASS = kinds.choice({name: name for name in sorted(CLASSES)}, "rate-limited")


@section
class ShapingSection:
    """How a provider's replies slow a lane down towards it, for a time.

    The mode is the general one of the feature lane.
    """

    rules: str | None = setting(
        RULES,
        "off",
        doc="""standard for the rules that ship with Gatepost; a file of your own, relative to this
        one, with what is in it alone; or off. Needs maillog, where the replies are read. After a
        change from off or to it, run gatepost attach.""",
        example="standard",
    )


@section
class ShapingGroupSection:
    """Mail servers that are one provider although their names have no domain in common."""

    hosts: tuple[str, ...] = part(
        ListOf(HOST_END),
        doc="Ends of the names of its MX hosts, each with a leading dot.",
        example="[.mail.protection.example]",
    )
    domains: tuple[str, ...] = part(
        ListOf(kinds.DOMAIN),
        doc="Recipient domains that belong to it, whatever their MX hosts are.",
        example="[example.org]",
    )


@section
class ShapingRuleSection:
    """What slows a lane down towards a provider, how far, and how it comes back."""

    classes: tuple[str, ...] = part(
        ListOf(_CLASS),
        doc="""Classes of replies that count, as gatepost feedback classify names them:
        rate-limited, ip-blocked and reputation, which speak of rate or reputation. Refusals of an
        address can never count.""",
        example="[rate-limited]",
    )
    text: tuple[str, ...] = part(
        ListOf(PHRASE),
        doc="""Phrases of which one in a reply is enough as well: words in a row, without regard to
        case, with * for any ending of the last one and ... for up to 80 characters.""",
        example="[too many connections, try ... later]",
    )
    providers: tuple[str, ...] = part(
        ListOf(PROVIDER),
        doc="""The providers it is for: names of providers above, or domains of MX hosts such as
        google.com. Without any, all of them.""",
        example="[google.com]",
    )
    count: int = setting(
        kinds.whole_number(1, 500, "5"), "5", doc="So many replies slow the lane down …"
    )
    within: int = setting(
        kinds.duration(1, 3600, "5m"), "5m", doc="… if no more time than this lies between them …"
    )
    share: float | None = setting(
        kinds_feedback.SHARE,
        "off",
        doc="""… and they are at least this share of what the lane delivered to the provider in
        that time. Of a busy pair, 500 are always enough.""",
        example="5%",
    )
    to: Target | None = required(
        TARGET,
        doc="""How far: suspend lets nothing pass. 1/8 lets pass an eighth of the deliveries a
        minute that the busiest of the last ten minutes had. 30/minute is a number of deliveries. A
        delivery is one message to one server, with up to 50 recipients.""",
        example="1/8",
    )
    lasts: int = setting(
        kinds.duration(1, 86400, "10m"),
        "10m",
        doc="""How long that holds. Then twice as much may pass for step, twice as much again for
        step, until it is all. Behind suspend comes 1/8.""",
    )
    step: int = setting(kinds.duration(1, 86400, "10m"), "10m", doc="See lasts.")
    at_most: int = setting(
        kinds.duration(1, 7 * 86400, "4h"),
        "4h",
        doc="""If the replies come again before all is forgotten, it begins anew with lasts and step
        twice as long as the last time, but neither longer than this. It is forgotten when it has
        been over for as long as it took.""",
    )


@section
class ShapingFile:
    """Rules of shaping. Of the rules that a reply fits, the first counts it.

    A provider is who runs mail servers: the registrable domain of their names, such as google.com,
    or a name of providers below.
    """

    providers: dict[str, ShapingGroupSection] = part(
        Table(PROVIDER, Section(ShapingGroupSection), "example-mail"),
        doc="Providers by another name than the domain of their MX hosts.",
    )
    rules: dict[str, ShapingRuleSection] = part(
        Table(PROVIDER, Section(ShapingRuleSection), "rate-limited"), doc="Rules by name."
    )


@section
class WarmupSection:
    """How much a source address, or a tenant, that is new may send on each of its first days."""

    start: str | None = required(
        kinds.DATE, doc="The first day, as YYYY-MM-DD, in UTC.", example="2030-12-01"
    )
    days: tuple[int, ...] | None = required(
        DAYS,
        doc="""How many recipients the mail may reach on each day, from the first on. After the last
        day the warm-up is over, and nothing is held back. Or the name of a schedule: see
        traffic.md.""",
        example="[50, 100, 500, 1000, 5000]",
    )
    lane: str = setting(
        kinds.SHORT_NAME,
        DEFAULT_LANE,
        doc="""The lane for what is above that, and for all mail before the first day. It must be
        another one, which has no warm-up of its own.""",
        example="normal",
    )


WARMUP = Section(WarmupSection)
