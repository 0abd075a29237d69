"""The three roles as processes: started well and badly, reloaded, killed, stopped."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import pwd
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from gatepost.postfix.spec import MAPS_SOCKET, MILTER_SOCKET, POLICY_SOCKET
from gatepost.runtime.command import role_environment
from gatepost.runtime.paths import ROLES, SOCKETS
from gatepost.store import open_store
from gatepost.wire.netstring import encode_netstring
from lab.milter_client import MilterConnection, command, macros, negotiate
from lab.process import wait_for_exit, wait_until
from milters import __main__ as milter
from tests.runtime.place import Process, Site

pytestmark = pytest.mark.timeout(120)

RCPT = (
    b"request=smtpd_access_policy\nprotocol_state=RCPT\nclient_address=192.0.2.1\n"
    b"sasl_username=acme\nsender=%s\nrecipient=u@example.org\n\n"
)
GOOD = RCPT % b"news@acme.example"
FOREIGN = RCPT % b"news@beta.example"


def ask(connection: socket.socket, request: bytes) -> bytes:
    connection.sendall(request)
    reply = b""
    while not reply.endswith(b"\n\n"):
        part = connection.recv(4096)
        assert part, "the connection was closed"
        reply += part
    return reply


def message(milter: MilterConnection, login: bytes = b"acme") -> list[str]:
    """Send one message and return what is done to it."""
    begin(milter, login)
    return finish(milter)


def begin(milter: MilterConnection, login: bytes = b"acme") -> None:
    milter.send(macros("mail", {"j": b"mx.example", "{auth_authen}": login}))
    milter.send(command("mail", b"<news@acme.example>") + command("rcpt", b"<u@example.org>"))
    milter.send(command("header", b"From", b"news@acme.example"))


def finish(milter: MilterConnection) -> list[str]:
    milter.send(macros("end", {"i": b"4XyZ"}))
    return [reply.text for reply in milter.ask(command("end"))]


@contextlib.contextmanager
def connected(site: Site) -> Iterator[MilterConnection]:
    with MilterConnection(site.socket_dir / MILTER_SOCKET) as milter:
        milter.ask(negotiate())
        yield milter


def test_the_roles_serve_on_sockets_that_postfix_may_use(site: Site) -> None:
    site.start(*ROLES)
    for names in SOCKETS.values():
        for name in names:
            found = (site.socket_dir / name).stat()
            assert stat.S_IMODE(found.st_mode) == 0o660
            assert found.st_gid == os.getegid()
    # Only root can give the directory to another group, so only root marks it for one.
    wanted = 0o2750 if os.geteuid() == 0 else 0o750
    assert stat.S_IMODE(site.socket_dir.stat().st_mode) == wanted
    with site.connect(POLICY_SOCKET) as policy:
        assert ask(policy, GOOD) == b"action=DUNNO\n\n"
    with site.connect(MAPS_SOCKET) as maps:
        maps.sendall(encode_netstring(b"transport news@acme.example"))
        assert maps.recv(100) == encode_netstring(b"NOTFOUND ")
    with connected(site) as milter:
        assert message(milter) == ["continue"]
    assert [site.status(role)["digest"] for role in ROLES].count(site.status("back")["digest"]) == 3


@pytest.mark.parametrize("role", ["milter"])
def test_a_second_one_is_refused_and_the_first_serves_on(site: Site, role: str) -> None:
    first = site.start(role)
    second = site.spawn(role)
    assert second.wait() == 1
    assert "fatal: cannot-start reason=" in second.text()
    assert f"{role} runs already, as process {first.pid}; stop that one first" in second.text()
    assert site.status(role)["pid"] == first.pid
    assert first.stop() == 0


@pytest.mark.parametrize("role", ["policy", "milter"])
def test_killed_it_starts_again_over_what_it_left(site: Site, role: str) -> None:
    first = site.start(role)
    first.signal(signal.SIGKILL)
    first.wait()
    assert all((site.socket_dir / name).exists() for name in SOCKETS[role])
    second = site.start(role)
    assert site.status(role)["pid"] == second.pid


@pytest.mark.parametrize("role", ROLES)
def test_stopped_it_leaves_its_lock_file_and_what_the_next_start_goes_on_from(
    site: Site, role: str
) -> None:
    process = site.start(role)
    assert process.stop() == 0
    assert list(site.socket_dir.iterdir()) == []
    kept = {"policy": {"burst.json"}, "back": {"traffic.json"}}.get(role, set())
    assert {path.name for path in site.run_dir.iterdir()} == {f"{role}.lock"} | kept
    assert re.search(r"stopping\n.*: stopped seconds=", process.text())


@pytest.mark.parametrize("role", ["", "policy"])
def test_a_configuration_with_mistakes_ends_the_start_with_all_of_them(
    site: Site, role: str
) -> None:
    site.configure(nonsense=1, tenants={"acme": {"profile": "none", "colour": "red"}})
    process = site.spawn(role)
    assert process.wait() == 2
    for words in ("gatepost.yaml:", "nonsense", "profile", "colour"):
        assert words in process.text()


def test_prepare_makes_the_directories_and_serves_nothing(site: Site) -> None:
    done = site.gatepost("serve", "--prepare")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    for directory in (site.run_dir, site.socket_dir, site.database.parent):
        assert directory.is_dir()
        assert list(directory.iterdir()) == []


@pytest.mark.parametrize("role", ["", "policy"])
def test_a_run_directory_that_cannot_be_made_is_named(site: Site, role: str) -> None:
    site.run_dir.write_text("in the way")
    process = site.spawn(role)
    assert process.wait() == 1
    assert f"{site.run_dir}: is in the way and is no directory" in process.text()
    site.run_dir.unlink()
    site.start(role)


def test_without_postfix_there_is_one_clear_error(site: Site) -> None:
    (site.postfix_dir / "main.cf").unlink()
    process = site.spawn("policy")
    assert process.wait() == 1
    assert "fatal: cannot-start reason=" in process.text()
    assert "main.cf" in process.text()


@pytest.mark.parametrize("role", ["policy", "milter"])
def test_sighup_reloads_and_a_bad_file_changes_nothing(site: Site, role: str) -> None:
    process = site.start(role)
    before = site.status(role)["digest"]
    site.configure(tenants={})
    process.signal(signal.SIGHUP)
    process.wait_ready()
    after = site.status(role)
    assert after["digest"] != before
    assert (after["tenants"], after["last_reload"]["ok"]) == (0, True)
    site.configure(tenants={"acme": {"colour": "red"}})
    process.signal(signal.SIGHUP)
    process.wait_ready()
    refused = site.status(role)
    assert refused["digest"] == after["digest"]
    assert refused["last_reload"]["ok"] is False
    assert "colour" in refused["last_reload"]["errors"][0]
    assert refused["counts"]["reloads"] == {"ok": 1, "refused": 1}
    assert any("reload result=refused" in each["text"] for each in refused["troubles"])


def test_a_reload_that_needs_a_service_that_master_cf_lacks_is_refused(site: Site) -> None:
    (site.postfix_dir / "main.cf").write_text(
        f"{site.main_cf}"
        "gatepost_milter = { unix:gatepost/milter.sock }\n"
        "gatepost_policy = check_policy_service unix:gatepost/policy.sock\n"
        "gatepost_transport = socketmap:unix:gatepost/maps.sock:transport\n"
        "smtpd_milters = $gatepost_milter\n"
        "smtpd_recipient_restrictions = $gatepost_policy\n"
        "sender_dependent_default_transport_maps = $gatepost_transport\n"
    )
    process = site.start("policy")
    bank = {"acme": {"logins": ["acme"], "senders": ["acme.example"], "lane": "bulk"}}
    site.configure(lanes={"bulk": {"concurrency": 3}}, tenants=bank)
    process.signal(signal.SIGHUP)
    process.wait_ready()
    last = site.status("policy")["last_reload"]
    assert last["ok"] is False
    assert len(last["errors"]) == 1
    assert "master.cf has no service gp-bulk-standard" in last["errors"][0]
    assert "gatepost attach" in last["errors"][0]
    # Without it nothing was in force before, so a start has to take it, and says so.
    assert process.stop() == 0
    process = site.start("policy")
    assert "gp-bulk-standard" in site.status("policy")["notes"][0]
    assert "warning: config-note" in process.text()


def test_a_connection_lives_through_reloads_and_every_request_is_answered(site: Site) -> None:
    site.configure(modes={"default": "enforce"})
    process = site.start("policy")
    with site.connect(POLICY_SOCKET) as policy, reloading(site, process, 20):
        for _ in range(300):
            assert ask(policy, GOOD) == b"action=DUNNO\n\n"
            assert ask(policy, FOREIGN).startswith(b"action=553 5.7.1 ")
    assert site.status("policy")["counts"]["policy_requests"] == {"dunno": 300, "reject": 300}


@contextlib.contextmanager
def reloading(site: Site, process: Process, times: int) -> Iterator[None]:
    """Reload again and again, every other time with a bad file, while the block runs."""
    good = site.config.read_text()
    failures = []

    def work() -> None:
        try:
            for number in range(times):
                bad = number % 2
                site.config.write_text(good + "nonsense: 1\n" if bad else good)
                process.signal(signal.SIGHUP)
                process.wait_ready()
        except AssertionError as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        thread.join()
    assert failures == []


def test_sighup_never_stops_the_milter_and_loses_no_message(site: Site) -> None:
    site.configure(modes={"default": "enforce"})
    process = site.start("milter")
    with connected(site) as milter, reloading(site, process, 100):
        for _ in range(300):
            assert message(milter)[0] == "add-header X-Tenant-ID: acme"
    counts = site.status("milter")["counts"]
    assert counts["milter_messages"] == {"accept": 300}
    assert counts["reloads"] == {"ok": 50, "refused": 50}


def test_a_milter_that_is_told_to_stop_finishes_what_is_in_hand(site: Site) -> None:
    process = site.start("milter")
    with connected(site) as milter, connected(site) as other:
        begin(milter)
        wait_for(site, "milter", "messages_in_hand", 1)
        process.signal(signal.SIGTERM)
        wait_until(lambda: not (site.socket_dir / MILTER_SOCKET).exists(), 30, "the socket to go")
        # Not waited for: on a busy host there would be no end of them.
        begin(other)
        assert finish(milter) == ["continue"]
        assert process.wait() == 0
        assert other.read() is None
    assert "cut-off" not in process.text()


def wait_for(site: Site, role: str, name: str, value: object) -> None:
    wait_until(lambda: site.status(role)[name] == value, 30, f"{name} of {role} to be {value}")


def test_a_milter_does_not_wait_longer_than_the_grace_period(site: Site) -> None:
    site.configure(service=site.service | {"grace": "1s"})
    process = site.start("milter")
    with connected(site) as milter:
        begin(milter)
        wait_for(site, "milter", "messages_in_hand", 1)
        assert process.stop() == 0
    assert "warning: cut-off messages=1 after_s=1" in process.text()


def test_a_milter_is_ready_when_libmilter_s_thread_waits_for_signals(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(milter, "SETTLED_S", 60)
    number = signal.SIGUSR2
    waiting = threading.Thread(target=signal.sigwait, args=([number],))
    # A thread that waits for something else is none.
    assert not milter._somebody_waits_for_signals()
    old = signal.pthread_sigmask(signal.SIG_BLOCK, [number])
    try:
        threading.Timer(0.1, waiting.start).start()
        loop = milter.LibmilterLoop.__new__(milter.LibmilterLoop)
        loop.ended = False
        loop.wait_settled()
        assert milter._somebody_waits_for_signals()
        signal.pthread_kill(waiting.ident or 0, number)
        waiting.join(10)
        assert not milter._somebody_waits_for_signals()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)


def test_a_milter_whose_libmilter_ends_ends_with_an_error(site: Site) -> None:
    process = site.start("milter")
    libc = ctypes.CDLL(None, use_errno=True)
    # The main thread gets the signals that are meant for the process. One of the others is
    # libmilter's, which takes a SIGHUP for a stop; to our own it is one more reload.
    for task in Path(f"/proc/{process.pid}/task").iterdir():
        if task.name != str(process.pid):
            libc.tgkill(process.pid, int(task.name), signal.SIGHUP)
    assert process.wait() == 1
    assert "fatal: libmilter-stopped" in process.text()
    assert ": stopped seconds=" in process.text()


def counted(site: Site, counter: str, value: str) -> bool:
    return value in site.status("policy")["counts"].get(counter, {})


@pytest.mark.parametrize("how", ["garbage", "missing directory"])
def test_without_a_store_mail_flows_and_it_is_counted(site: Site, how: str) -> None:
    process = site.start("policy")
    # Parts of the policy server have opened it already, so it has to be another file.
    shutil.rmtree(site.database.parent)
    if how == "garbage":
        site.database.parent.mkdir()
        site.database.write_text("no database " * 1000)
    with site.connect(POLICY_SOCKET) as policy:
        for _ in range(50):
            assert ask(policy, FOREIGN) == b"action=DUNNO\n\n"
        wait_until(lambda: counted(site, "errors", "store"), 30, "the error to be counted")
        assert ask(policy, FOREIGN) == b"action=DUNNO\n\n"
    status = site.status("policy")
    assert status["counts"]["observations"]["sender reject"] >= 50
    assert status["waiting_rows"] >= 50
    assert any("store-unavailable" in each["text"] for each in status["troubles"])
    if how == "garbage":
        site.database.unlink()
    else:
        site.database.parent.mkdir()
    wait_for(site, "policy", "waiting_rows", 0)
    assert process.stop() == 0
    assert "store-back" in process.text()
    assert "observe tenant=acme feature=sender action=reject" in process.text()


def test_a_killed_policy_server_has_stored_all_but_the_last_second(site: Site) -> None:
    process = site.start("policy")
    with site.connect(POLICY_SOCKET) as policy:
        for _ in range(100):
            ask(policy, FOREIGN)
        wait_for(site, "policy", "waiting_rows", 0)
    process.signal(signal.SIGKILL)
    process.wait()
    store = open_store(f"sqlite:///{site.database}", create=False)
    assert [each.count for each in store.what_if(0)] == [100]
    store.close()


def test_without_the_back_role_mail_flows(site: Site) -> None:
    site.start("policy", "milter")
    back = site.start("back")
    back.signal(signal.SIGKILL)
    back.wait()
    with site.connect(POLICY_SOCKET) as policy, connected(site) as milter:
        assert ask(policy, GOOD) == b"action=DUNNO\n\n"
        assert message(milter) == ["continue"]
    status = site.gatepost("status")
    assert status.returncode == 1
    assert [line for line in status.stdout.splitlines() if line.startswith("DOWN")] == [
        "DOWN        back: not running"
    ]


def test_metrics_of_all_roles_are_served(site: Site) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    site.configure(metrics=f"127.0.0.1:{port}")
    site.start(*ROLES)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as reply:
        text = reply.read().decode()
    assert [f'gatepost_up{{role="{role}"}} 1.0' in text for role in ROLES] == [True] * 3
    second = site.spawn("back")
    assert second.wait() == 1


def test_a_probe_of_each_socket_does_no_harm(site: Site) -> None:
    site.start("policy", "milter")
    for name in (POLICY_SOCKET, MAPS_SOCKET, MILTER_SOCKET):
        for junk in (b"", b"\n", b"GET / HTTP/1.0\r\n\r\n", bytes(100)):
            with site.connect(name) as probe, contextlib.suppress(ConnectionError):
                probe.sendall(junk)
                probe.shutdown(socket.SHUT_WR)
                probe.recv(100)
    with site.connect(POLICY_SOCKET) as policy, connected(site) as milter:
        assert ask(policy, GOOD) == b"action=DUNNO\n\n"
        assert message(milter) == ["continue"]


def test_supervised_roles_outlive_their_supervisor_and_the_next_one_replaces_them(
    site: Site,
) -> None:
    first = site.start("")
    old = {role: site.status(role)["pid"] for role in ROLES}
    assert [site.status(role)["supervisor"] for role in ROLES] == ["running"] * 3
    first.signal(signal.SIGKILL)
    first.wait()
    for role in ROLES:
        wait_for(site, role, "supervisor", "gone")
    with site.connect(POLICY_SOCKET) as policy, connected(site) as milter:
        assert ask(policy, GOOD) == b"action=DUNNO\n\n"
        assert message(milter) == ["continue"]
    document = json.loads(site.gatepost("status", "--json").stdout)
    assert document["supervisor"]["running"] is False
    assert any("without its supervisor" in sentence for sentence in document["down"])
    second = site.start("")
    new = {role: site.status(role)["pid"] for role in ROLES}
    assert not set(old.values()) & set(new.values())
    assert second.stop() == 0
    # Those that a killed supervisor leaves have another parent, which may take a moment.
    for pid in (*old.values(), *new.values()):
        assert wait_for_exit(pid, 10)


def nobody_can_run_us() -> bool:
    command = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "--"]
    command += [sys.executable, "-P", "-c", "import gatepost, yaml"]
    done = subprocess.run(command, env=role_environment(), capture_output=True, check=False)
    return done.returncode == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_root_is_left_before_anything_is_served(site: Site) -> None:
    if not nobody_can_run_us():
        pytest.skip("nobody cannot read this checkout or this Python")
    site.directory.chmod(0o755)
    site.configure(
        service=site.service | {"user": "nobody"},
        postfix={"config_dir": str(site.postfix_dir), "group": "daemon"},
    )
    # The key file is still root's: this user could not reload, so nothing starts.
    process = site.spawn("policy")
    assert process.wait() == 2
    assert "keys.yaml" in process.text()
    shutil.chown(site.directory / "keys.yaml", "nobody")
    site.start("")
    for role in ROLES:
        found = Path(f"/proc/{site.status(role)['pid']}").stat()
        assert found.st_uid == pwd.getpwnam("nobody").pw_uid
    for path in (site.socket_dir, *site.socket_dir.iterdir()):
        assert path.owner() == "nobody"
        assert path.group() == "daemon"
    assert site.database.owner() == "nobody"
