"""``gatepost events`` as an administrator types it."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from gatepost.cli.app import build as command_line
from gatepost.feedback.events import Event, EventKind
from gatepost.store.open import open_events, open_webhooks
from gatepost.store.webhooks import Failed, Span, WebhookStore
from tests.runtime.consumer import SECRET, Consumer, answers

NOW = time.time()


def event(number: int, kind: EventKind = EventKind.DELIVERED, **fields: Any) -> Event:
    plain = {"tenant": "acme", "at": NOW - 3600 + number, **fields}
    return Event(f"e{number}", kind, **plain)


EVENTS = [
    event(1),
    event(2, tenant="zeta"),
    event(
        3,
        EventKind.BOUNCED,
        queue_id="4abc",
        sender="s@acme.example",
        recipient="r@b.example",
        details={"class": "invalid-recipient", "reply": '550 "no"\x1b[31m', "event": "x"},
    ),
    event(4, EventKind.STATUS_CHANGED, details={"from": "none", "to": "warn"}),
    event(5, EventKind.WARNING, tenant=""),
]


class Place:
    """A configuration and a store of its own, and commands upon them."""

    def __init__(self, directory: Path, url: str = "https://hooks.example/mail") -> None:
        self.config = directory / "gatepost.yaml"
        self.url = f"sqlite:///{directory}/gatepost.db"
        keys = directory / "keys.yaml"
        keys.write_text(f'current: 1\nkeys: {{1: {{secret: "{"ab" * 32}"}}}}\n')
        secret = directory / "hook.secret"
        secret.write_text(f"whsec_{base64.b64encode(SECRET).decode()}\n")
        for each in (keys, secret):
            each.chmod(0o600)
        self.config.write_text(
            f"postfix: {{config_dir: {directory}}}\nstate: {self.url}\n"
            "tenants:\n"
            "  acme: {logins: [acme], senders: [acme.example]}\n"
            "  zeta: {logins: [zeta], senders: [zeta.example]}\n"
            "webhooks:\n"
            f"  acme: {{url: {url}, secret_file: hook.secret, tenant: acme, allow_private: yes}}\n"
            f"  all: {{url: {url}, secret_file: hook.secret, events: [message.bounced]}}\n"
        )
        with contextlib.closing(open_events(self.url)) as events:
            events.add(EVENTS)

    @contextlib.contextmanager
    def hooks(self) -> Iterator[WebhookStore]:
        with contextlib.closing(open_webhooks(self.url)) as hooks:
            yield hooks

    def run(self, *arguments: str, status: int = 0) -> Result:
        command = ["events", *arguments, "--config", str(self.config)]
        result = CliRunner().invoke(command_line(), command)
        assert result.exit_code == status, result.output
        return result

    def lines(self, *arguments: str) -> list[str]:
        return self.run("tail", *arguments).stdout.splitlines()

    def ids(self, *arguments: str) -> list[str]:
        return [json.loads(line)["id"] for line in self.lines(*arguments, "--json")]

    def json(self, *arguments: str, status: int = 0) -> Any:
        return json.loads(self.run(*arguments, "--json", status=status).stdout)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_tail(place: Place) -> None:
    lines = place.lines()
    assert len(lines) == 5
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(EVENTS[2].at))
    assert lines[2] == (
        f"{moment} message.bounced tenant=acme queue_id=4abc from=<s@acme.example> "
        'to=<r@b.example> class=invalid-recipient reply="550 \\"no\\"\\x1b[31m" event_=x'
    )
    assert lines[3].endswith(" tenant.status_changed tenant=acme from=none to=warn")
    assert lines[4].endswith(" tenant.warning tenant=-")


def test_tail_chooses(place: Place) -> None:
    assert place.ids() == ["e1", "e2", "e3", "e4", "e5"]
    assert place.ids("-n", "2") == ["e4", "e5"]
    assert place.ids("-n", "0") == []
    assert place.ids("--tenant", "acme", "-n", "2") == ["e3", "e4"]
    assert place.ids("--tenant", "-") == ["e5"]
    assert place.ids("--type", "message.bounced", "--type", "tenant.warning") == ["e3", "e5"]
    assert place.ids("--since", "2h") == ["e1", "e2", "e3", "e4", "e5"]
    assert place.ids("--since", "1s") == []
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(EVENTS[3].at + 1))
    assert place.ids("--since", moment) == ["e5"]
    [line] = place.lines("--json", "--type", "message.bounced")
    assert json.loads(line)["position"] == 3
    assert json.loads(line)["data"]["recipient"] == "r@b.example"


@pytest.mark.parametrize("since", ["yesterday", "h", "2027-13-01"])
def test_tail_refuses_what_is_no_time(place: Place, since: str) -> None:
    assert "--since takes" in place.run("tail", "--since", since, status=2).stderr


def test_tail_follows_until_it_is_interrupted(place: Place) -> None:
    command = [sys.executable, "-m", "gatepost", "events", "tail", "--follow", "-n", "1", "--json"]
    tail = subprocess.Popen(
        [*command, "--config", str(place.config)], stdout=subprocess.PIPE, text=True
    )
    assert tail.stdout is not None
    assert json.loads(tail.stdout.readline())["id"] == "e5"
    with contextlib.closing(open_events(place.url)) as events:
        events.add([event(6), event(7)])
    assert [json.loads(tail.stdout.readline())["id"] for _ in range(2)] == ["e6", "e7"]
    os.kill(tail.pid, signal.SIGINT)
    assert tail.wait(20) == 0
    tail.stdout.close()


def test_without_a_database(tmp_path: Path) -> None:
    place = Place(tmp_path)
    (tmp_path / "gatepost.db").unlink()
    for command in (["tail"], ["webhooks"], ["replay", "--webhook", "acme", "--dead"]):
        assert "nothing was recorded yet" in place.run(*command, status=2).stderr


def test_webhooks(place: Place) -> None:
    now = time.time()
    acme, everyone = place.json("webhooks")["webhooks"]
    assert (acme["name"], acme["position"], acme["waiting"]) == ("acme", None, 0)
    assert "not begun" in place.run("webhooks", "acme").stdout
    with place.hooks() as hooks:
        hooks.enter(["acme", "all"], 0)
        hooks.give_up("acme", Span(0, 1), 1, Failed(now - 500, 0, "status 500: poison"))
        hooks.failed("acme", Failed(now - 120, now + 60, "status 503: later"))
        hooks.failed("all", Failed(NOW, NOW, "status 410", gone=True))
    acme, everyone = place.json("webhooks")["webhooks"]
    assert (acme["position"], acme["waiting"], acme["failures"], acme["gone"]) == (1, 2, 1, False)
    assert acme["last_error"]["reason"] == "status 503: later"
    assert [each["events"] for each in acme["dead_letters"]] == [1]
    assert (everyone["waiting"], everyone["gone"]) == (1, True)
    assert everyone["events"] == ["message.bounced"]
    text = place.run("webhooks", "acme").stdout
    assert "acme: https://hooks.example/mail\n" in text
    assert "tells:        all events of tenant acme\n" in text
    assert "state:        failing for 2 min, tried once; next in " in text
    assert "waiting:      2 events, the first is " in text
    assert "last success: never\n" in text
    assert "last error:   2 min ago: status 503: later\n" in text
    assert "dead letters: 1 event in 1 batch; the last: status 500: poison\n" in text
    assert "gone: its consumer answered 410" in place.run("webhooks").stdout
    assert "no webhook 'acmee'" in place.run("webhooks", "acmee", status=2).stderr


def test_replay_from_a_place(place: Place) -> None:
    with place.hooks() as hooks:
        hooks.enter(["acme"], 5)
        dry = place.run("replay", "--webhook", "acme", "--from", "2", "--dry-run").stdout
        assert dry == "acme: 2 events would be sent again, from position 2 on\n"
        assert hooks.states()["acme"].position == 5
        hooks.failed("acme", Failed(NOW, NOW + 3600, "status 500"))
        done = place.run("replay", "--webhook", "acme", "--from", "2").stdout
        assert done == "acme: 2 events are sent again, from position 2 on\n"
        assert (hooks.states()["acme"].position, hooks.states()["acme"].next_at) == (1, 0)
        found = place.json("replay", "--webhook", "acme", "--from", "6")
        assert (found["events"], found["skipped"]) == (0, 2)
        assert hooks.states()["acme"].position == 5
        found = place.json("replay", "--webhook", "acme", "--since", "2h")
        assert (found["events"], found["from"]) == (3, 1)
        assert hooks.states()["acme"].position == 0
        place.run("replay", "--webhook", "acme", "--since", "2h", status=1)
        assert (
            "--from 6 skips all"
            in place.run("replay", "--webhook", "acme", "--from", "7", status=2).stderr
        )
        # One that has never run begins there.
        place.run("replay", "--webhook", "all", "--from", "0")
        assert hooks.states()["all"].position == 0


def test_replay_of_dead_letters(place: Place) -> None:
    with place.hooks() as hooks:
        hooks.enter(["acme"], 0)
        nothing = place.run("replay", "--webhook", "acme", "--dead", status=1).stdout
        assert nothing == "acme: there are no dead letters\n"
        for begin in (0, 3):
            hooks.give_up("acme", Span(begin, begin + 3), 2, Failed(NOW, 0, "x"))
        dry = place.json("replay", "--webhook", "acme", "--dead", "--dry-run")
        assert (dry["batches"], dry["events"], dry["dry_run"]) == (2, 4, True)
        assert hooks.next_requeued("acme") is None
        done = place.run("replay", "--webhook", "acme", "--dead").stdout
        assert done == "acme: 4 events in 2 batches are sent again\n"
        assert hooks.burials()["acme"].requeued == 2


@pytest.mark.parametrize(
    "options", [[], ["--from", "1", "--dead"], ["--from", "1", "--since", "1h"]]
)
def test_replay_wants_one_thing(place: Place, options: list[str]) -> None:
    assert "say what" in place.run("replay", "--webhook", "acme", *options, status=2).stderr


def test_test(tmp_path: Path) -> None:
    consumer = Consumer()
    try:
        place = Place(tmp_path, consumer.url())
        consumer.behaviour = answers(200, "thank you")
        text = place.run("test", "acme").stdout
        [received] = consumer.take()
        assert received.events[0]["data"]["details"]["reason"] == "test"
        assert f"webhook-id: {received.id}" in text
        assert "taken, status 200\n  it said: thank you" in text
        consumer.behaviour = answers(302, Location="/elsewhere")
        found = place.json("test", "acme", status=1)
        assert (found["ok"], found["status"]) == (False, 302)
        assert "redirect to /elsewhere, which is not followed" in found["error"]
        refused = place.run("test", "all", status=1).stdout
        assert "not a public address, and allow_private is not set" in refused
        place.run("test", "nobody", status=2)
    finally:
        consumer.stop()
