"""Doctor on the source addresses of lanes."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from gatepost.postfix.doctor.addresses import check
from gatepost.traffic.lanes import Lane, Source
from tests.world import LANES, snapshot, tenant

if TYPE_CHECKING:
    from tests.postfix.doctor.conftest import MakeScene

SOURCES = (Source("192.0.2.10", "2001:db8::10"), Source("192.0.2.11", "2001:db8::10"))
CONFIG = snapshot(
    tenant("acme", senders=("acme.example",), lane="bulk"),
    lanes={**LANES, "bulk": Lane("bulk", sources=SOURCES)},
)


def test_each_address_that_is_not_there_is_told_once(scene: MakeScene) -> None:
    made = scene(config=CONFIG)
    assert list(check(made, lambda _address: True)) == []
    found = list(check(made, lambda address: address == "192.0.2.11"))
    assert [each.what for each in found] == [
        "Lane bulk sends from 192.0.2.10, which this host does not have.",
        "Lane bulk sends from 2001:db8::10, which this host does not have.",
    ]
    assert found[0].mend[0] == "ip address add 192.0.2.10/32 dev INTERFACE"
    assert found[1].mend[0] == "ip address add 2001:db8::10/128 dev INTERFACE"
    assert "from another address" in found[0].why
    enforced = scene(config=CONFIG, smtp_bind_address_enforce="yes")
    assert "waits" in next(check(enforced, lambda _address: False)).why


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("address", "expected"), [("127.0.0.1", True), ("192.0.2.1", False), ("2001:db8::1", False)]
)
def test_whether_an_address_is_here(address: str, expected: bool) -> None:  # noqa: FBT001
    # In a network of its own: the lab's kernel lets everybody send from any IPv6 address.
    code = f"from gatepost.postfix.doctor.addresses import is_here; print(is_here({address!r}))"
    command = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
    done = subprocess.run(
        [*command, sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == str(expected)
