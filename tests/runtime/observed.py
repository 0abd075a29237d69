"""Logs for the observer, and an observer in a process of its own that can be killed."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from gatepost.maillog import follow
from gatepost.postfix.log_facts import LogFacts
from gatepost.runtime import observer as module
from gatepost.runtime.feedback.delivery_events import open_outcome_stores
from gatepost.runtime.metrics import Metrics
from gatepost.runtime.observer import Observer
from gatepost.settings.model import Settings
from gatepost.snapshot import Snapshot
from gatepost.store.open import open_deliveries
from tests.world import snapshot, tenant

HOST = "mail.example"
ACME = tenant("acme", senders=("acme.example",), profile="private")
WORLD: Snapshot = snapshot(ACME)


def stamp(second: float) -> str:
    moment = time.gmtime(1_800_000_000 + second)
    return time.strftime("%Y-%m-%dT%H:%M:%S", moment) + f".{int(second * 1000) % 1000:03}Z mail "


def message(number: int, *, encrypted: bool = True, service: str = "postfix") -> Iterator[str]:
    """Yield the lines of a message to one recipient, an hour after the epoch of these tests."""
    queue_id, second, pid = f"4{number:06}", 10 + number / 10, 100 + number % 7
    smtp = f"{service}/smtp[{pid}]: "
    relay = "mx.a.example[192.0.2.1]:25"
    yield f"{stamp(second)}postfix/qmgr[1]: {queue_id}: from=<n@acme.example>, size=1, nrcpt=1 (x)"
    if encrypted:
        tls = f"Trusted TLS connection established to {relay}: TLSv1.3 with cipher X"
        yield f"{stamp(second)}{smtp}{tls}"
    yield (
        f"{stamp(second)}{smtp}{queue_id}: to=<u{number}@a.example>, relay={relay}, delay=0.1, "
        "delays=0/0/0/0.1, dsn=2.0.0, status=sent (250 ok)"
    )
    yield f"{stamp(second)}postfix/qmgr[1]: {queue_id}: removed"


def append(path: Path, *parts: Iterable[str]) -> None:
    with path.open("a", encoding="ascii") as file:
        for part in parts:
            file.writelines(f"{line}\n" for line in part)


def start(
    maillog: Path | str,
    url: str,
    metrics: Metrics | None = None,
    world: Snapshot = WORLD,
    *,
    tls_logged: bool = True,
) -> Observer:
    """Return an observer of a Postfix that logs TLS, or may not."""
    module.log_facts = lambda _directory: LogFacts(tls_logged, host=HOST)
    return Observer(
        Settings(Path("gatepost.yaml"), maillog=str(maillog), state=url),
        metrics or Metrics("back"),
        world,
        0.0,
        lambda: open_deliveries(url),
        lambda: open_outcome_stores(url),
    )


if __name__ == "__main__":
    # Many small transactions, so that a kill falls between any two of them.
    follow.CHUNK_OCTETS = 4096
    start(sys.argv[1], sys.argv[2])
    print("started", flush=True)
    threading.Event().wait()
