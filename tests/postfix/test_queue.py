"""Reading and moving what waits in Postfix's queue, with scripts in the place of its commands."""

from __future__ import annotations

import json
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from gatepost.errors import PostfixUnavailable
from gatepost.postfix import commands, queue
from gatepost.postfix.hooks_in_use import hooks_in_use
from gatepost.postfix.queue import QueuedRecipient, delete, hold, read_queue, release, requeue
from gatepost.postfix.spec import Hook

Command = Callable[[str, str], None]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    directory = tmp_path / "bin"
    directory.mkdir()
    monkeypatch.setattr(commands, "_SEARCH", f"{directory}:{os.defpath}")

    def put(name: str, script: str) -> None:
        (directory / name).write_text(f"#!/bin/sh\n{script}\n")
        (directory / name).chmod(0o755)

    put("postconf", "echo")
    return put


def entry(**values: object) -> str:
    return json.dumps(
        {
            "queue_name": "deferred",
            "queue_id": "4jYy8m18F9zKmMf",
            "arrival_time": 1795559208,
            "message_size": 244,
            "forced_expire": False,
            "sender": "a@acme.example",
            "recipients": [{"address": "x@dest.example", "delay_reason": "busy"}],
            **values,
        }
    )


def test_messages_of_all_instances(command: Command, tmp_path: Path) -> None:
    command("postconf", "echo /second, /third")
    (tmp_path / "line").write_text(entry() + "\n")
    command("postqueue", f'[ "$2" = /third ] && exit 0; cat {tmp_path}/line')
    found = list(read_queue(Path("/first")))
    assert [each.instance for each in found] == [Path("/first"), Path("/second")]
    first = found[0]
    assert (first.queue_name, first.queue_id, first.arrival, first.size, first.sender) == (
        "deferred",
        "4jYy8m18F9zKmMf",
        1795559208,
        244,
        "a@acme.example",
    )
    assert first.recipients == (QueuedRecipient("x@dest.example", "busy"),)


def test_hostile_addresses_and_the_null_sender(command: Command, tmp_path: Path) -> None:
    hostile = '"x\\"\n\x01 ALL"@dest.example'
    lines = [
        entry(sender="MAILER-DAEMON", recipients=[{"address": hostile}]),
        entry(sender="MAILER-DAEMON@acme.example", recipients=[]),
    ]
    (tmp_path / "lines").write_bytes("\n".join(lines).encode() + b"\n")
    command("postqueue", f"cat {tmp_path}/lines")
    null, other = read_queue(Path("/etc/x"))
    assert null.sender == ""
    assert null.recipients == (QueuedRecipient(hostile, ""),)
    assert other.sender == "MAILER-DAEMON@acme.example"


def test_octets_that_are_no_utf_8(command: Command, tmp_path: Path) -> None:
    (tmp_path / "lines").write_bytes(entry().encode().replace(b"a@acme", b"\xe4\xff@acme") + b"\n")
    command("postqueue", f"cat {tmp_path}/lines")
    assert [each.sender for each in read_queue(Path("/etc/x"))] == ["\udce4\udcff@acme.example"]


def test_a_message_is_there_before_the_queue_has_ended(command: Command, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "never")
    (tmp_path / "line").write_text(entry() + "\n")
    command("postqueue", f"cat {tmp_path}/line; exec cat {tmp_path}/never")
    messages = read_queue(Path("/etc/x"))
    assert next(messages).queue_id == "4jYy8m18F9zKmMf"
    # Ends the command: it would wait for ever.
    messages.close()  # type: ignore[attr-defined]


def test_a_long_queue_takes_no_memory(command: Command, tmp_path: Path) -> None:
    many = [{"address": f"user{n}@dest.example", "delay_reason": "busy"} for n in range(3000)]
    (tmp_path / "lines").write_text((entry() + "\n") * 5000 + entry(recipients=many) + "\n")
    command("postqueue", f"cat {tmp_path}/lines")
    tracemalloc.start()
    try:
        found = sum(len(each.recipients) for each in read_queue(Path("/etc/x")))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found == 8000
    assert peak < 4 << 20


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo 'postqueue: fatal: no such thing' >&2; exit 75", "no such thing"),
        ("exit 1", "exit status 1"),
        ("echo '{\"queue_name\": 1'", "not understood"),
        ("echo '{}'", "not understood"),
        ("exec sleep 9", "silent"),
    ],
)
def test_a_queue_that_cannot_be_read(
    command: Command, monkeypatch: pytest.MonkeyPatch, script: str, said: str
) -> None:
    monkeypatch.setattr(queue, "SILENCE_S", 0.2)
    command("postqueue", script)
    with pytest.raises(PostfixUnavailable, match=said):
        list(read_queue(Path("/etc/x")))


def test_ids_go_by_standard_input_in_batches_and_what_has_gone_is_not_returned(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(queue, "BATCH", 2)
    command(
        "postsuper",
        f"""echo "$@" >> {tmp_path}/calls
        while read id; do
            echo $id >> {tmp_path}/ids
            [ $id = GONEGONE ] || echo "postsuper: $id: placed on hold" >&2
        done
        echo "postsuper: Placed on hold: 2 messages" >&2""",
    )
    given = ["4jYy8m18F9zKmMf", "ALL", "-d", "GONEGONE", "a b c d", "4jYy8m18F9zKmMg", ""]
    assert hold(Path("/etc/x"), iter(given)) == {"4jYy8m18F9zKmMf", "4jYy8m18F9zKmMg"}
    calls = (tmp_path / "calls").read_text().splitlines()
    assert calls == ["-c /etc/x -h -"] * 2
    ids = (tmp_path / "ids").read_text().split()
    assert ids == ["4jYy8m18F9zKmMf", "GONEGONE", "4jYy8m18F9zKmMg"]


@pytest.mark.parametrize(
    ("act", "option", "word"), [(release, "-H", "released from hold"), (delete, "-d", "removed")]
)
def test_release_and_delete(
    command: Command, monkeypatch: pytest.MonkeyPatch, act: Callable, option: str, word: str
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    command("postsuper", f'[ "$3" = {option} ] && echo "postsuper: ABCDEF12: {word}" >&2')
    assert act(Path("/etc/x"), ["ABCDEF12"]) == {"ABCDEF12"}


def test_postsuper_is_for_root(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    command("postsuper", "exit 0")
    with pytest.raises(PostfixUnavailable, match="root only"):
        hold(Path("/etc/x"), ["ABCDEF12"])


def test_requeue_is_paced_and_can_be_stopped(command: Command, tmp_path: Path) -> None:
    command("postqueue", f'echo "$@" >> {tmp_path}/calls')
    waited: list[float] = []

    def stopped(seconds: float) -> bool:
        waited.append(seconds)
        return len(waited) == 2

    ids = [f"ABCDEF{n:02}" for n in range(5)]
    assert requeue(Path("/etc/x"), ids, per_second=0.001, stopped=stopped) == 2
    # The second one is due a thousand seconds after the first, the third after another thousand.
    assert [round(each, -3) for each in waited] == [1000, 2000]
    assert (tmp_path / "calls").read_text().splitlines() == [
        "-c /etc/x -i ABCDEF00",
        "-c /etc/x -i ABCDEF01",
    ]


def test_which_ids_never_come_again() -> None:
    assert queue.is_long("4jYy8m18F9zKmMf")
    assert not queue.is_long("A1B2C3D4E5")


def test_which_hooks_an_instance_has(command: Command, tmp_path: Path) -> None:
    (tmp_path / "values").write_text(
        "smtpd_recipient_restrictions = $gatepost_policy, permit\n"
        "smtpd_milters = inet:127.0.0.1:8891\n"
        "sender_dependent_default_transport_maps =\n"
    )
    command("postconf", f"cat {tmp_path}/values")
    assert hooks_in_use(Path("/etc/x")) == {Hook.POLICY}
