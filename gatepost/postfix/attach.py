"""Attach to a Postfix instance, or detach from it: the two operations as a whole.

Purpose: read, plan, let Postfix judge the plan on a copy, and carry it out; or only show it.
Errors: `AttachError` where it is refused or was rolled back, with what to do; `PostfixUnavailable`
where a Postfix command is missing or fails.
Security: nothing is written before postconf(1) has confirmed the new files, and, for attach, before
every socket that they name is answered: Postfix would hold up all mail otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from gatepost.errors import AttachError
from gatepost.postfix.apply import (
    ATTACH_ORDER,
    DETACH_ORDER,
    Applied,
    apply,
    filter_differs,
)
from gatepost.postfix.bounce_filter import FILE_NAME
from gatepost.postfix.commands import PostfixCommands
from gatepost.postfix.facts import PostfixFacts
from gatepost.postfix.instances.apart import (
    Apart,
    Left,
    apart_of,
    bring_all_up,
    lanes_present,
    retire,
    still_there,
)
from gatepost.postfix.instances.files import sources_of
from gatepost.postfix.instances.life import GIVE_BACK_S
from gatepost.postfix.journal import Journal
from gatepost.postfix.plan import Plan
from gatepost.postfix.planning import bare, plan_attach, plan_detach, plan_leaving
from gatepost.postfix.reach import unanswered
from gatepost.postfix.referee import referee
from gatepost.postfix.routes import with_routes
from gatepost.postfix.session import alone, facts_without_ours, read_files
from gatepost.postfix.spec import AttachSpec

Probe = Callable[[AttachSpec, Path], list[str]]


@dataclass(frozen=True, slots=True)
class Options:
    """How to attach or detach.

    Attributes:
        dry_run: Show, and change nothing.
        reload: Tell Postfix afterwards, if it runs.
        even_if_not_running: Attach although a socket is not answered.
        keep: Parameters that attach leaves as they are.
        wait_s: Seconds to wait for a lane's instance that is to go to give its mail back.
    """

    dry_run: bool = False
    reload: bool = True
    even_if_not_running: bool = False
    keep: frozenset[str] = frozenset()
    wait_s: float = GIVE_BACK_S


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was, or would be, done.

    Attributes:
        config_dir: The configuration directory of the instance.
        plan: The change.
        facts: The instance, without ours.
        changed: Names of the files that the plan changes.
        unanswered: What is wrong with the sockets, in sentences.
        unfinished: Whether an earlier run was interrupted and this one has to finish it.
        applied: What was done; None for a dry run.
        apart: What becomes of lanes' own instances.
        left: Those of them that are to go and still have mail.
        told: Whether a running Postfix is told of what changes.
        started: The lanes whose own instance was started.
    """

    config_dir: Path
    plan: Plan
    facts: PostfixFacts
    changed: tuple[str, ...]
    unanswered: tuple[str, ...] = ()
    unfinished: bool = False
    applied: Applied | None = None
    apart: Apart = field(default_factory=Apart)
    left: tuple[Left, ...] = ()
    told: bool = True
    started: tuple[str, ...] = ()

    @property
    def needed(self) -> bool:
        """Tell whether there is, or was, anything to do."""
        return bool(self.changed or self.started) or self.unfinished


def attach(
    spec: AttachSpec,
    config_dir: Path,
    options: Options = Options(),
    probe: Probe = unanswered,
) -> Outcome:
    """Attach to an instance, or bring what is attached up to date.

    Args:
        spec: What Postfix has to be told.
        config_dir: The configuration directory of the instance.
        options: How.
        probe: Returns what is wrong with the sockets.

    Raises:
        AttachError: If it is refused, or failed and was rolled back.
        PostfixUnavailable: If a Postfix command is missing or fails.
    """
    postfix = PostfixCommands(config_dir)
    with alone(config_dir):
        outcome = _attach(postfix, spec, options, probe)
        if options.dry_run or not outcome.apart.leaving:
            return outcome
        left = _retired(outcome.apart, options, outcome.facts)
        if len(left) < len(outcome.apart.leaving):
            # Once more, for the registration of those that have gone.
            _attach(postfix, spec, options, probe)
        return replace(outcome, left=left)


def _attach(postfix: PostfixCommands, spec: AttachSpec, options: Options, probe: Probe) -> Outcome:
    old = read_files(postfix.config_dir)
    without = bare(old)
    facts = with_routes(facts_without_ours(postfix, without), spec, postfix)
    wanted = {instance.lane for instance in spec.instances}
    present = lanes_present(postfix.config_dir)
    spec = replace(spec, leaving=tuple(lane for lane in present if lane not in wanted))
    plan = plan_attach(old, without, spec, facts, options.keep)
    referee(postfix, plan.old, plan.new)
    apart = apart_of(spec, sources_of(plan, without, facts))
    troubles = probe(spec, facts.queue_directory)
    if troubles and not (options.dry_run or options.even_if_not_running):
        raise AttachError(_not_running(troubles))
    started: tuple[str, ...] = ()
    if not options.dry_run:
        started = bring_all_up(apart, run=options.reload and facts.running)
    outcome = _finish(postfix, plan, facts, options, ATTACH_ORDER, tuple(troubles))
    changed = (*outcome.changed, *apart.changed)
    return replace(outcome, changed=changed, apart=apart, started=started)


def detach(config_dir: Path, options: Options = Options()) -> Outcome:
    """Take everything that attach wrote out of an instance's files.

    A lane's own instance that still has mail stays, with what it needs in both files; the next
    detach takes it away.

    Args:
        config_dir: The configuration directory of the instance.
        options: How.

    Raises:
        AttachError: If it is refused, or failed and was rolled back.
        PostfixUnavailable: If a Postfix command is missing or fails.
    """
    postfix = PostfixCommands(config_dir)
    with alone(config_dir):
        old = read_files(config_dir)
        without = bare(old)
        facts = facts_without_ours(postfix, without)
        whole = plan_detach(old, without)
        referee(postfix, whole.old, whole.new)
        lanes = lanes_present(config_dir)
        if not lanes:
            return _finish(postfix, whole, facts, options, DETACH_ORDER, ())
        spec = AttachSpec(frozenset(), leaving=lanes)
        apart = apart_of(spec, sources_of(whole, without, facts))
        if options.dry_run:
            outcome = _finish(postfix, whole, facts, options, DETACH_ORDER, ())
            return replace(outcome, changed=(*outcome.changed, *apart.changed), apart=apart)
        first = plan_leaving(old, without, lanes, facts)
        referee(postfix, first.old, first.new)
        before = _finish(postfix, first, facts, options, DETACH_ORDER, ())
        left = _retired(apart, options, facts)
        # From what stands there now to what is to stay.
        old = read_files(config_dir)
        without = bare(old)
        rest = [each.lane for each in left]
        plan = plan_leaving(old, without, rest, facts) if rest else plan_detach(old, without)
        referee(postfix, plan.old, plan.new)
        outcome = _finish(postfix, plan, facts, options, DETACH_ORDER, ())
        return replace(
            outcome,
            plan=replace(plan, old=first.old),
            changed=(*dict.fromkeys((*before.changed, *outcome.changed)), *apart.changed),
            apart=apart,
            left=left,
            applied=_both(before.applied, outcome.applied),
        )


def _retired(apart: Apart, options: Options, facts: PostfixFacts) -> tuple[Left, ...]:
    """Take away the instances that are to go, and return those that are left."""
    if facts.running and not options.reload:
        # A running Postfix that has not read the new files may hand them mail still.
        return tuple(still_there(apart))
    return tuple(retire(apart, options.wait_s, run=facts.running))


def _both(first: Applied | None, second: Applied | None) -> Applied | None:
    """Return what was done in two steps; the backup of the first is what was there before."""
    if first is None or second is None:
        return first or second
    return replace(
        second,
        changed=tuple(dict.fromkeys((*first.changed, *second.changed))),
        backup=first.backup or second.backup,
        resumed=first.resumed or second.resumed,
        warnings="\n".join(filter(None, dict.fromkeys((first.warnings, second.warnings)))),
    )


def _finish(
    postfix: PostfixCommands,
    plan: Plan,
    facts: PostfixFacts,
    options: Options,
    order: tuple[str, ...],
    troubles: tuple[str, ...],
) -> Outcome:
    changed = plan.changed
    unfinished = Journal(postfix.config_dir).unfinished() is not None
    if filter_differs(postfix.config_dir, plan):
        changed = (*changed, FILE_NAME)
    applied = None
    if not options.dry_run:
        applied = apply(postfix, plan, order, reload=options.reload and facts.running)
    return Outcome(
        postfix.config_dir,
        plan,
        facts,
        changed,
        troubles,
        unfinished,
        applied,
        told=options.reload and facts.running,
    )


def _not_running(troubles: list[str]) -> str:
    return (
        "Gatepost does not answer where Postfix would ask it, and while it does not, Postfix "
        "refuses all mail with 4xx:\n  "
        + "\n  ".join(troubles)
        + "\nStart it first (systemctl start gatepost, or gatepost serve), or attach all the same "
        "with --even-if-not-running"
    )
