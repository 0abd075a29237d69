"""A plan's actions as libmilter calls, and the rights to ask for at negotiation.

Purpose: Postfix grants a milter the edits that it asked for. The rights are derived from the action
types, so that a plan can never hold an action without its right, nor we ask for an idle one.
Source: libmilter smfi_addheader, smfi_chgheader (deletes with a null value), smfi_chgfrom,
smfi_delrcpt, smfi_setreply.
Errors: `apply` lets milter.error through: Postfix went away, and nothing is lost, since it has not
taken the message.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import reduce
from operator import or_
from typing import Protocol, assert_never, get_args

import Milter

from gatepost.decisions.actions import (
    Action,
    AddHeader,
    ChangeSender,
    DeleteRecipient,
    Reject,
    RemoveHeader,
)

_RIGHTS: Mapping[type, int] = {
    AddHeader: Milter.ADDHDRS,
    RemoveHeader: Milter.CHGHDRS,
    ChangeSender: Milter.CHGFROM,
    DeleteRecipient: Milter.DELRCPT,
}

RIGHTS: int = reduce(or_, (_RIGHTS[kind] for kind in get_args(Action)), Milter.SETSYMLIST)


class Editor(Protocol):
    """The part of `Milter.Base` that edits."""

    def addheader(self, field: str, value: str) -> None:
        """Append a header field."""

    def chgheader(self, field: str, idx: int, value: str | None) -> None:
        """Change or, with None, delete a header field."""

    def chgfrom(self, sender: str, params: str | None = None) -> None:
        """Replace the envelope sender, and what ESMTP parameters say."""

    def delrcpt(self, rcpt: str) -> None:
        """Take a recipient out."""

    def setreply(self, rcode: str, xcode: str, msg: str) -> None:
        """Choose the reply to the client."""


def apply(actions: Iterable[Action], editor: Editor) -> None:
    """Make all edits, in order."""
    for action in actions:
        match action:
            case AddHeader(name, value):
                editor.addheader(name, value)
            case RemoveHeader(name, index):
                editor.chgheader(name, index, None)
            case ChangeSender(address, envid):
                # RET stays what the client asked for, as long as it is not named here.
                editor.chgfrom(f"<{address}>", f"ENVID={envid}" if envid else None)
            case DeleteRecipient(address):
                editor.delrcpt(f"<{address}>")
            case _:
                assert_never(action)


def set_reply(reject: Reject, editor: Editor) -> None:
    """Choose the reply for a refused message; libmilter wants "%" doubled."""
    editor.setreply(reject.code, reject.status, reject.text.replace("%", "%%"))
