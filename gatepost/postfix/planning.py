"""Plans for attach and detach, from text to text.

Purpose: attach is detach followed by a fresh attach, so a second attach gives the same text, and a
changed configuration adds and removes just what changed.
Errors: `AttachError` where the files or the set-up do not allow it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from gatepost.errors import AttachError
from gatepost.postfix.attach_main import attach_main, register
from gatepost.postfix.attach_master import attach_master, open_return
from gatepost.postfix.clones import not_joined
from gatepost.postfix.detach import (
    Detached,
    detach_main,
    detach_master,
    is_our_service,
    leftovers,
)
from gatepost.postfix.facts import PostfixFacts
from gatepost.postfix.main_cf import settings
from gatepost.postfix.markers import SERVICE_PREFIX
from gatepost.postfix.master_cf import services
from gatepost.postfix.operator_level import default_service, operators_level
from gatepost.postfix.parameters import SCALARS
from gatepost.postfix.plan import MAIN_CF, MASTER_CF, Note, Plan, note, warning
from gatepost.postfix.spec import AttachSpec, Hook
from gatepost.tls.rules import OnFailure


@dataclass(frozen=True, slots=True)
class Bare:
    """Both files without ours.

    Attributes:
        main: main.cf.
        master: master.cf.
    """

    main: Detached
    master: Detached

    @property
    def texts(self) -> dict[str, str]:
        """Return file name to text."""
        return {MAIN_CF: self.main.text, MASTER_CF: self.master.text}


def bare(old: Mapping[str, str]) -> Bare:
    """Return both files without anything that attach wrote.

    Args:
        old: File name to text.

    Raises:
        AttachError: If marker lines are damaged, or a file holds a NUL character, at which
            Postfix and we would read different things.
    """
    for name, text in old.items():
        if "\0" in text:
            line = text[: text.index("\0")].count("\n") + 1
            raise AttachError(f"{name} line {line}: NUL character; take it out first")
    return Bare(detach_main(old[MAIN_CF]), detach_master(old[MASTER_CF]))


def plan_attach(
    old: Mapping[str, str],
    without: Bare,
    spec: AttachSpec,
    facts: PostfixFacts,
    keep: frozenset[str] = frozenset(),
) -> Plan:
    """Return the plan to attach.

    Args:
        old: File name to present text.
        without: The same without ours, as `bare` gave it.
        spec: What Postfix has to be told.
        facts: The instance as it is without ours.
        keep: Parameters to leave as they are, besides those kept before.

    Raises:
        AttachError: If the set-up has no place for ours, asks for what ours cannot be joined with,
            or `keep` names another parameter.
    """
    for name in sorted(keep.difference(SCALARS)):
        raise AttachError(f"--keep {name}: attach sets only {', '.join(SCALARS)}")
    base = default_service(services(without.master.text), facts.value("default_transport"))
    if (problem := not_joined(spec, operators_level(base, facts.value))) is not None:
        raise AttachError(problem)
    keep |= without.main.kept.intersection(SCALARS)
    main = attach_main(without.main.text, spec, facts, keep, without.main.position)
    master = attach_master(
        without.master.text,
        spec,
        facts,
        settings(without.main.text),
        settings(main.text),
        without.master.position,
    )
    return Plan(
        dict(old),
        {MAIN_CF: main.text, MASTER_CF: master.text},
        any(service.on_failure is OnFailure.BOUNCE for service in spec.services),
        (*main.changes, *master.changes),
        (
            *without.main.notes,
            *without.master.notes,
            *main.notes,
            *master.notes,
            *_order_of_reload(old[MASTER_CF], master.text),
            *_without_lmtp(spec, without.master.text),
        ),
    )


def _order_of_reload(old: str, new: str) -> Iterator[Note]:
    """Yield what to reload when, if an attached instance gets other services."""
    before, after = _our_services(old), _our_services(new)
    if gone := sorted(before - after):
        yield warning(
            f"{', '.join(gone)} goes. A running Gatepost that still names it holds mail up: run "
            "gatepost reload before this, unless you have done so since the configuration changed."
        )
    if before and (made := sorted(after - before)):
        yield note(f"{', '.join(made)} is new. A running Gatepost uses it after gatepost reload.")


def _without_lmtp(spec: AttachSpec, master: str) -> Iterator[Note]:
    """Yield what to add where Postfix could not hand over what comes back."""
    if Hook.RETURNS in spec.hooks and not any(
        entry.name == "lmtp" and entry.type == "unix" for entry in services(master)
    ):
        yield warning(
            "master.cf has no service lmtp, by which mail that comes back is handed to Gatepost: "
            'it would wait. Add "lmtp unix - - n - - lmtp".'
        )


def _our_services(text: str) -> set[str]:
    return {
        entry.name
        for entry in services(text)
        # What instances give back is asked for by nobody.
        if is_our_service(entry) and entry.name.startswith(SERVICE_PREFIX)
    }


def plan_leaving(
    old: Mapping[str, str], without: Bare, lanes: Sequence[str], facts: PostfixFacts
) -> Plan:
    """Return the plan to detach but for lanes' instances that still have mail.

    Args:
        old: File name to present text.
        without: The same without ours, as `bare` gave it.
        lanes: The lanes.
        facts: The instance as it is without ours.
    """
    spec = AttachSpec(frozenset(), leaving=tuple(lanes))
    main = register(without.main.text, spec, facts, without.main.position)
    master = open_return(without.master.text, settings(without.main.text), without.master.position)
    return Plan(
        dict(old),
        {MAIN_CF: main.text, MASTER_CF: master.text},
        False,
        (*main.changes, *master.changes),
        (*without.main.notes, *without.master.notes),
    )


def plan_detach(old: Mapping[str, str], without: Bare) -> Plan:
    """Return the plan to detach.

    Args:
        old: File name to present text.
        without: The same without ours, as `bare` gave it.
    """
    return Plan(
        dict(old),
        without.texts,
        False,
        (),
        (
            *without.main.notes,
            *without.master.notes,
            *leftovers(without.main.text, MAIN_CF),
            *leftovers(without.master.text, MASTER_CF),
        ),
    )
