"""What the policy server knows of lanes: soon, and no longer than it holds."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from gatepost.errors import StoreUnavailable
from gatepost.maillog.evidence import Batch, LogPosition
from gatepost.runtime.metrics import Metrics
from gatepost.runtime.traffic.lane_book import LaneBook
from gatepost.store.lanes import LaneStore
from gatepost.store.open import open_deliveries, open_lanes
from gatepost.traffic.shaping import Slowed, by_hand
from gatepost.traffic.warmup import day_of
from lab.process import wait_until
from tests.world import NOW

PAIR = ("bulk", "a.example")
SLOWED = Slowed(*PAIR, NOW - 30, (10.0, 20.0), 60.0, 60.0, "why", "rule")


class Clocks:
    """Two clocks that a test moves."""

    def __init__(self) -> None:
        self.wall, self.steady = NOW, 1_000.0

    def go(self, seconds: float) -> None:
        self.wall += seconds
        self.steady += seconds


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/local.db"


@pytest.fixture
def store(url: str) -> Iterator[LaneStore]:
    with closing(open_lanes(url)) as opened:
        yield opened


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


@pytest.fixture
def book_of(url: str, clocks: Clocks) -> Iterator[Callable[..., LaneBook]]:
    books = []

    def book_of(opener: Callable[[], LaneStore] = lambda: open_lanes(url)) -> LaneBook:
        books.append(
            LaneBook(
                opener,
                Metrics("policy"),
                every_s=0.005,
                clock=lambda: clocks.wall,
                steady=lambda: clocks.steady,
            )
        )
        return books[-1]

    yield book_of
    for each in books:
        each.stop()


def rate(book: LaneBook) -> float | None:
    found = book.rate_of(*PAIR)
    return None if found is None else found[1]


def test_what_is_stored_is_known_from_the_start_and_comes_back_by_time(
    store: LaneStore, book_of: Callable[..., LaneBook], clocks: Clocks
) -> None:
    store.slow(SLOWED)
    book = book_of()
    assert book.is_slowed("bulk")
    assert book.status() == {"known": True, "slowed": 1}
    assert not book.is_slowed("fast")
    assert book.rate_of("bulk", "b.example") is None
    seen = [rate(book)]
    for _ in range(3):
        clocks.go(30)
        seen.append(rate(book))
    assert seen == [10, 20, 20, None]
    assert book.status() == {"known": True, "slowed": 0}


def test_a_change_of_another_process_is_seen(
    store: LaneStore, book_of: Callable[..., LaneBook]
) -> None:
    book = book_of()
    assert rate(book) is None
    store.slow(SLOWED)
    wait_until(lambda: rate(book) == 10, 5, "the pair")
    # Of two that hold it back, the slower counts.
    store.slow(by_hand(PAIR, 3.0, 600, "why", "root", NOW))
    wait_until(lambda: rate(book) == 3, 5, "the operator")
    store.lift(*PAIR)
    wait_until(lambda: rate(book) is None, 5, "the lift")


def test_no_step_of_the_clock_keeps_a_pair_slowed(
    store: LaneStore, book_of: Callable[..., LaneBook], clocks: Clocks
) -> None:
    store.slow(SLOWED)
    book = book_of()
    clocks.wall -= 1_000_000
    store.slow(replace(SLOWED, provider="b.example"))
    wait_until(lambda: book.rate_of("bulk", "b.example"), 5, "the other")
    clocks.steady += 90
    assert rate(book) is None
    # And one that is of the future begins now.
    clocks.steady += 29
    assert book.rate_of("bulk", "b.example") is not None
    clocks.steady += 1
    assert book.rate_of("bulk", "b.example") is None


def test_without_a_store_it_comes_back_all_the_same(
    url: str, book_of: Callable[..., LaneBook], clocks: Clocks, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        working = True

        def __init__(self) -> None:
            self.store = open_lanes(url)

        def __getattr__(self, name: str) -> object:
            if not Broken.working:
                raise StoreUnavailable("gone")
            return getattr(self.store, name)

    with closing(open_lanes(url)) as store:
        store.slow(SLOWED)
    book = book_of(Broken)
    with caplog.at_level(logging.INFO):
        Broken.working = False
        wait_until(lambda: caplog.messages, 5, "trouble")
        assert rate(book) == 10
        assert book.status() == {"known": False, "slowed": 1}
        clocks.go(90)
        assert rate(book) is None
        Broken.working = True
        wait_until(lambda: len(caplog.messages) > 1, 5, "its end")
    assert caplog.messages == ["lanes-unknown reason=gone", "lanes-known slowed=1"]


def test_what_was_sent_today(
    url: str, store: LaneStore, book_of: Callable[..., LaneBook], clocks: Clocks
) -> None:
    del store
    day, position = day_of(NOW), LogPosition("log", 1, 1, "/log")
    with closing(open_deliveries(url)) as deliveries:
        deliveries.add(Batch([], position, None, sent={("lane fresh", day): 7}))
    book = book_of()
    assert book.sent() == (day, {"lane fresh": 7})
    clocks.go(86_400)
    wait_until(lambda: book.sent() == (day + 1, {}), 5, "the next day")
