"""The process that reads mail that came back: ``python -m gatepost.runtime.feedback.reader_child``.

Purpose: a hostile mail may cost at most this process. It reads, and acts on nothing but the store
of TLS reports, which keeps each once.
Format: a line of JSON in, a line of JSON out. The first line in is the `setup`: ``keys``,
``current``, ``token_header``, ``dns``, ``reporters``, ``state``. Each further one is a mail:
``path``, ``offset``, ``sender``, ``recipients``, ``now``. The answer has ``reports``, one object
for each recipient, with ``report`` and ``proven``; or ``error`` (it cannot be read); or ``later``
(DNS or the store was not available).
Limits: 200 MiB of memory beyond what it has at its start, 10 s of processor time a mail.
Errors: it ends when the other side does; what it did not foresee kills it, and its parent knows.
Security: see above; no descriptor is open but these two, and no core is written.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

from gatepost.errors import MalformedMessage, Unavailable
from gatepost.feedback.addresses import bare_address
from gatepost.feedback.mime import MAX_OCTETS, Part, parse_mime
from gatepost.feedback.read import EnvelopeFacts, read_mail
from gatepost.feedback.report import Kind, Report
from gatepost.feedback.reporters import Reporter, Reporters, shipped_reporters
from gatepost.feedback.token import Keyring
from gatepost.feedback.tokens_in import TOKEN_HEADER
from gatepost.feedback.trust import Authentication, aligned, judge
from gatepost.runtime.feedback.report_json import json_of
from gatepost.runtime.feedback.report_origin import (
    Keys,
    Verified,
    claimed_signers,
    is_own_bounce,
    signed_part,
    verified_signers,
)
from gatepost.store.open import open_tls_reports
from gatepost.tls.resolver import Resolver
from gatepost.tls.tlsrpt import read_report

MEMORY_OCTETS = 200 * 1024 * 1024
CPU_S = 10


class ReportReader:
    """Reads mails with the keys of one configuration."""

    def __init__(self, setup: dict[str, Any], keys: Keys | None = None) -> None:
        """Take the configuration.

        Args:
            setup: See the module.
            keys: Where keys of signatures are found, or None for DNS.
        """
        secrets = {int(number): bytes.fromhex(key) for number, key in setup["keys"].items()}
        self._keyring = Keyring(secrets, setup["current"])
        own = {domain: Reporter(domain) for domain in setup["reporters"]}
        self._reporters = Reporters({**shipped_reporters().by_domain, **own})
        self._keys = keys or Keys(Resolver(setup["dns"]))
        self._state: str = setup["state"]
        self._token_header: str = setup.get("token_header", TOKEN_HEADER)

    def read(self, octets: bytes, sender: str, recipients: list[str], now: float) -> dict[str, Any]:
        """Return the answer for one mail.

        Args:
            octets: The mail.
            sender: Envelope sender.
            recipients: Envelope recipients.
            now: Unix time at which it came: a token that was good then is good.
        """
        try:
            mail = parse_mime(octets[:MAX_OCTETS])
            known: dict[int, Verified] = {}
            reports = [
                self.report(octets, mail, EnvelopeFacts(sender, recipient), now, known)
                for recipient in recipients
            ]
            if any(report.kind is Kind.TLS_REPORT for report, _ in reports):
                self._take_tls_reports(octets, now)
        except MalformedMessage as error:
            return {"error": str(error)}
        except Unavailable as error:
            return {"later": str(error)}
        return {
            "reports": [
                {"report": json_of(report), "proven": asdict(proven)} for report, proven in reports
            ]
        }

    def report(
        self,
        octets: bytes,
        mail: Part,
        envelope: EnvelopeFacts,
        now: float,
        known: dict[int, Verified] | None = None,
    ) -> tuple[Report, Authentication]:
        """Return what a mail says, and what is proven of where it comes from.

        Args:
            octets: The mail.
            mail: The same, taken apart.
            envelope: Its envelope.
            now: As above.
            known: Remembers signatures, which are looked at once for all recipients of a mail.

        Raises:
            MalformedMessage: If it cannot be read.
            Unavailable: If a signature could change what follows, and DNS does not answer.
        """
        report = self._read(octets, envelope, now)
        author = next((value for name, value in mail.headers if name == "from"), "")
        own = is_own_bounce(mail, envelope.sender)
        if own or not self._needs_signature(report, mail):
            return report, Authentication((), bare_address(author), own)
        signers, reason = verified_signers(
            octets, self._keys, lambda domain: self._counts(report, domain), known
        )
        proven = Authentication(tuple(signers), bare_address(author), own, reason)
        if signers and report.kind is Kind.COMPLAINT:
            covered = frozenset[bytes]().union(*signers.values())
            report = self._read(signed_part(octets, covered), envelope, now)
        return report, proven

    def close(self) -> None:
        """Ask for no more keys."""
        self._keys.close()

    def is_authenticated(self, report: Report, proven: Authentication) -> bool | None:
        """Tell whether whoever reports is who it says; None where that was not looked at."""
        if not (proven.domains or proven.own or proven.reason):
            return None
        return judge(report, proven, None, self._reporters).authenticated

    def _read(self, octets: bytes, envelope: EnvelopeFacts, now: float) -> Report:
        return read_mail(octets, envelope, self._keyring, now, self._token_header)

    def _needs_signature(self, report: Report, mail: Part) -> bool:
        """Tell whether a signature could change what follows.

        DNS is asked for nobody else: a stranger must not make us wait for name servers of his.
        """
        if report.kind is Kind.BOUNCE:
            return report.token is not None and report.token.token.recipient == 0
        if report.kind is not Kind.COMPLAINT:
            return False
        author = next((value for name, value in mail.headers if name == "from"), "")
        listed = (
            self._reporters.find(each, bare_address(author)) for each in claimed_signers(mail)
        )
        return report.token is not None or any(listed)

    def _counts(self, report: Report, domain: str) -> bool:
        """Tell whether a signature of a domain could prove anything of a report."""
        if self._reporters.owner(domain) is not None:
            return True
        if report.kind is Kind.COMPLAINT and report.format == "cfbl":
            return aligned(domain, report.reporter)
        spoken_for = (
            address.rpartition("@")[2].lower()
            for each in report.recipients
            for address in (each.address, each.original_address)
        )
        return any(aligned(domain, each) for each in spoken_for)

    def _take_tls_reports(self, octets: bytes, now: float) -> None:
        with contextlib.closing(open_tls_reports(self._state)) as store:
            for each in read_report(octets, "mail"):
                store.add(each, now, "intake")


def main() -> None:
    """Answer until the other side ends."""
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    setup = source.readline()
    if not setup:
        return
    reader = ReportReader(json.loads(setup))
    _limit_memory()
    _answer(sink, {"ready": os.getpid()})
    while line := source.readline():
        _limit_time()
        request = json.loads(line)
        with Path(request["path"]).open("rb") as file:
            file.seek(request["offset"])
            octets = file.read()
        _answer(
            sink,
            reader.read(octets, request["sender"], request["recipients"], request["now"]),
        )


def _answer(sink: BinaryIO, answer: dict[str, Any]) -> None:
    sink.write(json.dumps(answer).encode("ascii") + b"\n")
    sink.flush()


def _limit_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    most = pages * resource.getpagesize() + MEMORY_OCTETS
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _limit_time() -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, most = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + 1 + CPU_S, most))


if __name__ == "__main__":
    main()
