from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from gatepost.decisions.transport import effective_pair
from gatepost.modes import Mode, Modes
from gatepost.tls.levels import Level, Requirement, TlsVersion
from gatepost.tls.rules import DomainRules, OnFailure, Profile
from gatepost.traffic.lanes import Lane, Source, service_name
from gatepost.traffic.services import is_ordinary, pairs_of, services_for
from tests.world import LANES, PROFILES, tenant

NORMAL = Lane("normal")
STANDARD = Profile("standard", Requirement(Level.MAY))


@pytest.mark.parametrize(
    ("lane", "profile"),
    [
        (replace(NORMAL, concurrency=5), STANDARD),
        (replace(NORMAL, rate_delay_s=1), STANDARD),
        (replace(NORMAL, sources=(Source("192.0.2.1"),)), STANDARD),
        (replace(NORMAL, instance=True), STANDARD),
        (Lane("bulk"), STANDARD),
        (NORMAL, replace(STANDARD, base=Requirement(Level.NONE))),
        (NORMAL, replace(STANDARD, base=Requirement(Level.ENCRYPT))),
        (NORMAL, replace(STANDARD, base=Requirement(Level.MAY, TlsVersion.TLSv1_2))),
        (NORMAL, replace(STANDARD, on_failure=OnFailure.BOUNCE)),
        (
            NORMAL,
            replace(STANDARD, exceptions=DomainRules({"a.example": Requirement(Level.MAY)})),
        ),
    ],
)
def test_a_wish_makes_a_pair_no_longer_ordinary(lane: Lane, profile: Profile) -> None:
    assert is_ordinary(NORMAL, STANDARD)
    assert not is_ordinary(lane, profile)


def test_services_are_those_of_all_pairs_less_the_ordinary_one() -> None:
    services = services_for([("bulk", "private"), ("normal", "standard")], LANES, PROFILES)
    assert services == {
        "gp-bulk-private": ("bulk", "private"),
        "gp-bulk-standard": ("bulk", "standard"),
        "gp-normal-private": ("normal", "private"),
    }
    assert list(services) == sorted(services)
    assert services_for([("normal", "standard")], LANES, PROFILES) == {}
    assert services_for([], LANES, PROFILES) == {}


@pytest.mark.parametrize(("lane", "profile"), [*product(LANES, PROFILES)])
@pytest.mark.parametrize(("lane_mode", "tls_mode"), [*product(Mode, Mode)])
def test_no_combination_of_modes_needs_another_service(lane, profile, lane_mode, tls_mode) -> None:
    """A switch from observe to enforce is a reload and never a change of master.cf."""
    one = tenant("t", Modes(lane=lane_mode, tls=tls_mode), lane=lane, profile=profile)
    pair = effective_pair(one)
    assert pair in pairs_of(lane, profile) | {("normal", "standard")}
    services = services_for([(lane, profile)], LANES, PROFILES)
    name = service_name(*pair)
    assert name in services or is_ordinary(LANES[pair[0]], PROFILES[pair[1]])


def test_a_service_name_fits() -> None:
    assert len(service_name("l" * 16, "p" * 16)) == 36


def test_each_source_of_a_lane_is_a_service_for_each_profile() -> None:
    lanes = {**LANES, "bulk": Lane("bulk", sources=(Source("192.0.2.1"), Source("192.0.2.2")))}
    services = services_for([("bulk", "private")], lanes, PROFILES)
    assert services == {
        "gp-bulk-private": ("bulk", "private"),
        "gp-bulk-private-2": ("bulk", "private"),
        "gp-bulk-standard": ("bulk", "standard"),
        "gp-bulk-standard-2": ("bulk", "standard"),
        "gp-normal-private": ("normal", "private"),
    }


def test_an_instance_has_a_service_for_each_profile_in_use() -> None:
    """A tenant's lane and profile may change while its mail waits in the instance."""
    lanes = {**LANES, "burst": Lane("burst", instance=True)}
    services = services_for([("normal", "private"), ("bulk", "bank")], lanes, PROFILES)
    assert {name for name in services if name.startswith("gp-burst-")} == {
        "gp-burst-private",
        "gp-burst-bank",
        "gp-burst-standard",
    }
