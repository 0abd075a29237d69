"""The part of the demo in which mail comes back: a complaint, and what Gatepost makes of it.

Purpose: show the loop as an administrator meets it: a mailbox provider reports a message as spam,
`gatepost events tail` names tenant, campaign and recipient, the next message to that recipient is
refused, and a forged report does nothing.
"""

from __future__ import annotations

import contextlib
import smtplib

from rich.console import Console

from lab.fleet import Received
from lab.gatepost import Gatepost
from lab.process import LabError, wait_until
from lab.reporters import ReportSigner, header, yahoo_report
from lab.send import connect
from lab.world import ADDRESS, World

PROVIDER = ReportSigner("arf.mail.yahoo.com")
STRANGER = ReportSigner("stranger.example")
# From outside.
_REMOTE = "198.18.2.9"
_SOON_S = 20


def prepare(world: World) -> None:
    """Give the provider a place in DNS; before the world is entered."""
    world.names.address("remote.example", _REMOTE)
    world.names.outside[PROVIDER.name] = PROVIDER.record
    world.names.text(STRANGER.name, STRANGER.record)


def show(console: Console, gatepost: Gatepost, original: Received, tenant: str) -> None:
    """Report a message as its provider would, and show what follows.

    Args:
        console: Where to print.
        gatepost: Gatepost, attached, with `tenant` in enforce.
        original: A message of the tenant as it arrived, with feedback headers.
        tenant: Tenant id and login.
    """
    recipient = original.recipients[0]
    to = header(original.octets, "CFBL-Address").partition(";")[0].strip()
    report = yahoo_report(original.octets, to, recipient)
    console.print(f"  {STRANGER.domain} sends a forged report to {to}", markup=False)
    _hand_in(STRANGER.sign(report), to)
    console.print(f"  {PROVIDER.domain} reports the same message, signed\n", markup=False)
    _hand_in(PROVIDER.sign(report), to)
    _wait_refused(recipient, tenant)
    for command in (
        ("feedback", "received"),
        ("events", "tail", "--type", "message.complained"),
        ("suppression", "list", "--tenant", tenant),
    ):
        console.print(f"  gatepost {' '.join(command)}", style="bold", markup=False)
        for line in gatepost.command(*command).splitlines():
            console.print(f"    {line}", markup=False, style="green", soft_wrap=True)
    console.print(f"  the next message of {tenant} to {recipient}:", markup=False)
    console.print(f"    {_refusal(recipient, tenant)}", markup=False, style="green")


def _hand_in(mail: bytes, to: str) -> None:
    with contextlib.closing(connect(ADDRESS, client=_REMOTE)) as connection:
        try:
            connection.sendmail("feedback@arf.mail.yahoo.com", [to], mail)
        except smtplib.SMTPException as error:
            raise LabError(f"a report was not taken: {error}") from error


def _refusal(recipient: str, tenant: str) -> str:
    with contextlib.closing(connect(ADDRESS, tenant)) as connection:
        connection.mail(f"news@{tenant}.example")
        code, text = connection.rcpt(recipient)
        return "" if code == 250 else f"{code} {text.decode()}"


def _wait_refused(recipient: str, tenant: str) -> None:
    wait_until(lambda: bool(_refusal(recipient, tenant)), _SOON_S, f"{recipient} to be suppressed")
