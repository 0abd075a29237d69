"""The host that we run on: where Postfix is, which directories and which account we need.

Purpose: everything that a role or the supervisor must find or make before it can serve, so that all
of them find and make the same.
Source: postconf(5) queue_directory, mail_version.
Errors: `settle` raises `StartError` and `PostfixUnavailable`; `look_again` keeps what was known.
Security: directories and account as in `gatepost.runtime.privileges`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gatepost.errors import GatepostError, MalformedMessage, PostfixUnavailable
from gatepost.postfix.commands import PostfixCommands
from gatepost.postfix.detect import parse_settings
from gatepost.postfix.services import missing_services
from gatepost.postfix_version import PostfixVersion, parse_version
from gatepost.runtime.log import log_event
from gatepost.runtime.paths import SOCKET_DIRECTORY_MODE
from gatepost.runtime.privileges import (
    Account,
    Directory,
    become,
    find_account,
    find_group,
    prepare,
)
from gatepost.snapshot import Snapshot
from gatepost.store.open import sqlite_path

if TYPE_CHECKING:
    from gatepost.settings import Settings

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Place:
    """What was found.

    Attributes:
        version: The version of Postfix.
        socket_dir: Directory of the sockets that Postfix uses.
        account: Who we are, or are to be.
    """

    version: PostfixVersion
    socket_dir: Path
    account: Account


def find(settings: Settings) -> Place:
    """Find Postfix and our account, and change nothing.

    Raises:
        PostfixUnavailable: If postconf cannot tell.
        StartError: If the account does not exist.
    """
    names = ("queue_directory", "mail_version")
    postfix = PostfixCommands(settings.postfix_config_dir)
    values = parse_settings(postfix.postconf("-x", *names).stdout)
    try:
        version = parse_version(values["mail_version"])
        socket_dir = Path(values["queue_directory"]) / settings.socket_dir
    except (KeyError, MalformedMessage) as error:
        raise PostfixUnavailable(f"postconf {' '.join(names)}: {error}") from error
    return Place(version, socket_dir, find_account(settings.user))


def settle(settings: Settings) -> Place:
    """Find Postfix, make the directories, and be the user of Gatepost from now on.

    Raises:
        PostfixUnavailable: As `find`.
        StartError: As `find`, `prepare` and `become`.
    """
    place = find(settings)
    prepare(directories(settings, place), place.account)
    become(place.account)
    return place


def directories(settings: Settings, place: Place) -> list[Directory]:
    """Return the directories that must be there.

    Raises:
        StartError: If Postfix's group does not exist.
    """
    group = find_group(settings.postfix_group)
    found = [
        Directory(settings.run_dir),
        Directory(place.socket_dir, SOCKET_DIRECTORY_MODE, group),
    ]
    database = sqlite_path(settings.state)
    if database is not None:
        found.append(Directory(database.parent))
    return found


def look_again(settings: Settings, place: Place) -> Place:
    """Return the place with what may have changed since: the version of Postfix."""
    try:
        found = find(settings)
    except GatepostError as error:
        log_event(
            _log, logging.WARNING, "postfix-version", kept=str(place.version), cause=str(error)
        )
        return place
    if found.version != place.version:
        log_event(
            _log, logging.INFO, "postfix-version", was=str(place.version), now=str(found.version)
        )
    return Place(found.version, place.socket_dir, place.account)


def validator(settings: Settings) -> Callable[[Snapshot], list[str]]:
    """Return a check that Postfix has every delivery service that a snapshot can answer with."""

    def check(snapshot: Snapshot) -> list[str]:
        return missing_services(snapshot, settings.postfix_config_dir)

    return check
