"""The real milter under many messages, many connections and large ones."""

from __future__ import annotations

import threading

import pytest

from gatepost.feedback.token import Purpose, open_token
from lab.milter_client import MilterConnection, Reply, command, macros, negotiate
from tests.milters.process import Milter
from tests.world import KEYS, NOW

FROM = ("From", "news@acme.example")


def open_connection(milter: Milter) -> MilterConnection:
    connection = milter.connect()
    (reply,) = connection.ask(negotiate())
    assert reply.code == b"O"
    connection.send(macros("connect", {"{client_addr}": b"192.0.2.7", "{client_port}": b"4242"}))
    return connection


def send_message(
    connection: MilterConnection,
    queue_id: str,
    *fields: tuple[str, str],
    login: str = "acme",
    end: bool = True,
) -> list[str]:
    """Send one message of a login and return what the milter wants done to it."""
    packets = [
        macros("mail", {"j": b"mail.example", "{auth_authen}": login.encode()}),
        command("mail", b"<news@acme.example>"),
        macros("rcpt", {"i": queue_id.encode()}),
        command("rcpt", b"<user@example.org>"),
        *(command("header", name.encode(), value.encode()) for name, value in fields),
        macros("end", {"i": queue_id.encode()}),
    ]
    connection.send(b"".join(packets))
    return [reply.text for reply in connection.ask(command("end"))] if end else []


def token_of(edits: list[str]) -> bytes:
    (line,) = [line for line in edits if line.startswith("add-header X-Gatepost-Token")]
    return open_token(line.rpartition(" ")[2], Purpose.COMPLAINT, KEYS, NOW).message


def test_500_messages_on_one_connection(milter: Milter) -> None:
    with open_connection(milter) as connection:
        seen = set()
        for number in range(500):
            if number % 7 == 3:
                send_message(connection, "gone", FROM, ("X-Tenant-ID", "x"), end=False)
                connection.send(command("abort"))
            edits = send_message(connection, f"Q{number}", FROM)
            assert edits[0] == "add-header X-Tenant-ID: acme"
            assert edits[-1] == "continue"
            assert len(edits) == 5
            seen.add(token_of(edits))
        assert len(seen) == 500, "each message has a token of its own"
    report = milter.report()
    assert report["counts"] == {"accept": 500}
    assert report["log"] == []


def test_200_connections_at_once(milter: Milter) -> None:
    connections = [open_connection(milter) for _ in range(200)]
    logins = ["acme", "shop", "nobody", "mailer"]
    # All have begun before any has ended.
    for number, connection in enumerate(connections):
        login = logins[number % 4]
        send_message(connection, f"Q{number}", FROM, login=login, end=False)
    answers: list[list[Reply] | None] = [None] * 200

    def end(number: int) -> None:
        answers[number] = connections[number].ask(command("end"))

    threads = [threading.Thread(target=end, args=(number,)) for number in range(200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    tokens = set()
    for number, replies in enumerate(answers):
        assert replies is not None
        texts = [reply.text for reply in replies]
        assert texts[-1] == "continue"
        tags = [text for text in texts if text.startswith("add-header X-Tenant-ID")]
        expected = {0: ["add-header X-Tenant-ID: acme"], 1: ["add-header X-Tenant-ID: shop"]}
        assert tags == expected.get(number % 4, [])
        if number % 4 < 2:
            tokens.add(token_of(texts))
    assert len(tokens) == 100, "no message has another's queue id"
    for connection in connections:
        connection.__exit__()
    report = milter.report()
    assert report["counts"] == {"accept": 200}
    assert report["log"] == []


def test_a_header_block_of_1_mib(milter: Milter) -> None:
    """Thousands of fields that nobody asks for cost no memory, and hide none that is wanted."""
    before = milter.report()["resident_kib"]
    padding = [(f"X-Padding-{number}", "x" * 1000) for number in range(1024)]
    with open_connection(milter) as connection:
        for number in range(20):
            edits = send_message(
                connection,
                f"Q{number}",
                FROM,
                *padding,
                ("X-Tenant-ID", "forged"),
                ("x-campaign", "c"),
            )
            assert edits[:3] == [
                "delete-header X-Tenant-ID 1",
                "add-header X-Tenant-ID: acme",
                "add-header Feedback-ID: cc::tacme:examplesp",
            ]
        assert milter.report()["resident_kib"] < before + 8 * 1024
    assert milter.report()["counts"] == {"accept": 20}


def test_connections_that_break_off_leave_nothing_behind(milter: Milter) -> None:
    whole = (
        negotiate()
        + macros("connect", {"{client_addr}": b"192.0.2.7"})
        + macros("mail", {"{auth_authen}": b"acme"})
        + command("mail", b"<news@acme.example>")
        + command("rcpt", b"<user@example.org>")
        + command("header", b"From", b"news@acme.example")
        + macros("end", {"i": b"Q"})
        + command("end")
    )
    # After each octet: a client, or the smtpd(8) that serves it, can die at any time.
    for octets in range(len(whole)):
        with milter.connect() as connection:
            connection.send(whole[:octets])
    report = milter.report()
    assert report["in_flight"] == 0
    assert report["counts"] == {}
    assert report["log"] == []
    with open_connection(milter) as connection:
        assert send_message(connection, "Q", FROM)[-1] == "continue"


def test_breaking_off_before_the_answer_is_read(milter: Milter) -> None:
    for number in range(50):
        with open_connection(milter) as connection:
            send_message(connection, f"Q{number}", FROM, end=False)
            connection.send(command("end"))
    report = milter.report()
    assert report["in_flight"] == 0
    # How far it came with each is a matter of time. No message is counted twice, and there are not
    # more than two lines for any: that it failed, and that nobody heard of it.
    assert sum(report["counts"].values()) <= 50
    assert set(report["counts"]) <= {"accept", "error"}
    assert len(report["log"]) <= 2 * report["counts"].get("error", 0)


def test_observations_name_message_and_tenant(milter: Milter) -> None:
    milter.tell("world", "observe")
    with open_connection(milter) as connection:
        edits = send_message(connection, "Q1", ("From", "x@evil.example"), ("X-Tenant-ID", "x"))
        assert edits == ["continue"]
    observed = milter.report()["observed"]
    assert [(each["feature"], each["action"]) for each in observed] == [
        ("sender", "reject"),
        ("tag", "remove-header"),
        ("tag", "add-header"),
        ("feedback", "add-header"),
        ("feedback", "add-header"),
        ("feedback", "change-sender"),
    ]
    for each in observed:
        assert each["tenant"] == "acme"
        assert each["queue_id"] == "Q1"
        assert each["sender"] == "news@acme.example"


@pytest.mark.parametrize("fault", ["clock", "configuration"])
def test_trouble_with_one_message_is_one_line(milter: Milter, fault: str) -> None:
    milter.tell("fault", fault)
    with open_connection(milter) as connection:
        for number in range(3):
            (edit,) = send_message(connection, f"Q{number}", FROM)
            assert edit == "reply 451 4.7.1 temporary failure, try again later"
    report = milter.report()
    assert report["counts"] == {"error": 3}
    assert len(report["log"]) == 3
    for number, line in enumerate(report["log"]):
        assert f" error: tempfail queue_id=Q{number} tenant=- cause=" in line
