"""The milter's question to the policy server, against one that behaves and one that does not."""

from __future__ import annotations

import contextlib
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gatepost.decisions.actions import Admission, DeleteRecipient, Reject
from gatepost.decisions.facts import MessageFacts
from gatepost.errors import PolicyUnavailable
from gatepost.feedback.token import message_id_of
from gatepost.tenants.client import Client
from gatepost.wire.policy import Action, AdmitRequest, PolicyServer
from gatepost.wire.signals import Signal
from milters import admission
from milters.admission import AdmissionClient, parse_action
from milters.session import MessageInProgress

Behaviour = Callable[[socket.socket], None]

ADMITTED = Admission()


def message(*recipients: str, sender: str = "a@acme.example", queue_id: str = "Q") -> MessageFacts:
    client = Client(login="mailer", address="192.0.2.1")
    one = MessageInProgress(client, "mail.example", f"<{sender}>", frozenset())
    for recipient in recipients or ("u@example.org",):
        one.add_recipient(f"<{recipient}>".encode("utf-8", "surrogateescape"))
    return one.facts(queue_id)


class Server:
    """A policy server whose connections behave as told, one after another, the last one ever on."""

    def __init__(self, path: Path, *behaviours: Behaviour) -> None:
        self.path = path
        self.asked: list[AdmitRequest] = []
        self.connections = 0
        self._behaviours = list(behaviours)
        self._listener = socket.socket(socket.AF_UNIX)
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Server:
        self._listener.bind(str(self.path))
        self._listener.listen()
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(30)
        for connection in self._open:
            connection.close()
        self._listener.close()

    def _start(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._open.append(connection)
                self.connections += 1
                number = min(self.connections, len(self._behaviours)) - 1
                self._start(self._behave, self._behaviours[number], connection)

    def _behave(self, behaviour: Behaviour, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            behaviour(connection)

    def answering(self, text: str, times: int = 1000) -> Behaviour:
        """Answer so many questions, then close."""

        def behave(connection: socket.socket) -> None:
            codec = PolicyServer()
            for _ in range(times):
                while (event := codec.next_event()) is Signal.NEED_DATA:
                    codec.receive_data(connection.recv(65536))
                if not isinstance(event, AdmitRequest):
                    return
                self.asked.append(event)
                connection.sendall(codec.send(Action(text)))
            connection.shutdown(socket.SHUT_RDWR)

        return behave


@pytest.fixture
def path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as directory:
        yield Path(directory) / "p"


Connect = Callable[..., AdmissionClient]


@pytest.fixture
def connect(path: Path) -> Iterator[Connect]:
    made: list[AdmissionClient] = []

    def make(*args: float) -> AdmissionClient:
        made.append(AdmissionClient(path, *args))
        return made[-1]

    yield make
    for client in made:
        client.close()


def closing(connection: socket.socket) -> None:
    connection.recv(65536)
    connection.shutdown(socket.SHUT_RDWR)


def sending(octets: bytes) -> Behaviour:
    def behave(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(octets)
        connection.recv(65536)

    return behave


def silent(connection: socket.socket) -> None:
    while connection.recv(65536):
        pass


def _number(queue_id: str) -> str:
    return message_id_of("mail.example", queue_id).hex()


def test_what_is_asked(path: Path, connect: Connect) -> None:
    server = Server(path)
    server._behaviours.append(server.answering("DUNNO"))
    recipients = ("u@example.org", '"a b"@example.org', "\udcff@example.org")
    with server:
        client = connect()
        assert client.admit("acme", message(*recipients, queue_id="4Xyz"), "") == ADMITTED
        assert client.admit("acme", message(sender="", queue_id="4Xya"), "") == ADMITTED
        assert client.admit("acme", message(queue_id="4Xyb"), "spring") == ADMITTED
    assert server.asked == [
        AdmitRequest("acme", "mailer", "4Xyz", "a@acme.example", recipients, _number("4Xyz")),
        AdmitRequest("acme", "mailer", "4Xya", "", ("u@example.org",), _number("4Xya")),
        AdmitRequest(
            *("acme", "mailer", "4Xyb", "a@acme.example", ("u@example.org",), _number("4Xyb")),
            campaign="spring",
        ),
    ]
    assert server.connections == 1, "a connection is kept between messages"


def test_a_refusal(path: Path, connect: Connect) -> None:
    server = Server(path)
    server._behaviours.append(server.answering("553 5.7.1 x.example is not among the 2"))
    with server:
        reject = connect().admit("acme", message(), "")
    assert reject == Admission(Reject("553", "5.7.1", "x.example is not among the 2"))


def test_recipients_that_are_taken_out(path: Path, connect: Connect) -> None:
    server = Server(path)
    server._behaviours.append(server.answering("DELETE 2"))
    with server:
        admission = connect().admit("acme", message("u@example.org", '"a b"@example.org'), "")
    assert admission == Admission(edits=(DeleteRecipient('"a b"@example.org'),))


def test_as_many_connections_as_ask_at_once(path: Path, connect: Connect) -> None:
    together = threading.Barrier(3, timeout=30)

    def behave(connection: socket.socket) -> None:
        codec = PolicyServer()
        while not isinstance(codec.next_event(), AdmitRequest):
            codec.receive_data(connection.recv(65536))
        together.wait()
        connection.sendall(codec.send(Action("DUNNO")))
        answer(connection)

    server = Server(path, behave)
    answer = server.answering("DUNNO")
    answers: list[object] = []
    with server:
        client = connect()

        def ask() -> None:
            answers.append(client.admit("acme", message(), ""))

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        # Threads that come later find the connections of those that are gone.
        for _ in range(5):
            thread = threading.Thread(target=ask)
            thread.start()
            thread.join(30)
    assert answers == [ADMITTED] * 8
    assert server.connections == 3


def test_a_connection_that_a_restarted_server_has_closed_is_made_anew(
    path: Path, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission.time, "sleep", lambda _: pytest.fail("there is no need to wait"))
    server = Server(path)
    server._behaviours += [server.answering("DUNNO", 1), server.answering("450 4.7.1 later")]
    with server:
        client = connect()
        assert client.admit("acme", message(), "") == ADMITTED
        assert client.admit("acme", message(), "") == Admission(Reject("450", "4.7.1", "later"))
    assert server.connections == 2


@pytest.mark.parametrize(
    "trouble",
    [
        closing,
        sending(b"nonsense\n\n"),
        sending(b"action=\n\n"),
        sending(b"other=x\n\n"),
        sending(b"action=DUNNO"),
        sending(b"action=" + b"x" * 10_000),
    ],
)
def test_trouble_is_tried_again(path: Path, connect: Connect, trouble: Behaviour) -> None:
    server = Server(path, trouble)
    server._behaviours.append(server.answering("DUNNO"))
    with server:
        # Half an answer is waited for, so this one ends by its time limit and is tried once more.
        client = connect(0.5)
        with contextlib.suppress(PolicyUnavailable):
            assert client.admit("acme", message(), "") == ADMITTED
        assert client.admit("acme", message(), "") == ADMITTED


def test_a_server_that_is_being_started_is_waited_for(path: Path, connect: Connect) -> None:
    server = Server(path)
    server._behaviours.append(server.answering("DUNNO"))
    answers: list[object] = []
    asking = threading.Thread(target=lambda: answers.append(connect().admit("acme", message(), "")))
    asking.start()
    with server:
        asking.join(30)
    assert answers == [ADMITTED]


@pytest.mark.parametrize("behaviour", [silent, closing])
def test_no_answer_is_a_temporary_failure(
    path: Path, connect: Connect, behaviour: Behaviour
) -> None:
    with Server(path, behaviour), pytest.raises(PolicyUnavailable, match="policy server: "):
        connect(0.3).admit("acme", message(), "")


def test_no_server_is_a_temporary_failure_after_few_tries(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    now = 1000.0

    def sleep(seconds: float) -> None:
        nonlocal now
        pauses.append(seconds)
        now += seconds

    monkeypatch.setattr(admission.time, "sleep", sleep)
    monkeypatch.setattr(admission.time, "monotonic", lambda: now)
    with pytest.raises(PolicyUnavailable):
        connect(10.0).admit("acme", message(), "")
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2]


def test_what_cannot_be_asked_is_not_tried_again(
    path: Path, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: pytest.fail("it would be refused again"))
    server = Server(path)
    server._behaviours.append(server.answering("DUNNO"))
    with server:
        client = connect()
        with pytest.raises(PolicyUnavailable, match="needs a tenant"):
            client.admit("", message(), "")
        assert client.admit("acme", message(), "") == ADMITTED


def test_an_answer_that_nobody_asked_for_is_not_taken_for_the_next(
    path: Path, connect: Connect
) -> None:
    def talkative(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"action=DUNNO\n\naction=DUNNO\n\n")
        connection.recv(65536)

    server = Server(path, talkative)
    server._behaviours.append(server.answering("450 4.7.1 later"))
    with server:
        client = connect()
        assert client.admit("acme", message(), "") == ADMITTED
        assert client.admit("acme", message(), "") == Admission(Reject("450", "4.7.1", "later"))


@pytest.mark.parametrize(
    ("text", "reject"),
    [
        ("DUNNO", None),
        ("450 4.7.1 later", Reject("450", "4.7.1", "later")),
        ("550 5.7.1 a b", Reject("550", "5.7.1", "a b")),
    ],
)
def test_actions(text: str, reject: Reject | None) -> None:
    assert parse_action(Action(text), ["a@b"]) == Admission(reject)


def test_recipients_to_delete() -> None:
    recipients = ["a@x", "b@x", '"c d"@x', "b@x"]
    assert parse_action(Action("DELETE 2 3"), recipients) == Admission(
        edits=(DeleteRecipient("b@x"), DeleteRecipient('"c d"@x'))
    )
    # Postfix deletes all of that spelling at once.
    assert parse_action(Action("DELETE 2 4"), recipients) == Admission(
        edits=(DeleteRecipient("b@x"),)
    )


@pytest.mark.parametrize(
    "text",
    [
        "DELETE",
        "DELETE ",
        "DELETE 0",
        "DELETE 3",
        "DELETE -1",
        "DELETE 1,2",
        "DELETE ١",
        f"DELETE {'1' * 5000}",
        # None would be left, and Postfix would throw the message away.
        "DELETE 1 2",
    ],
)
def test_no_other_recipients_can_be_deleted(text: str) -> None:
    with pytest.raises(PolicyUnavailable):
        parse_action(Action(text), ["a@x", "b@x"])


@pytest.mark.parametrize(
    "text",
    [
        "OK",
        "PERMIT",
        "REJECT no",
        "DUNNO x",
        "250 2.0.0 fine",
        "550",
        "550 5.7.1",
        "5x0 a b",
        "55 5.7.1 x",
        "5500 5.7.1 x",
        "",
    ],
)
def test_no_other_action_admits_or_refuses(text: str) -> None:
    with pytest.raises(PolicyUnavailable):
        parse_action(Action(text), ["a@b"])
