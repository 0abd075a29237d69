"""Backups of main.cf and master.cf, and the note that says that a change is not finished.

Purpose: a way back by hand (``cp -a``), a way back by ourselves when ``postfix check`` objects, and
after a kill or a power cut in the middle, the knowledge that check and reload are still to be done.
Format: ``<config_directory>/gatepost-backup/<time in UTC>/main.cf`` and ``master.cf``; beside them,
while a change is under way, ``unfinished``: the name of the backup, and for each file the SHA-256
of the text that was to be written.
Limits: the 10 latest backups are kept; one is some kilobytes.
Errors: `AttachError` if the system refuses.
Security: master.cf can hold passwords, so the directory is open to its owner only, and the copies
keep owner and mode.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gatepost.errors import AttachError
from gatepost.postfix.replace import create, sync_directory

DIRECTORY = "gatepost-backup"
KEPT_BACKUPS = 10
_UNFINISHED = "unfinished"


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A change that was begun and not finished.

    Attributes:
        backup: Directory that holds the files as they were before it.
        written: File name to SHA-256 of what it was to become.
    """

    backup: Path
    written: Mapping[str, str]

    def before(self, present: Mapping[str, bytes]) -> dict[str, bytes]:
        """Return what each file held before the change, where the change got as far as it.

        Args:
            present: File name to present content.
        """
        found = {}
        for name, content in present.items():
            copy = self.backup / name
            begun = self.written.get(name) == _digest(content) and copy.is_file()
            found[name] = copy.read_bytes() if begun else content
        return found


class Journal:
    """The backups of one instance."""

    def __init__(self, config_dir: Path) -> None:
        self.directory = config_dir / DIRECTORY
        self._config_dir = config_dir

    def unfinished(self) -> Unfinished | None:
        """Return the change that an earlier run did not finish, or None.

        Raises:
            AttachError: If the note cannot be read.
        """
        path = self.directory / _UNFINISHED
        try:
            note = json.loads(path.read_bytes())
            return Unfinished(self.directory / note["backup"], dict(note["written"]))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise AttachError(
                f"{path}: cannot be read ({error}); compare main.cf and master.cf with the latest "
                "backup beside it, then remove this file"
            ) from error

    def begin(self, old: Mapping[str, bytes], new: Mapping[str, bytes]) -> Path:
        """Back up both files and note that a change begins; return the directory of the copies.

        Args:
            old: File name to what a rollback is to restore.
            new: File name to what it is to become.

        Raises:
            AttachError: If the system refuses.
        """
        try:
            self.directory.mkdir(mode=0o700, exist_ok=True)
            backup = self._make_directory()
            for name, content in old.items():
                _back_up(self._config_dir / name, content, backup / name)
            sync_directory(backup)
            sync_directory(self.directory)
        except OSError as error:
            raise AttachError(
                f"cannot write a backup to {self.directory}: {error.strerror or error}; nothing "
                "was changed"
            ) from error
        note = {"backup": backup.name, "written": {k: _digest(v) for k, v in new.items()}}
        create(self.directory / _UNFINISHED, json.dumps(note).encode("ascii") + b"\n", 0o600)
        return backup

    def finish(self) -> None:
        """Note that the change is finished, and drop the oldest backups."""
        (self.directory / _UNFINISHED).unlink(missing_ok=True)
        if not self.directory.is_dir():
            return
        sync_directory(self.directory)
        for old in sorted(each for each in self.directory.iterdir() if each.is_dir())[
            :-KEPT_BACKUPS
        ]:
            shutil.rmtree(old, ignore_errors=True)

    def _make_directory(self) -> Path:
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        for number in range(1, 1000):
            directory = self.directory / (stamp if number == 1 else f"{stamp}-{number:03}")
            try:
                directory.mkdir(mode=0o700)
            except FileExistsError:
                continue
            return directory
        raise FileExistsError(f"{stamp}-*")


def _back_up(source: Path, content: bytes, copy: Path) -> None:
    copy.touch(0o600)
    copy.write_bytes(content)
    shutil.copystat(source, copy)
    status = source.stat()
    os.chown(copy, status.st_uid, status.st_gid)
    with copy.open("rb") as file:
        os.fsync(file.fileno())


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
