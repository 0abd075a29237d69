"""The life of a lane's own instance: made, brought up to date, emptied, taken away.

Purpose: an instance is there, checked and running before mail is handed to it, and is taken away
only when nothing is left in its queue.
Source: postfix(1) ``check`` makes the directories of a queue; postqueue(1) ``-f``;
MULTI_INSTANCE_README. postmulti(1) serves the host's default instance alone; what it runs for an
instance is ``postfix -c``, as is done here.
Limits: `GIVE_BACK_S`, unless the operator says otherwise, for what is left in an instance to go
back to the main one; some hundred messages a second do.
Errors: `AttachError`; files that were changed are then as they were.
Security: nothing is removed but directories with a name of ours, of which main.cf says that attach
has written it, and a queue without mail.
"""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gatepost.errors import AttachError, PostfixUnavailable
from gatepost.postfix.bounce_filter import FILE_NAME
from gatepost.postfix.commands import PostfixCommands
from gatepost.postfix.instances.place import Place, is_ours, lane_of
from gatepost.postfix.plan import MAIN_CF, MASTER_CF
from gatepost.postfix.replace import create
from gatepost.traffic.lanes import beside

GIVE_BACK_S = 30.0
_FILES = (MAIN_CF, MASTER_CF, FILE_NAME)
_HELD = "hold"
_MOVING = ("maildrop", "incoming", "active", "deferred")
_FILE_MODE = 0o644
_POLL_S = 0.2
_FLUSH_EVERY_S = 2.0


@dataclass(frozen=True, slots=True)
class Change:
    """What the files of an instance are, and are to be.

    Attributes:
        place: Where it stands.
        old: File name to present text; empty where there is no instance yet.
        new: File name to future text.
    """

    place: Place
    old: Mapping[str, str] = field(default_factory=dict)
    new: Mapping[str, str] = field(default_factory=dict)

    @property
    def changed(self) -> tuple[str, ...]:
        """Return the names of the files that change."""
        return tuple(n for n in _FILES if self.old.get(n) != self.new.get(n))


def change_of(place: Place, new: Mapping[str, str]) -> Change:
    """Return what has to change for an instance to have certain files.

    Raises:
        AttachError: If something else stands in its place, or a file cannot be read.
    """
    old = {}
    try:
        for directory in (place.config_dir, place.queue_directory, place.data_directory):
            if directory.exists() and any(directory.iterdir()):
                _refuse_foreign(place, directory)
        for name in _FILES:
            path = place.config_dir / name
            if path.exists():
                old[name] = path.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise AttachError(f"cannot read {place.config_dir}: {error.strerror}") from error
    return Change(place, old, dict(new))


def _refuse_foreign(place: Place, directory: Path) -> None:
    if not is_ours(place.config_dir):
        raise AttachError(
            f"{directory} is there and attach has not made it; lane {place.lane} would have its "
            "own instance there. Give the lane another name, or move that directory away"
        )


def bring_up(change: Change, mail_owner: str, *, run: bool) -> bool:
    """Make an instance, or bring it up to date, and have it run.

    Args:
        change: What its files are to be.
        mail_owner: The account of Postfix's daemons.
        run: Whether it is to run.

    Returns:
        Whether it was started.

    Raises:
        AttachError: If it could not be done; its files are then as they were.
    """
    postfix = PostfixCommands(change.place.config_dir)
    try:
        # A run that was killed while it removed them may have left the files without the rest.
        made = _make_directories(change.place, mail_owner)
        if change.changed or made:
            _write(change.place, change.new)
            postfix.check()
        return run and _run(postfix, changed=bool(change.changed))
    except (PostfixUnavailable, AttachError, OSError) as error:
        _put_back(change, postfix)
        raise AttachError(
            f"the instance of lane {change.place.lane} could not be brought up: {error}; it is as "
            "it was, and the main instance was not changed"
        ) from error


def _run(postfix: PostfixCommands, *, changed: bool) -> bool:
    if not postfix.running():
        postfix.start()
        return True
    if changed:
        postfix.reload()
    return False


def _make_directories(place: Place, mail_owner: str) -> bool:
    made = False
    for directory, mode in (
        (place.config_dir, 0o755),
        (place.queue_directory, 0o755),
        (place.data_directory, 0o700),
    ):
        if not directory.exists():
            directory.mkdir()
            # Whatever the umask is: Postfix's own account must be able to enter.
            directory.chmod(mode)
            if directory == place.data_directory:
                os.chown(directory, pwd.getpwnam(mail_owner).pw_uid, -1)
            made = True
    return made


def _write(place: Place, texts: Mapping[str, str]) -> None:
    for name in _FILES:
        path = place.config_dir / name
        if name in texts:
            create(path, texts[name].encode("utf-8", "surrogateescape"), _mode_of(place, name))
        else:
            path.unlink(missing_ok=True)


def _mode_of(place: Place, name: str) -> int:
    """Return the permissions of a file: those of the main instance's, which may hold a password."""
    main = place.config_dir.with_name(place.config_dir.name.removesuffix(beside("", place.lane)))
    try:
        return stat.S_IMODE((main / name).stat().st_mode)
    except FileNotFoundError:
        return _FILE_MODE


def _put_back(change: Change, postfix: PostfixCommands) -> None:
    if change.old:
        _write(change.place, change.old)
        if change.changed and postfix.running():
            postfix.reload()
        return
    if postfix.running():
        postfix.stop()
    if not _waiting_or_none(change.place):
        _remove_directories(change.place)


def waiting(place: Place, queues: Sequence[str] = (*_MOVING, _HELD)) -> int:
    """Return how many messages are in an instance's queue.

    Args:
        place: Where it stands.
        queues: Which of Postfix's queues count; without more words, all that hold mail.

    Raises:
        AttachError: If it cannot be looked into.
    """
    count = 0
    try:
        for name in queues:
            directory = place.queue_directory / name
            if directory.exists():
                for _, _, files in os.walk(directory, onerror=_raise):
                    count += len(files)
    except FileNotFoundError:
        # A directory of a level of hashing has gone meanwhile.
        return waiting(place, queues)
    except OSError as error:
        raise AttachError(f"cannot look into {place.queue_directory}: {error.strerror}") from error
    return count


def _waiting_or_none(place: Place) -> int:
    return waiting(place) if place.queue_directory.exists() else 0


def _raise(error: OSError) -> None:
    raise error


def give_back(
    change: Change,
    wait_s: float,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """Have an instance give all that it has back to the main one.

    Args:
        change: What its files are, and are to be for that.
        wait_s: Seconds to wait for it.
        clock: Monotonic time in seconds.
        sleep: Waits so many seconds.

    Returns:
        How many messages are left.

    Raises:
        AttachError: If it cannot be told to.
    """
    place = change.place
    if not waiting(place):
        return 0
    postfix = PostfixCommands(place.config_dir)
    try:
        if change.changed:
            _write(place, change.new)
        _run(postfix, changed=bool(change.changed))
        end, flush_at = clock() + wait_s, clock()
        # What is on hold goes nowhere, however long one waits.
        while waiting(place, _MOVING) and clock() < end:
            if clock() >= flush_at:
                postfix.flush()
                flush_at = clock() + _FLUSH_EVERY_S
            sleep(_POLL_S)
    except (PostfixUnavailable, OSError) as error:
        raise AttachError(f"lane {place.lane} cannot give its mail back: {error}") from error
    return waiting(place)


def take_away(place: Place) -> int:
    """Stop an instance and remove it, if nothing is in its queue.

    Returns:
        How many messages are in it; it then goes on as before.

    Raises:
        AttachError: If it cannot be stopped or removed.
    """
    if not place.config_dir.exists():
        return 0
    _refuse_foreign(place, place.config_dir)
    postfix = PostfixCommands(place.config_dir)
    try:
        if place.queue_directory.exists():
            ran = postfix.running()
            if ran:
                postfix.stop()
            # A message may have come in before it stopped.
            if left := waiting(place):
                if ran:
                    postfix.start()
                return left
        _remove_directories(place)
    except (PostfixUnavailable, OSError) as error:
        raise AttachError(
            f"the instance of lane {place.lane} cannot be removed: {error}"
        ) from error
    return 0


def _remove_directories(place: Place) -> None:
    # The configuration goes last: a run that is killed in between is known again by it.
    for directory in (place.queue_directory, place.data_directory, place.config_dir):
        assert lane_of(str(directory)) == place.lane, directory
        if directory.is_symlink():
            raise AttachError(f"{directory} is a symbolic link; remove it by hand")
        if directory.exists():
            shutil.rmtree(directory)
