"""``./dev demo``: Gatepost's main job on real mail, in two minutes and a private network.

Purpose: show an administrator the whole way on a Postfix that runs: attach, three tenants and five
destinations, what was decided and why, the switch to enforce for one tenant, a complaint that comes
back, detach.
Format: what is printed is what happened: decisions by the code of ``gatepost explain``, deliveries
from Postfix's log, TLS and headers from the mail server that got the message.
Errors: `LabError` ends it with one sentence and status 1.
"""

from __future__ import annotations

import difflib
import re
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from gatepost.decisions.explain import Case, Explanation, explain
from gatepost.modes import Feature, Mode
from gatepost.postfix_version import parse_version
from gatepost.settings import Loader
from gatepost.tenants.client import Client
from lab import demo_feedback
from lab.enter import inside
from lab.fleet import Received
from lab.gatepost import Gatepost
from lab.mx import MEANING, Kind
from lab.postfix import PrivatePostfix
from lab.process import LabError, run
from lab.world import ADDRESS, BOUNCE_DOMAIN, FEEDBACK_DOMAIN, SENDER_DOMAIN, World

WIDTH = 132
DESTINATIONS = (Kind.GOOD, Kind.PLAIN, Kind.SELF_SIGNED, Kind.WRONG_NAME, Kind.EXPIRED)
HEADERS = ("X-Tenant-ID", "Feedback-ID", "X-Gatepost-Token", "CFBL-Address")
_WAIT_S = 30

CONFIGURATION: dict[str, Any] = {
    "platform": {
        "sender_id": "examplesp",
        "bounce_domain": BOUNCE_DOMAIN,
        "feedback_domain": FEEDBACK_DOMAIN,
    },
    "modes": {"default": "observe"},
    "tls": {
        "profiles": {
            "private": {"level": "encrypt", "min_version": "TLSv1.2", "on_failure": "bounce"},
            "bank": {"level": "verify", "on_failure": "defer"},
        }
    },
    "tenants": {
        "observed": {
            "logins": ["observed"],
            "senders": ["observed.example"],
            "profile": "private",
            "return_path": "token",
            "feedback": {"campaign": "X-Campaign", "mail_type": "X-Mail-Type"},
        },
        "private": {
            "logins": ["private"],
            "senders": ["private.example"],
            "profile": "private",
            "return_path": "token",
            "feedback": {"campaign": "X-Campaign", "mail_type": "X-Mail-Type"},
            "modes": {"default": "enforce"},
        },
        "bank": {
            "logins": ["bank"],
            "senders": ["bank.example"],
            "profile": "bank",
            "modes": {"default": "enforce"},
        },
    },
}
LOGINS = tuple(CONFIGURATION["tenants"])


@dataclass(frozen=True, slots=True)
class Sent:
    """One message of the demo.

    Attributes:
        tenant: Tenant id and login.
        kind: The kind of mail server that it goes to.
        queue_id: Postfix's queue id.
        subject: What it is found by at the mail server.
    """

    tenant: str
    kind: Kind
    queue_id: str
    subject: str

    @property
    def sender(self) -> str:
        """Return the envelope sender that the client used."""
        return f"news@{self.tenant}.example"

    @property
    def recipient(self) -> str:
        """Return the envelope recipient."""
        return f"reader@{self.kind}.example"


class Demo:
    """The steps, with what they print."""

    def __init__(self, console: Console, world: World, postfix: PrivatePostfix) -> None:
        self._console = console
        self._world = world
        self._postfix = postfix
        self._step = 0
        self._round = 0

    def run(self) -> None:
        """Run all steps."""
        console, postfix = self._console, self._postfix
        before = _files(postfix)
        self._title("A Postfix that runs, with tenants who log in, and mail servers of five kinds")
        for kind in DESTINATIONS:
            console.print(f"  {kind}.example  {MEANING[kind]}")
        with self._world.gatepost(postfix, CONFIGURATION) as gatepost:
            self._title("gatepost serve, then gatepost attach, while Postfix runs")
            gatepost.attach()
            self._show_change(before)
            self._title("Each tenant sends to each destination; tenant observed is in mode observe")
            self._table(gatepost, LOGINS)
            self._title("gatepost report what-if --tenant observed: what observe would have done")
            report = gatepost.command("report", "what-if", "--tenant", "observed").splitlines()
            # The sums, each with its newest example.
            for line, after in zip(["", *report], report, strict=False):
                if not after.startswith("    ") or not line.startswith("    "):
                    console.print(f"  {after}", markup=False)
            self._title("modes: {default: enforce} for tenant observed, gatepost reload, same mail")
            gatepost.configure(_enforced("observed"))
            console.print(_indent(gatepost.reload()))
            arrived = self._table(gatepost, ("observed",))
            self._title("A reader marks that mail as spam, and the mailbox provider reports it")
            demo_feedback.show(console, gatepost, arrived["observed"], "observed")
            self._title("gatepost detach")
            gatepost.detach()
        for name, text in _files(postfix).items():
            if text != before[name]:
                raise LabError(f"{name} is not as it was before attach")
            console.print(f"  {name} is byte for byte as it was before attach")

    def _title(self, text: str) -> None:
        self._step += 1
        self._console.print(f"\n[bold]{self._step}. {text}[/bold]", highlight=False)

    def _show_change(self, before: Mapping[str, str]) -> None:
        for name, text in _files(self._postfix).items():
            lines = difflib.ndiff(before[name].splitlines(), text.splitlines())
            added = [line[2:] for line in lines if line.startswith("+ ")]
            self._console.print(
                f"  added to {name} (without the reason that stands above each line):"
            )
            for line in added:
                if not line.startswith("#"):
                    self._console.print(f"    {_short(line)}", style="green", markup=False)

    def _table(self, gatepost: Gatepost, tenants: Sequence[str]) -> dict[str, Received]:
        """Send, print the table, and return one message of each tenant as it arrived."""
        self._round += 1
        self._world.fleet.forget()
        self._postfix.clear_log()
        messages = [self._send(tenant, kind) for tenant in tenants for kind in DESTINATIONS]
        snapshot = Loader(gatepost.config).load().snapshot
        version = parse_version(self._postfix.postconf("mail_version"))
        table = Table(width=WIDTH)
        for heading in ("tenant", "to", "Gatepost decided", "why", "Postfix did", "TLS", "headers"):
            table.add_column(heading, overflow="fold")
        shown: dict[str, Received] = {}
        for sent in messages:
            client = Client(login=sent.tenant, address="198.18.0.1")
            answer = explain(
                Case(client, sent.sender, sent.recipient), snapshot, version, time.time()
            )
            did = self._outcome(sent)
            received = self._received(sent) if did.startswith("sent") else None
            if received is not None:
                shown.setdefault(sent.tenant, received)
            decision, why = decided(answer)
            table.add_row(
                sent.tenant, f"{sent.kind}.example", decision, why, did, _tls(received),
                _added(received), end_section=sent.kind is DESTINATIONS[-1],
            )  # fmt: skip
        self._console.print(table, highlight=False, markup=False)
        for tenant, received in shown.items():
            self._console.print(f"  as {tenant}'s mail arrived at {received.host}:", markup=False)
            for line in [f"MAIL FROM:<{received.sender}>", *_headers(received)]:
                self._console.print(f"    {line}", markup=False, style="green")
        return shown

    def _send(self, tenant: str, kind: Kind) -> Sent:
        subject = f"round {self._round} from {tenant} to {kind}"
        output = run(
            ["swaks", "--server", ADDRESS, "--port", "587", "--helo", "client.example",
             "--auth", "PLAIN", "--auth-user", tenant, "--auth-password", "secret",
             "--from", f"news@{tenant}.example", "--to", f"reader@{kind}.example",
             "--header", f"Subject: {subject}", "--add-header", "X-Campaign: spring",
             "--add-header", "X-Mail-Type: newsletter", "--body", "hello"],
        ).decode()  # fmt: skip
        found = re.search(r"queued as (\S+)", output)
        if found is None:
            raise LabError(f"Postfix did not take the message: {output[-300:]}")
        return Sent(tenant, kind, found[1], subject)

    def _outcome(self, sent: Sent) -> str:
        pattern = rf"{sent.queue_id}: to=<{re.escape(sent.recipient)}>.* status=(\w+) \((.*)\)"
        line = self._postfix.wait_log(pattern, _WAIT_S)
        text = line[2].partition(" by host ")[0]
        return line[1] if line[1] == "sent" else f"{line[1]}: {text}"

    def _received(self, sent: Sent) -> Received:
        return self._world.fleet.wait_subject(sent.subject, _WAIT_S)


def decided(answer: Explanation) -> tuple[str, str]:
    """Return what Gatepost decided for a message, and why, in the words of a table."""
    if answer.modes.tls is not Mode.ENFORCE:
        would = [seen for seen in answer.rcpt.observations if seen.feature is Feature.TLS]
        details = [seen.detail.partition(" for ")[0] for seen in would]
        return "changes nothing", "observe, would apply " + ", ".join(details)
    service = answer.route.service if answer.route is not None else None
    sources = ", ".join(opinion.source for opinion in answer.tls.opinions)
    return f"{service or 'smtp'}: {answer.policy or 'as before'}", sources


def _tls(received: Received | None) -> str:
    if received is None:
        return "-"
    return received.tls["version"] if received.tls else "plaintext"


def _headers(received: Received) -> list[str]:
    return [f"{name}: {value}" for name in HEADERS for value in received.headers(name)]


def _added(received: Received | None) -> str:
    if received is None:
        return "-"
    return ", ".join(name for name in HEADERS if received.headers(name)) or "none added"


def _short(text: str) -> str:
    room = WIDTH - 8
    return text if len(text) <= room else f"{text[:room]}…"


def _indent(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.strip().splitlines())


def _files(postfix: PrivatePostfix) -> dict[str, str]:
    names = ("main.cf", "master.cf")
    return {name: (Path(postfix.config_dir) / name).read_text("utf-8") for name in names}


def _enforced(tenant: str) -> dict[str, Any]:
    tenants = CONFIGURATION["tenants"]
    changed = {**tenants[tenant], "modes": {"default": "enforce"}}
    return {**CONFIGURATION, "tenants": {**tenants, tenant: changed}}


def main() -> int:
    """Run the demo and return its exit status."""
    console = Console(width=WIDTH, highlight=False)
    if not inside():
        print("demo: runs in the lab only: sudo ./dev demo", file=sys.stderr)
        return 2
    began = time.monotonic()
    try:
        made = World(DESTINATIONS)
        demo_feedback.prepare(made)
        with made as world, world.postfix(users=LOGINS) as postfix:
            Demo(console, world, postfix).run()
    except LabError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    console.print(
        f"\nDone in {time.monotonic() - began:.0f} s, all on {SENDER_DOMAIN}'s private network; "
        "the machine's own Postfix was neither read nor changed."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
