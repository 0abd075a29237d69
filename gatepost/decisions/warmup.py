"""Which deliveries count for which warm-up.

Errors: none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from gatepost.decisions.shaping import lane_of_service
from gatepost.decisions.transport import Route
from gatepost.maillog.evidence import Record
from gatepost.maillog.model import TlsClass
from gatepost.snapshot import Snapshot
from gatepost.traffic.warmup import day_of


def sent_by(records: Iterable[Record], snapshot: Snapshot) -> Mapping[tuple[str, int], int]:
    """Return how many recipients were reached, by the key of a warm-up and the day.

    What a tenant with a warm-up sends by another lane than its own counts for no warm-up of its.

    Args:
        records: Deliveries of the log.
        snapshot: The configuration in force.
    """
    warmups = snapshot.warmups
    found: Counter[tuple[str, int]] = Counter()
    if not warmups:
        return found
    for record in records:
        if record.tls is TlsClass.REFUSED:
            continue
        lane = lane_of_service(record.service, snapshot)
        if lane is None:
            continue
        tenant = snapshot.tenants.by_id.get(record.tenant)
        own = tenant.id if tenant is not None and tenant.lane == lane else ""
        for key in warmups.keys_of(own, lane):
            found[key, day_of(record.at)] += record.deliveries
    return found


def handed_out(route: Route, snapshot: Snapshot) -> tuple[str, ...]:
    """Return the keys of the warm-ups by which a look-up sends mail on its way.

    Args:
        route: The answer of the transport map.
        snapshot: The configuration.
    """
    tenant = route.tenant
    if tenant is None:
        return ()
    lane = lane_of_service(route.service or "", snapshot)
    if lane is None:
        return ()
    return snapshot.warmups.keys_of(tenant.id if tenant.lane == lane else "", lane)
