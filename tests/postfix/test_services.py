"""From a configuration to hooks and delivery services, and what master.cf lacks of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from gatepost.modes import Mode
from gatepost.postfix.services import attach_spec, missing_services
from gatepost.postfix.spec import Hook
from gatepost.snapshot import Snapshot
from gatepost.tls.levels import Level
from gatepost.tls.rules import OnFailure
from tests.world import ENFORCE, OBSERVE, OFF, snapshot, tenant

ACME = tenant("acme", senders=frozenset({"acme.example"}), profile="private")


@pytest.fixture
def private() -> Snapshot:
    return snapshot(ACME)


def test_a_tenant_with_a_profile_needs_its_service(private: Snapshot) -> None:
    spec = attach_spec(private)
    (service,) = spec.services
    assert service.name == "gp-normal-private"
    assert service.level is Level.ENCRYPT
    assert service.on_failure is OnFailure.BOUNCE
    assert {Hook.MILTER, Hook.POLICY, Hook.TRANSPORT} <= spec.hooks
    assert spec.sockets == ("milter.sock", "policy.sock", "maps.sock")


def test_observe_needs_the_same_as_enforce(private: Snapshot) -> None:
    observed = snapshot(replace(ACME, modes=OBSERVE))
    assert attach_spec(observed) == attach_spec(private)


def test_a_hook_that_nothing_can_need_is_left_out_with_the_reason() -> None:
    spec = attach_spec(replace(snapshot(replace(ACME, modes=OFF)), modes=OFF))
    assert spec.hooks == frozenset()
    assert spec.services == ()
    assert spec.sockets == ()
    assert dict(spec.left_out)[Hook.MILTER] == "the features tag and feedback are off for everybody"


def test_one_tenant_that_needs_a_hook_is_enough() -> None:
    tagging = replace(OFF, tag=Mode.OBSERVE)
    spec = attach_spec(replace(snapshot(replace(ACME, modes=tagging)), modes=OFF))
    assert spec.hooks == {Hook.MILTER}


def test_without_rules_for_everyone_the_general_tls_map_is_left_out(private: Snapshot) -> None:
    assert not private.tls.everyone.table
    assert Hook.TLS in dict(attach_spec(private).left_out)


ATTACHED = "sender_dependent_default_transport_maps = $gatepost_transport, hash:/x\n"


def write(directory: Path, main: str, master: str) -> Path:
    (directory / "main.cf").write_text(main)
    (directory / "master.cf").write_text(master)
    return directory


def test_a_service_that_master_cf_lacks_is_named(private: Snapshot, tmp_path: Path) -> None:
    write(tmp_path, ATTACHED, "smtp unix - - y - - smtp\n# gp-normal-private unix - - y - - smtp\n")
    (sentence,) = missing_services(private, tmp_path)
    assert "master.cf has no service gp-normal-private (lane normal, profile private)" in sentence
    assert "run gatepost attach" in sentence


def test_nothing_is_missing_where_the_service_is_there(private: Snapshot, tmp_path: Path) -> None:
    write(tmp_path, ATTACHED, "gp-normal-private unix - - y - - smtp\n  -o a=b\n")
    assert missing_services(private, tmp_path) == []


@pytest.mark.parametrize("main", ["", "# gatepost_transport\n", "transport_maps = hash:/x\n"])
def test_nothing_is_missing_where_postfix_does_not_ask(
    main: str, private: Snapshot, tmp_path: Path
) -> None:
    write(tmp_path, main, "")
    assert missing_services(private, tmp_path) == []


def test_files_that_cannot_be_read_say_nothing(private: Snapshot, tmp_path: Path) -> None:
    assert missing_services(private, tmp_path / "nowhere") == []


def test_modes_do_not_change_which_services_are_needed() -> None:
    both = tenant("b", ENFORCE, senders=frozenset({"b.example"}), profile="bank", lane="bulk")
    names = [service.name for service in attach_spec(snapshot(both)).services]
    assert names == ["gp-bulk-bank", "gp-bulk-standard", "gp-normal-bank"]
