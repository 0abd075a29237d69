"""Entries of the operator's own TLS policy tables that ask for more than Gatepost's answer.

Purpose: Gatepost's map stands first in ``smtp_tls_policy_maps``. Postfix takes the first answer and
never the stricter of two, so a destination that the operator has protected would lose that.
Source: postconf(5) smtp_tls_policy_maps; TLS_README, "Client TLS security levels".
Limits: of a service, 3 entries are shown. Tables that cannot be listed (SQL, LDAP, regexp) are not
read; attach warns of those, too.
Errors: none are raised: a table that cannot be read is a finding.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from gatepost.decisions.tlsmap import answer_tls
from gatepost.errors import PostfixUnavailable, Unavailable
from gatepost.postfix.doctor.findings import Finding, problem, warning
from gatepost.postfix.doctor.scene import Scene, elements
from gatepost.postfix.doctor.tables import entries, listable
from gatepost.snapshot import Snapshot
from gatepost.tls.levels import Level
from gatepost.tls.nexthop import nexthop_domain
from gatepost.tls.operator import OperatorTls

_SHOWN = 3
# How much each of Postfix's levels asks for, on the scale of ours.
_STRENGTH = {
    "none": Level.NONE,
    "may": Level.MAY,
    "dane": Level.VERIFY,
    "encrypt": Level.ENCRYPT,
    "dane-only": Level.VERIFY,
    "fingerprint": Level.VERIFY,
    "verify": Level.VERIFY,
    "secure": Level.VERIFY,
}
_IN_OUR_WORDS = ("may", "encrypt", "verify", "secure")


def check(scene: Scene) -> Iterator[Finding]:
    """Look at the tables behind ours, in main.cf and in every service."""
    snapshot = scene.snapshot
    if snapshot is None or not scene.attached:
        return
    seen = set()
    for entry in scene.entries:
        listed = elements(scene.value("smtp_tls_policy_maps", entry))
        for number, each in enumerate(listed):
            # What stands in front of ours is another finding.
            from_ours = tuple(listed[number:])
            wanted = entry.command == "smtp" and scene.is_our_tls_map(each)
            if not wanted or from_ours in seen:
                continue
            seen.add(from_ours)
            for table in from_ours[1:]:
                yield from _table(scene, snapshot, each.rpartition(":")[2], table)


def _table(scene: Scene, snapshot: Snapshot, name: str, table: str) -> Iterator[Finding]:
    if listable(table) is None:
        yield warning(
            f"smtp_tls_policy_maps asks {table} after Gatepost's map {name}, and its entries "
            "cannot be listed.",
            "An entry that asks for more than Gatepost's answer has no effect.",
        )
        return
    try:
        found = entries(scene, table)
    except PostfixUnavailable as error:
        yield warning(
            f"smtp_tls_policy_maps {table} cannot be read: {error}.",
            "While Postfix cannot read it either, mail to destinations that Gatepost has no answer "
            "for waits.",
        )
        return
    operator = OperatorTls(scene.level)
    lost = [pair for pair in found if _asks_for_more(*pair, name, snapshot, operator)]
    if lost:
        shown = "; ".join(" ".join(pair) for pair in lost[:_SHOWN])
        more = f"; and {len(lost) - _SHOWN} more" if len(lost) > _SHOWN else ""
        yield problem(
            f"smtp_tls_policy_maps {table} asks for more than Gatepost's map {name}, which "
            f"answers first: {shown}{more}.",
            "Postfix takes the first answer and merges none, so mail to these destinations goes "
            "out with less than you asked for.",
            *(_remedy(*pair) for pair in lost[:_SHOWN]),
            f"all of its entries as rules: gatepost tls import {table}",
        )


def _asks_for_more(
    destination: str, policy: str, name: str, snapshot: Snapshot, operator: OperatorTls
) -> bool:
    level = _STRENGTH.get(policy.split(maxsplit=1)[0].lower())
    # An entry for sub-domains is found with any of them.
    nexthop = f"any{destination}" if destination.startswith(".") else destination
    try:
        answer = answer_tls(name, nexthop, snapshot, operator, now=time.time())
    except Unavailable:
        # No such profile; other findings tell.
        return False
    if answer.requirement is None or level is None:
        return False
    asked = _attributes(policy)
    if "match" in asked and answer.requirement.match is None:
        return level >= answer.requirement.level
    return level > answer.requirement.level


def _attributes(policy: str) -> set[str]:
    return {word.partition("=")[0].lower() for word in policy.split()[1:]}


def _remedy(destination: str, policy: str) -> str:
    word = policy.split(maxsplit=1)[0].lower()
    domain = nexthop_domain(destination.removeprefix("."))
    if domain is None or word not in _IN_OUR_WORDS:
        return (
            f"tls.domains cannot say {word} of {destination}: deliver it by a service of your own, "
            "with an entry in transport_maps"
        )
    rule = f"{'.' if destination.startswith('.') else ''}{domain}"
    level = _STRENGTH[word].keyword
    return f"add to tls.domains, which is joined to the stricter: {rule}: {{level: {level}}}"
