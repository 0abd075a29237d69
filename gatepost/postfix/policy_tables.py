"""An operator's TLS policy table, as Postfix reads it, with the line of its source for each entry.

Purpose: ``gatepost tls import`` must take what is in force, and name where it stands. In force is
the compiled table; where entries stand only its source tells.
Source: postmap(1) option -s; DATABASE_README; regexp_table(5), pcre_table(5), cidr_table(5).
Limits: 64 MiB of source.
Errors: `read_table` raises `TableUnreadable` for a table whose entries nobody can list.
Security: nothing is written, and the table is not compiled anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gatepost.errors import GatepostError, PostfixUnavailable
from gatepost.postfix.commands import PostfixCommands
from gatepost.postfix.doctor.scene import elements
from gatepost.tls.tables.rules import Imported, take, take_everything
from gatepost.tls.tables.source import Entry, Format, guess_format, read_entries

MAX_OCTETS = 64 * 1024 * 1024

_COMPILED = ("hash", "btree", "lmdb", "cdb", "sdbm", "dbm")
_TEXT = {
    "texthash": Format.KEYS,
    "regexp": Format.PATTERNS,
    "pcre": Format.PATTERNS,
    "cidr": Format.NETWORKS,
}
_ENDINGS = {
    ".pcre": Format.PATTERNS,
    ".regexp": Format.PATTERNS,
    ".regex": Format.PATTERNS,
    ".cidr": Format.NETWORKS,
}


class TableUnreadable(GatepostError):
    """A table whose entries cannot be listed; says what to do."""


@dataclass(frozen=True, slots=True)
class Table:
    """What a table holds.

    Attributes:
        imported: Its rules, and what is none.
        entries: How many entries it has.
        notices: What is odd about it, a sentence each.
        keyed: Its entries in order, where its left-hand sides are plain keys.
    """

    imported: Imported
    entries: int
    notices: tuple[str, ...] = ()
    keyed: tuple[Entry, ...] = ()


def read_table(name: str, postfix: PostfixCommands) -> Table:
    """Return what a table holds.

    Args:
        name: A file with the source of a table, or ``type:file`` as in main.cf.
        postfix: The instance whose postmap(1) reads what is compiled.

    Raises:
        TableUnreadable: If its entries cannot be listed.
    """
    direct = name.strip().removeprefix("proxy:")
    kind, colon, rest = direct.partition(":")
    if not colon or "/" in kind or Path(direct).exists():
        return _source(Path(direct))
    if kind in _TEXT:
        return _text(Path(rest), _TEXT[kind])
    if kind in _COMPILED:
        return _compiled(kind, Path(rest), postfix)
    if kind == "inline":
        return _table(_listed(direct, postfix))
    if kind == "static":
        value = rest.strip().removeprefix("{").removesuffix("}").strip()
        return Table(take_everything(Entry("*", value, direct)), 1)
    raise TableUnreadable(
        f"{name}: the entries of {kind} tables cannot be listed; write them into a file with one "
        "destination and policy on a line, and import that"
    )


def read_main_cf(postfix: PostfixCommands, socket_dir: str) -> tuple[str, Table]:
    """Return what all tables of main.cf's smtp_tls_policy_maps hold, without Gatepost's own.

    Args:
        postfix: The instance.
        socket_dir: Directory of Gatepost's sockets, by which its maps are known.

    Raises:
        PostfixUnavailable: If postconf(1) cannot tell.
        TableUnreadable: If there is none, one of them cannot be listed, or there are several and
            their order cannot be kept.
    """
    value = postfix.postconf("-hx", "smtp_tls_policy_maps").stdout.strip()
    names = [name for name in elements(value) if f"{socket_dir}/" not in name]
    if not names:
        raise TableUnreadable("smtp_tls_policy_maps in main.cf names no table of your own")
    tables = [read_table(name, postfix) for name in names]
    if len(tables) == 1:
        return names[0], tables[0]
    if not all(table.keyed for table in tables):
        raise TableUnreadable(
            f"smtp_tls_policy_maps names several tables, and not all of them have plain keys; "
            f"import them one by one, the first one first: {', '.join(names)}"
        )
    # Of two tables with one key the first answers, as of two entries in one.
    entries = [entry for table in tables for entry in table.keyed]
    notices = tuple(notice for table in tables for notice in table.notices)
    whole = Table(take(entries, Format.KEYS), len(entries), notices, tuple(entries))
    return ", ".join(names), whole


def _source(path: Path) -> Table:
    text = _read(path)
    return _text(path, _ENDINGS.get(path.suffix) or guess_format(text))


def _text(path: Path, form: Format) -> Table:
    entries = read_entries(_read(path), str(path), form)
    if form is Format.KEYS:
        return _table(entries)
    return Table(take(entries, form), len(entries))


def _table(entries: list[Entry], *notices: str) -> Table:
    return Table(take(entries, Format.KEYS), len(entries), notices, tuple(entries))


def _compiled(kind: str, path: Path, postfix: PostfixCommands) -> Table:
    table = f"{kind}:{path}"
    try:
        there = read_entries(_read(path), str(path), Format.KEYS)
    except TableUnreadable:
        there = []
    try:
        in_force = _listed(table, postfix)
    except TableUnreadable as error:
        if not there:
            raise
        notice = f"{error}; its source was read instead, which may not be what is in force"
        return _table(there, notice)
    notices = _differences(table, in_force, there) if there else [f"{path} cannot be read"]
    return _table(_located(in_force, there), *notices)


def _listed(table: str, postfix: PostfixCommands) -> list[Entry]:
    try:
        printed = postfix.postmap("-s", table, directory=Path("/"))
    except PostfixUnavailable as error:
        raise TableUnreadable(f"{table}: {error}") from error
    lines = (line.split("\t", 1) for line in printed.split("\n") if line.strip())
    return [
        Entry(line[0].strip('"'), line[1].strip() if len(line) == 2 else "", table)
        for line in lines
    ]


def _located(in_force: list[Entry], there: list[Entry]) -> list[Entry]:
    """Return the entries in force in the order of their source, with the lines of it."""
    places: dict[tuple[str, str], tuple[int, Entry]] = {}
    for number, entry in enumerate(there):
        places.setdefault((entry.key.lower(), _plain(entry.value)), (number, entry))
    found: list[tuple[int, str, Entry]] = []
    for entry in in_force:
        place = places.get((entry.key.lower(), _plain(entry.value)))
        if place is None:
            found.append((len(there), entry.key, entry))
        else:
            found.append((place[0], entry.key, place[1]))
    return [entry for *_, entry in sorted(found, key=lambda each: each[:2])]


def _differences(table: str, in_force: list[Entry], there: list[Entry]) -> list[str]:
    first: dict[str, Entry] = {}
    for entry in there:
        first.setdefault(entry.key.lower(), entry)
    known = {entry.key.lower(): _plain(entry.value) for entry in in_force}
    # A line without a value is no entry for postmap.
    source = {key: _plain(entry.value) for key, entry in first.items() if entry.value}
    changed = sorted(key for key in {*known, *source} if known.get(key) != source.get(key))
    notices = []
    if changed:
        shown = ", ".join(changed[:5]) + (" and others" if len(changed) > 5 else "")
        notices.append(
            f"{table} in force differs from its source for {shown}; what is in force was taken. "
            f"If the source is right: postmap {table}, and import again"
        )
    skipped = [entry.where for entry in there if not entry.value]
    repeated = [e.where for e in there if first[e.key.lower()] is not e]
    notices += [f"{where}: no policy, so Postfix skips this line" for where in skipped]
    notices += [f"{where}: a second entry, which Postfix skips" for where in repeated]
    return notices


def _plain(value: str) -> str:
    return " ".join(value.split())


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            octets = file.read(MAX_OCTETS + 1)
    except OSError as error:
        raise TableUnreadable(f"{path}: {error.strerror}") from error
    if len(octets) > MAX_OCTETS:
        raise TableUnreadable(f"{path}: more than {MAX_OCTETS} octets")
    if b"\0" in octets:
        raise TableUnreadable(
            f"{path} is no text; name a compiled table with its type and without its ending, such "
            f"as hash:{path.with_suffix('')}"
        )
    return octets.decode("utf-8", "surrogateescape")
