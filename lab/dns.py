"""Name service: a signed zone for the lab's names and a resolver that validates it.

Purpose: a sending Postfix and everything around it resolve the lab's hosts, and nothing else, over
a real resolver. `Names` collects records; `NameService` serves them.
Source: knot.conf(5), keymgr(8); unbound.conf(5).
Format: one zone, ``example.``, signed by knot with keys of its own; unbound trusts those keys.
Below it are ``insecure.example``, which is not signed, and ``bogus.example``, which is not although
its parent says so: a resolver that validates refuses to answer for it. The reverse zone is
unbound's own and is not signed. What else is asked for does not exist.
Errors: `LabError`, with what the daemon printed.
Not handled: records that change while the daemons run.
"""

from __future__ import annotations

import ipaddress
import os
import pwd
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import dns.exception
import dns.message

from lab.enter import RESOLVER
from lab.process import Daemon, LabError, run

AUTHORITY = "198.18.0.54"
ZONE = "example"
INSECURE = f"insecure.{ZONE}"
BOGUS = f"bogus.{ZONE}"
# What both of these have at their apex.
CHILD_ADDRESS = "198.18.0.55"
_START_S = 15
_ANSWER_S = 1
_MOST_OCTETS = 65535
# A TXT string holds 255 octets; longer ones are split.
_STRING = 255

_KNOT = """\
server:
    rundir: "{directory}/run"
    listen: {authority}@53
    user: {user}
database:
    storage: "{directory}/db"
log:
  - target: stderr
    any: warning
policy:
  - id: lab
    algorithm: ecdsap256sha256
    single-type-signing: on
    nsec3: off
template:
  - id: default
    storage: "{directory}"
  - id: signed
    storage: "{directory}"
    dnssec-signing: on
    dnssec-policy: lab
    zonefile-sync: -1
    zonefile-load: difference-no-serial
    journal-content: all
zone:
  - domain: {zone}
    file: zone
    template: signed
  - domain: {insecure}
    file: insecure
  - domain: {bogus}
    file: bogus
"""
# The digest is that of no key.
_DELEGATIONS = (
    f"{INSECURE}. 60 NS ns.{ZONE}.",
    f"{BOGUS}. 60 NS ns.{ZONE}.",
    f"{BOGUS}. 60 DS 4711 13 2 {'AB' * 32}",
)

_UNBOUND = """\
server:
    directory: "{directory}"
    username: ""
    chroot: ""
    pidfile: ""
    use-syslog: no
    logfile: ""
    verbosity: 0
    interface: {resolver}
    access-control: 0.0.0.0/0 allow
    do-not-query-localhost: no
    num-threads: 1
    module-config: "validator iterator"
    trust-anchor-file: "{directory}/anchor"
    local-zone: "." static
    local-zone: "{zone}." transparent
{reverse}
remote-control:
    control-enable: no
stub-zone:
    name: "{zone}."
    stub-addr: {authority}
"""


@dataclass(slots=True)
class Names:
    """Records of the lab, in the order in which they were added.

    Attributes:
        records: Of the signed zone.
        reverse: Address to name.
        children: Of the zones `INSECURE` and `BOGUS`, beside their own.
        outside: TXT records outside the lab's zone, which are not signed: name to value.
    """

    records: list[str] = field(default_factory=list)
    reverse: dict[str, str] = field(default_factory=dict)
    children: dict[str, list[str]] = field(default_factory=dict)
    outside: dict[str, str] = field(default_factory=dict)

    def address(self, name: str, address: str) -> None:
        """Give a host its address, and the address its name."""
        kind = "A" if ipaddress.ip_address(address).version == 4 else "AAAA"
        self.records.append(f"{name}. {kind} {address}")
        self.reverse[address] = name

    def mail(self, domain: str, host: str, preference: int = 10) -> None:
        """Have a host take the mail of a domain."""
        self.records.append(f"{domain}. MX {preference} {host}.")

    def text(self, name: str, value: str) -> None:
        """Add a TXT record."""
        self.records.append(f"{name}. TXT ( {_quoted(value)} )")

    def record(self, line: str) -> None:
        """Add any record of the zone, in the form of a zone file."""
        self.records.append(line)


class NameService:
    """Knot with the lab's zone, and unbound in front of it; a context manager."""

    def __init__(self, directory: Path, names: Names) -> None:
        """Describe it; nothing runs before `start`.

        Args:
            directory: For files and logs; made if it is missing.
            names: All records.
        """
        self._directory = directory
        self._names = names
        self._daemons: list[Daemon] = []

    def __enter__(self) -> NameService:
        """Start the daemons."""
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the daemons."""
        self.stop()

    def start(self) -> None:
        """Start, and return when the resolver answers.

        Raises:
            LabError: If one is not installed or does not start.
        """
        self._make_files()
        knot = Daemon(["knotd", "-c", self._directory / "knot.conf"], self._directory / "knot.log")
        self._daemons.append(knot)
        knot.wait_until(self._keys_made, _START_S, "knotd to sign the zone")
        unbound = Daemon(
            ["unbound", "-d", "-c", self._directory / "unbound.conf"],
            self._directory / "unbound.log",
        )
        self._daemons.append(unbound)
        unbound.wait_until(self._resolves, _START_S, "unbound to answer")

    def stop(self) -> None:
        """Stop both; idempotent."""
        while self._daemons:
            self._daemons.pop().stop()

    def _make_files(self) -> None:
        user = "knot" if _account("knot") else "root"
        for each in (self._directory, self._directory / "run", self._directory / "db"):
            each.mkdir(parents=True, exist_ok=True)
            each.chmod(0o755)
        self._make_zone("zone", ZONE, [f"ns.{ZONE}. A {AUTHORITY}", *_DELEGATIONS])
        for name, child in (("insecure", INSECURE), ("bogus", BOGUS)):
            own = [f"{child}. A {CHILD_ADDRESS}", *self._names.children.get(child, ())]
            self._make_zone(name, child, own)
        with (self._directory / "zone").open("a", encoding="ascii") as zone:
            zone.writelines(f"{record}\n" for record in self._names.records)
        reverse = "\n".join(
            f'    local-data-ptr: "{address} {name}."'
            for address, name in self._names.reverse.items()
        )
        outside = (
            f"    local-data: '{name}. 60 IN TXT {_quoted(value)}'"
            for name, value in self._names.outside.items()
        )
        fields = {
            "directory": self._directory,
            "authority": AUTHORITY,
            "resolver": RESOLVER,
            "zone": ZONE,
            "insecure": INSECURE,
            "bogus": BOGUS,
            "user": user,
            "reverse": "\n".join([reverse, *outside]),
        }
        for name, text in (("knot.conf", _KNOT), ("unbound.conf", _UNBOUND)):
            (self._directory / name).write_text(text.format(**fields), encoding="ascii")
        if user != "root":
            owner = pwd.getpwnam(user)
            for each in (self._directory / "run", self._directory / "db"):
                os.chown(each, owner.pw_uid, owner.pw_gid)

    def _make_zone(self, file: str, zone: str, records: Sequence[str]) -> None:
        soa = f"{zone}. 60 SOA ns.{ZONE}. hostmaster.{ZONE}. 1 3600 600 86400 1"
        lines = ["$TTL 60", soa, f"{zone}. NS ns.{ZONE}.", *records]
        (self._directory / file).write_text("\n".join(lines) + "\n", encoding="ascii")

    def _keys_made(self) -> bool:
        """Tell whether the zone is signed; if so, leave its key for the resolver."""
        # Not before knotd answers: keymgr makes the key database where there is none, and knotd,
        # which makes it too at the same moment, may then fail to open it and never try again.
        if not _query(AUTHORITY):
            return False
        try:
            output = run(["keymgr", "-c", self._directory / "knot.conf", f"{ZONE}.", "dnskey"])
        except LabError:
            return False
        lines = [line for line in output.decode().splitlines() if " DNSKEY " in line]
        if not lines:
            return False
        (self._directory / "anchor").write_text("\n".join(lines) + "\n", encoding="ascii")
        return True

    def _resolves(self) -> bool:
        return _query(RESOLVER)


def _quoted(value: str) -> str:
    parts = [value[i : i + _STRING] for i in range(0, len(value), _STRING)]
    return " ".join(f'"{part}"' for part in parts)


def _query(server: str) -> bool:
    """Tell whether a server answers for the zone.

    Over a connected socket, so that the kernel says at once that nobody listens yet.
    """
    query = dns.message.make_query(ZONE, "SOA")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(_ANSWER_S)
        try:
            client.connect((server, 53))
            client.send(query.to_wire())
            return bool(dns.message.from_wire(client.recv(_MOST_OCTETS)).answer)
        except (OSError, dns.exception.DNSException):
            return False


def _account(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True
