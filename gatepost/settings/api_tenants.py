"""Tenants that were made through the API, as a configuration takes them in.

Purpose: to a load they are further files, named ``store:tenants/<id>``, with the same settings and
the same checks as those of a directory. The store is not asked here: `Source` gives what is known
of it, and without one, the copy that the processes of this host keep is read.
Format: the copy is ``api-tenants.copy`` beside `local_state`. Its first line is
``gatepost api-tenants 1 VERSION NONCE COUNT``, each further one ``ID JSON``.
Limits: 256 MiB, twice as much as 100,000 tenants of a kilobyte.
Errors: `read_copy` raises `Rejected`, `read_tenants` `ConfigErrors`; what is wrong with one tenant
goes to the report.
Security: JSON of the store is read with the bounds of `gatepost.store.api_tenants`, and its values
mean what the same text would mean in a file.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from gatepost.errors import ConfigError, ConfigErrors
from gatepost.settings.files import read_file, unreadable
from gatepost.settings.keys_tenants import TENANTS, TenantFile, TenantSection
from gatepost.settings.kinds import BOOLEAN
from gatepost.settings.problems import Problem, Rejected, Report
from gatepost.settings.resolve import resolve
from gatepost.settings.schema import Section
from gatepost.settings.tenants import TenantFileContent
from gatepost.settings.tree import Data, Unreadable, parse
from gatepost.store.api_tenants import Mark
from gatepost.store.open import sqlite_path

if TYPE_CHECKING:
    from gatepost.settings.model import Settings

COPY_NAME = "api-tenants.copy"
MAX_COPY_OCTETS = 256 * 1024 * 1024
PLACE = "store:tenants/"

_HEAD = "gatepost api-tenants 1"
_NO_NONCE = "-"


@dataclass(frozen=True, slots=True)
class ApiTenants:
    """All tenants that were made through the API.

    Attributes:
        mark: The state of the store that they are.
        rows: Id and settings of each, as of `gatepost.store.api_tenants.ApiTenant`, by id.
    """

    mark: Mark = field(default_factory=Mark)
    rows: tuple[tuple[str, str], ...] = ()


NO_API_TENANTS = ApiTenants()
Source = Callable[["Settings"], ApiTenants]


def copy_path(settings: Settings) -> Path:
    """Return where the copy is."""
    local = sqlite_path(settings.local_state)
    assert local is not None
    return local.parent / COPY_NAME


def copied(settings: Settings) -> ApiTenants:
    """Return what the copy holds; without one, no tenants.

    Raises:
        Rejected: If it cannot be read, or is none.
    """
    return read_copy(copy_path(settings)) or NO_API_TENANTS


def read_copy(path: Path) -> ApiTenants | None:
    """Return what a copy holds, or None if there is none.

    Raises:
        Rejected: If it cannot be read, or is none.
    """
    remedy = f"remove {path}, and start while the store can be read, which makes it anew"
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_COPY_OCTETS:
                raise Rejected(f"{path} is no copy of the tenants of the API", remedy)
            octets = file.read()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        why = unreadable(error)
        raise Rejected(f"{path} {why.problem}", why.remedy) from error
    try:
        return _understood(octets.decode())
    except ValueError as error:
        raise Rejected(f"{path} is no copy of the tenants of the API: {error}", remedy) from error


def copy_text(tenants: ApiTenants) -> str:
    """Return the text of a copy."""
    mark = tenants.mark
    head = f"{_HEAD} {mark.version} {mark.nonce or _NO_NONCE} {len(tenants.rows)}"
    return "\n".join([head, *(f"{id_} {text}" for id_, text in tenants.rows), ""])


def contents(
    tenants: ApiTenants, report: Report, note: Callable[[Problem], None]
) -> Iterator[TenantFileContent]:
    """Yield each tenant as a file of its own.

    Args:
        tenants: All of them.
        report: Takes problems.
        note: Is told of each of them.
    """
    read = TENANTS.read
    for id_, text in tenants.rows:
        problems: list[Problem] = []
        file = PLACE + id_
        section = read({id_: data_of(text)}, problems)
        for problem in problems:
            problem.file = file
            problem.steps.append("tenants")
            note(problem)
        report.errors += problems
        yield TenantFileContent(file, section)


def data_of(text: str) -> Data:
    """Return settings in JSON as those of a file would be read: every scalar is its text.

    Raises:
        ValueError: If it is no JSON.
    """
    return as_data(json.loads(text))


def as_data(value: object) -> Data:
    """Return a value of JSON in the form of `tree.parse`."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return [as_data(each) for each in value]
    if isinstance(value, dict):
        return {key: as_data(each) for key, each in cast("dict[str, object]", value).items()}
    return str(value)


def read_tenants(path: Path) -> dict[str, str]:
    """Return the settings of the tenants of a file as of tenants_dir, as the store keeps them.

    Raises:
        ConfigErrors: With every problem of the file by itself.
    """
    name = str(path)
    try:
        source = read_file(path)
        data, problems = parse(source.octets)
        if not isinstance(data, dict):
            raise Rejected("holds no settings", "write tenants: and tenants below")
        Section(TenantFile).read(data, problems)
    except Unreadable as error:
        told = ConfigError(name, error.line, "", error.problem, error.remedy)
        raise ConfigErrors([told]) from error
    except Rejected as error:
        raise ConfigErrors([ConfigError(name, 0, "", error.problem, error.remedy)]) from error
    if problems:
        for problem in problems:
            problem.file = name
        raise ConfigErrors(resolve(problems, {name: source}))
    tenants = data.get("tenants")
    section = Section(TenantSection)
    return {
        id_: json.dumps(_typed(settings, section), separators=(",", ":"))
        for id_, settings in (tenants if isinstance(tenants, dict) else {}).items()
    }


def _typed(data: Data, section: Section[Any]) -> dict[str, object]:
    """Return settings as the API takes them: yes and no as booleans, what is empty left out."""
    found: dict[str, object] = {}
    for name, value in (data if isinstance(data, dict) else {}).items():
        node = section.entries[name].node
        if isinstance(node, Section):
            found[name] = _typed(value, node)
        elif value is not None:
            found[name] = BOOLEAN.parse(str(value)) if node is BOOLEAN else value
    return found


def _understood(text: str) -> ApiTenants:
    head, *lines = text.split("\n")
    form, version, nonce, count = head.rsplit(" ", 3)
    if form != _HEAD or lines[-1:] != [""] or len(lines) != int(count) + 1:
        raise ValueError("it is not whole")
    rows = []
    for line in lines[:-1]:
        id_, blank, settings = line.partition(" ")
        if not blank:
            raise ValueError("a line of it is none")
        rows.append((id_, settings))
    return ApiTenants(Mark(int(version), "" if nonce == _NO_NONCE else nonce), tuple(rows))
