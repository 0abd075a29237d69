"""The process of the policy server: ``python -m policy_server --config FILE``.

Purpose: open the two sockets, wire handlers to pumps, and serve on one uvloop loop.
Errors: see `gatepost.runtime.role`.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from gatepost.postfix.spec import MAPS_SOCKET, POLICY_SOCKET
from gatepost.runtime.feedback.status_book import StatusBook
from gatepost.runtime.feedback.suppression import SuppressionDesk
from gatepost.runtime.loop import run_in_uvloop
from gatepost.runtime.memory import uncollected
from gatepost.runtime.role import OK, Role, run
from gatepost.runtime.signals import install_in_loop
from gatepost.runtime.tls.discovery import Discovery
from gatepost.runtime.tls.lookups import Counting, discovery_for, wanted_by
from gatepost.runtime.tls.sight_book import SightBook, SightStore
from gatepost.runtime.traffic.bursts import BurstDesk
from gatepost.runtime.traffic.lane_book import LaneBook
from gatepost.runtime.traffic.providers import MxBook
from gatepost.runtime.traffic.quotas import QuotaDesk
from gatepost.runtime.traffic.shaping_metrics import count_held
from gatepost.runtime.traffic.warmups import WarmupDesk
from gatepost.runtime.watchdog import beat_in_loop
from gatepost.snapshot import Snapshot
from gatepost.store.mta_sts import StsStore
from gatepost.store.open import open_lanes, open_quotas, open_sights, open_statuses, open_sts
from policy_server.delegation import delegation
from policy_server.failures import Failure
from policy_server.handlers import Handlers
from policy_server.listen import open_socket
from policy_server.maps import maps
from policy_server.pump import Pump
from policy_server.quota import QuotaCheck
from policy_server.serve import Endpoint, serve
from policy_server.shaping import ShapingCheck
from policy_server.suppression import SuppressionCheck
from policy_server.traffic import TrafficCheck


def main() -> None:
    """Run the role."""
    run("policy", _serve)


def _serve(role: Role) -> int:
    # Connections, and beside them hundreds of queries at once, each with a socket.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    run_in_uvloop(_serve_in_loop(role))
    return OK


async def _serve_in_loop(role: Role) -> None:
    counting = Counting(role.metrics.destination_search, role.metrics.sts_fetch)

    def open_store() -> StsStore:
        return open_sts(role.settings.local_state)

    async with discovery_for(role.settings, role.current().tls, open_store, counting) as discovery:
        role.metrics.watch_discovery(
            lambda: discovery.resolver.validates,
            lambda: len(discovery),
            lambda: len(discovery.policies),
        )
        async with _open_desks(role) as desks:
            await _serve_with(role, discovery, desks)


@dataclass(frozen=True, slots=True)
class _Desks:
    """What handlers ask, each with a thread or a store of its own."""

    bursts: BurstDesk
    sights: SightBook
    statuses: StatusBook
    suppression: SuppressionDesk
    quotas: QuotaDesk
    lanes: LaneBook


@contextlib.asynccontextmanager
async def _open_desks(role: Role) -> AsyncIterator[_Desks]:
    state, local = role.settings.state, role.settings.local_state
    async with contextlib.AsyncExitStack() as stack:
        sights = SightBook(lambda: _open_sights(local), clock=time.time)
        stack.callback(sights.close)
        statuses = StatusBook(lambda: open_statuses(state), role.metrics)
        stack.callback(statuses.stop)
        bursts = BurstDesk(role.settings.run_dir, role.metrics, role.current)
        stack.callback(bursts.stop)
        suppression = SuppressionDesk(state, role.metrics, local)
        stack.callback(suppression.close)
        quotas = QuotaDesk(lambda: open_quotas(local), role.metrics, target=role.settings.counters)
        stack.push_async_callback(quotas.stop)
        lanes = LaneBook(lambda: open_lanes(local), role.metrics)
        stack.callback(lanes.stop)
        yield _Desks(bursts, sights, statuses, suppression, quotas, lanes)


def _handlers(role: Role, discovery: Discovery, desks: _Desks) -> Handlers:
    assert role.recorder is not None
    suppression, quotas = desks.suppression, desks.quotas
    handlers = Handlers(
        role.current,
        role.recorder,
        role.metrics,
        time.time,
        role.version,
        role.operator,
        destinations=discovery,
        sights=desks.sights,
        statuses=desks.statuses.current,
        suppression=SuppressionCheck(suppression.lookup, suppression.count, suppression.tell),
    )
    # As in `gatepost.postfix.instances.place`, a symbolic link counts as what it leads to.
    handlers.queue = role.place.socket_dir.parent.resolve().name
    handlers.measure(TrafficCheck(desks.bursts))
    handlers.warmups = WarmupDesk(
        desks.lanes.sent, desks.bursts.is_log_read, role.current, role.metrics
    )
    desks.bursts.warmups = handlers.warmups
    check = QuotaCheck(quotas.counters, quotas.clock, quotas.count)
    quotas.on_refused = check.refused
    handlers.quota = check
    hosts, counts = MxBook(discovery.resolver), count_held(role.metrics)
    handlers.shaping = ShapingCheck(
        desks.lanes, hosts, role.recorder, lambda result: counts[result]()
    )
    return handlers


async def _serve_with(role: Role, discovery: Discovery, desks: _Desks) -> None:
    handlers = _handlers(role, discovery, desks)
    loop = asyncio.get_running_loop()

    def count(failure: Failure) -> None:
        role.metrics.error(failure.value)

    def reloaded(snapshot: Snapshot) -> None:
        # On the loop, where requests are answered: a reload has a thread of its own.
        loop.call_soon_threadsafe(handlers.postfix_is, role.version, role.operator)
        loop.call_soon_threadsafe(discovery.want, wanted_by(snapshot.tls))

    role.on_reload.append(reloaded)
    pumps: dict[str, Pump[Any, Any]] = {
        POLICY_SOCKET: delegation(handlers.policy, count),
        MAPS_SOCKET: maps(handlers.lookup, count),
    }
    role.details = lambda: {
        "connections": {n: p.connections for n, p in pumps.items()},
        "discovery": discovery.status(),
        "suppression": desks.suppression.status(),
        "quota": desks.quotas.status(),
        "traffic": desks.bursts.status(),
        "lanes": desks.lanes.status(),
        "status_version": desks.statuses.version(),
    }
    role.metrics.watch_connections(lambda: sum(pump.connections for pump in pumps.values()))
    _begin_at_zero(role)
    endpoints = _endpoints(role, pumps)
    stop = asyncio.Event()

    def end() -> None:
        role.stopping()
        if handlers.shaping is not None:
            handlers.shaping.stop()
        stop.set()

    install_in_loop(loop, role.reloader.request, end)
    desks.quotas.start()
    desks.bursts.start()
    await desks.quotas.join()
    role.ready()
    alive = asyncio.create_task(beat_in_loop())
    try:
        await serve(endpoints, stop, role.settings.grace_s)
    finally:
        alive.cancel()


def _begin_at_zero(role: Role) -> None:
    role.metrics.policy_requests.expect("dunno", "prepend", "hold", "reject")
    role.metrics.errors.expect(*(failure.value for failure in Failure))


def _endpoints(role: Role, pumps: Mapping[str, Pump[Any, Any]]) -> list[Endpoint]:
    directory, group = role.place.socket_dir, role.settings.postfix_group
    return [
        Endpoint(open_socket(directory / name, group=group), pump) for name, pump in pumps.items()
    ]


def _open_sights(url: str) -> SightStore:
    # What the survey knows takes long to load; a start must not wait for it.
    with uncollected():
        return open_sights(url)


if __name__ == "__main__":
    main()
