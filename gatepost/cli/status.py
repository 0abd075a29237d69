"""``gatepost status``: show what runs and how it is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

import typer

from gatepost.cli.common import DEFAULT_CONFIG, NO, ConfigOption, JsonOption, number, print_json
from gatepost.runtime.log import clean
from gatepost.runtime.overview import Overview, age, look

_TROUBLES = 5
_MOST = 10


def command(*, config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Show processes, sockets, the configuration in force and on disk, modes, counts and errors.

    Exit status: 0 all roles serve and all sockets answer; 1 something is down; 2 usage error.
    """
    found = look(config)
    if as_json:
        print_json({"ok": not found.down, **asdict(found)})
    else:
        _print(found)
    if found.down:
        raise typer.Exit(NO)


def _print(found: Overview) -> None:
    digest = found.config["digest"]
    state = "has errors" if digest is None else f"digest {digest}"
    _row("on disk", f"{found.config['file']}: {state}")
    if found.supervisor is not None:
        alive = "running" if found.supervisor["running"] else "not running"
        _row("supervisor", f"{alive}, process {found.supervisor['pid']}")
    restarts = (found.supervisor or {}).get("roles", {})
    for role, answer in found.roles.items():
        _row(role, _role(answer, restarts.get(role, {})))
    if found.state:
        _row("state", found.state)
    for socket in found.sockets:
        _row("socket", f"{socket['path']}: {socket['problem'] or 'answers'}")
    for instance in found.instances:
        _row("instance", _instance(instance))
    running = [answer for answer in found.roles.values() if answer["running"]]
    _rows("modes", _modes(running))
    _rows("burst", _bursts(found.roles))
    _rows("backlog", _backlogs(found.roles))
    _rows("counts", _counts(found.roles))
    _rows("errors", _troubles(found.roles))
    _rows("look at", found.attention)
    _rows("DOWN", found.down)


def _role(answer: Mapping[str, Any], child: Mapping[str, Any]) -> str:
    if not answer["running"]:
        last = f"; last: {child['last_exit']}" if child.get("last_exit") else ""
        return f"{answer['reason']}{last}"
    parts = [
        f"running for {age(answer['started_at'])}, process {answer['pid']}",
        f"digest {answer['digest']} since {age(answer['loaded_at'])}",
        number(answer["tenants"], "tenant"),
    ]
    if answer.get("maillog_last_at"):
        parts.append(f"last delivery in the log {age(answer['maillog_last_at'])} ago")
    if child.get("restarts"):
        parts.append(f"{number(child['restarts'], 'restart')}, last: {child['last_exit']}")
    return ", ".join(parts)


def _instance(state: Mapping[str, Any]) -> str:
    runs = {True: "running", False: "not running", None: "not known whether it runs"}
    messages = state["messages"]
    queue = "queue not readable" if messages is None else number(messages, "message") + " in queue"
    return f"lane {state['lane']}: {runs[state['running']]}, {queue}"


def _modes(running: Iterable[Mapping[str, Any]]) -> Iterable[str]:
    for answer in running:
        for feature, modes in answer["modes"].items():
            tenants = ", ".join(f"{count} {mode}" for mode, count in modes.items() if count)
            yield f"{feature}: {tenants or 'no tenants'}"
        return


def _bursts(roles: Mapping[str, Mapping[str, Any]]) -> Iterable[str]:
    traffic = roles.get("policy", {}).get("traffic") or {}
    moved = list(traffic.get("burst", {}).items())[:_MOST]
    for tenant, state in moved:
        yield f"{tenant}: for {age(state['since'])}, {state['why']}"
    rest = traffic.get("burst_tenants", 0) - len(moved)
    if rest > 0:
        yield f"and {number(rest, 'more tenant')}"


def _backlogs(roles: Mapping[str, Mapping[str, Any]]) -> Iterable[str]:
    queue = roles.get("back", {}).get("queue") or {}
    for tenant, messages in list(queue.get("tenants", {}).items())[:_MOST]:
        yield f"{tenant}: {number(messages, 'message')} outstanding"


def _counts(roles: Mapping[str, Mapping[str, Any]]) -> Iterable[str]:
    for role, answer in roles.items():
        for name, values in answer.get("counts", {}).items():
            shown = ", ".join(f"{key} {value:g}" for key, value in values.items())
            yield f"{role} {name}: {shown}"


def _troubles(roles: Mapping[str, Mapping[str, Any]]) -> Iterable[str]:
    found = [
        (trouble["at"], role, trouble)
        for role, answer in roles.items()
        for trouble in answer.get("troubles", ())
    ]
    for at, role, trouble in sorted(found, key=lambda each: -each[0])[:_TROUBLES]:
        yield f"{age(at)} ago, {role}: {trouble['level']}: {trouble['text']}"


def _rows(title: str, lines: Iterable[str]) -> None:
    for line in lines:
        _row(title, line)


def _row(title: str, text: str) -> None:
    print(f"{title:<11} {clean(text)}")
