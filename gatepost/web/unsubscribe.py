"""What one-click unsubscription answers: a request in, an answer or an unsubscription out.

Purpose: decide apart from I/O, so that every rule is a row in a table of tests.
Source: RFC 8058 §3.1 (the URI alone tells who and what; no redirect), §3.2 (the POST has no
cookies; its body is ``List-Unsubscribe=One-Click``, multipart/form-data or
application/x-www-form-urlencoded); RFC 9110 §9 (what methods may change).
Format: the last segment of the path is a token of purpose unsubscribe; whatever stands before it
and in the query does not matter, since links in mail outlive a change of
``platform.unsubscribe_url``, and a web server may take the prefix away.

=============  ============================  =====================================================
method         what                          answer
=============  ============================  =====================================================
POST           a token of ours and the pair  unsubscribes; 200, 404 if the message is not known
POST           a token of ours, else         400 and the page with the button; nothing changes
GET, HEAD      a token of ours               200 and that page; nothing changes
any of them    anything else                 404, always the same page
OPTIONS        anything                      204 with ``Allow``
others         anything                      405 with ``Allow``
=============  ============================  =====================================================

A POST without the pair is refused although the token says all: RFC 8058 §3.1 has the pair so that a
program which merely tries out addresses, also by POST, does nothing.
Limits: 1,024 characters of a path, 4 KiB of a body, 200 characters of its type.
Errors: none.
Security: no page shows anything of the request or of the recipient. There is no script, no cookie
and nothing from elsewhere, and the policy in the header forbids it. Whether a token is forged,
expired, for something else or nonsense cannot be told from outside.
"""

from __future__ import annotations

import base64
import email
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from email.message import Message
from email.policy import compat32
from urllib.parse import parse_qsl

from gatepost.errors import MalformedMessage
from gatepost.feedback.list_unsubscribe import ONE_CLICK
from gatepost.feedback.token import Keyring, Purpose, Token, open_token

MAX_PATH = 1024
MAX_BODY_OCTETS = 4096
MAX_TYPE = 200
METHODS = "GET, HEAD, POST, OPTIONS"

_NAME, _, _VALUE = ONE_CLICK.partition("=")
_FORM = "application/x-www-form-urlencoded"
_MULTIPART = "multipart/form-data"
_STYLE = (
    "body{font:18px/1.5 sans-serif;max-width:32em;margin:3em auto;padding:0 1em;color:#222;"
    "background:#fff}button{font:inherit;padding:.5em 1em}"
)
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

# Of every answer.
HEADERS: Mapping[str, str] = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    ),
    "Content-Type": "text/html; charset=utf-8",
    "Referrer-Policy": "no-referrer",
    "Server": "gatepost",
    "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex, nofollow",
}


@dataclass(frozen=True, slots=True)
class Request:
    """What matters of a request.

    Attributes:
        method: In capitals.
        path: As it stands in the request line, without the query.
        content_type: Of the body, or empty.
        body: At most one octet more than `MAX_BODY_OCTETS`.
    """

    method: str
    path: str
    content_type: str = ""
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Answer:
    """What is answered.

    Attributes:
        result: For counting and the log.
        status: HTTP status.
        body: The page.
        more: Headers beside `HEADERS`.
    """

    result: str
    status: int
    body: bytes
    more: Mapping[str, str] = field(default_factory=dict)


def _page(title: str, text: str, form: str = "") -> bytes:
    return (
        "<!DOCTYPE html>\n"
        '<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{title}</title><style>{_STYLE}</style></head>\n"
        f"<body><h1>{title}</h1>\n<p>{text}</p>\n{form}</body></html>\n"
    ).encode()


_ASK = _page(
    "Unsubscribe",
    "Do you want no more mail of this sender? Your address is then taken off its list.",
    # To the address that the page came from, whatever a web server has made of it.
    f'<form method="post"><input type="hidden" name="{_NAME}" value="{_VALUE}">'
    "<button>Unsubscribe</button></form>\n",
)
_ALLOW = {"Allow": METHODS}
ASKED = Answer("asked", 200, _ASK)
DONE = Answer(
    "unsubscribed",
    200,
    _page("You are unsubscribed", "This sender will write to your address no more."),
)
NOT_FOUND = Answer(
    "not-found",
    404,
    _page(
        "Not found",
        "There is nothing here, or the link is too old. Please use the link of a newer message.",
    ),
)
INCOMPLETE = Answer("incomplete", 400, _ASK)
TOO_LARGE = Answer("too-large", 413, _page("Too large", "This is more than was asked for."))
NO_SUCH_METHOD = Answer(
    "method", 405, _page("Not allowed", "This address takes no such request."), _ALLOW
)
NO_REQUEST = Answer("no-http", 400, _page("Bad request", "This could not be read."))
OPTIONS = Answer("options", 204, b"", _ALLOW)
LATER = Answer(
    "later",
    503,
    _page("Please try again", "This does not work just now. Please try again in a minute."),
    {"Retry-After": "60"},
)
LIMITED = replace(LATER, result="limited", more={"Retry-After": "5"})


def decide(request: Request, keyring: Keyring, now: float) -> Answer | Token:
    """Return the answer to a request, or the token whose recipient it unsubscribes.

    Args:
        request: The request.
        keyring: The keys that may have signed a token.
        now: Unix time in seconds.
    """
    if request.method == "OPTIONS":
        return OPTIONS
    if request.method not in {"GET", "HEAD", "POST"}:
        return NO_SUCH_METHOD
    token = token_in(request.path, keyring, now)
    if token is None:
        return NOT_FOUND
    if request.method != "POST":
        return ASKED
    if len(request.body) > MAX_BODY_OCTETS:
        return TOO_LARGE
    return token if asks_for_one_click(request.content_type, request.body) else INCOMPLETE


def token_in(path: str, keyring: Keyring, now: float) -> Token | None:
    """Return the token that a path ends in, or None; arguments as of `decide`."""
    if len(path) > MAX_PATH:
        return None
    try:
        return open_token(path.rpartition("/")[2], Purpose.UNSUBSCRIBE, keyring, now)
    except MalformedMessage:
        return None


def asks_for_one_click(content_type: str, body: bytes) -> bool:
    """Tell whether a body holds the pair ``List-Unsubscribe=One-Click``.

    Args:
        content_type: Its type; a body without one is taken for a form, as programs that write their
            requests by hand send it.
        body: At most `MAX_BODY_OCTETS`.
    """
    if len(content_type) > MAX_TYPE or not content_type.isprintable():
        return False
    kind = content_type.partition(";")[0].strip().lower()
    if kind in {"", _FORM}:
        return (_NAME, _VALUE) in parse_qsl(body.decode("latin-1").strip())
    return kind == _MULTIPART and _in_parts(content_type, body)


def _in_parts(content_type: str, body: bytes) -> bool:
    head = f"Content-Type: {content_type}\r\n\r\n".encode("latin-1", "replace")
    whole = email.message_from_bytes(head + body, policy=compat32)
    return whole.is_multipart() and any(map(_is_the_pair, whole.walk()))


def _is_the_pair(part: Message) -> bool:
    if part.is_multipart() or part.get_param("name", header="content-disposition") != _NAME:
        return False
    payload = part.get_payload(decode=True)
    return isinstance(payload, bytes) and payload.strip() == _VALUE.encode()
