"""``gatepost reload``: put the configuration on disk in force."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import typer

from gatepost.cli.common import DEFAULT_CONFIG, NO, ConfigOption, JsonOption, print_json
from gatepost.runtime.overview import ask_all, look_at_sockets, name_unreachable, together
from gatepost.runtime.paths import roles_of
from gatepost.settings import Loader

# Above what 100,000 tenants take, three times on two processors.
TIMEOUT_S = 120.0


def command(*, config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Have all running processes read the configuration again.

    Each of them checks it as gatepost check does, and that Postfix has the delivery services that
    it needs; then it takes it whole, or keeps what it has. No connection is dropped, and mail that
    is being received ends under the configuration that it began with. A socket that Postfix cannot
    use any more, as after its file was removed, is named: no reload brings it back.

    Exit status: 0 in force everywhere; 1 refused, or a process does not answer; 2 usage error.
    """
    settings = Loader(config).settings()
    results = ask_all(settings.run_dir, "reload", TIMEOUT_S, roles_of(settings))
    sockets = list(look_at_sockets(settings))
    name_unreachable(results, sockets, settings.run_dir)
    taken = all(result.get("ok", False) for result in results.values())
    if as_json:
        print_json({"ok": taken, "roles": results, "sockets": sockets})
    else:
        _print(results, sockets)
    if not taken:
        raise typer.Exit(NO)


def _print(results: Mapping[str, Mapping[str, Any]], sockets: Iterable[Mapping[str, Any]]) -> None:
    said = [(role, line) for role, result in results.items() for line in _lines(result)]
    said += [
        (socket["role"], f"{socket['path']}: {socket['problem']}; a restart mends it")
        for socket in sockets
        if socket["problem"] and socket["role"] and results[socket["role"]]["running"]
    ]
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
