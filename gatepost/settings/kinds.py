"""Kinds of values: how each is written, and what is said to who writes it otherwise.

Source: RFC 5322 §2.2 (field names), RFC 4632 §3.1 (CIDR), postconf(5) (times, fingerprints).
Limits: a login of 255 characters; a header name of 64; a duration of 30 days.
Errors: each parser raises `Rejected`.
Security: a header that says who somebody is cannot be taken as a label by a tenant's configuration.
A directory of the system or of Postfix cannot be named as one of Gatepost's own; which others are
not ours is seen at the start, by their owner, see `gatepost.runtime.privileges`.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import re
from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

from gatepost.domains import normalise_domain
from gatepost.errors import MalformedMessage
from gatepost.feedback.session import SESSION_HEADER
from gatepost.feedback.token import MAX_KEY_ID, MIN_KEY_OCTETS
from gatepost.settings.model import Address
from gatepost.settings.places import OF_POSTFIX, is_of_the_system
from gatepost.settings.problems import Rejected, quoted
from gatepost.settings.schema import Scalar, did_you_mean, listed

E = TypeVar("E", bound=StrEnum)
T = TypeVar("T")

Network = tuple[int, int, int, str]

JOURNAL = "journal"

_MAX_LOGIN = 255
_MAX_HEADER = 64
_MAX_PORT = 65535
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}

# Most domains are written in normal form already; anything else takes the long way.
_NORMAL = re.compile(
    r"(?=.{1,253}\Z)(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?"
)
_IPV4 = re.compile(r"[0-9.]+")
_DURATION = re.compile(r"([0-9]{1,9})([smhd])")
_FINGERPRINT = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2})+")
_DIGEST_OCTETS = frozenset({16, 20, 28, 32, 48, 64})
_HEADER = re.compile(r"[!-9;-~]+")
_ABSOLUTE = re.compile(r"/[^\0]*")
_TRUE = frozenset({"true", "yes", "on"})
_FALSE = frozenset({"false", "no", "off"})

# Fields that mean something to every mail system; ours may not take their place.
_RESERVED_HEADERS = frozenset(
    {
        *("authentication-results", "bcc", "cc", "content-transfer-encoding", "content-type"),
        *("date", "dkim-signature", "feedback-id", "from", "list-unsubscribe"),
        *("list-unsubscribe-post", "message-id", "mime-version", "received", "reply-to"),
        *("resent-from", "resent-to", "return-path", "sender", "subject", "to"),
    }
)


def matching(label: str, pattern: str, example: str) -> Scalar[str]:
    """Return the kind of texts that match a pattern as a whole."""
    compiled = re.compile(pattern)

    def parse(text: str) -> str:
        if compiled.fullmatch(text) is None:
            raise Rejected(f"{quoted(text)} is not {label}", f"write one such as {example}")
        return text

    return Scalar(label, parse, example)


def choice(values: Mapping[str, T], example: str) -> Scalar[T]:
    """Return the kind of one of several words."""
    label = f"one of {', '.join(values)}"

    def parse(text: str) -> T:
        try:
            return values[text]
        except KeyError:
            remedy = did_you_mean(text.lower(), values) or f"write {listed(values)}".replace(
                " and ", " or "
            )
            raise Rejected(f"{quoted(text)} is not {label}", remedy) from None

    return Scalar(label, parse, example, tuple(values))


def choice_of(enum: type[E]) -> Scalar[E]:
    """Return the kind of one member of an enumeration."""
    members = {member.value: member for member in enum}
    return choice(members, next(iter(members)))


def text(limit: int) -> Scalar[str]:
    """Return the kind of printable texts for people."""

    def parse(value: str) -> str:
        if value.isprintable() and len(value) <= limit:
            return value
        raise Rejected(
            f"{quoted(value)} is no text for people", f"write at most {limit} printable characters"
        )

    return Scalar("a text", parse, '"a text"')


def whole_number(low: int, high: int, example: str) -> Scalar[int]:
    """Return the kind of whole numbers in a range."""
    label = f"a whole number from {low} to {high}"

    def parse(text: str) -> int:
        short = text.isascii() and text.isdigit() and len(text) <= len(str(high))
        if short and low <= (number := int(text)) <= high:
            return number
        raise Rejected(f"{quoted(text)} is not {label}", f"write a number such as {example}")

    return Scalar(label, parse, example)


def duration(low_s: int, high_s: int, example: str) -> Scalar[int]:
    """Return the kind of times in seconds, written with a unit."""
    label = f"a time from {low_s} s to {high_s} s"

    def parse(text: str) -> int:
        found = _DURATION.fullmatch(text)
        if found is None:
            raise Rejected(
                f"{quoted(text)} is not a time",
                f"write a number with s, m, h or d, as in {example}",
            )
        seconds = int(found[1]) * _UNITS[found[2]]
        if not low_s <= seconds <= high_s:
            raise Rejected(f"{quoted(text)} is not {label}", f"write a time such as {example}")
        return seconds

    return Scalar(label, parse, example)


def _boolean(text: str) -> bool:
    lower = text.lower()
    if lower in _TRUE or lower in _FALSE:
        return lower in _TRUE
    raise Rejected(f"{quoted(text)} is neither yes nor no", "write yes or no")


def _domain(text: str) -> str:
    if _NORMAL.fullmatch(text) is not None:
        return text
    if "@" in text:
        raise Rejected(
            f"{quoted(text)} is an address", f"write its domain: {text.rpartition('@')[2]}"
        )
    if text.startswith("*."):
        raise Rejected(
            f"{quoted(text)} is not a domain name",
            f"write {text[1:]} for the sub-domains, and {text[2:]} for the domain itself",
        )
    if text.startswith("[") or ":" in text:
        host = text.removeprefix("[").partition("]")[0]
        if _IPV4.fullmatch(host) or ":" in host.partition(":")[2]:
            raise Rejected(f"{quoted(text)} is an IP address, not a domain name", "write a name")
        raise Rejected(
            f"{quoted(text)} is a next-hop, not a domain name",
            "write the name alone; it counts whatever the brackets and the port are",
        )
    try:
        name = normalise_domain(text)
    except MalformedMessage as error:
        raise Rejected(
            f"{quoted(text)} is not a domain name ({error.rule})",
            "write one such as mail.example.org",
        ) from error
    if name.rpartition(".")[2].isdigit():
        raise Rejected(f"{quoted(text)} is an IP address, not a domain name", "write a name")
    return name


def _plain_domain(text: str) -> str:
    if text.startswith("."):
        raise Rejected(
            f"{quoted(text)} stands for sub-domains, which is not possible here",
            f"write {text[1:]}, and each sub-domain in full",
        )
    return _domain(text)


def _domain_or_parent(text: str) -> str:
    return "." + _domain(text[1:]) if text.startswith(".") else _domain(text)


def _certificate_name(text: str) -> str:
    # Postfix gives these words a meaning in "match", which the join of two rules cannot know.
    if text.lower() in {"hostname", "nexthop", "dot-nexthop"}:
        raise Rejected(
            f"{quoted(text)} is a word of Postfix, not a name",
            "write names; without match, the name of the MX host is required",
        )
    return _domain_or_parent(text)


def _network(text: str) -> Network:
    try:
        network = ipaddress.ip_network(text)
    except ValueError as error:
        try:
            loose = ipaddress.ip_network(text, strict=False)
        except ValueError:
            raise Rejected(
                f"{quoted(text)} is neither an IP address nor a network",
                "write one such as 192.0.2.0/24 or 2001:db8::/32",
            ) from error
        raise Rejected(
            f"{quoted(text)} has bits set behind the prefix", f"write {loose}"
        ) from error
    if network.prefixlen == 0:
        raise Rejected(f"{quoted(text)} is every client there is", "write the tenant's own network")
    first = network.network_address
    if isinstance(first, ipaddress.IPv6Address) and first.ipv4_mapped is not None:
        mapped = f"{first.ipv4_mapped}/{max(network.prefixlen - 96, 0)}"
        raise Rejected(f"{quoted(text)} is an IPv4 network in IPv6 form", f"write {mapped}")
    return network.version, network.prefixlen, int(first), str(network)


def _address(text: str) -> tuple[int, str]:
    try:
        address = ipaddress.ip_address(text)
    except ValueError as error:
        raise Rejected(
            f"{quoted(text)} is not an IP address", "write one such as 192.0.2.10"
        ) from error
    if address.is_unspecified or address.is_multicast:
        raise Rejected(
            f"{quoted(text)} is no address to send from", "write an address of this host"
        )
    return address.version, str(address)


def _fingerprint(text: str) -> str:
    lower = text.lower()
    plain = lower.replace(":", "")
    if len(plain) // 2 in _DIGEST_OCTETS and re.fullmatch("[0-9a-f]+", plain):
        colons = ":".join(plain[at : at + 2] for at in range(0, len(plain), 2))
        if lower == colons:
            return lower
        raise Rejected(f"{quoted(text, 30)} lacks colons", f"write {colons}")
    if _FINGERPRINT.fullmatch(lower):
        raise Rejected(
            f"{quoted(text, 30)} has {len(plain) // 2} octets, which no digest has",
            "write the whole fingerprint, as smtpd_tls_fingerprint_digest makes it",
        )
    raise Rejected(
        f"{quoted(text, 30)} is not a fingerprint",
        "write pairs of hexadecimal digits with colons between them",
    )


def _login(text: str) -> str:
    if not text or len(text) > _MAX_LOGIN or not text.isprintable() or text != text.strip():
        raise Rejected(
            f"{quoted(text)} is no login",
            f"write at most {_MAX_LOGIN} printable characters, as the client gives them",
        )
    return text


def _listener(text: str) -> str:
    # What attach has Postfix tell the policy server of every listener without a name.
    if text == "-":
        raise Rejected(
            '"-" stands for each listener that has no name',
            "give it one, as milter_macro_daemon_name in master.cf",
        )
    return _LISTENER_NAME.parse(text)


def _header(text: str) -> str:
    if not _HEADER.fullmatch(text) or len(text) > _MAX_HEADER:
        raise Rejected(
            f"{quoted(text)} is not the name of a header",
            f"write at most {_MAX_HEADER} ASCII characters without blank and colon",
        )
    if text.lower() == SESSION_HEADER.lower():
        raise Rejected(f"{quoted(text)} is used by Gatepost itself", "choose another name")
    return text


def _own_header(text: str) -> str:
    if text.lower() in _RESERVED_HEADERS:
        raise Rejected(
            f"{quoted(text)} has a meaning for every mail system",
            "choose a name such as X-Tenant-ID",
        )
    return _header(text)


def _sender_id(text: str) -> str:
    if not 5 <= len(text) <= 15:
        raise Rejected(
            f"{quoted(text)} has {len(text)} characters; Gmail wants 5 to 15",
            f"write a {'longer' if len(text) < 5 else 'shorter'} one, and never change it again",
        )
    if not re.fullmatch(r"[A-Za-z0-9._-]+", text):
        raise Rejected(
            f"{quoted(text)} has characters that are not safe in Feedback-ID",
            "use letters, digits, dot, hyphen and underscore",
        )
    return text


def _listen(text: str) -> Address | None:
    if text.lower() in _FALSE:
        return None
    host, colon, port = text.rpartition(":")
    try:
        bracketed = host.startswith("[") and host.endswith("]")
        address = ipaddress.ip_address(host[1:-1] if bracketed else host)
        fits = bool(colon) and (address.version == 6) == bracketed
        if fits and port.isascii() and port.isdigit() and 1 <= int(port[:6]) <= _MAX_PORT:
            return Address(str(address), int(port))
    except ValueError:
        pass
    raise Rejected(
        f"{quoted(text)} is not an IP address with a port",
        "write one such as 127.0.0.1:9464 or [::1]:9464, or off",
    )


def _maillog(text: str) -> str | None:
    if text.lower() in _FALSE:
        return None
    if text == JOURNAL or _ABSOLUTE.fullmatch(text):
        return text
    raise Rejected(
        f"{quoted(text)} is neither a file nor the journal",
        f"write the absolute path of a file, such as /var/log/mail.log, or {JOURNAL}, or off",
    )


def absolute(text: str) -> str:
    """Return a path that begins at the root.

    Raises:
        Rejected: If it does not.
    """
    if not _ABSOLUTE.fullmatch(text):
        raise Rejected(f"{quoted(text)} is not an absolute path", "begin it with /")
    return text


def _own_directory(text: str) -> str:
    if is_of_the_system(absolute(text)):
        raise Rejected(
            f"{quoted(text)} belongs to the system",
            "name a directory of Gatepost's own, such as /run/gatepost",
        )
    return text


def _socket_dir(text: str) -> str:
    if text in OF_POSTFIX:
        raise Rejected(
            f"{quoted(text)} is a directory of Postfix's own queue directory",
            "name one that Postfix does not use, such as gatepost",
        )
    return _DIRECTORY_NAME.parse(text)


def _file(text: str) -> str:
    if not text or "\0" in text:
        raise Rejected(f"{quoted(text)} is no path", "write a path")
    return text


BOOLEAN = Scalar("yes or no", _boolean, "yes")
DOMAIN = Scalar("a domain name", _plain_domain, "example.org")
DOMAIN_OR_PARENT = Scalar(
    "a domain name, or .domain for its sub-domains", _domain_or_parent, "example.org"
)
CERTIFICATE_NAME = Scalar(
    "a host name, or .domain for names below it", _certificate_name, "mx.example.org"
)
NETWORK = Scalar("an IP address or network", _network, "192.0.2.0/24")
ADDRESS = Scalar("an IP address", _address, "192.0.2.10")
FINGERPRINT = Scalar("a certificate fingerprint", _fingerprint, "b1:2f:6e:…")
LOGIN = Scalar("a login", _login, "acme")
HEADER = Scalar("the name of a header", _header, "X-Campaign")
OWN_HEADER = Scalar("the name of a header", _own_header, "X-Tenant-ID")
SENDER_ID = Scalar("a SenderId of 5 to 15 characters", _sender_id, "examplesp")
MAILLOG = Scalar("an absolute path, journal or off", _maillog, "/var/log/mail.log")
LISTEN = Scalar("an IP address with port, or off", _listen, "127.0.0.1:9464")
DIRECTORY = Scalar("an absolute path", absolute, "/etc/postfix")
OWN_DIRECTORY = Scalar("an absolute path", _own_directory, "/run/gatepost")
FILE = Scalar("a path", _file, "keys.yaml")
ACCOUNT = matching("an account name", r"[a-z_][a-z0-9_-]{0,31}", "gatepost")
_DIRECTORY_NAME = matching(
    "the name of a directory, without slashes", r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}", "gatepost"
)
SOCKET_DIR = Scalar(_DIRECTORY_NAME.label, _socket_dir, _DIRECTORY_NAME.example)
TENANT_ID = matching(
    "a tenant id: at most 31 of a-z, 0-9 and hyphen, no hyphen first",
    r"[a-z0-9][a-z0-9-]{0,30}",
    "acme",
)
SHORT_NAME = matching(
    "a name of at most 16 of a-z and 0-9 that begins with a letter",
    r"[a-z][a-z0-9]{0,15}",
    "private",
)
_LISTENER_NAME = matching(
    "the name of a listener: printable ASCII without spaces", r"[!-~]{1,128}", "submission"
)
LISTENER = Scalar(_LISTENER_NAME.label, _listener, _LISTENER_NAME.example)


def _key_name(text: str) -> str:
    return str(KEY_ID.parse(text))


def _secret(text: str) -> bytes:
    # The text must not be in the message: it may be a secret with one wrong digit.
    try:
        octets = bytes.fromhex(text)
    except ValueError as error:
        raise Rejected(
            "is not hexadecimal", "write pairs of hexadecimal digits, or run gatepost init"
        ) from error
    if len(octets) < MIN_KEY_OCTETS:
        raise Rejected(
            f"has {len(octets)} octets, which is too easy to guess",
            f"write at least {MIN_KEY_OCTETS} random octets, or run gatepost init",
        )
    return octets


def _date(text: str) -> str:
    try:
        return dt.date.fromisoformat(text).isoformat()
    except ValueError as error:
        raise Rejected(f"{quoted(text)} is not a date", "write one such as 2030-12-31") from error


KEY_ID = whole_number(0, MAX_KEY_ID, "1")
KEY_NAME = Scalar(f"a key number from 0 to {MAX_KEY_ID}", _key_name, "1")
SECRET = Scalar("a secret in hexadecimal", _secret, "64 hexadecimal digits")
DATE = Scalar("a date", _date, "2030-12-31")
