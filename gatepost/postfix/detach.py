"""What detach does to main.cf and master.cf: old text in, text without ours out.

Purpose: the inverse of attach, from the files alone. What attach wrote goes; what the operator has
written since stays, also where it stands inside our block. Attach begins with it too, so that a
second attach is the same as a first.
Format: see `markers`.
Errors: `detach_main` and `detach_master` raise `AttachError` where the marker lines are damaged.
Security: a Postfix parameter in the block whose value is not one that attach writes is the
operator's now and stays, and so does anything in the block that is not ours at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from gatepost.postfix.instances.handover import GREETING, RETURN, RETURN_CLEANUP
from gatepost.postfix.instances.place import joined, without_ours
from gatepost.postfix.instances.registration import DIRECTORIES, is_our_registration
from gatepost.postfix.lines import SPACE, Edit, Logical, Physical, apply_edits, physical_lines
from gatepost.postfix.main_cf import Parameter, parameters
from gatepost.postfix.markers import (
    BEGIN,
    COMMENT,
    END,
    KEPT,
    PRIVATE_PREFIX,
    REPLACED,
    SERVICE_PREFIX,
    Block,
    find_block,
    unsplice,
)
from gatepost.postfix.master_cf import Service, services
from gatepost.postfix.parameters import TRANSPORT_PARAMETERS, is_our_value
from gatepost.postfix.plan import MAIN_CF, MASTER_CF, Note, note

_SERVICE_SETTING = re.compile(rf"{SERVICE_PREFIX}.*(?:{'|'.join(TRANSPORT_PARAMETERS)})", re.DOTALL)
_OUR_MAP = re.compile(r"socketmap:unix:[^:\s,]+:tls-[a-z][a-z0-9]*")


@dataclass(frozen=True, slots=True)
class Detached:
    """One file without ours.

    Attributes:
        text: The file.
        position: Offset in it of the line before which the block stood, or None if there was no
            block or it stood at the end.
        kept: Parameters that attach was told to leave as they are.
        notes: What else there is to say.
    """

    text: str
    position: int | None = None
    kept: frozenset[str] = frozenset()
    notes: tuple[Note, ...] = ()


def detach_main(text: str) -> Detached:
    """Return a main.cf without anything that attach wrote.

    Raises:
        AttachError: If the marker lines are damaged.
    """
    block = find_block(text, MAIN_CF)
    found = parameters(text)
    notes: list[Note] = []
    before = _replaced(text, DIRECTORIES)
    ours = [p for p in found if _is_ours(p, block, before)]
    edits = [edit for parameter in ours for edit in _without(parameter.line)]
    edits += _unregistered(found, ours)
    mine = {id(parameter) for parameter in ours}
    remaining = [p for p in found if id(p) not in mine]
    for parameter in remaining:
        edits += unsplice(text, parameter.line, parameter.start, parameter.end)
        if block is not None and block.start <= parameter.line.start < block.end:
            notes.append(
                note(f"{parameter.name} stands in the gatepost block but is not ours; it stays.")
            )
    kept = frozenset(_kept(text, block))
    edits += _without_marks(text, block)
    edits += _restored(text, {parameter.name for parameter in remaining}, notes)
    return _detached(text, edits, block, kept, notes)


def detach_master(text: str) -> Detached:
    """Return a master.cf without anything that attach wrote.

    Raises:
        AttachError: If the marker lines are damaged.
    """
    block = find_block(text, MASTER_CF)
    edits: list[Edit] = []
    notes: list[Note] = []
    for entry in services(text):
        # postconf(1) moves comments, and so our marker lines, when it edits an entry beside
        # them. A service is therefore told by its name and map, not by where it stands.
        if is_our_service(entry):
            edits += _without(entry.line)
        else:
            edits += _without_ours(text, entry)
    edits += _without_marks(text, block)
    return _detached(text, edits, block, frozenset(), notes)


def leftovers(text: str, file: str) -> Iterator[Note]:
    """Yield a note for each line of a detached file that still names something of ours."""
    for number, line in enumerate(physical_lines(text), 1):
        if PRIVATE_PREFIX in line.text or REPLACED.strip() in line.text:
            kind = "a comment, " if line.skipped else ""
            yield note(f"{file} line {number}, {kind}still names ours: {line.text.strip()}")


def _is_ours(parameter: Parameter, block: Block | None, before: str) -> bool:
    if parameter.name.startswith(PRIVATE_PREFIX):
        return True
    if block is None or not block.start <= parameter.line.start < block.end:
        return False
    return (
        _SERVICE_SETTING.fullmatch(parameter.name) is not None
        or is_our_value(parameter.name, parameter.value)
        or is_our_registration(parameter.name, parameter.value, before)
    )


def is_our_service(entry: Service) -> bool:
    """Tell whether attach wrote a service: by its name and what it asks or is there for."""
    if entry.type != "unix":
        return False
    if entry.name.startswith(SERVICE_PREFIX):
        return (
            _OUR_MAP.search(entry.value("smtp_tls_policy_maps")) is not None
            or entry.value("lmtp_lhlo_name") == GREETING
        )
    return entry.name in {RETURN, RETURN_CLEANUP}


def _unregistered(found: list[Parameter], ours: list[Parameter]) -> Iterator[Edit]:
    """Yield the edit that takes our instances out of a list that has become the operator's."""
    mine = {id(parameter) for parameter in ours}
    for parameter in found:
        if parameter.name != DIRECTORIES or id(parameter) in mine:
            continue
        remaining = joined(without_ours(parameter.value))
        if remaining != " ".join(parameter.value.replace(",", " ").split()):
            yield Edit(parameter.start, parameter.end, remaining)


def _without(line: Logical) -> Iterator[Edit]:
    """Yield the edits that take out a logical line, but no comment of the operator's in it."""
    for part in line.parts:
        yield Edit(part.start, part.end, "")


def _without_ours(text: str, entry: Service) -> Iterator[Edit]:
    for option in entry.options:
        # Attach only ever switches off; a value is the operator's own.
        if not option.name.startswith(PRIVATE_PREFIX) or option.value:
            yield from unsplice(text, entry.line, option.start, option.end)
            continue
        part = next(p for p in entry.line.parts if p.start <= option.first < p.end)
        before = text[part.start : option.first]
        after = text[option.last : part.start + len(part.text)]
        if before.strip(SPACE) or after.strip(SPACE):
            yield Edit(option.first - (len(before) - len(before.rstrip(SPACE))), option.last, "")
        else:
            # Attach put a line break in front of it.
            yield Edit(part.start - 1, part.start + len(part.text), "")


def _kept(text: str, block: Block | None) -> Iterator[str]:
    for line in _block_lines(text, block):
        if line.text.startswith(KEPT):
            yield line.text.removeprefix(KEPT).strip()


def _without_marks(text: str, block: Block | None) -> Iterator[Edit]:
    """Yield the edits that take out the marker lines and our comments between them."""
    for line in _block_lines(text, block):
        marker = line.text.startswith(BEGIN.partition(":")[0]) or line.text.rstrip() == END
        if marker or line.text.startswith(COMMENT.strip()):
            yield Edit(line.start, line.end, "")


def _block_lines(text: str, block: Block | None) -> Iterator[Physical]:
    if block is not None:
        for line in physical_lines(text):
            if block.start <= line.start < block.end:
                yield line


def _replaced(text: str, wanted: str) -> str:
    """Return the value of a setting that attach has put out of force, or nothing."""
    kept = [
        line.text.removeprefix(REPLACED)
        for line in physical_lines(text)
        if line.text.startswith(REPLACED)
    ]
    return " ".join(p.value for p in parameters("\n".join(kept) + "\n") if p.name == wanted)


def _restored(text: str, active: set[str], notes: list[Note]) -> Iterator[Edit]:
    """Yield the edits that put replaced settings back into force.

    A setting that the operator has made anew stands in place of the old one, which then goes:
    two settings of one parameter would make Postfix warn.
    """
    name = ""
    for line in physical_lines(text):
        if not line.text.startswith(REPLACED):
            continue
        old = line.text.removeprefix(REPLACED)
        if old and old[0] not in SPACE:
            name = old.partition("=")[0].strip(SPACE)
            if name in active:
                notes.append(note(f"{name} was set anew since; the old line goes: {old.strip()}"))
        if name in active:
            yield Edit(line.start, line.end, "")
        else:
            yield Edit(line.start, line.start + len(REPLACED), "")


def _detached(
    text: str,
    edits: list[Edit],
    block: Block | None,
    kept: frozenset[str],
    notes: list[Note],
) -> Detached:
    if block is not None and _break_is_ours(text, block, edits):
        edits = [*edits, Edit(block.start - 1, block.start, "")]
    new = apply_edits(text, edits)
    position = None
    if block is not None and block.end < len(text):
        # All that stays of the text before the end of the block comes before the position.
        position = len(apply_edits(text[: block.end], [e for e in edits if e.end <= block.end]))
    return Detached(new, position, kept, tuple(notes))


def _break_is_ours(text: str, block: Block, edits: list[Edit]) -> bool:
    """Tell whether the line break before the block goes: nothing of the operator's follows it."""
    if not block.after_unfinished_line or block.end != len(text):
        return False
    kept = apply_edits(text, (e for e in edits if e.start >= block.start))
    return len(kept) == block.start
