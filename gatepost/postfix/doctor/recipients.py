"""Whether a suppressed recipient can be taken out of a message.

Source: postconf(5) enable_original_recipient; Postfix's cleanup_del_rcpt, which compares what a
milter names with the recipient as the client gave it, or, where that is not kept, with what
aliases and canonical tables have made of it.
Errors: none are raised.
"""

from __future__ import annotations

from collections.abc import Iterator

from gatepost.modes import Mode
from gatepost.postfix.doctor.findings import Finding, warning
from gatepost.postfix.doctor.scene import Scene

_KEPT = "enable_original_recipient"


def check(scene: Scene) -> Iterator[Finding]:
    """Look at what Postfix keeps of recipients."""
    snapshot = scene.snapshot
    if snapshot is None or not snapshot.tenants.platform or scene.value(_KEPT) != "no":
        return
    tenants = snapshot.tenants.by_id.values()
    if any(tenant.modes.suppression is Mode.ENFORCE for tenant in tenants):
        yield warning(
            f"{_KEPT} = no.",
            "A suppressed recipient of a platform login's message is taken out under the name that "
            "the client gave it. Where an alias or a canonical table has changed that name, "
            "Postfix does not find it, and the message is delivered.",
            scene.set_main(f"{_KEPT} = yes"),
        )
