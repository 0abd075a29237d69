"""What every store must do with the messages that are held."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace

import pytest

from gatepost.store.held import Cause, Held, HeldStore
from gatepost.store.open import open_held

ONE = Held("/etc/postfix", "4jYy8m18F9zKmMf", 1795559208, "acme", Cause.OPERATOR, 1_800_000_000.5)
TWO = replace(ONE, queue_id="B", cause=Cause.PAUSE, at=ONE.at + 1, campaign="a\udcff", domain="d.e")
THREE = replace(ONE, instance="/etc/postfix-bulk", tenant="other", at=ONE.at + 2)


@pytest.fixture
def held(url: str) -> Iterator[HeldStore]:
    with contextlib.closing(open_held(url)) as opened:
        yield opened


def test_what_is_held_is_kept_until_it_is_removed(held):
    assert held.all() == []
    held.add([TWO, ONE, THREE])
    two = replace(TWO, campaign="a\\udcff")
    assert held.all() == [ONE, two, THREE]
    assert held.all("acme") == [ONE, two]
    held.remove([("/etc/postfix", ONE.queue_id), ("/nowhere", "X")])
    assert held.all() == [two, THREE]


def test_a_message_has_one_row(held):
    held.add([ONE])
    held.add([replace(ONE, cause=Cause.PAUSE)])
    assert [each.cause for each in held.all()] == [Cause.PAUSE]


def test_some_are_found_by_instance_and_queue_id(held):
    held.add([ONE, TWO, THREE])
    assert held.find([("/etc/postfix-bulk", ONE.queue_id), ("/nowhere", "B")]) == [THREE]
