"""Many rows in one statement."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from gatepost.feedback.events import Event, EventKind
from gatepost.store.sqlite_events import SqliteEvents
from gatepost.store.sqlite_rows import AT_ONCE


@pytest.mark.parametrize("kind", [EventKind.ACCEPTED, EventKind.BOUNCED])
@pytest.mark.parametrize("count", [1, AT_ONCE, 2 * AT_ONCE + 1])
def test_of_many_events_each_is_stored_once_in_its_place(
    tmp_path: Path, kind: EventKind, count: int
) -> None:
    events = [Event(f"x-{number}", kind, 1e9 + number, "acme") for number in range(count)]
    with contextlib.closing(SqliteEvents(tmp_path / "g.db")) as store:
        assert store.add(events[:1]) == ["x-0"]
        # What comes again, in this batch or from before, has its place already.
        new = [event.id for event in events[1:]]
        assert store.add([*events, *events]) == new
        assert [each.event for each in store.after(0, 2 * count)] == events
        assert sum(each.count for each in store.counts(1e9, 1e9 + count)) == count
