"""Letting Postfix confirm that new files mean what we intended, before the live ones are touched.

Purpose: our reading of the files and Postfix's must agree. The new text is put into a scratch
directory, postconf(1) reads it there, and what it finds changed is compared with what we meant to
change. One difference too many, one too few, or one new warning, and nothing is done.
Source: postconf(1) ``-n``, ``-M``, ``-P``, ``-x``.
Errors: `referee` raises `AttachError` with the difference, `PostfixUnavailable` if postconf fails.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from gatepost.errors import AttachError
from gatepost.postfix.commands import PostfixCommands
from gatepost.postfix.detect import parse_settings
from gatepost.postfix.instances.handover import RETURN, RETURN_CLEANUP
from gatepost.postfix.instances.registration import NAMES
from gatepost.postfix.main_cf import settings
from gatepost.postfix.markers import PRIVATE_PREFIX, SERVICE_PREFIX
from gatepost.postfix.master_cf import for_postconf, services
from gatepost.postfix.parameters import LIST_HOOKS, SCALARS
from gatepost.postfix.plan import MAIN_CF, MASTER_CF

# Postfix waits a second or two before it believes a file that has only just been written.
_SETTLED_S = 60

_LINE_NUMBER = re.compile(r", line \d+")
_NAMES = frozenset({*SCALARS, *NAMES, *(hook.parameter for hook in LIST_HOOKS)})
_SERVICES = tuple(f"{name}/" for name in (RETURN, RETURN_CLEANUP))

Changes = dict[str, tuple[str | None, str | None]]


@dataclass(frozen=True, slots=True)
class Reading:
    """What somebody reads out of a pair of files; white space in values counts as one blank.

    Attributes:
        main: Parameter to value as main.cf sets it.
        overrides: ``service/type/parameter`` to value.
        services: ``name/type`` of all services.
        warnings: What postconf warned about, without line numbers.
    """

    main: dict[str, str]
    overrides: dict[str, str]
    services: frozenset[str]
    warnings: frozenset[str] = frozenset()


def write_scratch(texts: Mapping[str, str], directory: Path) -> None:
    """Put both files into a directory, in a form in which postconf reads what they mean."""
    for name, written in texts.items():
        path = directory / name
        text = for_postconf(written) if name == MASTER_CF else written
        path.write_bytes(text.encode("utf-8", "surrogateescape"))
        settled = path.stat().st_mtime - _SETTLED_S
        os.utime(path, (settled, settled))


def referee(postfix: PostfixCommands, old: Mapping[str, str], new: Mapping[str, str]) -> None:
    """Let Postfix confirm a change.

    Args:
        postfix: The instance.
        old: File name to text before.
        new: File name to text after.

    Raises:
        AttachError: If Postfix reads anything else than we intended, or warns anew.
        PostfixUnavailable: If postconf fails on the new files.
    """
    with tempfile.TemporaryDirectory(prefix="gatepost-") as name:
        directory = Path(name)
        write_scratch(old, directory)
        before = _postfix_reading(postfix, directory)
        write_scratch(new, directory)
        after = _postfix_reading(postfix, directory)
    problems = list(_problems(before, after, _our_reading(old), _our_reading(new)))
    if problems:
        raise AttachError(
            "nothing was changed, because postconf does not read the new files as intended:\n  "
            + "\n  ".join(problems)
        )


def _problems(
    before: Reading, after: Reading, ours_before: Reading, ours_after: Reading
) -> Iterator[str]:
    main = _changes(before.main, after.main)
    yield from _compare(MAIN_CF, main, _changes(ours_before.main, ours_after.main))
    yield from _compare(
        MASTER_CF,
        _changes(before.overrides, after.overrides),
        _changes(ours_before.overrides, ours_after.overrides),
    )
    for name in sorted(main):
        if not name.startswith((PRIVATE_PREFIX, SERVICE_PREFIX)) and name not in _NAMES:
            yield f"{MAIN_CF}: {name} changes, which is none of ours"
    for name in sorted(before.services ^ after.services):
        if not name.startswith((SERVICE_PREFIX, *_SERVICES)):
            yield f"{MASTER_CF}: service {name} appears or goes"
    for text in sorted(after.warnings - before.warnings):
        # An override of ours that is the operator's own stays behind when we go.
        if f"unused parameter: {PRIVATE_PREFIX}" not in text:
            yield f"new warning: {text}"


def _changes(before: Mapping[str, str], after: Mapping[str, str]) -> Changes:
    return {
        name: (before.get(name), after.get(name))
        for name in before.keys() | after.keys()
        if before.get(name) != after.get(name)
    }


def _compare(file: str, theirs: Changes, ours: Changes) -> Iterator[str]:
    for name in sorted(theirs.keys() | ours.keys()):
        if theirs.get(name) == ours.get(name):
            continue
        seen, meant = theirs.get(name), ours.get(name)
        yield f"{file}: {name}: meant {_change(meant)}, but postconf sees {_change(seen)}"


def _change(change: tuple[str | None, str | None] | None) -> str:
    if change is None:
        return "no change"
    old, new = ("nothing" if value is None else f'"{value}"' for value in change)
    return f"{old} to become {new}"


def _our_reading(texts: Mapping[str, str]) -> Reading:
    entries = services(texts[MASTER_CF])
    return Reading(
        _collapsed(settings(texts[MAIN_CF])),
        _collapsed({f"{e.key}/{o.name}": o.value for e in entries for o in e.options}),
        frozenset(entry.key for entry in entries),
    )


def _postfix_reading(postfix: PostfixCommands, directory: Path) -> Reading:
    main = postfix.postconf("-n", config_dir=directory)
    overrides = postfix.postconf("-P", config_dir=directory)
    entries = postfix.postconf("-M", config_dir=directory)
    # Expansion shows references that lead nowhere or in circles.
    expanded = [postfix.postconf("-x", option, config_dir=directory) for option in ("-n", "-P")]
    set_in_main = parse_settings(main.stdout)
    set_in_main.pop("config_directory", None)
    return Reading(
        _collapsed(set_in_main),
        _collapsed(parse_settings(overrides.stdout)),
        frozenset("/".join(line.split()[:2]) for line in entries.stdout.splitlines() if line),
        frozenset(
            _LINE_NUMBER.sub("", line)
            for output in (main, overrides, entries, *expanded)
            for line in output.stderr.splitlines()
        ),
    )


def _collapsed(values: Mapping[str, str]) -> dict[str, str]:
    return {name: " ".join(value.split()) for name, value in values.items()}
