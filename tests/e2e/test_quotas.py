"""Quotas on a real Postfix: exactly so many are taken, and what came to nothing costs nothing."""

from __future__ import annotations

import contextlib
import re
import smtplib
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from lab.gatepost import Gatepost
from lab.mx import Kind
from lab.postfix import PrivatePostfix
from lab.process import LabError, wait_until
from lab.send import Mail, connect, queue_id, send, transact
from lab.world import World

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120), pytest.mark.usefixtures("gatepost")]

SESSIONS = 50
TAKEN = 20
QUOTAS: dict[str, dict[str, Any]] = {
    # An hour: nothing of it opens while the tests run.
    "crowd": {"quota": [f"{TAKEN}/hour", "1000/day"]},
    "other": {},
    "late": {"quota": ["1/hour"]},
    "kept": {"quota": ["2/hour"]},
    "many": {"quota": ["3/hour recipients"]},
    "held": {"quota": ["1/hour"], "over_quota": "hold"},
    "seen": {"quota": ["1/hour"], "modes": {"quota": "observe"}},
    # Long enough that two messages fall into it on a busy machine, too.
    "soon": {"quota": ["1/5s"]},
    "web": {"quota": ["1/hour"]},
    "spam": {"quota": ["1/hour"]},
    "labels": {"campaign_quota": ["1/hour"], "feedback": {"campaign": "X-Campaign"}},
}
OBSERVED = re.compile(
    "observe tenant=seen .*feature=quota action=defer .*quota of tenant seen is used up"
)
CONFIGURATION: dict[str, Any] = {
    "modes": {"default": "off", "quota": "enforce"},
    "platform": {"logins": {"app": {"may_act_as": "*"}}},
    "tenants": {
        name: {"logins": [name], "senders": [f"{name}.example"], **quota}
        for name, quota in QUOTAS.items()
    },
}


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with World((Kind.GOOD,)) as world:
        yield world


@pytest.fixture(scope="module")
def postfix(world: World) -> Iterator[PrivatePostfix]:
    unwanted = "check_recipient_access inline:{unwanted@good.example=REJECT}"
    main = {
        "smtpd_client_connection_count_limit": "0",
        "smtpd_recipient_restrictions": unwanted,
        "header_checks": "regexp:{{/^Subject: unwanted/ REJECT unwanted}}",
        "smtpd_end_of_data_restrictions": "check_sender_access inline:{bad@spam.example=REJECT}",
        "smtpd_data_restrictions": "check_sender_access inline:{bad@late.example=REJECT}",
    }
    with world.postfix(main=main, users=(*QUOTAS, "app")) as running:
        yield running


@pytest.fixture(scope="module")
def gatepost(world: World, postfix: PrivatePostfix) -> Iterator[Gatepost]:
    wait_until(postfix.maillog.exists, 10, "Postfix's log")
    postfix.maillog.chmod(0o644)
    gatepost = world.gatepost(postfix, {**CONFIGURATION, "maillog": str(postfix.maillog)})
    try:
        gatepost.start("milter", "policy", "back")
        gatepost.attach()
        yield gatepost
    finally:
        gatepost.stop()


def mail(tenant: str, subject: str = "", **changes: Any) -> Mail:
    fields = {"login": tenant, **changes}
    return Mail(f"news@{tenant}.example", "u@good.example", subject or tenant, **fields)


def refusal(postfix: PrivatePostfix, message: Mail) -> str:
    with pytest.raises(smtplib.SMTPResponseException) as caught:
        send(postfix.address, message)
    error = caught.value.smtp_error
    return f"{caught.value.smtp_code} {error.decode() if isinstance(error, bytes) else error}"


def is_taken(postfix: PrivatePostfix, message: Mail) -> bool:
    try:
        send(postfix.address, message)
    except smtplib.SMTPException:
        return False
    return True


def is_used_up(gatepost: Gatepost, tenant: str) -> bool:
    try:
        gatepost.json("quota", "show", "--tenant", tenant, status=1)
    except LabError:
        return False
    return True


def is_refused_by_others(postfix: PrivatePostfix) -> bool:
    message = Mail("bad@spam.example", "u@good.example", "spam", "spam")
    return "is used up" not in refusal(postfix, message)


def attempt(postfix: PrivatePostfix, start: threading.Barrier, replies: Counter[str]) -> None:
    with contextlib.closing(connect(postfix.address, "crowd")) as client:
        client.mail("news@crowd.example")
        start.wait(60)
        code, text = client.rcpt("u@good.example")
        if code == 250:
            code, text = client.data(b"Subject: crowd\r\n\r\nhello\r\n")
        replies[f"{code} {text.decode()}"[:9]] += 1


def test_of_many_at_once_exactly_the_quota_is_taken(
    world: World, postfix: PrivatePostfix, gatepost: Gatepost
) -> None:
    replies: Counter[str] = Counter()
    start = threading.Barrier(SESSIONS)
    threads = [
        threading.Thread(target=attempt, args=(postfix, start, replies)) for _ in range(SESSIONS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(90)
    assert replies == {"250 2.0.0": TAKEN, "450 4.7.1": SESSIONS - TAKEN}
    said = refusal(postfix, mail("crowd"))
    assert re.fullmatch(
        r"450 4\.7\.1 <u@good\.example>: Recipient address rejected: quota of tenant crowd is used "
        rf"up: {TAKEN} messages per hour, open again at \d\d:\d\d:\d\d UTC",
        said,
    ), said
    # Nobody else notices.
    assert send(postfix.address, mail("other"))
    # Bounces always pass.
    assert send(postfix.address, Mail("", "u@good.example", "bounce", "crowd"))
    world.fleet.wait_count(TAKEN + 2)
    # What was counted is written every half second.
    wait_until(lambda: is_used_up(gatepost, "crowd"), 10, "the counters")
    shown = gatepost.json("quota", "show", "--tenant", "crowd", status=1)
    (hour,) = [each for each in shown["quotas"] if each["quota"] == f"{TAKEN}/hour"]
    assert (hour["used"], hour["open"]) == (TAKEN, False)
    assert 0 < hour["opens_in_s"] <= 3720


def test_what_came_to_nothing_is_given_back(postfix: PrivatePostfix) -> None:
    with contextlib.closing(connect(postfix.address, "late")) as client:
        client.mail("news@late.example")
        assert client.rcpt("u@good.example")[0] == 250
        # While it is under way, its place is taken.
        assert "is used up" in refusal(postfix, mail("late"))
        client.rset()
        client.mail("news@late.example")
        # Refused by a restriction behind ours.
        assert client.rcpt("unwanted@good.example")[0] == 554
        client.rset()
        # At DATA.
        client.mail("bad@late.example")
        assert client.rcpt("u@good.example")[0] == 250
        assert client.docmd("DATA")[0] == 554
        client.rset()
        assert transact(client, mail("late"))
    assert "is used up" in refusal(postfix, mail("late"))


def test_what_is_refused_after_its_end_is_given_back_by_the_log(postfix: PrivatePostfix) -> None:
    assert "5.7.1 unwanted" in refusal(postfix, mail("spam", "unwanted"))
    wait_until(lambda: is_refused_by_others(postfix), 20, "the place")
    wait_until(lambda: is_taken(postfix, mail("spam")), 20, "the place")
    assert "is used up" in refusal(postfix, mail("spam"))


def test_recipients_are_counted_as_they_were_taken(postfix: PrivatePostfix) -> None:
    with contextlib.closing(connect(postfix.address, "many")) as client:
        client.mail("news@many.example")
        codes = [client.rcpt(f"{name}@good.example")[0] for name in ("a", "unwanted", "b", "c")]
        # The one that another restriction refused has its place until the message is there.
        assert codes == [250, 554, 250, 450]
        assert client.data(b"Subject: many\r\n\r\nhello\r\n")[0] == 250
        client.mail("news@many.example")
        assert [client.rcpt(f"{name}@good.example")[0] for name in ("c", "d")] == [250, 450]


def test_a_quota_opens_again(postfix: PrivatePostfix) -> None:
    send(postfix.address, mail("soon"))
    assert "open again at" in refusal(postfix, mail("soon"))
    wait_until(lambda: is_taken(postfix, mail("soon")), 30, "it to open")


def test_what_is_over_may_be_held(postfix: PrivatePostfix) -> None:
    send(postfix.address, mail("held"))
    identifier = queue_id(send(postfix.address, mail("held", "for later")))
    postfix.wait_log(rf"{identifier}: hold: END-OF-MESSAGE from .*quota of tenant held is used up")
    (entry,) = [each for each in postfix.queue() if each.queue_id == identifier]
    assert entry.queue == "hold"


def test_observe_lets_it_pass_and_tells(postfix: PrivatePostfix, gatepost: Gatepost) -> None:
    for _ in range(2):
        send(postfix.address, mail("seen"))
    wait_until(lambda: any(map(OBSERVED.search, gatepost.log_lines())), 10, "the line")


def test_mail_of_a_platform_login_counts_for_the_tenant_that_it_names(
    postfix: PrivatePostfix,
) -> None:
    named = mail("web", login="app", headers=["X-Tenant-ID: web"])
    send(postfix.address, named)
    assert refusal(postfix, named).startswith("450 4.7.1 quota of tenant web is used up")
    assert "quota of tenant web is used up" in refusal(postfix, mail("web"))


def test_each_campaign_has_its_own(postfix: PrivatePostfix) -> None:
    spring, summer = (mail("labels", headers=[f"X-Campaign: {name}"]) for name in ("s=1", "t"))
    send(postfix.address, spring)
    assert refusal(postfix, spring).startswith("450 4.7.1 quota of campaign labels s=1 is used up")
    assert send(postfix.address, summer)
    assert send(postfix.address, mail("labels"))


def test_neither_a_stop_nor_a_kill_gives_it_back(
    postfix: PrivatePostfix, gatepost: Gatepost
) -> None:
    send(postfix.address, mail("kept"))
    gatepost.stop()
    gatepost.start("milter", "policy")
    send(postfix.address, mail("kept"))
    assert "is used up" in refusal(postfix, mail("kept"))
    wait_until(lambda: is_used_up(gatepost, "kept"), 10, "the counters")
    with contextlib.closing(connect(postfix.address, "other")) as client:
        client.mail("news@other.example")
        assert client.rcpt("u@good.example")[0] == 250
        gatepost.kill("policy")
        # Nobody can count it, so it is not taken, but stays with the client.
        assert client.data(b"Subject: other\r\n\r\nhello\r\n")[0] in {450, 451}
    gatepost.start("policy")
    assert "is used up" in refusal(postfix, mail("kept"))
