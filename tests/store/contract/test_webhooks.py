"""What every store must do with the state of webhooks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from gatepost.store.open import open_readers, open_webhooks
from gatepost.store.webhooks import MAX_ERROR, Burials, Failed, Span, WebhookState, WebhookStore

NOW = 1_800_000_000.0
FAILED = Failed(NOW, NOW + 5, "status 500")


@pytest.fixture
def hooks(url: str) -> Iterator[WebhookStore]:
    with contextlib.closing(open_webhooks(url)) as opened:
        opened.enter(["a", "b"], 10)
        yield opened


def state(hooks: WebhookStore, name: str = "a") -> WebhookState:
    found = hooks.state(name)
    assert found is not None
    return found


def test_a_new_webhook_begins_where_it_is_told_and_an_old_one_stays(hooks: WebhookStore) -> None:
    hooks.enter(["a", "c"], 20)
    assert {name: each.position for name, each in hooks.states().items()} == {
        "a": 10,
        "b": 10,
        "c": 20,
    }
    assert state(hooks) == WebhookState("a", 10)
    assert hooks.state("x") is None


def test_one_at_a_time_sends_for_a_webhook(hooks: WebhookStore) -> None:
    assert hooks.claim("a", "one", 30)
    assert not hooks.claim("a", "two", 30)
    assert hooks.claim("a", "one", 30)
    assert hooks.claim("b", "two", 30)
    assert not hooks.claim("x", "one", 30)
    hooks.release("one")
    assert hooks.claim("a", "two", 30)
    assert not hooks.claim("b", "one", 30)
    assert state(hooks) == WebhookState("a", 10)


def test_who_is_not_heard_of_is_replaced(hooks: WebhookStore) -> None:
    assert hooks.claim("a", "one", 0)
    assert hooks.claim("a", "two", 30)
    assert not hooks.claim("a", "one", 30)


def test_a_batch_is_begun_and_told(hooks: WebhookStore) -> None:
    assert hooks.begin("a", 10, 13)
    assert state(hooks).batch_end == 13
    hooks.failed("a", FAILED)
    assert hooks.told("a", Span(10, 13), NOW + 7)
    assert state(hooks) == WebhookState(
        "a", 13, success_at=NOW + 7, error_at=NOW, error="status 500"
    )
    assert state(hooks, "b") == WebhookState("b", 10)


def test_whoever_was_moved_meanwhile_stays_there(hooks: WebhookStore) -> None:
    assert hooks.begin("a", 10, 13)
    hooks.move("a", 3)
    assert not hooks.begin("a", 10, 13)
    assert not hooks.told("a", Span(10, 13), NOW)
    assert not hooks.pass_over("a", Span(10, 13))
    assert not hooks.give_up("a", Span(10, 13), 3, FAILED)
    assert state(hooks) == WebhookState("a", 3)
    assert hooks.dead() == []
    assert hooks.pass_over("a", Span(3, 9))
    assert state(hooks).position == 9


def test_failures_add_up_until_a_success(hooks: WebhookStore) -> None:
    hooks.failed("a", FAILED)
    hooks.failed("a", Failed(NOW + 5, NOW + 15, "x" * 2 * MAX_ERROR))
    found = state(hooks)
    assert (found.tries, found.first_at, found.next_at) == (2, NOW, NOW + 15)
    assert (found.error_at, found.error) == (NOW + 5, "x" * MAX_ERROR)
    hooks.failed("b", Failed(NOW, NOW, "status 410", gone=True))
    assert state(hooks, "b").gone
    hooks.recover(["a", "b"])
    # A batch is given up in time however often it is hurried.
    assert (state(hooks).tries, state(hooks).first_at, state(hooks).next_at) == (2, NOW, 0)
    assert not state(hooks, "b").gone
    assert state(hooks, "b").tries == state(hooks, "b").first_at == 0
    # What went wrong stays to be read.
    assert state(hooks, "b").error == "status 410"


def test_a_batch_that_is_given_up_is_a_dead_letter_and_the_next_one_begins_afresh(
    hooks: WebhookStore,
) -> None:
    hooks.begin("a", 10, 13)
    hooks.failed("a", FAILED)
    assert hooks.give_up("a", Span(10, 13), 2, Failed(NOW + 9, 0, "status 503"))
    found = state(hooks)
    assert (found.position, found.batch_end, found.tries, found.first_at) == (13, 0, 0, 0)
    [letter] = hooks.dead("a")
    assert (letter.span, letter.events, letter.at, letter.tries, letter.error) == (
        *(Span(10, 13), 2, NOW + 9, 2, "status 503"),
    )
    assert not letter.requeued
    assert hooks.dead("b") == []
    assert hooks.dead() == [letter]


def test_dead_letters_are_tried_again_in_order(hooks: WebhookStore) -> None:
    for begin in (10, 13):
        hooks.give_up("a", Span(begin, begin + 3), 3, FAILED)
    hooks.give_up("b", Span(10, 11), 1, FAILED)
    assert hooks.burials() == {"a": Burials(2, 6, 0), "b": Burials(1, 1, 0)}
    assert hooks.next_requeued("a") is None
    hooks.failed("a", FAILED)
    assert [each.span.begin for each in hooks.requeue("a")] == [10, 13]
    assert hooks.burials()["a"] == Burials(2, 6, 2)
    # It is to be tried now.
    assert state(hooks).next_at == 0
    first = hooks.next_requeued("a")
    assert first is not None
    assert (first.span, first.requeued) == (Span(10, 13), True)
    hooks.failed("a", FAILED)
    hooks.raise_dead(first, NOW + 1)
    found = state(hooks)
    assert (found.position, found.tries, found.success_at) == (16, 0, NOW + 1)
    second = hooks.next_requeued("a")
    assert second is not None
    assert second.span == Span(13, 16)
    hooks.failed("a", FAILED)
    hooks.bury(second, Failed(NOW + 2, NOW + 3, "still"))
    assert hooks.next_requeued("a") is None
    [left] = hooks.dead("a")
    assert (left.id, left.tries, left.error, left.at) == (second.id, 3, "still", NOW + 2)
    assert (state(hooks).position, state(hooks).tries) == (16, 0)
    assert hooks.next_requeued("b") is None
    hooks.forget(left)
    assert hooks.burials() == {"b": Burials(1, 1, 0)}
    assert state(hooks).success_at == NOW + 1


def test_pruning(hooks: WebhookStore) -> None:
    hooks.give_up("a", Span(10, 13), 3, FAILED)
    hooks.give_up("a", Span(13, 14), 1, Failed(NOW + 5, 0, "x"))
    assert hooks.prune(NOW + 5) == 1
    assert [each.span.begin for each in hooks.dead()] == [13]


def test_readers(local: str) -> None:
    with contextlib.closing(open_readers(local)) as readers:
        assert readers.position("file", 7) == 7
        assert readers.position("file", 9) == 7
        readers.read("file", 12)
        assert readers.position("file", 0) == 12
