"""A fleet in the lab: nodes in network namespaces of their own, each with a Postfix and a Gatepost.

Purpose: several hosts that share counters and a store, and can be cut off from what they share.
Source: ip-netns(8), setns(2), veth(4).
Format: node N is 10.99.N.2, where its Postfix listens; over one wire it reaches the lab's names and
mail servers, over another one, which can be cut, `engines.ADDRESS`. What runs inside is started by
a thread that has entered the namespace; files and processes are common to all.
Limits: at most 200 nodes.
Errors: `LabError` from whatever cannot be started.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from lab.engines import ADDRESS
from lab.enter import CLIENT
from lab.gatepost import Gatepost
from lab.postfix import PrivatePostfix
from lab.process import LabError, run
from lab.world import World

_CLONE_NEWNET = 0x40000000
_NAMES = Path("/run/netns")


class Node:
    """One host.

    Attributes:
        name: ``n1`` for the first.
        address: Where its Postfix listens.
        postfix: Its Postfix.
        gatepost: Its Gatepost.
    """

    postfix: PrivatePostfix
    gatepost: Gatepost

    def __init__(self, number: int) -> None:
        """Make the namespace with its wires.

        Raises:
            LabError: If ip(8) refuses.
        """
        self.name = f"n{number}"
        self.address = f"10.99.{number}.2"
        self._number = number
        run(["ip", "netns", "add", self.name])
        for wire, net in (("m", "10.99"), ("s", "10.97")):
            ours, theirs = f"{wire}{number}", f"{wire}{number}p"
            run(["ip", "link", "add", ours, "type", "veth", "peer", "name", theirs])
            run(["ip", "link", "set", theirs, "netns", self.name])
            run(["ip", "address", "add", f"{net}.{number}.1/30", "dev", ours])
            run(["ip", "link", "set", ours, "up"])
            self._ip("address", "add", f"{net}.{number}.2/30", "dev", theirs)
            self._ip("link", "set", theirs, "up")
        self._ip("link", "set", "lo", "up")
        # What PrivatePostfix takes for granted of a lab.
        self._ip("address", "add", f"{CLIENT}/32", "dev", "lo")
        self._ip("route", "add", "default", "via", f"10.99.{number}.1")
        # Without the wire there must be no other way.
        self._ip("route", "add", "unreachable", ADDRESS, "metric", "9999")
        self.mend()

    def cut(self) -> None:
        """Cut the wire to what nodes share."""
        self._ip("link", "set", f"s{self._number}p", "down")

    def mend(self) -> None:
        """Make the wire whole again."""
        self._ip("link", "set", f"s{self._number}p", "up")
        via = f"10.97.{self._number}.1"
        self._ip("route", "replace", ADDRESS, "via", via, "metric", "10")

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """Have this thread, and what it starts, in the namespace for the length of a block."""
        with Path("/proc/thread-self/ns/net").open("rb") as back:
            with (_NAMES / self.name).open("rb") as there:
                _set_namespace(there.fileno())
            try:
                yield
            finally:
                _set_namespace(back.fileno())

    def command(self, *arguments: str, status: int = 0) -> str:
        """Run a command of Gatepost on this node; see `Gatepost.command`."""
        with self.inside():
            return self.gatepost.command(*arguments, status=status)

    def json(self, *arguments: str, status: int = 0) -> Any:
        """Run a command of Gatepost on this node; see `Gatepost.json`."""
        with self.inside():
            return self.gatepost.json(*arguments, status=status)

    def remove(self) -> None:
        """Remove the namespace, and with it the wires."""
        run(["ip", "netns", "delete", self.name])

    def _ip(self, *arguments: str) -> None:
        run(["ip", "-n", self.name, *arguments])


@contextlib.contextmanager
def nodes(
    world: World,
    configuration: Callable[[Node], Mapping[str, Any]],
    users: Sequence[str],
    count: int = 3,
    *,
    main: Mapping[str, str] | None = None,
) -> Iterator[list[Node]]:
    """Run nodes, attached, for the length of a block.

    Args:
        world: Names and mail servers.
        configuration: Returns what gatepost.yaml of a node says.
        users: SASL logins; passwords are ``secret``.
        count: How many.
        main: main.cf parameters beside the lab's own.
    """
    with contextlib.ExitStack() as stack:
        made = []
        for number in range(1, count + 1):
            node = Node(number)
            stack.callback(node.remove)
            made.append(node)
            with node.inside():
                node.postfix = stack.enter_context(
                    world.postfix(address=node.address, users=users, main=main)
                )
            node.gatepost = world.gatepost(node.postfix, configuration(node))
            stack.callback(node.gatepost.stop)
        with ThreadPoolExecutor(count) as together:
            list(together.map(_start, made))
        yield made


def _start(node: Node) -> None:
    with node.inside():
        node.gatepost.start("milter", "policy", "back")
        node.gatepost.attach()


def _set_namespace(descriptor: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, _CLONE_NEWNET):
        raise LabError(f"setns: {os.strerror(ctypes.get_errno())}")
