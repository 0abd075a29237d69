"""Bursts and backlogs at the policy socket: counted once, moved early, refused in words."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from gatepost.modes import Feature, Mode, Modes, Observation
from gatepost.postfix_version import PostfixVersion
from gatepost.runtime.metrics import Metrics
from gatepost.runtime.paths import burst_path, traffic_path
from gatepost.runtime.traffic import bursts
from gatepost.runtime.traffic.bursts import SHOWN, BurstDesk
from gatepost.runtime.traffic.reading import SheetTraffic
from gatepost.runtime.traffic.reading import parse_reading as parse
from gatepost.runtime.traffic.sheet import TrafficSheet
from gatepost.snapshot import Snapshot
from gatepost.tenants.model import PlatformLogin
from gatepost.traffic.burst import Burst, BurstRules, Cap
from gatepost.traffic.counters import MemoryCounters
from gatepost.traffic.lanes import Lane
from gatepost.traffic.quota import Limit, QuotaRules, TenantQuota, Unit
from gatepost.traffic.services import services_for
from gatepost.traffic.state import Backlog
from gatepost.wire.policy import AccessRequest, Action, AdmitRequest
from gatepost.wire.socketmap import Ok, Request
from policy_server.handlers import Handlers
from policy_server.quota import QuotaCheck
from policy_server.traffic import TrafficCheck
from tests.world import PROFILES, index, snapshot, tenant

NOW = 1_800_000_000.0
BOOT = 5_000.0
ENFORCE = Modes(quota=Mode.ENFORCE, sender=Mode.ENFORCE, tls=Mode.ENFORCE, lane=Mode.ENFORCE)
BURST = Burst("burst", Limit(20, 1), 500, Limit(10, 1), 250, 60)
FULL = (
    "450 4.7.1 backlog of tenant acme is full: 1000 messages outstanding, at most 1000; "
    "try again when some are delivered"
)
LANES = {"normal": Lane("normal"), "burst": Lane("burst", concurrency=2)}


def made(modes: Modes = ENFORCE, **rules: object) -> Snapshot:
    acme = tenant("acme", modes, senders=("acme.example",), logins=("acme",))
    beta = tenant("beta", ENFORCE, senders=("beta.example",), logins=("beta",))
    config = snapshot(acme, beta, logins=[PlatformLogin("app", None)])
    return replace(
        config,
        lanes=LANES,
        bursts=BurstRules(**{"burst": BURST, "cap": Cap(1000), **rules}),
        services=services_for({("burst", "standard")}, LANES, PROFILES),
    )


@dataclass
class World:
    """Handlers and desk over a run directory, with the clocks in the hand of the test."""

    directory: Path
    config: Snapshot = field(default_factory=made)
    at: float = 0.0
    observations: list[Observation] = field(default_factory=list)
    verdicts: Counter[str] = field(default_factory=Counter)
    messages: int = 0

    def __post_init__(self) -> None:
        self.sheet = TrafficSheet(
            traffic_path(self.directory), every_s=3600, clock=lambda: BOOT + self.at
        )
        self.tell()
        self.start()

    def start(self) -> None:
        self.metrics = Metrics("policy")
        self.desk = BurstDesk(
            self.directory,
            self.metrics,
            lambda: self.config,
            clock=lambda: BOOT + self.at,
            wall=lambda: NOW + self.at,
        )
        self.handlers = Handlers(
            lambda: self.config, self, self, lambda: NOW + self.at, PostfixVersion(3, 7, 11)
        )
        self.handlers.measure(TrafficCheck(self.desk))

    def stop(self) -> None:
        self.desk.stop()
        self.sheet.stop()

    def tell(self, reader: str = "one", **tenants: tuple[int, int, int, int]) -> None:
        """Say what the back role has read: messages, recipients, arrived, others."""
        rows = {id_: (row[0], row[1], NOW, *row[2:]) for id_, row in tenants.items()}
        data = {"as_of": BOOT + self.at, "reader": reader, "whole": True, "tenants": rows}
        self.sheet.put("backlog", data)
        self.sheet.write()

    def look(self) -> None:
        self.desk._watch.look()
        self.desk.look()

    def rcpt(self, message: str = "", login: str = "acme", **changes: str) -> str:
        """Ask for one recipient, of a new message if none is named."""
        self.messages += not message
        attributes = {
            "protocol_state": "RCPT",
            "instance": message or f"{self.messages % 7}.{self.messages}.0",
            "sasl_username": login,
            "sender": f"news@{login}.example",
            "recipient": "u@example.org",
            **changes,
        }
        reply = self.handlers.policy(AccessRequest(attributes))
        assert isinstance(reply, Action)
        return reply.text

    def service(self, sender: str = "news@acme.example") -> str | None:
        reply = self.handlers.lookup(Request("transport", sender))
        return reply.data if isinstance(reply, Ok) else None

    def record(self, observation: Observation) -> None:
        self.observations.append(observation)

    def policy(self, verdict: str) -> None:
        self.verdicts[verdict] += 1

    def lookup(self, map_name: str, result: str) -> None:
        del map_name, result


@pytest.fixture
def world(tmp_path: Path):
    world = World(tmp_path)
    yield world
    world.stop()


def test_a_flood_is_moved_by_its_21st_message_and_nobody_else(world, caplog) -> None:
    caplog.set_level("INFO", logger="gatepost.traffic")
    for n in range(40):
        assert world.service() == (None if n < 21 else "gp-burst-standard:")
        assert world.rcpt() == "DUNNO"
        world.at += 0.002
    assert world.service("x@beta.example") is None
    lines = [each.getMessage() for each in caplog.records if "lane-moved" in each.getMessage()]
    assert lines == [
        'lane-moved tenant=acme from=normal to=burst why="more than 20/second" mode=enforce'
    ]


def test_recipients_of_one_message_are_one_message(world) -> None:
    for _ in range(50):
        world.rcpt("5.1.0")
    assert world.service() is None


def test_it_comes_back(world, caplog) -> None:
    caplog.set_level("INFO", logger="gatepost.traffic")
    for _ in range(40):
        world.rcpt()
    for _ in range(59):
        world.at += 1
        world.look()
    assert world.service() == "gp-burst-standard:"
    world.at += 2
    world.look()
    assert world.service() is None
    assert "from=burst to=normal" in caplog.text
    assert 'why="below its thresholds for 60 s"' in caplog.text


@pytest.mark.parametrize("changes", [{"sender": ""}, {"sender": "x@elsewhere.example"}])
def test_bounces_and_what_is_refused_count_nowhere(world, changes) -> None:
    for _ in range(50):
        world.rcpt(**changes)
    assert world.service() is None
    assert world.desk.backlog("acme") == Backlog()


def test_what_is_over_a_quota_counts_nowhere(tmp_path) -> None:
    quotas = QuotaRules({"acme": TenantQuota((Limit(1, 3600),))})
    world = World(tmp_path, replace(made(), quotas=quotas))
    world.handlers.quota = QuotaCheck(MemoryCounters(), lambda: 0.0, lambda _result, _who: None)
    for n in range(50):
        world.rcpt(f"{n}.1.0")
    assert world.service() is None
    assert world.desk.backlog("acme") == Backlog(1, 1)
    world.stop()


def test_observe_moves_nobody_and_records(tmp_path, caplog) -> None:
    caplog.set_level("INFO", logger="gatepost.traffic")
    world = World(tmp_path, made(replace(ENFORCE, lane=Mode.OBSERVE)))
    for _ in range(40):
        world.rcpt()
    assert world.service() is None
    assert "mode=observe" in caplog.text
    details = {each.detail for each in world.observations if each.feature is Feature.LANE}
    assert details == {"lane burst, service gp-burst-standard: burst: more than 20/second"}
    world.stop()


def test_lanes_that_are_off_measure_nothing(tmp_path, caplog) -> None:
    caplog.set_level("INFO", logger="gatepost.traffic")
    world = World(tmp_path, made(replace(ENFORCE, lane=Mode.OFF)))
    for _ in range(40):
        world.rcpt()
    world.tell(acme=(5000, 5000, 0, 0))
    world.look()
    assert "lane-moved" not in caplog.text
    world.stop()


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("fields", [None, {"modes": replace(ENFORCE, lane=Mode.OFF)}])
def test_who_is_removed_or_has_lanes_off_is_out_of_burst_whatever_waits(
    world, fields, restart
) -> None:
    for _ in range(40):
        world.rcpt()
    world.tell(acme=(5000, 5000, 40, 0))
    world.look()
    assert world.desk.in_burst("acme") is not None
    acme = world.config.tenants.by_id["acme"]
    left = [] if fields is None else [replace(acme, **fields)]
    tenants = index([*left, world.config.tenants.by_id["beta"]], ())
    world.config = replace(world.config, tenants=tenants)
    if restart:
        world.desk.stop()
        world.start()
    else:
        world.look()
    assert world.desk.status()["burst"] == {}


def test_a_backlog_moves_and_keeps(world) -> None:
    world.tell(acme=(501, 501, 0, 0))
    world.look()
    assert world.service() == "gp-burst-standard:"
    for _ in range(200):
        world.at += 1
        world.tell(acme=(251, 251, 0, 0))
        world.look()
    assert world.service() == "gp-burst-standard:"


def test_mail_of_sendmail_is_counted_from_the_log(world, caplog) -> None:
    caplog.set_level("INFO", logger="gatepost.traffic")
    world.tell(acme=(5, 5, 0, 5))
    world.look()
    world.at += 1
    world.tell(acme=(300, 300, 0, 300))
    world.look()
    assert world.service() == "gp-burst-standard:"
    assert 'why="more than 20/second, not by SMTP"' in caplog.text


def test_a_platform_login_is_counted_at_its_end(world) -> None:
    for n in range(30):
        request = AdmitRequest(
            "acme", "app", f"4X{n}", "news@acme.example", ("u@example.org",), f"m{n}"
        )
        reply = world.handlers.policy(request)
        assert reply == Action("DUNNO")
    assert world.service() == "gp-burst-standard:"
    assert world.desk.backlog("acme") == Backlog(30, 30, 0.0)


def test_a_platform_login_is_refused_at_its_end(world) -> None:
    world.tell(acme=(1000, 1000, 0, 0))
    world.look()
    request = AdmitRequest("acme", "app", "4X", "news@acme.example", ("u@example.org",), "m")
    assert world.handlers.policy(request) == Action(FULL)
    assert world.verdicts["reject"] == 1
    assert world.metrics.registry.get_sample_value(
        "gatepost_backlog_full_total", {"tenant": "acme", "mode": "enforce"}
    )


def test_a_full_backlog_is_refused_between_two_readings(world) -> None:
    world.tell(acme=(990, 990, 500, 0))
    world.look()
    answers = [world.rcpt() for _ in range(15)]
    assert answers[:10] == ["DUNNO"] * 10
    assert set(answers[10:]) == {FULL}
    assert world.rcpt(login="beta") == "DUNNO"
    assert world.rcpt(sender="") == "DUNNO"
    # Some were delivered.
    world.at += 1
    world.tell(acme=(900, 900, 510, 0))
    world.look()
    assert world.rcpt() == "DUNNO"


def test_a_message_that_has_begun_is_let_through_to_its_last_recipient(world) -> None:
    world.tell(acme=(999, 999, 500, 0))
    world.look()
    assert world.rcpt("9.1.0") == "DUNNO"
    assert world.rcpt("9.1.0") == "DUNNO"
    assert world.rcpt("9.2.0").startswith("450 4.7.1")


def test_a_cap_in_recipients_binds_within_a_message(tmp_path) -> None:
    world = World(tmp_path, made(cap=Cap(3, Unit.RECIPIENTS)))
    answers = [world.rcpt("9.1.0") for _ in range(4)]
    assert answers[:3] == ["DUNNO"] * 3
    assert answers[3].startswith("450 4.7.1 backlog of tenant acme is full: 3 recipients")
    world.stop()


def test_an_unknown_backlog_refuses_nobody_and_is_told_once(world, caplog) -> None:
    world.tell(acme=(5000, 5000, 0, 0))
    world.look()
    assert world.rcpt().startswith("450")
    world.sheet.remove("backlog")
    world.sheet.write()
    for _ in range(5):
        world.at += 10
        world.look()
    assert world.rcpt() == "DUNNO"
    assert caplog.text.count("backlog-unknown") == 1
    assert world.metrics.registry.get_sample_value("gatepost_backlog_known") == 0
    caplog.set_level("INFO", logger="gatepost.traffic")
    world.tell(acme=(1, 1, 0, 0))
    world.look()
    assert caplog.text.count("backlog-known") == 1


def test_a_reading_of_a_minute_ago_is_known_no_more(world) -> None:
    world.tell(acme=(5000, 5000, 0, 0))
    world.look()
    world.at += 59
    world.sheet.write()
    world.look()
    assert world.desk.backlog("acme") == Backlog(5000, 5000, NOW)
    world.at += 6
    world.sheet.write()
    world.look()
    assert world.desk.backlog("acme") is None


def test_a_back_role_that_has_died_is_noticed(world) -> None:
    world.tell(acme=(5000, 5000, 0, 0))
    world.look()
    world.at += 16
    world.look()
    assert world.desk.backlog("acme") is None


def test_the_log_counts_as_read_for_as_long_as_a_backlog_is_known(world) -> None:
    world.tell(acme=(5, 5, 0, 0))
    world.look()
    assert world.desk.is_log_read()
    world.at += 15
    assert world.desk.is_log_read()
    world.at += 1
    assert not world.desk.is_log_read()
    world.at += 45
    world.sheet.write()
    world.look()
    assert not world.desk.is_log_read()


def test_what_is_told_is_taken_apart_once_however_often_it_is_asked_for(world, monkeypatch) -> None:
    told = []
    monkeypatch.setattr(bursts, "parse_reading", lambda data: told.append(data) or parse(data))
    world.tell(acme=(5, 5, 0, 0))
    for _ in range(3):
        world.look()
        assert world.desk.is_log_read()
    assert len(told) == 1
    world.tell(acme=(6, 6, 0, 0))
    world.look()
    assert world.desk.backlog("acme") == Backlog(6, 6, NOW)
    assert len(told) == 2


def test_a_kill_loses_no_burst_that_was_written(world, caplog) -> None:
    for _ in range(40):
        world.rcpt()
    world.desk._sheet.write()
    # A kill: nothing is written any more, and what is in memory is gone.
    world.desk._sheet._thread.stop()
    caplog.set_level("INFO", logger="gatepost.traffic")
    world.start()
    assert world.service() == "gp-burst-standard:"
    assert "burst-restored" in caplog.text


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"at": 1.0, "sections": {"burst": 5}}', "\0" * 100, '{"at":"x"}']
)
def test_a_broken_sheet_is_no_sheet(tmp_path, text) -> None:
    burst_path(tmp_path).write_text(text)
    traffic_path(tmp_path).write_text(text)
    world = World(tmp_path)
    assert world.service() is None
    world.stop()


def test_others_read_the_same(world) -> None:
    for _ in range(40):
        world.rcpt()
    world.desk._sheet.write()
    world.tell(acme=(7, 9, 0, 0))
    seen = SheetTraffic(world.directory, clock=lambda: BOOT + world.at)
    moved = seen.in_burst("acme")
    assert moved is not None
    assert moved.why == "more than 20/second"
    assert seen.backlog("acme") == Backlog(7, 9, NOW)
    assert seen.backlogs() == {"acme": Backlog(7, 9, NOW)}
    assert seen.known
    world.at += 100
    seen.look()
    assert not seen.known
    assert seen.backlog("acme") is None


def test_metrics_name_who_is_in_burst(world) -> None:
    value = world.metrics.registry.get_sample_value
    assert value("gatepost_lane_moves_total", {"to": "burst"}) == 0
    for _ in range(40):
        world.rcpt()
    assert value("gatepost_lane_moves_total", {"to": "burst"}) == 1
    assert value("gatepost_burst_tenants") == 1
    assert value("gatepost_burst_since_timestamp_seconds", {"tenant": "acme"}) == NOW


def test_many_tenants_in_burst_are_few_labels(tmp_path) -> None:
    """A flood of names is bounded: by the configuration in memory, by the labels in metrics."""
    names = [f"t{n}" for n in range(1500)]
    tenants = [tenant(each, ENFORCE, senders=(f"{each}.example",)) for each in names]
    config = replace(
        snapshot(*tenants, logins=[PlatformLogin("app", None)]),
        lanes=LANES,
        bursts=BurstRules(burst=Burst("burst", Limit(1, 1), None, Limit(1, 1))),
    )
    world = World(tmp_path, config)
    for name in names:
        world.desk.count(name, 2, 2, config.bursts)
    family = next(f for f in world.metrics.families() if "burst_since" in f[0])
    assert len(family[3]) == 1001
    world.look()
    world.desk._sheet.write()
    assert len(SheetTraffic(tmp_path, clock=lambda: BOOT).bursts()) == 1500
    status = world.desk.status()
    assert (status["burst_tenants"], len(status["burst"])) == (1500, SHOWN)
    world.stop()


def test_an_unknown_tenant_is_admitted_by_nobody_and_counted_nowhere(world) -> None:
    for n in range(50):
        request = AdmitRequest(f"made-up-{n}", "app", f"4X{n}", "a@x.example", ("u@e.org",), "m")
        with pytest.raises(Exception, match="may not act for"):
            world.handlers.policy(request)
    assert world.desk._book.watched == 0
