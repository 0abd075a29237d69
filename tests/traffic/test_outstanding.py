"""What the log told last, and what was taken since, is never less than what is outstanding."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from gatepost.traffic.outstanding import Outstanding, Reading, Told
from gatepost.traffic.state import Backlog


def reading(as_of: float, messages: int, arrived: int, others: int = 0) -> Reading:
    return Reading(as_of, "one", {"acme": Told(Backlog(messages, messages, 1.0), arrived, others)})


def messages(book: Outstanding) -> int:
    found = book.of("acme")
    assert found is not None
    return found.messages


def test_nothing_is_known_without_a_reading() -> None:
    book = Outstanding()
    book.accept("acme", 1, 1, 0.0)
    assert book.of("acme") is None
    assert book.waiting == 0


def test_what_was_taken_since_is_added_until_the_log_tells_of_it() -> None:
    book = Outstanding()
    book.read(reading(10.0, 5, 100))
    for n in range(30):
        book.accept("acme", 1, 2, 10.0 + n / 100)
    assert book.of("acme") == Backlog(35, 65, 1.0)
    # The log has 20 of them; 3 were delivered.
    book.read(reading(10.2, 22, 120))
    assert book.of("acme") == Backlog(32, 42, 1.0)
    book.read(reading(11.0, 32, 130))
    assert book.of("acme") == Backlog(32, 32, 1.0)
    assert book.waiting == 0


def test_a_tenant_without_a_backlog_has_none() -> None:
    book = Outstanding()
    book.read(reading(10.0, 5, 100))
    assert book.of("beta") == Backlog()
    book.accept("beta", 1, 1, 10.5)
    assert book.of("beta") == Backlog(1, 1)
    book.read(reading(12.0, 5, 100))
    assert book.of("beta") == Backlog(1, 1)
    book.read(reading(12.6, 5, 100))
    assert book.of("beta") == Backlog()


def test_what_never_comes_is_forgotten() -> None:
    book = Outstanding()
    book.read(reading(10.0, 0, 100))
    book.accept("acme", 1, 1, 10.0)
    book.read(reading(19.9, 0, 100))
    assert messages(book) == 1
    book.read(reading(20.1, 0, 100))
    assert messages(book) == 0


def test_a_log_that_is_read_late_forgets_nothing_that_it_has_not_come_to() -> None:
    book = Outstanding()
    book.read(reading(10.0, 0, 100))
    for n in range(100):
        book.accept("acme", 1, 1, 11.0 + n)
    # Read a hundred seconds later, up to half a minute after the beginning.
    book.read(reading(30.0, 0, 100))
    assert messages(book) == 91


def test_another_reader_begins_at_zero() -> None:
    book = Outstanding()
    book.read(reading(10.0, 5, 100))
    book.accept("acme", 1, 1, 10.5)
    book.read(Reading(12.0, "two", {"acme": Told(Backlog(6, 6), 0)}))
    assert messages(book) == 7
    book.read(Reading(13.0, "two", {"acme": Told(Backlog(6, 6), 0)}))
    book.accept("acme", 1, 1, 13.0)
    book.read(Reading(13.5, "two", {"acme": Told(Backlog(7, 7), 2)}))
    assert messages(book) == 7


def test_no_reading_any_more_is_nothing_known() -> None:
    book = Outstanding()
    book.read(reading(10.0, 5, 100))
    book.accept("acme", 1, 1, 10.5)
    assert book.read(None) == {}
    assert book.of("acme") is None
    book.read(reading(20.0, 5, 100))
    assert messages(book) == 5


def test_mail_that_came_otherwise_is_told_once() -> None:
    book = Outstanding()
    assert book.read(reading(10.0, 5, 0, 500)) == {}
    assert book.read(reading(11.0, 5, 0, 530)) == {"acme": 30}
    assert book.read(reading(12.0, 5, 0, 530)) == {}
    assert book.read(Reading(13.0, "two", {"acme": Told(Backlog(5, 5), 0, 600)})) == {}
    # Of one that was silent, all is new.
    assert book.read(Reading(14.0, "two")) == {}
    assert book.read(Reading(15.0, "two", {"acme": Told(Backlog(5, 5), 0, 60)})) == {"acme": 60}
    assert book.read(Reading(16.0, "two", {"acme": Told(Backlog(5, 5), 0, 7)})) == {"acme": 7}


def test_who_is_left_out_for_having_too_little_is_not_taken_for_new() -> None:
    book = Outstanding()
    book.read(reading(10.0, 5, 0, 500))
    book.read(Reading(11.0, "one", {}, whole=False))
    assert book.read(reading(12.0, 5, 0, 501)) == {"acme": 1}


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20), st.integers(0, 20)), max_size=30))
def test_it_is_exact_when_the_log_tells_of_all_that_was_taken(
    rounds: list[tuple[int, int, int]],
) -> None:
    """Taken, seen in the log, delivered: as long as nothing is lost, the sum is the queue."""
    book = Outstanding()
    book.read(reading(0.0, 0, 0))
    taken = seen = gone = 0
    for at, (more, show, deliver) in enumerate(rounds, 1):
        for _ in range(more):
            book.accept("acme", 1, 1, float(at))
        taken += more
        seen = min(taken, seen + show)
        gone = min(seen, gone + deliver)
        if taken - seen > 100:
            seen = taken
        book.read(reading(min(at, 5.0), seen - gone, seen))
        assert messages(book) == taken - gone
