"""Bounces that follow no standard, known by the sentences of the software that wrote them.

Purpose: qmail, Exim, Exchange, Domino, old Sendmail and others tell in plain text which recipients
failed. Postfix's own notices are read so where somebody on the way has cut their parts off.
Source: samples of each; QSBMF (qmail-send bounce message format) for qmail.
Format: a sentence begins a list; in it, a line that begins with an address begins a recipient, and
what follows is the reason. A line that somebody quotes begins with ">", and so begins none. A list
ends where another begins, or the copy of the message. Where a recipient has no reason of its own,
what else the notice says about it counts, or else all of it. Mail of a mail system that tells of
failure in other words names its recipients in lines that hold nothing else, or not at all.
Limits: the first 32 KiB and 1,000 lines of text, so 1,000 recipients; 2,000 characters of a reason.
Errors: none.
Security: each line is looked at a fixed number of times. All of it is a claim.
Not handled: addresses without a domain, which are local to the host that wrote the notice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from gatepost.errors import MalformedMessage
from gatepost.feedback.addresses import MAX_RECIPIENTS, bare_address
from gatepost.feedback.bounce_rules import UNCLASSIFIED
from gatepost.feedback.classify import classify, codes_of
from gatepost.feedback.dsn import DELAYED, FAILED, MAX_DIAGNOSTIC
from gatepost.feedback.mime import Part, clean, parse_mime, text_of, values
from gatepost.feedback.report import ReportedRecipient

_MAX_CHARACTERS: Final = 32 * 1024
_MAX_LINES: Final = 1000
_MAX_REASON: Final = 2000

# What begins a list of recipients, in lower case and with one blank between words.
_LISTS: Final = {
    # Exim; GMX; Mail.ru
    "the following address(es) failed": FAILED,
    "the following address failed": FAILED,
    "could not be delivered to one or more of its recipients": FAILED,
    "could not be delivered to all of its recipients": FAILED,
    "has not been delivered to all of its recipients": DELAYED,
    "to which the message has not yet been delivered": DELAYED,
    # qmail and its relatives
    "this is the qmail-send program": FAILED,
    "wasn't able to deliver your message": FAILED,
    "was not able to deliver your message to the following addresses": FAILED,
    # Postfix
    "this is the mail system at host": FAILED,
    "this is the postfix program at host": FAILED,
    "this is a warning only": DELAYED,
    "it will be retried until it is": DELAYED,
    # Sendmail
    "the following addresses had permanent": FAILED,
    "the following address had permanent": FAILED,
    "the following addresses had delivery problems": FAILED,
    "the following addresses have delivery problems": FAILED,
    "the following addresses had successful": "delivered",
    "the following addresses had transient": DELAYED,
    # Exchange, IIS, hMailServer
    "did not reach the following recipient(s)": FAILED,
    "the following recipient(s) could not be reached": FAILED,
    "the following recipient(s) cannot be reached": FAILED,
    "delivery has failed to these recipients": FAILED,
    "diagnostic information for administrators": FAILED,
    "delivery to the following recipients failed": FAILED,
    "delivery to these recipients or groups is delayed": DELAYED,
    "delivery is delayed to these recipients": DELAYED,
    # Google, before it sent reports
    "delivery to the following recipient failed": FAILED,
    "delivery to the following recipient has been delayed": DELAYED,
    "delivery to the following recipients has been delayed": DELAYED,
    # Yahoo
    "unable to deliver message to the following address": FAILED,
    "unable to deliver your message to the following": FAILED,
    # Domino
    "failure reasons": FAILED,
    "was not delivered to:": FAILED,
    # Courier, OpenSMTPD, Amazon, GroupWise, MDaemon, others
    "to the following recipients cannot be delivered": FAILED,
    "to the following recipients could not be delivered": FAILED,
    "deliver a message for the following list of recipients": FAILED,
    "deliver the mail to the following recipients": FAILED,
    "was undeliverable to the following": FAILED,
    "unable to reach the following recipients": FAILED,
    "could not be delivered to the following": FAILED,
    "cannot be delivered to the following": FAILED,
    "not delivered to the following": FAILED,
    "failed address": FAILED,
    "failed recipient": FAILED,
}
# Where the reasons stand apart from the recipients.
_TRANSCRIPTS: Final = ("transcript of session follows", "session transcript")
# What stands above the copy of the message, and what the copy itself begins with.
_ABOVE_COPY: Final = re.compile(
    r"\s{0,9}(?:-{2,}\s{0,3}(?:below (?:this|the next) line|this is a copy|original message"
    r"|message header|unsent message|returned message|the header of the original|undelivered"
    r"|enclosed (?:is|are)|message text follows|attached is|mail sent|header of)"
    r"|original message (?:headers?|follows)|message headers? follow|below is a copy of"
    r"|possibly truncated original)",
    re.IGNORECASE,
)
_COPY: Final = re.compile(
    r"(?:received|return-path|mime-version|x-[a-z-]{1,40})[ \t]{0,3}:[ \t]", re.IGNORECASE
)
_EXPANDED: Final = re.compile(
    r"(?:expanded from|generated (?:by|from))[ :]{0,3}(<?[^\s<>()]{1,300})", re.IGNORECASE
)
# What tells one recipient in a sentence, in lower case.
_IN_SENTENCE: Final = re.compile(
    r"(?:undeliverable to|failed to deliver to|failed recipient|unknown user|rcpt to"
    r"|recipient address|(?:your|the|this|following) (?:mail|message|e-?mail) to"
    r"|deliver(?:y|ed|ing)?(?: your| the| a| this)?(?: mail| message| e-?mail| it)? to)"
    r"[ :]{0,3}['\"<]{0,2}([^\s'\"<>]{1,64}@[^\s'\"<>]{1,255})"
)
_FAILURE: Final = re.compile(
    r"undeliver|error delivering|not (?:be )?delivered|n't (?:be )?delivered"
    r"|deliver[a-z]{0,3} (?:has )?fail|(?:failed|unable) to deliver"
    r"|(?:cannot|could not|couldn't) deliver"
    r"|returned mail|mail returned|returned to sender|failure notice|bounced|rejected"
    r"|unzustellbar|nicht zugestellt|non remis|no entregado|non recapitabil"
)
_DELAY: Final = re.compile(
    r"delayed|still (?:being )?(?:try|retr)|will (?:be retr|keep try|continue)|not yet been"
    r"|will try again|still in the queue|verzögert|temporarily deferred"
)
_DAEMON: Final = re.compile(
    r"(?:mailer[-_.]?daemon|postmaster|mail[-_.]?daemon|mdaemon|maildeliver[a-z]*|mail[-_.]delivery"
    r"|mail[-_.]?system|system[-_.]?administrator|microsoftexchange[0-9a-f]*|notes[-_.]?admin)@",
    re.IGNORECASE,
)
# The DragonFly Mail Agent writes "MAILER-DAEMON <>".
_DAEMON_ALONE: Final = re.compile(r"[\"<]{0,2}mailer-daemon\b", re.IGNORECASE)
_ANSWER: Final = re.compile(r"\s{0,9}(?:re|aw|sv|antw|fw|fwd|wg)\s{0,3}:", re.IGNORECASE)
# How transcripts mark what the other side said.
_REPLY: Final = ("<<<", "<--", "<=")
_STRIPPED: Final = "*-|\t "


@dataclass(slots=True)
class _Found:
    """A recipient that is being read."""

    address: str
    action: str
    original: str = ""
    lines: list[str] = field(default_factory=list)


def read_bounce_text(mail: Part) -> tuple[ReportedRecipient, ...] | None:
    """Return the recipients that a notice tells of, or None if the mail is no notice.

    Those that failed are classified; others are not. An address is empty where none was told.
    """
    from_daemon = _is_from_daemon(mail)
    if not from_daemon and any(map(_ANSWER.match, values(mail, "subject"))):
        # Somebody passes on, or complains of, a notice that was sent to somebody else.
        return None
    lines = _notice_lines(mail)
    found, rest = _Scanner().scan(lines)
    if not found:
        found = list(_told_otherwise(mail, lines))
    otherwise = _text(rest) or _text(lines)
    folded = [line.lower() for line in rest]
    return tuple(_reported(each, folded, otherwise) for each in found) or None


def original_in_text(mail: Part) -> Part | None:
    """Return the copy of the message that stands at the end of a notice, or None."""
    text = text_of(mail)
    place = 0
    for line in text.split("\n")[:_MAX_LINES]:
        above = _ABOVE_COPY.match(line)
        if above or _COPY.match(line):
            place += len(line) + 1 if above else 0
            try:
                copy = parse_mime(text[place:].lstrip("\n").encode("utf-8", "replace"))
            except MalformedMessage:
                return None
            return copy if copy.headers else None
        place += len(line) + 1
    return None


def _is_from_daemon(mail: Part) -> bool:
    if values(mail, "x-failed-recipients"):
        return True
    return any(
        _DAEMON.match(bare_address(value)) or _DAEMON_ALONE.match(value)
        for value in values(mail, "from")
    )


def _notice_lines(mail: Part) -> list[str]:
    """Return the lines before the copy of the message."""
    lines = []
    for line in text_of(mail)[:_MAX_CHARACTERS].split("\n")[:_MAX_LINES]:
        if _ABOVE_COPY.match(line) or _COPY.match(line):
            break
        lines.append(line.strip())
    return lines


class _Scanner:
    """Reads the lists of one notice, line by line."""

    def __init__(self) -> None:
        self._found: dict[str, _Found] = {}
        self._current: _Found | None = None
        # Lines that belong to no recipient.
        self._rest: list[str] = []
        self._action = ""

    def scan(self, lines: list[str]) -> tuple[list[_Found], list[str]]:
        """Return the recipients, and the lines of the lists that belong to none."""
        before = ""
        for line in lines:
            folded = " ".join(line.lower().split())
            # A sentence may go over three lines.
            window = f"{before} {folded}"
            action = _begins(window, len(before))
            if action:
                self._begin(action, line)
            elif any(each in folded for each in _TRANSCRIPTS):
                self._current = None
                self._action = ""
            elif self._action:
                self._take(line)
            elif self._rest or self._found:
                self._rest.append(line)
            before = window[-160:]
        return list(self._found.values()), self._rest

    def _begin(self, action: str, line: str) -> None:
        self._action = action
        self._current = None
        # What follows in the same line, such as "Failed address: bob@example.org".
        self._take(line.rpartition(": ")[2])

    def _take(self, line: str) -> None:
        words = line.lstrip(_STRIPPED).split(None, 1)
        address = bare_address(words[0]) if words and "@" in words[0] else ""
        expanded = _EXPANDED.search(line)
        if address:
            self._start(address)
            if len(words) > 1:
                self._add(words[1])
        elif expanded and bare_address(expanded[1]):
            if self._current is None:
                self._start(bare_address(expanded[1]))
            elif not self._current.original:
                self._current.original = bare_address(expanded[1])
        else:
            self._add(line)

    def _start(self, address: str) -> None:
        new = _Found(address, self._action)
        self._current = self._found.setdefault(address.lower(), new)

    def _add(self, line: str) -> None:
        (self._rest if self._current is None else self._current.lines).append(line)


def _begins(window: str, before: int) -> str:
    """Return the action of the list that begins in a line, or an empty text.

    Args:
        window: The line, with some of what stands before it.
        before: How much that is: a sentence that ends in there has begun its list already.
    """
    for sentence, action in _LISTS.items():
        place = window.rfind(sentence)
        if place >= 0 and place + len(sentence) > before:
            return action
    return ""


def _told_otherwise(mail: Part, lines: list[str]) -> Iterator[_Found]:
    """Yield the recipients of a notice of a mail system that has sentences of its own."""
    subject = " ".join(values(mail, "subject")).lower()
    text = " ".join(" ".join(lines).lower().split())
    by_subject = bool(_FAILURE.search(subject))
    if not by_subject and not (_is_from_daemon(mail) and _FAILURE.search(text)):
        return
    if not _is_from_daemon(mail) and "<>" not in values(mail, "return-path"):
        return
    action = DELAYED if _DELAY.search(subject) or _DELAY.search(text) else FAILED
    own = {bare_address(value).lower() for value in (*values(mail, "to"), *values(mail, "from"))}
    named = [
        bare_address(each) for each in ",".join(values(mail, "x-failed-recipients")).split(",")
    ]
    alone = [bare_address(line) for line in lines if "@" in line and " " not in line]
    told = [bare_address(each) for each in _IN_SENTENCE.findall(text)]
    for addresses in (named, alone, told):
        wanted = dict.fromkeys(each for each in addresses if each and each.lower() not in own)
        if wanted:
            yield from (_Found(each, action) for each in list(wanted)[:MAX_RECIPIENTS])
            return
    yield _Found("", action)


def _reported(found: _Found, rest: list[str], otherwise: str) -> ReportedRecipient:
    """Return a recipient with its reason.

    Args:
        found: The recipient.
        rest: The lines that belong to no recipient, in lower case.
        otherwise: What counts if nothing is said of this recipient.
    """
    reason = _text(found.lines)
    about = reason or _text(_lines_about(found.address.lower(), rest))
    if not about or (not reason and _says_nothing(about)):
        about = otherwise
    status, _ = codes_of("", about, "")
    return ReportedRecipient(
        found.address,
        status,
        found.action,
        clean(reason)[:MAX_DIAGNOSTIC],
        classify(status, about) if found.action == FAILED else None,
        original_address=found.original,
    )


def _says_nothing(text: str) -> bool:
    return classify("", text).bounce_class == UNCLASSIFIED


def _text(lines: list[str]) -> str:
    return " ".join(" ".join(lines).split())[:_MAX_REASON]


def _lines_about(address: str, rest: list[str]) -> list[str]:
    """Return the lines of a transcript that name an address, and the replies that follow."""
    wanted: list[str] = []
    follows = False
    for line in rest:
        follows = (address != "" and address in line) or (follows and line.startswith(_REPLY))
        if follows:
            wanted.append(line)
    return wanted
