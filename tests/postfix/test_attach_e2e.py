"""Attach to a Postfix that runs: what it asks, what it does when nobody answers, the way back."""

from __future__ import annotations

import os
import smtplib
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gatepost.errors import AttachError
from gatepost.postfix import commands
from gatepost.postfix.attach import Options, attach, detach
from gatepost.postfix.journal import DIRECTORY
from gatepost.postfix.spec import AttachSpec, Hook, ServiceSpec
from gatepost.tls.levels import Level
from gatepost.tls.rules import OnFailure
from lab.ca import Authority
from lab.postfix import PrivatePostfix

if TYPE_CHECKING:
    from tests.postfix.conftest import Roles

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(90), pytest.mark.usefixtures("settled")]

ADDRESS, OTHER, SERVER = "198.18.7.25", "198.18.7.26", "198.18.7.27"
# The stand-in for the milter takes no part, so hooks that decide something are enough here.
SPEC = AttachSpec(
    frozenset(Hook),
    services=(
        ServiceSpec("gp-bulk-private", "bulk", "private", Level.ENCRYPT, OnFailure.BOUNCE, 5),
        ServiceSpec("gp-normal-bank", "normal", "bank", Level.VERIFY, OnFailure.DEFER),
    ),
)
FILES = ("main.cf", "master.cf")

Starter = Callable[[Path], "Roles"]


@pytest.fixture(scope="module")
def directory() -> Iterator[Path]:
    # Postfix's own account has to be able to enter it, and its name has to be short.
    with tempfile.TemporaryDirectory(dir=os.environ["GATEPOST_LAB_DIR"]) as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture(scope="module")
def shared(directory: Path) -> Iterator[PrivatePostfix]:
    with PrivatePostfix(
        directory / "p",
        address=ADDRESS,
        hostname="mx.gp.example",
        main={
            "minimal_backoff_time": "300s",
            "local_recipient_maps": "",
            "smtpd_recipient_restrictions": "check_recipient_access inline:{ "
            "nobody@mx.gp.example=REJECT }",
        },
        users={"acme": "secret"},
    ) as postfix:
        yield postfix


@pytest.fixture
def postfix(shared: PrivatePostfix) -> Iterator[PrivatePostfix]:
    """Return a running Postfix that is not attached, and leave it so."""
    before = contents(shared)
    yield shared
    detach(shared.config_dir)
    assert contents(shared) == before
    subprocess.run(["postsuper", "-c", shared.config_dir, "-d", "ALL"], check=True)
    shared.clear_log()


def contents(postfix: PrivatePostfix) -> dict[str, bytes]:
    return {name: (postfix.config_dir / name).read_bytes() for name in FILES}


def send(
    postfix: PrivatePostfix,
    sender: str = "news@acme.example",
    recipient: str = "user@remote.example",
    port: int = 25,
) -> tuple[int, bytes]:
    """Send one message; return the reply to RCPT TO, or to the end of the message."""
    with smtplib.SMTP(postfix.address, port, "client.example", timeout=30) as client:
        if port == 587:
            client.login("acme", "secret")
        client.mail(sender)
        code, text = client.rcpt(recipient)
        return client.data(b"Subject: test\r\n\r\ntext\r\n") if code == 250 else (code, text)


# Of the machine and not of the configuration: a clock that was set, a lab without certificates.
BESIDE_THE_POINT = (
    "local clock",
    "resetting file time stamps",
    "postfix-script",
    "No server certs available",
)


def warnings(postfix: PrivatePostfix) -> list[str]:
    """Return the warnings of Postfix's daemons; postfix check may find the lab's files odd."""
    return [
        line
        for line in postfix.log_lines()
        if ("warning:" in line or "fatal:" in line)
        and not any(words in line for words in BESIDE_THE_POINT)
    ]


def test_attached_postfix_asks_at_each_hook(postfix: PrivatePostfix, roles: Starter) -> None:
    role = roles(postfix.queue_dir)
    outcome = attach(SPEC, postfix.config_dir)
    assert outcome.applied is not None
    assert outcome.applied.reloaded
    postfix.wait_log("master.*: reload")
    hop = f"[{SERVER}]:1"
    role.answer = lambda name, _: (
        "OK encrypt" if name != "transport" else f"OK gp-bulk-private:{hop}"
    )
    assert send(postfix)[0] == 250
    assert send(postfix, port=587)[0] == 250
    # Nothing listens on port 1; what counts is who tries, and whom it asked.
    postfix.wait_log(r"gp-bulk-private/smtp.*to=<user@remote\.example>.*status=deferred")
    assert ("transport", "news@acme.example") in role.lookups
    assert ("tls-private", hop) in role.lookups
    asked = [(request["protocol_state"], request["policy_context"]) for request in role.requests]
    assert asked == [
        ("RCPT", "-"),
        ("END-OF-MESSAGE", "-"),
        ("RCPT", "ORIGINATING"),
        ("END-OF-MESSAGE", "ORIGINATING"),
    ]
    assert warnings(postfix) == []


def test_attaching_again_changes_nothing_and_does_not_reload(
    postfix: PrivatePostfix, roles: Starter
) -> None:
    roles(postfix.queue_dir)
    attach(SPEC, postfix.config_dir)
    before = contents(postfix)
    again = attach(SPEC, postfix.config_dir)
    assert not again.needed
    assert again.applied is not None
    assert not again.applied.reloaded
    assert contents(postfix) == before


def test_a_changed_configuration_changes_the_services(
    postfix: PrivatePostfix, roles: Starter
) -> None:
    roles(postfix.queue_dir)
    attach(SPEC, postfix.config_dir)
    attach(replace(SPEC, services=SPEC.services[1:]), postfix.config_dir)
    master = (postfix.config_dir / "master.cf").read_text()
    assert "gp-bulk-private" not in master
    assert "gp-normal-bank unix" in master
    assert "gp-bulk" not in (postfix.config_dir / "main.cf").read_text()


def test_a_dry_run_changes_nothing_and_its_diff_is_exact(
    postfix: PrivatePostfix, tmp_path: Path
) -> None:
    before = contents(postfix)
    outcome = attach(SPEC, postfix.config_dir, Options(dry_run=True))
    assert contents(postfix) == before
    assert not (postfix.config_dir / DIRECTORY / "unfinished").exists()
    assert len(outcome.unanswered) == 3
    for name in FILES:
        (tmp_path / name).write_bytes(before[name])
        diff = "".join(outcome.plan.diff(name, "etc"))
        subprocess.run(
            ["patch", "-s", str(tmp_path / name)], input=diff.encode(), check=True, cwd=tmp_path
        )
        assert (tmp_path / name).read_text() == outcome.plan.new[name]


def test_attach_is_refused_while_nobody_answers(postfix: PrivatePostfix, roles: Starter) -> None:
    before = contents(postfix)
    with pytest.raises(AttachError, match=r"milter\.sock: nothing listens there"):
        attach(SPEC, postfix.config_dir)
    role = roles(postfix.queue_dir)
    role.stop("maps.sock")
    with pytest.raises(AttachError, match=r"maps\.sock: nothing listens there") as refused:
        attach(SPEC, postfix.config_dir)
    assert "policy.sock" not in str(refused.value)
    # A socket file without a process behind it is no service.
    role.start("maps.sock")
    role._servers["maps.sock"].shutdown()
    role._servers["maps.sock"].server_close()
    with pytest.raises(AttachError, match=r"maps\.sock: nothing listens there"):
        attach(SPEC, postfix.config_dir)
    assert contents(postfix) == before


def test_without_the_policy_service_mail_is_put_off_and_what_was_refused_stays_refused(
    postfix: PrivatePostfix, roles: Starter
) -> None:
    role = roles(postfix.queue_dir)
    attach(SPEC, postfix.config_dir)
    role.stop("policy.sock")
    code, text = send(postfix, recipient="user@mx.gp.example")
    assert (code, text[:5]) == (450, b"4.3.5")
    code, text = send(postfix, recipient="nobody@mx.gp.example")
    assert (code, text[:5]) == (554, b"5.7.1")


def test_without_the_milter_mail_is_put_off(postfix: PrivatePostfix, roles: Starter) -> None:
    role = roles(postfix.queue_dir)
    attach(SPEC, postfix.config_dir)
    role.stop("milter.sock")
    with smtplib.SMTP(postfix.address, 25, timeout=30) as client:
        client.ehlo()
        code, text = client.mail("a@b.example")
    assert (code, text[:5]) == (451, b"4.7.1")


def test_if_postfix_check_fails_the_old_files_come_back(
    postfix: PrivatePostfix, roles: Starter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    roles(postfix.queue_dir)
    program = tmp_path / "postfix"
    program.write_text(
        "#!/bin/sh\n"
        'case "$*" in *check) grep -q gatepost_milter "$2/main.cf" && '
        '{ echo "fatal: I do not like it" >&2; exit 1; } ;; esac\n'
        'exec /usr/sbin/postfix "$@"\n'
    )
    program.chmod(0o755)
    monkeypatch.setattr(commands, "_SEARCH", f"{tmp_path}:/usr/sbin:/usr/bin:/bin")
    before = contents(postfix)
    with pytest.raises(AttachError, match=r"I do not like it; .* are again as they were before"):
        attach(SPEC, postfix.config_dir)
    assert contents(postfix) == before
    assert not any("reload" in line for line in postfix.log_lines())
    assert send(postfix, recipient="user@mx.gp.example")[0] == 250


def test_what_postfix_check_says_is_passed_on(postfix: PrivatePostfix, roles: Starter) -> None:
    roles(postfix.queue_dir)
    odd = postfix.config_dir / "odd"
    odd.touch()
    odd.chmod(0o666)
    try:
        outcome = attach(SPEC, postfix.config_dir)
    finally:
        odd.unlink()
    assert outcome.applied is not None
    assert "group or other writable" in outcome.applied.warnings


def test_two_runs_at_once_do_not_mix(postfix: PrivatePostfix, roles: Starter) -> None:
    roles(postfix.queue_dir)
    script = (
        "import sys; from pathlib import Path; from tests.postfix.test_attach_e2e import SPEC;"
        "from gatepost.postfix.attach import attach;"
        "from gatepost.errors import AttachError\n"
        "try: attach(SPEC, Path(sys.argv[1]))\n"
        "except AttachError as error: print(error)\n"
    )
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", script, postfix.config_dir],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).resolve().parents[2],
        )
        for _ in range(3)
    ]
    said = [run.communicate()[0] for run in runs]
    assert {run.returncode for run in runs} == {0}
    assert "" in said
    assert all(not text or "another gatepost attach or detach is at work" in text for text in said)
    assert not attach(SPEC, postfix.config_dir).needed


def test_postconf_at_the_same_moment_loses_nothing(postfix: PrivatePostfix, roles: Starter) -> None:
    roles(postfix.queue_dir)
    editor = subprocess.Popen(
        [
            "sh",
            "-c",
            'i=0; while [ $i -lt 60 ]; do postconf -c "$0" -e "own_$i = $i"; i=$((i+1)); done',
            str(postfix.config_dir),
        ]
    )
    attempts = 0
    while editor.poll() is None and attempts < 200:
        attempts += 1
        try:
            attach(SPEC, postfix.config_dir, Options(reload=False))
            detach(postfix.config_dir, Options(reload=False))
        except AttachError as error:
            assert "changed by somebody else" in str(error) or "locked" in str(error)  # noqa: PT017
    assert editor.wait() == 0
    detach(postfix.config_dir)
    lines = (postfix.config_dir / "main.cf").read_text().splitlines()
    assert [line for line in lines if line.startswith("own_")] == [
        f"own_{i} = {i}" for i in range(60)
    ]
    kept = [line for line in lines if not line.startswith("own_")]
    (postfix.config_dir / "main.cf").write_text("".join(f"{line}\n" for line in kept))


def test_an_instance_is_attached_alone(
    postfix: PrivatePostfix, roles: Starter, directory: Path
) -> None:
    with PrivatePostfix(directory / "q", address=OTHER, hostname="out.gp.example") as second:
        others = contents(postfix)
        roles(second.queue_dir)
        outcome = attach(SPEC, second.config_dir)
        assert outcome.facts.queue_directory == second.queue_dir
        second.wait_log("master.*: reload")
        assert contents(postfix) == others
        assert not any("reload" in line for line in postfix.log_lines())
        detach(second.config_dir)


# What becomes of mail whose requirement cannot be met


@pytest.fixture(scope="module")
def plain(directory: Path) -> Iterator[PrivatePostfix]:
    """Run a server without STARTTLS."""
    with PrivatePostfix(directory / "s", address=SERVER, hostname="plain.example") as server:
        yield server


@pytest.fixture(scope="module")
def self_signed(directory: Path) -> Iterator[PrivatePostfix]:
    """Run a server whose certificate nobody vouches for."""
    certificate = Authority(directory / "ca").issue_self_signed("tls.example")
    with PrivatePostfix(
        directory / "t", address="198.18.7.28", hostname="tls.example", certificate=certificate
    ) as server:
        yield server


def outcome_at(
    postfix: PrivatePostfix, role: Roles, server: PrivatePostfix, service: str, policy: str
) -> str:
    """Return the log line for a message that a service delivers to a server under a policy."""

    def answer(name: str, _: str) -> str:
        return f"OK {service}:[{server.address}]:25" if name == "transport" else policy

    role.answer = answer
    send(postfix, recipient="user@remote.example")
    return postfix.wait_log(rf"{service}/smtp.*to=<user@remote\.example>.*status=").string


@pytest.fixture
def role(postfix: PrivatePostfix, roles: Starter) -> Roles:
    """Attach, with stand-ins for the roles."""
    started = roles(postfix.queue_dir)
    attach(SPEC, postfix.config_dir)
    postfix.wait_log("master.*: reload")
    return started


def test_no_starttls_bounces_where_the_profile_says_so(
    postfix: PrivatePostfix, role: Roles, plain: PrivatePostfix
) -> None:
    line = outcome_at(postfix, role, plain, "gp-bulk-private", "OK encrypt")
    assert "dsn=5.7.4, status=bounced (TLS is required, but was not offered by host" in line


def test_no_starttls_waits_where_the_profile_says_so(
    postfix: PrivatePostfix, role: Roles, plain: PrivatePostfix
) -> None:
    line = outcome_at(postfix, role, plain, "gp-normal-bank", "OK encrypt")
    assert "dsn=4.7.4, status=deferred (TLS is required, but was not offered by host" in line


def test_a_certificate_that_cannot_be_verified_bounces_where_the_profile_says_so(
    postfix: PrivatePostfix, role: Roles, self_signed: PrivatePostfix
) -> None:
    line = outcome_at(postfix, role, self_signed, "gp-bulk-private", "OK secure match=tls.example")
    assert "dsn=5.7.5, status=bounced (Server certificate not verified)" in line


def test_encryption_without_verification_is_delivered(
    postfix: PrivatePostfix, role: Roles, self_signed: PrivatePostfix
) -> None:
    line = outcome_at(postfix, role, self_signed, "gp-bulk-private", "OK encrypt")
    # The server refuses to relay, which it says in answer to RCPT TO: the session was encrypted.
    assert "said: 454 4.7.1" in line or "said: 554 5.7.1" in line
    postfix.wait_log("TLS connection established to")


@pytest.mark.parametrize("trouble", ["TEMP the database is down", "PERM no such map", "gone"])
def test_an_outage_of_ours_never_bounces(
    trouble: str, postfix: PrivatePostfix, role: Roles, plain: PrivatePostfix
) -> None:
    if trouble == "gone":

        def answer(name: str, _: str) -> str:
            if name == "transport":
                return f"OK gp-bulk-private:[{plain.address}]:25"
            raise OSError

        role.answer = answer
        send(postfix, recipient="user@remote.example")
        line = postfix.wait_log(r"gp-bulk-private/smtp.*to=<user@.*status=").string
    else:
        line = outcome_at(postfix, role, plain, "gp-bulk-private", trouble)
    assert "dsn=4.7.5, status=deferred" in line
    assert "TLS configuration problem" in line


def test_a_policy_that_postfix_cannot_read_never_bounces(
    postfix: PrivatePostfix, role: Roles, plain: PrivatePostfix
) -> None:
    line = outcome_at(postfix, role, plain, "gp-bulk-private", "OK encrypt nonsense=1")
    assert "status=deferred" in line


def test_where_the_map_has_no_opinion_the_level_of_the_profile_holds(
    postfix: PrivatePostfix, role: Roles, plain: PrivatePostfix
) -> None:
    line = outcome_at(postfix, role, plain, "gp-bulk-private", "NOTFOUND ")
    assert "TLS is required, but was not offered" in line


def test_mail_waits_while_the_transport_map_does_not_answer(
    postfix: PrivatePostfix, role: Roles
) -> None:
    role.stop("maps.sock")
    code, _ = send(postfix)
    assert 400 <= code < 500 or postfix.wait_log("status=deferred|transport_maps lookup failure")


def test_the_environment_of_the_caller_does_not_choose_the_instance(
    postfix: PrivatePostfix, roles: Starter, monkeypatch: pytest.MonkeyPatch
) -> None:
    roles(postfix.queue_dir)
    monkeypatch.setenv("MAIL_CONFIG", "/nonexistent")
    attach(SPEC, postfix.config_dir)
    assert os.environ["MAIL_CONFIG"] == "/nonexistent"
