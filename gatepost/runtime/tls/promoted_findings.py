"""What doctor has to say about promoted rules: it knows Postfix, and the store is here.

Errors: none are raised: a store that cannot be read says nothing, other commands tell.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from gatepost.errors import StoreUnavailable
from gatepost.postfix.doctor.findings import Finding, problem, warning
from gatepost.runtime.tls.promotion import lost
from gatepost.settings import Settings
from gatepost.store.open import open_deliveries, open_survey
from gatepost.tls.promoted import Downgrade, PromotedRules

_SOON_S = 7 * 86400.0
_SHOWN = 5


def promoted_findings(settings: Settings, rules: PromotedRules, now: float) -> Iterator[Finding]:
    """Yield what is wrong with the rules of the configuration.

    Args:
        settings: Where the store is.
        rules: The promoted rules.
        now: Unix time in seconds.
    """
    yield from _dropped(settings, rules, now)
    ending = sorted(
        domain
        for domain, rule in rules.table.items()
        if rule.in_force(now) and rule.expires - now < _SOON_S
    )
    if ending:
        yield warning(
            f"Promoted rules end within a week: {_listed(ending)}.",
            "Without new evidence, mail there then goes out as before the rules: in plaintext, if "
            "TLS is not offered.",
            "gatepost tls survey --from-log",
            "gatepost tls promote",
        )


def _dropped(settings: Settings, rules: PromotedRules, now: float) -> Iterator[Finding]:
    if not rules.table:
        return
    try:
        with (
            contextlib.closing(open_deliveries(settings.local_state, create=False)) as mail,
            contextlib.closing(open_survey(settings.local_state, create=False)) as survey,
        ):
            found = lost(mail, survey, rules.table, now)
    except StoreUnavailable:
        return
    for each in found:
        rule = rules.table[each.domain]
        waits = rule.downgrade is Downgrade.DEFER
        made = problem if waits else warning
        what = rule.requirement.level.keyword
        yield made(
            f"{each.domain} no longer offers what its promoted rule asks for ({what}): {each.why}.",
            "Mail there waits and bounces at last (downgrade: defer)."
            if waits
            else "The rule is given up with the next run of promote (downgrade: alert).",
            f"see what it offers: echo {each.domain} | gatepost tls survey -",
            "gatepost tls promote --apply",
            f"or take {each.domain} out of the file of tls.promoted; then gatepost reload",
        )


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
