"""What a tenant is, and the indices by which one is found.

Purpose: the tenant part of a snapshot. Every lookup on the path of a message is one or a few
dictionary look-ups, whatever the number of tenants.
Errors: none; the configuration was checked before these objects were made.
Security: `TenantIndex` maps each login, certificate, network, listener and sender domain to one
tenant. Two tenants that claim one of them is a configuration error, never a first match.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from gatepost.domains import parents
from gatepost.modes import Modes

DEFAULT_PROFILE = "standard"


class ReturnPath(StrEnum):
    """What becomes of the envelope sender."""

    KEEP = "keep"
    TOKEN = "token"  # noqa: S105  # not a password


@dataclass(frozen=True, slots=True)
class Tenant:
    """The customer on whose account a message is sent.

    Attributes:
        id: ``[a-z0-9][a-z0-9-]{0,30}``.
        number: The tenant in tokens, see `tenant_number`.
        senders: Sender domains; a leading dot covers sub-domains, not the domain itself.
        logins: SASL logins.
        certificates: Client certificate fingerprints, lower-case hex with colons.
        clients: Client networks in CIDR form.
        listeners: smtpd(8) listeners, by ``milter_macro_daemon_name``.
        profile: Name of the TLS profile.
        lane: Name of the lane.
        return_path: Whether the envelope sender is replaced by a token address.
        check_from: Whether the From: header must name one of the tenant's domains too.
        campaign_header: Header that names the campaign, lower case, or None.
        mail_type_header: Header that names the mail type, lower case, or None.
        modes: The mode of each feature for this tenant.
        cfbl: Whether its mail asks for complaint reports.
        unsubscribe_types: Mail types, case-folded, that get List-Unsubscribe.
        marketing_types: Mail types, case-folded, that wait when its marketing is paused.
    """

    id: str
    number: int
    senders: tuple[str, ...] = ()
    logins: tuple[str, ...] = ()
    certificates: tuple[str, ...] = ()
    clients: tuple[str, ...] = ()
    listeners: tuple[str, ...] = ()
    profile: str = DEFAULT_PROFILE
    lane: str = "normal"
    return_path: ReturnPath = ReturnPath.KEEP
    check_from: bool = False
    campaign_header: str | None = None
    mail_type_header: str | None = None
    modes: Modes = field(default_factory=Modes)
    cfbl: bool = True
    unsubscribe_types: tuple[str, ...] = ()
    marketing_types: tuple[str, ...] = ()

    def owns(self, domain: str) -> bool:
        """Tell whether a normalised sender domain is one of this tenant's."""
        return domain in self.senders or any(key in self.senders for key in parents(domain))


@dataclass(frozen=True, slots=True)
class PlatformLogin:
    """A login that may name the tenant in the tag header.

    Attributes:
        login: SASL login.
        may_act_as: Tenant ids, or None for every tenant.
    """

    login: str
    may_act_as: frozenset[str] | None

    def may(self, tenant_id: str) -> bool:
        """Tell whether this login may send for a tenant."""
        return self.may_act_as is None or tenant_id in self.may_act_as


@dataclass(frozen=True, slots=True)
class TenantIndex:
    """Every way to find a tenant.

    Attributes:
        by_login: Keys are logins as `fold_login` gives them, and so are those of `platform`.
        networks: ``(ip version, prefix length) -> {network address as int -> tenant}``, so that
            the longest prefix is found in one look-up per length in use.
        has_suffixes: Whether any key of `by_sender` has a leading dot.
    """

    by_id: Mapping[str, Tenant] = field(default_factory=dict)
    by_number: Mapping[int, Tenant] = field(default_factory=dict)
    by_login: Mapping[str, Tenant] = field(default_factory=dict)
    by_certificate: Mapping[str, Tenant] = field(default_factory=dict)
    by_listener: Mapping[str, Tenant] = field(default_factory=dict)
    by_sender: Mapping[str, Tenant] = field(default_factory=dict)
    networks: Mapping[tuple[int, int], Mapping[int, Tenant]] = field(default_factory=dict)
    platform: Mapping[str, PlatformLogin] = field(default_factory=dict)
    has_suffixes: bool = False

    def owner(self, domain: str) -> Tenant | None:
        """Return the tenant that owns a normalised sender domain, or None."""
        found = self.by_sender.get(domain)
        if found is None and self.has_suffixes:
            for key in parents(domain):
                if (found := self.by_sender.get(key)) is not None:
                    break
        return found


def fold_login(login: str) -> str:
    """Return a SASL login in the form in which logins are compared.

    Postfix compares the logins of smtpd_sender_login_maps without regard to case, and so do PAM and
    LDAP: who spells a login in capitals is still who it is.
    """
    return login.casefold()


def tenant_number(tenant_id: str) -> int:
    """Return the 48-bit number that stands for a tenant in tokens.

    It is a hash and not a counter so that it needs no state and survives a reinstallation. With
    100,000 tenants two collide with a probability of 2 in 100,000; `gatepost check` refuses a
    configuration in which it happens, so a token never names the wrong tenant.
    """
    digest = hashlib.blake2b(tenant_id.encode("ascii"), digest_size=6, person=b"gatepost tenant")
    return int.from_bytes(digest.digest(), "big")
