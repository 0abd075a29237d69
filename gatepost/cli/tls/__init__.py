"""``gatepost tls``: what is known of mail servers and deliveries, and what follows from it.

Each command is a module of its own and adds itself here.
"""

from __future__ import annotations

import typer

from gatepost.cli.tls import answer, exchange, promote, reports, share, survey, what_if

app = typer.Typer(no_args_is_help=True, help="TLS of destinations: answers, evidence, rules.")


@app.callback()
def _commands() -> None:
    """TLS of destinations: answers, evidence, rules."""


app.command("answer")(answer.command)
app.add_typer(reports.app, name="reports")
app.command("share")(share.command)
app.add_typer(survey.app, name="survey")
app.command("import")(exchange.import_table)
app.command("export")(exchange.export)
app.command("promote")(promote.command)
app.command("what-if")(what_if.command)
