"""Shared counters while Valkey is there: exact, bounded and reached as it is configured."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from gatepost.traffic import valkey_calls as module
from gatepost.traffic.counters import Amount, Holder
from gatepost.traffic.quota import MAX_COUNT, Claim, Limit, Unit, campaign_name
from gatepost.traffic.valkey_target import Target
from lab.ca import Authority
from tests.traffic.valkey_nodes import NOW, ONE, Node, claim, fleet, run
from tests.traffic.valkey_servers import Server, Waiting, server


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


def test_fifty_sessions_on_three_nodes_share_a_quota_exactly(valkey: Server) -> None:
    async def work() -> None:
        quota = [claim(100), claim(230, unit=Unit.RECIPIENTS), claim(40, "login acme a")]

        async def session(node: Node, number: int) -> int:
            taken = 0
            for turn in range(8):
                name = f"{number}.{turn}"
                claims = quota[:2] if number % 2 else quota
                amount = Amount(1, 1 + number % 3)
                if not await node.reserve(*claims, amount=amount, message=name):
                    continue
                # Some go away without a word.
                if (number + turn) % 5:
                    taken += await node.take(*claims, amount=amount, message=name)
            return taken

        async with fleet(valkey.target) as nodes:
            sessions = [session(nodes[number % 3], number) for number in range(50)]
            taken = sum(await asyncio.gather(*sessions))
            used = [await nodes[0].used(each) for each in quota]
            assert used[0] == taken <= 100
            assert used[1] <= 230
            assert used[2] <= 40
            # What was broken off is free again, and then all of it can be taken.
            for node in nodes:
                node.at += 125
            rest = [await nodes[n % 3].take(quota[0]) for n in range(101 - taken)]
            assert rest == [True] * (100 - taken) + [False]

    run(work())


def test_a_script_that_was_thrown_away_is_sent_again(valkey: Server) -> None:
    async def work() -> None:
        async with fleet(valkey.target, 1) as (node,):
            assert await node.take(claim(9))
            valkey.send("SCRIPT", "FLUSH")
            assert await node.take(claim(9))
            assert node.reasons == []

    run(work())


def test_counts_up_to_what_a_double_holds_are_exact(valkey: Server) -> None:
    async def work() -> None:
        most = claim(MAX_COUNT, unit=Unit.RECIPIENTS)
        async with fleet(valkey.target, 1) as (node,):
            assert await node.take(most, amount=Amount(1, MAX_COUNT - 3))
            for expected in (True, True, True, False):
                assert await node.take(most) == expected
            assert await node.used(most) == MAX_COUNT
            assert not await node.take(most, amount=Amount(1, MAX_COUNT))
            assert not await node.reserve(most)
            valkey.send("FLUSHALL")
            await node.used(most)
            await node.settled()
            assert await node.used(most) == MAX_COUNT

    run(work())


def test_nothing_in_valkey_is_for_ever(valkey: Server) -> None:
    async def work() -> None:
        async with fleet(valkey.target, 2) as nodes:
            campaign = Claim(campaign_name("acme", "b\udcff"), Limit(5, 60))
            for node in nodes:
                assert await node.reserve(claim(5), campaign)
                assert await node.take(claim(5), campaign)
            keys = valkey.send("KEYS", "*").split(b"\r\n")[2::2]
            assert len(keys) == 8
            lives = [
                int(valkey.send("PTTL", key.decode("utf-8", "surrogateescape"))[1:])
                for key in keys[:-1]
            ]
            assert min(lives) > 60_000
            assert max(lives) <= 2_800_000_000

    run(work())


def test_a_session_gives_back_what_it_reserved_with_its_next_message(valkey: Server) -> None:
    waiting = Waiting(valkey.target)
    waiting.join()
    one = [claim(1)]
    assert waiting.reserve(Holder("s1", "a"), one, ONE, NOW) is None
    assert waiting.reserve(Holder("s2", "b"), one, ONE, NOW) is not None
    assert waiting.reserve(Holder("s1", "c"), one, ONE, NOW) is None
    waiting.release("s1", "d")
    assert waiting.reserve(Holder("s2", "b"), one, ONE, NOW) is None
    assert waiting.counters.reservations == 1
    waiting.close()


def test_nodes_are_alive_that_were_heard_lately(valkey: Server) -> None:
    async def work() -> None:
        async with fleet(valkey.target, 1) as (node,):
            async with fleet(valkey.target, 2) as more:
                node.counters.calls._heartbeat()
                await node.used(claim(1))
                assert node.counters.calls.nodes == 3
                # One of them hangs, the other one leaves.
                more[0].counters.calls._beat.cancel()  # type: ignore[union-attr]
            node.at += 11
            node.counters.calls._heartbeat()
            await node.used(claim(1))
            assert node.counters.calls.nodes == 1
            assert node.counters.alone.nodes == 1

    run(work())


def test_a_password_in_a_file_and_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    chain = str(authority.issue("127.0.0.1").chain_file)
    (tmp_path / "p").write_text("hidden\n")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = ["--tls-port", str(port), "--tls-cert-file", chain, "--tls-key-file", chain]
    options += ["--tls-ca-cert-file", str(authority.ca_file), "--tls-auth-clients", "no"]

    async def work() -> None:
        with server(*options, "--requirepass", "hidden"):
            target = Target(f"rediss://127.0.0.1:{port}", "x", ca_file=str(authority.ca_file))
            async with fleet(target, 1, join=False) as (node,):
                async with asyncio.timeout(20):
                    await node.left.wait()
                assert "authenticat" in node.reasons[0]
            target = replace(target, password_file=f"{tmp_path}/p")
            async with fleet(target, 1) as (node,):
                assert await node.take(claim(1))
                assert node.counters.calls.shared
            # Without the authority's certificate nobody is believed.
            async with fleet(replace(target, ca_file=None), 1, join=False) as (node,):
                async with asyncio.timeout(20):
                    await node.left.wait()
                assert "certificate" in node.reasons[0].lower()
            target = replace(target, password_file=f"{tmp_path}/nothing")
            async with fleet(target, 1, join=False) as (node,):
                async with asyncio.timeout(20):
                    await node.left.wait()
                assert "No such file" in node.reasons[0]

    run(work())
