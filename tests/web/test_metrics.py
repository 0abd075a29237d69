"""The metrics of all roles in one document, and a health check, over HTTP."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gatepost.errors import StartError
from gatepost.modes import Feature, Observation
from gatepost.runtime.control import ControlServer
from gatepost.runtime.metrics import Metrics
from gatepost.settings import Address
from gatepost.web import server as module
from gatepost.web.metrics import AllMetrics
from gatepost.web.server import MetricsServer


class Roles:
    """Control sockets that answer for roles."""

    def __init__(self, run_dir: Path, stack: contextlib.ExitStack) -> None:
        self.run_dir = run_dir
        self._stack = stack

    def add(self, role: str, answer: Mapping[str, Any] | None = None) -> Metrics:
        metrics = Metrics(role)
        handlers = {"metrics": lambda: answer or {"families": metrics.families()}}
        self._stack.callback(ControlServer(self.run_dir / f"{role}.ctl", handlers).close)
        return metrics


@pytest.fixture
def roles(tmp_path: Path) -> Iterator[Roles]:
    with contextlib.ExitStack() as stack:
        yield Roles(tmp_path, stack)


@pytest.fixture
def port(roles: Roles) -> Iterator[int]:
    server = MetricsServer(Address("127.0.0.1", 0), AllMetrics(Metrics("back"), roles.run_dir))
    yield server.port
    server.close()


def get(port: int, path: str, method: str = "GET") -> tuple[int, str, str]:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as client:
        client.request(method, path)
        reply = client.getresponse()
        return reply.status, reply.getheader("Content-Type", ""), reply.read().decode()


def test_families_of_all_roles_are_joined(roles: Roles, port: int) -> None:
    roles.add("policy").policy("dunno")
    milter = roles.add("milter")
    milter.message("accept")
    milter.observed(Observation(1.0, "acme", Feature.TAG, "add-header", "d"))
    status, kind, text = get(port, "/metrics")
    assert (status, kind) == (200, "text/plain; version=0.0.4; charset=utf-8")
    families = {family.name: family for family in text_string_to_metric_families(text)}
    # A second HELP line of the same family would be refused by Prometheus.
    helps = [line.split()[2] for line in text.splitlines() if line.startswith("# HELP")]
    assert len(helps) == len(set(helps))
    assert {s.labels["role"] for s in families["gatepost_info"].samples} == {
        "policy",
        "milter",
        "back",
    }
    [requests] = families["gatepost_policy_requests"].samples
    assert (requests.labels, requests.value) == ({"verdict": "dunno"}, 1)
    [seen] = families["gatepost_observations"].samples
    assert seen.labels["tenant"] == "acme"
    assert {s.labels["role"]: s.value for s in families["gatepost_up"].samples} == {
        "policy": 1,
        "milter": 1,
        "back": 1,
    }


def test_a_role_that_is_down_is_told_and_hides_nothing(roles: Roles, port: int) -> None:
    roles.add("policy").policy("dunno")
    _, _, text = get(port, "/metrics")
    assert 'gatepost_up{role="milter"} 0.0' in text
    assert 'gatepost_policy_requests_total{verdict="dunno"} 1.0' in text
    status, _, text = get(port, "/healthz")
    assert (status, text) == (503, "milter: not running\n")
    roles.add("milter")
    assert get(port, "/healthz") == (200, "text/plain; charset=utf-8", "ok\n")


def test_an_answer_without_metrics_counts_as_down(roles: Roles) -> None:
    roles.add("policy", {"ok": False, "error": "RuntimeError: broken"})
    roles.add("milter")
    scrape = AllMetrics(Metrics("back"), roles.run_dir).scrape()
    assert dict(scrape.down) == {"policy": "the answer holds no metrics"}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/metrics/x", 404),
        ("GET", "/metrics?x=1", 200),
        ("HEAD", "/metrics", 200),
        ("POST", "/metrics", 501),
    ],
)
def test_other_requests(port: int, method: str, path: str, status: int) -> None:
    found, _, text = get(port, path, method)
    assert found == status
    assert method != "HEAD" or not text


def test_nothing_but_a_server_error_comes_from_a_bug(
    port: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    logged = threading.Event()

    def broken(_: AllMetrics) -> None:
        raise ZeroDivisionError("a bug")

    real = module._Server.handle_error

    def handle(*args: Any) -> None:
        real(*args)
        logged.set()

    monkeypatch.setattr(AllMetrics, "scrape", broken)
    monkeypatch.setattr(module._Server, "handle_error", handle)
    with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
        get(port, "/metrics")
    assert logged.wait(10)
    assert "web-failed" in caplog.text
    monkeypatch.undo()
    assert get(port, "/healthz")[0] == 503


def test_idle_connections_take_no_more_than_their_share(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module._Handler, "timeout", 60)
    with contextlib.ExitStack() as stack:
        for _ in range(module.MAX_CONNECTIONS):
            idle = stack.enter_context(socket.create_connection(("127.0.0.1", port), 10))
            idle.sendall(b"GET /met")
        with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
            get(port, "/healthz")
    for _ in range(1000):
        with contextlib.suppress(http.client.RemoteDisconnected, ConnectionError):
            assert get(port, "/healthz")[0] == 503
            return
    pytest.fail("no room came back")


def test_an_address_that_is_taken_is_named(roles: Roles, port: int) -> None:
    with pytest.raises(StartError, match=rf"metrics: cannot listen on 127\.0\.0\.1:{port}"):
        MetricsServer(Address("127.0.0.1", port), AllMetrics(Metrics("back"), roles.run_dir))


def test_ipv6(roles: Roles) -> None:
    server = MetricsServer(Address("::1", 0), AllMetrics(Metrics("back"), roles.run_dir))
    with contextlib.closing(http.client.HTTPConnection("::1", server.port, timeout=10)) as client:
        client.request("GET", "/healthz")
        assert client.getresponse().status == 503
    server.close()
