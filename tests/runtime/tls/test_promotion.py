"""What the log tells of a domain, from the rows of its relays."""

from __future__ import annotations

from gatepost.maillog.evidence import Destination, Seen
from gatepost.maillog.model import TlsClass
from gatepost.runtime.tls.promotion import by_domain
from gatepost.tls.history import Deliveries

A = "a.example"


def row(domain: str, relay: str, *seen: tuple[TlsClass, int, float]) -> Destination:
    kinds = tuple(Seen(tls, "", count, 1, 0.0, at) for tls, count, at in seen)
    return Destination(domain, relay, kinds)


def test_sums_of_all_relays() -> None:
    rows = [
        row(A, "", (TlsClass.REFUSED, 1, 50.0)),
        row(A, "mx1.a.example", (TlsClass.ENCRYPTED, 5, 10.0), (TlsClass.PLAINTEXT, 2, 20.0)),
        row(A, "mx2.a.example", (TlsClass.AUTHENTICATED, 7, 30.0), (TlsClass.UNKNOWN, 1, 40.0)),
        # Nothing was delivered by way of it.
        row(A, "mx3.a.example", (TlsClass.REFUSED, 3, 15.0)),
        row("b.example", "mx.b.example", (TlsClass.ENCRYPTED, 1, 1.0)),
    ]
    assert by_domain(rows) == {
        A: Deliveries(15, 2, 1, 4, frozenset({"mx1.a.example", "mx2.a.example"}), 30.0, 50.0),
        "b.example": Deliveries(1, relays=frozenset({"mx.b.example"}), good_at=1.0),
    }
