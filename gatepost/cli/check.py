"""``gatepost check``: find every mistake in the configuration."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

import typer

from gatepost.cli.common import DEFAULT_CONFIG, USAGE, ConfigOption, JsonOption, number, print_json
from gatepost.errors import ConfigError, ConfigErrors
from gatepost.settings import Loaded, Loader

_MAX_NAMES = 12


def command(*, config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Check the configuration, and report every mistake with file and line.

    Reads the files as a start or a reload would, and changes nothing. Each line says what is wrong
    and what to write instead. A warning tells of what is allowed and yet is probably not meant.

    Exit status: 0 fine, perhaps with warnings; 2 errors.
    """
    try:
        loaded = Loader(config).load()
    except ConfigErrors as errors:
        if as_json:
            print_json(_document(errors.errors, errors.warnings))
        else:
            _print_warnings(errors.warnings)
            for each in errors.errors:
                print(each, file=sys.stderr)
            print(_counts(errors), file=sys.stderr)
        raise typer.Exit(USAGE) from errors
    if as_json:
        print_json(_document((), loaded.warnings) | _summary(loaded))
    else:
        _print_warnings(loaded.warnings)
        _print_summary(loaded)


def _print_warnings(warnings: Iterable[ConfigError]) -> None:
    for each in warnings:
        print(f"warning: {each}", file=sys.stderr)


def _counts(errors: ConfigErrors) -> str:
    found = [number(len(errors.errors), "error")]
    if errors.warnings:
        found.append(number(len(errors.warnings), "warning"))
    return ", ".join(found)


def _print_summary(loaded: Loaded) -> None:
    summary = _summary(loaded)
    services: list[str] = summary["services"]
    print(
        f"{loaded.settings.config}: fine: {number(summary['tenants'], 'tenant')}, "
        f"{number(summary['sender_domains'], 'sender domain')}, "
        f"{number(len(services), 'delivery service')}, digest {summary['digest']}"
    )
    if services:
        more = len(services) - _MAX_NAMES
        rest = f" and {more} more" if more > 0 else ""
        print(f"services that gatepost attach adds: {', '.join(services[:_MAX_NAMES])}{rest}")


def _summary(loaded: Loaded) -> dict[str, Any]:
    tenants = loaded.snapshot.tenants
    return {
        "config": str(loaded.settings.config),
        "digest": loaded.snapshot.digest,
        "tenants": len(tenants.by_id),
        "sender_domains": len(tenants.by_sender),
        "services": list(loaded.snapshot.services),
    }


def _document(errors: Iterable[ConfigError], warnings: Iterable[ConfigError]) -> dict[str, Any]:
    told = [_entry(each) for each in errors]
    return {"ok": not told, "errors": told, "warnings": [_entry(each) for each in warnings]}


def _entry(error: ConfigError) -> dict[str, Any]:
    return {
        "file": error.file,
        "line": error.line,
        "path": error.path,
        "problem": error.problem,
        "remedy": error.remedy,
    }
