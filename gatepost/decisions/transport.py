"""The map ``transport``: from an envelope sender to the service that delivers its mail.

Purpose: Postfix asks with nothing but the envelope sender, at RCPT TO and again at each delivery
attempt, so the sender must identify the tenant: by a token return path or by a sender domain.
Source: postconf(5) sender_dependent_default_transport_maps. The null sender is asked as ``<>``,
on some paths with quotes around it.
Format: the answer is ``service:`` without a next-hop, which keeps relayhost and MX look-up.
Errors: `Unavailable` where mail must wait: the sender is a token address, so some tenant's rules
apply, but its token cannot be verified (its key was removed too early), or the pair of lane and
profile has no service although it needs one.
Security: a sender without tenant gets Postfix's own default transport, as before Gatepost. An
address of the bounce domain that does not have the form of a token is such a sender.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from gatepost.decisions.lane import choose_lane
from gatepost.decisions.status import RETRY_SERVICE, retry_text
from gatepost.domains import domain_of
from gatepost.errors import MalformedMessage, Unavailable
from gatepost.feedback.status import NO_STATUSES, Statuses
from gatepost.feedback.token import Purpose, looks_like_token, open_token
from gatepost.modes import Mode
from gatepost.snapshot import Snapshot
from gatepost.tenants.model import DEFAULT_PROFILE, Tenant
from gatepost.traffic.lanes import DEFAULT_LANE, hand_over, pick_source, service_name
from gatepost.traffic.services import is_ordinary
from gatepost.traffic.state import NO_TRAFFIC, TrafficState

_NULL_SENDERS = frozenset({"", "<>", '"<>"'})
_BY_TOKEN = "token return path"  # noqa: S105  # not a password


@dataclass(frozen=True, slots=True)
class Route:
    """Which service delivers.

    Attributes:
        service: master.cf service, or None for Postfix's own default transport.
        tenant: The tenant that the sender identifies, or None.
        why: The reason in words.
        nexthop: What stands in the place of the next-hop: the text with which mail of a paused
            tenant is deferred; else empty.
        instance: The lane whose own Postfix instance has that service, if the mail is to be handed
            over to it; else empty.
    """

    service: str | None
    tenant: Tenant | None
    why: str
    nexthop: str = ""
    instance: str = ""

    def answer(self, queue: str) -> str | None:
        """Return the route in Postfix's words, or None for its own default transport.

        Args:
            queue: Last part of the queue directory of the instance that asks.
        """
        if self.instance:
            return hand_over(self.instance, queue)
        return None if self.service is None else f"{self.service}:{self.nexthop}"


def tenant_at_delivery(sender: str, snapshot: Snapshot, now: float) -> tuple[Tenant | None, str]:
    """Return the tenant that an envelope sender identifies, and the evidence in words.

    Raises:
        Unavailable: If the sender is a token address whose token does not verify.
    """
    domain = domain_of(sender)
    if domain is None:
        return None, "the sender has no domain"
    local = sender.rpartition("@")[0]
    if domain == snapshot.platform.bounce_domain and looks_like_token(local):
        try:
            token = open_token(local, Purpose.BOUNCE, snapshot.keyring, now)
        except MalformedMessage as error:
            raise Unavailable(f"sender in the bounce domain: {error}") from error
        tenant = snapshot.tenants.by_number.get(token.tenant)
        if tenant is None:
            raise Unavailable("sender is a token address of a tenant that is not configured")
        return tenant, _BY_TOKEN
    tenant = snapshot.tenants.owner(domain)
    return tenant, f"sender domain {domain}" if tenant else f"no tenant owns {domain}"


def effective_pair(tenant: Tenant) -> tuple[str, str]:
    """Return the (lane, profile) that a tenant's modes put into force."""
    lane = tenant.lane if tenant.modes.lane is Mode.ENFORCE else DEFAULT_LANE
    profile = tenant.profile if tenant.modes.tls is Mode.ENFORCE else DEFAULT_PROFILE
    return lane, profile


def decide_transport(
    sender: str,
    snapshot: Snapshot,
    now: float,
    statuses: Statuses = NO_STATUSES,
    *,
    within: str | None = None,
    traffic: TrafficState = NO_TRAFFIC,
) -> Route:
    """Return the service for an envelope sender.

    Args:
        sender: The map key as Postfix sent it.
        snapshot: The configuration.
        now: Unix time in seconds.
        statuses: Which tenants are slowed down.
        within: The lane whose own instance asks; None for the main instance.
        traffic: Which tenants are in burst.

    Raises:
        Unavailable: If the sender is a token address whose token does not verify, or if the
            service that should deliver is not configured.
    """
    if within is not None and (why := _goes_back(sender, within, snapshot)):
        return Route(None, None, why)
    if sender in _NULL_SENDERS:
        return _of_nobody(snapshot)
    tenant, evidence = tenant_at_delivery(sender, snapshot, now)
    if tenant is None:
        return Route(None, None, evidence)
    status = statuses.get(tenant.id)
    if status is not None and (text := retry_text(tenant, status, now)) is not None:
        return Route(RETRY_SERVICE, tenant, f"{evidence}; {text}", text)
    by_token = evidence is _BY_TOKEN
    fixed, profile = effective_pair(tenant)
    lane = within or fixed
    if within is None:
        choice = choose_lane(tenant, snapshot, statuses, traffic)
        lane = choice.lane
        if lane != fixed:
            evidence = f"{evidence}; {choice.why}"
    # A second is short beside any limit of a receiver, and long beside the look-ups for the
    # recipients of one message, which then stay together.
    key = sender if by_token else None
    number = pick_source(snapshot.lanes[lane], key, int(now))
    route = _route(lane, profile, snapshot, tenant, evidence, number)
    if within is None and snapshot.lanes[lane].instance:
        return replace(route, why=f"{route.why}, by its own instance", instance=lane)
    return route


def _of_nobody(snapshot: Snapshot) -> Route:
    """Return the route of mail with a null sender."""
    profile = snapshot.platform.null_sender_profile
    if profile is None:
        return Route(None, None, "null sender")
    # It belongs to no tenant, so the general mode decides, as for the rules for everyone.
    if snapshot.modes.tls is not Mode.ENFORCE:
        mode = snapshot.modes.tls
        return Route(None, None, f"null sender; null_sender_profile {profile} in mode {mode}")
    return _route(DEFAULT_LANE, profile, snapshot, None, "null_sender_profile", 1)


def _goes_back(sender: str, lane: str, snapshot: Snapshot) -> str:
    """Return why mail in a lane's own instance is given back to the main one, or nothing.

    What has no tenant does not belong there: bounces that the instance has made return to their
    senders as the main instance's own do.
    """
    if sender in _NULL_SENDERS:
        return "null sender"
    found = snapshot.lanes.get(lane)
    return "" if found and found.instance else f"lane {lane} is no instance of its own (any more)"


def _route(
    lane: str, profile: str, snapshot: Snapshot, tenant: Tenant | None, evidence: str, number: int
) -> Route:
    name = service_name(lane, profile, number)
    if name in snapshot.services:
        return Route(name, tenant, f"{evidence}; lane {lane}, profile {profile}")
    if not is_ordinary(snapshot.lanes[lane], snapshot.tls.profiles[profile]):
        raise Unavailable(f"no service {name} is configured")
    return Route(None, tenant, f"{evidence}; lane {lane} and profile {profile} are ordinary")
