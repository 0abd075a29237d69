"""Whether one tenant's flood makes the mail of others wait at the door.

Purpose: cleanup(8) waits before it takes a message while more mail arrives than leaves. It does not
ask whose mail it is, so a flood that has a lane of its own still delays everybody's.
Source: postconf(5) in_flow_delay; QSHAPE_README "The incoming queue".
Errors: none.
"""

from __future__ import annotations

from collections.abc import Iterator

from gatepost.postfix.doctor.findings import Finding, warning
from gatepost.postfix.doctor.scene import Scene

PARAMETER = "in_flow_delay"


def check(scene: Scene) -> Iterator[Finding]:
    """Look at what holds up mail while it comes in."""
    assert scene.snapshot is not None
    delay = scene.value(PARAMETER)
    if delay.strip("0smhdw") and (scene.snapshot.bursts.burst or scene.snapshot.bursts.bursts):
        yield warning(
            f"{PARAMETER} = {delay}: while more mail arrives than leaves, messages wait for so "
            "long before they are taken, whoever sends them.",
            "A tenant that floods goes to its burst lane, and the mail of all others is still "
            "delayed by its flood. Without that pause, only a cap on its backlog keeps a flood "
            "from filling the active queue, so set that first.",
            "traffic: {backlog: 15000} in the configuration, below qmgr_message_active_limit",
            f"postconf -e '{PARAMETER} = 0'",
        )
