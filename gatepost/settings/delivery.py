"""What a tenant's settings need of one another: is it known at delivery whose mail it is?

Purpose: Postfix chooses the delivery service by the envelope sender alone. A TLS profile or a lane
that is enforced is kept only if that sender names the tenant on every message: by a token in the
return path, or by a domain that the tenant must use.
Errors: problems go to the report. Tenants with settings that could not be read are passed over, so
that one mistake is told once.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet

from gatepost.modes import Mode, Modes
from gatepost.settings.problems import Place, Report
from gatepost.settings.schema import did_you_mean, listed, there_are
from gatepost.snapshot import Platform
from gatepost.tenants.model import DEFAULT_PROFILE, ReturnPath, Tenant
from gatepost.tls.levels import Level
from gatepost.tls.rules import OnFailure, Profile
from gatepost.traffic.burst import BurstRules
from gatepost.traffic.lanes import DEFAULT_LANE, Lane
from gatepost.traffic.services import is_ordinary
from gatepost.traffic.warmup import NO_WARMUP


class TenantCheck:
    """Checks tenants, one after the other."""

    def __init__(
        self,
        platform: Platform,
        modes: Modes,
        lanes: Mapping[str, Lane],
        profiles: Mapping[str, Profile],
        report: Report,
        unsure: AbstractSet[str],
        slow: str | None = None,
    ) -> None:
        """Remember what tenants are checked against.

        Args:
            platform: The platform.
            modes: The general modes.
            lanes: All lanes.
            profiles: All profiles.
            report: Takes problems.
            unsure: Sections of the main file that could not be read as a whole; what depends on
                them is not checked.
            slow: The lane to which the ladder slows tenants down, or None.
        """
        self._platform = platform
        self._tls = modes.tls
        self._lanes = lanes
        self._profiles = profiles
        self._report = report
        self._unsure = unsure
        self._slow = slow
        # When tenants are moved; and whose own settings say so.
        self.bursts = BurstRules()
        self.warmups = NO_WARMUP
        self.own_bursts: AbstractSet[str] = frozenset()
        self._ordinary: dict[tuple[str, str], bool] = {}
        self._headers = {platform.tenant_header.lower(), platform.token_header.lower()}

    def check(self, tenant: Tenant, at: Place, *, acted_for: bool) -> None:
        """Check one tenant.

        Args:
            tenant: The tenant.
            at: Where it stands.
            acted_for: Whether a platform login may name it.
        """
        known = self._names(tenant, at)
        if tenant.return_path is ReturnPath.TOKEN:
            self._return_path(tenant, at)
        if tenant.campaign_header or tenant.mail_type_header:
            self._feedback_headers(tenant, at)
        if tenant.unsubscribe_types or tenant.marketing_types:
            self._mail_types(tenant, at)
        if not tenant.senders:
            self._without_senders(tenant, at)
        if self._slow is not None and not self._unsure:
            self._ladder(tenant, at)
        if not self._unsure and self.bursts.burst_of(tenant.id) is not None:
            self._burst(tenant, at)
        if not self._unsure and tenant.id in self.warmups.tenants:
            self._warmup(tenant, at)
        wishes = tenant.profile != DEFAULT_PROFILE or tenant.lane != DEFAULT_LANE
        if known and wishes and not self._unsure and self._known_at_delivery(tenant, at):
            self._bounces(tenant, at)
        if not (
            acted_for or tenant.logins or tenant.clients or tenant.certificates or tenant.listeners
        ):
            self._report.warn(
                at,
                "no mail can be told to be this tenant's",
                "give it logins, clients, certificates or listeners",
                group="no evidence",
            )

    def _names(self, tenant: Tenant, at: Place) -> bool:
        """Check that profile and lane exist, and tell whether they do."""
        good = True
        names: tuple[tuple[str, str, Mapping[str, object], str], ...] = (
            ("profile", tenant.profile, self._profiles, "tls"),
            ("lane", tenant.lane, self._lanes, "lanes"),
        )
        for what, name, known, section in names:
            if name in known:
                continue
            good = False
            if section not in self._unsure:
                remedy = did_you_mean(name, known) or there_are(known)
                self._report.error(_below(at, what), f"there is no {what} {name}", remedy)
        return good

    def _return_path(self, tenant: Tenant, at: Place) -> None:
        place = _below(at, "return_path")
        if self._platform.bounce_domain is None:
            if "platform" in self._unsure:
                return
            self._report.error(
                place, "token needs a domain that receives bounces", "set platform.bounce_domain"
            )
        elif tenant.modes.feedback is Mode.OFF:
            self._report.warn(
                place,
                "token is part of the feature feedback, which is off",
                "set the mode of feedback to observe or enforce",
                group="token while off",
            )

    def _feedback_headers(self, tenant: Tenant, at: Place) -> None:
        for what in ("campaign", "mail_type"):
            name = getattr(tenant, f"{what}_header")
            if name in self._headers:
                self._report.error(
                    _below(at, "feedback", what),
                    f"{name} is a header that Gatepost sets itself",
                    "name the header in which the tenant puts its label",
                )

    def _mail_types(self, tenant: Tenant, at: Place) -> None:
        """Check that types of mail which are listed can be told, and lead to something."""
        what = "unsubscribe" if tenant.unsubscribe_types else "marketing"
        if tenant.mail_type_header is None:
            self._report.warn(
                _below(at, "feedback", what),
                "has no effect, as no header tells the type of a message",
                "name it under mail_type",
                group="types without a header",
            )
        elif (
            tenant.unsubscribe_types
            and self._platform.unsubscribe_url is None
            and "platform" not in self._unsure
        ):
            self._report.warn(
                _below(at, "feedback", "unsubscribe"),
                "has no effect without an address that unsubscribes",
                "set platform.unsubscribe_url",
                group="unsubscribe without an address",
            )

    def _without_senders(self, tenant: Tenant, at: Place) -> None:
        if tenant.check_from:
            self._report.warn(
                _below(at, "check_from"),
                "there are no senders that From: could be checked against",
                "list the tenant's domains under senders",
                group="From: without senders",
            )
        elif tenant.modes.sender is Mode.ENFORCE:
            self._report.warn(
                at,
                "has no senders, so every sender may be used though the mode of sender is enforce",
                "list the tenant's domains under senders",
                group="enforce without senders",
            )

    def _ladder(self, tenant: Tenant, at: Place) -> None:
        """Warn of a tenant that the ladder can warn and pause, but not slow down."""
        if tenant.modes.ladder is not Mode.ENFORCE:
            return
        if not (self._by_token(tenant, Mode.ENFORCE) or self._by_domain(tenant, Mode.ENFORCE)):
            self._report.warn(
                at,
                f"the ladder cannot slow it down to lane {self._slow}, since at delivery nothing "
                "tells whose mail it is",
                self._remedy(tenant),
                group="not to be slowed down",
            )

    def _warmup(self, tenant: Tenant, at: Place) -> None:
        """Check that a tenant whose mail is to take another lane can be told at delivery."""
        mode = tenant.modes.lane
        if mode is Mode.OFF or self._by_token(tenant, mode) or self._by_domain(tenant, mode):
            return
        place, nothing = _below(at, "warmup"), "at delivery nothing tells whose mail it is"
        if mode is Mode.ENFORCE:
            self._report.error(place, f"is enforced, but {nothing}", self._remedy(tenant))
        else:
            self._report.warn(
                place,
                f"could not be enforced as it is, since {nothing}",
                self._remedy(tenant),
                group="warm-up that cannot be enforced",
            )

    def _burst(self, tenant: Tenant, at: Place) -> None:
        """Check that a tenant whose mail is to be moved can be told at delivery."""
        mode = tenant.modes.lane
        if mode is Mode.OFF or self._by_token(tenant, mode) or self._by_domain(tenant, mode):
            return
        nothing = "at delivery nothing tells whose mail it is"
        if mode is Mode.ENFORCE and tenant.id in self.own_bursts:
            problem = f"is enforced, but {nothing}"
            self._report.error(_below(at, "burst"), problem, self._remedy(tenant))
            return
        self._report.warn(
            at,
            f"its mail cannot be moved in a burst, since {nothing}",
            self._remedy(tenant),
            group="not to be moved",
        )

    def _known_at_delivery(self, tenant: Tenant, at: Place) -> bool:
        """Check that what is enforced at delivery can be, and tell whether it can."""
        modes = tenant.modes
        lane = tenant.lane if modes.lane is Mode.ENFORCE else DEFAULT_LANE
        profile = tenant.profile if modes.tls is Mode.ENFORCE else DEFAULT_PROFILE
        if not self._is_ordinary(lane, profile):
            if not (self._by_token(tenant, Mode.ENFORCE) or self._by_domain(tenant, Mode.ENFORCE)):
                what = "lane" if self._is_ordinary(DEFAULT_LANE, profile) else "profile"
                self._report.error(
                    _below(at, what),
                    f"{what} {getattr(tenant, what)} is enforced, but at delivery nothing tells "
                    "whose mail it is",
                    self._remedy(tenant),
                )
                return False
        elif not (self._by_token(tenant, Mode.OBSERVE) or self._by_domain(tenant, Mode.OBSERVE)):
            observed = Mode.OBSERVE in (modes.tls, modes.lane)
            if observed and not self._is_ordinary(tenant.lane, tenant.profile):
                self._report.warn(
                    _below(at, "profile" if tenant.profile != DEFAULT_PROFILE else "lane"),
                    "cannot be enforced as it is, since at delivery nothing tells whose mail it is",
                    self._remedy(tenant),
                    group="not to be enforced",
                )
        return True

    def _bounces(self, tenant: Tenant, at: Place) -> None:
        """Warn that what a tenant is promised does not hold for bounces of its mail."""
        profile = self._profiles[tenant.profile]
        asked = (profile.base, *profile.exceptions.table.values())
        if tenant.modes.tls is not Mode.ENFORCE or all(each.level <= Level.MAY for each in asked):
            return
        chosen = self._platform.null_sender_profile
        acts = self._tls is Mode.ENFORCE
        if chosen is not None and acts:
            return
        problem = f"{profile.name} does not hold for bounces: they name no tenant, may carry the "
        problem += "whole message, and go out as Postfix's own level says"
        if profile.on_failure is OnFailure.BOUNCE:
            problem += "; on_failure: bounce makes more of them"
        wanted = [] if chosen is not None else [f"platform.null_sender_profile: {profile.name}"]
        if not acts:
            general = f"the general mode of tls is {self._tls}"
            problem += f"; null_sender_profile does nothing while {general}"
            wanted.append("modes.tls: enforce (tenants may have modes of their own)")
        # Of a group only the first is told, and it must not be the one that says less.
        self._report.warn(
            _below(at, "profile"),
            problem,
            f"set {listed(wanted)}",
            group=f"bounces, {profile.on_failure}",
        )

    def _is_ordinary(self, lane: str, profile: str) -> bool:
        pair = (lane, profile)
        if (found := self._ordinary.get(pair)) is None:
            found = is_ordinary(self._lanes[lane], self._profiles[profile])
            self._ordinary[pair] = found
        return found

    def _by_token(self, tenant: Tenant, least: Mode) -> bool:
        return (
            tenant.return_path is ReturnPath.TOKEN
            and self._platform.bounce_domain is not None
            and _reaches(tenant.modes.feedback, least)
        )

    def _by_domain(self, tenant: Tenant, least: Mode) -> bool:
        return bool(tenant.senders) and _reaches(tenant.modes.sender, least)

    def _remedy(self, tenant: Tenant) -> str:
        token = []
        if tenant.return_path is not ReturnPath.TOKEN:
            token.append("return_path: token")
        if tenant.modes.feedback is not Mode.ENFORCE:
            token.append("modes.feedback: enforce")
        if self._platform.bounce_domain is None:
            token.append("platform.bounce_domain")
        domain = [] if tenant.senders else ["senders"]
        if tenant.modes.sender is not Mode.ENFORCE:
            domain.append("modes.sender: enforce")
        return f"set {listed(token)}; or set {listed(domain)}"


def _reaches(mode: Mode, least: Mode) -> bool:
    return mode is Mode.ENFORCE or (least is Mode.OBSERVE and mode is Mode.OBSERVE)


def _below(at: Place, *steps: str) -> Place:
    return Place(at.file, (*at.path, *steps))
