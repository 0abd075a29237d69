"""Whether the Valkey that nodes share counters in can be asked, and keeps what it is told.

Purpose: a Valkey that throws counters away when memory is used up opens quotas, without a word.
Source: Valkey, "Key eviction"; ``gatepost.traffic.valkey_look`` for what is asked.
Errors: none are raised: a server that does not answer is a finding.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from gatepost.errors import CountersUnavailable
from gatepost.postfix.doctor.findings import Finding, note, problem, warning
from gatepost.traffic.valkey_look import Seen, see
from gatepost.traffic.valkey_target import Target

_OLDEST: Final = (6, 2)
_KEEPS: Final = "noeviction"
# An answer is given up after 0.3 s, and has to come for each recipient.
_SLOW_S: Final = 0.05


def counters_findings(target: Target) -> Iterator[Finding]:
    """Look at the server of shared counters."""
    try:
        seen = see(target)
    except CountersUnavailable as error:
        yield problem(
            f"The counters at {target.shown} cannot be reached: {error}.",
            f"This node decides about quotas alone, with 1/{target.nodes} of each or less.",
            "look at counters in the configuration, and whether the server runs",
        )
        return
    yield from _judge(target, seen)


def _judge(target: Target, seen: Seen) -> Iterator[Finding]:
    where = f"The server of counters at {target.shown}, {seen.name},"
    if seen.version < _OLDEST:
        yield problem(
            f"{where} is older than Redis 6.2.",
            "Gatepost is not tried with it.",
            "install Valkey, or Redis 6.2 or newer",
        )
    if not seen.primary:
        yield problem(
            f"{where} is a replica, and takes no changes.",
            "Each node decides about quotas alone.",
            "name the primary in counters",
        )
    if seen.clustered:
        yield problem(
            f"{where} is part of a cluster.",
            "The counters of one message may lie on several of its servers; Gatepost wants one.",
            "name a server of its own in counters",
        )
    if seen.problem:
        yield problem(
            f"{where} does not run scripts: {seen.problem}.",
            "Counters are kept by scripts. Each node decides about quotas alone.",
            "allow EVALSHA, EVAL, SCRIPT LOAD and what counters.lua calls",
        )
    if seen.policy not in {_KEEPS, ""}:
        yield problem(
            f"{where} throws data away when its memory is used up ({seen.policy}).",
            "A quota whose counter is gone begins anew: more passes than was allowed.",
            f"set maxmemory-policy {_KEEPS} in its configuration, or CONFIG SET it",
        )
    if not seen.max_memory:
        yield note(
            f"{where} has no limit of memory.",
            "Gatepost needs up to 1 kB for each quota in use; others there may need more.",
            "set maxmemory in its configuration",
        )
    if seen.answer_s > _SLOW_S:
        yield warning(
            f"{where} took {seen.answer_s * 1000:.0f} ms to answer.",
            "Each RCPT TO and each end of a message waits for it once.",
            "run it near the nodes, with nothing slow beside it",
        )
