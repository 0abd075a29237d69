"""Whether lanes that are instances of their own run, are as attach would make them, and start.

Source: MULTI_INSTANCE_README; postmulti(1), which starts what the default instance has registered.
Errors: none are raised but by what cannot be planned, which is a finding of ``attached``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from gatepost.postfix.doctor.findings import Finding, problem, warning
from gatepost.postfix.doctor.scene import Scene
from gatepost.postfix.instances.place import place_of
from gatepost.postfix.instances.state import InstanceState, instance_states

Look = Callable[[Path], Iterable[InstanceState]]


def check(scene: Scene, look: Look = instance_states) -> Iterator[Finding]:
    """Look at each instance."""
    spec = scene.spec
    assert spec is not None
    wanted = [instance.lane for instance in spec.instances]
    states = {state.lane: state for state in look(scene.facts.config_dir)}
    for lane in wanted:
        state = states.get(lane)
        if state is None:
            yield problem(
                f"Lane {lane} has no Postfix instance of its own yet.",
                "Its mail goes the way of the last attach.",
                "gatepost attach",
            )
        else:
            yield from _wanted(scene, state)
    for lane, state in states.items():
        if lane not in wanted:
            yield _leaving(state)
    if wanted:
        yield from _start(scene, wanted)
        yield from _requests(scene, wanted)


def _requests(scene: Scene, wanted: Sequence[str]) -> Iterator[Finding]:
    header = "requiretls_esmtp_header"
    if scene.facts.has(header) and scene.on("requiretls_enable") and not scene.on(header):
        yield warning(
            f"{header} = {scene.value(header)}.",
            f"Mail of {', '.join(wanted)} is handed to another instance, and with it would go the "
            "request of a client that the message travel with TLS only (REQUIRETLS).",
            scene.set_main(f"{header} = yes"),
        )


def _wanted(scene: Scene, state: InstanceState) -> Iterator[Finding]:
    if state.running is False:
        waits = "Its mail waits in the main instance's queue until it runs."
        if state.messages:
            waits += f" In its own there are {_messages(state)}."
        yield problem(
            f"The instance of lane {state.lane} does not run.",
            waits,
            f"postfix -c {state.config_dir} start",
        )
        return
    socket = place_of(state.lane, scene.facts).socket
    try:
        missing = not socket.exists()
    except OSError:
        # Only root may look there; nothing is known.
        missing = False
    if state.running and missing:
        yield problem(
            f"{socket} does not exist, though the instance of lane {state.lane} runs.",
            "Mail is handed over there, and waits in the main instance's queue.",
            "gatepost attach",
        )


def _leaving(state: InstanceState) -> Finding:
    return warning(
        f"The instance of lane {state.lane} is still there, with {_messages(state)} in its queue, "
        "and the configuration asks for none.",
        "attach has it give its mail back to the main instance, and removes it when it is empty.",
        "gatepost attach",
    )


def _messages(state: InstanceState) -> str:
    if state.messages is None:
        return "an unknown number of messages"
    return f"{state.messages} message{'' if state.messages == 1 else 's'}"


def _start(scene: Scene, wanted: Sequence[str]) -> Iterator[Finding]:
    facts = scene.facts
    default = facts.defaults.get("config_directory", "/etc/postfix")
    directories = " and ".join(str(place_of(lane, facts).config_dir) for lane in wanted)
    if str(facts.config_dir) != default:
        yield warning(
            f"{facts.config_dir} is not the host's default instance.",
            "postfix start starts only what the default instance has registered, so nobody starts "
            f"{directories} after a reboot.",
            *(f"postfix -c {place_of(lane, facts).config_dir} start" for lane in wanted),
        )
    elif not scene.on("multi_instance_enable"):
        yield problem(
            "multi_instance_enable is not yes.",
            f"postfix start does not start {directories} after a reboot.",
            scene.set_main("multi_instance_enable = yes"),
        )
