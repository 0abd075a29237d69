"""The libmilter callbacks: collect, decide at end of message, edit.

Purpose: stand between libmilter and `gatepost.decisions.message` with as little as possible. Only
MAIL FROM, RCPT TO and header callbacks are negotiated, none of which waits for a reply, so a
message costs one round trip, at its end. The body never leaves Postfix.
Source: Postfix MILTER_README; libmilter xxfi_negotiate, smfi_setsymlist (macros stay known to
later callbacks of the connection or message, so the stage of a declined callback can carry them).
Errors: whatever goes wrong with one message gives that message a temporary failure, one log line
with queue id, tenant and cause, and a count. A callback that cannot reply notes its trouble, and
the end of message fails for it. `eom` is the one place that catches `Exception`.
Security: see `session` for what is kept of hostile input.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import ClassVar

import Milter

from gatepost.decisions.accepted import without_deleted
from gatepost.decisions.actions import Action, Plan, Reject
from gatepost.decisions.facts import MessageFacts
from gatepost.decisions.message import decide_message
from gatepost.errors import Unavailable
from gatepost.runtime.log import format_event, log_event
from gatepost.snapshot import Snapshot
from gatepost.tenants.client import Client
from milters.context import Shared, View
from milters.edits import RIGHTS, apply, set_reply
from milters.session import MessageInProgress, plain_address

log = logging.getLogger("gatepost.milter")

# Callbacks that we take, without Postfix waiting for a reply, and those that we decline.
_TAKEN = Milter.P_NR_MAIL | Milter.P_NR_RCPT | Milter.P_NR_HDR
_DECLINED = (
    Milter.P_NOCONNECT
    | Milter.P_NOHELO
    | Milter.P_NODATA
    | Milter.P_NOUNKNOWN
    | Milter.P_NOEOH
    | Milter.P_NOBODY
)
PROTOCOL = _TAKEN | _DECLINED

# libmilter takes at most five names a stage, and no empty list: "i" is the cheapest. It keeps the
# macros of the last MAIL when a MAIL has none; "j", which always has a value, sees to it that a
# login never outlives its message.
MACROS: Mapping[int, tuple[str, ...]] = {
    Milter.M_CONNECT: ("{daemon_name}", "{client_addr}", "{client_port}"),
    Milter.M_HELO: ("i",),
    Milter.M_ENVFROM: ("j", "{auth_authen}"),
    Milter.M_ENVRCPT: ("i",),
    Milter.M_DATA: ("i",),
    Milter.M_EOH: ("i",),
    Milter.M_EOM: ("i",),
}
_SYMBOLS = tuple((stage, " ".join(names)) for stage, names in MACROS.items())

_LATER = Reject("451", "4.7.1", "temporary failure, try again later")


class GatepostMilter(Milter.Base):  # type: ignore[misc]  # pymilter has no type hints
    """One SMTP connection.

    Attributes:
        shared: What all connections share; set once, before the first connection.
    """

    shared: ClassVar[Shared]

    def __init__(self) -> None:
        self._counted = False
        self._message: MessageInProgress | None = None
        self._view: View | None = None
        self._trouble: Exception | None = None
        # To MAIL, RCPT and a header.
        self._replies: tuple[int, ...] = (int(Milter.CONTINUE),) * 3

    def negotiate(self, opts: list[int]) -> int:
        """Ask for the rights, callbacks and macros that we need, and for nothing else.

        pymilter's own version asks for everything when it fails; ours refuses the connection,
        for which Postfix then uses this milter's default_action, tempfail.
        """
        try:
            missing = RIGHTS & ~opts[0]
            if missing:
                raise Unavailable(f"Postfix does not offer milter rights {missing:#x}")
            for stage, names in _SYMBOLS:
                # Not Base.setsymlist: in pymilter 1.0.5 it gives octets to a call that wants text.
                self._ctx.setsymlist(stage, names)
            self._actions = opts[0] = RIGHTS
            self._protocol = opts[1] = opts[1] & PROTOCOL
            opts[2] = opts[3] = 0
            self._replies = tuple(
                int(Milter.NOREPLY if self._protocol & silent else Milter.CONTINUE)
                for silent in (Milter.P_NR_MAIL, Milter.P_NR_RCPT, Milter.P_NR_HDR)
            )
        except Exception:
            log.exception("negotiation failed")
            return int(Milter.REJECT)
        return int(Milter.CONTINUE)

    def envfrom_bytes(self, sender: bytes, *_params: bytes) -> int:
        """Begin a message; whatever the one before left behind is dropped."""
        self._end()
        shared = self.shared
        self._counted = shared.in_flight.enter()
        try:
            client = Client(
                login=self.getsymval("{auth_authen}") or "",
                address=plain_address(self.getsymval("{client_addr}") or ""),
                port=self.getsymval("{client_port}") or "",
                listener=self.getsymval("{daemon_name}") or "",
            )
            self._view = shared.views.now()
            text = sender.decode("utf-8", "surrogateescape")
            host = self.getsymval("j") or ""
            self._message = MessageInProgress(client, host, text, self._view.wanted)
        except Exception as error:
            self._trouble = error
        return self._replies[0]

    def envrcpt_bytes(self, recipient: bytes, *_params: bytes) -> int:
        """Take one accepted recipient."""
        if self._message is not None:
            self._message.add_recipient(recipient)
        return self._replies[1]

    def header_bytes(self, name: str, value: bytes) -> int:
        """Take one header field."""
        if self._message is not None:
            self._message.add_header(name, value)
        return self._replies[2]

    def eom(self) -> int:
        """Decide and edit."""
        queue_id = tenant = ""
        try:
            queue_id = self.getsymval("i") or ""
            message, view = self._message, self._view
            if self._trouble is not None:
                raise self._trouble
            if message is None or view is None:
                raise Unavailable("end of message without a message")
            shared = self.shared
            facts = message.facts(queue_id)
            plan = decide_message(facts, view.snapshot, shared.clock(), shared.statuses())
            tenant = plan.tenant
            return self._carry_out(plan, facts, view.snapshot)
        except Exception as error:
            return self._fail(error, queue_id, tenant)
        finally:
            self._end()

    def abort(self) -> int:
        """Forget the message; the connection goes on."""
        self._end()
        return int(Milter.CONTINUE)

    def close(self) -> int:
        """Forget everything; called also for a connection that never said a word."""
        self._end()
        return int(Milter.CONTINUE)

    def _carry_out(self, plan: Plan, facts: MessageFacts, snapshot: Snapshot) -> int:
        shared = self.shared
        reject = plan.reject
        actions: tuple[Action, ...] = plan.actions
        if reject is None and plan.ask_admission:
            admission = shared.admit(plan.tenant, facts, plan.campaign)
            reject, actions = admission.reject, (*actions, *admission.edits)
        for observation in plan.observations:
            shared.recorder.record(observation)
        if reject is not None:
            set_reply(reject, self)
            verdict = "reject" if reject.code.startswith("5") else "tempfail"
            log_event(
                log,
                logging.INFO,
                verdict,
                queue_id=facts.queue_id,
                tenant=plan.tenant or "-",
                sender=f"<{facts.sender}>",
                reason=reject.text,
            )
            shared.count(verdict)
            return int(Milter.REJECT if verdict == "reject" else Milter.TEMPFAIL)
        apply(actions, self)
        shared.accepted(without_deleted(facts, actions), plan, snapshot)
        shared.count("accept")
        return int(Milter.CONTINUE)

    def _fail(self, error: Exception, queue_id: str, tenant: str) -> int:
        # The stack tells where a bug is; trouble that we foresaw needs none.
        foreseen = isinstance(error, Unavailable)
        line = format_event(
            "tempfail",
            queue_id=queue_id or "NOQUEUE",
            tenant=tenant or "-",
            cause=str(error) if foreseen else None,
        )
        log.error("%s", line, exc_info=None if foreseen else error)
        self.shared.count("error")
        try:
            set_reply(_LATER, self)
        except Exception as again:
            # Postfix is gone; it will not see any reply, and has not taken the message.
            log_event(log, logging.WARNING, "no-reply", queue_id=queue_id, cause=str(again))
        return int(Milter.TEMPFAIL)

    def _end(self) -> None:
        if self._counted:
            self.shared.in_flight.leave()
        self._counted = False
        self._message = self._view = self._trouble = None
