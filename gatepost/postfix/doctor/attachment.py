"""Whether Postfix is attached, completely and as the configuration asks for.

Errors: none are raised: what cannot be planned is a finding.
"""

from __future__ import annotations

from collections.abc import Iterator

from gatepost.errors import AttachError, PostfixUnavailable
from gatepost.postfix.apply import filter_differs
from gatepost.postfix.commands import PostfixCommands
from gatepost.postfix.doctor.findings import Finding, problem, warning
from gatepost.postfix.doctor.scene import Scene
from gatepost.postfix.instances.apart import apart_of
from gatepost.postfix.instances.files import sources_of
from gatepost.postfix.journal import Journal
from gatepost.postfix.plan import Plan
from gatepost.postfix.planning import bare, plan_attach
from gatepost.postfix.routes import with_routes
from gatepost.postfix.services import drift, shortfalls
from gatepost.postfix.session import facts_without_ours
from gatepost.postfix.spec import AttachSpec

_SHOWN = 5


def check(scene: Scene) -> Iterator[Finding]:
    """Look at what is attached."""
    if not scene.facts.running:
        yield warning(
            f"Postfix does not run ({scene.facts.config_dir}).",
            "Nothing can be delivered; what follows is about the files only.",
            "postfix start",
        )
    try:
        if Journal(scene.facts.config_dir).unfinished() is not None:
            yield problem(
                "An attach or detach was interrupted.",
                "The files are whole, but postfix check and the reload are still to be done.",
                "gatepost attach",
            )
    except AttachError as error:
        yield problem(str(error), "Attach cannot tell whether it has to finish something.")
    if not scene.attached:
        yield problem(
            "Postfix does not ask Gatepost: nothing in main.cf refers to it.",
            "Mail passes as if Gatepost were not there.",
            "gatepost attach --dry-run",
            "gatepost attach",
        )
    elif (spec := scene.spec) is not None:
        yield from _up_to_date(scene, spec)


def _up_to_date(scene: Scene, spec: AttachSpec) -> Iterator[Finding]:
    assert scene.snapshot is not None
    missing = shortfalls(scene.snapshot, scene.facts.config_dir)
    for sentence in missing:
        yield problem(
            sentence.partition("; run ")[0] + ".",
            "Postfix does not ask what this configuration decides, or has nowhere to send the "
            "mail; a reload is refused until it does.",
            "gatepost attach",
            "gatepost reload",
        )
    for sentence in drift(scene.snapshot, scene.facts.config_dir):
        yield problem(
            sentence.partition("; it comes")[0] + ".",
            "Postfix goes on as it was told by the last attach.",
            "gatepost attach",
        )
    try:
        without = bare(scene.files)
        postfix = PostfixCommands(scene.facts.config_dir)
        facts = with_routes(facts_without_ours(postfix, without), spec, postfix)
        plan = plan_attach(scene.files, without, spec, facts)
        table = filter_differs(scene.facts.config_dir, plan)
        apart = apart_of(spec, sources_of(plan, without, facts))
    except (AttachError, PostfixUnavailable) as error:
        yield problem(str(error), "gatepost attach would be refused.")
        return
    if plan.changed and not missing:
        yield warning(
            f"{' and '.join(plan.changed)} differ from what the configuration asks for: "
            f"{_lines(plan)}.",
            "The configuration was changed after the last attach, or the files by hand.",
            "gatepost attach --dry-run",
            "gatepost attach",
        )
    for change in apart.wanted:
        if change.old and change.changed and not missing:
            yield warning(
                f"{' and '.join(change.changed)} of the instance of lane {change.place.lane} are "
                "not what attach would write now.",
                "The main instance's main.cf, master.cf or the configuration was changed since, "
                "and what was is not in force for this lane.",
                "gatepost attach",
            )
    if table:
        yield problem(
            "The bounce table beside main.cf is missing, changed, or left over.",
            "Services whose profile says on_failure: bounce defer everything without it.",
            "gatepost attach",
        )


def _lines(plan: Plan) -> str:
    """Return the first lines that attach would change, comments left out."""
    changed = [
        line.strip()
        for name in plan.changed
        for line in plan.diff(name, "")
        if line[:1] in "+-" and not line.startswith(("+++", "---", "+#", "-#"))
    ]
    shown = "; ".join(changed[:_SHOWN]) or "comments only"
    return shown + (f"; and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else "")
