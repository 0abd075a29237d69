"""The spool: what was promised is there, in order, and what cannot be read is held."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from gatepost.errors import MalformedMessage
from gatepost.runtime.feedback import spool as module
from gatepost.runtime.feedback.spool import Held, NoRoom, Spool


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path)


def put(spool: Spool, octets: bytes = b"Subject: x\r\n\r\nhello\r\n", *to: str) -> str:
    mail = spool.begin("s@a.example", to or ("t@bounces.example",))
    mail.write(octets)
    mail.commit()
    mail.abort()
    return mail.id


def content(spool: Spool, mail_id: str) -> bytes:
    found = spool.find(mail_id)
    assert found is not None
    octets = found.path.read_bytes()[found.offset :]
    assert len(octets) == found.octets
    return octets


def test_a_mail_comes_back_as_it_was(spool):
    mail_id = put(spool, b"a\nb\r\n\0\xff", "x@b.example", "\udcff@b.example")
    found = spool.find(mail_id)
    assert found is not None
    assert found.envelope.sender == "s@a.example"
    assert found.envelope.recipients == ("x@b.example", "\udcff@b.example")
    assert content(spool, mail_id) == b"a\nb\r\n\0\xff"
    assert found.path.stat().st_mode & 0o777 == 0o600


def test_the_oldest_comes_first(spool):
    ids = [put(spool) for _ in range(12)]
    assert spool.waiting() == ids


def test_what_is_not_committed_is_not_there(spool):
    mail = spool.begin("", ["t@b.example"])
    mail.write(b"x")
    assert spool.waiting() == []
    mail.abort()
    mail.abort()
    assert list((spool.directory / "tmp").iterdir()) == []


def test_what_is_done_is_gone(spool):
    mail_id = put(spool)
    spool.done(mail_id)
    spool.done(mail_id)
    assert spool.waiting() == []
    assert spool.find(mail_id) is None


def test_a_large_mail_is_held_with_its_beginning(spool, monkeypatch):
    monkeypatch.setattr(module, "MAX_OCTETS", 100)
    monkeypatch.setattr(module, "HEAD_OCTETS", 10)
    mail = spool.begin("", ["t@b.example"])
    for _ in range(30):
        mail.write(b"0123456789")
    mail.commit()
    assert spool.waiting() == []
    (held,) = spool.held()
    assert (held.reason, held.text) == ("too-large", "300 octets; the first 10 are kept")
    assert held.mail.path.read_bytes()[held.mail.offset :] == b"0123456789"


def test_a_mail_of_just_the_limit_is_taken(spool, monkeypatch):
    monkeypatch.setattr(module, "MAX_OCTETS", 10)
    assert content(spool, put(spool, b"0123456789")) == b"0123456789"


def test_quarantine_and_back(spool):
    mail_id, other = put(spool), put(spool)
    spool.hold(mail_id, Held.UNREADABLE, "too deep")
    assert spool.waiting() == [other]
    found = spool.find_held(mail_id)
    assert found is not None
    assert (found.reason, found.text, found.mail.id) == ("unreadable", "too deep", mail_id)
    assert spool.retry(mail_id)
    assert not spool.retry(mail_id)
    assert spool.waiting() == [mail_id, other]
    spool.hold(mail_id, Held.CRASHED, "x")
    assert spool.drop(mail_id)
    assert not spool.drop(mail_id)
    assert list(spool.quarantine.iterdir()) == []


def test_the_quarantine_fills_no_disk(spool, monkeypatch):
    monkeypatch.setattr(module, "MAX_HELD_OCTETS", 5000)
    small, *large = (put(spool, b"x" * octets) for octets in (10, 2500, 2000, 2000))
    gone = [spool.hold(each, Held.UNREADABLE, "x") for each in (small, *large)]
    # What is small is not pushed out by what is large.
    assert gone == [[], [], [], [large[0]]]
    assert [each.mail.id for each in spool.held()] == [small, *large[1:]]
    assert len(list(spool.quarantine.iterdir())) == 6


def test_the_quarantine_holds_so_many_mails(spool, monkeypatch):
    monkeypatch.setattr(module, "MAX_HELD", 10)
    ids = [put(spool) for _ in range(30)]
    gone = [spool.hold(each, Held.UNREADABLE, "x") for each in ids]
    assert [name for some in gone for name in some][:2] == ids[:2]
    assert [each.mail.id for each in spool.held()] == ids[-len(spool.held()) :]
    assert 9 <= len(spool.held()) <= 10


def test_mails_that_are_too_large_fill_no_disk_either(spool, monkeypatch):
    monkeypatch.setattr(module, "MAX_OCTETS", 10)
    monkeypatch.setattr(module, "MAX_HELD", 2)
    for _ in range(9):
        put(spool, b"x" * 20)
    assert 1 <= len(spool.held()) <= 2


def test_on_a_full_disk_a_mail_is_held_without_its_reason(spool, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(spool, "_explain", full)
    mail_id = put(spool)
    spool.hold(mail_id, Held.UNREADABLE, "too deep")
    assert spool.waiting() == []
    assert [(each.mail.id, each.reason) for each in spool.held()] == [(mail_id, "unknown")]


def test_killed_between_the_reason_and_the_mail_it_is_held_again(spool):
    mail_id = put(spool)
    (spool.quarantine / f"{mail_id}.why").write_text(json.dumps({"reason": "x", "text": ""}))
    assert spool.held() == []
    spool.hold(mail_id, Held.UNREADABLE, "y")
    assert [each.text for each in spool.held()] == ["y"]


@pytest.mark.parametrize("name", ["../new/x", "x", "", "/etc/passwd"])
def test_only_our_own_names_are_touched(spool, name):
    assert spool.find_held(name) is None
    assert not spool.retry(name)
    assert not spool.drop(name)


@pytest.mark.parametrize("octets", [b"", b"{", b"[]\n", b'{"sender": 1}\n', b"\xff\n", b"null\n"])
def test_a_damaged_file_is_named(spool, octets):
    mail_id = put(spool)
    (spool.new / mail_id).write_bytes(octets)
    with pytest.raises(MalformedMessage, match=mail_id):
        spool.find(mail_id)
    spool.hold(mail_id, Held.UNREADABLE, "damaged")
    assert [each.mail.id for each in spool.held()] == [mail_id]


def test_strange_files_are_left_alone(spool):
    (spool.new / "README").touch()
    (spool.quarantine / "README").touch()
    assert spool.waiting() == []
    assert spool.held() == []


def test_what_is_old_goes(spool):
    old, young = put(spool), put(spool)
    for each in (old, young):
        spool.hold(each, Held.UNREADABLE, "x")
    left = spool.directory / "tmp" / "left"
    left.touch()
    for path in (spool.quarantine / old, spool.quarantine / f"{old}.why", left):
        os.utime(path, (1000, 1000))
    assert spool.expire(2000) == 1
    assert [each.mail.id for each in spool.held()] == [young]
    assert not left.exists()


def test_no_room_is_said_before_anything_is_promised(spool, monkeypatch):
    monkeypatch.setattr(module, "MIN_FREE_OCTETS", 1 << 60)
    with pytest.raises(NoRoom, match="MiB are left"):
        spool.begin("", ["t@b.example"])
