"""The main.cf parameters that attach sets, with the reason for each.

Purpose: one table from which the block, the dry run, detach and the documentation all follow.
Source: postconf(5), with transport_*, and qmgr(8); SMTPD_POLICY_README and MILTER_README for the
settings in braces; TLS_README.
Errors: none.
Security: nothing here weakens a value that is in force; TLS is only ever raised from none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from gatepost.postfix.facts import PostfixFacts
from gatepost.postfix.plan import Note, note, warning
from gatepost.postfix.spec import (
    MILTER_SOCKET,
    POLICY_SOCKET,
    AttachSpec,
    Hook,
    ServiceSpec,
)

# Longer than the policy server needs for anything, shorter than a client's own time limit.
POLICY_TIMEOUT_S = 10
POLICY_DOWN = "DEFER_IF_PERMIT 4.3.5 Sending rules are unavailable for a moment, try again later"

# While smtpd(8) reads its restrictions it does not know the default of this parameter yet, and an
# empty policy_context is fatal to it.
_LISTENER = "${milter_macro_daemon_name?{$milter_macro_daemon_name}:{-}}"

# Certificate authorities: Debian and its kin, Red Hat and its kin, SUSE, Alpine.
CA_FILES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)


# What qmgr(8) looks up for each transport by its name, and where it looks if that is not set. Not
# here: _time_limit, which no smtp(8) reads.
TRANSPORT_PARAMETERS = {
    "_initial_destination_concurrency": "initial_destination_concurrency",
    **{
        suffix: f"default{suffix}"
        for suffix in (
            "_delivery_slot_cost",
            "_delivery_slot_discount",
            "_delivery_slot_loan",
            "_destination_concurrency_failed_cohort_limit",
            "_destination_concurrency_limit",
            "_destination_concurrency_negative_feedback",
            "_destination_concurrency_positive_feedback",
            "_destination_rate_delay",
            "_destination_recipient_limit",
            "_extra_recipient_limit",
            "_minimum_delivery_slots",
            "_recipient_limit",
            "_recipient_refill_delay",
            "_recipient_refill_limit",
            "_transport_rate_delay",
        )
    },
}
_NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Setting:
    """One parameter with the value that it is to have, and why."""

    name: str
    value: str
    reason: str


@dataclass(frozen=True, slots=True)
class ListHook:
    """A list of the operator's that one of ours goes into, first.

    Attributes:
        hook: Our parameter.
        parameter: The operator's list.
        reason: Why, and why first.
        only_if_set: Whether an empty list stays empty, as it means that everything is taken.
    """

    hook: Hook
    parameter: str
    reason: str
    only_if_set: bool = False


LIST_HOOKS = (
    ListHook(
        Hook.MILTER,
        "smtpd_milters",
        "Ours is first: a DKIM signer behind it signs the headers that it adds.",
    ),
    ListHook(
        Hook.MILTER,
        "non_smtpd_milters",
        "Mail of sendmail(1) too: nobody may keep a tag that is not theirs.",
    ),
    ListHook(
        Hook.POLICY,
        "smtpd_recipient_restrictions",
        "Ours is first: behind a permit_* it would not be asked. It never answers OK, so "
        "everything behind it is still asked.",
    ),
    ListHook(
        Hook.QUOTA,
        "smtpd_end_of_data_restrictions",
        "Ours is first: behind a permit_* it would not be asked. A message counts for its quotas "
        "here, once, when all of its recipients are known.",
    ),
    ListHook(
        Hook.TRANSPORT,
        "sender_dependent_default_transport_maps",
        "Ours is first, and knows only the senders of tenants with a lane or profile in force.",
    ),
    ListHook(
        Hook.TLS,
        "smtp_tls_policy_maps",
        "Ours is first, and knows only the domains in tls.domains.",
    ),
    ListHook(
        Hook.RETURNS,
        "transport_maps",
        "Ours is first, and knows only the domains that bounces and reports come back to.",
    ),
    ListHook(
        Hook.RETURNS,
        "relay_domains",
        "Mail to these domains is taken from everybody, as bounces and reports come from "
        "everywhere.",
    ),
    ListHook(
        Hook.RETURNS,
        "relay_recipient_maps",
        "It lists who exists in relay domains, and in these every address does: tokens are not "
        "made before they are sent.",
        only_if_set=True,
    ),
)

# Every value that any version of attach has written, so that detach can tell ours from a value
# that the operator has put in its place.
_OUR_SCALARS = {
    "smtp_tls_security_level": ("may",),
    "smtp_tls_loglevel": ("1",),
    "smtp_tls_CAfile": CA_FILES,
    "enable_long_queue_ids": ("yes",),
    "tls_required_enable": ("no",),
    "smtp_tls_dane_insecure_mx_policy": ("dane",),
}
SCALARS = tuple(_OUR_SCALARS)

# Built-in values of lists that are not empty, which ours is put in front of.
_DEFAULTS = {"relay_domains": ("${{$compatibility_level} <level {2} ? {$mydestination} : {}}",)}


def is_our_value(name: str, value: str) -> bool:
    """Tell whether attach may have written this setting of a Postfix parameter."""
    if value in _OUR_SCALARS.get(name, ()):
        return True
    lists = (f"${hook.hook}" for hook in LIST_HOOKS if hook.parameter == name)
    rests = ("", *(f", {default}" for default in _DEFAULTS.get(name, ())))
    return any(value == ours + rest for ours in lists for rest in rests)


def private_settings(spec: AttachSpec) -> Iterator[Setting]:
    """Yield our own parameters, to which the operator's lists will refer."""
    if Hook.MILTER in spec.hooks:
        yield Setting(
            Hook.MILTER,
            f"{{ unix:{spec.socket_dir}/{MILTER_SOCKET}, default_action=tempfail }}",
            "The milter that tags mail and adds headers. The path is relative to the queue "
            "directory and so works chrooted or not. tempfail: while the milter does not answer, "
            "mail gets 4xx; none passes untagged, none is lost.",
        )
    if Hook.POLICY in spec.hooks:
        yield Setting(
            Hook.POLICY,
            f"check_policy_service {{ unix:{spec.socket_dir}/{POLICY_SOCKET}, "
            f"timeout={POLICY_TIMEOUT_S}s, {{ default_action = {POLICY_DOWN} }}, "
            f"policy_context={_LISTENER} }}",
            "The check of each recipient. DEFER_IF_PERMIT: while the service does not answer, "
            "what other restrictions refuse is still refused, and the rest gets 4xx. "
            "policy_context tells which listener asks, by the name that milters see too; a "
            "listener without a name of its own is -.",
        )
    if Hook.QUOTA in spec.hooks:
        yield Setting(
            Hook.QUOTA,
            f"${Hook.POLICY}",
            "The same check at the end of each message, over the same connection. It costs a round "
            "trip for every message, of whatever tenant, so it is here only while some tenant has "
            "a quota.",
        )
    if Hook.TRANSPORT in spec.hooks:
        yield Setting(
            Hook.TRANSPORT,
            spec.map("transport"),
            "From the envelope sender to the gp- service of its tenant, asked at each delivery "
            "attempt. While the map does not answer, mail waits in the queue.",
        )
    if Hook.TLS in spec.hooks:
        yield Setting(
            Hook.TLS,
            spec.map("tls"),
            "The rules of tls.domains, for mail of no tenant as well. While the map does not "
            "answer, mail waits in the queue and does not go out unprotected."
            + (
                " It is also asked so that deliveries to a provider can be held back."
                if spec.shaping
                else ""
            ),
        )
    if Hook.RETURNS in spec.hooks:
        yield Setting(
            Hook.RETURNS,
            returns_table(spec),
            "Where bounces and reports come back to, for three of Postfix's lists. They are handed "
            "to Gatepost over LMTP; while it does not answer, they wait in the queue. The table "
            "stands here and asks nobody, so that mail for these domains is taken whatever runs. "
            "An entry with a dot refuses sub-domains, which relay_domains would include.",
        )


def returns_table(spec: AttachSpec) -> str:
    """Return the table that leads mail for the domains that mail comes back to.

    Postfix looks domains up in transport_maps and relay_domains, ``@domain`` in
    relay_recipient_maps. relay_domains covers sub-domains by default; ``.domain`` is for these, in
    transport_maps alone.
    """
    entries = []
    for domain in spec.returns:
        entries += [
            f"{{ {domain} = {spec.intake} }}",
            f"{{ @{domain} = {spec.intake} }}",
            f"{{ .{domain} = error:5.1.2 no mail for this domain }}",
        ]
    return f"inline:{{ {', '.join(entries)} }}"


def service_settings(
    spec: AttachSpec, base: str = "smtp", own: Mapping[str, str] = _NOTHING
) -> Iterator[Setting]:
    """Yield the queue manager's settings for our services; ``-o`` does not work for them.

    Args:
        spec: What Postfix has to be told.
        base: Name of the operator's service that ours are made after.
        own: Parameter to value, not expanded, in the operator's own main.cf.
    """
    for service in spec.services:
        of_lane = {setting.name: setting for setting in _lane_settings(service)}
        yield from of_lane.values()
        for suffix, default in TRANSPORT_PARAMETERS.items():
            name, its = service.name + suffix, base + suffix
            if its in own and name not in of_lane:
                yield Setting(
                    name,
                    _follow(its, default, own[its]),
                    f"As {its}: the queue manager looks each service up by its name, and this one "
                    f"delivers what {base} would have delivered.",
                )


def _lane_settings(service: ServiceSpec) -> Iterator[Setting]:
    if service.concurrency is not None:
        yield Setting(
            f"{service.name}_destination_concurrency_limit",
            str(service.concurrency),
            f"Lane {service.lane}: deliveries at once to one destination.",
        )
    if service.rate_delay_s is not None:
        yield Setting(
            f"{service.name}_destination_rate_delay",
            f"{service.rate_delay_s}s",
            f"Lane {service.lane}: pause between deliveries to one destination.",
        )


def _follow(name: str, default: str, value: str) -> str:
    """Return a value that follows another parameter, also when that is taken out of main.cf."""
    # A reference to a parameter that is no longer set is empty, which is fatal to qmgr(8).
    if re.fullmatch(r"\w+", name, re.ASCII):
        return f"${{{name}?{{${name}}}:{{${default}}}}}"
    # No reference can name a parameter with another character, such as that of a service smtp-out.
    return value


def scalar_settings(facts: PostfixFacts, explicit: frozenset[str]) -> Iterator[Setting | Note]:
    """Yield the Postfix parameters whose value has to change, and what is left alone on purpose.

    Args:
        facts: The instance; its values are those without attach.
        explicit: Names of the parameters that the operator's main.cf sets.
    """
    yield from _security_level(facts)
    if facts.value("smtp_tls_loglevel") == "0":
        yield Setting(
            "smtp_tls_loglevel",
            "1",
            "One log line for each TLS connection: without it the log cannot tell which "
            "deliveries were encrypted.",
        )
    if not (
        facts.value("smtp_tls_CAfile")
        or facts.value("smtp_tls_CApath")
        or facts.value("tls_append_default_CA") == "yes"
    ):
        if facts.ca_file is None:
            yield warning(
                "No file of certificate authorities was found on this host: profiles with level "
                "verify will fail until smtp_tls_CAfile names one."
            )
        else:
            yield Setting(
                "smtp_tls_CAfile",
                str(facts.ca_file),
                "The certificate authorities of this host; without any, no certificate verifies.",
            )
    if facts.value("enable_long_queue_ids") != "yes":
        yield Setting(
            "enable_long_queue_ids",
            "yes",
            "Queue ids that do not repeat, so that log lines and messages can be matched later.",
        )
    if facts.has("tls_required_enable") and facts.value("tls_required_enable") != "no":
        yield Setting(
            "tls_required_enable",
            "no",
            'Otherwise a message header "TLS-Required: no", which any sender can write, makes '
            "Postfix skip all TLS policy for that message.",
        )
    if (
        facts.has("smtp_tls_dane_insecure_mx_policy")
        and "smtp_tls_dane_insecure_mx_policy" not in explicit
    ):
        yield Setting(
            "smtp_tls_dane_insecure_mx_policy",
            "dane",
            "Where a policy says dane and the MX records are unsigned but the host's TLSA "
            "records are signed: use them, whatever smtp_tls_security_level is.",
        )


def _security_level(facts: PostfixFacts) -> Iterator[Setting | Note]:
    level = facts.value("smtp_tls_security_level")
    if level == "none":
        yield warning(
            "smtp_tls_security_level = none stays: mail without a profile goes out unencrypted. "
            "Set it to may, or remove it and attach again, for opportunistic TLS."
        )
    elif not level and facts.value("smtp_enforce_tls") == "yes":
        # With an empty level this old parameter means encrypt or verify; "may" would replace it.
        yield note(
            "smtp_tls_security_level stays empty, since the older smtp_enforce_tls = yes demands "
            "more than opportunistic TLS."
        )
    elif not level:
        yield Setting(
            "smtp_tls_security_level",
            "may",
            "Opportunistic TLS for all mail: encrypt where the server offers it, deliver as "
            "before where it does not.",
        )
