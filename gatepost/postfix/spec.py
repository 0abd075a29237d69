"""What attach needs to know of the configuration, and nothing else.

Purpose: the line between Gatepost's configuration and Postfix's: `services.attach_spec` derives an
`AttachSpec` from a snapshot, and everything behind it works on this alone.
Errors: none.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from gatepost.decisions.tlsmap import LANE_MARK, PROFILE_PREFIX
from gatepost.tls.levels import Level
from gatepost.tls.rules import OnFailure
from gatepost.traffic.lanes import instance_name

DEFAULT_SOCKET_DIR = "gatepost"
MILTER_SOCKET = "milter.sock"
POLICY_SOCKET = "policy.sock"
MAPS_SOCKET = "maps.sock"
INTAKE_SOCKET = "intake.sock"


class Hook(StrEnum):
    """A place at which Postfix asks us; the value is the name of the private parameter."""

    MILTER = "gatepost_milter"
    POLICY = "gatepost_policy"
    QUOTA = "gatepost_quota"
    TRANSPORT = "gatepost_transport"
    TLS = "gatepost_tls"
    RETURNS = "gatepost_returns"


@dataclass(frozen=True, slots=True)
class ServiceSpec:
    """One smtp(8) clone.

    Attributes:
        name: Name in master.cf, ``gp-<lane>-<profile>``, with a number for a further source.
        lane: Name of the lane, for comments.
        profile: Name of the TLS profile; the map is ``tls-<profile>``.
        level: The profile's level for a destination without exception.
        on_failure: What becomes of mail whose requirement a destination cannot meet.
        concurrency: Deliveries at once to one destination, or None for Postfix's default.
        rate_delay_s: Seconds between deliveries to one destination, or None for no delay.
        address4: IPv4 source address, or None for the host's own choice.
        address6: IPv6 source address, or None for the host's own choice.
    """

    name: str
    lane: str
    profile: str
    level: Level = Level.MAY
    on_failure: OnFailure = OnFailure.DEFER
    concurrency: int | None = None
    rate_delay_s: int | None = None
    address4: str | None = None
    address6: str | None = None


@dataclass(frozen=True, slots=True)
class InstanceSpec:
    """One lane that is a Postfix instance of its own.

    Attributes:
        lane: Name of the lane.
        services: Its smtp(8) clones, which stand in its own master.cf.
    """

    lane: str
    services: tuple[ServiceSpec, ...] = ()

    @property
    def name(self) -> str:
        """Return its name, by which postmulti(1) and the log know it."""
        return instance_name(self.lane)


@dataclass(frozen=True, slots=True)
class AttachSpec:
    """Everything that Postfix has to be told.

    Attributes:
        hooks: Where Postfix asks us.
        left_out: Why each other hook is not needed.
        services: The smtp(8) clones.
        socket_dir: Directory of the sockets below the queue directory.
        answers: Whether the TLS maps may ever have an answer.
        without_dane: Whether an answer may stand in the place of a level that it cannot be joined
            with.
        tokens: Whether envelope senders of a tenant are replaced by token addresses, or may soon
            be.
        dane: Whether TLSA records join the answers, so that deliveries have to ask for DNSSEC.
        returns: Domains that bounces and reports come back to.
        shaping: Whether a delivery may be held back, so that the TLS maps have to be asked before
            each, and told by which lane.
        instances: The lanes that are instances of their own.
        leaving: Lanes whose instances are still there and are to go.
    """

    hooks: frozenset[Hook]
    left_out: tuple[tuple[Hook, str], ...] = ()
    services: tuple[ServiceSpec, ...] = ()
    socket_dir: str = DEFAULT_SOCKET_DIR
    answers: bool = False
    without_dane: bool = False
    tokens: bool = False
    dane: bool = False
    returns: tuple[str, ...] = ()
    shaping: bool = False
    instances: tuple[InstanceSpec, ...] = ()
    leaving: tuple[str, ...] = ()

    @property
    def lanes_apart(self) -> tuple[str, ...]:
        """Return the lanes that have an instance, or still have one."""
        return (*(instance.lane for instance in self.instances), *self.leaving)

    @property
    def all_services(self) -> tuple[ServiceSpec, ...]:
        """Return the smtp(8) clones of this and of the lanes' own instances."""
        apart = (service for instance in self.instances for service in instance.services)
        return (*self.services, *apart)

    @property
    def sockets(self) -> tuple[str, ...]:
        """Return the file names of the sockets that Postfix will use."""
        needed = []
        if Hook.MILTER in self.hooks:
            needed.append(MILTER_SOCKET)
        if self.hooks & {Hook.POLICY, Hook.QUOTA}:
            needed.append(POLICY_SOCKET)
        if self.all_services or self.hooks & {Hook.TRANSPORT, Hook.TLS}:
            needed.append(MAPS_SOCKET)
        if self.returns:
            needed.append(INTAKE_SOCKET)
        return tuple(needed)

    @property
    def intake(self) -> str:
        """Return the transport and next-hop that lead to the intake."""
        return f"lmtp:unix:{self.socket_dir}/{INTAKE_SOCKET}"

    def tls_map(self, service: ServiceSpec) -> str:
        """Return the socketmap that a service asks before each delivery."""
        lane = f"{LANE_MARK}{service.lane}" if self.shaping else ""
        return self.map(f"{PROFILE_PREFIX}{service.profile}{lane}")

    def map(self, name: str) -> str:
        """Return the socketmap of a certain name, as Postfix spells it."""
        return f"socketmap:unix:{self.socket_dir}/{MAPS_SOCKET}:{name}"
