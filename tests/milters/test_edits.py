from __future__ import annotations

from typing import get_args

import Milter
import pytest

from gatepost.decisions.actions import (
    Action,
    AddHeader,
    ChangeSender,
    DeleteRecipient,
    Reject,
    RemoveHeader,
)
from milters.edits import RIGHTS, apply, set_reply


class Editor:
    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []

    def addheader(self, *args: object) -> None:
        self.calls.append(("addheader", *args))

    def chgheader(self, *args: object) -> None:
        self.calls.append(("chgheader", *args))

    def chgfrom(self, *args: object) -> None:
        self.calls.append(("chgfrom", *args))

    def delrcpt(self, *args: object) -> None:
        self.calls.append(("delrcpt", *args))

    def setreply(self, *args: object) -> None:
        self.calls.append(("setreply", *args))


def test_actions_become_calls_in_order() -> None:
    editor = Editor()
    edits = [
        RemoveHeader("X", 2),
        AddHeader("X", "a"),
        ChangeSender("a@b"),
        ChangeSender("c@d", "t"),
        DeleteRecipient('"e f"@g'),
    ]
    apply(edits, editor)
    assert editor.calls == [
        ("chgheader", "X", 2, None),
        ("addheader", "X", "a"),
        ("chgfrom", "<a@b>", None),
        ("chgfrom", "<c@d>", "ENVID=t"),
        ("delrcpt", '<"e f"@g>'),
    ]


def test_an_unknown_action_is_no_edit() -> None:
    with pytest.raises(AssertionError):
        apply(["?"], Editor())


def test_percent_signs_are_doubled() -> None:
    editor = Editor()
    set_reply(Reject("550", "5.7.1", "100% no %s"), editor)
    assert editor.calls == [("setreply", "550", "5.7.1", "100%% no %%s")]


def test_rights_are_those_that_actions_need_and_no_others() -> None:
    needed = {
        AddHeader: Milter.ADDHDRS,
        RemoveHeader: Milter.CHGHDRS,
        ChangeSender: Milter.CHGFROM,
        DeleteRecipient: Milter.DELRCPT,
    }
    assert set(get_args(Action)) == set(needed)
    assert sum(needed.values()) | Milter.SETSYMLIST == RIGHTS
    assert not RIGHTS & (Milter.CHGBODY | Milter.ADDRCPT | Milter.QUARANTINE)
