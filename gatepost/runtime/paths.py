"""Where the roles keep their sockets and files: one place, so that all parts agree.

Format: in the socket directory, ``<queue_directory>/gatepost``, the sockets that Postfix uses; in
the run directory ``<role>.ctl`` (control socket), ``<role>.lock`` (held while the role lives),
``supervisor.json`` (what the supervisor last did), ``traffic.json`` and ``burst.json`` (what the
back role and the policy server measure; see `traffic.sheet`).
Errors: none.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from gatepost.postfix.spec import MAPS_SOCKET, MILTER_SOCKET, POLICY_SOCKET

if TYPE_CHECKING:
    from gatepost.settings import Settings

ROLES = ("policy", "milter", "back")
# Runs only where `Settings.api` says where; nobody else needs it.
API = "api"

# What each role offers to Postfix, by file name in the socket directory; back offers INTAKE_SOCKET
# as well, where there is a domain that mail can come back to.
SOCKETS: Mapping[str, tuple[str, ...]] = {
    "policy": (POLICY_SOCKET, MAPS_SOCKET),
    "milter": (MILTER_SOCKET,),
    "back": (),
}

SOCKET_MODE = 0o660
SOCKET_DIRECTORY_MODE = 0o2750


def roles_of(settings: Settings) -> tuple[str, ...]:
    """Return the roles that run with these settings."""
    return ROLES if settings.api is None else (*ROLES, API)


def control_path(run_dir: Path, role: str) -> Path:
    """Return the control socket of a role."""
    return run_dir / f"{role}.ctl"


def lock_path(run_dir: Path, role: str) -> Path:
    """Return the lock file of a role."""
    return run_dir / f"{role}.lock"


def supervisor_state_path(run_dir: Path) -> Path:
    """Return the file in which the supervisor says what it did."""
    return run_dir / "supervisor.json"


def traffic_path(run_dir: Path) -> Path:
    """Return the sheet on which the back role says what it has measured."""
    return run_dir / "traffic.json"


def burst_path(run_dir: Path) -> Path:
    """Return the sheet on which the policy server says who is in burst."""
    return run_dir / "burst.json"
