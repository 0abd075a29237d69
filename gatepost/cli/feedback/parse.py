"""``gatepost feedback parse``: what Gatepost makes of a mail that came back."""

from __future__ import annotations

import datetime as dt
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from gatepost.cli.common import DEFAULT_CONFIG, NO, ConfigOption, errors_to_exit
from gatepost.cli.feedback.mails import mails_in, paths_of
from gatepost.errors import MalformedMessage, Unavailable
from gatepost.feedback.addresses import bare_address
from gatepost.feedback.mime import MAX_OCTETS, Part, parse_mime, values
from gatepost.feedback.read import EnvelopeFacts, read_mail
from gatepost.feedback.report import FoundToken, Report, ReportedRecipient, Severity
from gatepost.feedback.token import Keyring
from gatepost.feedback.tokens_in import TOKEN_HEADER
from gatepost.runtime.feedback.intake_worker import setup_of
from gatepost.runtime.feedback.reader_child import ReportReader
from gatepost.runtime.log import clean
from gatepost.settings import Loader
from gatepost.tenants.model import Tenant

_FIRST_DAY = dt.date(2020, 1, 1)
_SHOWN = 20
_NO_KEYS = Keyring({}, 0)
_NO_SETUP: Mapping[str, Any] = {"keys": {}, "current": 0, "dns": (), "reporters": (), "state": ""}
_PROVEN = {True: "authenticated", False: "not authenticated", None: "not looked at"}


@dataclass(frozen=True, slots=True)
class Known:
    """What the configuration tells of our tokens.

    Attributes:
        keyring: The keys that may have signed them.
        tenants: Tenants by number.
        token_header: Name of the header that carries them.
    """

    keyring: Keyring = _NO_KEYS
    tenants: Mapping[int, Tenant] = field(default_factory=dict)
    token_header: str = TOKEN_HEADER

    def read(self, octets: bytes, now: float) -> tuple[Report, Origin]:
        """Return what a mail says, without a look at where it comes from.

        Raises:
            MalformedMessage: If it cannot be read.
        """
        envelope = envelope_of(parse_mime(octets[:MAX_OCTETS]))
        return read_mail(octets, envelope, self.keyring, now, self.token_header), Origin()


@dataclass(frozen=True, slots=True)
class Origin:
    """What is known of where a mail comes from.

    Attributes:
        authenticated: Whether the reporter is who it claims to be, or None if nobody looked.
        reason: Why it is not, or why nobody could look; may be empty.
    """

    authenticated: bool | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Parsed:
    """One mail.

    Attributes:
        document: What ``--json`` prints.
        report: What it was made of.
        origin: Where it comes from.
    """

    document: dict[str, Any]
    report: Report
    origin: Origin


# What reads a mail that came at a time.
Read = Callable[[bytes, float], tuple[Report, Origin]]


def command(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE...", help="Mails, mailboxes or directories; - is standard input."
        ),
    ],
    *,
    config: ConfigOption = DEFAULT_CONFIG,
    offline: Annotated[
        bool, typer.Option("--offline", help="Ask DNS for no key, and verify no signature.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
) -> None:
    """Show what a complaint, bounce or unsubscription says, and of which message.

    Runs what the intake runs, on files and without any effect: nothing is counted, suppressed or
    stored. A FILE is a mail, a mailbox in mbox format, or a directory, of which all files are taken
    (those below it too, but none that begins with a dot, nor a Maildir's tmp).

    Who reports is authenticated as the intake does it, by DKIM, where something could follow from
    the mail: DNS is then asked for keys, unless --offline is given.

    Tokens are opened with the keys of the configuration; without the default configuration none
    are. A token that has expired, or that is not ours, is told as a note. The envelope of a file is
    not known: the headers Return-Path, Delivered-To, X-Original-To and To take its place.

    With --json, each mail is one line: {"file", "kind", "format", "reporter", "authenticated",
    "recipients": [{"address", "status", "action", "class", "hard", "rule"}], "token" or null,
    "original": {"message_id", "from", "feedback_id"}, "incidents"}. "kind" is complaint, bounce,
    unsubscribe, tls-report, auto-reply, not-spam, auth-failure or unknown. "authenticated" is null
    where that was not looked at, and "hard" where nothing was classified. A mail of kind bounce has
    at least one recipient that failed; a notice of delay is an auto-reply.

    Exit status: 0 all were read, whatever they are; 1 some could not be, which are named, and the
    others were; 2 usage or configuration error.

    Example: gatepost feedback parse --json /var/mail/bounces Maildir/ - < complaint.eml
    """
    with errors_to_exit():
        known, setup = _configuration(config)
    show = _print_json if as_json else _print
    if offline:
        whole = _each(files, known, None, show)
    else:
        with closing(ReportReader(setup)) as reader:
            whole = _each(files, known, _Online(known, reader).read, show)
    if not whole:
        raise typer.Exit(NO)


def _each(
    files: list[str], known: Known, read: Read | None, show: Callable[[Parsed], None]
) -> bool:
    """Show each mail; tell whether all could be read."""
    whole = True
    for name, octets in _mails(files):
        try:
            if isinstance(octets, OSError):
                raise octets
            parsed = parse(name, octets, known, time.time(), read)
        except (MalformedMessage, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) else None
            print(clean(f"gatepost: {name}: {reason or error}"), file=sys.stderr)
            whole = False
        else:
            show(parsed)
    return whole


def parse(name: str, octets: bytes, known: Known, now: float, read: Read | None = None) -> Parsed:
    """Return what a mail says, as the command shows it.

    Args:
        name: What to call it.
        octets: The mail.
        known: What the configuration tells.
        now: Unix time in seconds.
        read: What reads it; without it, nobody is authenticated.

    Raises:
        MalformedMessage: If it cannot be read.
    """
    if not octets.strip():
        raise MalformedMessage("there is no mail in it", rule="RFC 5322 §3.5")
    report, origin = (read or known.read)(octets, now)
    document = {
        "file": name,
        "kind": report.kind.value,
        "format": report.format,
        "reporter": report.reporter,
        "authenticated": origin.authenticated,
        "recipients": [_recipient(each) for each in report.recipients],
        "token": None if report.token is None else _token(report.token, known.tenants),
        "original": {
            "message_id": report.original.message_id,
            "from": report.original.sender,
            "feedback_id": report.original.feedback_id,
        },
        "incidents": report.incidents,
    }
    return Parsed(document, report, origin)


class _Online:
    """Reads mails as the intake does."""

    def __init__(self, known: Known, reader: ReportReader) -> None:
        self._known = known
        self._reader = reader

    def read(self, octets: bytes, now: float) -> tuple[Report, Origin]:
        mail = parse_mime(octets[:MAX_OCTETS])
        try:
            report, proven = self._reader.report(octets, mail, envelope_of(mail), now)
        except Unavailable as error:
            return self._known.read(octets, now)[0], Origin(None, str(error))
        return report, Origin(self._reader.is_authenticated(report, proven), proven.reason)


def envelope_of(mail: Part) -> EnvelopeFacts:
    """Return the envelope of a mail in a file, as far as its header tells."""
    paths = values(mail, "return-path")[:1]
    return EnvelopeFacts(bare_address(paths[0]) if paths else None)


def _configuration(config: Path) -> tuple[Known, dict[str, Any]]:
    """Return what the configuration tells, nothing if it is the default and does not exist."""
    if config == DEFAULT_CONFIG and not config.exists():
        print(f"gatepost: there is no {config}: no token is opened", file=sys.stderr)
        return Known(), dict(_NO_SETUP)
    loaded = Loader(config).load(promoted=False)
    snapshot = loaded.snapshot
    known = Known(snapshot.keyring, snapshot.tenants.by_number, snapshot.platform.token_header)
    return known, setup_of(snapshot, loaded.settings.dns_servers, "")


def _mails(files: list[str]) -> Iterator[tuple[str, bytes | OSError]]:
    for name in files:
        for path in paths_of(name):
            try:
                yield from mails_in(path)
            except OSError as error:
                yield path, error


def _recipient(recipient: ReportedRecipient) -> dict[str, Any]:
    classified = recipient.classified
    return {
        "address": recipient.address,
        "status": recipient.status,
        "action": recipient.action,
        "class": None if classified is None else classified.bounce_class,
        "hard": None if classified is None else classified.severity is Severity.HARD,
        "rule": None if classified is None else classified.rule,
    }


def _token(found: FoundToken, tenants: Mapping[int, Tenant]) -> dict[str, Any]:
    token = found.token
    tenant = tenants.get(token.tenant)
    return {
        "purpose": found.purpose.value,
        "where": found.where,
        "tenant": None if tenant is None else tenant.id,
        "message": token.message.hex(),
        "recipient": token.recipient,
        "made": str(_FIRST_DAY + dt.timedelta(days=token.day)),
    }


def _print_json(parsed: Parsed) -> None:
    print(json.dumps(parsed.document), flush=True)


def _print(parsed: Parsed) -> None:
    for line in _lines(parsed):
        print(clean(line))


def _lines(parsed: Parsed) -> Iterator[str]:
    document, report = parsed.document, parsed.report
    by = f" by {report.reporter}" if report.reporter else ""
    yield f"{document['file']}: {report.kind.value} ({report.format}){by}"
    if parsed.origin.authenticated is not None or parsed.origin.reason:
        reason = f": {parsed.origin.reason}" if parsed.origin.reason else ""
        yield f"    origin     {_PROVEN[parsed.origin.authenticated]}{reason}"
    if report.token is None:
        yield "    token      none of ours"
    else:
        token = document["token"]
        yield (
            f"    token      {token['purpose']}, in {token['where']}: tenant "
            f"{token['tenant'] or '(unknown)'}, message {token['message']}, "
            f"recipient {token['recipient']}, made {token['made']}"
        )
    if report.original.message_id or report.original.sender:
        yield f"    original   {report.original.message_id} from {report.original.sender or '-'}"
    for each in report.recipients[:_SHOWN]:
        yield f"    recipient  {_described(each)}"
    if len(report.recipients) > _SHOWN:
        yield f"    recipient  and {len(report.recipients) - _SHOWN} more; see --json"
    for note in report.notes:
        yield f"    note       {note}"


def _described(recipient: ReportedRecipient) -> str:
    words = [recipient.address or "(not shown)", recipient.action, recipient.status]
    if recipient.classified is not None:
        found = recipient.classified
        words += [f"{found.bounce_class}, {found.severity.value}", f"[{found.rule}] {found.why}"]
    return "  ".join(word for word in words if word)
