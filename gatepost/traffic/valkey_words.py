"""What is said to Valkey: keys, operations and replies of the scripts beside this file.

Purpose: from claims to the words of ``counters.lua``, and from its replies to shortages.
Format: see ``counters.lua`` and ``hello.lua``. A counter is ``60:messages:tenant acme``; octets
that are no UTF-8 stay what they are.
Limits: 64 operations in a call, so that no call keeps Valkey from others for more than about 2 ms.
Errors: `CountersUnavailable` for a reply that no script of ours gives.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from gatepost.errors import CountersUnavailable
from gatepost.traffic.counters import (
    MAX_IN_FAMILIES,
    MAX_IN_FAMILY,
    RESERVED_S,
    Amount,
    Key,
    Row,
)
from gatepost.traffic.quota import MAX_COUNT, STEPS, Claim, Shortage, Unit, Usage, family_of

# The number is that of the format: whoever changes what a key means raises it.
PREFIX: Final = "gatepost:1:"
# A reservation ends up to so many seconds late.
GRAIN_S: Final = 4
MAX_OPERATIONS: Final = 64
STALE: Final = "stale"


class Place(NamedTuple):
    """What a message takes of a counter in Valkey: in a bucket of reservations, or in a step."""

    key: bytes
    where: int
    amount: int


class Asked(NamedTuple):
    """A claim in the words of the script.

    Attributes:
        claim: The claim.
        key: Its counter.
        family: That of its family, or empty.
        by_recipients: Whether recipients are counted.
    """

    claim: Claim
    key: bytes
    family: bytes
    by_recipients: bool


class Taken(NamedTuple):
    """What became of one claim: whether the family's counter was taken, use after it, the step."""

    shared: bool
    used: int
    step: int


def header(in_family: int = MAX_IN_FAMILY, in_families: int = MAX_IN_FAMILIES) -> str:
    """Return the numbers that ``counters.lua`` needs before it."""
    names = "STEPS, GRAIN, RESERVED, MAX_IN_FAMILY, MAX_IN_FAMILIES, MAX_COUNT"
    return (
        f"local {names} = {STEPS}, {GRAIN_S}, {RESERVED_S:.0f}, {in_family}, {in_families},"
        f" {MAX_COUNT}\n"
    )


def counter_key(key: Key) -> bytes:
    """Return the name of a counter, without the prefix."""
    return f"{key[2]}:{key[1]}:{key[0]}".encode("utf-8", "surrogatepass")


def key_of(name: bytes) -> Key | None:
    """Return the key that a name stands for, or None if it is none of ours."""
    window, _, rest = name.decode("utf-8", "surrogatepass").partition(":")
    unit, found, text = rest.partition(":")
    return (text, unit, int(window)) if found and window.isdecimal() else None


def asked(claim: Claim) -> Asked:
    """Return a claim in the words of the script."""
    name, unit, window_s = claim.key
    family = family_of(name)
    shared = counter_key((family, unit, window_s)) if family else b""
    return Asked(claim, counter_key(claim.key), shared, claim.limit.unit is Unit.RECIPIENTS)


def take(
    what: bytes,
    drops: Sequence[Place],
    claims: Sequence[Asked],
    amount: Amount,
    held: Sequence[Place],
) -> list[bytes]:
    """Return the operation that reserves (``r``) or counts (``c``).

    Args:
        what: Which of them.
        drops: Reservations that end with it, whatever comes of it.
        claims: What the message counts for.
        amount: How much it is.
        held: What it has reserved, one for each claim in their order, or nothing.
    """
    words = [what, b"%d" % len(drops), b"%d" % len(claims)]
    words += [b"%d %d %b" % (each.where, each.amount, each.key) for each in drops]
    for index, each in enumerate(claims):
        bucket, before = held[index][1:] if held else (0, 0)
        numbers = (each.claim.limit.count, amount[each.by_recipients], bucket, before)
        if each.family:
            words += (b"%d %d %d %d 1 %b" % (*numbers, each.key), each.family)
        else:
            words.append(b"%d %d %d %d 0 %b" % (*numbers, each.key))
    return words


def drop(places: Sequence[Place]) -> list[bytes]:
    """Return the operation that ends reservations."""
    return [b"d", b"%d" % len(places), *_places(places)]


def give_back(places: Sequence[Place]) -> list[bytes]:
    """Return the operation that counts no more what was counted."""
    return [b"b", b"%d" % len(places), *_places(places)]


def add(row: Row, now: float) -> list[bytes]:
    """Return the operation that adds what was counted elsewhere, at a time of the row's clock."""
    name, unit, window_s = row.key
    newest = int(now * (STEPS / window_s))
    ages = ((max(newest - step, 0), count) for step, count in row.counts if count > 0)
    family = family_of(name)
    words = [b"a", (b"1 " if family else b"0 ") + counter_key(row.key)]
    if family:
        words.append(counter_key((family, unit, window_s)))
    return [*words, b" ".join(b"%d:%d" % each for each in ages)]


def usage(claims: Sequence[Asked]) -> list[bytes]:
    """Return the operation that tells how far quotas are used."""
    words = [b"%d %b" % (each.claim.limit.count, each.key) for each in claims]
    return [b"u", b"%d" % len(words), *words]


def taken(line: str, claims: Sequence[Asked]) -> tuple[int, list[Taken]] | Shortage:
    """Return what a reservation or a count came to: the bucket and what was taken, or why not.

    Raises:
        CountersUnavailable: If it is no such reply.
    """
    try:
        status, *words = line.split(" ")
        if status == "1":
            index, used, opens = words
            seconds = float(opens)
            claim = claims[int(index) - 1].claim
            return Shortage(claim, int(used), None if seconds < 0 else seconds)
        numbers = list(map(int, words))
        if status != "0" or len(numbers) != 1 + 3 * len(claims):
            raise ValueError
    except (ValueError, IndexError) as error:
        raise CountersUnavailable(f"Valkey answered {line[:80]!a}") from error
    found = [
        Taken(numbers[at] == 1, numbers[at + 1], numbers[at + 2])
        for at in range(1, len(numbers), 3)
    ]
    return numbers[0], found


def added(line: str) -> int:
    """Return how far a counter is used after an addition, or how many nodes are alive.

    Raises:
        CountersUnavailable: If it is no such reply.
    """
    status, _, number = line.partition(" ")
    if status != "0" or not number.isdecimal():
        raise CountersUnavailable(f"Valkey answered {line[:80]!a}")
    return int(number)


def usages(line: str, claims: Sequence[Asked]) -> list[Usage]:
    """Return how far quotas are used.

    Raises:
        CountersUnavailable: If it is no such reply.
    """
    status, *words = line.split(" ")
    if status != "0" or len(words) != 3 * len(claims):
        raise CountersUnavailable(f"Valkey answered {line[:80]!a}")
    return [
        Usage(each.claim, int(words[at]), int(words[at + 1]), float(words[at + 2]))
        for at, each in zip(range(0, len(words), 3), claims, strict=True)
    ]


def _places(places: Iterable[Place]) -> list[bytes]:
    return [b"%d %d %b" % (each.where, each.amount, each.key) for each in places]
