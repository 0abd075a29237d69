"""A look at Valkey from outside: what it is, and how far quotas are used, for commands.

Purpose: each look has a connection of its own, changes nothing, and takes no place among the nodes.
Source: Valkey INFO, CONFIG GET, SCAN.
Limits: 200,000 counters are looked through for names.
Errors: `CountersUnavailable`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from gatepost.errors import CountersUnavailable
from gatepost.traffic import valkey_words as words_of
from gatepost.traffic.quota import Claim, Usage
from gatepost.traffic.valkey_link import Link
from gatepost.traffic.valkey_target import Target

_MAX_NAMES: Final = 200_000
# Usage of so many quotas is asked for at a time.
_AT_ONCE: Final = 200
_PREFIX: Final = f"{words_of.PREFIX}c:".encode()

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Seen:
    """What a server is.

    Attributes:
        name: ``valkey`` or ``redis``, with its version.
        version: The version as numbers, that of Redis which it is compatible with.
        primary: Whether it takes changes, being no replica.
        clustered: Whether it is part of a cluster.
        policy: What it does when memory is used up; empty if it does not tell.
        max_memory: Octets, or 0 for no limit.
        answer_s: Seconds that a small question took.
        problem: Why it would not do what a node asks, or empty.
    """

    name: str
    version: tuple[int, ...]
    primary: bool
    clustered: bool
    policy: str
    max_memory: int
    answer_s: float
    problem: str


def see(target: Target) -> Seen:
    """Return what a server is.

    Raises:
        CountersUnavailable: If it cannot be asked.
    """
    return _with_link(target, _see)


def usages(target: Target, claims: Sequence[Claim]) -> list[Usage]:
    """Return how far quotas are used.

    Raises:
        CountersUnavailable: If it cannot be asked.
    """

    async def ask(link: Link) -> list[Usage]:
        found: list[Usage] = []
        for at in range(0, len(claims), _AT_ONCE):
            asked = [words_of.asked(claim) for claim in claims[at : at + _AT_ONCE]]
            (line,) = await link.read(words_of.usage(asked))
            found += words_of.usages(line, asked)
        return found

    return _with_link(target, ask)


def names(target: Target) -> set[str]:
    """Return names of counters.

    Raises:
        CountersUnavailable: If it cannot be asked.
    """

    async def ask(link: Link) -> set[str]:
        found: set[str] = set()
        cursor = b"0"
        while True:
            cursor, keys = await link.command(
                "SCAN", cursor, "MATCH", _PREFIX + b"*", "COUNT", 1_000
            )
            for key in keys:
                known = words_of.key_of(key.removeprefix(_PREFIX))
                if known is not None:
                    found.add(known[0])
            if cursor == b"0" or len(found) >= _MAX_NAMES:
                return found

    return _with_link(target, ask)


def _with_link(target: Target, work: Callable[[Link], Awaitable[T]]) -> T:
    async def run() -> T:
        link = Link(target)
        try:
            return await work(link)
        finally:
            await link.close()

    return asyncio.run(run())


async def _see(link: Link) -> Seen:
    info = _fields(await link.command("INFO"))
    began = time.monotonic()
    await link.command("PING")
    answer_s = time.monotonic() - began
    problem = ""
    try:
        await link.read([b"u", b"0"])
    except CountersUnavailable as error:
        problem = str(error)
    name = info.get("server_name", "redis")
    own = info.get(f"{name}_version", "")
    compatible = info.get("redis_version", own)
    return Seen(
        f"{name} {own or compatible}",
        tuple(int(part) for part in compatible.split(".") if part.isdecimal()),
        info.get("role") == "master",
        info.get("cluster_enabled") == "1",
        info.get("maxmemory_policy", ""),
        int(info.get("maxmemory", "0")),
        answer_s,
        problem,
    )


def _fields(text: Any) -> dict[str, str]:
    if not isinstance(text, bytes):
        raise CountersUnavailable("answers that make no sense")
    lines = (line.partition(":") for line in text.decode("utf-8", "replace").splitlines())
    return {name: value for name, found, value in lines if found}
