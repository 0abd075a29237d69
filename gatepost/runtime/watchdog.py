"""Prove to whoever started us that the main loop of this process still turns.

Purpose: a process that hangs holds up mail until its clients' patience ends: 10 s for a check at
RCPT TO, 100 s for a map. The supervisor, or systemd, ends one that has fallen silent and starts it
again; both ask for it in the same way.
Source: systemd sd_watchdog_enabled(3): ``WATCHDOG_USEC`` and ``WATCHDOG_PID`` in the environment,
``WATCHDOG=1`` by sd_notify(3).
Limits: says so four times in the time allowed; systemd asks for two, our supervisor counts thirds.
Errors: none; nonsense in the environment means that nobody watches.
"""

from __future__ import annotations

import asyncio
import os

from gatepost.runtime.notify import notify

TIME_VARIABLE = "WATCHDOG_USEC"
PROCESS_VARIABLE = "WATCHDOG_PID"
BEATS = 4


def beat() -> None:
    """Say that we are alive."""
    notify("WATCHDOG=1")


def interval_s() -> float | None:
    """Return how often to say so, in seconds, or None if nobody wants to know."""
    allowed = os.environ.get(TIME_VARIABLE, "")
    process = os.environ.get(PROCESS_VARIABLE, "")
    if not (allowed.isascii() and allowed.isdecimal() and int(allowed)):
        return None
    if process and process != str(os.getpid()):
        # Meant for the process that started us.
        return None
    return int(allowed) / 1e6 / BEATS


def environment(allowed_s: float) -> dict[str, str]:
    """Return what tells a process that we start to show signs of life.

    Args:
        allowed_s: How long it may be silent, in seconds.
    """
    return {TIME_VARIABLE: str(round(allowed_s * 1e6)), PROCESS_VARIABLE: ""}


async def beat_in_loop() -> None:
    """Say that we are alive again and again, from the event loop, until cancelled."""
    interval = interval_s()
    while interval is not None:
        beat()
        await asyncio.sleep(interval)
