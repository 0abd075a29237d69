"""``gatepost feedback quarantine``: mail that came back and could not be read."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from gatepost.cli.common import (
    DEFAULT_CONFIG,
    NO,
    ConfigOption,
    JsonOption,
    errors_to_exit,
    fail,
    number,
    print_json,
)
from gatepost.errors import GatepostError
from gatepost.feedback.suppression_table import format_time
from gatepost.runtime.feedback.spool import Quarantined, Spool
from gatepost.runtime.log import clean
from gatepost.settings import Loader

SHOWN_OCTETS = 4096

FoundT = TypeVar("FoundT")

_IdsArgument = Annotated[list[str], typer.Argument(metavar="ID...", help="As list names them.")]

app = typer.Typer(
    no_args_is_help=True, help="Mail that came back and could not be read, or was not acted on."
)


@app.command("list")
def list_held(*, config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """List the mails in quarantine, the oldest first, with the reason of each.

    A mail that came back is put here, and Postfix told that it was taken, if it is larger than 26
    MiB (too-large), exceeds a limit or makes no sense (unreadable), takes more than 30 seconds or
    10 seconds of processor time (time-limit), ends the process that reads it twice
    (reader-crashed), or if one reporter complains more than 10,000 times an hour about one tenant
    (over-limit). Nothing follows from it. It is deleted after feedback.keep_reports, 7 days
    unless set otherwise; before that, the largest go where there are more than 512 MiB, and the
    oldest of more than 10,000.

    Exit status: 0, also if there are none; 2 configuration error, or the directory cannot be read.
    """
    with errors_to_exit(as_json=as_json):
        held = _read(lambda spool: spool.held(), config)
    if as_json:
        print_json({"mails": [_document(each) for each in held]})
        return
    for each in held:
        print(clean(_line(each)))
    if not held:
        print("nothing is in quarantine", file=sys.stderr)


@app.command("show")
def show(
    mail_id: Annotated[str, typer.Argument(metavar="ID", help="As list names it.")],
    *,
    raw: Annotated[
        bool, typer.Option("--raw", help="Write the mail alone, octet by octet, for a file.")
    ] = False,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Show one mail in quarantine: why it is there, its envelope, and its first 4 KiB.

    What it holds is whatever a stranger has sent; control characters are shown as escapes, but for
    --raw. To see what would be made of it: gatepost feedback quarantine show --raw ID | gatepost
    feedback parse -

    Exit status: 0 fine; 1 there is no such mail; 2 usage or configuration error.
    """
    with errors_to_exit(as_json=as_json):
        found = _read(lambda spool: spool.find_held(mail_id), config)
        if found is None:
            fail(f"{mail_id}: no such mail in quarantine", NO)
        octets = _octets(found, None if raw else SHOWN_OCTETS)
    if raw:
        sys.stdout.buffer.write(octets)
    elif as_json:
        print_json(_document(found))
    else:
        print(clean(_line(found)))
        for line in octets.decode("utf-8", "replace").splitlines():
            print(f"  {clean(line)}")


@app.command("retry")
def retry(
    ids: _IdsArgument, *, config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False
) -> None:
    """Have mails in quarantine read again, as if they had just come.

    Useful after an update that reads more, or when what was held as over-limit turned out to be
    genuine. The back process takes them up within 2 seconds, and puts what is no better into
    quarantine again.

    Exit status: 0 all were there; 1 some were not; 2 usage or configuration error.
    """
    _each(ids, Spool.retry, "will be read again", config, as_json=as_json)


@app.command("drop")
def drop(
    ids: _IdsArgument, *, config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False
) -> None:
    """Delete mails in quarantine.

    Exit status: 0 all were there; 1 some were not; 2 usage or configuration error.
    """
    _each(ids, Spool.drop, "deleted", config, as_json=as_json)


def _each(
    ids: Iterable[str],
    do: Callable[[Spool, str], bool],
    done: str,
    config: Path,
    *,
    as_json: bool,
) -> None:
    with errors_to_exit(as_json=as_json):
        results = _read(lambda spool: {each: do(spool, each) for each in ids}, config)
    if as_json:
        print_json({"ok": all(results.values()), "mails": results})
    else:
        for mail_id, there in results.items():
            text = done if there else "no such mail in quarantine"
            print(clean(f"{mail_id}: {text}"), file=sys.stdout if there else sys.stderr)
    if not all(results.values()):
        raise typer.Exit(NO)


def _read(ask: Callable[[Spool], FoundT], config: Path) -> FoundT:
    """Return what is asked of the spool, or say why it cannot be."""
    settings = Loader(config).settings()
    directory = settings.intake_dir
    if directory is None:
        raise GatepostError(
            "no mail comes back here: neither platform.bounce_domain nor "
            "platform.feedback_domain is set"
        )
    if not directory.exists():
        raise GatepostError(f"{directory} does not exist; gatepost serve back makes it")
    try:
        return ask(Spool(directory))
    except OSError as error:
        raise GatepostError(
            f"{error.filename or directory}: {error.strerror}; run this as root or as "
            f"{settings.user}"
        ) from error


def _octets(found: Quarantined, limit: int | None) -> bytes:
    with found.mail.path.open("rb") as file:
        file.seek(found.mail.offset)
        return file.read() if limit is None else file.read(limit)


def _document(held: Quarantined) -> dict[str, Any]:
    envelope = held.mail.envelope
    return {
        "id": held.mail.id,
        "reason": held.reason,
        "text": held.text,
        "at": envelope.at,
        "sender": envelope.sender,
        "recipients": list(envelope.recipients),
        "octets": held.mail.octets,
    }


def _line(held: Quarantined) -> str:
    envelope = held.mail.envelope
    at = format_time(envelope.at)
    to = ", ".join(f"<{each}>" for each in envelope.recipients)
    return (
        f"{held.mail.id}  {at}  {held.reason}  from <{envelope.sender}> to {to}, "
        f"{number(held.mail.octets, 'octet')}: {held.text}"
    )
