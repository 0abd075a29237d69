"""All of doctor: every side, in the order in which a message meets them.

Errors: none are raised: a side that cannot be looked at is a finding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from gatepost.errors import GatepostError
from gatepost.postfix.doctor import (
    addresses,
    attachment,
    flow,
    hooks,
    identity,
    instances,
    logs,
    probe,
    recipients,
    resolver,
    returns,
    routing,
    sockets,
    tls,
    tlsrpt,
    versions,
)
from gatepost.postfix.doctor.findings import Finding, Severity, problem
from gatepost.postfix.doctor.scene import Scene

_ORDER = {severity: place for place, severity in enumerate(Severity)}

Check = Callable[[Scene], Iterable[Finding]]

# What can only be told of something that is there.
_OF_THE_CONFIGURATION = frozenset(
    {
        *("sockets", "hooks", "identity", "routing", "addresses", "instances", "flow"),
        *("returning mail", "suppression", "tls"),
    }
)
_OF_WHAT_IS_ATTACHED = frozenset({"hooks"})

CHECKS: tuple[tuple[str, Check], ...] = (
    ("attached", attachment.check),
    ("sockets", sockets.check),
    ("hooks", hooks.check),
    ("identity", identity.check),
    ("routing", routing.check),
    ("addresses", addresses.check),
    ("instances", instances.check),
    ("flow", flow.check),
    ("returning mail", returns.check),
    ("suppression", recipients.check),
    ("tls", tls.check),
    ("tls reports", tlsrpt.check),
    ("resolver", resolver.check),
    ("logs", logs.check),
    ("versions", versions.check),
)


@dataclass(frozen=True, slots=True)
class Side:
    """One side that was looked at.

    Attributes:
        name: Its name.
        findings: What was found there, problems first.
        skipped: Why it could not be looked at; empty if it was.
    """

    name: str
    findings: tuple[Finding, ...] = ()
    skipped: str = ""


def examine(
    scene: Scene,
    wanted: probe.Probe | None = None,
    checks: tuple[tuple[str, Check], ...] = CHECKS,
) -> Iterator[Side]:
    """Look at each side in turn.

    Args:
        scene: What was read of Postfix.
        wanted: A probe to send as well.
        checks: The sides, by name.
    """
    for name, check in checks:
        why = _skipped(name, scene)
        yield Side(name, () if why else _sorted(_careful(check, scene)), why)
    if wanted is not None:
        yield Side("probe", _sorted(_careful(lambda seen: probe.check(seen, wanted), scene)))


def _skipped(name: str, scene: Scene) -> str:
    if scene.snapshot is None and name in _OF_THE_CONFIGURATION:
        return "the configuration has mistakes"
    if not scene.attached and name in _OF_WHAT_IS_ATTACHED:
        return "nothing is attached"
    return ""


def _careful(check: Check, scene: Scene) -> Iterator[Finding]:
    try:
        yield from check(scene)
    except GatepostError as error:
        yield problem(f"This could not be looked at: {error}.", "What is wrong here stays unknown.")


def _sorted(found: Iterable[Finding]) -> tuple[Finding, ...]:
    return tuple(sorted(found, key=lambda each: _ORDER[each.severity]))
