"""What the log says of the queue adds up to what is in it, and a survey puts right what it lost."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatepost.maillog.queue_lines import Came, Final, Gone, QueueLine, Tried, Written
from gatepost.traffic.backlog import RECEIVE_S, TELL_S, QueueBook, Queued
from gatepost.traffic.outstanding import Told
from gatepost.traffic.state import Backlog

NOW = 1_800_000_000.0
LOGINS = {"acme": "acme", "beta": "beta"}
ACME, BETA, NOBODY = "n@acme.example", "n@beta.example", "n@nobody.example"


def of_sender(sender: str) -> str:
    name = sender.rpartition("@")[2].removesuffix(".example")
    return LOGINS.get(name, "")


def of_client(login: str, address: str) -> str:
    return "acme" if address == "192.0.2.7" else LOGINS.get(login, "")


@pytest.fixture
def book() -> QueueBook:
    made = QueueBook(of_sender, of_client)
    made.begin_survey()
    made.end_survey([], NOW)
    return made


def take(book: QueueBook, *lines: QueueLine, at: float = NOW) -> None:
    for line in lines:
        book.take(line, at)


def backlog(book: QueueBook, name: str = "acme", at: float = NOW) -> tuple[int, int]:
    told = book.told(at, 100).get(name, Told())
    return told.backlog.messages, told.backlog.recipients


def test_a_message_from_its_first_line_to_its_last(book) -> None:
    take(book, Came("A1", "198.18.0.1", "acme"))
    assert backlog(book) == (1, 1)
    take(book, Tried("A1", ACME, 3))
    assert backlog(book) == (1, 3)
    take(book, Final("A1"), Final("A1"))
    assert backlog(book) == (1, 1)
    # A second attempt says again how many recipients the message had.
    take(book, Tried("A1", ACME, 3))
    assert backlog(book) == (1, 1)
    take(book, Final("A1"), Gone("A1"))
    assert backlog(book) == (0, 0)
    assert len(book) == 0


def test_more_final_lines_than_recipients_count_none_below(book) -> None:
    take(book, Tried("A1", ACME, 1), *[Final("A1")] * 3)
    assert backlog(book) == (1, 0)


@pytest.mark.parametrize(
    ("came", "tried", "told"),
    [
        (Came("A1", "192.0.2.7", ""), None, Told(Backlog(1, 1, NOW), 1, 0)),
        (Came("A1", "192.0.2.7", ""), Tried("A1", NOBODY, 2), Told(Backlog(1, 2, NOW), 1, 0)),
        (Came("A1", "192.0.2.9", ""), Tried("A1", ACME, 2), Told(Backlog(1, 2, NOW), 1, 0)),
        (Came("A1", "127.0.0.1", "app"), Tried("A1", ACME, 2), Told(Backlog(1, 2, NOW), 1, 0)),
        # From a content filter, or in the instance of a lane: it was counted when it came.
        (Came("A1", "127.0.0.1", ""), Tried("A1", ACME, 2), Told(Backlog(1, 2, NOW), 0, 0)),
        # From sendmail(1).
        (None, Tried("A1", ACME, 2), Told(Backlog(1, 2, NOW), 0, 1)),
    ],
)
def test_whose_it_is_and_how_it_came(book, came, tried, told) -> None:
    take(book, *filter(None, (came, tried)))
    assert book.told(NOW, 100) == {"acme": told}


def test_mail_of_nobody_and_bounces_are_of_nobody(book) -> None:
    take(book, Tried("A1", NOBODY, 2), Tried("A2", "", 1), Came("A3", "198.18.0.1", ""))
    assert book.told(NOW, 100) == {}
    assert len(book) == 3
    assert book.untold == 1


def test_it_is_told_for_a_while_after_the_last_has_gone(book) -> None:
    take(book, Came("A1", "198.18.0.1", "acme"), Gone("A1"))
    assert book.told(NOW, 100) == {"acme": Told(Backlog(), 1, 0)}
    assert book.told(NOW + TELL_S, 100) == {}


def test_the_largest_are_told(book) -> None:
    take(book, Came("A1", "x", "acme"), Came("B1", "x", "beta"), Came("B2", "x", "beta"))
    assert list(book.told(NOW, 1)) == ["beta"]


def test_the_oldest_is_told(book) -> None:
    take(book, Came("A1", "x", "acme"), at=NOW)
    take(book, Came("A2", "x", "acme"), at=NOW + 10)
    take(book, Gone("A1"), at=NOW + 20)
    assert book.told(NOW + 60, 9)["acme"].backlog.oldest == NOW + 10


def test_a_survey_adds_what_was_there_before_and_counts_it_as_no_new_mail() -> None:
    book = QueueBook(of_sender, of_client)
    book.begin_survey()
    take(book, Tried("A1", ACME, 5), Came("A2", "x", "acme"), Gone("A9"))
    found = [
        Queued("A1", ACME, 2, NOW - 500),
        Queued("A3", ACME, 4, NOW - 900),
        Queued("A9", ACME, 1, NOW - 900),
        Queued("N1", NOBODY, 1, NOW),
    ]
    assert book.end_survey(found, NOW) == 2
    # A1 was tried since, A2 is being received, A9 has gone.
    assert book.told(NOW, 9) == {"acme": Told(Backlog(3, 10, NOW - 900), 1, 0)}
    take(book, Tried("A3", ACME, 9))
    assert book.told(NOW, 9)["acme"].others == 0
    assert backlog(book) == (3, 10)


def test_a_survey_takes_out_what_the_log_did_not_tell_of(book) -> None:
    take(book, Tried("A1", ACME, 1), Tried("A2", ACME, 3))
    book.begin_survey()
    take(book, Tried("A3", ACME, 1))
    assert book.end_survey([Queued("A2", ACME, 2, NOW)], NOW) == 1
    assert backlog(book) == (2, 3)


def test_a_message_that_never_came_to_an_end_is_taken_out_later(book) -> None:
    take(book, Came("A1", "x", "acme"))
    book.begin_survey()
    assert book.end_survey([], NOW + 10) == 0
    book.begin_survey()
    assert book.end_survey([], NOW + RECEIVE_S + 1) == 1
    assert backlog(book) == (0, 0)


def test_what_a_client_breaks_off_counts_until_the_next_message_of_its_smtpd(book) -> None:
    take(book, Came("A1", "x", "acme", "7"), Came("B1", "x", "beta", "8"))
    assert backlog(book) == (1, 1)
    take(book, Came("A2", "x", "acme", "7"))
    assert backlog(book) == (1, 1)
    take(book, Written("A2"), Came("A3", "x", "acme", "7"))
    assert backlog(book) == (2, 2)
    take(book, Tried("A3", ACME, 1), Came("A4", "x", "acme", "7"))
    assert backlog(book) == (3, 3)
    assert backlog(book, "beta") == (1, 1)


def test_mail_that_is_let_go_from_hold_comes_once_more(book) -> None:
    take(book, Came("A1", "198.18.0.1", "acme"), Tried("A1", ACME, 1), Gone("A1"))
    assert book.told(NOW, 100)["acme"].others == 0
    take(book, Tried("A1", ACME, 1))
    assert backlog(book) == (1, 1)
    assert book.told(NOW, 100)["acme"].others == 1


def test_a_clock_that_was_put_back_keeps_nobody_s_message_for_ever(book) -> None:
    take(book, Came("A1", "198.18.0.1", "acme"))
    book.begin_survey()
    assert book.end_survey([], NOW - 86_400) == 1
    assert backlog(book) == (0, 0)


def test_a_survey_of_a_part_takes_nothing_out(book) -> None:
    take(book, Tried("A1", ACME, 1), Tried("A2", ACME, 1))
    book.begin_survey()
    assert book.end_survey([Queued("A3", ACME, 1, NOW)], NOW, whole=False) == 1
    assert backlog(book) == (3, 3)


def test_a_survey_tells_whose_waiting_mail_is(book) -> None:
    take(book, Came("A1", "198.18.0.9", ""))
    assert book.untold == 1
    book.begin_survey()
    book.end_survey([Queued("A1", BETA, 2, NOW)], NOW)
    assert book.untold == 0
    assert book.told(NOW, 9) == {"beta": Told(Backlog(1, 2, NOW), 1, 0)}


def test_a_survey_that_failed_changes_nothing(book) -> None:
    take(book, Tried("A1", ACME, 1))
    book.begin_survey()
    assert book.end_survey(None, NOW) == 0
    assert backlog(book) == (1, 1)


def test_mail_that_was_there_before_the_first_survey_is_no_new_mail() -> None:
    book = QueueBook(of_sender, of_client)
    take(book, Tried("A1", ACME, 1))
    assert book.told(NOW, 9)["acme"].others == 0


def test_the_oldest_go_first_when_there_are_too_many() -> None:
    book = QueueBook(of_sender, of_client, max_messages=3)
    book.begin_survey()
    book.end_survey([], NOW)
    take(book, *(Tried(f"A{n}", ACME, 1) for n in range(5)))
    assert len(book) == 3
    assert backlog(book) == (3, 3)
    # The forgotten ones are tried again, and are no new mail.
    before = book.told(NOW, 9)["acme"].others
    take(book, Tried("A0", ACME, 1))
    assert book.told(NOW, 9)["acme"].others == before


def test_what_is_on_hold_is_not_outstanding_and_what_is_released_is(book) -> None:
    take(book, Tried("A1", ACME, 1), Gone("A1"))
    assert backlog(book) == (0, 0)
    take(book, Tried("A1", ACME, 1))
    assert backlog(book) == (1, 1)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 9), st.booleans()), max_size=60))
def test_after_a_survey_it_is_what_is_in_the_queue_whatever_lines_were_lost(
    steps: list[tuple[int, int, bool]],
) -> None:
    """A queue and its log, of which some lines are lost; at the end Postfix's own list."""
    book = QueueBook(of_sender, of_client)
    queue: dict[str, list[int]] = {}
    for kind, number, lost in steps:
        queue_id = f"A{number}"
        line: QueueLine | None = None
        if kind in (0, 1) and queue_id not in queue:
            queue[queue_id] = [number % 3 + 1]
            line = Came(queue_id, "x", "acme") if kind else None
        elif kind == 2 and queue_id in queue:
            line = Tried(queue_id, ACME, number % 3 + 1)
        elif kind == 3 and queue.get(queue_id, [0])[0] > 1:
            queue[queue_id][0] -= 1
            line = Final(queue_id)
        elif kind >= 4 and queue_id in queue:
            del queue[queue_id]
            line = Gone(queue_id)
        if line is not None and not lost:
            book.take(line, NOW)
    book.begin_survey()
    found = [Queued(queue_id, ACME, row[0], NOW) for queue_id, row in queue.items()]
    book.end_survey(found, NOW + RECEIVE_S + 1)
    assert len(book) == len(queue)
    assert backlog(book) == (len(queue), sum(row[0] for row in queue.values()))
