"""The registration of lanes' own instances in main.cf of the main one.

Purpose: ``postfix start``, ``stop``, ``reload`` and the systemd units of distributions start what
multi_instance_directories names. The operator's own instances stay in it.
Source: MULTI_INSTANCE_README; postconf(5) multi_instance_*; ``postmulti -e init`` sets the same.
Errors: none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from gatepost.postfix.facts import PostfixFacts
from gatepost.postfix.instances.place import joined, place_of, without_ours
from gatepost.postfix.parameters import Setting
from gatepost.postfix.spec import AttachSpec

DIRECTORIES = "multi_instance_directories"
ENABLE = "multi_instance_enable"
WRAPPER = "multi_instance_wrapper"
OUR_WRAPPER = "${command_directory}/postmulti -p --"
NAMES = (DIRECTORIES, ENABLE, WRAPPER)


def registration(
    spec: AttachSpec, facts: PostfixFacts, own: Mapping[str, str]
) -> Iterator[Setting]:
    """Yield the settings that register the instances of lanes.

    Args:
        spec: What Postfix has to be told.
        facts: The main instance.
        own: Parameter to value, not expanded, in the operator's own main.cf.
    """
    if not spec.lanes_apart:
        return
    ours = [place_of(lane, facts).config_dir for lane in spec.lanes_apart]
    yield Setting(
        DIRECTORIES,
        joined([*without_ours(own.get(DIRECTORIES, "")), *ours]),
        "The instances of lanes, so that they are started and stopped with this one.",
    )
    if own.get(ENABLE) != "yes":
        yield Setting(ENABLE, "yes", "Likewise.")
    if not own.get(WRAPPER):
        yield Setting(
            WRAPPER, OUR_WRAPPER, "Likewise: what has postfix start, stop and reload do so."
        )


def is_our_registration(name: str, value: str, before: str) -> bool:
    """Tell whether attach has written this setting into its block as it is.

    Args:
        name: Parameter.
        value: Its value.
        before: The list of directories that attach has put out of force, or empty.
    """
    if name == DIRECTORIES:
        # One that was added since, as by "postmulti -e create", makes the list the operator's.
        return set(without_ours(value)) <= set(without_ours(before))
    return (name, value) in {(ENABLE, "yes"), (WRAPPER, OUR_WRAPPER)}
