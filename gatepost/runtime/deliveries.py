"""From a delivery in the log to what the store keeps of it.

Purpose: what the observer and ``gatepost log ingest`` have in common: judge a delivery by the
configuration that was in force, name its provider, and drop what was not delivered.
Limits: a delivery within 5 s of a reload is judged by both configurations, as the processes take a
new one in one after the other, and clocks of log and process differ.
Errors: none.
"""

from __future__ import annotations

from collections.abc import Sequence

from gatepost.decisions.enforcement import judge
from gatepost.domains import domain_of
from gatepost.maillog.evidence import Record
from gatepost.maillog.model import SENT, Delivery, TlsClass
from gatepost.maillog.provider import provider_of
from gatepost.snapshot import Snapshot

RELOAD_S = 5.0
_KEEP = 20


class History:
    """The configurations that were in force, and since when."""

    def __init__(self, snapshot: Snapshot, since: float) -> None:
        """Begin with one, in force since a Unix time."""
        self._known: list[tuple[float, Snapshot]] = [(since, snapshot)]

    def add(self, snapshot: Snapshot, since: float) -> None:
        """Add one that came into force."""
        if snapshot is not self._known[0][1]:
            self._known.insert(0, (since, snapshot))
            del self._known[_KEEP:]

    @property
    def latest(self) -> Snapshot:
        """Return the one that is in force."""
        return self._known[0][1]

    def during(self, start: float, end: float) -> tuple[Sequence[Snapshot], bool]:
        """Return those that may have been in force in a period, the latest first.

        Returns:
            The configurations, and whether it is certain that one of them was; else it is the
            oldest that is known.
        """
        found = []
        for since, snapshot in self._known:
            if since - RELOAD_S <= end:
                found.append(snapshot)
            if since + RELOAD_S <= start:
                return found, True
        return found or [self._known[-1][1]], False


def is_loopback(address: str) -> bool:
    """Tell whether an IP address, as Postfix logs it, is one of this host's loopback."""
    return address.startswith("127.") or address == "::1"


def record_of(delivery: Delivery, history: History, relayhost: str = "") -> Record | None:
    """Return what is kept of a delivery, or None for one that counts nowhere.

    That is one that was neither sent nor refused, and one to this host itself: a content filter
    gets it in plaintext, gives it back, and then it goes out.

    Args:
        delivery: The delivery.
        history: The configurations that were in force.
        relayhost: Postfix's relayhost, or empty.
    """
    if delivery.status != SENT and delivery.tls is not TlsClass.REFUSED:
        return None
    if is_loopback(delivery.address):
        return None
    domain = domain_of(delivery.recipient) or ""
    snapshots, certain = history.during(delivery.started_at, delivery.at)
    judgement = judge(delivery, snapshots, relayhost or domain, by_sender=certain)
    return Record(
        delivery.at,
        delivery.queue_id,
        judgement.tenant,
        delivery.recipient,
        domain,
        delivery.host,
        delivery.address,
        provider_of(delivery.host),
        delivery.service,
        delivery.tls,
        delivery.version,
        delivery.count,
        1 if delivery.opens else 0,
        judgement.verdict,
        judgement.asked,
        judgement.got,
    )
