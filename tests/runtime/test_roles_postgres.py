"""The roles with their state on a server: it is used, it goes away, it comes back; mail goes on."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator

import pytest

from gatepost.feedback.events import EventKind
from gatepost.feedback.rules import SuppressionRules
from gatepost.feedback.status import Pause, Scope
from gatepost.feedback.suppression import Reason, Suppressed
from gatepost.postfix.spec import POLICY_SOCKET
from gatepost.store.open import open_events, open_statuses, open_suppression
from gatepost.store.postgres_schema import MIGRATIONS, Step, migrate
from gatepost.store.postgres_server import connect
from lab.postgres import PrivatePostgres, programs
from lab.process import wait_until
from tests.runtime.place import Site
from tests.runtime.test_roles import ask, connected, message

pytestmark = pytest.mark.timeout(120)

RULES = SuppressionRules()
CLEAR = b"action=DUNNO\n\n"


@pytest.fixture(scope="module")
def server() -> Iterator[PrivatePostgres]:
    if programs() is None:
        pytest.skip("PostgreSQL is not installed")
    with contextlib.closing(PrivatePostgres()) as made:
        yield made


@pytest.fixture
def node(site: Site, server: PrivatePostgres) -> Site:
    """Return a node whose state is on the server, all of it in force."""
    if not server.running:
        server.start()
    server.sql(
        "drop database if exists gatepost with (force); create database gatepost owner gatepost"
    )
    site.configure(
        state=server.url,
        local_state=f"sqlite:///{site.database}",
        modes={"default": "enforce"},
    )
    return site


def asked(node: Site, recipient: str) -> bytes:
    request = (
        "request=smtpd_access_policy\nprotocol_state=RCPT\nclient_address=192.0.2.1\n"
        f"sasl_username=acme\nsender=news@acme.example\nrecipient={recipient}\n\n"
    )
    with node.connect(POLICY_SOCKET) as policy:
        return ask(policy, request.encode())


def suppress(node: Site, server: PrivatePostgres, address: str) -> None:
    local = f"sqlite:///{node.database}"
    with contextlib.closing(open_suppression(server.url, local=local)) as store:
        store.add([Suppressed("acme", address, Reason.COMPLAINT, time.time())], RULES)


def test_state_on_a_server_is_used_and_mail_goes_on_without_it(
    node: Site, server: PrivatePostgres
) -> None:
    running = [node.start("milter"), node.start("policy")]
    process = running[1]
    assert asked(node, "ann@example.org") == CLEAR
    suppress(node, server, "ann@example.org")
    wait_until(lambda: asked(node, "ann@example.org") != CLEAR, 5, "a suppressed recipient")
    with contextlib.closing(open_statuses(server.url)) as statuses:
        statuses.pause("acme", Pause(Scope.ALL, "check", time.time(), None, "root"))
        wait_until(lambda: b"paused" in asked(node, "bob@example.org"), 5, "the pause")
        statuses.resume("acme", time.time(), "root", "")
    wait_until(lambda: asked(node, "bob@example.org") == CLEAR, 5, "the resume")
    # Another node is upgraded, and with it the tables: this one goes on, and may even start anew.
    more = Step("more", ("alter table events add column more text not null default ''",))
    with contextlib.closing(connect(server.url)) as db:
        migrate(db, steps=(*MIGRATIONS, more))
    suppress(node, server, "carl@example.org")
    wait_until(lambda: asked(node, "carl@example.org") != CLEAR, 5, "an address of the other node")
    with connected(node) as milter:
        assert message(milter)[-1] == "continue"
    # Killed: what is suppressed is not known, and goes out as on_failure: pass has it.
    server.stop(signal.SIGKILL)
    assert asked(node, "ann@example.org") == CLEAR
    assert asked(node, "bob@example.org") == CLEAR
    assert 'suppression-unavailable reason="postgresql://gatepost@/gatepost: ' in process.text()
    with connected(node) as milter:
        assert message(milter)[-1] == "continue"
    server.start()
    wait_until(lambda: asked(node, "ann@example.org") != CLEAR, 10, "the list again")

    # What the milter had to tell meanwhile waited for the server.
    def accepted() -> bool:
        with contextlib.closing(open_events(server.url)) as events:
            return bool(events.after(0, 9, "acme", {EventKind.ACCEPTED}))

    wait_until(accepted, 20, "the message of the time without the server")
    # A start without the server: tenants of the API are those of the copy that a start before made.
    for each in running:
        assert each.stop() == 0
    server.stop()
    node.start("policy")
    assert "postgresql://gatepost@/gatepost: " in node.status("policy")["suppression"]["problem"]
    assert asked(node, "ann@example.org") == CLEAR
    node.start("milter", "back")
    with connected(node) as milter:
        assert message(milter)[-1] == "continue"
    server.start()
    wait_until(lambda: asked(node, "ann@example.org") != CLEAR, 10, "the list")
    # A thread that uses the server has one connection, however many stores.
    count = "select count(*) from pg_stat_activity where usename = 'gatepost'"
    wait_until(lambda: int(server.sql(count)) >= 8, 20, "the threads of all three")
    assert int(server.sql(count)) < 25
