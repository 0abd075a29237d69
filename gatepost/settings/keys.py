"""Every setting of every configuration file: name, kind, default, explanation and example.

Purpose: here, in `keys_tenants` and in `keys_tls` a setting is declared, once; see `schema` for
what is made of it. What settings must not be together is in `tenants`, `tls`, `platform` and
`delivery`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from gatepost.settings import (
    kinds,
    kinds_counters,
    kinds_feedback,
    kinds_store,
    kinds_traffic,
)
from gatepost.settings.keys_api import ApiSection
from gatepost.settings.keys_burst import TrafficSection
from gatepost.settings.keys_feedback import (
    WEBHOOKS,
    FeedbackFlowSection,
    LadderSection,
    SuppressionSection,
    WebhookSection,
)
from gatepost.settings.keys_shaping import ShapingSection
from gatepost.settings.keys_tenants import TENANTS, GroupSection, ModesSection, TenantSection
from gatepost.settings.keys_tls import LaneSection, TlsSection
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
from gatepost.traffic.lanes import DEFAULT_LANE
from gatepost.traffic.quota import Limit

_REMOVE = "remove it"


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
        kinds.OWN_DIRECTORY,
        "/run/gatepost",
        doc="""Directory of the control sockets, by which status and reload reach the processes. It
        must be Gatepost's alone, as those of socket_dir and state: gatepost serve, started as
        root, makes them where they are missing and leaves those of others as they are.""",
    )
    grace: int = setting(
        kinds.duration(1, 300, "10s"),
        "10s",
        doc="""How long requests in hand may take when a process is told to stop. What is then
        left is cut off; Postfix repeats it.""",
    )
    watchdog: int = setting(
        kinds.duration(3, 3600, "20s"),
        "20s",
        doc="""How long a process may hang before gatepost serve kills it and starts it again; the
        unit of systemd says it for a process of its own. Mail waits meanwhile, and nothing of it
        is lost. Make it long to look at a process with a debugger.""",
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


@section
class DnsSection:
    """The resolver by which destinations are found out. A change takes effect after a restart."""

    servers: tuple[tuple[int, str], ...] = part(
        ListOf(kinds.ADDRESS),
        doc="""Name servers to ask, instead of those of /etc/resolv.conf. It should be the resolver
        that Postfix asks, on this host, and it must validate DNSSEC for DANE.""",
        example="[127.0.0.1]",
    )
    signed: str | None = optional(
        kinds.DOMAIN,
        doc="""A name in a signed zone, by which the resolver is tested. Without it, the root of the
        DNS.""",
        example="example.net",
    )
    bogus: str = setting(
        kinds.DOMAIN,
        "dnssec-failed.org",
        doc="""A name whose signature is wrong on purpose: a resolver that answers for it does not
        validate, and DANE is then off.""",
    )
    https_ca_file: str | None = optional(
        kinds.FILE,
        doc="""The trusted roots for the HTTPS servers of MTA-STS policies, in PEM, relative to this
        file. Without it, those of the system.""",
        example="/etc/ssl/certs/ca-certificates.crt",
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
    feedback_domain: str | None = optional(
        kinds.DOMAIN,
        doc="""Domain that complaint reports and unsubscriptions by mail are sent to. This Postfix
        must receive its mail, and its MX record must say so. Without it no CFBL headers are added.
        It may be the bounce_domain.""",
        example="fbl.example.net",
    )
    unsubscribe_url: str | None = optional(
        kinds_feedback.HTTPS_URL,
        doc="""Address of the page for one-click unsubscriptions; a token is appended to it. Your
        web server must pass it on to feedback.unsubscribe. Without it no List-Unsubscribe is
        added.""",
        example="https://mail.example.net/unsubscribe",
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
    quota: tuple[Limit, ...] = part(
        ListOf(kinds_traffic.QUOTA),
        doc="""Quotas of the mail of all tenants together, except those with quota_exempt, as those
        of a tenant. Mail of no tenant is not counted.""",
        example="[100000/hour]",
    )
    logins: dict[str, PlatformLoginSection] = part(
        Table(kinds.LOGIN, Section(PlatformLoginSection), "webapp"),
        doc="""Logins that name the tenant of each message in the tag header. Nobody else may.
        Upper and lower case are the same.""",
    )


@section
class MainFile:
    """The file is YAML, and each value means what its setting makes of it.

    Numbers, yes and no need no quotes. Times are written 10s, 5m, 1h or 1d. Anchors, aliases and
    merge keys work.
    """

    PLANNED: ClassVar[Planned] = {
        "survey": _REMOVE,
    }

    postfix: PostfixSection = part(Section(PostfixSection))
    service: ServiceSection = part(Section(ServiceSection))
    log: LogSection = part(Section(LogSection))
    state: str = setting(
        kinds_store.STORE,
        "sqlite:////var/lib/gatepost/gatepost.db",
        doc="""The database of events, suppression lists, tenants' status and what observe found.
        For one host a file of SQLite, whose directory must be writable for service.user; for
        several nodes PostgreSQL, as in postgresql://gatepost@db.example.net/gatepost. A password
        belongs into a file of libpq's (passfile= or service= in the URL).""",
    )
    local_state: str | None = optional(
        kinds_store.LOCAL_STORE,
        doc="""Where state is a server: the file of what this host alone needs, such as the position
        in its log. Unset, it is sqlite:////var/lib/gatepost/gatepost.db there, and state itself
        where that is a file.""",
        example="sqlite:////var/lib/gatepost/gatepost.db",
    )
    counters: kinds_counters.CountersUrl | None = setting(
        kinds_counters.COUNTERS,
        "memory",
        doc="""Where quotas are counted: memory, in the policy server and for this host alone; or
        the URL of a Valkey or Redis that several nodes share, valkey://host:6379/0 (valkeys:// for
        TLS, valkey+unix:///path for a socket). A change takes effect after a restart. See
        fleet.md.""",
        example="valkey://192.0.2.5:6379",
    )
    counters_password: str | None = optional(
        kinds.FILE,
        doc="""A file with the password of counters and nothing else, relative to this file. It
        must be readable for root and service.user only.""",
        example="valkey.password",
    )
    counters_ca_file: str | None = optional(
        kinds.FILE,
        doc="""The trusted roots for counters with TLS, in PEM, relative to this file. Without it,
        those of the system.""",
        example="/etc/ssl/certs/ca-certificates.crt",
    )
    counters_nodes: int | None = optional(
        kinds.whole_number(1, 1000, "3"),
        doc="""How many nodes share the counters at least. A node that cannot reach them goes on
        with the quotas divided by this, or by the number of nodes that it last saw alive if that
        is more.""",
        example="3",
    )
    node: str | None = optional(
        kinds_counters.NODE,
        doc="""Name of this host among those that share counters, for the log and status. Without
        it, the host name.""",
        example="mx1",
    )
    metrics: Address | None = setting(
        kinds.LISTEN,
        "127.0.0.1:9464",
        doc="""Where Prometheus finds the metrics, without TLS and password: keep it on a loopback
        address. off serves none.""",
    )
    api: ApiSection = part(Section(ApiSection))
    maillog: str | None = setting(
        kinds.MAILLOG,
        "off",
        doc="""Postfix's log, to see which deliveries were encrypted: the file, the word journal for
        systemd's journal, or off. service.user must be allowed to read it: on Debian by the
        group adm, or systemd-journal. A change takes effect after a restart.""",
        example="/var/log/mail.log",
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
    dns: DnsSection = part(Section(DnsSection))
    lanes: dict[str, LaneSection] = part(
        Table(kinds.SHORT_NAME, Section(LaneSection), "bulk"),
        doc=f"""Lanes by name. {DEFAULT_LANE} is always there, is Postfix's own and stays so: it is
        the lane of a tenant that names none, and of every tenant whose mode of lane is not
        enforce.""",
    )
    shaping: ShapingSection = part(Section(ShapingSection))
    traffic: TrafficSection = part(Section(TrafficSection))
    feedback: FeedbackFlowSection = part(Section(FeedbackFlowSection))
    suppression: SuppressionSection = part(Section(SuppressionSection))
    ladder: LadderSection = part(Section(LadderSection))
    webhooks: dict[str, WebhookSection] = part(
        WEBHOOKS, doc="Webhooks by name. A change takes effect with a reload."
    )
    groups: dict[str, GroupSection] = part(
        Table(kinds.SHORT_NAME, Section(GroupSection), "resellers"),
        doc="Groups of tenants that share a quota, by name.",
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
