"""What status finds out, and how it words it."""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from gatepost.postfix.spec import MAPS_SOCKET, MILTER_SOCKET, POLICY_SOCKET
from gatepost.runtime.control import ControlServer
from gatepost.runtime.overview import age, ask_all, look, together
from gatepost.runtime.paths import ROLES
from gatepost.runtime.privileges import group_name
from gatepost.runtime.sockets import listen_unix
from gatepost.settings import Loader
from tests.runtime.place import Site
from tests.settled import write_settled

HEALTHY = {
    "version": "1",
    "supervisor": "none",
    "notes": [],
    "last_reload": None,
    "counts": {},
}


class Stage:
    """A site on which roles only seem to run."""

    def __init__(self, site: Site, stack: contextlib.ExitStack) -> None:
        self.site = site
        self._stack = stack
        site.run_dir.mkdir()
        site.socket_dir.mkdir()
        ours = "# gatepost begin: ours\n# gatepost end\n"
        write_settled(site.postfix_dir / "main.cf", site.main_cf + ours)
        self.digest = Loader(site.config).load().snapshot.digest

    def role(self, name: str, **answer: Any) -> None:
        whole = HEALTHY | {"digest": self.digest} | answer
        server = ControlServer(self.site.run_dir / f"{name}.ctl", {"status": lambda: whole})
        self._stack.callback(server.close)

    def socket(self, name: str, mode: int = 0o660) -> None:
        listener, _ = listen_unix(self.site.socket_dir / name, mode)
        self._stack.callback(listener.close)

    def all(self, **answers: Mapping[str, Any]) -> None:
        for role in ROLES:
            self.role(role, **answers.get(role, {}))
        for name in (POLICY_SOCKET, MAPS_SOCKET, MILTER_SOCKET):
            self.socket(name)


@pytest.fixture
def stage(site: Site) -> Iterator[Stage]:
    with contextlib.ExitStack() as stack:
        yield Stage(site, stack)


def test_all_is_well(stage: Stage) -> None:
    stage.all()
    found = look(stage.site.config)
    assert (found.down, found.attention) == ([], [])
    assert found.config == {
        "file": str(stage.site.config),
        "digest": stage.digest,
        "errors": [],
    }
    assert {each["path"]: each["problem"] for each in found.sockets} == {
        str(stage.site.socket_dir / name): None
        for name in (POLICY_SOCKET, MAPS_SOCKET, MILTER_SOCKET)
    }
    assert found.supervisor is None


def test_what_is_down_is_named(stage: Stage) -> None:
    stage.role("policy")
    stage.socket(POLICY_SOCKET)
    dead, _ = listen_unix(stage.site.socket_dir / MAPS_SOCKET, 0o660)
    dead.close()
    (stage.site.socket_dir / MILTER_SOCKET).write_text("")
    directory = stage.site.socket_dir
    assert look(stage.site.config).down == [
        "milter: not running",
        "back: not running",
        f"{directory}/maps.sock: nobody answers",
        f"{directory}/milter.sock: is no socket",
    ]


def test_a_socket_that_postfix_may_not_use_is_down(stage: Stage) -> None:
    stage.all()
    path = stage.site.socket_dir / MILTER_SOCKET
    path.chmod(0o600)
    [sentence] = look(stage.site.config).down
    assert sentence == f"{path}: has mode 0600 instead of 0660"
    if os.geteuid() == 0:
        os.chown(path, 0, 1)
        [sentence] = look(stage.site.config).down
        assert f"belongs to group {group_name(1)}, so Postfix cannot connect" in sentence
    assert stat.S_ISSOCK(path.stat().st_mode)


def test_without_postfix_the_rest_is_still_told(stage: Stage) -> None:
    stage.all()
    (stage.site.postfix_dir / "main.cf").unlink()
    found = look(stage.site.config)
    assert [role["running"] for role in found.roles.values()] == [True] * 3
    [sentence] = found.down
    assert "postconf" in sentence


def test_a_file_with_mistakes_does_not_hide_what_runs(stage: Stage) -> None:
    stage.all()
    with stage.site.config.open("a") as file:
        file.write("nonsense: 1\n")
    found = look(stage.site.config)
    assert found.config["digest"] is None
    assert "nonsense" in found.config["errors"][0]
    assert found.down == []
    [sentence] = found.attention
    assert "has errors, so a reload or a restart would be refused" in sentence


def test_a_file_that_is_no_yaml_is_told(stage: Stage) -> None:
    stage.site.config.write_text("{")
    found = look(stage.site.config)
    assert found.config["errors"]
    # Where the processes are is not known any more; the default place holds none.
    assert [role["running"] for role in found.roles.values()] == [False] * 3


@pytest.mark.parametrize(
    ("answers", "sentence"),
    [
        (
            {role: {"digest": "old"} for role in ROLES},
            "the configuration on disk is not the one in force; gatepost reload puts it in force",
        ),
        (
            {"milter": {"digest": "old"}},
            "the roles have different configurations in force; run gatepost reload",
        ),
        (
            {"milter": {"version": "2"}},
            "the roles run different versions of Gatepost; restart them",
        ),
        (
            {role: {"last_reload": {"ok": False, "errors": ["f:1: bad"]}} for role in ROLES},
            "policy, milter, back: the last reload was refused: f:1: bad",
        ),
        ({"policy": {"notes": ["keys end soon"]}}, "policy: keys end soon"),
        (
            {"policy": {"postfix_tls_level": "encrypt"}},
            (
                "smtp_tls_security_level is empty now, and encrypt is what the policy server joins "
                "to its answers; run gatepost reload"
            ),
        ),
        (
            {"policy": {"discovery": {"dane": True, "problem": "it answers for bogus.example"}}},
            "policy: DANE is off: it answers for bogus.example; run gatepost doctor",
        ),
        (
            {"policy": {"suppression": {"problem": "gatepost.db: no such file"}}},
            (
                "policy: the suppression list is not read, see suppression.on_failure: "
                "gatepost.db: no such file"
            ),
        ),
        (
            {"policy": {"counts": {"recorder_dropped": {"store": 3}}}},
            "policy: 3 observations were not stored (store)",
        ),
    ],
)
def test_what_to_look_at(stage: Stage, answers: dict[str, dict[str, Any]], sentence: str) -> None:
    stage.all(**answers)
    found = look(stage.site.config)
    assert found.attention == [sentence]
    assert found.down == []


def test_a_postfix_that_does_not_ask_is_told(stage: Stage) -> None:
    stage.all()
    write_settled(stage.site.postfix_dir / "main.cf", stage.site.main_cf)
    found = look(stage.site.config)
    [sentence] = found.attention
    assert sentence.startswith("Postfix is not attached")


def test_the_supervisor_is_known_by_its_file_and_its_command(stage: Stage) -> None:
    stage.all(milter={"supervisor": "gone"})
    path = stage.site.run_dir / "supervisor.json"
    # A process of that number that is no supervisor, as after a restart of the host.
    path.write_text(json.dumps({"pid": os.getpid(), "roles": {}}))
    found = look(stage.site.config)
    assert found.supervisor == {"pid": os.getpid(), "roles": {}, "running": False}
    assert found.down == [
        "milter: serves without its supervisor, which died; run gatepost serve again"
    ]
    for text in ("", "{}", '{"pid": null}', "[]"):
        path.write_text(text)
        assert look(stage.site.config).supervisor is None
    path.write_text(json.dumps({"pid": 2**22 + 1, "roles": {}}))
    found = look(stage.site.config)
    assert found.supervisor is not None
    assert not found.supervisor["running"]


def test_all_are_asked_and_each_answers_for_itself(tmp_path: Path) -> None:
    server = ControlServer(tmp_path / "policy.ctl", {"status": lambda: {"pid": 1}})
    assert ask_all(tmp_path, "status") == {
        "policy": {"running": True, "ok": True, "pid": 1},
        "milter": {"running": False, "reason": "not running"},
        "back": {"running": False, "reason": "not running"},
    }
    server.close()


def test_what_is_said_alike_is_told_once() -> None:
    said = [("a", "x"), ("b", "y"), ("b", "x")]
    assert together(said) == [("x", ["a", "b"]), ("y", ["b"])]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-5, "0 s"), (0, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (200_000, "2 d")],
)
def test_ages(seconds: float, words: str) -> None:
    assert age(1000.0, 1000.0 + seconds) == words


def test_the_log_that_is_not_read_and_mail_that_was_weaker(stage: Stage) -> None:
    stage.all(
        back={
            "maillog_trouble": "/var/log/mail.log: Permission denied",
            "counts": {"weaker_deliveries": {"all": 2.0}},
        }
    )
    attention = look(stage.site.config).attention
    assert "back: the mail log is not read: /var/log/mail.log: Permission denied" in attention
    assert "back: 2 deliveries had less TLS than asked; run gatepost tls share --check" in attention


@pytest.mark.parametrize(
    ("maillog", "enforced", "told"),
    [("", 2, True), ("/var/log/mail.log", 2, False), ("", 0, False)],
)
def test_enforced_tls_that_nobody_watches(
    stage: Stage, maillog: str, enforced: int, *, told: bool
) -> None:
    stage.all(back={"maillog": maillog, "modes": {"tls": {"enforce": enforced}}})
    sentence = (
        "back: TLS is enforced for 2 tenants and maillog is off: nothing tells of mail that goes "
        "out with less"
    )
    assert (sentence in look(stage.site.config).attention) == told


def test_trouble_with_webhooks_and_the_file_of_events(stage: Stage) -> None:
    stage.all(
        back={
            "webhooks_attention": ["webhook acme has been failing for 3 h: status 500"],
            "events_file_trouble": "/var/log/x.jsonl: No space left on device",
        }
    )
    assert look(stage.site.config).attention == [
        "back: webhook acme has been failing for 3 h: status 500",
        "back: events are not written to their file: /var/log/x.jsonl: No space left on device",
    ]
