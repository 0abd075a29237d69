"""The ``gatepost`` command: a list of the commands, each of which is a module of its own.

A command module has one function per command, with a docstring that is its ``--help``, and adds
itself here. docs/cli.md is generated from this list.
"""

from __future__ import annotations

import sys

import typer

from gatepost.cli import (
    attach,
    check,
    detach,
    doctor,
    explain,
    init,
    log,
    reload,
    report,
    serve,
    status,
    tls,
)
from gatepost.cli.output import OutputFailed, give_up, set_up_streams

app = typer.Typer(
    name="gatepost",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Turn an existing Postfix into a multi-tenant sending platform.",
)

app.command("init")(init.command)
app.command("check")(check.command)
app.command("attach")(attach.command)
app.command("detach")(detach.command)
app.command("doctor")(doctor.command)
app.command("explain")(explain.command)
app.command("serve")(serve.command)
app.command("reload")(reload.command)
app.command("status")(status.command)
app.add_typer(report.app, name="report")
app.add_typer(log.app, name="log")
app.add_typer(tls.app, name="tls")


@app.callback()
def _commands() -> None:
    """Turn an existing Postfix into a multi-tenant sending platform."""


def main() -> None:
    """Run the command line."""
    set_up_streams()
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except OutputFailed as failure:
        sys.exit(give_up(failure))
