"""What attach and detach say, for people and as a document.

Format: the unified diff of each file; above each line that changes in place, its reason on lines
that start with "#" where a diff has its sign. In our block the reasons are comments of the file
itself and so part of the diff. The document's ``diff`` is the bare diff, which patch(1) takes.
Errors: none.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Any

from gatepost.postfix.attach import Outcome
from gatepost.postfix.plan import Note, Plan, Weight

_WIDTH = 98


def diff_with_reasons(plan: Plan, name: str, directory: str) -> Iterator[str]:
    """Yield the diff of one file with reasons, as lines without line breaks."""
    reasons = {
        change.line: change.reason
        for change in plan.changes
        if change.file == name and not change.in_block
    }
    for line in plan.diff(name, directory):
        shown = line.rstrip("\r\n")
        if line.startswith("+") and (reason := reasons.get(shown[1:])) is not None:
            yield from _wrapped(reason, "#   ", "#   ")
        yield shown


def describe(outcome: Outcome, verb: str, *, dry_run: bool, options: str = "") -> Iterator[str]:
    """Yield what was, or would be, done, as lines.

    Args:
        outcome: What `attach` or `detach` returned.
        verb: ``attach`` or ``detach``.
        dry_run: Whether nothing was done.
        options: What commands that are told to the operator need to find both files again.
    """
    directory = str(outcome.config_dir)
    yield f"Postfix {outcome.facts.version}, {directory}"
    for name in outcome.plan.changed:
        yield ""
        yield from diff_with_reasons(outcome.plan, name, directory)
    if outcome.plan.changed:
        yield ""
    for note in sorted(_notes(outcome), key=lambda each: each.weight is Weight.NOTE):
        yield from _wrapped(note.text, f"{note.weight}: ", "    ")
    yield from (_dry if dry_run else _done)(outcome, verb, options)


def document(outcome: Outcome) -> dict[str, Any]:
    """Return the same for programs."""
    plan, applied = outcome.plan, outcome.applied
    directory = str(outcome.config_dir)
    return {
        "ok": True,
        "config_dir": directory,
        "postfix_version": str(outcome.facts.version),
        "needed": outcome.needed,
        "changed": list(outcome.changed),
        "diff": {name: "".join(plan.diff(name, directory)) for name in plan.changed},
        "changes": [
            {"file": each.file, "line": each.line, "reason": each.reason} for each in plan.changes
        ],
        "notes": [{"weight": each.weight, "text": each.text} for each in plan.notes],
        "sockets": list(outcome.unanswered),
        "unfinished": outcome.unfinished,
        "applied": None
        if applied is None
        else {
            "changed": list(applied.changed),
            "backup": None if applied.backup is None else str(applied.backup),
            "resumed": applied.resumed,
            "reloaded": applied.reloaded,
            "check": applied.warnings,
        },
    }


def _notes(outcome: Outcome) -> Iterator[Note]:
    yield from outcome.plan.notes
    for text in outcome.unanswered:
        yield Note(Weight.WARNING, f"{text}. While nobody answers, Postfix refuses mail with 4xx.")
    if outcome.unfinished:
        yield Note(
            Weight.WARNING, "An earlier run was interrupted; this one finishes what it left."
        )


def _dry(outcome: Outcome, verb: str, options: str) -> Iterator[str]:
    if not outcome.needed:
        yield _nothing(verb)
    else:
        others = [name for name in outcome.changed if name not in outcome.plan.changed]
        if others:
            yield f"{', '.join(others)} would be written or removed."
        yield f"Nothing was changed. To do it: gatepost {verb}{options}"


def _done(outcome: Outcome, verb: str, options: str) -> Iterator[str]:
    applied, directory = outcome.applied, outcome.config_dir
    if applied is None or not outcome.needed:
        yield _nothing(verb)
        return
    yield f"Written: {', '.join(applied.changed) or 'nothing'}. postfix check accepts it."
    for line in applied.warnings.splitlines():
        yield f"    {line}"
    yield f"Backup:  {applied.backup}"
    if applied.reloaded:
        yield "Postfix has been told to reload."
    elif outcome.facts.running:
        yield f"Not in force yet. To tell Postfix: postfix -c {directory} reload"
    else:
        yield "Postfix does not run; it reads the new files when it starts."
    if verb == "attach":
        yield f"To undo: gatepost detach{options}   (later edits of yours stay)"


def _nothing(verb: str) -> str:
    if verb == "attach":
        return "Nothing to do: attached, and as the configuration asks for."
    return "Nothing to do: nothing of Gatepost's is in these files."


def _wrapped(text: str, first: str, rest: str) -> list[str]:
    return textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=first,
        subsequent_indent=rest,
        break_on_hyphens=False,
        break_long_words=False,
    )
