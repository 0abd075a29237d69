"""Doctor on recipients that are to be taken out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from gatepost.modes import Mode
from gatepost.postfix.doctor import recipients
from gatepost.postfix.doctor.findings import Severity
from gatepost.postfix.doctor.scene import Scene
from gatepost.tenants.model import PlatformLogin
from tests.world import OFF, snapshot, tenant

MakeScene = Callable[..., Scene]

MAILER = PlatformLogin("mailer", None)


@pytest.mark.parametrize(
    ("kept", "mode", "logins", "found"),
    [
        ("no", Mode.ENFORCE, [MAILER], [Severity.WARNING]),
        ("yes", Mode.ENFORCE, [MAILER], []),
        ("no", Mode.OBSERVE, [MAILER], []),
        # Without a platform login, nobody's recipients are taken out.
        ("no", Mode.ENFORCE, [], []),
    ],
)
def test_the_name_that_a_client_gave_must_be_kept(
    scene: MakeScene, kept: str, mode: Mode, logins: list[PlatformLogin], found: list[Severity]
) -> None:
    acme = tenant("acme", replace(OFF, suppression=mode), senders=("acme.example",))
    config = snapshot(acme, logins=logins)
    findings = recipients.check(scene(config=config, enable_original_recipient=kept))
    assert [finding.severity for finding in findings] == found
