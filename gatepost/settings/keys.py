"""Every setting of every configuration file: name, kind, default, explanation and example.

Purpose: the one place where a setting is declared; see `schema` for what is made of it. What
settings must not be together is in `tenants`, `tls`, `platform` and `delivery`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from gatepost.modes import Mode
from gatepost.settings import kinds
from gatepost.settings.model import Address
from gatepost.settings.problems import Problem, Rejected
from gatepost.settings.schema import (
    ListOf,
    Planned,
    Section,
    Table,
    optional,
    part,
    required,
    section,
    setting,
    shape,
)
from gatepost.settings.tree import Data
from gatepost.snapshot import Unknown
from gatepost.tenants.model import DEFAULT_PROFILE, ReturnPath
from gatepost.tls.levels import Level, TlsVersion
from gatepost.tls.rules import OnFailure
from gatepost.traffic.lanes import DEFAULT_LANE

_REMOVE = "remove it"
_FINGERPRINT = "b1:2f:6e:40:9a:d7:58:c3:0e:71:24:fb:95:3d:a8:66:1c:e2:4f:07"
_MODE = kinds.choice({mode.value: mode for mode in Mode}, "enforce")
_LEVELS = {level.keyword: level for level in Level}
_ANY_LEVEL = kinds.choice(_LEVELS, "encrypt")
_PROFILE_LEVEL = kinds.choice(
    {word: level for word, level in _LEVELS.items() if level is not Level.NONE}, "encrypt"
)
_VERSION = kinds.choice({version.keyword: version for version in TlsVersion}, "TLSv1.2")


@section
class PostfixSection:
    """The Postfix instance that Gatepost works for."""

    config_dir: str = setting(
        kinds.DIRECTORY,
        "/etc/postfix",
        doc="Directory of main.cf and master.cf. Of several instances it chooses one.",
    )
    group: str = setting(
        kinds.ACCOUNT,
        "postfix",
        doc="Group of Postfix's own account (mail_owner). It may use Gatepost's sockets.",
    )
    socket_dir: str = setting(
        kinds.SOCKET_DIR,
        "gatepost",
        doc="""Directory of the sockets that Postfix connects to, below its queue_directory. A path
        relative to it works whether a service is chrooted or not. After a change, run
        gatepost attach.""",
    )


@section
class ServiceSection:
    """Gatepost's own processes. A change takes effect after a restart."""

    user: str = setting(
        kinds.ACCOUNT,
        "gatepost",
        doc="""Account that the processes run as when root starts them. Files of the configuration
        must be readable for it; the key file must be readable for nobody else.""",
    )
    run_dir: str = setting(
        kinds.DIRECTORY,
        "/run/gatepost",
        doc="Directory of the control sockets, by which status and reload reach the processes.",
    )
    grace: int = setting(
        kinds.duration(1, 300, "10s"),
        "10s",
        doc="""How long requests in hand may take when a process is told to stop. What is then
        left is cut off; Postfix repeats it.""",
    )
    policy_timeout: int = setting(
        kinds.duration(1, 100, "10s"),
        "10s",
        doc="""How long the milter waits for the policy server, which it asks about mail of
        platform logins. After that the message gets a temporary failure.""",
    )


@section
class LogSection:
    """Where Gatepost logs, and how much."""

    to: str = setting(
        kinds.choice({"stderr": "stderr", "syslog": "syslog"}, "syslog"),
        "syslog",
        doc="""syslog sends lines to the facility mail, where Postfix's own are; stderr is for
        systemd's journal and for containers.""",
    )
    level: str = setting(
        kinds.choice({word: word for word in ("debug", "info", "warning", "error")}, "info"),
        "info",
        doc="""The least important lines to write. What observe would have done is info.""",
    )


@dataclass(frozen=True, slots=True)
class AllOrSome:
    """Tenant ids, or ``"*"`` for every tenant."""

    ids: ListOf[str] = field(default_factory=lambda: ListOf(kinds.TENANT_ID))

    @property
    def label(self) -> str:
        """Return what is expected."""
        return 'a list of tenant ids, or "*" for all'

    def read(self, data: Data, problems: list[Problem]) -> tuple[str, ...] | None:
        """Return the ids, or None for all."""
        if data in ("*", ["*"]):
            return None
        if data == []:
            raise Rejected("names no tenant", 'write [acme] or "*", or remove the login')
        if not data or isinstance(data, str):
            raise Rejected(
                f"{shape(data)} stands where {self.label} is expected", 'write [acme] or "*"'
            )
        return self.ids.read(data, problems)


@section
class PlatformLoginSection:
    """A login that sends for several tenants, such as the platform's own web application."""

    may_act_as: tuple[str, ...] | None = required(
        AllOrSome(),
        doc="""The tenants that this login may name in the tag header, or "*" for all of them. A
        message that names another one is refused.""",
        example="[acme, globex]",
    )


@section
class PlatformSection:
    """What belongs to the platform and not to one tenant."""

    PLANNED: ClassVar[Planned] = {"feedback_domain": _REMOVE}

    sender_id: str | None = optional(
        kinds.SENDER_ID,
        doc="""The SenderId that ends each Feedback-ID, by which Gmail's Postmaster Tools know
        the platform. Choose it once. Without it no Feedback-ID is added.""",
    )
    tenant_header: str = setting(
        kinds.OWN_HEADER,
        "X-Tenant-ID",
        doc="""The tag header: it carries the tenant's id on every message of a tenant, and is
        removed from every message that has no right to it.""",
    )
    token_header: str = setting(
        kinds.OWN_HEADER,
        "X-Gatepost-Token",
        doc="""The header that carries the signed reference by which a complaint leads back to the
        tenant and the message.""",
    )
    bounce_domain: str | None = optional(
        kinds.DOMAIN,
        doc="""Domain of the token return paths, for tenants with return_path: token. This
        Postfix must receive its mail, and its MX record must say so.""",
        example="bounces.example.net",
    )
    unknown: Unknown = setting(
        kinds.choice_of(Unknown),
        "pass",
        doc="""What becomes of mail of no tenant. reject refuses it with 550 5.7.1 at RCPT TO, as
        far as the mode of the feature sender goes; bounces and mail to the domains of inbound
        still pass.""",
    )
    inbound: tuple[str, ...] = part(
        ListOf(kinds.DOMAIN),
        doc="""The domains that this Postfix receives mail for from outside. Needed for
        unknown: reject alone. The bounce_domain belongs to them by itself.""",
        example="[example.net]",
    )
    null_sender_profile: str | None = optional(
        kinds.SHORT_NAME,
        doc="""TLS profile for bounces and other mail with an empty sender, of which nobody knows
        the tenant at delivery. It acts while the default mode of tls is enforce. Without it, such
        mail goes out as Postfix would send it.""",
        example="private",
    )
    logins: dict[str, PlatformLoginSection] = part(
        Table(kinds.LOGIN, Section(PlatformLoginSection), "webapp"),
        doc="""Logins that name the tenant of each message in the tag header. Nobody else may.""",
    )


@section
class ModesSection:
    """How far each feature goes.

    off does nothing. observe decides, logs and counts what it would have done, and changes nothing.
    enforce does it.
    """

    PLANNED: ClassVar[Planned] = {"quota": _REMOVE, "suppression": _REMOVE}

    default: Mode | None = setting(
        _MODE, "observe", doc="The mode of every feature that is not named here."
    )
    tag: Mode | None = optional(
        _MODE, doc="The tag header, set where it is right and removed where it is not."
    )
    sender: Mode | None = optional(
        _MODE,
        doc="""Whether the envelope sender (and the From: header, see check_from) must be one of
        the tenant's domains.""",
    )
    tls: Mode | None = optional(
        _MODE,
        doc="""The TLS profiles. The rules of tls.domains follow the mode at the top level for mail
        that no profile delivers.""",
    )
    feedback: Mode | None = optional(
        _MODE, doc="Feedback-ID, the token header and the token return path."
    )
    lane: Mode | None = optional(_MODE, doc="The lanes.")


@section
class TenantModesSection(ModesSection):
    """Modes of this tenant where they differ from the general ones."""

    default: Mode | None = optional(
        _MODE,
        doc="""The mode of every feature that is not named here; without it, the general one of
        each.""",
    )


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


@section
class LaneSection:
    """A way out of Postfix: a delivery service with settings of its own."""

    concurrency: int | None = optional(
        kinds.whole_number(1, 20_000, "10"),
        doc="""Deliveries at once to one destination. Without it, Postfix's
        default_destination_concurrency_limit.""",
        example="10",
    )
    rate_delay: int | None = optional(
        kinds.duration(1, 86400, "1s"),
        doc="""Time between two deliveries to one destination. With it, Postfix delivers one message
        at a time to each.""",
        example="1s",
    )
    addresses: tuple[tuple[int, str], ...] = part(
        ListOf(kinds.ADDRESS),
        doc="Source addresses: at most one IPv4 and one IPv6 address.",
        example="[192.0.2.10, 2001:db8::10]",
    )


@section
class FeedbackSection:
    """Where a tenant says what a message is. The values go into Feedback-ID."""

    campaign: str | None = optional(
        kinds.HEADER, doc="Header that names the campaign.", example="X-Campaign"
    )
    mail_type: str | None = optional(
        kinds.HEADER, doc="Header that names the type of mail.", example="X-Mail-Type"
    )


@section
class TenantSection:
    """A customer on whose account messages are sent."""

    PLANNED: ClassVar[Planned] = {"quota": _REMOVE, "burst": _REMOVE, "suppression": _REMOVE}

    logins: tuple[str, ...] = part(
        ListOf(kinds.LOGIN), doc="SASL logins, as clients give them.", example="[acme]"
    )
    certificates: tuple[str, ...] = part(
        ListOf(kinds.FINGERPRINT),
        doc="""Fingerprints of client certificates, by smtpd_tls_fingerprint_digest. Postfix must
        ask for certificates: smtpd_tls_ask_ccert = yes.""",
        example=f"[{_FINGERPRINT}]",
    )
    clients: tuple[kinds.Network, ...] = part(
        ListOf(kinds.NETWORK),
        doc="Client addresses and networks.",
        example="[192.0.2.128/28]",
    )
    listeners: tuple[str, ...] = part(
        ListOf(kinds.LISTENER),
        doc="""Listeners, by their milter_macro_daemon_name in master.cf; the policy service must
        get the same name as smtpd_policy_service_policy_context.""",
        example="[acme-in]",
    )
    senders: tuple[str, ...] = part(
        ListOf(kinds.DOMAIN_OR_PARENT),
        doc="""Domains of envelope senders that belong to this tenant alone. .acme.example stands
        for the domains below acme.example. Without any, every sender may be used.""",
        example="[acme.example]",
    )
    check_from: bool = setting(
        kinds.BOOLEAN,
        "no",
        doc="Whether the From: header, too, must name one of the senders.",
        example="yes",
    )
    profile: str = setting(
        kinds.SHORT_NAME,
        DEFAULT_PROFILE,
        doc="""The TLS profile. To enforce it, the envelope sender must tell the tenant at
        delivery: by return_path: token with feedback in enforce, or by senders with sender in
        enforce.""",
        example="private",
    )
    lane: str = setting(
        kinds.SHORT_NAME,
        DEFAULT_LANE,
        doc="The lane. To enforce it, the same is needed as for a profile.",
        example="bulk",
    )
    return_path: ReturnPath = setting(
        kinds.choice_of(ReturnPath),
        "keep",
        doc="""token replaces the envelope sender by a signed address in platform.bounce_domain, so
        that each bounce leads back to tenant and message. Part of the feature feedback.""",
        example="token",
    )
    feedback: FeedbackSection = part(Section(FeedbackSection))
    modes: TenantModesSection = part(Section(TenantModesSection))


TENANTS = Table(kinds.TENANT_ID, Section(TenantSection), "acme")


@section
class MainFile:
    """The file is YAML, and each value means what its setting makes of it.

    Numbers, yes and no need no quotes. Times are written 10s, 5m, 1h or 1d. Anchors, aliases and
    merge keys work.
    """

    PLANNED: ClassVar[Planned] = {
        "counters": _REMOVE,
        "survey": _REMOVE,
        "suppression": _REMOVE,
        "webhooks": _REMOVE,
    }

    postfix: PostfixSection = part(Section(PostfixSection))
    service: ServiceSection = part(Section(ServiceSection))
    log: LogSection = part(Section(LogSection))
    state: str = setting(
        kinds.STORE,
        "sqlite:////var/lib/gatepost/gatepost.db",
        doc="""The database of what observe would have done. Its directory must be writable for
        service.user.""",
    )
    metrics: Address | None = setting(
        kinds.LISTEN,
        "127.0.0.1:9464",
        doc="""Where Prometheus finds the metrics, without TLS and password: keep it on a loopback
        address. off serves none.""",
    )
    keys: str = setting(
        kinds.FILE,
        "keys.yaml",
        doc="""The file of the keys that sign tokens, relative to this file. It must be readable for
        root and service.user only. gatepost init makes it; several hosts that send for the same
        tenants need the same.""",
    )
    platform: PlatformSection = part(Section(PlatformSection))
    modes: ModesSection = part(Section(ModesSection))
    tls: TlsSection = part(Section(TlsSection))
    lanes: dict[str, LaneSection] = part(
        Table(kinds.SHORT_NAME, Section(LaneSection), "bulk"),
        doc=f"""Lanes by name. {DEFAULT_LANE} is always there, is Postfix's own and stays so: it is
        the lane of a tenant that names none, and of every tenant whose mode of lane is not
        enforce.""",
    )
    tenants_dir: str | None = optional(
        kinds.FILE,
        doc="""A directory of further files, relative to this file, whose names end in .yaml or
        .yml. Each holds tenants: with one or more of them.""",
        example="tenants.d",
    )
    tenants: dict[str, TenantSection] = part(
        TENANTS, doc="Tenants by id: at most 31 of a-z, 0-9 and hyphen."
    )


@section
class TenantFile:
    """A file in tenants_dir."""

    tenants: dict[str, TenantSection] = part(TENANTS, doc="Tenants by id.")


@section
class KeySection:
    """A key."""

    secret: bytes | None = required(
        kinds.SECRET,
        doc="At least 32 octets from a random source, in hexadecimal.",
        example="64 hexadecimal digits",
    )
    until: str | None = optional(
        kinds.DATE,
        doc="""The last day, as YYYY-MM-DD, on which tokens of this key are accepted. For keys that
        no longer sign: 60 days after they last did.""",
        example="2030-12-31",
    )


@section
class KeyFile:
    """The keys that sign tokens. Keep this file secret: whoever has a key can forge them."""

    current: int | None = required(
        kinds.KEY_ID, doc="The key that signs. The others only verify.", example="1"
    )
    keys: dict[str, KeySection] = part(
        Table(kinds.KEY_NAME, Section(KeySection), "1"), doc="Keys by number, 0 to 31."
    )
