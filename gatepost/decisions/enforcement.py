"""Whether a delivery had the TLS that was asked for it: the proof of enforcement.

Purpose: what the log proves of a delivery is held against what the configuration asked for it at
that time. Whatever went out weaker is an alarm, whoever was at fault: a table of the operator's
that goes before ours, a service that was changed by hand, or a mistake of ours.
Source: what is asked is the join of

* the profile in the name of the service that delivered, ``gp-<lane>-<profile>``,
* the profile that is in force for the tenant that the envelope sender names, whatever service
  delivered, so that mail which went around its service shows,
* the rules for everyone (``tls.domains``), where they are in force,

each for the next-hop, which the log does not tell: the relayhost if there is one, else the
recipient's domain. Only the level and the lowest version are judged, not names: what smtp(8) calls
verified carried a name that the service accepted.
Errors: none; a sender that names no tenant, or one that is not known, is said so.
Not handled: what DANE, MTA-STS and an operator's own level ask for beyond these. It changes by the
hour and is enforced by Postfix; the configuration is what was promised to the tenant.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gatepost.decisions.tlsmap import PROFILE_PREFIX, TLS_MAP, answer_tls
from gatepost.decisions.transport import effective_pair, tenant_at_delivery
from gatepost.errors import Unavailable
from gatepost.maillog.evidence import UNKNOWN_TENANT, Verdict
from gatepost.maillog.model import SENT, Delivery, TlsClass
from gatepost.snapshot import Snapshot
from gatepost.tenants.model import Tenant
from gatepost.tls.answer import Opinion
from gatepost.tls.levels import Level, TlsVersion
from gatepost.traffic.lanes import profile_of

_VERSIONS = {version.keyword: version for version in TlsVersion}
# What came before any version that a rule can name.
_OLDER = 0


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is made of a delivery.

    Attributes:
        tenant: Tenant id, empty for mail of no tenant, `UNKNOWN_TENANT` where it is not known.
        verdict: Whether it had what was asked for.
        asked: What was asked and by whom, in words, where it did not or nobody can tell.
        got: What it had, in words, where that is weaker or not known.
    """

    tenant: str
    verdict: Verdict = Verdict.NOTHING
    asked: str = ""
    got: str = ""


def judge(
    delivery: Delivery, snapshots: Sequence[Snapshot], nexthop: str, *, by_sender: bool = True
) -> Judgement:
    """Return what is made of a delivery.

    Args:
        delivery: The delivery.
        snapshots: The configurations that may have been in force for it, the latest first: around
            a reload there are two. It is weaker only if it is by each of them.
        nexthop: What its TLS policy was looked up by.
        by_sender: Whether these configurations tell the profile of the tenant at that time; for a
            delivery of long ago only the service's name does.
    """
    judgements = [
        _judge(delivery, snapshot, nexthop, by_sender=by_sender) for snapshot in snapshots
    ]
    weaker = [each for each in judgements if each.verdict is Verdict.WEAKER]
    if weaker and len(weaker) < len(judgements):
        return next(each for each in judgements if each.verdict is not Verdict.WEAKER)
    return judgements[0]


def _judge(delivery: Delivery, snapshot: Snapshot, nexthop: str, *, by_sender: bool) -> Judgement:
    tenant, name = _tenant_of(delivery, snapshot)
    if delivery.status != SENT:
        return Judgement(name)
    maps = _maps_of(delivery.service, tenant if by_sender else None)
    opinions = list(dict.fromkeys(_opinions(maps, nexthop, snapshot, delivery.at)))
    if not opinions:
        return Judgement(name)
    level = max(opinion.requirement.level for opinion in opinions)
    versions = [each.requirement.min_version for each in opinions if each.requirement.min_version]
    if level <= Level.MAY:
        return Judgement(name)
    verdict, got = _verdict(delivery, level, max(versions, default=None))
    if verdict is Verdict.MET:
        return Judgement(name, verdict)
    asked = ", ".join([level.keyword, *(f"{max(versions).keyword} or later" for _ in versions[:1])])
    sources = " and ".join(each.source for each in opinions if each.requirement.level > Level.MAY)
    return Judgement(name, verdict, f"{asked} ({sources})", got)


def _tenant_of(delivery: Delivery, snapshot: Snapshot) -> tuple[Tenant | None, str]:
    if delivery.sender is None:
        return None, UNKNOWN_TENANT
    if not delivery.sender:
        return None, ""
    try:
        # The time of the delivery: a token must not have expired then.
        tenant, _ = tenant_at_delivery(delivery.sender, snapshot, delivery.at)
    except Unavailable:
        return None, UNKNOWN_TENANT
    return tenant, tenant.id if tenant else ""


def _maps_of(service: str, tenant: Tenant | None) -> list[str]:
    """Return the maps whose answers hold for a delivery."""
    maps = [TLS_MAP]
    if (profile := profile_of(service)) is not None:
        maps.append(PROFILE_PREFIX + profile)
    if tenant is not None:
        maps.append(PROFILE_PREFIX + effective_pair(tenant)[1])
    return list(dict.fromkeys(maps))


def _opinions(
    maps: Iterable[str], nexthop: str, snapshot: Snapshot, now: float
) -> Iterable[Opinion]:
    for name in maps:
        try:
            yield from answer_tls(name, nexthop, snapshot, now=now).opinions
        except Unavailable:
            # A profile that is no longer configured asks for nothing that could be looked up.
            continue


def _verdict(
    delivery: Delivery, level: Level, min_version: TlsVersion | None
) -> tuple[Verdict, str]:
    tls, version = delivery.tls, delivery.version
    if tls is TlsClass.UNKNOWN:
        return Verdict.UNPROVEN, "unknown"
    if tls is TlsClass.PLAINTEXT:
        return Verdict.WEAKER, "plaintext"
    shown = version or "TLS"
    if level >= Level.VERIFY and tls is not TlsClass.AUTHENTICATED:
        return Verdict.WEAKER, f"{shown}, certificate not verified"
    if min_version is None:
        return Verdict.MET, ""
    if not version:
        return Verdict.UNPROVEN, "TLS of an unknown version"
    met = _VERSIONS.get(version, _OLDER) >= min_version
    return (Verdict.MET, "") if met else (Verdict.WEAKER, shown)
