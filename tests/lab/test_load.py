"""Postfix's own test programs as the lab runs them."""

from __future__ import annotations

import pytest

from lab.load import Load, SmtpSink, smtp_source
from lab.mx import Kind
from lab.process import LabError
from lab.send import Mail, queue_id, swaks
from lab.world import World

pytestmark = pytest.mark.e2e

LOAD = Load(200, "a@acme.example", "u@plain.example", sessions=5, octets=512)


def address(world: World, kind: Kind) -> str:
    return next(host.address for host in world.fleet.hosts if host.kind is kind)


def test_smtp_source_sends_what_it_is_told(world: World) -> None:
    world.fleet.forget()
    assert smtp_source(address(world, Kind.PLAIN), LOAD) > 0
    world.fleet.wait_count(200)
    arrived = world.fleet.messages()
    assert len(arrived) == 200
    assert {(each.sender, each.recipients) for each in arrived} == {
        ("a@acme.example", ("u@plain.example",))
    }
    assert all(len(each.octets) > 512 for each in arrived)


def test_smtp_source_ends_at_a_refusal(world: World) -> None:
    with pytest.raises(LabError, match=r"550 5\.1\.1"):
        smtp_source(address(world, Kind.REFUSES), LOAD)


def test_smtp_sink_takes_everything(world: World) -> None:
    with SmtpSink(world.directory / "sink", "198.18.2.1") as sink:
        assert smtp_source("198.18.2.1", LOAD) > 0
    sink.stop()
    with pytest.raises(LabError, match="onnection refused"):
        smtp_source("198.18.2.1", LOAD)


def test_swaks_logs_in_and_shows_both_sides(world: World) -> None:
    with world.postfix() as postfix:
        mail = Mail("a@acme.example", "u@plain.example", "by swaks", login="acme")
        said = swaks(postfix.address, mail)
        assert "235 2.7.0 Authentication successful" in said
        assert queue_id(said.partition("\n -> QUIT")[0].rpartition("<-")[2])
        assert world.fleet.wait_subject("by swaks").recipients == ("u@plain.example",)
        with pytest.raises(LabError, match=r"535 5\.7\.8"):
            swaks(postfix.address, Mail("a@b.example", "u@plain.example", "x", login="nobody"))
