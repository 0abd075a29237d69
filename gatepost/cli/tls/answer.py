"""``gatepost tls answer``: what the TLS maps say for a destination, and why."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import typer

from gatepost.cli.common import (
    DEFAULT_CONFIG,
    NO,
    ConfigOption,
    JsonOption,
    errors_to_exit,
    fail,
    print_json,
)
from gatepost.decisions.tlsmap import PROFILE_PREFIX, TLS_MAP, answer_tls, decide_policy
from gatepost.errors import Unavailable
from gatepost.postfix_version import PostfixVersion
from gatepost.runtime.installed import look_at_postfix
from gatepost.runtime.log import clean
from gatepost.runtime.tls.found import Found, find_out
from gatepost.settings import Loader
from gatepost.snapshot import Snapshot
from gatepost.tls.answer import TlsAnswer
from gatepost.tls.knowledge import Knowledge
from gatepost.tls.mtasts.entry import StsEntry
from gatepost.tls.nexthop import NextHop, parse_nexthop
from gatepost.tls.operator import OperatorTls


@dataclass(frozen=True, slots=True)
class _Asked:
    """One map asked for one destination."""

    map_name: str
    policy: str | None
    waits: str
    answer: TlsAnswer


def command(
    destinations: Annotated[
        list[str],
        typer.Argument(
            metavar="DESTINATION...",
            help="Next-hops as Postfix asks for them: example.org, [mx.example.org]:587.",
        ),
    ],
    *,
    profile: Annotated[
        list[str] | None,
        typer.Option(help="Only the map of this profile; may be given more than once."),
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Show what the TLS maps answer for destinations, and why.

    Looks up what a destination publishes, as far as tls.dane and tls.mta_sts are on: its MX hosts,
    their TLSA records, its MTA-STS policy (a policy that is stored and holds is used, as in the
    live system). Then asks each map the way Postfix does: tls for mail of nobody, tls-PROFILE for
    the profiles. Nothing is sent to any mail server, and nothing is stored.

    The running system keeps what it found out for some minutes, so for so long its answer may be
    another one.

    Exit status: 0 every map has an answer or no opinion; 1 mail would wait; 2 usage or
    configuration error.

    Example: gatepost tls answer example.org --profile private
    """
    parsed = {text: parse_nexthop(text) for text in destinations}
    with errors_to_exit(as_json=as_json):
        loaded = Loader(config).load()
        snapshot = loaded.snapshot
        maps = _maps(snapshot, profile)
        version, operator, buts = look_at_postfix(loaded)
        found = find_out(loaded, {each for each in parsed.values() if each})
        ask = _Asking(snapshot, version, operator, time.time())
        asked = {
            text: [ask(name, text, _of(found, nexthop)) for name in maps]
            for text, nexthop in parsed.items()
        }
    waits = any(each.waits for answers in asked.values() for each in answers)
    if as_json:
        print_json(
            {
                "postfix_version": str(version),
                "postfix_problems": buts,
                "resolver": None if found.test is None else asdict(found.test),
                "destinations": [
                    _document(text, nexthop, asked[text], found) for text, nexthop in parsed.items()
                ],
            }
        )
    else:
        for but in buts:
            _row("BUT", but)
        if found.test is not None and found.test.reason:
            _row("resolver", f"DANE is off: {found.test.reason}")
        for text, nexthop in parsed.items():
            _print(text, nexthop, asked[text], found)
    if waits:
        raise typer.Exit(NO)


def _maps(snapshot: Snapshot, profiles: list[str] | None) -> list[str]:
    for name in profiles or ():
        if name not in snapshot.tls.profiles:
            fail(
                f"there is no profile {name}; there are {', '.join(sorted(snapshot.tls.profiles))}"
            )
    if profiles:
        return [PROFILE_PREFIX + name for name in profiles]
    return [TLS_MAP, *(PROFILE_PREFIX + name for name in snapshot.tls.profiles)]


def _of(found: Found, nexthop: NextHop | None) -> Knowledge | None:
    return None if nexthop is None else found.knowledge.get(nexthop)


def _entry(found: Found, nexthop: NextHop | None) -> StsEntry | None:
    return None if nexthop is None else found.policies.get(nexthop.domain)


@dataclass(frozen=True, slots=True)
class _Asking:
    snapshot: Snapshot
    version: PostfixVersion
    operator: OperatorTls
    now: float

    def __call__(self, name: str, key: str, knowledge: Knowledge | None) -> _Asked:
        about = (self.operator, knowledge, self.now)
        answer = answer_tls(name, key, self.snapshot, *about)
        try:
            policy = decide_policy(name, key, self.snapshot, self.version, *about)
        except Unavailable as error:
            return _Asked(name, None, str(error), answer)
        return _Asked(name, policy, "", answer)


def _document(
    text: str, nexthop: NextHop | None, asked: list[_Asked], found: Found
) -> dict[str, Any]:
    knowledge = _of(found, nexthop) or _NO_KNOWLEDGE
    entry = _entry(found, nexthop)
    return {
        "destination": text,
        "hosts": [
            {"name": host.name, "tlsa": host.state.value, "reason": host.reason}
            for host in knowledge.hosts
        ],
        "dane": knowledge.dane,
        "failure": knowledge.failure,
        "mta_sts": _policy_document(knowledge, entry),
        "mta_sts_failure": None
        if entry is None or entry.failure is None
        else {"result": entry.failure.value, "reason": entry.reason, "at": entry.failed_at},
        "maps": [
            {
                "map": each.map_name,
                "policy": each.policy,
                "waits": each.waits,
                "opinions": [opinion.source for opinion in each.answer.opinions],
                "notes": list(each.answer.notes),
            }
            for each in asked
        ],
    }


_NO_KNOWLEDGE = Knowledge()


def _policy_document(knowledge: Knowledge, entry: StsEntry | None) -> dict[str, Any] | None:
    policy = knowledge.sts
    if policy is None:
        return None
    return {
        "mode": policy.mode.value,
        "id": knowledge.sts_id,
        "mx": list(policy.patterns),
        "max_age": policy.max_age_s,
        "fetched_at": entry.fetched_at if entry else None,
    }


def _print(text: str, nexthop: NextHop | None, asked: list[_Asked], found: Found) -> None:
    print(clean(text))
    knowledge = _of(found, nexthop)
    if knowledge is not None:
        _print_knowledge(knowledge, _entry(found, nexthop))
    for each in asked:
        said = f"TEMP: {each.waits}" if each.waits else each.policy or "no opinion"
        _row(each.map_name, said)
        for opinion in each.answer.opinions:
            _row("", f"{opinion.source}: {opinion.requirement.level.keyword}")
        for note in each.answer.notes:
            _row("", note)


def _print_knowledge(knowledge: Knowledge, entry: StsEntry | None) -> None:
    if knowledge.failure:
        _row("failure", knowledge.failure)
    for host in knowledge.hosts:
        state = f"TLSA {host.state}" if knowledge.dane else "TLSA not looked up"
        _row("host", f"{host.name}: {state}" + (f" ({host.reason})" if host.reason else ""))
    policy = knowledge.sts
    if policy is not None:
        patterns = " ".join(policy.patterns)
        _row("MTA-STS", f"{policy.mode}, id {knowledge.sts_id}, mx {patterns or 'none'}")
    if entry is not None and entry.failure is not None:
        _row("MTA-STS", f"{entry.failure}: {entry.reason}")


def _row(title: str, text: str) -> None:
    print(f"  {title:<14} {clean(text)}")
