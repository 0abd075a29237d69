"""From the entries of a policy table to rules, and to what no rule says.

Purpose: nothing gets lost: each entry becomes a rule, or a rule with a loss that is named, or stays
behind with the reason and with what to do about it.
Source: Postfix src/smtp/smtp_tls_policy.c: a next-hop with brackets or port is looked up once, as
it is; a domain, then its parents with a leading dot. Of two entries with one key the first counts.
Errors: none.
Security: where two entries come to the same rule, the rule asks for what both ask.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from gatepost.domains import normalise_domain, parents
from gatepost.errors import MalformedMessage
from gatepost.tls.levels import Requirement
from gatepost.tls.nexthop import nexthop_domain
from gatepost.tls.tables.patterns import loose_dots, matches_anything, pattern_domains
from gatepost.tls.tables.policy import STAYS, Policy, read_policy
from gatepost.tls.tables.source import Entry, Format


@dataclass(frozen=True, slots=True)
class Taken:
    """A rule.

    Attributes:
        domain: Its key, A-label; with a leading dot for sub-domains.
        requirement: What it asks for.
        entries: Where it comes from.
        losses: What of these it does not say, a sentence each.
    """

    domain: str
    requirement: Requirement
    entries: tuple[Entry, ...]
    losses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Left:
    """An entry that is no rule.

    Attributes:
        entry: The entry.
        why: Why, and what to do; without a full stop.
    """

    entry: Entry
    why: str


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of a table.

    Attributes:
        taken: The rules, in the order of the table.
        left: What is no rule.
        everything: The policy for every other destination, or None.
    """

    taken: tuple[Taken, ...]
    left: tuple[Left, ...]
    everything: Taken | None = None

    @property
    def complete(self) -> bool:
        """Tell whether rules say all that the table says."""
        whole = not self.left and not any(rule.losses for rule in self.taken)
        return whole and not (self.everything is not None and self.everything.losses)


@dataclass(slots=True)
class _Import:
    taken: dict[str, Taken] = field(default_factory=dict)
    left: list[Left] = field(default_factory=list)
    everything: Taken | None = None


def take(entries: Iterable[Entry], form: Format) -> Imported:
    """Return the rules that the entries of a table are.

    Args:
        entries: The entries, in order.
        form: What their left-hand sides are.
    """
    work = _Import()
    seen: dict[str, Entry] = {}
    for entry in entries:
        if form is Format.PATTERNS:
            _pattern(work, entry)
        elif form is Format.NETWORKS:
            work.left.append(Left(entry, _NETWORK))
        elif (first := seen.setdefault(entry.key.lower(), entry)) is not entry:
            why = f"Postfix takes the first entry for {entry.key}, {first.where}: remove this one"
            work.left.append(Left(entry, why))
        else:
            _keyed(work, entry)
    rules = work.taken.values()
    taken = tuple(map(_told_of_keys, rules) if form is Format.KEYS else rules)
    return Imported(taken, tuple(work.left), work.everything)


def take_everything(entry: Entry) -> Imported:
    """Return what a table is that answers every question alike, such as ``static:encrypt``."""
    work = _Import()
    _everything(work, entry)
    return Imported((), tuple(work.left), work.everything)


_NETWORK = (
    "next-hops with addresses are in brackets, which no network matches, and rules are about "
    f"names: {STAYS}"
)


def _keyed(work: _Import, entry: Entry) -> None:
    key = entry.key
    domain = _parent(key) if key.startswith(".") else nexthop_domain(key)
    if domain is None:
        work.left.append(Left(entry, _no_name(key)))
    else:
        _add(work, domain, entry, [])


def _parent(key: str) -> str | None:
    try:
        return f".{normalise_domain(key[1:])}"
    except MalformedMessage:
        return None


def _no_name(key: str) -> str:
    if "/" in key:
        return f"a UNIX-domain socket is no destination of rules: {STAYS}"
    if key.startswith("*"):
        return f"{key!a} is never looked up: write {key[1:]!a} for sub-domains, and import again"
    if any(character.isdigit() for character in key) and "[" in key:
        return f"an address has no rules, which are about names: {STAYS}"
    return "this is no next-hop that Postfix looks up: remove it"


def _pattern(work: _Import, entry: Entry) -> None:
    if entry.inside:
        work.left.append(Left(entry, f"conditions have no rules: {STAYS}"))
        return
    if "$" in entry.value:
        work.left.append(Left(entry, f"the policy depends on the destination's name: {STAYS}"))
        return
    if matches_anything(entry.key):
        _everything(work, entry)
        return
    domains = pattern_domains(entry.key)
    if work.everything is not None:
        where = work.everything.entries[0].where
        work.left.append(Left(entry, f"it is never reached: {where} matches first; remove it"))
    elif not domains:
        why = f"rules have names and no patterns: write the names that it stands for, or {STAYS}"
        work.left.append(Left(entry, why))
    for domain in domains if work.everything is None else ():
        losses = (
            ["dots that stand for any character are taken as dots"]
            if (loose_dots(entry.key))
            else []
        )
        first = next((key for key in (domain, *parents(domain)) if key in work.taken), None)
        if first is not None:
            where = work.taken[first].entries[0].where
            why = f"{domain} is never reached: {where} matches first; remove it"
            work.left.append(Left(entry, why))
            continue
        if work.left:
            losses.append("patterns above that are no rules may match first; see below")
        _add(work, domain, entry, losses)


def _everything(work: _Import, entry: Entry) -> None:
    policy = read_policy(entry.value, "")
    if policy.requirement is None:
        work.left += [Left(entry, loss) for loss in policy.losses]
    elif policy.requirement.match is not None:
        work.left.append(Left(entry, _NO_NAMES))
    else:
        _leave_parents(work, entry)
        work.everything = Taken("", policy.requirement, (entry,), policy.losses)


def _leave_parents(work: _Import, everything: Entry) -> None:
    """Take back what only a parent matches: Postfix looks up the whole name first."""
    for domain, rule in list(work.taken.items()):
        [entry] = rule.entries
        if entry.key.startswith(_PARENT_ONLY):
            del work.taken[domain]
            why = f"never reached: {everything.where} matches the whole name first; remove it"
            work.left.append(Left(entry, why))


_PARENT_ONLY = "/^\\."
_NO_NAMES = (
    "names of certificates differ between destinations: say verify, for the name of the MX host"
)


def _add(work: _Import, domain: str, entry: Entry, losses: list[str]) -> None:
    policy: Policy = read_policy(entry.value, domain)
    if policy.requirement is None:
        work.left += [Left(entry, loss) for loss in policy.losses]
        return
    losses = [*policy.losses, *losses]
    there = work.taken.get(domain)
    if there is None:
        work.taken[domain] = Taken(domain, policy.requirement, (entry,), tuple(losses))
        return
    joined = there.requirement.join(policy.requirement)
    if joined.unsatisfiable:
        why = f"{there.entries[0].where} is the same rule, with other certificate names: choose one"
        work.left.append(Left(entry, why))
        return
    if there.requirement != policy.requirement:
        losses.append("these entries are one rule, which asks for what any of them asks")
    losses = list(dict.fromkeys([*there.losses, *losses]))
    work.taken[domain] = Taken(domain, joined, (*there.entries, entry), tuple(losses))


def _told_of_keys(rule: Taken) -> Taken:
    """Say of a rule that stands for next-hops with brackets or port only that it says more."""
    keys = {entry.key.lower().removesuffix(".") for entry in rule.entries}
    if rule.domain in keys or any(key[:1] != "[" and ":" not in key for key in keys):
        return rule
    more = f"it holds for {rule.domain} with and without brackets, and on every port"
    return replace(rule, losses=(*rule.losses, more))
