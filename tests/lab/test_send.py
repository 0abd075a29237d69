"""The client that tries again: what it counts, what it gives up, and when."""

from __future__ import annotations

import gc
import smtplib
import socketserver
import threading
from collections import Counter
from collections.abc import Iterator
from typing import ClassVar

import pytest

from lab import send as sending
from lab.process import LabError
from lab.send import Mail, Outcome, connect, queue_id, send, send_many

LOST = "lost"


class Talk(socketserver.StreamRequestHandler):
    """An SMTP server that goes through a list of answers for each recipient.

    Before the last dot: ``rcpt CODE``, or ``lost rcpt``; after it: ``data CODE``, or ``lost data``.
    """

    script: ClassVar[dict[str, list[str]]] = {}
    attempts: ClassVar[Counter[str]] = Counter()
    connections: ClassVar[list[str]] = []

    def handle(self) -> None:
        self.connections.append(self.client_address[0])
        self.say("220 script")
        recipient = ""
        for line in self.rfile:
            verb, _, rest = line.decode().strip().partition(" ")
            verb = verb.upper()
            if verb == "RCPT":
                recipient = rest.partition("<")[2].partition("@")[0]
                self.attempts[recipient] += 1
                if self.step(recipient, "rcpt"):
                    return
            elif verb == "DATA":
                self.say("354 go")
                while self.rfile.readline() not in {b".\r\n", b""}:
                    pass
                if self.step(recipient, "data"):
                    return
            else:
                self.say("250 fine")

    def step(self, recipient: str, where: str) -> bool:
        steps = self.script.get(recipient, [])
        if not steps or where not in steps[0]:
            self.say("250 2.0.0 Ok: queued as 4ABC")
            return False
        what = steps.pop(0).replace(where, "").strip()
        if what == LOST:
            return True
        self.say(f"{what} as told")
        return what == "421"

    def say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Return ``address:port`` of a server whose script is empty."""
    monkeypatch.setattr(sending, "RETRY_S", 0.01)
    Talk.script, Talk.attempts, Talk.connections = {}, Counter(), []
    with Server(("127.0.0.1", 0), Talk) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def mail(name: str) -> Mail:
    return Mail("a@acme.example", f"{name}@remote.example", name)


def run(host: str, *names: str, **script: list[str]) -> Outcome:
    Talk.script.update(script)
    return send_many(host, map(mail, names), sessions=2, timeout_s=20)


def test_each_is_taken_once(host: str) -> None:
    names = [f"m{number}" for number in range(50)]
    outcome = run(host, *names)
    assert outcome.taken == set(names)
    assert outcome.replies == {"250": 50}
    assert Talk.attempts == dict.fromkeys(names, 1)
    assert len(Talk.connections) <= 2


@pytest.mark.parametrize("where", ["rcpt", "data"])
def test_a_temporary_refusal_is_tried_again(host: str, where: str) -> None:
    outcome = run(host, "a", "b", a=[f"{where} 451", f"{where} 450"])
    assert outcome.taken == {"a", "b"}
    assert outcome.replies == {"451": 1, "450": 1, "250": 2}
    assert Talk.attempts == {"a": 3, "b": 1}


@pytest.mark.parametrize("where", ["rcpt", "data"])
def test_a_lasting_refusal_is_kept(host: str, where: str) -> None:
    outcome = run(host, "a", "b", a=[f"{where} 550"])
    assert outcome.taken == {"b"}
    assert outcome.refused == {"a": "550 as told"}
    assert Talk.attempts["a"] == 1


def test_after_421_it_connects_again(host: str) -> None:
    outcome = run(host, "a", a=["rcpt 421", "data 421"])
    assert outcome.replies == {"421": 2, "250": 1}
    assert len(Talk.connections) == 3


def test_a_connection_lost_before_the_message_is_not_in_doubt(host: str) -> None:
    outcome = run(host, "a", a=["lost rcpt"])
    assert (outcome.taken, outcome.uncertain) == ({"a"}, set())
    assert outcome.replies == {"lost": 1, "250": 1}


def test_a_connection_lost_after_the_message_leaves_a_doubt(host: str) -> None:
    outcome = run(host, "a", a=["lost data"])
    assert (outcome.taken, outcome.uncertain) == ({"a"}, {"a"})


def test_what_is_never_taken_is_an_error(host: str) -> None:
    Talk.script["a"] = ["rcpt 451"] * 100_000
    with pytest.raises(LabError, match=r"1 messages were not taken in 0\.2 s: .*'451'"):
        send_many(host, [mail("a"), mail("b")], sessions=1, timeout_s=0.2)


def test_a_server_that_is_not_there_is_tried_again() -> None:
    with pytest.raises(LabError, match="'lost'"):
        send_many("127.0.0.1:1", [mail("a")], sessions=1, timeout_s=0.3)


def test_one_message_is_sent_once_and_its_refusal_raised(host: str) -> None:
    assert queue_id(send(host, mail("a"))) == "4ABC"
    Talk.script["a"] = ["rcpt 451"]
    with pytest.raises(smtplib.SMTPResponseException, match="451"):
        send(host, mail("a"))


def test_all_recipients_get_one_message_from_the_address_that_is_asked_for(host: str) -> None:
    Talk.attempts.clear()
    send(host, Mail("", "a@b.example", "s", more_recipients=["c@d.example"], client="127.0.0.9"))
    assert Talk.attempts == {"a": 1, "c": 1}
    assert Talk.connections == ["127.0.0.9"]


def test_a_failed_login_leaves_no_connection(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    address, _, port = host.partition(":")
    monkeypatch.setattr(sending, "SUBMISSION", int(port))
    with pytest.raises(smtplib.SMTPNotSupportedError):
        connect(address, "acme")
    # An open one would be a ResourceWarning, which is an error in these tests.
    gc.collect()


def test_headers_come_first_and_as_they_are() -> None:
    octets = Mail("a@b.example", "c@d.example", "s t", headers=["X-A: 1", b"X-B: \xff"]).octets()
    assert octets.startswith(b"X-A: 1\r\nX-B: \xff\r\nFrom: a@b.example\r\n")
    assert octets.endswith(b"\r\n\r\nhello\r\n")
    assert b"Subject: s t\r\nMessage-ID: <s-t@lab.example>\r\n" in octets
