"""``gatepost tls``: what is known of mail servers and deliveries, and what follows from it.

Each command is a module of its own and adds itself here.
"""

from __future__ import annotations

import typer

from gatepost.cli.tls import exchange, reports, share

app = typer.Typer(no_args_is_help=True, help="TLS of destinations: answers, evidence, rules.")


@app.callback()
def _commands() -> None:
    """TLS of destinations: answers, evidence, rules."""


app.add_typer(reports.app, name="reports")
app.command("share")(share.command)
app.command("import")(exchange.import_table)
app.command("export")(exchange.export)
