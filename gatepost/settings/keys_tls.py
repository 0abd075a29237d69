"""The settings of TLS rules and lanes: how mail must travel, and by which way out.

See `keys`; the parts are modules of their own for their length alone.
"""

from __future__ import annotations

from gatepost.modes import Mode
from gatepost.settings import kinds
from gatepost.settings.keys_shaping import WARMUP, WarmupSection
from gatepost.settings.kinds_traffic import SOURCE_ADDRESS, WeightedAddress
from gatepost.settings.schema import (
    ListOf,
    Section,
    Table,
    optional,
    part,
    required,
    section,
    setting,
)
from gatepost.tenants.model import DEFAULT_PROFILE
from gatepost.tls.levels import Level, TlsVersion
from gatepost.tls.rules import OnFailure

_LEVELS = {level.keyword: level for level in Level}
_ANY_LEVEL = kinds.choice(_LEVELS, "encrypt")
_PROFILE_LEVEL = kinds.choice(
    {word: level for word, level in _LEVELS.items() if level is not Level.NONE}, "encrypt"
)
_VERSION = kinds.choice({version.keyword: version for version in TlsVersion}, "TLSv1.2")


@section
class DomainRuleSection:
    """What a destination must offer."""

    level: Level | None = required(
        _ANY_LEVEL,
        doc="""none: plaintext. may: TLS where it is offered. encrypt: only with TLS. verify: only
        with TLS and a certificate from a trusted root that carries the right name.""",
        example="verify",
    )
    min_version: TlsVersion | None = optional(
        _VERSION,
        doc="""The oldest protocol version to accept: TLSv1, TLSv1.1, TLSv1.2 or TLSv1.3. Only with
        encrypt and verify, since may would fall back to plaintext.""",
    )
    match: tuple[str, ...] = part(
        ListOf(kinds.CERTIFICATE_NAME),
        doc="""Names of which the certificate must carry one; .example.org stands for names below
        example.org. Only with verify. Without it the name of the MX host is required.""",
        example="[mx.partner.example]",
    )


_DOMAIN_RULES = Table(kinds.DOMAIN_OR_PARENT, Section(DomainRuleSection), "partner.example")


@section
class ProfileSection:
    """A set of TLS rules that tenants point at."""

    level: Level | None = required(
        _PROFILE_LEVEL,
        doc="""For every destination without an entry in domains. may: TLS where it is offered.
        encrypt: only with TLS. verify: only with TLS and a certificate from a trusted root that
        carries the name of the MX host.""",
        example="encrypt",
    )
    min_version: TlsVersion | None = optional(
        _VERSION,
        doc="""The oldest protocol version to accept: TLSv1, TLSv1.1, TLSv1.2 or TLSv1.3. Only with
        encrypt and verify, since may would fall back to plaintext.""",
    )
    on_failure: OnFailure = setting(
        kinds.choice_of(OnFailure),
        "defer",
        doc="""What becomes of mail that the destination does not take so: defer tries again until
        maximal_queue_lifetime, bounce returns it at the first failure.""",
        example="bounce",
    )
    fail: bool | None = optional(
        kinds.choice({"closed": True, "open": False}, "closed"),
        doc="""What becomes of mail where TLSA records or MX hosts of a destination cannot be looked
        up. closed lets it wait, open sends it by the profile's own rules. Without it, closed where
        TLS is required, and open at level may. closed, written out, also lets mail wait where an
        MTA-STS record cannot be looked up or its policy not be fetched for the first time.""",
        example="closed",
    )
    at_rcpt: Mode = setting(
        kinds.choice_of(Mode),
        "observe",
        doc="""Whether a recipient is refused at RCPT TO, with 550 5.7.10, where the survey of mail
        servers has seen that its domain does not offer what the profile asks for; with 450 where
        that is old or uncertain, or only known from deliveries. It acts for tenants that enforce
        tls; for the others it is observed. With a relayhost it does nothing.""",
    )
    domains: dict[str, DomainRuleSection] = part(
        _DOMAIN_RULES,
        doc="""Destinations with other rules. An entry takes the place of the profile's level, also
        where it asks for less: it is the same person's word. .example.org stands for the domains
        below example.org.""",
    )


@section
class TlsSection:
    """How mail must travel.

    The answer for a delivery is the stricter of the tenant's profile and the rules for everyone.
    """

    profiles: dict[str, ProfileSection] = part(
        Table(kinds.SHORT_NAME, Section(ProfileSection), "private"),
        doc=f"""Profiles by name. {DEFAULT_PROFILE} is always there, has level may and stays so: it
        is the profile of a tenant that names none, and of every tenant whose mode of tls is not
        enforce. A profile in use needs services in master.cf; gatepost attach adds them.""",
    )
    domains: dict[str, DomainRuleSection] = part(
        _DOMAIN_RULES,
        doc="""Rules for everyone, by destination. They make what a profile asks stricter, and never
        weaker.""",
    )
    dane: bool = setting(
        kinds.BOOLEAN,
        "no",
        doc="""Whether TLSA records of destinations are looked up and join the answer (RFC 7672). It
        needs a resolver that validates DNSSEC: see dns. After a change, run gatepost attach: the
        delivery services have to ask for DNSSEC, too.""",
    )
    mta_sts: bool = setting(
        kinds.BOOLEAN,
        "no",
        doc="""Whether MTA-STS policies of destinations are fetched, by HTTPS, and join the answer
        (RFC 8461).""",
    )
    promoted: str | None = optional(
        kinds.FILE,
        doc="""A file with rules that evidence has earned, relative to this one. gatepost tls
        promote --apply makes and writes it; its rules are joined to all others.""",
        example="promoted.yaml",
    )
    without_dane: bool = setting(
        kinds.BOOLEAN,
        "no",
        doc="""Where Postfix's own smtp_tls_security_level is encrypt, verify or secure, it is
        joined to every answer. fingerprint cannot be, nor can dane and dane-only without dane: yes
        above: an answer takes their place, so Gatepost refuses to be attached with profiles or
        domains. yes accepts that mail under these rules is sent without a look at TLSA records or
        fingerprints.""",
    )


@section
class LaneSection:
    """A way out of Postfix: a delivery service with settings of its own."""

    concurrency: int | None = optional(
        kinds.whole_number(1, 20_000, "10"),
        doc="""Deliveries at once to one destination. Without it, what Postfix has for your own
        service: smtp_destination_concurrency_limit, or else
        default_destination_concurrency_limit.""",
        example="10",
    )
    rate_delay: int | None = optional(
        kinds.duration(1, 86400, "1s"),
        doc="""Time between two deliveries to one destination. With it, Postfix delivers one message
        at a time to each.""",
        example="1s",
    )
    addresses: tuple[WeightedAddress, ...] = part(
        ListOf(SOURCE_ADDRESS),
        doc="""Source addresses. Of several, each message takes one; with weight=3 behind it, an
        address takes three times the mail of one without. The first IPv4 and the first IPv6 address
        are one source, the second ones another, and so on; where there are fewer of one kind, they
        are used again from the first.""",
        example="[192.0.2.10 weight=3, 192.0.2.11, 2001:db8::10, 2001:db8::11]",
    )
    warmup: WarmupSection = part(WARMUP)
    instance: bool = setting(
        kinds.BOOLEAN,
        "no",
        doc="""Whether the lane is a Postfix instance of its own, with a queue, a queue manager and
        an active queue of its own, so that its backlog leaves no other mail waiting. gatepost
        attach makes it, beside your own, and hands it mail by a socket that only Postfix can
        reach.""",
        example="yes",
    )
