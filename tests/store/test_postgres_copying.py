"""Moving a platform from a file to a server."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gatepost.cli.app import build
from gatepost.errors import StoreUnavailable
from gatepost.feedback.events import Event, EventKind
from gatepost.feedback.rules import SuppressionRules
from gatepost.feedback.status import Pause, Scope
from gatepost.feedback.suppression import GLOBAL, Reason, Suppressed
from gatepost.modes import Feature, Observation
from gatepost.store import copying, open_store
from gatepost.store.api_tenants import Mark, TenantChange
from gatepost.store.api_tokens import ApiToken
from gatepost.store.copying import copy_state
from gatepost.store.gmail import GmailDay
from gatepost.store.messages import Message
from gatepost.store.open import (
    open_api_tenants,
    open_api_tokens,
    open_events,
    open_gmail,
    open_messages,
    open_received,
    open_statuses,
    open_suppression,
    open_webhooks,
)
from gatepost.store.received import Received
from gatepost.store.webhooks import Failed, Span

NOW = 1_800_000_000.0
RULES = SuppressionRules()


@pytest.fixture
def url(postgres) -> str:
    postgres.empty()
    return postgres.url


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a file with something of everything in it."""
    path = tmp_path / "gatepost.db"
    fill(f"sqlite:///{path}")
    return path


def fill(url: str) -> None:
    def use(opener: Callable[..., Any], *calls: Callable[[Any], object]) -> None:
        with contextlib.closing(opener(url)) as store:
            for call in calls:
                call(store)

    some = [Event(f"e{n}", kind, NOW + n, "acme", campaign=f"c{n}", details={"class": "x"})
            for n, kind in enumerate([EventKind.BOUNCED, EventKind.COMPLAINED] * 5)]  # fmt: skip
    use(open_events, lambda s: s.add(some), lambda s: s.prune(NOW + 3))
    use(open_gmail, lambda s: s.add([GmailDay(1, "a.example", "tacme", 0.25)]))
    use(
        open_webhooks,
        lambda s: s.enter(["hook"], 2),
        lambda s: s.begin("hook", 2, 4),
        lambda s: s.give_up("hook", Span(2, 4), 2, Failed(NOW, 0, "500")),
        lambda s: s.requeue("hook"),
        lambda s: s.failed("hook", Failed(NOW, NOW, "410", True)),
    )
    entries = [Suppressed("acme", "ann@example.org", Reason.COMPLAINT, NOW, None, "e1", "n\0x"),
               Suppressed(GLOBAL, "bob@example.org", Reason.INVALID, NOW)]  # fmt: skip
    use(
        open_suppression,
        lambda s: s.add(entries, RULES),
        lambda s: s.soft_bounce("zeta", "ann@example.org", NOW, "e1", RULES),
    )
    use(
        open_statuses,
        lambda s: s.pause("acme", Pause(Scope.ALL, "why", NOW, NOW + 9, "root")),
        lambda s: s.pause("acme", Pause(Scope.CAMPAIGN, "why", NOW, None, "root", campaign="c")),
    )
    use(open_messages, lambda s: s.add([Message(b"12345678", NOW, "acme", "Q", "s@a.example")]))
    use(open_received, lambda s: s.add(Received("r1", NOW, "bounce", "dsn", "x", "ok")))
    use(
        open_store,
        lambda s: s.add([Observation(NOW, "acme", Feature.TAG, "add-header", "d")]),
        lambda s: s.roll_up(NOW + 7200),
        lambda s: s.add([Observation(NOW + 9, "acme", Feature.TAG, "add-header", "d")]),
    )
    use(open_api_tenants, lambda s: s.apply(Mark(), [TenantChange("api-made", "{}")], "root", NOW))
    use(open_api_tokens, lambda s: s.add(ApiToken("billing", "", True, NOW, "root"), b"d" * 32))


def all_of(url: str, local: str) -> dict[str, Any]:
    """Return what a store has, as its readers see it."""
    found: dict[str, Any] = {}

    def see(name: str, opener: Callable[..., Any], call: Callable[[Any], Any]) -> None:
        with contextlib.closing(opener(url)) as store:
            found[name] = call(store)

    def suppression(where: str) -> Any:
        return open_suppression(where, local=local)

    see(
        "events",
        open_events,
        lambda s: (s.after(0, 99), s.end(), sorted(s.counts(0, 2 * NOW), key=repr)),
    )
    see("gmail", open_gmail, lambda s: s.shares(0, 9e9))
    see("hooks", open_webhooks, lambda s: (s.states(), s.dead(), s.burials()))
    see("entries", suppression, lambda s: (s.page().entries, s.lists()))
    see("found", suppression, lambda s: s.find("acme", "Ann@example.org", NOW, RULES))
    see("statuses", open_statuses, lambda s: (s.all(), s.history("acme", 9)))
    see("messages", open_messages, lambda s: s.find(b"12345678"))
    see("received", open_received, lambda s: s.latest(9))
    see("what-if", open_store, lambda s: s.what_if(0))
    see("tenants", open_api_tenants, lambda s: s.all())
    see("tokens", open_api_tokens, lambda s: s.all())
    return found


def test_everything_is_there_and_goes_on(url: str, file: Path) -> None:
    local = f"sqlite:///{file}"
    copied = copy_state(file, url)
    assert all(each.changed == each.rows for each in copied)
    assert {each.table for each in copied if not each.rows} == set()
    before = all_of(local, local)
    assert all_of(url, local) == before
    # What comes now stands behind what was copied.
    with contextlib.closing(open_events(url)) as events:
        assert events.add([Event("new", EventKind.BOUNCED, NOW, "acme")]) == ["new"]
        assert events.end() == before["events"][1] + 1
        assert events.add([Event("e1", EventKind.COMPLAINED, NOW, "acme")]) == []
    with contextlib.closing(open_webhooks(url)) as hooks:
        hooks.give_up("hook", Span(4, 5), 1, Failed(NOW, 0, "500"))
        assert len(hooks.dead()) == 2
    with contextlib.closing(open_suppression(url, local=local)) as store:
        assert store.add([Suppressed("new", "a@b.example", Reason.MANUAL, NOW)], RULES) == 1
    with contextlib.closing(open_received(url)) as received:
        received.add(Received("r2", NOW, "bounce", "dsn", "x", "ok"))
        assert [each.id for each in received.latest(9)] == ["r2", "r1"]


def test_done_again_it_brings_only_what_has_changed(
    url: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "ROWS", 2)
    local = f"sqlite:///{file}"
    copy_state(file, url)
    assert sum(each.changed for each in copy_state(file, url)) == 0
    with contextlib.closing(open_events(local)) as events:
        events.add([Event("later", EventKind.BOUNCED, NOW, "acme")])
    with contextlib.closing(open_statuses(local)) as statuses:
        statuses.resume("acme", NOW + 10, "root", "")
    with contextlib.closing(open_api_tokens(local)) as tokens:
        assert tokens.revoke("billing")
    with contextlib.closing(open_suppression(local)) as store:
        assert store.remove("acme", "ann@example.org", RULES)
    with contextlib.closing(open_store(local)) as observations:
        assert observations.roll_up(NOW + 7200) == 1
    changes = {each.table: each.changed for each in copy_state(file, url) if each.changed}
    assert changes == {
        "events": 2,
        "event_ids": 1,
        "event_counts": 2,
        "tenant_status": 1,
        "tenant_pauses": 1,
        "api_tokens": 1,
        "suppression": 1,
        "observations": 1,
        "observation_hours": 1,
        "observation_examples": 1,
    }
    assert all_of(url, local) == all_of(local, local)


def test_a_copy_that_was_broken_off_is_simply_done_again(
    url: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "ROWS", 2)
    put, batches = copying._Target.put, []

    def put_or_fail(self: Any, table: Any, rows: Any) -> int:
        batches.append(table.name)
        if len(batches) > 7:
            raise StoreUnavailable("the server went away")
        return put(self, table, rows)

    monkeypatch.setattr(copying._Target, "put", put_or_fail)
    with pytest.raises(StoreUnavailable, match="went away"):
        copy_state(file, url)
    monkeypatch.setattr(copying._Target, "put", put)
    copy_state(file, url)
    assert all_of(url, f"sqlite:///{file}") == all_of(f"sqlite:///{file}", f"sqlite:///{file}")


@pytest.mark.parametrize("what", ["events", "suppression_owners"])
def test_a_server_that_holds_anything_else_is_refused(
    url: str, file: Path, tmp_path: Path, what: str
) -> None:
    if what == "events":
        with contextlib.closing(open_events(url)) as events:
            events.add([Event("other", EventKind.BOUNCED, NOW, "acme")] * 3)
    else:
        other = tmp_path / "other"
        other.mkdir()
        with contextlib.closing(open_suppression(url, local=f"sqlite:///{other}/x.db")) as store:
            store.add([Suppressed("other", "a@b.example", Reason.MANUAL, NOW)], RULES)
    with pytest.raises(StoreUnavailable, match=f"has {what} that do not come from this file"):
        copy_state(file, url)


def test_what_the_api_has_changed_on_the_server_is_not_undone(url: str, file: Path) -> None:
    copy_state(file, url)
    copy_state(file, url)
    with contextlib.closing(open_api_tenants(url)) as tenants:
        assert tenants.apply(tenants.mark(), [TenantChange("new", "{}")], "root", NOW)
        with pytest.raises(StoreUnavailable, match="has tenants of the API that were changed"):
            copy_state(file, url)
        assert tenants.find("new") is not None


def test_the_command(url: str, file: Path) -> None:
    def run(*words: str) -> Any:
        return CliRunner().invoke(build(["state"]), ["state", "copy", *words])

    ways = ("--from", f"sqlite:///{file}", "--to", url)
    shown = run(*ways, "--dry-run", "--json")
    assert shown.exit_code == 0, shown.output
    assert all(each["changed"] == 0 for each in json.loads(shown.output)["tables"])
    done = run(*ways)
    assert done.exit_code == 0
    assert "api_tokens: 1 rows, 1 new or different" in done.output
    with contextlib.closing(sqlite3.connect(file)) as db:
        db.execute("delete from events")
        db.commit()
    refused = run(*ways)
    assert refused.exit_code == 2
    assert "copy to an empty database" in refused.output
    for wrong in (("--from", url, "--to", url), ("--from", f"sqlite:///{file}", "--to", "x")):
        assert run(*wrong).exit_code == 2
    missing = run("--from", f"sqlite:///{file}.x", "--to", url)
    assert missing.exit_code == 2
    assert "does not exist" in missing.output
