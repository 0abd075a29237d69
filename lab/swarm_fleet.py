"""The servers of `lab.swarm` as a test sees them: which there are, and who came to them.

Format: server N of temper T is ``mxN.T.example``, takes the mail of ``dN.T.example``, and has an
address of its own in 198.19.0.0/16, tempers in turn, so that neighbours differ.
Errors: `LabError` if they do not start.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.ca import Authority, Oddity
from lab.dns import Names
from lab.process import Daemon, wait_until
from lab.swarm import WITH_TLS, Temper

_NETWORK = 198 << 24 | 19 << 16
_START_S = 60
# The system's OpenSSL settings forbid old protocol versions whatever the program says.
_OPENSSL_CONF = "openssl_conf = none\n[none]\n"


@dataclass(frozen=True, slots=True)
class Stranger:
    """One server.

    Attributes:
        address: IPv4 address.
        host: Its name.
        domain: The domain whose mail it takes.
        temper: How it behaves.
        chain_file: Key and certificates, or empty.
    """

    address: str
    host: str
    domain: str
    temper: Temper
    chain_file: str


class SwarmFleet:
    """All of them; a context manager that starts and stops the process."""

    def __init__(
        self,
        directory: Path,
        authority: Authority,
        counts: Mapping[Temper, int],
        *,
        delay_s: float = 0.0,
        own_certificates: bool = False,
    ) -> None:
        """Describe them, and make their certificates.

        Args:
            directory: For files; made if it is missing.
            authority: Issues the good certificates.
            counts: How many of each temper.
            delay_s: Seconds before each reply.
            own_certificates: Whether each good server has a key and certificate of its own; else
                one certificate of a temper has the names of all.
        """
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._delay_s = delay_s
        self._record = directory / "record"
        self._record.write_bytes(b"")
        self._read: list[dict[str, Any]] = []
        self._offset = 0
        self._daemon: Daemon | None = None
        self.strangers = _describe(authority, counts, own_certificates=own_certificates)

    def __enter__(self) -> SwarmFleet:
        """Start them, and return when all listen."""
        specification, conf = self._directory / "specification", self._directory / "openssl.cnf"
        servers = [(each.address, each.temper, each.chain_file) for each in self.strangers]
        specification.write_text(json.dumps({"delay_s": self._delay_s, "servers": servers}))
        conf.write_text(_OPENSSL_CONF, encoding="ascii")
        self._daemon = Daemon(
            ["env", f"OPENSSL_CONF={conf}", sys.executable, "-m", "lab.swarm", specification,
             self._record],
            self._directory / "swarm.log",
        )  # fmt: skip
        self._daemon.wait_until(lambda: bool(self.events("ready")), _START_S, "the swarm to listen")
        return self

    def __exit__(self, *_: object) -> None:
        """Stop them."""
        if self._daemon is not None:
            self._daemon.stop()
            self._daemon = None

    def publish(self, names: Names) -> None:
        """Put hosts and domains into the name service's records."""
        for each in self.strangers:
            names.address(each.host, each.address)
            names.mail(each.domain, each.host)

    def of(self, *tempers: Temper) -> list[Stranger]:
        """Return the servers of some tempers."""
        return [each for each in self.strangers if each.temper in tempers]

    def events(self, kind: str) -> list[dict[str, Any]]:
        """Return all events of a kind so far."""
        with self._record.open("rb") as file:
            file.seek(self._offset)
            whole, end, _ = file.read().rpartition(b"\n")
        if end:
            self._offset += len(whole) + 1
            self._read += map(json.loads, whole.split(b"\n"))
        return [event for event in self._read if event["event"] == kind]

    def wait_ended(self, timeout_s: float = 10) -> list[dict[str, Any]]:
        """Return the sessions, once all that have begun have ended.

        Raises:
            LabError: If one goes on.
        """
        wait_until(
            lambda: len(self.events("end")) == len(self.events("connect")),
            timeout_s,
            "all connections to end",
        )
        return self.events("end")


def _describe(
    authority: Authority, counts: Mapping[Temper, int], *, own_certificates: bool
) -> list[Stranger]:
    turns = [
        (number, temper)
        for number in range(max(counts.values()))
        for temper, count in counts.items()
        if number < count
    ]
    shared = {
        temper: _certificate(authority, temper, f"{temper}.example", count)
        for temper, count in counts.items()
    }
    strangers = []
    for place, (number, temper) in enumerate(turns):
        host = f"mx{number}.{temper}.example"
        chain_file = shared[temper]
        if own_certificates and temper is Temper.GOOD:
            chain_file = str(authority.issue(host).chain_file)
        strangers.append(
            Stranger(_address(place), host, f"d{number}.{temper}.example", temper, chain_file)
        )
    return strangers


def _address(place: int) -> str:
    # Neither .0 nor .255, though both would do.
    number = _NETWORK + place // 250 * 256 + place % 250 + 1
    return ".".join(str(number >> shift & 255) for shift in (24, 16, 8, 0))


def _certificate(authority: Authority, temper: Temper, parent: str, count: int) -> str:
    if temper not in WITH_TLS:
        return ""
    names = [f"mx{number}.{parent}" for number in range(count)]
    if temper is Temper.SELF_SIGNED:
        return str(authority.issue_self_signed(*names).chain_file)
    if temper is Temper.WRONG_NAME:
        return str(authority.issue_odd("mx.somebody-else.example").chain_file)
    if temper is Temper.WILDCARD:
        return str(authority.issue_odd(f"*.{parent}").chain_file)
    return str(authority.issue_odd(*names, oddity=_ODDITIES.get(temper, Oddity.NONE)).chain_file)


_ODDITIES = {
    Temper.EXPIRED: Oddity.EXPIRED,
    Temper.NOT_YET: Oddity.NOT_YET,
    Temper.WEAK_KEY: Oddity.WEAK_KEY,
    Temper.INTERMEDIATE: Oddity.INTERMEDIATE,
    Temper.INCOMPLETE: Oddity.INCOMPLETE,
    Temper.HUGE_CHAIN: Oddity.HUGE_CHAIN,
}
