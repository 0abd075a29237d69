"""Mail that comes back: which domains Postfix is told to hand to the intake, and which not.

Purpose: bounces and reports are sent to ``platform.bounce_domain`` and ``feedback_domain``. Where
the operator has said already what becomes of mail to one of them, that stays, and is told.
Source: postconf(5) transport_maps, relay_domains, mydestination, virtual_alias_domains,
virtual_mailbox_domains; ADDRESS_CLASS_README (a domain is in one class only).
Errors: none.
Not handled: a domain that stands in one of the classes through a table or pattern; Postfix warns of
a domain in two classes in its log.
"""

from __future__ import annotations

from dataclasses import replace

from gatepost.postfix.facts import PostfixFacts
from gatepost.postfix.plan import Note, warning
from gatepost.postfix.spec import AttachSpec, Hook

CLASSES = ("mydestination", "virtual_alias_domains", "virtual_mailbox_domains")


def without_elsewhere(spec: AttachSpec, facts: PostfixFacts) -> tuple[AttachSpec, list[Note]]:
    """Return a spec without the domains that go elsewhere already, and what is told of these.

    Args:
        spec: What Postfix has to be told.
        facts: The instance without ours.
    """
    if Hook.RETURNS not in spec.hooks:
        return spec, []
    remarks = []
    ours = []
    for domain in spec.returns:
        if (name := class_of(domain, facts)) is not None:
            remarks.append(
                warning(
                    f"{domain} stands in {name} and is not handed to Gatepost: bounces and reports "
                    f"to it go where they have gone. Take it out of {name} and attach again."
                )
            )
        elif (route := facts.routed.get(domain, "")) and route != spec.intake:
            remarks.append(
                warning(
                    f'transport_maps has an entry of your own for {domain} ("{route}"), so it is '
                    "not handed to Gatepost: bounces and reports to it go there. Take the entry "
                    "out and attach again."
                )
            )
        else:
            ours.append(domain)
    if not ours:
        return replace(spec, hooks=spec.hooks - {Hook.RETURNS}, returns=()), remarks
    return replace(spec, returns=tuple(ours)), remarks


def class_of(domain: str, facts: PostfixFacts) -> str | None:
    """Return the parameter in which a domain stands by its name, or None."""
    for name in CLASSES:
        if domain in (word.lower() for word in words(facts.value(name))):
            return name
    return None


def words(value: str) -> list[str]:
    """Return the words of a list of Postfix."""
    return value.replace(",", " ").split()
