"""Doctor on a Postfix that runs: all in order, sockets out of reach, a probe through it all."""

from __future__ import annotations

import base64
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gatepost.postfix.attach import Options, attach
from gatepost.postfix.doctor import attachment, probe, sockets
from gatepost.postfix.doctor.findings import Finding, Severity
from gatepost.postfix.doctor.run import CHECKS, examine
from gatepost.postfix.doctor.scene import Scene, look
from gatepost.postfix.planning import bare
from gatepost.postfix.services import attach_spec
from gatepost.snapshot import Snapshot
from lab.postfix import PrivatePostfix
from lab.postfix_files import SUBMISSION_OPTIONS
from lab.process import Daemon, wait_until
from tests.world import ENFORCE, OBSERVE, snapshot, tenant

if TYPE_CHECKING:
    from tests.postfix.conftest import Roles

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(90)]

Starter = Callable[[Path], "Roles"]

ACME = tenant("acme", senders=("acme.example",), logins=("acme",), profile="private")
CONFIG = snapshot(ACME, modes=OBSERVE)
# The lab of these tests has no resolver, and the host's loggers are not theirs.
OURS = tuple(check for check in CHECKS if check[0] not in {"resolver", "logs"})
NOWHERE = "user@[198.18.7.99]"


@pytest.fixture(scope="module")
def postfix() -> Iterator[PrivatePostfix]:
    """Run a Postfix that is attached, with nobody behind the sockets."""
    with tempfile.TemporaryDirectory(dir=os.environ["GATEPOST_LAB_DIR"]) as name:
        Path(name).chmod(0o755)
        made = PrivatePostfix(
            Path(name) / "p",
            address="198.18.7.35",
            hostname="mx.gp.example",
            users={"acme": "secret"},
            main={"local_recipient_maps": "", "smtp_tls_security_level": "may"},
            submission=[*SUBMISSION_OPTIONS, "smtpd_tls_security_level=none"],
        )
        with made:
            attach(attach_spec(CONFIG), made.config_dir, Options(even_if_not_running=True))
            made.reload()
            yield made


@pytest.fixture
def role(postfix: PrivatePostfix, roles: Starter) -> Iterator[Roles]:
    """Put stand-ins for the roles behind the sockets."""
    yield roles(postfix.queue_dir)
    subprocess.run(["postsuper", "-c", postfix.config_dir, "-d", "ALL"], check=True)
    postfix.clear_log()


def scene_of(postfix: PrivatePostfix, config: Snapshot = CONFIG) -> Scene:
    return look(postfix.config_dir, config)


def problems(found: Iterator[Finding]) -> list[str]:
    return [each.what for each in found if each.severity is Severity.PROBLEM]


@pytest.mark.usefixtures("role")
def test_an_attached_postfix_in_order_has_no_problem(postfix: PrivatePostfix) -> None:
    sides = list(examine(scene_of(postfix), checks=OURS))
    assert [side.name for side in sides] == [name for name, _ in OURS]
    found = [f for side in sides for f in side.findings if f.severity is Severity.PROBLEM]
    assert found == []


def test_a_postfix_that_is_not_attached(postfix: PrivatePostfix) -> None:
    scene = scene_of(postfix)
    (what,) = problems(attachment.check(replace(scene, files=bare(scene.files).texts)))
    assert what.startswith("Postfix does not ask Gatepost")


@pytest.mark.usefixtures("role")
def test_a_service_that_was_not_attached_yet(postfix: PrivatePostfix) -> None:
    more = snapshot(
        *CONFIG.tenants.by_id.values(), tenant("b", senders=("b.example",), lane="bulk")
    )
    (what,) = problems(attachment.check(scene_of(postfix, more)))
    assert what.startswith(
        "master.cf has no service gp-bulk-standard (lane bulk, profile standard)"
    )


@pytest.mark.usefixtures("role")
def test_lines_that_differ_from_what_attach_would_write(postfix: PrivatePostfix) -> None:
    main = postfix.config_dir / "main.cf"
    text = main.read_text()
    main.write_text(text.replace("default_action=tempfail", "default_action=accept"))
    try:
        found = list(attachment.check(scene_of(postfix)))
    finally:
        main.write_text(text)
    (finding,) = found
    assert "main.cf differ from what the configuration asks for: -gatepost_milter" in finding.what


@pytest.mark.usefixtures("role")
def test_a_lost_bounce_table(postfix: PrivatePostfix) -> None:
    table = postfix.config_dir / "gatepost-tls-bounce.regexp"
    text = table.read_text()
    table.unlink()
    (what,) = problems(attachment.check(scene_of(postfix)))
    assert "bounce table beside main.cf is missing" in what
    table.write_text(text)


def test_a_role_that_does_not_answer(postfix: PrivatePostfix, role: Roles) -> None:
    role.stop("maps.sock")
    (what,) = problems(sockets.check(scene_of(postfix)))
    assert what.endswith("maps.sock: nothing listens there.")


def test_sockets_that_root_can_reach_and_postfix_cannot(
    postfix: PrivatePostfix, role: Roles
) -> None:
    role.directory.chmod(0o700)
    found = problems(sockets.check(scene_of(postfix)))
    assert len(found) == 4
    assert all("postfix, as whom Postfix's daemons run, may not connect to" in f for f in found)
    role.directory.chmod(0o755)
    (role.directory / "milter.sock").chmod(0o600)
    (what,) = problems(sockets.check(scene_of(postfix)))
    assert what.endswith("milter.sock.")


def test_a_directory_that_everybody_can_write(postfix: PrivatePostfix, role: Roles) -> None:
    role.directory.chmod(0o777)
    (what,) = problems(sockets.check(scene_of(postfix)))
    assert "can be written by everybody" in what


# The probe


@pytest.mark.usefixtures("role")
def test_a_probe_is_read_as_it_leaves(postfix: PrivatePostfix) -> None:
    scene = scene_of(postfix)
    message = probe.message_that_leaves(scene, probe.Probe(NOWHERE, "news@acme.example"))
    header, _, body = message.partition(b"\n\n")
    assert b"\nReceived: from mx.gp.example" in b"\n" + header
    assert b"\nFrom: news@acme.example\n" in header
    assert b"\nX-Tenant-ID: doctor-forged-tag\n" in header
    assert body.startswith(b'This message was sent by "gatepost doctor --probe"')


@pytest.mark.usefixtures("role")
def test_a_probe_that_is_delivered_at_once_is_read_all_the_same(postfix: PrivatePostfix) -> None:
    for _ in range(10):
        message = probe.message_that_leaves(scene_of(postfix), probe.Probe("root@mx.gp.example"))
        assert b"Gatepost doctor: probe" in message


@pytest.mark.usefixtures("role")
def test_a_probe_that_logs_in_carries_no_forged_tag(postfix: PrivatePostfix) -> None:
    sent = probe.Probe(NOWHERE, "news@acme.example", f"{postfix.address}:587", "acme", "secret")
    assert b"doctor-forged-tag" not in probe.message_that_leaves(scene_of(postfix), sent)


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (probe.Probe(NOWHERE, server="198.18.7.35:1"), "Connection refused"),
        (probe.Probe(NOWHERE, "@"), "said 501"),
        (probe.Probe(NOWHERE, "a@b.example", "198.18.7.35:587", "acme", "wrong"), "authentication"),
    ],
)
@pytest.mark.usefixtures("role")
def test_a_probe_that_fails_says_why(
    sent: probe.Probe, reason: str, postfix: PrivatePostfix
) -> None:
    (what,) = problems(probe.check(scene_of(postfix), sent))
    assert what.startswith("The probe failed: ")
    assert reason in what


@pytest.mark.usefixtures("role")
def test_a_forged_tag_that_stays_shows_that_the_milter_is_passed_by(
    postfix: PrivatePostfix,
) -> None:
    # The stand-in for the milter removes nothing.
    enforcing = replace(CONFIG, modes=ENFORCE)
    found = problems(probe.check(scene_of(postfix, enforcing), probe.Probe(NOWHERE)))
    assert "The probe left with a forged X-Tenant-ID header." in found


@pytest.fixture
def signer(postfix: PrivatePostfix, request: pytest.FixtureRequest) -> Iterator[Path]:
    """Run OpenDKIM behind the place of our milter; the parameter is its SignHeaders."""
    directory = postfix.directory / "dkim"
    directory.mkdir()
    subprocess.run(
        ["openssl", "genrsa", "-out", directory / "key.pem", "2048"],
        check=True,
        capture_output=True,
    )
    lines = {
        "Syslog": "no",
        "Domain": "acme.example",
        "Selector": "s1",
        "KeyFile": directory / "key.pem",
        "Socket": f"inet:8891@{postfix.address}",
        "InternalHosts": "198.18.0.0/15",
        "Canonicalization": "relaxed/simple",
        "Mode": "s",
        "UserID": "root",
        "PidFile": directory / "pid",
    }
    if request.param:
        lines["SignHeaders"] = request.param
    text = "".join(f"{name} {value}\n" for name, value in lines.items())
    (directory / "opendkim.conf").write_text(text)
    daemon = Daemon(
        ["opendkim", "-f", "-x", directory / "opendkim.conf"], directory / "opendkim.log"
    )
    daemon.wait_until((directory / "pid").exists, 10, "OpenDKIM")
    before = (postfix.config_dir / "main.cf").read_bytes()
    postfix.configure({"smtpd_milters": f"$gatepost_milter, inet:{postfix.address}:8891"})
    postfix.reload()
    yield directory
    (postfix.config_dir / "main.cf").write_bytes(before)
    daemon.stop()
    wait_until(lambda: not daemon.running, 5, "OpenDKIM to end")
    subprocess.run(["rm", "-r", directory], check=True)


def published(directory: Path) -> Callable[..., bytes]:
    """Return a look-up of TXT records that knows the signer's key."""
    der = subprocess.run(
        ["openssl", "rsa", "-in", directory / "key.pem", "-pubout", "-outform", "DER"],
        check=True,
        capture_output=True,
    ).stdout

    return lambda _name, timeout=5: b"v=DKIM1; p=" + base64.b64encode(der)  # noqa: ARG005


@pytest.mark.parametrize(
    ("signer", "uncovered"),
    [
        ("", "No valid DKIM signature covers Feedback-ID, List-Unsubscribe-Post."),
        ("*,+Feedback-ID,+List-Unsubscribe-Post", None),
    ],
    indirect=["signer"],
)
def test_what_a_signer_behind_us_covers(
    uncovered: str | None, signer: Path, postfix: PrivatePostfix, role: Roles
) -> None:
    assert role
    sent = probe.Probe(NOWHERE, "news@acme.example")
    found = problems(probe.check(scene_of(postfix), sent, published(signer)))
    assert found == ([] if uncovered is None else [uncovered])
