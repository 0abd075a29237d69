"""The installed Postfix takes every policy that we write for it."""

from __future__ import annotations

import contextlib
import os
import re
import smtplib
import socket
import socketserver
import ssl
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gatepost.postfix_version import parse_version
from gatepost.tls.levels import Level, Requirement, TlsVersion
from gatepost.tls.policy import format_policy
from lab.ca import Authority
from lab.postfix import PrivatePostfix
from lab.process import run

pytestmark = pytest.mark.e2e

NAME = "mx.partner.example"
MATCHES = [None, frozenset({NAME}), frozenset({".partner.example", "other.example"})]
REQUIREMENTS = [
    Requirement(level, minimum, match)
    for level in Level
    for minimum in [None, *TlsVersion]
    for match in (MATCHES if level is Level.VERIFY else MATCHES[:1])
]
NETWORK = "198.18.77"
ANSWERS = {b"EHLO": b"250-sink\r\n250 STARTTLS\r\n", b"QUIT": b"221 bye\r\n"}
CONFIGURATION_PROBLEM = "client TLS configuration problem"


class Sink(socketserver.BaseRequestHandler):
    """An SMTP server that offers STARTTLS and takes everything."""

    context: ssl.SSLContext

    def handle(self) -> None:
        # A client that gives up its handshake ends the connection somehow.
        with contextlib.suppress(OSError):
            self.request.sendall(b"220 sink\r\n")
            self.converse(self.request)

    def converse(self, connection: socket.socket) -> None:
        with connection.makefile("rb") as lines:
            for line in lines:
                verb = line.split()[0].upper()
                if verb == b"STARTTLS":
                    connection.sendall(b"220 go\r\n")
                    break
                if verb == b"DATA":
                    connection.sendall(b"354 go\r\n")
                    while lines.readline() not in (b".\r\n", b""):
                        pass
                connection.sendall(ANSWERS.get(verb, b"250 fine\r\n"))
            else:
                return
        with self.context.wrap_socket(connection, server_side=True) as encrypted:
            self.converse(encrypted)


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


@pytest.fixture(scope="module")
def directory() -> Iterator[Path]:
    # Not pytest's own, which only root may enter.
    with tempfile.TemporaryDirectory(dir=os.environ["GATEPOST_LAB_DIR"]) as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


@pytest.fixture(scope="module")
def authority(directory: Path) -> Authority:
    return Authority(directory / "ca")


@pytest.fixture(scope="module")
def sink(authority: Authority) -> Iterator[int]:
    certificate = authority.issue(NAME)
    Sink.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    Sink.context.load_cert_chain(certificate.chain_file)
    with Server(("0.0.0.0", 0), Sink) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def nexthop(number: int, port: int) -> str:
    return f"[{NETWORK}.{number + 1}]:{port}"


BROKEN = len(REQUIREMENTS)


@pytest.fixture(scope="module")
def outcomes(directory: Path, authority: Authority, sink: int) -> dict[int, str]:
    """Send one message through every policy, and return the delivery line of each."""
    version = parse_version(run(["postconf", "-dh", "mail_version"]).decode())
    policies = [format_policy(each, version) for each in REQUIREMENTS]
    # What a reader of postconf(5) writes first, and what POLICIES must never hold.
    policies.append("encrypt protocols=!SSLv2,!SSLv3")
    (directory / "policy").write_text(
        "".join(f"{nexthop(i, sink)} {policy}\n" for i, policy in enumerate(policies))
    )
    (directory / "transport").write_text(
        "".join(f"c{i}.example smtp:{nexthop(i, sink)}\n" for i in range(len(policies)))
    )
    postfix = PrivatePostfix(
        directory / "p",
        address="198.18.0.77",
        hostname="policy.example",
        ca_file=authority.ca_file,
        main={
            "transport_maps": f"texthash:{directory}/transport",
            "smtp_tls_policy_maps": f"texthash:{directory}/policy",
            "smtp_tls_loglevel": "1",
            "smtpd_recipient_limit": "1000",
            "default_destination_concurrency_limit": "2",
        },
    )
    with postfix, smtplib.SMTP("198.18.0.77", 25, source_address=("198.18.0.1", 0)) as client:
        recipients = [f"u@c{i}.example" for i in range(len(policies))]
        refused = client.sendmail("a@sender.example", recipients, "Subject: x\r\n\r\nx\r\n")
        assert refused == {}
        lines = {}
        for number in range(len(policies)):
            found = postfix.wait_log(rf"to=<u@c{number}\.example>.*status=(\w+) \((.*)\)")
            lines[number] = found.string
        return lines


def _label(requirement: Requirement) -> str:
    return format_policy(requirement, parse_version("3.7.0"))


@pytest.mark.parametrize("number", range(BROKEN), ids=lambda i: _label(REQUIREMENTS[i]))
def test_accepted(outcomes: dict[int, str], number: int) -> None:
    requirement, line = REQUIREMENTS[number], outcomes[number]
    assert CONFIGURATION_PROBLEM not in line
    # The sink is an address, so a certificate for its "hostname" cannot be had.
    if requirement.level is Level.VERIFY and requirement.match is None:
        assert "status=deferred" in line
        assert re.search("Server certificate not (trusted|verified)", line)
    else:
        assert "status=sent" in line


def test_a_broken_policy_would_show(outcomes: dict[int, str]) -> None:
    assert CONFIGURATION_PROBLEM in outcomes[BROKEN]
