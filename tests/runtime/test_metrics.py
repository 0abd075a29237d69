"""What is counted, and that no table grows with what clients make up."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from gatepost.maillog.evidence import Record, Verdict
from gatepost.maillog.model import TlsClass
from gatepost.modes import Feature, Observation
from gatepost.runtime.metrics import MAX_MAPS, MAX_VALUES, Metrics


def samples(metrics: Metrics) -> dict[tuple[str, ...], float]:
    found = {}
    for _, _, _, each in metrics.families():
        for name, labels, value in each:
            found[name, *labels.values()] = value
    return found


def seen(tenant: str, feature: str = "tag") -> Observation:
    return Observation(1.0, tenant, Feature(feature), "route", "d")


def test_everything_counted_is_there_by_its_labels() -> None:
    metrics = Metrics("policy")
    metrics.policy("dunno")
    metrics.policy("dunno")
    metrics.lookup("transport", "ok")
    metrics.message("accept")
    metrics.error("store")
    metrics.reloads["refused"]()
    metrics.dropped["queue"]()
    metrics.watch_recorder(lambda: 7)(3)
    metrics.watch_messages(lambda: 2)
    metrics.observed(seen("acme"))
    metrics.observed(seen(""))
    metrics.watch_connections(lambda: 4)
    metrics.snapshot_in_force("aaaa", 1.0)
    metrics.snapshot_in_force("bbbb", 2.0)
    found = samples(metrics)
    assert found["gatepost_policy_requests_total", "dunno"] == 2
    assert found["gatepost_map_lookups_total", "transport", "ok"] == 1
    assert found["gatepost_milter_messages_total", "accept"] == 1
    assert found["gatepost_errors_total", "policy", "store"] == 1
    assert found["gatepost_reloads_total", "policy", "refused"] == 1
    assert found["gatepost_recorder_dropped_total", "policy", "queue"] == 1
    assert found["gatepost_recorder_stored_total", "policy"] == 3
    assert found["gatepost_observations_total", "policy", "tag", "route", "acme"] == 1
    assert found["gatepost_observations_total", "policy", "tag", "route", "-"] == 1
    assert found["gatepost_recorder_queued", "policy"] == 7
    assert found["gatepost_messages_in_hand", "policy"] == 2
    assert found["gatepost_connections", "policy"] == 4
    assert found["gatepost_snapshot_loaded_timestamp_seconds", "policy"] == 2
    assert found["gatepost_snapshot_info", "policy", "bbbb"] == 1
    assert ("gatepost_snapshot_info", "policy", "aaaa") not in found
    assert found["gatepost_process_cpu_seconds_total", "policy"] > 0
    assert found["gatepost_process_open_fds", "policy"] > 0
    assert found["gatepost_process_resident_memory_bytes", "policy"] > 1e6


def test_prometheus_can_read_it_and_names_keep_its_conventions() -> None:
    metrics = Metrics("policy")
    metrics.policy('odd "verdict"\n')
    text = generate_latest(metrics.registry).decode()
    families = list(text_string_to_metric_families(text))
    assert len(families) > 10
    for family in families:
        assert family.name.startswith("gatepost_")
        assert family.documentation.endswith(".")
        if family.type == "counter":
            assert all(sample.name.endswith("_total") for sample in family.samples)
        assert not any(sample.name.endswith("_created") for sample in family.samples)


def test_totals_for_status_add_up_tenants() -> None:
    metrics = Metrics("policy")
    metrics.observed(seen("acme"))
    metrics.observed(seen("beta"))
    metrics.observed(seen("beta", "tls"))
    metrics.policy("dunno")
    assert metrics.counts() == {
        "policy_requests": {"dunno": 1},
        "observations": {"tag route": 2, "tls route": 1},
    }


def test_what_is_expected_is_there_from_zero() -> None:
    metrics = Metrics("milter")
    metrics.milter_messages.expect("accept", "error")
    found = samples(metrics)
    assert found["gatepost_milter_messages_total", "error"] == 0
    assert found["gatepost_reloads_total", "milter", "refused"] == 0
    assert metrics.counts() == {}


def test_made_up_values_are_counted_together() -> None:
    metrics = Metrics("policy")
    for n in range(MAX_VALUES + 10):
        metrics.policy(f"v{n}")
    for n in range(MAX_MAPS * 4 + 10):
        metrics.lookup(f"m{n}", "perm")
    found = samples(metrics)
    assert found["gatepost_policy_requests_total", "_other"] == 10
    assert found["gatepost_map_lookups_total", "_other", "_other"] == 10
    assert len(metrics.policy_requests) == MAX_VALUES
    assert len(metrics.map_lookups) == MAX_MAPS * 4


def test_tenants_beyond_the_limit_are_counted_together() -> None:
    metrics = Metrics("policy", max_tenants=2)
    for name in ("a", "b", "c", "d", "a"):
        metrics.observed(seen(name))
    found = samples(metrics)
    assert found["gatepost_observations_total", "policy", "tag", "route", "a"] == 2
    assert found["gatepost_observations_total", "policy", "tag", "route", "_other"] == 2
    assert metrics.counts()["observations"]["tag route"] == 5


def test_threads_do_not_lose_counts() -> None:
    metrics = Metrics("milter")

    def count() -> None:
        for n in range(2000):
            metrics.message(f"v{n % 8}")
            metrics.observed(seen(f"t{n % 8}"))

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counts = metrics.counts()
    assert sum(counts["milter_messages"].values()) == 8000
    assert counts["observations"] == {"tag route": 8000}


def test_without_proc_the_rest_is_still_told(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = Metrics("back")

    def closed(*_: object, **__: object) -> str:
        raise PermissionError

    monkeypatch.setattr("pathlib.Path.read_text", closed)
    names = {key[0] for key in samples(metrics)}
    assert "gatepost_process_cpu_seconds_total" in names
    assert "gatepost_process_open_fds" not in names


def test_deliveries_are_counted_by_what_is_proved_of_them() -> None:
    metrics = Metrics("back", max_tenants=1)
    deliveries = metrics.watch_deliveries()
    assert samples(metrics)["gatepost_deliveries_total", "plaintext"] == 0
    assert samples(metrics)["gatepost_weaker_deliveries_total", "-"] == 0
    record = Record(
        1.0, "4A", "acme", "u@a.example", "a.example", "", "", "", "", TlsClass.PLAINTEXT
    )  # fmt: skip
    deliveries.delivery(replace(record, deliveries=3))
    deliveries.delivery(replace(record, verdict=Verdict.WEAKER))
    deliveries.delivery(replace(record, tenant="globex", verdict=Verdict.WEAKER))
    deliveries.delivery(replace(record, tls=TlsClass.UNKNOWN, verdict=Verdict.UNPROVEN))
    deliveries.lines(10, 2)
    deliveries.read_until(7.0)
    found = samples(metrics)
    assert found["gatepost_deliveries_total", "plaintext"] == 5
    assert found["gatepost_deliveries_total", "unknown"] == 1
    assert found["gatepost_weaker_deliveries_total", "acme"] == 1
    # No table grows with what a configuration holds.
    assert found["gatepost_weaker_deliveries_total", "_other"] == 1
    assert found["gatepost_unproven_deliveries_total", "acme"] == 1
    assert found[("gatepost_maillog_lines_total",)] == 10
    assert found[("gatepost_maillog_unreadable_total",)] == 2
    assert found[("gatepost_maillog_read_timestamp_seconds",)] == 7
