"""From tenants as configured to the indices by which they are found; nothing belongs to two.

Purpose: a login, certificate, network, listener or sender domain that two tenants claim would make
identity a matter of order. Each is refused with both places.
Errors: problems go to the report; of two claims the first is kept, so that the check can go on.
Limits: made for 100,000 tenants; each check is linear, the one of networks n log n.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from gatepost.domains import parents
from gatepost.feedback.list_unsubscribe import fold_mail_type
from gatepost.modes import Feature, Mode, Modes
from gatepost.settings.burst import OwnTraffic, own_traffic
from gatepost.settings.keys import PlatformLoginSection
from gatepost.settings.keys_shaping import WarmupSection
from gatepost.settings.keys_tenants import ModesSection, TenantSection
from gatepost.settings.kinds import Network
from gatepost.settings.problems import OTHER, Place, Report, StepPath
from gatepost.settings.schema import Section, did_you_mean
from gatepost.settings.traffic import tenant_quota
from gatepost.tenants.model import PlatformLogin, Tenant, TenantIndex, fold_login, tenant_number
from gatepost.traffic.quota import NO_QUOTA, TenantQuota

# First and last address of this host's own network, by IP version.
_LOOPBACK = {4: (0x7F000000, 0x7FFFFFFF), 6: (1, 1)}

Networks = dict[tuple[int, int], dict[int, Tenant]]


@dataclass(frozen=True, slots=True)
class TenantFileContent:
    """The tenants of one file.

    Attributes:
        file: The file, as it is named in messages.
        tenants: The tenants by id.
    """

    file: str
    tenants: Mapping[str, TenantSection]


class ModeTable:
    """Resolves modes; equal sets share one object.

    Attributes:
        general: The modes of mail of no tenant, and of tenants that set none.
    """

    def __init__(self, section: ModesSection) -> None:
        self._made: dict[tuple[Mode | None, ...], Modes] = {}
        self.general = _resolve(section, _all(section.default or Mode.OBSERVE))

    def of(self, section: ModesSection) -> Modes:
        """Return the modes of a tenant."""
        key = (
            *(section.default, section.tag, section.sender),
            *(section.tls, section.feedback, section.lane),
            *(section.suppression, section.ladder, section.quota),
        )
        made = self._made.get(key)
        if made is None:
            base = self.general if section.default is None else _all(section.default)
            made = self._made[key] = _resolve(section, base)
        return made


def _all(mode: Mode) -> Modes:
    return Modes(*[mode] * len(Feature))


def _folded(words: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(map(fold_mail_type, words)) if words else words


def _resolve(section: ModesSection, base: Modes) -> Modes:
    return Modes(
        section.tag or base.tag,
        section.sender or base.sender,
        section.tls or base.tls,
        section.feedback or base.feedback,
        section.lane or base.lane,
        section.suppression or base.suppression,
        section.ladder or base.ladder,
        section.quota or base.quota,
    )


class TenantBuilder:
    """Builds the index, file by file.

    Attributes:
        by_id: Tenants by id, and so on; see `TenantIndex`.
        files: File of each tenant.
        quotas: Quotas of each tenant that has any.
        traffic: What tenants say of bursts and backlogs, of those that do.
        warmups: Warm-up of each tenant that has one.
    """

    def __init__(
        self,
        modes: ModeTable,
        broken: AbstractSet[str],
        unsure: AbstractSet[str],
        report: Report,
    ) -> None:
        """Begin with no tenant.

        Args:
            modes: The modes.
            broken: Ids of tenants with settings that could not be read; grows with each file.
            unsure: Holds ``tenants`` if there may be more of them than could be read.
            report: Takes problems.
        """
        self._modes = modes
        self._broken = broken
        self._unsure = unsure
        self._report = report
        self._no_modes = Section(TenantSection).read(None, []).modes
        self._shared: dict[str, str] = {}
        self._networks: list[tuple[Network, Tenant, int]] = []
        self.files: dict[str, str] = {}
        self.quotas: dict[str, TenantQuota] = {}
        self.traffic: dict[str, OwnTraffic] = {}
        self.warmups: dict[str, WarmupSection] = {}
        self.by_id: dict[str, Tenant] = {}
        self.by_number: dict[int, Tenant] = {}
        self.by_login: dict[str, Tenant] = {}
        self.by_certificate: dict[str, Tenant] = {}
        self.by_listener: dict[str, Tenant] = {}
        self.by_sender: dict[str, Tenant] = {}

    def add(self, content: TenantFileContent) -> None:
        """Take in the tenants of a file."""
        file = content.file
        for id_, section in content.tenants.items():
            if id_ in self.by_id:
                self._report.error(
                    Place(file, ("tenants", id_)),
                    f"is a tenant already, {OTHER}",
                    "keep one of the two",
                    self.place(id_),
                )
                continue
            tenant = self._tenant(id_, section)
            if (quota := tenant_quota(section)) is not NO_QUOTA:
                self.quotas[id_] = quota
            if (traffic := own_traffic(section)) is not None:
                self.traffic[id_] = traffic
            if section.warmup.start is not None:
                self.warmups[id_] = section.warmup
            self.by_id[id_] = tenant
            self.files[id_] = file
            self._claim_number(tenant)
            self._claim(tenant, "logins", section.logins, self.by_login, fold_login)
            self._claim(tenant, "senders", section.senders, self.by_sender)
            if section.certificates:
                self._claim(tenant, "certificates", section.certificates, self.by_certificate)
            if section.listeners:
                self._claim(tenant, "listeners", section.listeners, self.by_listener)
            for index, network in enumerate(section.clients):
                self._networks.append((network, tenant, index))

    def place(self, id_: str, *steps: str | int) -> Place:
        """Return where a tenant, or a setting of it, stands."""
        return Place(self.files[id_], ("tenants", id_, *steps))

    def index(self, logins: Mapping[str, PlatformLoginSection], file: str) -> TenantIndex:
        """Return the index, with the platform's logins.

        Args:
            logins: The platform's logins.
            file: Where they stand.
        """
        has_suffixes = any(key.startswith(".") for key in self.by_sender)
        if has_suffixes:
            self._check_nested_senders()
        return TenantIndex(
            self.by_id,
            self.by_number,
            self.by_login,
            self.by_certificate,
            self.by_listener,
            self.by_sender,
            self._network_tables(),
            self._platform_logins(logins, file),
            has_suffixes,
        )

    def _tenant(self, id_: str, section: TenantSection) -> Tenant:
        share = self._shared.setdefault
        campaign, mail_type = section.feedback.campaign, section.feedback.mail_type
        profile, lane = section.profile, section.lane
        modes = section.modes
        return Tenant(
            id_,
            tenant_number(id_),
            section.senders,
            section.logins,
            section.certificates,
            tuple(network[3] for network in section.clients),
            section.listeners,
            share(profile, profile),
            share(lane, lane),
            section.return_path,
            section.check_from,
            share(campaign.lower(), campaign.lower()) if campaign else None,
            share(mail_type.lower(), mail_type.lower()) if mail_type else None,
            self._modes.general if modes is self._no_modes else self._modes.of(modes),
            section.feedback.cfbl,
            _folded(section.feedback.unsubscribe),
            _folded(section.feedback.marketing or section.feedback.unsubscribe),
        )

    def _claim_number(self, tenant: Tenant) -> None:
        holder = self.by_number.setdefault(tenant.number, tenant)
        if holder is not tenant:
            self._report.error(
                self.place(tenant.id),
                f"has the same number in tokens as tenant {holder.id}, {OTHER}",
                "give one of the two another id",
                self.place(holder.id),
            )

    def _claim(
        self,
        tenant: Tenant,
        what: str,
        values: Sequence[str],
        table: dict[str, Tenant],
        key: Callable[[str], str] = str,
    ) -> None:
        for value in values:
            holder = table.setdefault(key(value), tenant)
            if holder is not tenant:
                self._report.error(
                    self._item(tenant, what, value),
                    f"{value} belongs to tenant {holder.id}, {OTHER}",
                    "leave it to one of the two",
                    self._item(holder, what, value),
                )

    def _item(self, tenant: Tenant, what: str, value: str) -> Place:
        values: list[str] = list(getattr(tenant, what))
        if value not in values:
            # Another spelling of the same login.
            value, values = fold_login(value), [fold_login(each) for each in values]
        return self._numbered(tenant, what, values.index(value))

    def _numbered(self, tenant: Tenant, what: str, index: int) -> Place:
        # Where an item could not be read, those behind it have moved up.
        if tenant.id in self._broken:
            return self.place(tenant.id, what)
        return self.place(tenant.id, what, index)

    def _check_nested_senders(self) -> None:
        for domain, tenant in self.by_sender.items():
            for parent in parents(domain.removeprefix(".")):
                holder = self.by_sender.get(parent)
                if holder is not None and holder is not tenant:
                    self._report.error(
                        self._item(tenant, "senders", domain),
                        f"{domain} lies within {parent} of tenant {holder.id}, {OTHER}",
                        f"name the domains of {holder.id} one by one instead of {parent}",
                        self._item(holder, "senders", parent),
                    )
                    break

    def _network_tables(self) -> Networks:
        self._check_networks()
        lengths = {(network[0], network[1]) for network, _, _ in self._networks}
        # The longest prefix must come first: `identify` takes the first that matches.
        tables: Networks = {key: {} for key in sorted(lengths, key=lambda key: (key[0], -key[1]))}
        for (version, length, first, _), tenant, _ in self._networks:
            tables[version, length].setdefault(first, tenant)
        return tables

    def _check_networks(self) -> None:
        """Find networks of one tenant that lie within those of another.

        Two networks are disjoint or one holds the other, so with the networks in order the ones
        that hold the present one are a stack.
        """
        around: list[tuple[int, int, str, Tenant, int]] = []
        in_order = sorted(self._networks, key=lambda each: (each[0][0], each[0][2], each[0][1]))
        for (version, length, first, text), tenant, index in in_order:
            last = first + (1 << ((32 if version == 4 else 128) - length)) - 1
            if first <= _LOOPBACK[version][1] and last >= _LOOPBACK[version][0]:
                self._warn_of_loopback(tenant, index, text)
            while around and (around[-1][0] != version or around[-1][1] < first):
                around.pop()
            other = next((each for each in reversed(around) if each[3] is not tenant), None)
            if other is not None:
                _, _, outer, holder, position = other
                what = "is also" if outer == text else f"lies within {outer}"
                self._report.error(
                    self._numbered(tenant, "clients", index),
                    f"{text} {what} of tenant {holder.id}, {OTHER}",
                    "give each client address to one tenant",
                    self._numbered(holder, "clients", position),
                )
            around.append((version, last, text, tenant, index))

    def _warn_of_loopback(self, tenant: Tenant, index: int, text: str) -> None:
        if len(self.by_id) > 1:
            self._report.warn(
                self._numbered(tenant, "clients", index),
                f"{text} holds this host itself, and so all mail that a content filter here gives "
                "back, of other tenants too, where attach does not know its listener",
                "name the addresses of other hosts, or give local clients a listener of their own",
                group="loopback",
            )

    def _platform_logins(
        self, logins: Mapping[str, PlatformLoginSection], file: str
    ) -> dict[str, PlatformLogin]:
        found: dict[str, PlatformLogin] = {}
        for login, section in logins.items():
            at: StepPath = ("platform", "logins", login)
            if (other := found.get(fold_login(login))) is not None:
                self._report.error(
                    Place(file, at),
                    f"{login} is the same login as {other.login}, {OTHER}: case does not count",
                    "keep one of the two",
                    Place(file, ("platform", "logins", other.login)),
                )
            if (holder := self.by_login.get(fold_login(login))) is not None:
                self._report.error(
                    Place(file, at),
                    f"{login} is a login of tenant {holder.id}, {OTHER}",
                    "leave it to one of the two",
                    self._item(holder, "logins", login),
                )
            allowed = section.may_act_as
            for index, id_ in enumerate(allowed or ()):
                self._check_known(id_, Place(file, (*at, "may_act_as", index)))
            may_act_as = None if allowed is None else frozenset(allowed)
            found[fold_login(login)] = PlatformLogin(login, may_act_as)
        return found

    def _check_known(self, id_: str, place: Place) -> None:
        known = id_ in self.by_id or id_ in self._broken
        if not known and "tenants" not in self._unsure:
            remedy = did_you_mean(id_, self.by_id) or "add it, or remove it here"
            self._report.error(place, f"there is no tenant {id_}", remedy)
