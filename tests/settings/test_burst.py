"""What settings of bursts and backlogs come to: filled up from those of all, and shared."""

from __future__ import annotations

import pytest

from gatepost.snapshot import Snapshot
from gatepost.traffic.burst import Burst, Cap
from gatepost.traffic.quota import Limit, Unit
from tests.settings.conftest import Load

TEXT = """
platform: {sender_id: examplesp}
modes: {default: enforce}
maillog: /var/log/mail.log
lanes: {burst: {concurrency: 5}, penalty: {concurrency: 1}}
traffic:
  burst: {above: 20/second, backlog: 2000, lane: burst}
  backlog: 50000
tenants:
  plain: {logins: [a], senders: [a.example]}
  twin: {logins: [b], senders: [b.example]}
  faster: {logins: [c], senders: [c.example], burst: {above: 600/minute, stay: 5m}}
  own: {logins: [d], senders: [d.example], burst: {backlog: 10, backlog_below: 1, lane: penalty}}
  same: {logins: [e], senders: [e.example], lane: burst}
  out: {logins: [f], senders: [f.example], burst: {lane: normal}}
  capped: {logins: [g], senders: [g.example], backlog: 300 recipients}
  exempt: {logins: [h], senders: [h.example], quota_exempt: yes}
  both: {logins: [i], senders: [i.example], quota_exempt: yes, backlog: 7}
"""


@pytest.fixture
def loaded(load: Load) -> Snapshot:
    return load(TEXT).snapshot


GENERAL = Burst("burst", Limit(20, 1), 2000, Limit(10, 1), 1000, 60)


@pytest.mark.parametrize(
    ("tenant", "expected"),
    [
        ("plain", GENERAL),
        ("faster", Burst("burst", Limit(600, 60), 2000, Limit(300, 60), 1000, 300)),
        ("own", Burst("penalty", Limit(20, 1), 10, Limit(10, 1), 1, 60)),
        ("same", None),
        ("out", None),
    ],
)
def test_bursts(loaded: Snapshot, tenant: str, expected: Burst | None) -> None:
    assert loaded.bursts.burst_of(tenant) == expected


def test_equal_ones_are_one_object(loaded: Snapshot) -> None:
    assert loaded.bursts.burst_of("plain") is loaded.bursts.burst_of("twin")


@pytest.mark.parametrize(
    ("tenant", "expected"),
    [
        ("plain", Cap(50_000)),
        ("capped", Cap(300, Unit.RECIPIENTS)),
        ("exempt", None),
        ("both", Cap(7)),
    ],
)
def test_caps(loaded: Snapshot, tenant: str, expected: Cap | None) -> None:
    assert loaded.bursts.cap_of(tenant) == expected


def test_the_services_of_burst_lanes_are_there(loaded: Snapshot) -> None:
    assert set(loaded.services) == {"gp-burst-standard", "gp-penalty-standard"}


def test_a_threshold_of_its_own_does_not_take_the_way_back_of_all(load: Load) -> None:
    text = TEXT.replace("above: 20/second, backlog", "above: 20/second, below: 19/second, backlog")
    bursts = load(text).snapshot.bursts
    assert bursts.burst_of("plain").below == Limit(19, 1)
    assert bursts.burst_of("faster").below == Limit(300, 60)
    assert bursts.burst_of("own").below == Limit(19, 1)
