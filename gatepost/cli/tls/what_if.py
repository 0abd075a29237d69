"""``gatepost tls what-if``: what a profile would have refused."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Annotated

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
from gatepost.cli.stores import open_existing
from gatepost.decisions.tls_what_if import DomainFate, what_if
from gatepost.errors import PostfixUnavailable
from gatepost.runtime.installation import ask_postfix
from gatepost.runtime.log import clean
from gatepost.settings import Loaded, Loader
from gatepost.store.open import open_deliveries, open_survey
from gatepost.store.survey import SurveyStore
from gatepost.tls.operator import ASKS_NOTHING, OperatorTls
from gatepost.tls.survey.knowledge import Standing, evidence_of

UNIDENTIFIED = "-"
_DAY_S = 86400
_SHOWN = 20


def command(
    *,
    profile: Annotated[str, typer.Option(metavar="NAME", help="The profile to try on.")],
    tenant: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Only mail of this tenant; - is mail of no tenant."),
    ] = None,
    days: Annotated[int, typer.Option(min=1, max=400, metavar="N", help="How many days back.")] = 7,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Tell which mail of the last days a TLS profile would have refused, and to which domains.

    Takes each delivery in the log as it was made and asks what the profile, with the rules for
    everyone, promoted rules and your own smtp_tls_security_level, would have said of it. Mail in
    plaintext, with too old a protocol version or to a server with a bad certificate would have
    waited or bounced. Opportunistic TLS does not look at certificates, so for a profile that
    verifies the survey is asked; what nobody knows is told as such, and counts as neither.

    Deliveries are counted by recipient. What the tenant's own features would have done to its
    messages is shown by report what-if.

    Exit status: 0 nothing would have been refused; 1 some mail would; 2 usage or configuration
    error, or nothing was recorded yet.

    Example: gatepost tls what-if --profile private --tenant acme --days 7
    """
    now = time.time()
    since = now - days * _DAY_S
    with errors_to_exit(as_json=as_json):
        loaded = Loader(config).load()
        rules = loaded.snapshot.tls
        if profile not in rules.profiles:
            known = ", ".join(sorted(rules.profiles))
            fail(f"there is no profile {profile}; there are {known}")
        wanted = "" if tenant == UNIDENTIFIED else tenant
        with (
            closing(open_existing(open_deliveries, loaded.settings)) as deliveries,
            closing(open_existing(open_survey, loaded.settings)) as survey,
        ):
            rows = deliveries.tenant_domains(since, now, wanted)
            verified = _verified(survey, since)
            operator = _operator(loaded)
            found = what_if(rows, rules.profiles[profile], rules, verified, now, operator)
    if as_json:
        print_json(_document(found, profile, tenant, since))
    else:
        whose = "all mail" if tenant is None else f"mail of {tenant}"
        for line in _text(found, profile, whose, days):
            print(clean(line))
    if any(each.refused for each in found):
        raise typer.Exit(NO)


def _operator(loaded: Loaded) -> OperatorTls:
    try:
        return ask_postfix(loaded.settings).operator
    except PostfixUnavailable:
        return ASKS_NOTHING


def _verified(survey: SurveyStore, since: float) -> Callable[[str], bool | None]:
    answers: dict[str, bool | None] = {}

    def verified(domain: str) -> bool | None:
        if domain not in answers:
            evidence = evidence_of(survey.domain(domain), since)
            known = evidence.standing is Standing.ALWAYS
            answers[domain] = evidence.verified if known else None
        return answers[domain]

    return verified


def _text(found: list[DomainFate], profile: str, whose: str, days: int) -> Iterator[str]:
    total = sum(each.sent for each in found)
    refused = [each for each in found if each.refused]
    unknown = [each for each in found if each.unknown]
    period = "the last day" if days == 1 else f"the last {days} days"
    if not total:
        yield f"no deliveries of {whose} in {period}"
        return
    count = sum(each.refused for each in refused)
    yield (
        f"with profile {profile}, {count:,} of {total:,} deliveries of {whose} in {period} would "
        f"have been refused{':' if refused else ''}"
    )
    yield from _rows([(each, each.refused) for each in refused])
    if unknown:
        yield f"of {sum(each.unknown for each in unknown):,} more it cannot be told:"
        yield from _rows([(each, each.unknown) for each in unknown])


def _rows(rows: list[tuple[DomainFate, int]]) -> Iterator[str]:
    for each, count in rows[:_SHOWN]:
        name = each.domain or "(no domain)"
        yield f"    {name}: {count:,} of {each.sent:,}: {'; '.join(each.why)}"
    if len(rows) > _SHOWN:
        yield f"    and {len(rows) - _SHOWN} more domains, which --json shows"


def _document(
    found: list[DomainFate], profile: str, tenant: str | None, since: float
) -> dict[str, object]:
    return {
        "profile": profile,
        "tenant": tenant,
        "since": since,
        "deliveries": sum(each.sent for each in found),
        "refused": sum(each.refused for each in found),
        "unknown": sum(each.unknown for each in found),
        "domains": [
            {
                "domain": each.domain,
                "deliveries": each.sent,
                "refused": each.refused,
                "unknown": each.unknown,
                "why": list(each.why),
            }
            for each in found
            if each.refused or each.unknown
        ],
    }
