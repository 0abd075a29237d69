"""The configuration explained from the declarations of its settings.

Purpose: `starter` is what ``gatepost init`` writes; `markdown` is docs/config.md. Both come from
`keys`, so neither can say anything else than what the check of a file knows.
Format: in the starter file, a setting without a default and the example of a table stand behind "#"
at the place where they would stand: take the "#" away, and the line counts.
Errors: none.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Any

from gatepost.settings.keys import KeyFile, MainFile
from gatepost.settings.keys_promoted import PromotedFile
from gatepost.settings.keys_shaping import ShapingFile
from gatepost.settings.schema import Entry, ListOf, Section, Table

_WIDTH = 98
_COMMENT_WIDTH = 88
_INDENT = "  "

_STARTER_HEAD = """\
# Gatepost's configuration.
#
# gatepost check    looks for mistakes, in this file and in those that it names
# gatepost reload   puts changes into force, or keeps what is in force and says why
#
# What stands here is the default. A "#" directly before a word marks what has no default, and
# examples: take it away, and the line counts. docs/config.md explains more.
#
"""

_INTRODUCTION = """\
# Configuration

<!-- Generated from gatepost/settings/keys.py. Do not edit. -->

Gatepost reads one file, `/etc/gatepost/gatepost.yaml` unless `--config` names another. `gatepost
init` writes it with every setting and its explanation, `gatepost check` reports every mistake as
`file:line: setting: what is wrong; what to write instead`, and `gatepost reload` puts it into
force whole or not at all. A process that is started with a wrong configuration does not start;
one that is told to reload a wrong one goes on with what it has.
"""

_AFTERWORD = """\
## What is refused

Besides what is said above, and always with both places where there are two:

* a setting that does not exist, stands twice, or is not supported by this version;
* a login, certificate, client network, listener or sender domain of two tenants, networks and
  domains within those of another tenant included; a login of a tenant that is a platform login
  too;
* a tenant in two files, and two tenants with the same number in tokens;
* a profile, lane or tenant that is named and does not exist;
* `min_version` without `encrypt` or `verify`, `match` without `verify`, and rules of a profile
  and of `tls.domains` that accept no certificate name in common;
* settings in the profile `standard` or the lane `normal`: both carry the mail of tenants whose
  features are only observed, and would change it;
* a profile or lane in mode enforce where the envelope sender does not tell the tenant at
  delivery;
* `return_path: token` without `platform.bounce_domain`, and a bounce domain that a tenant sends
  from;
* a key file that somebody else can read or write.

What is allowed and yet is probably not meant is a warning: `gatepost check` shows it, and the log
does at each start and reload.

## Keys

`gatepost init` makes the key file with one key. Several hosts that send for the same tenants need
the same file, since each must verify what another has signed.

A new key, on one host: `gatepost keys rotate`, then `gatepost reload`.

On several hosts no host may sign with a key that another does not know yet. So do the same on one,
but before the reload set `current` back to the old key and take away its `until`; copy the file to
all, and reload all. Then, in a second round, set `current` to the new key everywhere, give the old
one an `until` of 61 days from then, and reload all again.

Tokens are accepted for 60 days, and so must be the key that signed them: `until` says how long.

## Limits

64 MiB a file, 32 levels of nesting, 1,000,000 values that come in by aliases, 200,000 files in
`tenants_dir`. Octets that are not UTF-8, control characters, tags and a second document in a file
are refused. 100,000 tenants load within 5 s of processor time in one file or in a thousand
(`./dev bench reload`); each file costs about as much as two or three tenants, so a
file for each of them takes several times as long.
"""


def starter() -> str:
    """Return the text of a configuration file with each setting, its explanation and default."""
    section = Section(MainFile)
    lines = [*_STARTER_HEAD.splitlines(), *_comment(section.doc, "")]
    for name, entry in section.entries.items():
        lines += ["", *_setting(name, entry, "", live=True)]
    return "\n".join(lines) + "\n"


def markdown() -> str:
    """Return docs/config.md."""
    main, keys, promoted = Section(MainFile), Section(KeyFile), Section(PromotedFile)
    shaping = Section(ShapingFile)
    lines = [
        _INTRODUCTION,
        _wrapped(main.doc),
        "",
        *_chapter(main, "", 2),
        "## The key file",
        "",
        _wrapped(keys.doc),
        "",
        *_chapter(keys, "", 3),
        "## The file of promoted rules",
        "",
        _wrapped(promoted.doc),
        "",
        *_chapter(promoted, "", 3),
        "## The file of shaping rules",
        "",
        _wrapped(shaping.doc),
        "",
        *_chapter(shaping, "", 3),
        _AFTERWORD,
    ]
    return "\n".join(lines)


def _comment(text: str, indent: str) -> list[str]:
    flat = " ".join(text.split())
    return textwrap.wrap(
        flat,
        _COMMENT_WIDTH,
        initial_indent=f"{indent}# ",
        subsequent_indent=f"{indent}# ",
        break_on_hyphens=False,
        break_long_words=False,
    )


def _explanation(entry: Entry) -> str:
    """Return what an entry is for: its own words, or those of the section that it holds."""
    node = entry.node
    return entry.doc or (node.doc if isinstance(node, Section) else "")


def _setting(name: str, entry: Entry, indent: str, *, live: bool) -> list[str]:
    """Return the lines of a setting.

    Args:
        name: Its name.
        entry: What it is.
        indent: Blanks before it.
        live: Whether what has a default counts; otherwise all stands behind "#" already.
    """
    node = entry.node
    lines = _comment(_explanation(entry), indent)
    if isinstance(node, Section):
        lines.append(f"{indent}{name}:")
        for key, child in node.entries.items():
            lines += _setting(key, child, indent + _INDENT, live=live)
    elif isinstance(node, Table):
        lines.append(f"{indent}{name}:")
        example = _example(node, indent + _INDENT)
        lines += _behind_hash(example, indent + _INDENT) if live else example
    elif entry.default is not None and live:
        lines.append(f"{indent}{name}: {entry.default}")
    else:
        line = f"{indent}{name}: {entry.example}"
        lines += _behind_hash([line], indent) if live else [line]
    return lines


def _example(table: Table[Any], indent: str) -> list[str]:
    """Return the lines of an entry of a table."""
    lines = [f"{indent}{table.example}:"]
    value = table.value
    if isinstance(value, Section):
        for key, child in value.entries.items():
            lines += _setting(key, child, indent + _INDENT, live=False)
    return lines


def _behind_hash(lines: list[str], indent: str) -> list[str]:
    return [f"{indent}#{line.removeprefix(indent)}" for line in lines]


def _chapter(section: Section[Any], path: str, depth: int) -> Iterator[str]:
    """Yield a section's settings, and then the sections and tables that it holds."""
    inner: list[tuple[str, Section[Any], str]] = []
    for name, entry in section.entries.items():
        node = entry.node
        if isinstance(node, Section):
            inner.append((f"{path}{name}", node, _explanation(entry)))
        elif isinstance(node, Table) and isinstance(node.value, Section):
            inner.append((f"{path}{name}.<{_placeholder(name)}>", node.value, entry.doc))
        else:
            yield from _paragraph(name, entry)
    if section.planned:
        names = ", ".join(f"`{name}`" for name in section.planned)
        yield from [f"Not supported by this version, and refused: {names}.", ""]
    for title, child, doc in inner:
        yield from [f"{'#' * depth} `{title}`", "", _wrapped(doc), ""]
        if doc != child.doc:
            yield from [_wrapped(child.doc), ""]
        yield from _chapter(child, f"{title}.", depth + 1)


def _paragraph(name: str, entry: Entry) -> Iterator[str]:
    node = entry.node
    default = f"default `{entry.default}`" if entry.default is not None else "no default"
    if entry.required:
        default = "required"
    if isinstance(node, ListOf):
        default = "empty by default"
    text = f"**`{name}`**: {node.label}; {default}. {entry.doc}"
    if entry.example != entry.default:
        text += f" Example: `{name}: {entry.example}`."
    yield from [_wrapped(text), ""]


def _wrapped(text: str) -> str:
    flat = " ".join(text.split())
    return textwrap.fill(flat, _WIDTH, break_on_hyphens=False, break_long_words=False)


def _placeholder(name: str) -> str:
    return {
        "profiles": "name",
        "lanes": "name",
        "providers": "name",
        "rules": "name",
        "domains": "domain",
        "promoted": "domain",
        "logins": "login",
    }.get(name, "number" if name == "keys" else "id")
