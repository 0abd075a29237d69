"""Shared counters when Valkey is slow, gone, empty, cut off or not itself."""

from __future__ import annotations

import asyncio
import contextlib
import re
import tempfile
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gatepost.traffic import valkey_calls as module
from gatepost.traffic import valkey_link
from gatepost.traffic.counters import Amount, Holder
from gatepost.traffic.quota import Claim, Limit, Shortage, Unit, campaign_name
from gatepost.traffic.valkey_target import Target
from tests.traffic.valkey_nodes import HOUR, NOW, ONE, Node, claim, fleet, run, wired
from tests.traffic.valkey_servers import PATIENCE_S, Server, server


@pytest.fixture(scope="module")
def shared_server() -> Iterator[Server]:
    with server() as made:
        yield made


@pytest.fixture
def valkey(shared_server: Server) -> Server:
    """Return a server without data."""
    shared_server.send("FLUSHALL")
    return shared_server


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have nodes come back at once."""
    monkeypatch.setattr(module, "FIRST_WAIT_S", 0.02)
    monkeypatch.setattr(module, "LAST_WAIT_S", 0.02)


def test_without_valkey_each_takes_its_share_of_what_is_left_and_all_converge() -> None:
    async def work() -> None:
        with server() as valkey:
            quota = claim(90)
            async with fleet(valkey.target) as nodes:
                assert all([await nodes[0].take(quota) for _ in range(30)])
                for node in nodes:
                    # Each has heard how far it is used.
                    await node.reserve(quota)
                valkey.kill()
                for node in nodes:
                    await node.left.wait()
                taken = [[await node.take(quota) for _ in range(40)].count(True) for node in nodes]
                assert taken == [20, 20, 20]
                assert nodes[0].counters.calls.unsent == 1
                valkey.start()
                for node in nodes:
                    await node.settled()
                assert [await node.used(quota) for node in nodes] == [90] * 3
                assert not await nodes[1].take(quota)

    run(work())


@pytest.mark.parametrize("mode", ["cut", "mute", "deaf"])
def test_a_node_that_is_cut_off_lets_pass_its_share_more(valkey: Server, mode: str) -> None:
    """And counts each message once, also those of which it does not know what became of them."""

    async def work() -> None:
        quota = claim(30)
        async with wired(valkey.target) as each:
            (lost, wire), others = each[2], [node for node, _ in each[:2]]
            assert await lost.take(quota, message="before")
            lost.link.patience_s = 0.1
            if mode == "cut":
                wire.cut()
            wire.mode = mode
            taken = [await lost.take(quota) for _ in range(40)].count(True)
            assert taken == 10
            more = [await others[n % 2].take(quota) for n in range(40)].count(True)
            # One of them arrived, but for its answer.
            assert more == (28 if mode == "deaf" else 29)
            wire.mode, lost.link.patience_s = "open", PATIENCE_S
            await lost.settled()
            for node in (lost, *others):
                assert await node.used(quota) == 1 + taken + more
            # It was known what is left, so that a second time lets nothing more pass.
            wire.cut()
            assert not await lost.take(quota)

    run(work())


def test_what_arrives_after_a_node_has_come_back_is_not_carried_out(valkey: Server) -> None:

    async def work() -> None:
        async with wired(valkey.target, 1) as ((node, wire),):
            # Nothing else is on its way.
            await node.used(claim(9))
            node.link.patience_s = 0.1
            wire.delay()
            assert await node.take(claim(9))
            node.link.patience_s = PATIENCE_S
            await node.settled()
            wire.release()
            for _ in range(5):
                assert await node.used(claim(9)) == 1

    run(work())


WORDS = (
    "take",
    "take",
    "take",
    "rcpt",
    "refuse",
    "cut",
    "mute",
    "deaf",
    "open",
    "delay",
    "release",
)
ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(WORDS),
        st.integers(0, 2),
        st.integers(1, 4),
    ),
    max_size=40,
)


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(actions=ACTIONS, limit=st.integers(3, 20))
# Refused by others while nobody knows whether it was counted.
@example(actions=[("deaf", 1, 1), ("take", 1, 2), ("refuse", 1, 1), ("open", 1, 1)], limit=9)
def test_whatever_is_cut_off_no_more_than_the_shares_is_let_through_and_all_converges(
    shared_server: Server, actions: list[tuple[str, int, int]], limit: int
) -> None:
    shared_server.send("FLUSHALL")
    quota = claim(limit, unit=Unit.RECIPIENTS)

    async def work() -> None:
        taken: dict[int, list[tuple[str, int]]] = {0: [], 1: [], 2: []}
        most, given = limit, 0
        async with wired(shared_server.target) as each:
            for node, _ in each:
                node.link.patience_s = 0.03
            for turn, (action, number, size) in enumerate(actions):
                node, wire = each[number]
                match action:
                    case "take" if await node.take(
                        quota, amount=Amount(1, size), message=f"t{turn}"
                    ):
                        taken[number].append((f"t{turn}", size))
                        given += size
                    case "rcpt":
                        await node.reserve(quota, amount=Amount(1, size))
                    case "refuse" if taken[number]:
                        message, amount = taken[number].pop()
                        assert node.counters.refund(message, node.at)
                        given -= amount
                    case "cut":
                        wire.cut()
                    case "mute" | "deaf" | "open":
                        wire.mode = action
                    case "delay":
                        wire.delay()
                    case "release":
                        wire.release()
                alone = sum(1 for one, _ in each if one.reasons)
                most = limit + alone * -(-limit // 3)
                assert given <= most
            for node, wire in each:
                wire.mode, node.link.patience_s = "open", PATIENCE_S
                wire.release()
            for node, _ in each:
                await node.used(quota)
                await node.settled()
            for node, _ in each:
                assert await node.used(quota) == given

    run(work())


def test_a_valkey_that_lost_its_data_gets_it_again_from_each(valkey: Server) -> None:
    async def work() -> None:
        quota = claim(30)
        campaign = Claim(campaign_name("acme", "spring"), Limit(9, HOUR))
        async with fleet(valkey.target) as nodes:
            for node in nodes:
                assert all([await node.take(quota, campaign) for _ in range(3)])
            assert nodes[0].counters.refund("m1", NOW)
            valkey.send("FLUSHALL")
            for node in nodes:
                await node.used(quota)
                await node.settled()
            assert [await node.used(quota) for node in nodes] == [8, 8, 8]
            assert await nodes[0].used(campaign) == 8
            assert [node.reasons for node in nodes] == [[], [], []]
            assert b"1" in valkey.send("EXISTS", "gatepost:1:f:3600:messages:campaigns acme")

    run(work())


def test_a_valkey_that_comes_back_with_old_data_is_told_what_it_forgot() -> None:
    async def work() -> None:
        quota = claim(90)
        with server() as valkey:
            async with fleet(valkey.target) as nodes:
                for node in nodes:
                    assert all([await node.take(quota) for _ in range(3)])
                valkey.send("SAVE")
                for node in nodes:
                    assert all([await node.take(quota) for _ in range(4)])
                # One of them has told nothing in the last ten minutes.
                nodes[2].at += 700
                valkey.kill()
                for node in nodes:
                    await node.left.wait()
                assert await nodes[0].take(quota)
                valkey.start()
                for node in nodes:
                    await node.settled()
                used = 3 * 3 + 2 * 4 + 1
                assert await nodes[0].used(quota) == used
                # What was told again is not told a third time.
                valkey.send("SAVE")
                valkey.kill()
                for node in nodes:
                    await node.left.wait()
                valkey.start()
                for node in nodes:
                    await node.settled()
                assert await nodes[0].used(quota) == used

    run(work())


def test_a_restart_of_a_node_tells_valkey_only_what_it_does_not_have() -> None:
    async def work() -> None:
        quota = claim(60)
        with server() as valkey:
            async with fleet(valkey.target) as nodes:
                node = nodes[0]
                assert all([await node.take(quota) for _ in range(5)])
                valkey.kill()
                await node.left.wait()
                assert all([await node.take(quota) for _ in range(4)])
                rows = node.counters.take_changed(100)
                assert len(rows) == 2
                assert node.counters.take_changed(100) == []
                node.counters.put_back(rows)
                assert sorted(map(str, node.counters.take_changed(9))) == sorted(map(str, rows))
                era = node.counters.calls.era
            valkey.start()
            # Valkey is empty now. Another node has been there first.
            async with fleet(valkey.target, 1) as others:
                again = Node(valkey.target, "n0")
                again.counters.load(rows)
                again.counters.calls.era = era
                await again.counters.calls.start(5)
                await again.settled()
                assert await again.used(quota) == 9
                rows, era = again.counters.take_changed(100), again.counters.calls.era
                await again.counters.calls.stop()
                third = Node(valkey.target, "n0")
                third.counters.load(row for row in rows if not row.key[1].startswith("alone"))
                third.counters.calls.era = era
                await third.counters.calls.start(5)
                await third.settled()
                assert await others[0].used(quota) == 9
                await third.counters.calls.stop()

    run(work())


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        (("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0"), "maxmemory"),
        (("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE"), "read only|MASTERDOWN"),
        (
            ("CONFIG", "SET", "min-replicas-to-write", "1"),
            ("CONFIG", "SET", "min-replicas-to-write", "0"),
            "replicas",
        ),
    ],
    ids=["out of memory", "read-only", "too few replicas"],
)
def test_a_valkey_that_takes_nothing_leaves_each_alone(
    valkey: Server, before: tuple[str, ...], after: tuple[str, ...], reason: str
) -> None:
    async def work() -> None:
        quota = claim(9)
        async with fleet(valkey.target) as nodes:
            node = nodes[0]
            assert await node.take(quota)
            valkey.send(*before)
            try:
                taken = [await node.take(quota) for _ in range(6)].count(True)
                assert taken == 3
                assert re.search(reason, node.reasons[0], re.IGNORECASE), node.reasons
            finally:
                valkey.send(*after)
            await node.settled()
            assert await node.used(quota) == 4

    run(work())


def test_a_server_that_hangs_holds_nobody_up(valkey: Server) -> None:
    async def work() -> None:
        async with fleet(valkey.target, 1) as (node,):
            node.link.patience_s = valkey_link.TIMEOUT_S
            # Nothing else is on its way.
            await node.used(claim(9))
            valkey.hang()
            try:
                loop = asyncio.get_running_loop()
                began = loop.time()
                assert await node.take(claim(9))
                waited = loop.time() - began
                assert waited > valkey_link.TIMEOUT_S * 0.9
                # From then on nobody waits.
                answer = node.counters.commit(Holder("s", "m"), [claim(9)], ONE, NOW)
                assert answer is None
                assert node.reasons[0] == "no answer within 0.3 s"
            finally:
                valkey.go_on()
            node.link.patience_s = PATIENCE_S
            await node.settled()
            assert await node.used(claim(9)) == 2

    run(work())


@pytest.mark.parametrize(
    "said",
    [b"+OK\r\n", b"*0\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"$5\r\n\xff\xff", b"", b":7\r\n"],
)
def test_what_makes_no_sense_leaves_a_node_alone(said: bytes) -> None:
    async def babble(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            writer.write(said * 50)
            await writer.drain()
        writer.close()

    async def work() -> None:
        with tempfile.TemporaryDirectory(prefix="gp-") as directory:
            babbler = await asyncio.start_unix_server(babble, f"{directory}/s")
            async with fleet(Target(f"unix://{directory}/s", "x"), 1, join=False) as (node,):
                async with asyncio.timeout(20):
                    await node.left.wait()
                assert await node.take(claim(1))
                assert not await node.take(claim(1))
            babbler.close()

    run(work())


def test_a_share_of_little_is_one_and_what_is_too_much_for_it_waits() -> None:
    async def work() -> None:
        async with fleet(Target("unix:///nowhere/s", "x"), 3, join=False) as nodes:
            (node, *_) = nodes
            assert await node.take(claim(2))
            assert not await node.take(claim(2))
            big = [claim(30, unit=Unit.RECIPIENTS)]
            held = node.counters.commit(Holder("a", "a"), big, Amount(1, 11), NOW)
            assert isinstance(held, Shortage)
            assert (held.claim, held.opens_in_s) == (big[0], 300.0)
            # What is really used up is said to open when it does.
            small = [claim(4, "tenant small")]
            node.counters.alone.learn(small[0].key, 3, NOW)
            assert await node.take(*small)
            shut = node.counters.commit(Holder("a", "c"), small, ONE, NOW)
            assert isinstance(shut, Shortage)
            assert shut.opens_in_s == HOUR * 31 / 30
            never = node.counters.commit(Holder("a", "b"), big, Amount(1, 31), NOW)
            assert isinstance(never, Shortage)
            assert never.opens_in_s is None

    run(work())
