"""The secret of the keyed hashes in the suppression list, in a file beside the database.

Purpose: whoever gets hold of the database alone, such as from a backup, cannot find out whether an
address is in it: without a secret, all addresses that ever leaked could be tried in an hour.
Format: ``suppression.key`` in the directory of the database: 64 hexadecimal digits. The database
holds a fingerprint of it. It is not one of the keys of tokens, as those are replaced from time to
time, and this one stays as long as the list.
Errors: `StoreUnavailable` if the file is missing, cannot be read, or is not the one that the list
was made with: all addresses would seem to be missing from the list.
Security: mode 0600, of the owner of the directory; it is in no log and no answer.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import secrets
from pathlib import Path
from typing import Protocol

from sqlite_utils import Database

from gatepost.errors import StoreUnavailable

FILE_NAME = "suppression.key"
_MODE = 0o600
_SECRET_OCTETS = 32
_FORMAT = re.compile(rb"[0-9a-f]{%d}\s*" % (2 * _SECRET_OCTETS))
_REMEDY = "restore it from the backup of the database"


def load_secret(database: Path, db: Database) -> bytes:
    """Return the secret; make it if neither file nor list has one.

    Args:
        database: The database's file.
        db: A connection to it, outside of any transaction.

    Raises:
        StoreUnavailable: See above.
        OSError: If the file cannot be read or made.
        sqlite3.Error: If the database cannot be read or written.
    """
    path = database.with_name(FILE_NAME)
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # Two processes that start together must not make two.
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        return _load(path, db)
    finally:
        os.close(descriptor)


class Fingerprint(Protocol):
    """What a database that several nodes share holds of the secret."""

    def get(self) -> bytes | None:
        """Return it, or None if there is none."""

    def put(self, fingerprint: bytes) -> None:
        """Store it, unless there is one."""


def load_shared_secret(directory: Path, kept: Fingerprint) -> bytes:
    """Return the secret of a list that several nodes share; make it if none has one.

    Args:
        directory: Where this node's copy is.
        kept: What the database holds.

    Raises:
        StoreUnavailable: If the copy is missing or is of another list.
        OSError: If the file cannot be read or made.
    """
    path = directory / FILE_NAME
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        found = kept.get()
        if found is None:
            text = path.read_bytes() if path.exists() else _make(path)
            kept.put(_fingerprint(_decoded(path, text)))
            # Of two nodes that start together, one was first, and the other must take its copy.
            found = kept.get()
        return read_secret(path, found or b"", "copy it from a node that has it")
    finally:
        os.close(descriptor)


def read_secret(path: Path, fingerprint: bytes, remedy: str = _REMEDY) -> bytes:
    """Return the secret in a file.

    Args:
        path: The file.
        fingerprint: What the database holds of it.
        remedy: What to do if it is not there.

    Raises:
        StoreUnavailable: If there is no file, or it holds something else.
        OSError: If it cannot be read.
    """
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        raise StoreUnavailable(f"{path} is missing; {remedy}") from None
    secret = _decoded(path, text)
    if _fingerprint(secret) != fingerprint:
        raise StoreUnavailable(
            f"{path} is not the file that the suppression list was made with; {remedy}"
        )
    return secret


def _load(path: Path, db: Database) -> bytes:
    row = db.execute("select fingerprint from suppression_key").fetchone()
    if row is not None:
        return read_secret(path, row[0])
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        text = _make(path)
    secret = _decoded(path, text)
    db.execute("insert or ignore into suppression_key values (1, ?)", (_fingerprint(secret),))
    return secret


def _decoded(path: Path, text: bytes) -> bytes:
    if not _FORMAT.fullmatch(text):
        raise StoreUnavailable(f"{path} does not hold 64 hexadecimal digits; {_REMEDY}")
    return bytes.fromhex(text.decode())


def _fingerprint(secret: bytes) -> bytes:
    return hashlib.blake2b(secret, digest_size=8, person=b"gatepost supp.").digest()


def _make(path: Path) -> bytes:
    text = secrets.token_hex(_SECRET_OCTETS).encode() + b"\n"
    # Whole or not at all: half a key would be taken for a broken one for ever.
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, _MODE)
    try:
        if os.geteuid() == 0:
            owner = path.parent.stat()
            os.fchown(descriptor, owner.st_uid, owner.st_gid)
        os.write(descriptor, text)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    new.rename(path)
    return text
