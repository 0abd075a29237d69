"""Letting Postfix confirm that new files mean what we intended, before the live ones are touched.

Purpose: our reading of the files and Postfix's must agree. The new text is put into a scratch
directory, postconf(1) reads it there, and what it finds changed is compared with what we meant to
change. One difference too many, one too few, or one new warning, and nothing is done.
Source: postconf(1) ``-n``, ``-M``, ``-P``, ``-x``.
Errors: `referee` raises `AttachError` with the difference, `PostfixUnavailable` if postconf fails.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gatepost.errors import AttachError
from gatepost.postfix.commands import PostfixCommands
from gatepost.postfix.detect import parse_settings
from gatepost.postfix.main_cf import settings
from gatepost.postfix.markers import PRIVATE_PREFIX, SERVICE_PREFIX
from gatepost.postfix.master_cf import services
from gatepost.postfix.parameters import LIST_HOOKS, SCALARS
from gatepost.postfix.plan import MAIN_CF, MASTER_CF

_LINE_NUMBER = re.compile(r", line \d+")
_LISTS = frozenset(hook.parameter for hook in LIST_HOOKS)


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
    """Put both files into a directory."""
    for name, text in texts.items():
        (directory / name).write_bytes(text.encode("utf-8", "surrogateescape"))


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
    ours_before, ours_after = _our_reading(old), _our_reading(new)
    problems = [
        *_compare("main.cf", _changes(before.main, after.main), _changes(ours_before.main, ours_after.main)),
        *_compare(
            "master.cf",
            _changes(before.overrides, after.overrides),
            _changes(ours_before.overrides, ours_after.overrides),
        ),
        *(f"new warning: {text}" for text in sorted(after.warnings - before.warnings)),
        *(f"service {name} appears or goes" for name in sorted(before.services ^ after.services) if not name.startswith(SERVICE_PREFIX)),
    ]
    if problems:
        raise AttachError(
            "nothing was changed, because postconf does not read the new files as intended:\n  "
            + "\n  ".join(problems)
        )


def _postfix_reading(postfix: PostfixCommands, directory: Path) -> Reading:
    main = postfix.postconf("-n", config_dir=directory)
    overrides = postfix.postconf("-P", config_dir=directory)
    entries = postfix.postconf("-M", config_dir=directory)
    # Expansion shows references that lead nowhere or in circles.
    expanded = [postfix.postconf("-x", option, config_dir=directory) for option in ("-n", "-P")]
    printed = [main, overrides, entries, *expanded]
    return Reading(
        _collapsed({k: v for k, v in parse_settings(main.stdout).items() if k != "config_directory"}),
        _collapsed(parse_settings(overrides.stdout)),
        frozenset("/".join(line.split()[:2]) for line in entries.stdout.splitlines() if line.strip()),
        frozenset(
            _LINE_NUMBER.sub("", line) for output in printed for line in output.stderr.splitlines()
        ),
    )
