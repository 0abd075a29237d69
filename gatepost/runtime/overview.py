"""How everything is: what ``gatepost status`` finds out.

Purpose: one look at processes, sockets and configuration, in force and on disk, as plain data.
Limits: a role gets 2 s to answer.
Errors: none; what cannot be found out is part of the answer.
"""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from gatepost.errors import ConfigErrors, GatepostError, StartError
from gatepost.postfix.instances.state import instance_states
from gatepost.postfix.services import is_attached
from gatepost.postfix.spec import INTAKE_SOCKET
from gatepost.runtime.control import ask
from gatepost.runtime.installation import ask_postfix, find
from gatepost.runtime.paths import (
    ROLES,
    SOCKET_MODE,
    SOCKETS,
    control_path,
    roles_of,
    supervisor_state_path,
)
from gatepost.runtime.privileges import group_name
from gatepost.runtime.sockets import answers
from gatepost.runtime.state_server import state_server
from gatepost.settings import Loader, Settings


@dataclass(slots=True)
class Overview:
    """What was found.

    Attributes:
        config: The configuration file on disk: ``file``, ``digest`` or null, and ``errors``.
        roles: What each role answered, with ``running``; or ``running: false`` and ``reason``.
        supervisor: What supervisor.json says, with ``running``; None where there is none.
        sockets: ``path``, ``role``, and ``problem`` or null.
        instances: Lanes' own Postfix instances: ``lane``, ``config_dir``, ``running`` and
            ``messages``, each null where it cannot be found out.
        state: What the server of state says of itself, or why it cannot be used; empty for a file.
        down: What does not work, one sentence each; empty if all is well.
        attention: What works and should be looked at.
    """

    config: dict[str, Any]
    roles: dict[str, dict[str, Any]] = field(default_factory=dict)
    supervisor: dict[str, Any] | None = None
    sockets: list[dict[str, Any]] = field(default_factory=list)
    instances: list[dict[str, Any]] = field(default_factory=list)
    state: str = ""
    down: list[str] = field(default_factory=list)
    attention: list[str] = field(default_factory=list)


def look(config: Path, on_disk: dict[str, Any] | None = None) -> Overview:
    """Return how everything is.

    Args:
        config: The configuration file.
        on_disk: What to say of the files, instead of reading all of them.
    """
    loader = Loader(config)
    settings = loader.settings()
    found = Overview(_on_disk(loader, config) if on_disk is None else on_disk)
    found.roles = ask_all(settings.run_dir, "status", roles=roles_of(settings))
    found.supervisor = _supervisor(settings.run_dir)
    found.sockets = list(look_at_sockets(settings))
    found.instances = [asdict(state) for state in instance_states(settings.postfix_config_dir)]
    found.state, trouble = state_server(settings)
    name_unreachable(found.roles, found.sockets, settings.run_dir)
    found.down = list(_down(found))
    found.attention = [*trouble, *_attention(found), *_attention_to_postfix(found, settings)]
    return found


def ask_all(
    run_dir: Path, command: str, timeout_s: float = 2.0, roles: Sequence[str] = ROLES
) -> dict[str, dict[str, Any]]:
    """Return the reply of each role to a command, all asked at the same time.

    A reply gets ``running: true``; instead of a reply, ``running: false`` with ``reason``.

    Args:
        run_dir: Where the control sockets are.
        command: As for `gatepost.runtime.control.ask`.
        timeout_s: Seconds that a role may take.
        roles: Whom to ask.
    """

    def one(role: str) -> dict[str, Any]:
        try:
            reply = ask(control_path(run_dir, role), command, timeout_s=timeout_s)
        except StartError as error:
            return {"running": False, "reason": str(error)}
        return {"running": True, **reply}

    with ThreadPoolExecutor(len(roles)) as pool:
        return dict(zip(roles, pool.map(one, roles), strict=True))


def _on_disk(loader: Loader, config: Path) -> dict[str, Any]:
    try:
        loaded = loader.load()
    except ConfigErrors as error:
        return {"file": str(config), "digest": None, "errors": [str(e) for e in error.errors]}
    return {"file": str(config), "digest": loaded.snapshot.digest, "errors": []}


def _supervisor(run_dir: Path) -> dict[str, Any] | None:
    try:
        state: dict[str, Any] = json.loads(supervisor_state_path(run_dir).read_text("ascii"))
        pid = int(state["pid"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return {**state, "running": _is_supervisor(pid)}


def _is_supervisor(pid: int) -> bool:
    # The number of a dead process may be another's by now. Its lock would tell for sure, but
    # looking takes the lock for a moment, and a supervisor that starts would find it taken.
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return b"serve" in words


def name_unreachable(
    roles: Mapping[str, dict[str, Any]], sockets: Iterable[Mapping[str, Any]], run_dir: Path
) -> None:
    """Put right the reason of roles that serve Postfix, although their control socket is gone.

    Args:
        roles: What `ask_all` returned.
        sockets: What `look_at_sockets` found.
        run_dir: Where the control sockets are.
    """
    serving = {each["role"] for each in sockets if each["problem"] is None}
    for role in serving & roles.keys():
        path = control_path(run_dir, role)
        if not roles[role]["running"] and not path.exists():
            roles[role]["reason"] = f"serves, but {path} is gone, so it cannot be asked; restart it"


def look_at_sockets(settings: Settings) -> Iterator[dict[str, Any]]:
    """Yield the sockets that Postfix uses, each with ``path``, ``role``, and ``problem`` or null.

    Where Postfix cannot be asked for their place there is one entry, of no role.
    """
    try:
        directory = find(settings).socket_dir
    except GatepostError as error:
        yield {"path": settings.socket_dir, "role": None, "problem": str(error)}
        return
    offered = dict(SOCKETS)
    if settings.intake_dir is not None:
        offered["back"] += (INTAKE_SOCKET,)
    for role, names in offered.items():
        for name in names:
            path = directory / name
            problem = _socket_problem(path, settings.postfix_group)
            yield {"path": str(path), "role": role, "problem": problem}


def _socket_problem(path: Path, group: str) -> str | None:
    try:
        found = path.lstat()
        if stat.S_ISSOCK(found.st_mode) and not answers(path):
            return "nobody answers"
    except FileNotFoundError:
        return "does not exist"
    except OSError as error:
        return str(error.strerror)
    return _rights_problem(found, group)


def _rights_problem(found: os.stat_result, group: str) -> str | None:
    if not stat.S_ISSOCK(found.st_mode):
        return "is no socket"
    if group_name(found.st_gid) != group:
        return f"belongs to group {group_name(found.st_gid)}, so Postfix cannot connect"
    if stat.S_IMODE(found.st_mode) != SOCKET_MODE:
        return f"has mode {stat.S_IMODE(found.st_mode):04o} instead of {SOCKET_MODE:04o}"
    return None


def _down(found: Overview) -> Iterator[str]:
    for role, answer in found.roles.items():
        if not answer["running"]:
            yield f"{role}: {answer['reason']}"
        elif answer.get("supervisor") == "gone":
            yield f"{role}: serves without its supervisor, which died; run gatepost serve again"
    for socket in found.sockets:
        if socket["problem"] is not None:
            yield f"{socket['path']}: {socket['problem']}"
    for instance in found.instances:
        if instance["running"] is False:
            yield (
                f"the Postfix instance of lane {instance['lane']} does not run; start it: postfix "
                f"-c {instance['config_dir']} start"
            )


def _attention(found: Overview) -> Iterator[str]:
    if found.config["errors"]:
        yield (
            f"{found.config['file']} has errors, so a reload or a restart would be refused; "
            "run gatepost check"
        )
    running = {role: each for role, each in found.roles.items() if each["running"]}
    digests = {each.get("digest") for each in running.values()}
    if len(digests) > 1:
        yield "the roles have different configurations in force; run gatepost reload"
    elif digests and found.config["digest"] not in {None, *digests}:
        yield "the configuration on disk is not the one in force; gatepost reload puts it in force"
    if len({each.get("version") for each in running.values()}) > 1:
        yield "the roles run different versions of Gatepost; restart them"
    for text, roles in together((r, t) for r, a in running.items() for t in _attention_to(a)):
        yield f"{', '.join(roles)}: {text}"


def _attention_to_postfix(found: Overview, settings: Settings) -> Iterator[str]:
    if not is_attached(settings.postfix_config_dir):
        yield (
            "Postfix is not attached: nothing in main.cf asks Gatepost, and mail passes as if it "
            "were not there; run gatepost attach"
        )
        return
    joined = found.roles["policy"].get("postfix_tls_level")
    try:
        level = ask_postfix(settings).operator.level
    except GatepostError:
        # The sockets say it already.
        return
    if joined is not None and joined != level:
        yield (
            f"smtp_tls_security_level is {level or 'empty'} now, and {joined or 'empty'} is what "
            "the policy server joins to its answers; run gatepost reload"
        )


def _attention_to(answer: Mapping[str, Any]) -> Iterator[str]:
    last = answer.get("last_reload") or {}
    if last and not last["ok"]:
        yield from (f"the last reload was refused: {error}" for error in last["errors"])
    yield from answer.get("notes", ())
    discovery = answer.get("discovery") or {}
    if discovery.get("dane") and discovery.get("problem"):
        yield f"DANE is off: {discovery['problem']}; run gatepost doctor"
    enforced = answer.get("modes", {}).get("tls", {}).get("enforce", 0)
    if answer.get("maillog") == "" and enforced:
        yield (
            f"TLS is enforced for {enforced} tenants and maillog is off: nothing tells of mail "
            "that goes out with less"
        )
    if unread := (answer.get("suppression") or {}).get("problem"):
        yield f"the suppression list is not read, see suppression.on_failure: {unread}"
    if answer.get("maillog_trouble"):
        yield f"the mail log is not read: {answer['maillog_trouble']}"
    if trouble := (answer.get("queue") or {}).get("trouble"):
        yield f"backlogs are not, or not wholly, known: {trouble}"
    yield from answer.get("promoted_dropped", ())
    yield from _of_counters(answer.get("quota") or {})
    yield from answer.get("webhooks_attention", ())
    if answer.get("events_file_trouble"):
        yield f"events are not written to their file: {answer['events_file_trouble']}"
    weaker = answer.get("counts", {}).get("weaker_deliveries", {}).get("all", 0)
    if weaker:
        yield f"{weaker:g} deliveries had less TLS than asked; run gatepost tls share --check"
    for reason, count in answer.get("counts", {}).get("recorder_dropped", {}).items():
        yield f"{count:g} observations were not stored ({reason})"


def _of_counters(quota: Mapping[str, Any]) -> Iterator[str]:
    fleet = quota.get("fleet")
    if fleet is not None and not fleet["shared"]:
        yield (
            f"quotas are counted by this node alone, with {fleet['share']} of each: "
            f"{fleet['url']}: {fleet['reason']}"
        )


def together(said: Iterable[tuple[str, str]]) -> list[tuple[str, list[str]]]:
    """Return each text once, with the roles that said it, in the order of first mention.

    Args:
        said: Role and text.
    """
    found: dict[str, list[str]] = {}
    for role, text in said:
        found.setdefault(text, []).append(role)
    return list(found.items())


def age(then: float, now: float | None = None) -> str:
    """Return how long ago something was, in the largest whole unit.

    Args:
        then: Unix time in seconds.
        now: Unix time in seconds, or None for the present.
    """
    seconds = max(0, int((time.time() if now is None else now) - then))
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
