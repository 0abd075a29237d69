"""The back role: what may be late. ``python -m gatepost.runtime.back --config FILE``.

Purpose: serve the metrics of all roles and keep the store small. Mail never waits for it.
Errors: see `gatepost.runtime.role`.
"""

from __future__ import annotations

import signal

from gatepost.runtime.role import OK, Role, run
from gatepost.runtime.signals import STOP_SIGNALS, catching, wait_for_stop
from gatepost.runtime.upkeep import Upkeep
from gatepost.store import open_store
from gatepost.web.metrics import AllMetrics
from gatepost.web.server import MetricsServer


def main() -> None:
    """Run the role."""
    run("back", _serve, records=False)


def _serve(role: Role) -> int:
    settings = role.settings
    with catching(signal.SIGHUP, *STOP_SIGNALS) as signals:
        web = None
        if settings.metrics is not None:
            web = MetricsServer(settings.metrics, AllMetrics(role.metrics, settings.run_dir))
        upkeep = Upkeep(lambda: open_store(settings.state), role.metrics)
        role.details = lambda: {"metrics": str(settings.metrics or "")}
        role.ready()
        wait_for_stop(role.reloader.request, signals)
        role.stopping()
        upkeep.stop()
        if web is not None:
            web.close()
    return OK


if __name__ == "__main__":
    main()
