"""The surveying side of the measurement, in a process of its own.

Format: one JSON object on standard input (``how``, ``ca_file``, ``store``, ``in_flight``,
``targets``: pairs of address and host) and one on standard output (``seconds``, ``cpu_seconds``,
``resident_mib``, ``at_once``, ``verdicts``). ``how`` is ``survey`` (the whole, but for DNS),
``probe`` (the prober alone), ``probe-asyncio`` (the same without uvloop) and ``start-tls`` (streams
and ``start_tls`` of asyncio in its place).
"""

from __future__ import annotations

import asyncio
import json
import resource
import ssl
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import uvloop

from gatepost.maillog.provider import provider_of
from gatepost.runtime.tls.survey import Options, Survey
from gatepost.runtime.tls.survey_names import Found
from gatepost.runtime.tls.survey_setup import spare_collector
from gatepost.store.open import open_survey
from gatepost.tls.dns_answer import Outcome
from gatepost.tls.nexthop import NextHop
from gatepost.tls.survey.knowledge import MxOf, MxOutcome, ResolvedDomain, ResolvedHost
from gatepost.tls.survey.model import Probed, Target, Verdict
from gatepost.tls.survey.pacing import Pace
from gatepost.tls.survey.probe import Prober, Timeouts
from gatepost.tls.survey.trust import Trust

NAME = "survey.example"


class _Counting:
    """Probes, and counts how many go on at once."""

    def __init__(self, probe: Callable[[Target], Awaitable[Probed]]) -> None:
        self._probe = probe
        self._now = 0
        self.most = 0

    async def probe(self, target: Target) -> Probed:
        self._now += 1
        self.most = max(self.most, self._now)
        try:
            return await self._probe(target)
        finally:
            self._now -= 1


class _Names:
    """Knows where every name leads, so that no DNS is measured."""

    def __init__(self, targets: list[Target]) -> None:
        self._targets = {each.host: each for each in targets}

    async def find(self, name: NextHop) -> Found:
        target, now = self._targets[name.domain], time.time()
        return Found(
            ResolvedDomain(f"[{name.domain}]", now, MxOutcome.IMPLICIT, (MxOf(target.host, 0),)),
            (ResolvedHost(target.host, now, Outcome.FOUND, (target.address,)),),
            (target,),
        )

    def welcome(self, _: NextHop) -> bool:
        return True

    def may_probe(self, _: Target) -> bool:
        return True


async def _start_tls(target: Target, context: ssl.SSLContext) -> Probed:
    """Probe as one would with what asyncio has."""
    reader, writer = await asyncio.open_connection(target.address, 25)

    async def say(line: str) -> None:
        writer.write(f"{line}\r\n".encode("ascii"))
        await hear()

    async def hear() -> None:
        while (await reader.readline())[3:4] == b"-":
            pass

    await hear()
    await say(f"EHLO {NAME}")
    await say("STARTTLS")
    await writer.start_tls(context, server_hostname=target.host)
    await say(f"EHLO {NAME}")
    await say("QUIT")
    writer.close()
    return Probed(target, 0.0, 0.0, Verdict.TLS)


def _prober(order: dict[str, Any]) -> Callable[[Target], Awaitable[Probed]]:
    if order["how"] == "start-tls":
        context = ssl.create_default_context(cafile=order["ca_file"])
        return lambda target: _start_tls(target, context)
    return Prober(NAME, Trust(order["ca_file"]), timeouts=Timeouts()).probe


async def _run(order: dict[str, Any], targets: list[Target], probe: _Counting) -> Counter[str]:
    if order["how"] == "survey":
        survey = Survey(
            lambda: open_survey(order["store"]), _Names(targets), probe, provider_of,
            Options(Pace(0, 0), order["in_flight"]),
        )  # fmt: skip
        names = (NextHop(each.host, bracketed=True) for each in targets)
        progress = await survey.run(names, "bench")
        return Counter({verdict.value: n for verdict, n in progress.verdicts.items()})
    found: Counter[str] = Counter()
    todo = iter(targets)

    async def worker() -> None:
        for target in todo:
            found[(await probe.probe(target)).verdict.value] += 1

    await asyncio.gather(*(worker() for _ in range(order["in_flight"])))
    return found


def main() -> None:
    """Do what standard input says."""
    order = json.load(sys.stdin)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    spare_collector()
    targets = [Target(*each) for each in order["targets"]]
    probe = _Counting(_prober(order))
    run = uvloop.run if order["how"] in {"survey", "probe"} else asyncio.run
    begun, cpu = time.monotonic(), time.process_time()
    verdicts = run(_run(order, targets, probe))
    seconds, cpu_seconds = time.monotonic() - begun, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    json.dump(
        {
            "seconds": seconds,
            "cpu_seconds": cpu_seconds,
            "resident_mib": peak,
            "at_once": probe.most,
            "verdicts": verdicts,
        },
        sys.stdout,
    )


if __name__ == "__main__":
    main()
