"""Whether mail that comes back reaches the intake: bounces, complaints, unsubscriptions.

Source: postconf(5) transport_maps, relay_domains; ADDRESS_CLASS_README; RFC 5321 §5.1 (MX).
Errors: none are raised.
"""

from __future__ import annotations

from collections.abc import Iterator

from gatepost.postfix.commands import PostfixCommands
from gatepost.postfix.doctor.findings import Finding, note, problem, warning
from gatepost.postfix.doctor.scene import Scene, elements
from gatepost.postfix.returns import class_of
from gatepost.postfix.routes import routes_of
from gatepost.postfix.spec import AttachSpec, Hook

_LOST = (
    "Bounces and complaints to it are not read: no address is suppressed, and no tenant's rates "
    "are known."
)


def check(scene: Scene) -> Iterator[Finding]:
    """Look at the domains that mail comes back to."""
    spec = scene.spec
    if spec is None or Hook.RETURNS not in spec.hooks:
        return
    for domain in spec.returns:
        if (name := class_of(domain, scene.facts)) is not None:
            yield problem(
                f"{domain} stands in {name}.",
                f"It is delivered as that says, and not to Gatepost. {_LOST}",
                f"take {domain} out of {name} in main.cf",
                "gatepost attach",
            )
    if scene.attached:
        yield from _routes(scene, spec)
    if not any(entry.name == "lmtp" and entry.type == "unix" for entry in scene.entries):
        yield problem(
            "master.cf has no service lmtp.",
            "Mail that comes back waits in the queue: Postfix cannot hand it over.",
            'add to master.cf: "lmtp unix - - n - - lmtp"',
            "postfix reload",
        )
    if scene.attached:
        yield note(
            f"Mail to {' and '.join(spec.returns)} is taken on this host.",
            "Their MX records must lead here, or to a host that passes it on; doctor does not ask "
            "DNS for them.",
            *(f"dig +short MX {domain}" for domain in spec.returns),
        )


def _routes(scene: Scene, spec: AttachSpec) -> Iterator[Finding]:
    postfix = PostfixCommands(scene.facts.config_dir)
    tables = elements(scene.value("transport_maps"))
    routes = routes_of(spec.returns, tables, postfix, scene.facts)
    for domain in spec.returns:
        if class_of(domain, scene.facts) is not None:
            continue
        route = routes.get(domain)
        if route is None:
            yield problem(
                f"Nothing in transport_maps leads {domain} to Gatepost.", _LOST, "gatepost attach"
            )
        elif route != spec.intake:
            yield warning(
                f'transport_maps leads {domain} to "{route}", and not to Gatepost.',
                f"{_LOST} If your own programs read them, all is well.",
                f"take the entry for {domain} out of transport_maps",
                "gatepost attach",
            )
