"""What every store must do with deliveries and with the position of the log."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gatepost.errors import StoreUnavailable
from gatepost.maillog.evidence import (
    KEEP_WEAKER,
    Batch,
    By,
    Counts,
    DeliveryStore,
    Destination,
    LogPosition,
    Record,
    Scope,
    Seen,
    TenantDomain,
    Verdict,
)
from gatepost.maillog.model import TlsClass
from gatepost.store import deliveries as module
from gatepost.store.open import open_deliveries

DAY = 86_400.0
NOON = 1_800_000_000 // 86_400 * 86_400 + 12 * 3600.0
MIDNIGHT = NOON - 12 * 3600
ENCRYPTED, AUTHENTICATED = TlsClass.ENCRYPTED, TlsClass.AUTHENTICATED
PLAINTEXT, UNKNOWN, REFUSED = TlsClass.PLAINTEXT, TlsClass.UNKNOWN, TlsClass.REFUSED

RECORD = Record(
    NOON, "4AAAA", "acme", "u@a.example", "a.example", "mx1.a.example", "192.0.2.1", "a.example",
    "gp-normal-private", ENCRYPTED, "TLSv1.3",
)  # fmt: skip


@pytest.fixture
def deliveries(url: str) -> Iterator[DeliveryStore]:
    with contextlib.closing(open_deliveries(url)) as opened:
        yield opened


def record(tls: TlsClass = ENCRYPTED, at: float = NOON, **changes: Any) -> Record:
    version = "TLSv1.3" if tls in {ENCRYPTED, AUTHENTICATED} else ""
    return replace(RECORD, **{"at": at, "tls": tls, "version": version, **changes})


def at(offset: int, source: str = "log") -> LogPosition:
    return LogPosition(source, 10, offset, "/var/log/mail.log")


def add(store: DeliveryStore, *records: Record) -> None:
    """Add records in whatever position comes next."""
    found = [each for each in store.positions() if each.source == "log"]
    previous = found[0] if found else None
    position = at(previous.offset + 1 if previous else 1)
    assert store.add(Batch(records, position, previous))


# Of every kind something, over three days.
MIXED = [
    record(AUTHENTICATED, version="TLSv1.2"),
    record(ENCRYPTED, NOON + 1, sessions=0),
    record(ENCRYPTED, NOON + DAY, deliveries=5, relay="mx2.a.example"),
    record(
        PLAINTEXT,
        NOON + 2,
        tenant="",
        domain="b.example",
        relay="mx.b.example",
        provider="b.example",
    ),
    record(UNKNOWN, NOON - DAY, tenant="?", verdict=Verdict.UNPROVEN, asked="x", got="unknown"),
    record(REFUSED, NOON + 3, domain="b.example", relay="mx.b.example", provider="b.example"),
    record(ENCRYPTED, NOON + 4, verdict=Verdict.MET),
    record(
        PLAINTEXT,
        NOON + 5,
        verdict=Verdict.WEAKER,
        asked="encrypt (profile private)",
        got="plaintext",
    ),
]


@pytest.fixture(params=["rows", "counts", "both"])
def mixed(deliveries: DeliveryStore, request: pytest.FixtureRequest) -> DeliveryStore:
    """Return a store with all of these as rows, as counts, or the older ones as counts."""
    add(deliveries, *MIXED)
    before = {"rows": 0.0, "counts": NOON + 2 * DAY, "both": NOON + 3}
    deliveries.roll_up(before[request.param])
    return deliveries


ALL = (MIDNIGHT - 2 * DAY, MIDNIGHT + 3 * DAY)


def test_share_by_tenant(mixed):
    found = {each.name: each for each in mixed.share(*ALL, By.TENANT)}
    assert found["acme"].deliveries == Counts(1, 7, 1, 0, 1)
    assert found["acme"].sessions == Counts(1, 2, 1, 0, 1)
    assert found[""].deliveries == Counts(plaintext=1)
    assert found["?"].deliveries == Counts(unknown=1)
    assert next(iter(found)) == "acme"


def test_share_by_day_in_order(mixed):
    found = mixed.share(*ALL, By.DAY)
    assert [(each.name, each.deliveries.sent) for each in found] == [
        ("2027-01-14", 1), ("2027-01-15", 5), ("2027-01-16", 5),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("by", "value", "name", "counts"),
    [
        (By.DOMAIN, "a.example", "a.example", Counts(1, 7, 1, 1, 0)),
        (By.PROVIDER, "b.example", "b.example", Counts(plaintext=1, refused=1)),
        (By.TENANT, "acme", "acme", Counts(1, 7, 1, 0, 1)),
    ],
)
def test_share_of_some(mixed, by, value, name, counts):
    (found,) = mixed.share(*ALL, by, {by: value})
    assert (found.name, found.deliveries) == (name, counts)


def test_share_of_a_tenant_by_provider(mixed):
    found = mixed.share(*ALL, By.PROVIDER, {By.TENANT: "acme"})
    assert [(each.name, each.deliveries) for each in found] == [
        ("a.example", Counts(1, 7, 1)), ("b.example", Counts(refused=1)),
    ]  # fmt: skip


def test_a_period_ends_before_its_end(deliveries):
    add(deliveries, record(at=NOON), record(at=NOON + 1))
    assert [each.deliveries.sent for each in deliveries.share(NOON, NOON + 1, By.DAY)] == [1]


def test_where_only_counts_are_left_days_count_whole(deliveries):
    add(deliveries, record(at=NOON), record(at=NOON + DAY))
    deliveries.roll_up(NOON + 2 * DAY)
    assert [each.deliveries.sent for each in deliveries.share(NOON + 1, NOON + 2, By.DAY)] == [1]
    # Midnight is the next day's first moment, and not the last of this one.
    found = deliveries.share(MIDNIGHT, MIDNIGHT + DAY, By.DAY)
    assert [each.deliveries.sent for each in found] == [1]


def test_destinations(mixed):
    found = mixed.destinations(*ALL)
    assert [(each.domain, each.relay) for each in found] == [
        ("a.example", "mx1.a.example"),
        ("a.example", "mx2.a.example"),
        ("b.example", "mx.b.example"),
    ]
    first = found[0]
    assert first.counts == Counts(1, 2, 1, 1)
    assert first.versions == {"TLSv1.2": 1, "TLSv1.3": 2}
    assert (first.first_at, first.last_at) == (NOON - DAY, NOON + 5)
    assert first.last_of(ENCRYPTED, AUTHENTICATED) == NOON + 4
    assert first.last_of(REFUSED) is None
    assert mixed.destinations(*ALL, "b.example") == found[2:]
    assert mixed.destinations(*ALL, "c.example") == []


def test_a_destination_tells_what_was_seen(deliveries):
    add(deliveries, record(at=NOON), record(at=NOON + 9))
    assert deliveries.destinations(*ALL) == [
        Destination(
            "a.example",
            "mx1.a.example",
            (Seen(ENCRYPTED, "TLSv1.3", 2, 2, NOON, NOON + 9),),
        )
    ]


def test_tenant_domains(mixed):
    found = mixed.tenant_domains(*ALL, "acme")
    assert [(each.domain, each.counts) for each in found] == [
        ("a.example", Counts(1, 7, 1)), ("b.example", Counts(refused=1)),
    ]  # fmt: skip
    assert isinstance(found[0], TenantDomain)
    assert {each.tenant for each in mixed.tenant_domains(*ALL)} == {"", "?", "acme"}


def test_the_proof_of_enforcement(mixed):
    found = mixed.check(*ALL)
    assert (found.asked, found.unproven, found.weaker_count) == (3, 1, 1)
    assert found.last_at == max(each.last_at for each in mixed.destinations(*ALL))
    assert mixed.check(*ALL, "nobody").last_at is None
    (weaker,) = found.weaker
    assert (weaker.at, weaker.tenant, weaker.queue_id) == (NOON + 5, "acme", "4AAAA")
    assert (weaker.recipient, weaker.relay) == ("u@a.example", "mx1.a.example[192.0.2.1]")
    assert (weaker.asked, weaker.got) == ("encrypt (profile private)", "plaintext")
    assert mixed.check(*ALL, "acme").weaker_count == 1
    assert mixed.check(*ALL, "").weaker == ()


def test_what_was_weaker_is_kept_whole_but_not_without_end(deliveries, monkeypatch):
    weaker = record(PLAINTEXT, verdict=Verdict.WEAKER)
    monkeypatch.setattr(module, "_CUT_WEAKER", module._CUT_WEAKER.replace(str(KEEP_WEAKER), "10"))
    add(deliveries, *(replace(weaker, queue_id=f"4{number:04}") for number in range(12)))
    deliveries.roll_up(NOON + DAY)
    found = deliveries.check(*ALL)
    assert found.weaker_count == 12
    assert {each.queue_id for each in found.weaker} == {f"4{number:04}" for number in range(2, 12)}


def test_rolling_up_twice_and_in_steps_changes_nothing(deliveries, monkeypatch):
    monkeypatch.setattr(module, "_SPAN", module._SPAN.replace(str(module.ROLL_UP_ROWS), "3"))
    add(deliveries, *MIXED)
    whole = deliveries.share(*ALL, By.TENANT)
    assert deliveries.roll_up(NOON + 2 * DAY) == len(MIXED)
    assert deliveries.roll_up(NOON + 2 * DAY) == 0
    assert deliveries.share(*ALL, By.TENANT) == whole


def test_old_counts_go(deliveries):
    add(deliveries, *MIXED)
    deliveries.roll_up(NOON + 2 * DAY)
    assert deliveries.prune(MIDNIGHT) == 1
    assert [each.name for each in deliveries.share(*ALL, By.DAY)] == ["2027-01-15", "2027-01-16"]
    assert deliveries.prune(MIDNIGHT + DAY) > 1
    assert deliveries.check(*ALL).weaker == ()


def test_a_batch_moves_the_position(deliveries):
    assert deliveries.add(Batch([record()], at(100)))
    assert deliveries.add(Batch([record()], at(200), at(100)))
    assert deliveries.positions() == [at(200)]


@pytest.mark.parametrize(
    "batch",
    [
        Batch([record()], at(100)),
        Batch([record()], at(150), at(100)),
        Batch([record()], at(150), at(199)),
        Batch([record()], at(300, "other"), at(100, "unknown")),
        Batch([record()], at(300, "other"), at(200)),
    ],
)
def test_who_was_overtaken_stores_nothing(deliveries, batch):
    deliveries.add(Batch([record()], at(200), None, {"m:1": "x"}))
    deliveries.add(Batch([record()], at(1, "other")))
    before = deliveries.positions()
    assert not deliveries.add(replace(batch, state={"m:1": "y"}))
    assert deliveries.positions() == before
    assert deliveries.state() == {"m:1": "x"}
    assert [each.deliveries.sent for each in deliveries.share(*ALL, By.DAY)] == [2]


def test_a_log_that_grows_gets_another_digest(deliveries):
    short, longer = LogPosition("a", 10, 10, "/x"), LogPosition("b", 4096, 5000, "/x")
    assert deliveries.add(Batch([], short))
    assert deliveries.add(Batch([], longer, short))
    assert deliveries.positions() == [longer]


def test_the_journal_moves_by_its_cursor(deliveries):
    first, second = LogPosition("journal", 0, 0, "s=1"), LogPosition("journal", 0, 0, "s=2")
    assert deliveries.add(Batch([], first))
    assert deliveries.add(Batch([], second, first))
    assert not deliveries.add(Batch([record()], second, first))


def test_positions_come_with_the_latest_first(deliveries):
    deliveries.add(Batch([], at(1, "a")))
    deliveries.add(Batch([], at(1, "b")))
    deliveries.add(Batch([], at(2, "a"), at(1, "a")))
    assert [each.source for each in deliveries.positions()] == ["a", "b"]


def test_positions_of_long_ago_go(deliveries, monkeypatch):
    monkeypatch.setattr(module, "_CUT_POSITIONS", module._CUT_POSITIONS.replace("1000", "2"))
    for name in "abc":
        deliveries.add(Batch([], at(1, name)))
    deliveries.add(Batch([], at(2, "a"), at(1, "a")))
    deliveries.prune(MIDNIGHT)
    assert [each.source for each in deliveries.positions()] == ["a", "c"]


def test_what_the_joiner_remembers(deliveries):
    deliveries.add(Batch([], at(1), None, {"m:1": "x", "m:2": "y", "since": "1.0"}))
    deliveries.add(Batch([], at(2), at(1), {"m:1": None, "m:2": "z", "m:3": "n"}))
    # The order is that of age.
    assert list(deliveries.state().items()) == [("since", "1.0"), ("m:2", "z"), ("m:3", "n")]
    assert deliveries.state(Scope.INGEST) == {}
    deliveries.add(Batch([], at(3), at(2), {"m:9": "q"}, Scope.INGEST))
    assert deliveries.state(Scope.INGEST) == {"m:9": "q"}
    deliveries.forget(Scope.INGEST)
    assert deliveries.state(Scope.INGEST) == {}
    assert "m:3" in deliveries.state()


def test_hostile_text_is_kept_and_shown(deliveries):
    odd = record(
        PLAINTEXT, recipient="\udcff'; drop table deliveries@a.example", verdict=Verdict.WEAKER,
        asked="x", got="y", queue_id="\u2028",
    )  # fmt: skip
    add(deliveries, odd)
    assert deliveries.check(*ALL).weaker[0].recipient.startswith("\\udcff'; drop")


def test_nothing_of_a_batch_that_fails_is_stored(deliveries, monkeypatch):
    add(deliveries, record())
    before = deliveries.positions()

    def fail(*_: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(module, "_remember", fail)
    with pytest.raises(StoreUnavailable, match="disk I/O error"):
        deliveries.add(Batch([record()], at(9), before[0]))
    monkeypatch.undo()
    assert deliveries.positions() == before
    assert [each.deliveries.sent for each in deliveries.share(*ALL, By.DAY)] == [1]


def test_a_store_that_is_gone_is_unavailable(deliveries, url):
    directory = Path(url.removeprefix("sqlite:///")).parent
    directory.rename(f"{directory}.gone")
    with pytest.raises(StoreUnavailable):
        deliveries.share(*ALL, By.DAY)
