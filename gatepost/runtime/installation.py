"""The host that we run on: where Postfix is, which directories and which account we need.

Purpose: everything that a role or the supervisor must find or make before it can serve, so that all
of them find and make the same.
Source: postconf(5) queue_directory, mail_version.
Errors: `settle` raises `StartError` and `PostfixUnavailable`; `look_again` keeps what was known.
Security: directories and account as in `gatepost.runtime.privileges`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gatepost.errors import GatepostError, MalformedMessage, PostfixUnavailable
from gatepost.postfix import master_cf
from gatepost.postfix.clones import not_joined
from gatepost.postfix.commands import PostfixCommands
from gatepost.postfix.detect import parse_settings
from gatepost.postfix.operator_level import (
    PARAMETERS,
    asks_for_dnssec,
    default_service,
    looks_up_dns,
    operators_level,
)
from gatepost.postfix.plan import MASTER_CF
from gatepost.postfix.services import attach_spec, drift, is_attached, shortfalls
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
from gatepost.tls.operator import ASKS_NOTHING, OperatorTls

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
        operator: The TLS level that Postfix itself asks for.
    """

    version: PostfixVersion
    socket_dir: Path
    account: Account
    operator: OperatorTls = ASKS_NOTHING


@dataclass(frozen=True, slots=True)
class Instance:
    """What Postfix says of itself.

    Attributes:
        version: Its version.
        queue_directory: Its queue directory.
        operator: The TLS level that it asks for by itself.
    """

    version: PostfixVersion
    queue_directory: Path
    operator: OperatorTls


def find(settings: Settings) -> Place:
    """Find Postfix and our account, and change nothing.

    Raises:
        PostfixUnavailable: If postconf cannot tell.
        StartError: If the account does not exist.
    """
    instance = ask_postfix(settings)
    return Place(
        instance.version,
        instance.queue_directory / settings.socket_dir,
        find_account(settings.user),
        instance.operator,
    )


def ask_postfix(settings: Settings) -> Instance:
    """Return what Postfix says of itself.

    Raises:
        PostfixUnavailable: If postconf cannot tell.
    """
    names = ("queue_directory", "mail_version", *PARAMETERS)
    postfix = PostfixCommands(settings.postfix_config_dir)
    values = parse_settings(postfix.postconf("-x", *names).stdout)
    try:
        version = parse_version(values["mail_version"])
        queue_directory = Path(values["queue_directory"])
    except (KeyError, MalformedMessage) as error:
        raise PostfixUnavailable(f"postconf {' '.join(names)}: {error}") from error
    return Instance(version, queue_directory, _operator(settings.postfix_config_dir, values))


def _operator(config_dir: Path, values: Mapping[str, str]) -> OperatorTls:
    try:
        text = (config_dir / MASTER_CF).read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        # postconf did not mind; main.cf alone then says what it says.
        text = ""
    base = default_service(master_cf.services(text), values.get("default_transport", ""))

    def value(name: str) -> str:
        return values.get(name, "")

    return OperatorTls(
        operators_level(base, value),
        looks_up_dns(base, value),
        asks_for_dnssec(base, value),
        bool(value("relayhost")),
    )


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
        Directory(settings.run_dir, setting="service.run_dir"),
        Directory(place.socket_dir, SOCKET_DIRECTORY_MODE, group, "postfix.socket_dir"),
    ]
    for url, setting in ((settings.state, "state"), (settings.local_state, "local_state")):
        database = sqlite_path(url)
        if database is not None and database.parent not in {each.path for each in found}:
            found.append(Directory(database.parent, setting=setting))
    if settings.intake_dir is not None:
        found.append(Directory(settings.intake_dir, setting="feedback.intake_dir"))
    return found


def look_again(settings: Settings, place: Place) -> Place:
    """Return the place with what may have changed since: Postfix's version and TLS level."""
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
    if found.operator != place.operator:
        log_event(
            _log,
            logging.INFO,
            "postfix-tls-level",
            was=place.operator.level or "-",
            now=found.operator.level or "-",
        )
    return Place(found.version, place.socket_dir, place.account, found.operator)


def validator(settings: Settings) -> Callable[[Snapshot], list[str]]:
    """Return a check that Postfix asks and has all that a snapshot needs of it."""

    def check(snapshot: Snapshot) -> list[str]:
        config_dir = settings.postfix_config_dir
        complaints = shortfalls(snapshot, config_dir)
        if is_attached(config_dir):
            problem = not_joined(attach_spec(snapshot), ask_postfix(settings).operator.level)
            complaints += filter(None, [problem])
        return complaints

    return check


def adviser(settings: Settings) -> Callable[[Snapshot], list[str]]:
    """Return a look at what Postfix's files say otherwise than a snapshot, without harm."""

    def look(snapshot: Snapshot) -> list[str]:
        return drift(snapshot, settings.postfix_config_dir)

    return look
