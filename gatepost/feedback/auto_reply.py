"""Automatic replies: vacation notes, receipts and the like, which are no bounces.

Purpose: they come back to the return path as bounces do, and say that the mail did arrive.
Source: RFC 3834 (Auto-Submitted), RFC 8098 (receipts), and the headers and subjects that software
used before them and beside them.
Format: `is_reply` holds what only a reply has; `is_automatic` what notices of failure have as well,
so it is asked after those.
Errors: none.
"""

from __future__ import annotations

import re

from gatepost.feedback.mime import Part, values
from gatepost.feedback.reading import Reading, declared
from gatepost.feedback.report import Kind

_RECEIPT = "disposition-notification"
_HEADERS = ("x-autoreply", "x-autorespond", "x-autoresponder", "x-auto-reply-from")
_NO = frozenset({"", "no", "false", "0"})
_PRECEDENCE = re.compile(r"auto[-_ ]?reply", re.IGNORECASE)
_VACATION = re.compile(r"vacation", re.IGNORECASE)
# As mail programs begin the subject of a reply in their users' languages.
_SUBJECT = re.compile(
    r"(?:(?:re|aw|sv|antw)\s*:\s*)*"
    r"(?:auto(?:matic(?:ally)?|mated)?(?:[ -]?generated)?[ -]?(?:reply|response|answer|responder)\b"
    r"|auto\s*:|out[ -]of[ -](?:the[ -])?office\b|i am out of (?:the )?office"
    r"|on (?:vacation|leave)\b|vacation (?:reply|notice|message|response)"
    r"|away from (?:my|the) (?:desk|office|mail)"
    r"|automatische antwor|automatisch antwoord|automatisches? antwort|abwesenheit|afwezig"
    r"|r[ée]ponse automatique|absence du bureau|respuesta autom[áa]tica|fuera de la oficina"
    r"|resposta autom[áa]tica|risposta automatica|fuori sede|autosvar|automatiskt? svar"
    r"|automaattinen vastaus|automatick[áa] odpov|odpowied[źz] automatyczna|automatyczna odpowied"
    r"|otomatik yan|автоответ|自動(?:返信|応答|回覆)|自动(?:回复|答复)|자동 ?(?:회신|응답))",
    re.IGNORECASE,
)


def read_reply(mail: Part) -> Reading | None:
    """Return what a mail is that only a reply to a person's mail can be, or None."""
    if declared(mail) == _RECEIPT:
        return _reading("a receipt (RFC 8098)")
    if any(_first(mail, name).lower() not in _NO for name in _HEADERS):
        return _reading("a header says that it is an automatic reply")
    if _PRECEDENCE.match(_first(mail, "precedence")):
        return _reading("its precedence is that of an automatic reply")
    submitted = _first(mail, "auto-submitted")
    if _VACATION.search(submitted) or _VACATION.search(_first(mail, "x-mailer")):
        return _reading("a vacation program sent it")
    if _SUBJECT.match(_first(mail, "subject")):
        return _reading("its subject is that of an automatic reply")
    return None


def read_automatic(mail: Part) -> Reading | None:
    """Return what a mail is that no person sent, as its header says, or None.

    Notices of failure say so as well; whoever asks has tried to read one before.
    """
    submitted = _first(mail, "auto-submitted").partition(";")[0].strip().lower()
    if submitted not in _NO:
        return _reading(f"Auto-Submitted is {submitted[:40]} (RFC 3834)")
    return None


def is_reply_to(mail: Part) -> bool:
    """Tell whether a mail answers another one automatically, RFC 3834 §5."""
    return _first(mail, "auto-submitted").lower().startswith("auto-replied")


def _reading(why: str) -> Reading:
    return Reading(Kind.AUTO_REPLY, "auto-reply", notes=(why,))


def _first(mail: Part, name: str) -> str:
    return next(iter(values(mail, name)), "")
