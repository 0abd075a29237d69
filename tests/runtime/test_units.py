"""The systemd units: systemd understands them, and their sandbox leaves nothing open by mistake."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
UNITS = sorted((ROOT / "postfix-conf" / "systemd").glob("*.service"))

# What stays open, and why: UNIX sockets and loopback are what we serve on; the host's users and
# root directory are Postfix's; the group has to read what Gatepost writes; Postfix's setgid_group
# may ask what is in its queue.
OPEN = {
    "RootDirectory=/RootImage=",
    "PrivateMounts=",
    "RestrictAddressFamilies=~AF_UNIX",
    "RestrictAddressFamilies=~AF_(INET|INET6)",
    "PrivateNetwork=",
    "PrivateUsers=",
    "DeviceAllow=",
    "IPAddressDeny=",
    "UMask=",
    "SupplementaryGroups=",
}

# What postsuper(1), which works for root only and becomes Postfix's user, needs besides; and the
# store, which is another user's.
OPEN_TO_ROOT = OPEN | {
    "User=/DynamicUser=",
    "ProtectProc=",
    "SystemCallFilter=~@privileged",
    "CapabilityBoundingSet=~CAP_SET(UID|GID|PCAP)",
    "CapabilityBoundingSet=~CAP_(CHOWN|FSETID|SETFCAP)",
    "CapabilityBoundingSet=~CAP_(DAC_*|FOWNER|IPC_OWNER)",
}

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)


def analyze(tmp_path: Path, unit: Path, *arguments: str) -> str:
    # An instance, as a template itself cannot be looked at.
    path = tmp_path / unit.name.replace("@.", "@policy.")
    path.write_text(unit.read_text().replace("/opt/gatepost/bin/gatepost", "/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", *arguments, str(path)], capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr


@needs_systemd
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_understands_every_line(unit: Path, tmp_path: Path) -> None:
    printed = analyze(tmp_path, unit, "verify")
    assert [line for line in printed.splitlines() if "gatepost" in line] == []


@needs_systemd
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_nothing_is_open_that_need_not_be(unit: Path, tmp_path: Path) -> None:
    printed = analyze(tmp_path, unit, "security", "--offline=yes", "--no-pager")
    if "exposure level" not in printed:
        pytest.skip("this systemd cannot judge a unit that is not installed")
    assert set(re.findall(r"✗ (\S+)", printed)) <= (
        OPEN_TO_ROOT if "\nUser=root\n" in unit.read_text() else OPEN
    )


def test_both_units_have_the_same_sandbox() -> None:
    one, other = (
        re.findall(r"^(?:Protect|Restrict|System|IP).*", u.read_text(), re.MULTILINE)
        for u in UNITS
        if "\nUser=gatepost\n" in u.read_text()
    )
    assert one == other
    assert len(one) > 15


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_every_group_of_lines_says_why(unit: Path) -> None:
    text = unit.read_text()
    assert text.startswith("#")
    for block in text.split("\n\n"):
        assert "#" in block or block.startswith("[Install]")
