"""From the settings of shared counters to where they are.

Errors: problems go to the report.
Security: the password belongs into a file of its own, which only the service may read.
"""

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import Final

from gatepost.settings.files import read_file, secrecy_problem
from gatepost.settings.keys import MainFile
from gatepost.settings.problems import Place, Rejected, Report
from gatepost.traffic.valkey_target import Target

_OPEN_TO_OTHERS: Final = 0o004
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9.-]+")


def check_counters(main: MainFile, path: Path, mode: int, report: Report) -> None:
    """Report what is wrong with the settings of shared counters.

    Args:
        main: The settings.
        path: The file that they are in.
        mode: Its mode.
        report: Where to.
    """
    file, url = str(path), main.counters
    if url is None:
        for name in ("counters_password", "counters_ca_file", "counters_nodes"):
            if getattr(main, name) is not None:
                report.warn(
                    Place(file, (name,)),
                    "has no effect, as counters is memory",
                    "set counters to the URL of Valkey, or remove it",
                )
        return
    if url.secret and mode & _OPEN_TO_OTHERS:
        report.warn(
            Place(file, ("counters",)),
            "has a password in a file that everybody can read",
            "put it into a file of its own, and name that in counters_password",
        )
    if main.counters_ca_file is not None and not url.encrypted:
        report.warn(
            Place(file, ("counters_ca_file",)),
            "has no effect, as counters is not reached by TLS",
            "write valkeys:// instead of valkey://, or remove it",
        )
    if main.counters_password is not None:
        _check_password(main, path, report)


def _check_password(main: MainFile, path: Path, report: Report) -> None:
    assert main.counters_password is not None
    place = Place(str(path), ("counters_password",))
    secret = path.parent / main.counters_password
    try:
        if not secret.exists():
            raise Rejected("does not exist", "write the password into it, and nothing else")
        source = read_file(secret)
        if (problem := secrecy_problem(source, main.service.user)) is not None:
            raise problem
        if len(source.octets.split()) != 1:
            raise Rejected("holds no password", "write the password into it, and nothing else")
    except Rejected as error:
        report.error(place, f"{secret} {error.problem}", error.remedy)


def node_of(main: MainFile) -> str:
    """Return the name by which other nodes know this one."""
    return main.node or _NOT_IN_NAMES.sub("-", socket.gethostname())[:63] or "node"


def counters_target(main: MainFile, path: Path) -> Target | None:
    """Return where counters are shared, or None where they are in memory."""
    url = main.counters
    if url is None:
        return None
    return Target(
        url.url,
        url.shown,
        node_of(main),
        main.counters_nodes or 1,
        None if main.counters_password is None else str(path.parent / main.counters_password),
        None if main.counters_ca_file is None else str(path.parent / main.counters_ca_file),
    )
