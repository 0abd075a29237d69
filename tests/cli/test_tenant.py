"""gatepost tenant: pause, resume, list, show; and explain, which tells a paused tenant."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gatepost.cli.app import build as command_line
from gatepost.cli.tenant import apply, queue_work
from gatepost.feedback.events import Event, EventKind
from gatepost.feedback.rules import Step
from gatepost.feedback.status import NORMAL, Change, Part, Pause, Queued, Scope, Whose
from gatepost.postfix.spec import Hook
from gatepost.runtime.traffic.hands import Done
from gatepost.settings import Loader
from gatepost.store.held import Cause, Held
from gatepost.store.open import open_events, open_held, open_statuses

WHY = "complaints 0.70 % (7 of 1,000, at least 0.34 %)"


@pytest.fixture
def store(tmp_path: Path):
    with contextlib.closing(open_statuses(f"sqlite:///{tmp_path}/gatepost.db")) as opened:
        yield opened


@pytest.fixture
def gatepost(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("SUDO_USER", "anna")
    keys = tmp_path / "keys.yaml"
    keys.write_text(f"current: 1\nkeys:\n  1: {{secret: {bytes(range(32)).hex()}}}\n")
    keys.chmod(0o600)
    path = tmp_path / "gatepost.yaml"
    path.write_text(
        f"""state: sqlite:///{tmp_path}/gatepost.db
modes: {{default: observe}}
tenants:
  acme:
    logins: [acme]
    senders: [acme.example]
    feedback: {{campaign: X-Campaign, mail_type: X-Mail-Type, marketing: [newsletter]}}
    modes: {{ladder: enforce}}
  shop: {{logins: [shop], senders: [shop.example]}}
"""
    )

    def gatepost(*words, status=0):
        result = CliRunner().invoke(command_line(words), [*words, "--config", str(path)])
        assert result.exit_code == status, result.output
        return result

    return gatepost


def step(store, name="acme", at=1_790_000_000.0, mode="enforce"):
    change = Change(name, Whose.AUTOMATIC, at, "none", "pause-all", {"mode": mode, "why": WHY})
    assert store.set_step(change, NORMAL, Step.PAUSE_ALL, WHY)


def test_a_pause_has_reason_scope_end_and_who(store, gatepost):
    said = gatepost("tenant", "pause", "acme", "--reason", "list  bought", "--for", "24h").stdout
    assert said.startswith("acme: paused until 20")
    assert said.endswith("; in force within a second in every process of Gatepost\n")
    pause = store.find("acme").pause
    assert (pause.scope, pause.reason, pause.by) == (Scope.ALL, "list bought", "anna")
    assert pause.until - pause.since == 86_400
    gatepost("tenant", "pause", "acme", "--reason", "x", "--scope", "marketing")
    pause = store.find("acme").pause
    assert (pause.scope, pause.until) == (Scope.MARKETING, None)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--reason", "  "], "--reason is empty"),
        (["--reason", "gekaufte Listé"], "printable ASCII only"),
        (["--reason", "a\x07b"], "printable ASCII only"),
        (["--reason", "x" * 101], "has 101 characters, and at most 100 fit"),
        (["--reason", "x", "--for", "tomorrow"], "--for takes a period"),
        (["--reason", "x", "--scope", "some"], "--scope"),
        ([], "--reason"),
    ],
)
def test_what_a_pause_does_not_take(store, gatepost, words, complaint):
    assert complaint in gatepost("tenant", "pause", "acme", *words, status=2).output
    assert store.find("acme") == NORMAL


@pytest.mark.parametrize("command", [["pause", "--reason", "x"], ["resume"], ["show"]])
@pytest.mark.usefixtures("store")
def test_a_tenant_that_is_not_there(gatepost, command):
    said = gatepost("tenant", command[0], "acne", *command[1:], status=2).output
    assert 'there is no tenant "acne"' in said
    assert "acme" in said


def test_without_a_database_nothing_is_made(tmp_path, gatepost):
    said = gatepost("tenant", "pause", "acme", "--reason", "x", status=2).output
    assert "does not exist" in said
    assert not (tmp_path / "gatepost.db").exists()


def test_a_pause_of_marketing_says_if_nothing_is_marketing(store, gatepost):
    words = ("tenant", "pause", "shop", "--reason", "x", "--scope", "marketing")
    assert "shop lists no types under feedback.marketing" in gatepost(*words).output
    assert store.find("shop").pause is not None


def test_a_pause_of_a_part_stands_beside_that_of_the_whole(store, gatepost):
    words = ("tenant", "pause", "acme", "--queued", "keep", "--reason", "x")
    gatepost(*words)
    said = gatepost(*words, "--campaign", "spring", "--domain", "Example.ORG.").output
    assert said.startswith("acme: campaign spring to example.org paused; in force")
    found = json.loads(gatepost(*words, "--domain", "example.net", "--json").output)
    assert [each["domain"] for each in found["parts"]] == ["example.org", "example.net"]
    assert [each["queued"] for each in found["parts"]] == ["keep", "keep"]
    assert found["operator"]["scope"] == "all"
    shown = gatepost("tenant", "show", "acme", status=1).output
    assert "mail to example.net paused by anna" in shown
    said = gatepost("tenant", "resume", "acme", "--domain", "example.net").output
    assert said.startswith("acme: mail to example.net goes on (was: mail to example.net paused by")
    said = gatepost("tenant", "resume", "acme", "--domain", "example.net").output
    assert said.startswith("acme: mail to example.net was not paused")
    assert [each.domain for each in store.find("acme").parts] == ["example.org"]
    assert store.find("acme").pause is not None
    gatepost("tenant", "resume", "acme")
    assert store.find("acme").pauses_at(time.time()) == []


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["acme", "--queued", "retry", "--campaign", "spring"], "--queued retry is for a whole"),
        (["acme", "--scope", "marketing", "--domain", "a.example"], "does not go with --campaign"),
        (["acme", "--domain", "not a domain"], "--domain: "),
        (["shop", "--campaign", "spring"], "no header that names campaigns"),
    ],
)
def test_which_parts_there_are_not(store, gatepost, words, complaint):
    said = gatepost("tenant", "pause", *words, "--reason", "x", status=2).output
    assert complaint in said
    assert store.all() == {}


def test_the_last_tenant_is_paused_only_if_that_is_meant(store, gatepost):
    words = ("tenant", "pause", "shop", "--queued", "keep", "--reason", "x")
    gatepost("tenant", "pause", "acme", "--queued", "keep", "--reason", "x")
    said = gatepost(*words, status=2).output
    assert "shop is the last tenant that is not paused" in said
    assert "--yes" in said
    assert store.find("shop") == NORMAL
    # Less than the whole of it is no such thing.
    gatepost(*words, "--domain", "a.example")
    gatepost(*words, "--yes")
    assert store.find("shop").pause is not None


def test_the_platforms_own_tenant_is_paused_only_if_that_is_meant(tmp_path, store, gatepost):
    path = tmp_path / "gatepost.yaml"
    own = "platform: {feedback_domain: fbl.acme.example}\n"
    path.write_text(path.read_text() + own)
    words = ("tenant", "pause", "acme", "--queued", "keep", "--reason", "x")
    said = gatepost(*words, status=2).output
    assert "acme is the platform's own tenant: it owns the domain of fbl.acme.example" in said
    assert store.find("acme") == NORMAL
    gatepost("tenant", "pause", "shop", "--queued", "keep", "--reason", "x")
    gatepost(*words, "--yes")
    assert store.find("acme").pause is not None


def test_a_hold_that_cannot_be_made_leaves_the_pause_and_says_so(store, gatepost, monkeypatch):
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    words = ("tenant", "pause", "acme", "--domain", "a.example", "--reason", "x")
    said = gatepost(*words, status=1).output
    assert "queued mail goes on: putting mail on hold works for root only" in said
    assert store.find("acme").parts[0].queued is Queued.HOLD
    for command in (["hold", "acme"], ["release", "acme"], ["purge", "acme", "--yes"], ["apply"]):
        assert "root only" in gatepost("tenant", *command, status=2).output


def test_a_pause_says_where_nothing_asks(store, gatepost, monkeypatch):
    hooks = {Hook.MILTER}
    monkeypatch.setattr("gatepost.cli.tenant.pause.hooks_in_use", lambda _: hooks)
    words = ("tenant", "pause", "acme", "--reason", "x")
    said = gatepost(*words, status=1).output
    assert "queued mail goes on: Postfix does not ask the map transport" in said
    assert "nothing waits at RCPT TO" in said
    assert store.find("acme").pause is not None
    hooks.clear()
    said = gatepost(*words, "--campaign", "spring", "--queued", "keep").output
    assert "no message waits at its end" in said


def test_a_resume_takes_back_both(store, gatepost):
    step(store)
    gatepost("tenant", "pause", "acme", "--reason", "list bought")
    said = gatepost("tenant", "resume", "acme", "--reason", "list cleaned").output
    assert said.startswith("acme: active (was: paused by anna since 20")
    assert f"ladder: pause-all since 2026-09-21 14:13 UTC: {WHY}" in said
    status = store.find("acme")
    assert (status.step, status.pause) == (Step.NONE, None)
    assert abs(status.counted_from - time.time()) < 60
    assert "acme: was active" in gatepost("tenant", "resume", "acme").output


def test_the_list_shows_all_and_those_held(store, gatepost):
    assert gatepost("tenant", "list").output == "acme  active\nshop  active\n"
    said = gatepost("tenant", "list", "--held").output
    assert said == "no tenant is paused or on a step of the ladder\n"
    step(store, "shop", mode="observe")
    assert gatepost("tenant", "list", "--held").output == (
        "shop  ladder: pause-all since 2026-09-21 14:13 UTC (mode observe: it has no effect): "
        f"{WHY}\n"
    )
    (found,) = json.loads(gatepost("tenant", "list", "--held", "--json").output)
    assert (found["tenant"], found["operator"]) == ("shop", None)
    assert (found["ladder"]["step"], found["ladder"]["mode"]) == ("pause-all", "observe")


def test_show_tells_status_rates_and_history(tmp_path, store, gatepost):
    now = time.time()
    with contextlib.closing(open_events(f"sqlite:///{tmp_path}/gatepost.db")) as events:
        for kind, count in ((EventKind.DELIVERED, 1000), (EventKind.COMPLAINED, 7)):
            events.add(
                [
                    Event(f"{kind}{n}", kind, now, "acme", provider="yahoodns.net")
                    for n in range(count)
                ]
            )
    assert gatepost("tenant", "show", "shop").output.splitlines() == [
        "shop         active",
        "marketing    none is set, so nothing waits for marketing",
    ]
    step(store, at=now)
    said = gatepost("tenant", "show", "acme", status=1).output.splitlines()
    assert said[0].startswith("acme         ladder: pause-all since ")
    assert said[1] == "marketing    newsletter"
    assert said[2] == f"rates        {WHY}: pause-marketing"
    assert said[3] == "             hard bounces 0.00 % (0 of 1,000, at least 0.00 %): none"
    assert said[4].startswith("changes      20")
    assert said[4].endswith(f" UTC automatic: none to pause-all, {WHY}")
    found = json.loads(gatepost("tenant", "show", "acme", "--json", status=1).output)
    assert found["rates"][0]["count"] == 7
    assert found["rates"][0]["step"] == "pause-marketing"
    assert found["history"][0]["to"] == "pause-all"


def test_explain_tells_a_paused_tenant(store, gatepost):
    gatepost("tenant", "pause", "acme", "--reason", "list bought")
    words = ("explain", "--login", "acme", "--sender", "n@acme.example")
    said = gatepost(*words, "--recipient", "u@example.org", status=1).output
    assert "refused: 450 4.7.1 sending of acme is paused: list bought, since 20" in said
    store.resume("acme", time.time(), "root", "")
    gatepost(*words, "--recipient", "u@example.org")


HELD = Held("/etc/postfix", "4AAAAAAAzA", 1, "acme", Cause.PAUSE, 1.0)


@pytest.fixture
def loaded(tmp_path, store, gatepost):  # noqa: ARG001  # they make the files
    with contextlib.closing(open_held(f"sqlite:///{tmp_path}/gatepost.db")) as held:
        held.add([HELD, replace(HELD, queue_id="4BBBBBBBzB")])
    return Loader(tmp_path / "gatepost.yaml").load()


def test_no_pause_waits_until_mail_of_another_tenant_was_let_go(store, loaded, monkeypatch):
    done = []
    monkeypatch.setattr(
        apply, "stop_queued", lambda at, *_, **__: done.append(at.tenant.id) or {"held": 1}
    )
    monkeypatch.setattr(
        apply, "let_go", lambda at, *_, **__: done.append(f"go {at.tenant.id}") or Done(2)
    )
    store.pause("shop", Pause(Scope.ALL, "x", 1.0, queued=Queued.HOLD))
    found = list(apply._apply(loaded, store.all(), 100))
    assert done == ["shop", "go acme"]
    assert found == [{"tenant": "shop", "held": 1}, {"tenant": "acme", "released": 2}]
    done.clear()
    list(apply._apply(loaded, store.all(), 100, lambda _: True))
    assert done == ["shop"]


def test_a_watch_looks_anew_where_a_pause_has_changed(store):
    stop, version = threading.Event(), store.version()
    assert not apply._moved(stop, store, version, 0.0)
    store.pause("shop", Pause(Scope.ALL, "x", 1.0))
    assert apply._moved(stop, store, version, 0.0)
    stop.set()
    assert apply._moved(stop, store, store.version(), 0.0)


def test_letting_go_ends_where_a_pause_holds_the_same_again(store, loaded, monkeypatch):
    seen = []

    def release(_config_dir, _rows, _held, *, stopped, **_):
        seen.append(stopped(0.0))
        store.pause("acme", Pause(Scope.DOMAIN, "x", 1.0, queued=Queued.HOLD, domain="a.example"))
        seen.append(stopped(0.0))
        store.pause("acme", Pause(Scope.ALL, "x", 1.0, queued=Queued.HOLD))
        seen.append(stopped(0.0))
        return Done()

    monkeypatch.setattr(queue_work, "release", release)
    with queue_work.desk(loaded, loaded.snapshot.tenants.by_id["acme"]) as at:
        queue_work.let_go(at, at.held_rows(None, None), Part(), "", 100, quiet=True)
    assert seen == [False, False, True]


@pytest.mark.usefixtures("loaded")
def test_a_resume_says_what_a_new_pause_keeps_on_hold(store, gatepost, monkeypatch):
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr("gatepost.cli.tenant.resume.let_go", lambda *_, **__: Done(1))
    store.pause("acme", Pause(Scope.ALL, "x", 1.0, queued=Queued.HOLD))
    said = gatepost("tenant", "resume", "acme", status=1).output
    assert "1 message let go on this node" in said
    assert "1 message left on hold, as a new pause is about the same" in said
