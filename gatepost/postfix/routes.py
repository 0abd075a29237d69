"""What the operator's own transport_maps says of domains, asked of postmap(1).

Errors: none; a table that cannot be read says nothing here, and doctor names it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import replace

from gatepost.errors import PostfixUnavailable
from gatepost.postfix.commands import PostfixCommands
from gatepost.postfix.doctor.scene import elements
from gatepost.postfix.facts import PostfixFacts
from gatepost.postfix.spec import AttachSpec


def with_routes(facts: PostfixFacts, spec: AttachSpec, postfix: PostfixCommands) -> PostfixFacts:
    """Return facts that tell where mail to the domains of a spec goes already.

    Args:
        facts: The instance without ours.
        spec: What Postfix has to be told.
        postfix: Its commands.
    """
    tables = elements(facts.value("transport_maps"))
    return replace(facts, routed=routes_of(spec.returns, tables, postfix, facts))


def routes_of(
    domains: Iterable[str], tables: Iterable[str], postfix: PostfixCommands, facts: PostfixFacts
) -> dict[str, str]:
    """Return what tables say of domains; the first answer counts, as in Postfix.

    Args:
        domains: The domains.
        tables: The elements of transport_maps.
        postfix: The instance.
        facts: Says where its queue is.
    """
    found: dict[str, str] = {}
    for domain in domains:
        for table in tables:
            with contextlib.suppress(PostfixUnavailable):
                route = postfix.postmap("-q", domain, table, directory=facts.queue_directory)
                if route:
                    found[domain] = route
                    break
    return found
