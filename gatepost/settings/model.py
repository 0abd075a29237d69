"""What a configuration comes to: `Settings` for a process, `Snapshot` for decisions, and warnings.

Purpose: keep apart what only a restart can change (accounts, sockets, files) from what a reload
replaces whole. Both come from the same files and are loaded together.
Errors: none; `gatepost.settings.Loader` reports them before these objects exist.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gatepost.errors import ConfigError
from gatepost.feedback.reporting import Loop
from gatepost.postfix.spec import DEFAULT_SOCKET_DIR
from gatepost.snapshot import Snapshot
from gatepost.traffic.valkey_target import Target

DEFAULT_STATE = "sqlite:////var/lib/gatepost/gatepost.db"


@dataclass(frozen=True, slots=True)
class Address:
    """A TCP address to listen on.

    Attributes:
        host: IP address as text, without brackets.
        port: 1 to 65535.
    """

    host: str
    port: int

    def __str__(self) -> str:
        """Return ``host:port``, with brackets around an IPv6 address."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Settings:
    """What only a restart can change.

    Attributes:
        config: The configuration file, as the operator named it.
        postfix_config_dir: Postfix's configuration directory.
        postfix_group: Group of Postfix's own account, which may use the sockets.
        socket_dir: Directory of the sockets, below Postfix's queue directory.
        user: Account that the processes run as when they are started by root.
        run_dir: Directory of control sockets and lock files.
        grace_s: Seconds that requests in hand may take when a process is told to stop.
        watchdog_s: Seconds that a process may hang before the supervisor kills it.
        policy_timeout_s: Seconds that the milter waits for the policy server.
        state: URL of the store of what all nodes share.
        counters: Where quotas are counted for several nodes, or None for in memory.
        metrics: Where metrics are served, or None for nowhere.
        api: Where the HTTP API answers, an address or a socket, or None for nowhere.
        log_to: ``stderr`` or ``syslog``.
        log_level: ``debug``, ``info``, ``warning`` or ``error``.
        dns_servers: Name servers to ask; those of resolv.conf if empty.
        dns_signed: A name in a signed zone.
        dns_bogus: A name whose signature is wrong.
        https_ca_file: Trusted roots for policy hosts, or None for those of the system.
        maillog: The file that Postfix logs to, ``journal``, or None where the log is not read.
        intake_dir: Where mail that came back lies until it is dealt with, or None where no domain
            is set that it could come to.
        events_file: Where events are appended to, or None for nowhere.
        unsubscribe: Where unsubscriptions are answered, or None for nowhere.
        feedback_loops: Feedback loops that the platform is enrolled in; without any, all of them.
        postmaster_token: The OAuth token for Postmaster Tools, or None where they are not asked.
        postmaster_url: Where they are asked.
        postmaster_domains: The domains to ask for.
        local_state_url: URL of the store of what is this node's alone, or empty; see `local_state`.
        node: The name by which other nodes know this one, or empty for that of the host.
    """

    config: Path
    postfix_config_dir: Path = Path("/etc/postfix")
    postfix_group: str = "postfix"
    socket_dir: str = DEFAULT_SOCKET_DIR
    user: str = "gatepost"
    run_dir: Path = Path("/run/gatepost")
    grace_s: int = 10
    watchdog_s: int = 20
    policy_timeout_s: int = 10
    state: str = DEFAULT_STATE
    counters: Target | None = None
    metrics: Address | None = Address("127.0.0.1", 9464)
    api: Address | Path | None = None
    log_to: str = "syslog"
    log_level: str = "info"
    dns_servers: tuple[str, ...] = ()
    dns_signed: str = "."
    dns_bogus: str = "dnssec-failed.org"
    https_ca_file: Path | None = None
    maillog: str | None = None
    intake_dir: Path | None = None
    events_file: Path | None = None
    unsubscribe: Address | None = None
    feedback_loops: tuple[Loop, ...] = ()
    postmaster_token: Path | None = None
    postmaster_url: str = "https://gmailpostmastertools.googleapis.com"
    postmaster_domains: tuple[str, ...] = ()
    local_state_url: str = ""
    node: str = ""

    @property
    def local_state(self) -> str:
        """URL of the store of what is this node's alone: always a file of SQLite."""
        own = self.state if self.state.startswith("sqlite:") else DEFAULT_STATE
        return self.local_state_url or own


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration that passed.

    Attributes:
        settings: What only a restart can change.
        snapshot: What decisions read.
        warnings: What passes and yet is probably not meant so, in file order.
    """

    settings: Settings
    snapshot: Snapshot
    warnings: tuple[ConfigError, ...] = ()
