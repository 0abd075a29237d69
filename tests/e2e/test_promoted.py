"""Promoted rules from the file to the mail, and from the log back to the file.

The survey's own tests show what it finds; here its findings are written into the store.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import sqlite3
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

from gatepost.store.open import open_survey
from gatepost.tls.dns_answer import Outcome
from gatepost.tls.survey.knowledge import MxOf, MxOutcome, ResolvedDomain, ResolvedHost
from gatepost.tls.survey.model import Probed, Target, Verdict
from lab.gatepost import Gatepost
from lab.postfix import PrivatePostfix
from lab.process import wait_until
from lab.send import Mail
from lab.world import World

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

DAY = 86_400.0
CONFIGURATION: dict[str, Any] = {
    "modes": {"default": "enforce"},
    "tls": {"promoted": "promoted.yaml"},
    "tenants": {"acme": {"logins": ["acme"], "senders": ["acme.example"]}},
}


@pytest.fixture(scope="module")
def postfix(world: World) -> Iterator[PrivatePostfix]:
    main = {"minimal_backoff_time": "1s", "maximal_backoff_time": "1s", "queue_run_delay": "1s"}
    with world.postfix(main=main) as running:
        yield running


@pytest.fixture(scope="module")
def gatepost(world: World, postfix: PrivatePostfix) -> Iterator[Gatepost]:
    wait_until(postfix.maillog.exists, 10, "Postfix's log")
    postfix.maillog.chmod(0o644)
    configuration = {**CONFIGURATION, "maillog": str(postfix.maillog)}
    made = world.gatepost(postfix, configuration)
    write(made, {})
    with made:
        made.attach()
        made.reload()
        yield made


def write(gatepost: Gatepost, rules: dict[str, Any]) -> None:
    path = gatepost.directory / "promoted.yaml"
    path.write_text(yaml.safe_dump({"promoted": rules}))


def rule(days: int, **fields: str) -> dict[str, str]:
    today = dt.datetime.now(dt.UTC).date()
    since = today - dt.timedelta(days=30)
    expires = today + dt.timedelta(days=days)
    return {"level": "encrypt", "since": str(since), "expires": str(expires), **fields}


def recorded(gatepost: Gatepost, recipient: str, tls: str) -> Callable[[], bool]:
    def seen() -> bool:
        path = gatepost.directory / "state" / "gatepost.db"
        with contextlib.closing(sqlite3.connect(path)) as db:
            query = "select 1 from deliveries where recipient = ? and tls = ?"
            return db.execute(query, [recipient, tls]).fetchone() is not None

    return seen


def test_a_rule_holds_up_mail_until_it_ends(
    gatepost: Gatepost, postfix: PrivatePostfix, deliver: Callable[[Mail], Any]
) -> None:
    write(gatepost, {"plain.example": rule(5), "good.example": rule(5)})
    gatepost.reload()
    assert deliver(Mail("n@acme.example", "u@good.example", "a", login="acme")).status == "sent"
    held = deliver(Mail("n@acme.example", "u@plain.example", "b", login="acme"))
    assert held.status == "deferred"
    assert "TLS is required" in held.text
    explained = gatepost.command("tls", "answer", "plain.example")
    assert "tls.promoted plain.example" in explained
    # The file says that it ended yesterday; the mail that waited goes out.
    write(gatepost, {"plain.example": rule(-1)})
    gatepost.reload()
    postfix.flush_until(rf"{held.queue_id}: to=<.* status=sent")


def test_a_drop_goes_from_the_log_into_the_file_and_sets_the_mail_free(
    gatepost: Gatepost, postfix: PrivatePostfix, deliver: Callable[[Mail], Any]
) -> None:
    write(gatepost, {"refusestls.example": rule(5, downgrade="alert")})
    gatepost.reload()
    held = deliver(Mail("n@acme.example", "drop@refusestls.example", "c", login="acme"))
    assert held.status == "deferred"
    wait_until(recorded(gatepost, "drop@refusestls.example", "refused"), 20, "the delivery")
    state = f"sqlite:///{gatepost.directory}/state/gatepost.db"
    with contextlib.closing(open_survey(state)):
        pass
    dry = gatepost.command("tls", "promote", status=1)
    assert "refusestls.example: encrypt until" in dry
    assert "downgrade: alert: deliveries without the TLS that is asked for" in dry
    [told] = [side for side in gatepost.json("doctor")["sides"] if side["name"] == "promoted rules"]
    assert told["findings"][0]["what"].startswith("refusestls.example no longer offers what its")
    gatepost.command("tls", "promote", "--apply", status=1)
    gatepost.reload()
    postfix.flush_until(rf"{held.queue_id}: to=<.* status=sent")


def test_what_log_and_survey_have_seen_becomes_a_rule_in_force(
    gatepost: Gatepost, deliver: Callable[[Mail], Any]
) -> None:
    write(gatepost, {})
    gatepost.reload()
    sent = deliver(Mail("n@acme.example", "up@selfsigned.example", "d", login="acme"))
    assert sent.status == "sent"
    wait_until(recorded(gatepost, "up@selfsigned.example", "encrypted"), 20, "the delivery")
    now = time.time()
    state = f"sqlite:///{gatepost.directory}/state/gatepost.db"
    target = Target("198.18.1.3", "mx.selfsigned.example")
    with contextlib.closing(open_survey(state)) as survey:
        survey.resolved(
            [ResolvedDomain("selfsigned.example", now, MxOutcome.FOUND, (MxOf(target.host, 10),))],
            [ResolvedHost(target.host, now, Outcome.FOUND, (target.address,))],
        )
        for days in (9, 6, 3, 0.01):
            at = now - days * DAY
            assert survey.begin([target], at, at - DAY) == [target]
            survey.finish([Probed(target, at, 0.1, Verdict.TLS, version="TLSv1.3")])
    assert "selfsigned.example: encrypt until" in gatepost.command("tls", "promote")
    assert "tls.promoted" not in gatepost.command("tls", "answer", "selfsigned.example")
    gatepost.command("tls", "promote", "--apply")
    gatepost.reload()
    assert "encrypt" in gatepost.command("tls", "answer", "selfsigned.example")
    again = deliver(Mail("n@acme.example", "up2@selfsigned.example", "e", login="acme"))
    assert again.status == "sent"


def test_a_file_that_was_moved_away_leaves_the_rules_in_force(
    gatepost: Gatepost, deliver: Callable[[Mail], Any]
) -> None:
    write(gatepost, {"plain.example": rule(5)})
    gatepost.reload()
    path = gatepost.directory / "promoted.yaml"
    path.rename(path.with_suffix(".away"))
    assert "promoted.yaml does not exist" in gatepost.reload(status=1)
    held = deliver(Mail("n@acme.example", "u@plain.example", "f", login="acme"))
    assert held.status == "deferred"
    path.with_suffix(".away").rename(path)
    write(gatepost, {})
    gatepost.reload()
