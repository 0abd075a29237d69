from __future__ import annotations

import pytest

from gatepost.tls.levels import Level, Requirement
from gatepost.tls.rules import DomainRules

MAY, ENCRYPT, VERIFY = (Requirement(level) for level in (Level.MAY, Level.ENCRYPT, Level.VERIFY))
RULES = DomainRules({"a.example": MAY, ".a.example": ENCRYPT, ".example": VERIFY})


@pytest.mark.parametrize(
    ("domain", "found"),
    [
        ("a.example", ("a.example", MAY)),
        ("x.a.example", (".a.example", ENCRYPT)),
        ("y.x.a.example", (".a.example", ENCRYPT)),
        ("b.example", (".example", VERIFY)),
        ("example", None),
        ("example.test", None),
    ],
)
def test_the_most_specific_rule_is_found(domain: str, found: object) -> None:
    assert RULES.find(domain) == found


def test_no_rules() -> None:
    assert DomainRules().find("a.example") is None
