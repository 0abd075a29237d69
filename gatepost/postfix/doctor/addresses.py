"""Whether this host has the addresses that lanes send from.

Purpose: smtp(8) that cannot bind its source address warns in the log and goes out by another one,
whose reputation, PTR record and SPF entry are not the lane's.
Source: smtp_connect.c: "warning: ... bind ...: Cannot assign requested address"; postconf(5)
smtp_bind_address, smtp_bind_address_enforce (3.8).
Errors: none are raised.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterator

from gatepost.postfix.doctor.findings import Finding, problem
from gatepost.postfix.doctor.scene import Scene

ENFORCE = "smtp_bind_address_enforce"


def is_here(address: str) -> bool:
    """Tell whether a connection of this host can come from an IP address."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as found:
            found.bind((address, 0))
    except OSError as error:
        # A host without this kind of address at all has none of them either.
        return error.errno not in {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EINVAL}
    return True


def check(scene: Scene, here: Callable[[str], bool] = is_here) -> Iterator[Finding]:
    """Look at the addresses of each lane."""
    assert scene.snapshot is not None
    for lane in scene.snapshot.lanes.values():
        named = dict.fromkeys(
            address
            for source in lane.sources
            for address in (source.address4, source.address6)
            if address is not None
        )
        for address in named:
            if not here(address):
                yield _missing(scene, lane.name, address)


def _missing(scene: Scene, lane: str, address: str) -> Finding:
    enforced = scene.on(ENFORCE)
    return problem(
        f"Lane {lane} sends from {address}, which this host does not have.",
        "Mail of this lane waits."
        if enforced
        else "Postfix warns in its log and sends from another address of the host, which receivers "
        "do not know for this mail.",
        f"ip address add {address}/{'128' if ':' in address else '32'} dev INTERFACE",
        f"or take {address} out of lanes.{lane}.addresses, then gatepost reload and gatepost "
        "attach",
    )
