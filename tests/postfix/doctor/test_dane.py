"""Doctor on DANE: what keeps Postfix from carrying out our answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from gatepost.postfix.doctor import tls
from gatepost.postfix.doctor.findings import Severity
from gatepost.postfix.doctor.scene import Scene
from tests.world import OBSERVE, snapshot, tenant

MakeScene = Callable[..., Scene]


DANE = snapshot(tenant("b", senders=("b.example",), profile="private"))
DANE = replace(DANE, tls=replace(DANE.tls, dane=True))


@pytest.mark.parametrize(
    ("values", "what"),
    [
        ({"smtp_dns_support_level": "enabled"}, "smtp_dns_support_level of your own service"),
        ({"smtp_dns_support_level": "disabled"}, "Postfix does not look up DNS"),
        ({"disable_dns_lookups": "yes"}, "Postfix does not look up DNS"),
        (
            {"smtp_dns_support_level": "dnssec", "ignore_mx_lookup_error": "yes"},
            "or goes on where that fails",
        ),
    ],
)
def test_what_keeps_postfix_from_carrying_out_dane(
    values: dict[str, str], what: str, scene: MakeScene
) -> None:
    found = [f for f in tls.check(scene(config=DANE, **values)) if what in f.what]
    assert [f.severity for f in found] == [Severity.WARNING]


def test_dane_that_postfix_can_carry_out_is_no_finding(scene: MakeScene) -> None:
    found = [f.what for f in tls.check(scene(config=DANE, smtp_dns_support_level="dnssec"))]
    assert not [what for what in found if "tls.dane" in what]
    observed = replace(DANE, modes=OBSERVE)
    found = [f.what for f in tls.check(scene(config=observed, smtp_dns_support_level=""))]
    assert not [what for what in found if "tls.dane" in what]
