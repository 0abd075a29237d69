"""The private Postfix: a reload that is over when it says so."""

from __future__ import annotations

import os
import signal
import smtplib
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.postfix import PrivatePostfix
from lab.process import LabError, wait_until
from lab.world import World

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def postfix(world: World) -> Iterator[PrivatePostfix]:
    with world.postfix() as running:
        yield running


def greeting(postfix: PrivatePostfix) -> str:
    with smtplib.SMTP() as client:
        return client.connect(postfix.address, 25)[1].decode()


def name(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text(encoding="ascii").strip()


def lives(pid: int) -> bool:
    """Tell whether a process has not ended, also if master(8) has not noticed."""
    return Path(f"/proc/{pid}/exe").exists()


def awake_after_reload(postfix: PrivatePostfix, pids: list[int]) -> None:
    """Let stopped processes go on, but only some time after master(8) has reloaded."""
    postfix.wait_log(": reload -- ")
    # Long enough for a reload that does not wait to have returned.
    threading.Event().wait(0.3)
    for pid in pids:
        os.kill(pid, signal.SIGCONT)


def test_after_a_reload_no_process_works_by_the_old_files(postfix: PrivatePostfix) -> None:
    greeting(postfix)
    old = postfix._daemons()
    assert old
    for number in range(5):
        postfix.configure({"smtpd_banner": f"$myhostname ESMTP number {number}"})
        postfix.reload()
        assert greeting(postfix).endswith(f"number {number}")
    # A busy machine takes longer than a reload waits, and master(8) a moment to notice.
    wait_until(lambda: not set(old) & set(postfix._daemons()), 20, "the old ones to end")


def test_a_reload_waits_for_those_who_have_not_noticed_it(
    postfix: PrivatePostfix, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A second is short where other tests run at the same time.
    monkeypatch.setattr("lab.postfix._BUSY_S", 20.0)
    # Without the last test's smtpd(8), which may still be saying goodbye.
    postfix.reload()
    greeting(postfix)
    idle = [pid for pid in postfix._daemons() if name(pid) == "smtpd" and lives(pid)]
    assert idle
    for pid in idle:
        os.kill(pid, signal.SIGSTOP)
    postfix.clear_log()
    seen = threading.Thread(target=awake_after_reload, args=(postfix, idle))
    seen.start()
    postfix.reload()
    # It has ended; master(8), whose child it is, may take a moment to notice.
    assert not any(map(lives, idle))
    seen.join()


def test_a_client_that_stays_does_not_hold_up_a_reload_and_is_served_on(
    postfix: PrivatePostfix,
) -> None:
    with smtplib.SMTP(postfix.address, 25, timeout=30) as client:
        postfix.reload()
        assert client.noop()[0] == 250


def test_a_reload_of_what_does_not_run_is_an_error(world: World) -> None:
    with world.postfix(address="198.18.2.9") as stopped:
        stopped.stop()
        assert stopped._daemons() == []
        with pytest.raises(LabError, match="reload failed with status 1"):
            stopped.reload()
