"""What attach and detach say, for people and as a document.

Format: the unified diff of each file; above each line that changes in place, its reason on lines
that start with "#" where a diff has its sign. In our block the reasons are comments of the file
itself and so part of the diff. The document's ``diff`` is the bare diff, which patch(1) takes.
Errors: none.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from gatepost.postfix.attach import Outcome
from gatepost.postfix.bounce_filter import FILE_NAME
from gatepost.postfix.instances.apart import Left
from gatepost.postfix.instances.life import Change
from gatepost.postfix.plan import Note, Plan, Weight, diff_of

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
    yield from _apart_files(outcome)
    if outcome.plan.changed:
        yield ""
    for note in sorted(_notes(outcome), key=lambda each: each.weight is Weight.NOTE):
        yield from _wrapped(note.text, f"{note.weight}: ", "    ")
    yield from (_dry if dry_run else _done)(outcome, verb, options)
    yield from _apart(outcome, verb, options, dry_run=dry_run)


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
        "instances": [
            {
                "lane": change.place.lane,
                "config_dir": str(change.place.config_dir),
                "changed": list(change.changed),
                "diff": {name: "".join(_diff(change, name)) for name in change.changed},
            }
            for change in outcome.apart.wanted
        ],
        "leaving": [change.place.lane for change in outcome.apart.leaving],
        "left": [asdict(each) for each in outcome.left],
        "started": list(outcome.started),
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


def _diff(change: Change, name: str) -> list[str]:
    path = f"{change.place.config_dir}/{name}"
    return diff_of(change.old.get(name, ""), change.new.get(name, ""), path)


def _apart_files(outcome: Outcome) -> Iterator[str]:
    """Yield the diffs of the files of lanes' own instances."""
    for change in outcome.apart.wanted:
        for name in change.changed:
            if name != FILE_NAME:
                yield ""
                yield from (line.rstrip("\r\n") for line in _diff(change, name))


def _apart(outcome: Outcome, verb: str, options: str, *, dry_run: bool) -> Iterator[str]:
    """Yield what becomes, or has become, of lanes' own instances."""
    would = "would be " if dry_run else ""
    for change in outcome.apart.wanted:
        if change.changed:
            word = "brought up to date" if change.old else "made"
            yield f"Lane {change.place.lane}: its instance {change.place.config_dir} {would}{word}."
            if outcome.applied is not None and not outcome.told:
                yield f"    Start it with Postfix: postfix -c {change.place.config_dir} start"
        if change.place.lane in outcome.started:
            yield f"Lane {change.place.lane}: its instance {change.place.config_dir} started."
    left = {each.lane: each for each in outcome.left}
    for change in outcome.apart.leaving:
        lane = change.place.lane
        if lane not in left:
            what = f"{would}emptied into this one and removed"
            yield f"Lane {lane}: its instance {change.place.config_dir} {what}."
            continue
        yield from _wrapped(_still(left[lane], outcome, f"gatepost {verb}{options}"), "", "    ")


def _still(left: Left, outcome: Outcome, again: str) -> str:
    several = left.messages != 1
    if not outcome.facts.running:
        goes_on = "gives them back when Postfix runs"
    elif not outcome.told:
        goes_on = "gives them back after a run without --no-reload"
    else:
        goes_on = "goes on giving them back to this one"
    return (
        f"warning: Lane {left.lane}: {left.messages} message{'s are' if several else ' is'} still "
        f"in the queue of its instance {left.config_dir}, which gets no more mail, {goes_on}, and "
        f"stays until it is empty, as does what it needs in main.cf and master.cf. To see them: "
        f"postqueue -c {left.config_dir} -p. Those on hold stay there until postsuper -c "
        f"{left.config_dir} -H ALL. Then, once more: {again}"
    )


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
        others = [
            name
            for name in outcome.changed
            if name not in outcome.plan.changed and name not in outcome.apart.changed
        ]
        if others:
            yield f"{', '.join(others)} would be written or removed."
        yield f"Nothing was changed. To do it: gatepost {verb}{options}"


def _done(outcome: Outcome, verb: str, options: str) -> Iterator[str]:
    applied, directory = outcome.applied, outcome.config_dir
    if applied is None or not outcome.needed:
        yield _nothing(verb)
        return
    if not (applied.changed or applied.resumed):
        # Only the instances of lanes change, as is told below.
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
