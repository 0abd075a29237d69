"""What is doubtful about where the store is.

Errors: none; warnings go to the report.
"""

from __future__ import annotations

from pathlib import Path

from gatepost.settings.keys import MainFile
from gatepost.settings.kinds_store import is_server, split_server
from gatepost.settings.problems import Place, Report

_SAFE_MODES = frozenset({"verify-ca", "verify-full"})


def check_store(main: MainFile, path: Path, report: Report) -> None:
    """Warn of what passes and yet is probably not meant so.

    Args:
        main: The settings.
        path: The file that they are in.
        report: Where to.
    """
    if not is_server(main.state):
        if main.local_state is not None and main.local_state != main.state:
            report.warn(
                Place(str(path), ("local_state",)),
                "keeps apart what one file could hold, as state is a file, too",
                "remove local_state, unless that is meant",
            )
        return
    place = Place(str(path), ("state",))
    url = split_server(main.state)
    if ":" in url.user or "password" in url.parameters:
        report.warn(
            place,
            "holds a password, which whoever may read this file can see",
            "put it into a file that libpq reads: passfile=/etc/gatepost/pgpass in the URL",
        )
    hosts = url.hosts or tuple(url.parameters.get("host", "/").split(","))
    local = all(host.startswith(("/", "localhost", "127.", "[::1]")) for host in hosts)
    safe = url.parameters.get("sslmode") in _SAFE_MODES or "service" in url.parameters
    if not local and not safe:
        report.warn(
            place,
            "does not say that the server's certificate is checked, so addresses may cross the "
            "network in the clear",
            "add ?sslmode=verify-full&sslrootcert=system, or the file of your own root",
        )
