"""``gatepost reload``: put the configuration on disk in force."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import typer

from gatepost.cli.common import DEFAULT_CONFIG, NO, ConfigOption, JsonOption, print_json
from gatepost.runtime.overview import ask_all, together
from gatepost.settings import Loader

# Above what 100,000 tenants take, three times on two processors.
TIMEOUT_S = 120.0


def command(*, config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Have all running processes read the configuration again.

    Each of them checks it as gatepost check does, and that Postfix has the delivery services that
    it needs; then it takes it whole, or keeps what it has. No connection is dropped, and mail that
    is being received ends under the configuration that it began with.

    Exit status: 0 in force everywhere; 1 refused, or a process does not answer; 2 usage error.
    """
    results = ask_all(Loader(config).settings().run_dir, "reload", TIMEOUT_S)
    taken = all(result.get("ok", False) for result in results.values())
    if as_json:
        print_json({"ok": taken, "roles": results})
    else:
        _print(results)
    if not taken:
        raise typer.Exit(NO)


def _print(results: Mapping[str, Mapping[str, Any]]) -> None:
    said = ((role, line) for role, result in results.items() for line in _lines(result))
    for line, roles in together(said):
        print(f"{', '.join(roles)}: {line}")


def _lines(result: Mapping[str, Any]) -> list[str]:
    if not result["running"]:
        return [result["reason"]]
    if "errors" not in result:
        return [str(result.get("error"))]
    if result["ok"]:
        changed = "in force" if result["changed"] else "in force as before"
        return [f"{changed}, digest {result['digest']}", *result["notes"]]
    return [f"refused; still in force: digest {result['digest']}", *result["errors"]]
