"""Where a lane's own instance stands: beside the main one, and named after it.

Format: beside /etc/postfix, /var/spool/postfix and /var/lib/postfix, the lane ``burst`` has
directories with the name postfix-gp-burst, as postmulti(1) would make them of its own accord. Where
/var/spool/postfix is a symbolic link, the queue stands beside the directory that it leads to.
Errors: none; `is_ours` says nothing about files that it cannot read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from gatepost.postfix.facts import PostfixFacts
from gatepost.postfix.plan import MAIN_CF
from gatepost.traffic.lanes import HAND_OVER_SOCKET, beside, instance_name

MARK = "# Written by gatepost attach"
_OURS = re.compile(r".*-gp-([a-z][a-z0-9]{0,15})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Place:
    """The directories of an instance.

    Attributes:
        lane: Its lane.
        config_dir: Where main.cf and master.cf are.
        queue_directory: Where its mail is.
        data_directory: Where its caches are.
    """

    lane: str
    config_dir: Path
    queue_directory: Path
    data_directory: Path

    @property
    def name(self) -> str:
        """Return its name, by which postmulti(1) and the log know it."""
        return instance_name(self.lane)

    @property
    def socket(self) -> Path:
        """Return the socket by which it is handed mail."""
        return self.queue_directory / "private" / HAND_OVER_SOCKET


def place_of(lane: str, facts: PostfixFacts) -> Place:
    """Return where the instance of a lane stands.

    Args:
        lane: Name of the lane.
        facts: The main instance.
    """
    data = Path(facts.value("data_directory") or "/var/lib/postfix")
    return Place(
        lane,
        config_dir_of(lane, facts.config_dir),
        # Daemons work in the queue directory, and look for the socket from where it really is.
        _beside(facts.queue_directory.resolve(), lane),
        _beside(data, lane),
    )


def config_dir_of(lane: str, config_dir: Path) -> Path:
    """Return the configuration directory of a lane's instance beside that of the main one."""
    return _beside(config_dir, lane)


def lane_of(directory: str) -> str | None:
    """Return the lane of which a directory has the name, or None."""
    found = _OURS.fullmatch(directory)
    return found[1] if found else None


def registered(directories: str, config_dir: Path) -> tuple[str, ...]:
    """Return the lanes whose instances a value of multi_instance_directories names.

    Args:
        directories: The value.
        config_dir: The configuration directory of the main instance.
    """
    lanes = ((each, lane_of(each)) for each in _split(directories))
    return tuple(
        lane
        for each, lane in lanes
        if lane is not None and Path(each) == config_dir_of(lane, config_dir)
    )


def without_ours(directories: str) -> list[str]:
    """Return the directories that a value of multi_instance_directories names beside ours."""
    return [each for each in _split(directories) if lane_of(each) is None]


def is_ours(config_dir: Path) -> bool:
    """Tell whether attach has made an instance; one that cannot be read is not ours."""
    try:
        with (config_dir / MAIN_CF).open(encoding="utf-8", errors="replace") as file:
            return file.readline().startswith(MARK)
    except OSError:
        return False


def joined(directories: Iterable[str | Path]) -> str:
    """Return a value of multi_instance_directories."""
    return " ".join(map(str, directories))


def _split(directories: str) -> list[str]:
    return directories.replace(",", " ").split()


def _beside(directory: Path, lane: str) -> Path:
    return directory.parent / beside(directory.name, lane)
