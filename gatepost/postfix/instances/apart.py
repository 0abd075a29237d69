"""All instances of lanes together: what there is, what is to become of each, and doing it.

Purpose: attach brings up what the configuration wants before the main instance hands it mail, and
afterwards has what it no longer wants give its mail back; detach does so with all of them.
Errors: `AttachError`.
"""

from __future__ import annotations

import glob
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gatepost.postfix.instances.files import Sources, instance_files
from gatepost.postfix.instances.life import (
    Change,
    bring_up,
    change_of,
    give_back,
    take_away,
    waiting,
)
from gatepost.postfix.instances.place import Place, config_dir_of, is_ours, lane_of, place_of
from gatepost.postfix.spec import AttachSpec, InstanceSpec


@dataclass(frozen=True, slots=True)
class Apart:
    """The instances of lanes beside one main instance.

    Attributes:
        wanted: Those that the configuration asks for.
        leaving: Those that are there and are to go.
        mail_owner: The account of Postfix's daemons.
    """

    wanted: tuple[Change, ...] = ()
    leaving: tuple[Change, ...] = ()
    mail_owner: str = "postfix"

    @property
    def changed(self) -> tuple[str, ...]:
        """Return the paths of files that change, and the directories that are to go."""
        files = [str(each.place.config_dir / name) for each in self.wanted for name in each.changed]
        return (*files, *(str(each.place.config_dir) for each in self.leaving))


@dataclass(frozen=True, slots=True)
class Left:
    """An instance that could not be taken away yet.

    Attributes:
        lane: Its lane.
        config_dir: Its configuration directory.
        messages: How many messages are in its queue.
    """

    lane: str
    config_dir: str
    messages: int


def lanes_present(config_dir: Path) -> tuple[str, ...]:
    """Return the lanes of which an instance of ours stands beside a main instance.

    Also one that is not registered, as after an attach that was killed.
    """
    try:
        found = sorted(config_dir.parent.glob(f"{glob.escape(config_dir.name)}-gp-*"))
    except OSError:
        return ()
    lanes = ((each, lane_of(each.name)) for each in found)
    return tuple(
        lane
        for each, lane in lanes
        if lane is not None and each == config_dir_of(lane, config_dir) and is_ours(each)
    )


def apart_of(spec: AttachSpec, sources: Sources) -> Apart:
    """Return what is to become of each instance.

    Raises:
        AttachError: If something else stands in the place of one, or it has nothing to clone.
    """
    facts = sources.facts
    return Apart(
        tuple(
            change_of(place_of(each.lane, facts), instance_files(each, spec, sources))
            for each in spec.instances
        ),
        tuple(
            change_of(
                place_of(lane, facts),
                instance_files(InstanceSpec(lane), spec, sources, leaving=True),
            )
            for lane in spec.leaving
        ),
        facts.mail_owner,
    )


def bring_all_up(apart: Apart, *, run: bool) -> tuple[str, ...]:
    """Make, or bring up to date, all that are wanted; return the lanes of those it has started.

    Raises:
        AttachError: If one could not be; those before it are up, and nobody hands them mail yet.
    """
    return tuple(
        change.place.lane for change in apart.wanted if bring_up(change, apart.mail_owner, run=run)
    )


def still_there(apart: Apart) -> Iterator[Left]:
    """Yield all that are to go, as they are.

    Raises:
        AttachError: If one's queue cannot be looked into.
    """
    for change in apart.leaving:
        place = change.place
        yield Left(place.lane, str(place.config_dir), _waiting(place))


def retire(apart: Apart, wait_s: float, *, run: bool) -> Iterator[Left]:
    """Take away all that are to go, and yield those that still have mail.

    Args:
        apart: The instances.
        wait_s: Seconds to wait for each.
        run: Whether the main instance runs, which they give their mail back to.

    Raises:
        AttachError: If one cannot be told to give its mail back, or be taken away.
    """
    for change in apart.leaving:
        place = change.place
        left = give_back(change, wait_s) if run else _waiting(place)
        left = left or take_away(place)
        if left:
            yield Left(place.lane, str(place.config_dir), left)


def _waiting(place: Place) -> int:
    return waiting(place) if place.queue_directory.exists() else 0
