"""The API as a process beside others: a tenant that is made there is in force elsewhere."""

from __future__ import annotations

import dataclasses
import http.client
import json
import signal
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gatepost.cli import serve
from gatepost.errors import StartError
from gatepost.postfix.spec import POLICY_SOCKET
from gatepost.runtime import api
from gatepost.runtime.overview import ask_all
from gatepost.runtime.paths import roles_of
from gatepost.settings import Settings
from gatepost.settings.api_tenants import COPY_NAME
from lab.process import wait_until
from tests.runtime.place import Site

pytestmark = pytest.mark.timeout(120)

RCPT = (
    b"request=smtpd_access_policy\nprotocol_state=RCPT\nclient_address=192.0.2.1\n"
    b"sasl_username=shop\nsender=news@%s\nrecipient=u@example.org\n\n"
)
SHOP = {"logins": ["shop"], "senders": ["shop.example"], "modes": {"sender": "enforce"}}


class Connection(http.client.HTTPConnection):
    """HTTP over the socket of the API."""

    def __init__(self, path: Path) -> None:
        super().__init__("gatepost", timeout=30)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(30)
        self.sock.connect(str(self._path))


def call(site: Site, token: str, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    connection = Connection(site.run_dir / "api.sock")
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    connection.request(method, path, None if body is None else json.dumps(body), headers)
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    return answer.status, json.loads(text) if text else None


def rcpt(site: Site, domain: bytes) -> bytes:
    with site.connect(POLICY_SOCKET) as policy:
        policy.sendall(RCPT % domain)
        return policy.recv(1000).split(b"\n")[0]


def configure(site: Site) -> None:
    site.configure(api={"listen": f"unix:{site.run_dir}/api.sock"})


def new_token(site: Site, *words: str) -> str:
    made = site.gatepost("api", "token", "create", "--name", "t", "--scope", "platform", *words)
    assert made.returncode == 0, made.stderr
    return made.stdout.strip()


def test_a_tenant_of_the_api_is_in_force_everywhere_and_stays_without_the_store(
    site: Site,
) -> None:
    configure(site)
    policy = site.start("api", "policy")
    token = new_token(site)
    assert rcpt(site, b"other.example") == b"action=DUNNO"
    assert call(site, token, "PUT", "/v1/tenants/shop", SHOP)[0] == 201
    wait_until(lambda: site.status("policy")["tenants"] == 2, 10, "the policy server to know it")
    assert rcpt(site, b"other.example").startswith(b"action=553 5.7.1 other.example is not")
    wait_until(
        lambda: site.status("api")["digest"] == site.status("policy")["digest"], 10, "the same"
    )
    status, overview = call(site, token, "GET", "/v1/status")
    assert status == 200
    assert overview["roles"]["api"]["tenants"] == 2
    assert overview["roles"]["policy"]["digest"] == overview["roles"]["api"]["digest"]
    # The database is lost; a process that starts anew has the tenant all the same.
    policy.signal(signal.SIGKILL)
    policy.wait()
    for each in site.database.parent.glob("gatepost.db*"):
        each.unlink()
    site.database.write_text("no database " * 1000)
    again = site.start("policy")
    assert site.status("policy")["tenants"] == 2
    assert rcpt(site, b"other.example").startswith(b"action=553 ")
    assert any("that were known last" in each for each in site.status("policy")["notes"])
    assert call(site, token, "GET", "/v1/tenants")[0] == 503
    # Without the copy as well, it does not start.
    again.stop()
    (site.database.parent / COPY_NAME).unlink()
    refused = site.spawn("policy")
    assert refused.wait() == 1
    assert "fatal: cannot-start" in refused.text()
    assert "without them mail could go out with less than was promised" in refused.text()


def test_files_that_clash_with_a_tenant_of_the_api_change_nothing_and_a_stop_leaves_no_socket(
    site: Site,
) -> None:
    configure(site)
    process = site.start("api")
    token = new_token(site)
    assert call(site, token, "PUT", "/v1/tenants/shop", SHOP)[0] == 201
    wait_until(lambda: site.status("api")["tenants"] == 2, 10, "the tenant")
    text = site.config.read_text()
    line = text[: text.index("- acme\n")].count("\n") + 2
    site.config.write_text(text.replace("- acme\n", "- acme\n    - shop\n", 1))
    found = site.gatepost("reload", "--json")
    assert json.loads(found.stdout)["roles"]["api"]["errors"] == [
        (
            "store:tenants/shop: tenants.shop.logins[0]: shop belongs to tenant acme, "
            f"{site.config}:{line}; leave it to one of the two"
        )
    ]
    assert site.status("api")["tenants"] == 2
    assert process.stop() == 0
    assert not (site.run_dir / "api.sock").exists()
    assert "stopped seconds=" in process.text()


def test_serve_and_status_know_of_it_where_it_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    off = Settings(tmp_path / "gatepost.yaml", run_dir=tmp_path)
    on = dataclasses.replace(off, api=Path("/run/gatepost/api.sock"))
    assert roles_of(off) == ("policy", "milter", "back")
    assert roles_of(on) == ("policy", "milter", "back", "api")
    supervised: list[Any] = []

    class Supervisor:
        def __init__(self, *arguments: Any) -> None:
            supervised.append(arguments[-1])

        def run(self, signals: Any) -> None:
            del signals

    monkeypatch.setattr(serve, "Supervisor", Supervisor)
    monkeypatch.setattr(serve, "settle", lambda _settings: None)
    monkeypatch.setattr(serve, "set_up", lambda *_: None)
    for settings in (off, on):
        monkeypatch.setattr(serve, "load_settings", lambda _path, found=settings: found)
        serve.command(role=None, config=off.config)
    assert supervised == [roles_of(off), roles_of(on)]
    assert list(ask_all(tmp_path, "status", roles=roles_of(on))) == list(roles_of(on))


def test_it_does_not_start_where_it_is_off() -> None:
    role: Any = SimpleNamespace(settings=SimpleNamespace(api=None))
    with pytest.raises(StartError, match=r"api\.listen is off; set it, or do not serve the API"):
        api._serve(role)
