"""How lanes' own instances are: whether they run, and how much is in their queues.

Errors: none; what cannot be found out, as without the rights of root, is None.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gatepost.errors import GatepostError
from gatepost.postfix.commands import PostfixCommands
from gatepost.postfix.instances.apart import lanes_present
from gatepost.postfix.instances.life import waiting
from gatepost.postfix.instances.place import Place, config_dir_of
from gatepost.postfix.main_cf import settings
from gatepost.postfix.plan import MAIN_CF


@dataclass(frozen=True, slots=True)
class InstanceState:
    """How one instance is.

    Attributes:
        lane: Its lane.
        config_dir: Its configuration directory.
        running: Whether it runs, or None if that cannot be found out.
        messages: How many messages are in its queue, or None likewise.
    """

    lane: str
    config_dir: str
    running: bool | None
    messages: int | None


def instance_states(config_dir: Path) -> Iterator[InstanceState]:
    """Yield how each instance is that stands beside a main one.

    Args:
        config_dir: The configuration directory of the main instance.
    """
    for lane in lanes_present(config_dir):
        directory = config_dir_of(lane, config_dir)
        yield InstanceState(lane, str(directory), _running(directory), _messages(lane, directory))


def _running(directory: Path) -> bool | None:
    if os.geteuid():
        # postfix(1) serves root only, and says so with the status of one that does not run.
        return None
    try:
        return PostfixCommands(directory).running()
    except GatepostError:
        return None


def _messages(lane: str, directory: Path) -> int | None:
    try:
        text = (directory / MAIN_CF).read_text(encoding="utf-8", errors="surrogateescape")
        values = settings(text)
        queue, data = Path(values["queue_directory"]), Path(values["data_directory"])
        return waiting(Place(lane, directory, queue, data))
    except (OSError, KeyError, GatepostError):
        return None
