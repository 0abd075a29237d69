"""What a decision wants done to a message: edits that a milter can make at end of message.

Purpose: the plan is data, so it can be tested, shown by ``gatepost explain`` and recorded in
observe mode; `milters` turns each action into one libmilter call and asks at negotiation for just
the rights that these types need.
Source: Postfix MILTER_README, "Milter actions"; libmilter smfi_addheader, smfi_chgheader,
smfi_chgfrom, smfi_delrcpt.
Errors: none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from gatepost.modes import Feature, Observation


@dataclass(frozen=True, slots=True)
class AddHeader:
    """Append one header field.

    Attributes:
        name: Field name.
        value: Printable ASCII, at most 900 characters, so that no folding is needed.
    """

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class RemoveHeader:
    """Delete one occurrence of a header field.

    Attributes:
        name: Field name.
        index: 1-based occurrence among fields of that name, in any case; plans list the highest
            index first, since a deletion renumbers those behind it.
    """

    name: str
    index: int


@dataclass(frozen=True, slots=True)
class ChangeSender:
    """Replace the envelope sender.

    Attributes:
        address: The new sender, without angle brackets.
        envid: The envelope id of RFC 3461 to set with it, in characters that need no xtext, or
            empty to leave what the client gave.
    """

    address: str
    envid: str = ""


@dataclass(frozen=True, slots=True)
class DeleteRecipient:
    """Take one recipient out, with all that Postfix has made of it by now.

    Attributes:
        address: The recipient as the client gave it, without angle brackets.
    """

    address: str


Action = AddHeader | RemoveHeader | ChangeSender | DeleteRecipient


@dataclass(frozen=True, slots=True)
class Reject:
    """Refuse for good.

    Attributes:
        code: Three-digit SMTP reply code, such as ``553``.
        status: Enhanced status code, such as ``5.7.1``.
        text: Reason in printable ASCII, at most 200 characters.
    """

    code: str
    status: str
    text: str


@dataclass(frozen=True, slots=True)
class Admission:
    """What the policy server says of a whole message.

    Attributes:
        reject: Set when the message is refused.
        edits: What to do to it otherwise.
    """

    reject: Reject | None = None
    edits: tuple[DeleteRecipient, ...] = ()


@dataclass(frozen=True, slots=True)
class Notice:
    """Something about a message that its tenant should look at, for a warning event.

    Attributes:
        reason: Short and stable: ``signed-header`` or ``several-recipients``.
        header: The header field that it is about.
        text: One sentence, without a full stop.
    """

    reason: str
    header: str
    text: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What becomes of one message.

    Attributes:
        tenant: Tenant id, empty for unidentified mail.
        actions: Edits in the order in which they are to be made; empty with `reject`.
        reject: Set when the message is refused.
        observations: What features in observe mode would have done.
        ask_admission: Whether the policy server must admit the message before anything else,
            because only its headers told the tenant, or its campaign has a quota.
        campaign: The campaign that it counts for, or empty if none has a quota.
        steps: How the decision was made, in order: sentences, and edits with their feature.
        notices: What the tenant should be told.
    """

    tenant: str
    actions: tuple[Action, ...] = ()
    reject: Reject | None = None
    ask_admission: bool = False
    observations: tuple[Observation, ...] = ()
    steps: tuple[str | tuple[Feature, Action], ...] = ()
    notices: tuple[Notice, ...] = ()
    campaign: str = ""

    @property
    def reasons(self) -> list[str]:
        """Return one sentence for each step, for `explain`; live traffic has no use for them."""
        return [
            step if isinstance(step, str) else f"{step[0]}: {describe(step[1])}"
            for step in self.steps
        ]


def describe(action: Action) -> str:
    """Return an action in words."""
    match action:
        case AddHeader(name, value):
            return f"add {name}: {value}"
        case RemoveHeader(name, index):
            return f"remove {name} number {index}"
        case ChangeSender(address, envid):
            also = f", and the envelope id to {envid}" if envid else ""
            return f"change the envelope sender to {address}{also}"
        case DeleteRecipient(address):
            return f"delete the recipient {address}"
        case _:
            assert_never(action)
