"""The process of the HTTP API: ``python -m gatepost.runtime.api --config FILE``.

Purpose: a role of its own, which runs where ``api.listen`` is set, and of which no mail ever waits.
Errors: see `gatepost.runtime.role`; `StartError` where ``api.listen`` is off.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from prometheus_client import Counter

from gatepost.errors import StartError
from gatepost.runtime import installation
from gatepost.runtime.loop import run_in_uvloop
from gatepost.runtime.metrics import PREFIX
from gatepost.runtime.overview import look
from gatepost.runtime.role import OK, Role, run
from gatepost.runtime.signals import install_in_loop
from gatepost.runtime.tenant_writer import TenantWriter
from gatepost.runtime.watchdog import beat_in_loop
from gatepost.web.api.app import build_app
from gatepost.web.api.server import ApiServer, listen
from gatepost.web.api.site import Site


def main() -> None:
    """Run the role."""
    run("api", _serve, records=False)


def site_of(role: Role) -> Site:
    """Return what the routes work with."""
    settings = role.settings
    config = role.holder.path

    def status() -> dict[str, Any]:
        found = look(config, on_disk={"file": str(config), "digest": None, "errors": []})
        return {"ok": not found.down, **asdict(found)}

    writer = TenantWriter(config, settings, installation.validator(settings))
    return Site(settings, role.current, role.api_tenants, writer, role.reloader.request, status)


def _counting(role: Role) -> Callable[[int], None]:
    calls = Counter(
        f"{PREFIX}api_calls", "Calls of the API.", ["status"], registry=role.metrics.registry
    )

    def count(status: int) -> None:
        calls.labels(str(status)).inc()

    return count


def _serve(role: Role) -> int:
    if role.settings.api is None:
        raise StartError("api.listen is off; set it, or do not serve the API")
    run_in_uvloop(_serve_in_loop(role))
    return OK


async def _serve_in_loop(role: Role) -> None:
    assert role.settings.api is not None
    listener, file = listen(role.settings.api)
    try:
        await _serve_on(role, listener)
    finally:
        listener.close()
        if file is not None:
            file.remove()


async def _serve_on(role: Role, listener: Any) -> None:
    server = ApiServer(build_app(site_of(role), _counting(role)), role.settings.grace_s)
    role.details = lambda: {"api": str(role.settings.api)}
    loop = asyncio.get_running_loop()

    def stop() -> None:
        if not server.should_exit:
            role.stopping()
        server.should_exit = True

    install_in_loop(loop, role.reloader.request, stop)
    role.ready()
    alive = asyncio.create_task(beat_in_loop())
    try:
        await server.serve(sockets=[listener])
    finally:
        alive.cancel()


if __name__ == "__main__":
    main()
