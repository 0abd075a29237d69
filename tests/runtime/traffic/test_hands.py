"""Holding, letting go, moving and deleting, with scripts for Postfix's commands; killed between."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from gatepost.decisions.queued import Selection
from gatepost.errors import PostfixUnavailable
from gatepost.feedback.sent import Message
from gatepost.feedback.status import WHOLE, Part, Pause, Queued, Scope, Status, Statuses
from gatepost.feedback.token import message_id_of
from gatepost.postfix import commands, queue
from gatepost.runtime.metrics import Metrics
from gatepost.runtime.traffic import hands, returns
from gatepost.runtime.traffic.queued import DELIVERABLE, HELD, Chosen, QueueReader
from gatepost.runtime.traffic.returns import ReturnWatch
from gatepost.store.held import Cause, HeldStore
from gatepost.store.messages import MessageStore
from gatepost.store.open import open_held, open_messages
from lab.process import wait_until
from tests.world import NOW, snapshot, tenant

ACME = tenant("acme", senders=("acme.example",), campaign_header="x-campaign")
MADE = snapshot(ACME, tenant("shop", senders=("shop.example",)))
HOST = "mail.example"


class Postfix:
    """Scripts that move lines between two files, one for what is held and one for the rest."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.directory = directory
        self.config_dir = directory / "etc"
        monkeypatch.setattr(commands, "_SEARCH", f"{directory / 'bin'}:{os.defpath}")
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        (directory / "bin").mkdir()
        (directory / "state").mkdir()
        # Not running, so that nobody has to begin anew.
        self._put("postfix", "exit 1")
        self._put("postconf", f'[ "$4" = myhostname ] && echo {HOST} || echo')
        self._put("postcat", f"cat {directory}/headers-$4 2>/dev/null || exit 1")
        self._put("postqueue", f'[ "$3" = -j ] && exec cat {directory}/state/*; echo "$4" >> tried')
        self._put(
            "postsuper",
            f"""while read id; do
            [ -e {directory}/gone-$id ] && continue
            file={directory}/state/$id; [ -e $file ] || continue
            case $3 in
            -d) rm $file; word=removed ;;
            -h) grep -q '"hold"' $file && continue
                sed -i 's/"queue_name": "[a-z]*"/"queue_name": "hold"/' $file
                word="placed on hold" ;;
            -H) grep -q '"hold"' $file || continue
                sed -i 's/"queue_name": "[a-z]*"/"queue_name": "deferred"/' $file
                word="released from hold" ;;
            esac
            echo "postsuper: $id: $word" >&2
            done""",
        )

    def _put(self, name: str, script: str) -> None:
        path = self.directory / "bin" / name
        path.write_text(f"#!/bin/sh\ncd {self.directory}\n{script}\n")
        path.chmod(0o755)

    def add(
        self,
        queue_id: str,
        sender: str = "a@acme.example",
        queue: str = "deferred",
        reason: str = "",
        to: tuple[str, ...] = ("u@example.org",),
    ) -> None:
        recipients = [{"address": each, "delay_reason": reason} for each in to]
        entry = {
            "queue_name": queue,
            "queue_id": queue_id,
            "arrival_time": int(NOW),
            "message_size": 100,
            "sender": sender,
            "recipients": recipients,
        }
        (self.directory / "state" / queue_id).write_text(json.dumps(entry) + "\n")

    def queues(self) -> dict[str, str]:
        files = sorted((self.directory / "state").iterdir())
        return {each.name: json.loads(each.read_text())["queue_name"] for each in files}

    def tried(self) -> list[str]:
        path = self.directory / "tried"
        return path.read_text().split() if path.exists() else []


@pytest.fixture
def postfix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Postfix:
    return Postfix(tmp_path, monkeypatch)


@pytest.fixture
def held(tmp_path: Path) -> Iterator[HeldStore]:
    with contextlib.closing(open_held(f"sqlite:///{tmp_path}/held.db")) as opened:
        yield opened


@pytest.fixture
def book(tmp_path: Path) -> Iterator[MessageStore]:
    with contextlib.closing(open_messages(f"sqlite:///{tmp_path}/held.db")) as opened:
        yield opened


@pytest.fixture
def choose(postfix: Postfix, book: MessageStore) -> Callable[..., Chosen]:
    def choose(part: Part = WHOLE, queues: frozenset[str] = DELIVERABLE, **kw: bool) -> Chosen:
        reader = QueueReader(postfix.config_dir, MADE, book, NOW)
        return reader.choose(Selection(ACME, part), queues, **{"partly": True, **kw})

    return choose


def booked(queue_id: str, name: str = "acme", campaign: str = "spring") -> Message:
    return Message(
        message_id_of(HOST, queue_id), NOW, name, queue_id, "a@x.example", campaign=campaign
    )


A, B, C, D = "4AAAAAAAzA", "4BBBBBBBzB", "4CCCCCCCzC", "4DDDDDDDzD"


def test_what_is_chosen_and_what_is_left_alone(postfix, book, choose) -> None:
    postfix.add(A)
    postfix.add(B, "b@elsewhere.example", "active", to=("u@example.org", "v@other.example"))
    postfix.add(C, "c@elsewhere.example")
    postfix.add(D)
    postfix.add("4EEEEEEEzE", "e@shop.example")
    postfix.add("4FFFFFFFzF", queue="hold")
    postfix.add("4GGGGGGGzG", queue="maildrop")
    # The book names the tenant of B, and another one for D, which so is nobody's.
    book.add([booked(A), booked(B), booked(D, "shop")])
    with choose() as chosen:
        assert [spot.queue_id for _, spots in chosen.batches(9) for spot in spots] == [A, B]
        summary = chosen.summary
    assert (summary.messages, summary.recipients, summary.unnamed) == (2, 3, 1)
    assert summary.queues == {"deferred": 1, "active": 1}
    assert summary.campaigns == {"spring": 2}
    assert summary.domains == {"example.org": 2, "other.example": 1}
    with choose(Part("", "other.example"), partly=False) as chosen:
        assert chosen.summary.messages == 0
        assert list(chosen.summary.others.values()) == [1]


def test_the_header_tells_a_campaign_that_the_book_does_not(postfix, choose, monkeypatch) -> None:
    for queue_id, header in ((A, "X-Campaign:\r\n spring\r\n"), (B, "Subject: x\r\n")):
        postfix.add(queue_id)
        (postfix.directory / f"headers-{queue_id}").write_text(header)
    postfix.add(C)
    with choose(Part("spring")) as chosen:
        assert [spot.queue_id for _, spots in chosen.batches(9) for spot in spots] == [A]
        # C has gone before it could be looked at.
        assert sum(chosen.summary.others.values()) == 1
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with choose(Part("spring")) as chosen:
        assert (chosen.summary.messages, sum(chosen.summary.others.values())) == (0, 3)


def test_what_the_operator_holds_is_not_remembered_and_stays(postfix, held, choose) -> None:
    postfix.add(A)
    postfix.add(B, queue="hold")
    postfix.add(C)
    with choose() as chosen:
        # Held by somebody else, and gone, between the look and the hold.
        postfix.add(C, queue="hold")
        done = hands.hold(chosen, held, "acme", Cause.OPERATOR, NOW)
    assert (done.count, done.gone) == (1, 1)
    assert [each.queue_id for each in held.all()] == [A]
    done = hands.release(postfix.config_dir, held.all(), held, per_second=1000)
    assert (done.count, done.gone) == (1, 0)
    assert postfix.queues() == {A: "deferred", B: "hold", C: "hold"}
    assert postfix.tried() == [A]
    assert held.all() == []


def test_qmgr_forgets_what_was_held_before_it_is_let_go(postfix, held, choose, monkeypatch) -> None:
    """What it still has in memory, it would remove when it is active again: mail would be lost."""
    began: list[float | None] = [NOW - 1]
    done: list[str] = []
    monkeypatch.setattr(queue, "manager_since", lambda _: began[-1])
    monkeypatch.setattr(queue, "restart_manager", lambda _: done.append(str(postfix.queues())))
    for _ in range(3):
        postfix.add(A, queue="active")
        with choose() as chosen:
            hands.hold(chosen, held, "acme", Cause.OPERATOR, NOW)
        hands.release(postfix.config_dir, held.all(), held, per_second=1000)
        # Long after the hold; then not known.
        began.append(NOW + hands.CLOCK_S + 1 if len(began) == 1 else None)
    assert done == [str({A: "hold"})] * 2
    # A watch that cannot see it does not reload for ever.
    assert hands.ask_anew([postfix.config_dir], NOW, if_unknown=False) == 0
    assert len(done) == 2


def test_a_hold_that_is_killed_is_remembered(postfix, held, choose, monkeypatch) -> None:
    postfix.add(A, queue="active")
    hold = queue.hold

    def killed(*given) -> set[str]:
        hold(*given)
        raise KeyboardInterrupt

    with choose() as chosen, monkeypatch.context() as patch:
        patch.setattr(queue, "hold", killed)
        with pytest.raises(KeyboardInterrupt):
            hands.hold(chosen, held, "acme", Cause.OPERATOR, NOW)
    assert postfix.queues() == {A: "hold"}
    hands.release(postfix.config_dir, held.all(), held, per_second=1000)
    assert postfix.queues() == {A: "deferred"}
    assert held.all() == []


def test_of_two_who_hold_the_same_none_forgets_it(postfix, held, choose) -> None:
    postfix.add(A)
    with choose() as first, choose() as second:
        hands.hold(first, held, "acme", Cause.PAUSE, NOW)
        done = hands.hold(second, held, "acme", Cause.OPERATOR, NOW + 1)
    assert (done.count, done.gone) == (0, 1)
    assert [(each.queue_id, each.cause) for each in held.all()] == [(A, Cause.PAUSE)]


def test_two_who_hold_and_let_go_wait_for_each_other(postfix, held, choose, monkeypatch) -> None:
    """Between the row and the answer of Postfix, and between that and the end of the row."""
    postfix.add(A)
    url = f"sqlite:///{held.path}"
    asked = []

    def is_locked(real):
        def ask(*given):
            ran = threading.Event()

            def other() -> None:
                with contextlib.closing(open_held(url)) as store, store.alone():
                    ran.set()

            thread = threading.Thread(target=other)
            thread.start()
            asked.append((thread, ran.wait(0.1)))
            return real(*given)

        return ask

    for name in ("hold", "release"):
        monkeypatch.setattr(queue, name, is_locked(getattr(queue, name)))
    with choose() as chosen:
        hands.hold(chosen, held, "acme", Cause.PAUSE, NOW)
    hands.release(postfix.config_dir, held.all(), held, per_second=1000)
    for thread, _ in asked:
        thread.join(10)
    assert [ran for _, ran in asked] == [False, False]


def test_what_is_held_again_while_it_is_tried_stays_known(
    postfix, held, choose, monkeypatch
) -> None:
    postfix.add(A)
    with choose() as chosen:
        hands.hold(chosen, held, "acme", Cause.PAUSE, NOW)

    def held_again(*_: object, **__: object) -> None:
        with choose() as chosen:
            hands.hold(chosen, held, "acme", Cause.PAUSE, NOW + 1)

    monkeypatch.setattr(queue, "requeue", held_again)
    hands.release(postfix.config_dir, held.all(), held, per_second=1000)
    assert postfix.queues() == {A: "hold"}
    assert [each.queue_id for each in held.all()] == [A]


def test_a_purge_deletes_what_was_counted(postfix, held, choose) -> None:
    postfix.add(A)
    postfix.add(B, queue="hold")
    postfix.add(C)
    with choose(queues=DELIVERABLE | HELD) as chosen:
        postfix.add(D)
        (postfix.directory / "state" / C).unlink()
        done = hands.purge(postfix.config_dir, chosen, held, None)
    assert (done.count, done.gone) == (2, 1)
    assert postfix.queues() == {D: "deferred"}


def test_a_short_id_that_names_another_message_now_is_left_alone(postfix, held, choose) -> None:
    short, other = "ABCDEF0123", "ABCDEF0124"
    postfix.add(short)
    postfix.add(other)
    with choose() as chosen:
        assert chosen.summary.short_ids == 2
        path = postfix.directory / "state" / short
        path.write_text(path.read_text().replace(str(int(NOW)), str(int(NOW) + 1)))
        done = hands.purge(postfix.config_dir, chosen, held, None)
    assert (done.count, done.gone) == (1, 1)
    assert postfix.queues() == {short: "deferred"}


@pytest.mark.parametrize(("age_s", "count"), [(-60, 1), (86_400, 0)])
def test_a_short_id_is_not_whose_it_was_before(postfix, book, choose, age_s, count) -> None:
    short = "ABCDEF0123"
    postfix.add(short, "")
    book.add([replace(booked(short), at=NOW - age_s)])
    with choose() as chosen:
        assert chosen.summary.messages == count


def test_a_release_that_is_broken_off_remembers_the_rest(postfix, held, choose) -> None:
    for queue_id in (A, B, C):
        postfix.add(queue_id)
    with choose() as chosen:
        hands.hold(chosen, held, "acme", Cause.PAUSE, NOW, Part("spring"))
    rows = held.all()
    assert {(each.cause, each.campaign) for each in rows} == {(Cause.PAUSE, "spring")}
    done = hands.release(
        postfix.config_dir, rows, held, per_second=1, stopped=lambda _: len(held.all()) == 1
    )
    assert done.count == 2
    assert [each.queue_id for each in held.all()] == [C]
    assert postfix.queues() == {A: "deferred", B: "deferred", C: "hold"}


def test_without_root_nothing_is_held_and_nothing_remembered(
    postfix, held, choose, monkeypatch
) -> None:
    postfix.add(A)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with choose() as chosen, pytest.raises(PostfixUnavailable, match="root only"):
        hands.hold(chosen, held, "acme", Cause.OPERATOR, NOW)
    assert postfix.queues() == {A: "deferred"}
    assert held.all() == []


PAUSE = Pause(Scope.ALL, "x", 1.0, queued=Queued.RETRY)
TEXT = "sending of acme is paused: x, since 1970-01-01 00:00 UTC"


def test_mail_is_tried_again_when_its_pause_ends_by_itself(postfix, monkeypatch, request) -> None:
    monkeypatch.setattr(returns, "SETTLE_S", 0.0)
    postfix.add(A, reason=TEXT)
    postfix.add(B)
    postfix.add(C, reason="host mx.example said: 450 " + TEXT)
    postfix.add(D, "d@shop.example", reason=TEXT)
    looked = threading.Event()
    statuses: dict[str, Statuses] = {"now": {"acme": Status(pause=PAUSE)}}

    def current() -> Statuses:
        looked.set()
        return statuses["now"]

    watch = ReturnWatch(
        postfix.config_dir,
        lambda: MADE,
        current,
        Metrics("back"),
        every_s=0.02,
        first_s=0.02,
        again_s=0.02,
    )
    request.addfinalizer(watch.stop)
    assert looked.wait(10)
    # Those of a tenant that is paused wait; the text of one tenant says nothing of another.
    assert not set(postfix.tried()) & {A, C, D}
    statuses["now"] = {"acme": Status(pause=replace(PAUSE, until=2.0))}
    wait_until(lambda: {A, B} <= set(postfix.tried()), 20, "the attempt")
    assert not set(postfix.tried()) & {C, D}


def test_mail_of_a_pause_that_ended_while_nobody_looked_is_found_at_the_start(
    postfix, monkeypatch, request
) -> None:
    monkeypatch.setattr(returns, "SETTLE_S", 0.0)
    postfix.add(A, reason=TEXT)
    watch = ReturnWatch(
        postfix.config_dir, lambda: MADE, dict, Metrics("back"), every_s=0.02, first_s=0.02
    )
    request.addfinalizer(watch.stop)
    wait_until(lambda: A in postfix.tried(), 20, "the attempt")


def test_at_the_start_nobody_is_taken_for_resumed_whose_status_is_not_known(
    postfix, monkeypatch, request
) -> None:
    monkeypatch.setattr(returns, "SETTLE_S", 0.0)
    postfix.add(A, reason=TEXT)
    postfix.add(B, "b@shop.example", reason=TEXT.replace("acme", "shop"))
    looks: list[bool] = []
    many = threading.Event()
    away = threading.Event()
    away.set()

    def known() -> bool:
        looks.append(True)
        if len(looks) == 10:
            many.set()
        return not away.is_set()

    statuses: list[Statuses] = [{}]
    watch = ReturnWatch(
        postfix.config_dir,
        lambda: MADE,
        lambda: statuses[-1],
        Metrics("back"),
        known=known,
        every_s=0.02,
        first_s=0.02,
    )
    request.addfinalizer(watch.stop)
    assert many.wait(20)
    assert postfix.tried() == []
    statuses.append({"acme": Status(pause=PAUSE)})
    away.clear()
    wait_until(lambda: B in postfix.tried(), 20, "the attempt")
    assert A not in postfix.tried()


def test_a_queue_that_cannot_be_read_is_told_once_a_pause_has_ended(
    postfix, request, caplog
) -> None:
    postfix._put("postqueue", "echo 'postqueue: fatal: Permission denied' >&2; exit 69")
    caplog.set_level("INFO")
    statuses: list[Statuses] = [{}]
    watch = ReturnWatch(
        postfix.config_dir,
        lambda: MADE,
        lambda: statuses[-1],
        metrics := Metrics("back"),
        every_s=0.02,
        first_s=0.02,
        again_s=0.02,
    )
    request.addfinalizer(watch.stop)
    wait_until(lambda: "queue-unknown" in caplog.text, 20, "the word about the start")
    assert [each.levelname for each in caplog.records] == ["INFO"]
    assert "queue" not in metrics.counts().get("errors", {})
    looked = threading.Event()

    class Paused(dict):
        def items(self):
            looked.set()
            return super().items()

    statuses.append(Paused(acme=Status(pause=PAUSE)))
    assert looked.wait(20)
    statuses.append({})
    wait_until(lambda: metrics.counts().get("errors", {}).get("queue") == 2, 20, "both attempts")
    assert [each.levelname for each in caplog.records] == ["INFO", "WARNING"]
    assert "Permission denied" in caplog.text
