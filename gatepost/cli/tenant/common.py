"""What the commands about tenants share: who is meant, who does it, and how a status reads."""

from __future__ import annotations

import os
import pwd
from typing import Annotated, Any

import typer

from gatepost.cli.common import fail
from gatepost.feedback.rules import Step
from gatepost.feedback.status import (
    MAX_REASON,
    WHOLE,
    Pause,
    Queued,
    Scope,
    Status,
    moment,
)
from gatepost.modes import Mode
from gatepost.runtime.log import clean
from gatepost.settings.schema import did_you_mean, there_are
from gatepost.snapshot import Snapshot
from gatepost.tenants.model import Tenant

TenantArgument = Annotated[str, typer.Argument(metavar="TENANT", help="Tenant id.")]

_IN_FORCE = "in force within a second in every process of Gatepost"


def tenant_in(snapshot: Snapshot, name: str) -> Tenant:
    """Return a tenant; leave with a usage error if there is none of that id."""
    tenant = snapshot.tenants.by_id.get(name)
    if tenant is None:
        known = list(snapshot.tenants.by_id)
        fail(f'there is no tenant "{name}"; {did_you_mean(name, known) or there_are(known)}')
    return tenant


def account() -> str:
    """Return who runs the command: behind sudo, who called it."""
    behind = os.environ.get("SUDO_USER")
    if behind:
        return behind
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def reason_of(text: str, option: str = "--reason") -> str:
    """Return a reason that can stand in an SMTP reply; leave with a usage error otherwise."""
    reason = " ".join(text.split())
    if not reason.isascii() or not reason.isprintable():
        fail(f"{option} is shown in SMTP replies, so it can hold printable ASCII only")
    if len(reason) > MAX_REASON:
        fail(f"{option} has {len(reason)} characters, and at most {MAX_REASON} fit")
    return reason


def is_active(status: Status, now: float) -> bool:
    """Tell whether neither the operator nor the ladder has done anything about a tenant."""
    return status.step is Step.NONE and not status.pauses_at(now)


def in_words(status: Status, tenant: Tenant, now: float) -> list[str]:
    """Return a status in sentences, the operator's part first."""
    found = [pause_in_words(pause) for pause in status.pauses_at(now)]
    if status.step is not Step.NONE:
        mode = tenant.modes.ladder
        acts = "" if mode is Mode.ENFORCE else f" (mode {mode}: it has no effect)"
        found.append(
            f"ladder: {status.step.keyword} since {moment(status.since)}{acts}: {status.why}"
        )
    return found or ["active"]


def paused_what(pause: Pause) -> str:
    """Return what is paused, in words."""
    if pause.scope is Scope.MARKETING:
        return "marketing paused"
    words = "" if pause.part == WHOLE else f"{pause.part.words()} "
    return clean(f"{words}paused")


def pause_in_words(pause: Pause) -> str:
    """Return a pause in one sentence."""
    until = "" if pause.until is None else f" until {moment(pause.until)}"
    queued = {
        Queued.KEEP: "",
        Queued.RETRY: " (queued mail is deferred)",
        Queued.HOLD: " (queued mail is on hold)",
    }[pause.queued]
    return (
        f"{paused_what(pause)} by {pause.by or 'the operator'} since {moment(pause.since)}"
        f"{until}{queued}: {pause.reason}"
    )


def pause_document(pause: Pause) -> dict[str, Any]:
    """Return a pause for ``--json``."""
    return {
        "scope": pause.scope.value,
        "campaign": pause.campaign or None,
        "domain": pause.domain or None,
        "queued": pause.queued.value,
        "reason": pause.reason,
        "since": pause.since,
        "until": pause.until,
        "by": pause.by,
    }


def document(name: str, status: Status, tenant: Tenant, now: float) -> dict[str, Any]:
    """Return a status for ``--json``."""
    pause = status.pause_at(now)
    return {
        "tenant": name,
        "operator": None if pause is None else pause_document(pause),
        "parts": [pause_document(each) for each in status.parts if each.holds(now)],
        "ladder": {
            "step": status.step.keyword,
            "mode": tenant.modes.ladder.value,
            "since": status.since or None,
            "why": status.why,
            "counted_from": status.counted_from or None,
        },
    }


def say_done(name: str, what: str) -> None:
    """Print what was done."""
    print(f"{name}: {what}; {_IN_FORCE}")
