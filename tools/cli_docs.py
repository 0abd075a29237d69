"""Write the help of every command as one Markdown document.

Purpose: docs/cli.md shows what ``--help`` shows, at a width of its own, so that neither the
terminal nor the environment of whoever generates it can change the text.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from typer.main import get_command

from gatepost.cli.app import build as command_line

WIDTH = 90

HEAD = """\
# Command line

Generated from the commands themselves by `./dev docs`; what stands here is what `--help` prints.

Exit status of every command: 0 fine, 1 the answer is no, 2 usage or configuration error, 3 what the
command had to do is done, but its output could not be written: a full disk, or a reader that has
gone, such as `head`.
"""


def markdown() -> str:
    """Return the document."""
    return HEAD + "".join(_sections(get_command(command_line()), None, 2))


# typer hands out commands of its own copy of click, whose classes have no public name.
def _sections(command: Any, parent: Any, depth: int) -> Iterator[str]:
    """Yield a section for a command, and deeper ones for the commands below it."""
    context = command.context_class(
        command,
        parent=parent,
        info_name=command.name,
        terminal_width=WIDTH,
        max_content_width=WIDTH,
        color=False,
        **command.context_settings,
    )
    text = "\n".join(line.rstrip() for line in context.get_help().strip().splitlines())
    yield f"\n{'#' * depth} {context.command_path}\n\n```\n{text}\n```\n"
    for name, each in getattr(command, "commands", {}).items():
        each.name = name
        if not each.hidden:
            yield from _sections(each, context, depth + (parent is not None))
