"""Whether the PostgreSQL that nodes share their state in can be used, and keeps what it is told.

Source: PostgreSQL "Write Ahead Log", "Connections and Authentication".
Errors: none are raised: a server that does not answer is a finding.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gatepost.errors import StoreUnavailable
from gatepost.postfix.doctor.findings import Finding, note, problem, warning
from gatepost.store.suppression_key import FILE_NAME

if TYPE_CHECKING:
    from gatepost.store.postgres_look import SeenServer

_OLDEST: Final = (13, 0)

# What a node takes with all roles, and some for commands.
_CONNECTIONS: Final = 30
# The check at RCPT TO waits for an answer, 50 ms at the most.
_SLOW_S: Final = 0.01


def state_findings(url: str, key_dir: Path) -> Iterator[Finding]:
    """Look at the server of state.

    Args:
        url: Where it is.
        key_dir: Where this node's copy of the key of the suppression list is.
    """
    # Loads a driver that a platform with a file never needs.
    from gatepost.store.postgres_look import look_at_server  # noqa: PLC0415

    try:
        seen = look_at_server(url)
    except StoreUnavailable as error:
        yield problem(
            f"The server of state cannot be used: {error}.",
            "Mail goes on with what is in memory; nothing is known of suppressed recipients.",
            "look at state in the configuration, and whether the server runs and lets this host in",
        )
        return
    yield from _judge(seen)
    if seen.schema and not (key_dir / FILE_NAME).exists():
        yield problem(
            f"{key_dir / FILE_NAME} is missing.",
            "Without it no address is found on the suppression list that the nodes share.",
            f"copy {FILE_NAME} from a node that has it, with its owner and mode",
        )


def _judge(seen: SeenServer) -> Iterator[Finding]:
    where = f"{seen}:"
    yield note(f"{where} in use.", f"{seen.connections} of {seen.max_connections} connections.")
    if seen.number < _OLDEST:
        yield problem(
            f"{where} older than version {_OLDEST[0]}.",
            "Gatepost is not tried with it.",
            f"install PostgreSQL {_OLDEST[0]} or newer",
        )
    if seen.needs > seen.known:
        yield problem(
            f"{where} made by a newer Gatepost, which older ones may not go on beside.",
            "This node cannot use it.",
            "upgrade Gatepost on this node",
        )
    if not seen.encrypted:
        yield warning(
            f"{where} the connection is not encrypted.",
            "Envelope addresses cross the network in the clear.",
            "set ssl = on there, and sslmode=verify-full in state",
        )
    if seen.commits == "off":
        yield warning(
            f"{where} synchronous_commit is off.",
            "A crash there loses what was stored in the last moments, such as a suppression.",
            "set synchronous_commit = on for the role or the database",
        )
    if not seen.vacuums:
        yield warning(
            f"{where} autovacuum is off.",
            "The tables grow without end, as old rows are deleted all the time.",
            "set autovacuum = on",
        )
    if seen.max_connections - seen.connections < _CONNECTIONS:
        yield warning(
            f"{where} {seen.connections} of {seen.max_connections} connections are in use.",
            f"A node takes up to {_CONNECTIONS}; who gets none goes on as without the server.",
            "raise max_connections there",
        )
    if seen.answer_s > _SLOW_S:
        yield warning(
            f"{where} took {seen.answer_s * 1000:.0f} ms to answer.",
            "Each RCPT TO of a tenant with suppressed addresses waits for it once or twice.",
            "run it near the nodes",
        )
