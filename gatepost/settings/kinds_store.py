"""Kinds of settings that say where the store is.

Format: ``sqlite:////path``, or ``postgresql://`` as libpq has it: hosts with ports, a database and
parameters of libpq's. The database must be named, here or by a service of libpq's.
Security: what is wrong with a URL is told without the password that may stand in it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

from gatepost.settings.places import is_of_the_system, parent_of
from gatepost.settings.problems import Rejected, quoted
from gatepost.settings.schema import Scalar, did_you_mean

_SERVER = "postgresql://gatepost@db.example.net/gatepost"
_SCHEMES = ("postgresql://", "postgres://")
_MAX_PORT = 65_535
# Of libpq 13 and newer.
_PARAMETERS = (
    *("host", "hostaddr", "port", "dbname", "user", "password", "passfile", "require_auth"),
    *("channel_binding", "connect_timeout", "client_encoding", "options", "application_name"),
    *("fallback_application_name", "keepalives", "keepalives_idle", "keepalives_interval"),
    *("keepalives_count", "tcp_user_timeout", "gssencmode", "sslmode", "sslnegotiation"),
    *("sslcompression", "sslcert", "sslkey", "sslpassword", "sslcertmode", "sslrootcert"),
    *("sslcrl", "sslcrldir", "sslsni", "requirepeer", "ssl_min_protocol_version"),
    *("ssl_max_protocol_version", "krbsrvname", "gsslib", "gssdelegation", "service"),
    *("servicefile", "target_session_attrs", "load_balance_hosts"),
)
_URL = re.compile(
    r"postgres(?:ql)?://(?:(?P<user>[^@/?#]*)@)?(?P<hosts>[^@/?#]*)(?:/(?P<name>[^@?#]*))?"
    r"(?:\?(?P<query>[^#]*))?"
)


def is_server(url: str) -> bool:
    """Tell whether a store's URL is one of PostgreSQL."""
    return url.startswith(_SCHEMES)


@dataclass(frozen=True, slots=True)
class ServerUrl:
    """The parts of a URL of PostgreSQL.

    Attributes:
        user: User, with a password behind a colon if there is one.
        hosts: Hosts, each with a port behind a colon if there is one.
        database: Name of the database, or empty.
        parameters: By name.
    """

    user: str = ""
    hosts: tuple[str, ...] = ()
    database: str = ""
    parameters: dict[str, str] = field(default_factory=dict)


def split_server(url: str) -> ServerUrl:
    """Return the parts of a URL of PostgreSQL.

    Raises:
        ValueError: If it is none.
    """
    found = _URL.fullmatch(url)
    if found is None or not url.isprintable() or " " in url:
        raise ValueError("no URL")
    query = found["query"]
    parameters = parse_qsl(query, keep_blank_values=True, strict_parsing=True) if query else []
    return ServerUrl(
        found["user"] or "",
        tuple(host for host in found["hosts"].split(",") if host),
        found["name"] or "",
        dict(parameters),
    )


def without_password(url: str) -> str:
    """Return a URL of PostgreSQL as it may be shown."""
    shown = re.sub(r"(://[^:@/]*):.*@", r"\1:***@", url)
    return re.sub(r"\b((?:ssl)?password=)[^&]*", r"\1***", shown)


def _server(text: str) -> str:
    shown = quoted(without_password(text))
    try:
        url = split_server(text)
    except ValueError:
        raise Rejected(f"{shown} is no URL of PostgreSQL", _write()) from None
    for name in url.parameters:
        if name not in _PARAMETERS:
            raise Rejected(
                f"{shown} has the parameter {quoted(name)}, which libpq does not know",
                did_you_mean(name, _PARAMETERS) or "take it out",
            )
    ports = [port[1:] for host in url.hosts if (port := re.sub(r"^(\[.*\])?[^:]*", "", host))]
    ports += [port for port in url.parameters.get("port", "").split(",") if port]
    for port in ports:
        if not (port.isascii() and port.isdigit() and 0 < int(port[:6]) <= _MAX_PORT):
            raise Rejected(f"{shown} has a port that is none", "write one such as 5432")
    if not (url.database or url.parameters.get("dbname") or url.parameters.get("service")):
        raise Rejected(f"{shown} names no database", _write())
    return text


def _write() -> str:
    return f"write one such as {_SERVER}"


def _store(text: str) -> str:
    if re.fullmatch(r"sqlite:////[^\0?#]+", text):
        directory = parent_of(text.removeprefix("sqlite:///"))
        if is_of_the_system(directory):
            raise Rejected(
                f"{quoted(text)} lies in {directory}, which belongs to the system",
                "put it into a directory of Gatepost's own, as in "
                "sqlite:////var/lib/gatepost/gatepost.db",
            )
        return text
    if text.startswith("sqlite:"):
        raise Rejected(
            f"{quoted(text)} has no absolute path",
            "write four slashes, as in sqlite:////var/lib/gatepost/gatepost.db",
        )
    if is_server(text):
        return _server(text)
    raise Rejected(
        f"{quoted(text)} is no store that this version supports",
        f"write sqlite:////var/lib/gatepost/gatepost.db or {_SERVER}",
    )


def _local_store(text: str) -> str:
    if not text.startswith("sqlite:"):
        shown = quoted(without_password(text))
        raise Rejected(
            f"{shown} is no file of SQLite, as what is one host's alone must be",
            "write sqlite:////var/lib/gatepost/gatepost.db, or leave local_state out",
        )
    return _store(text)


STORE = Scalar("the URL of a store", _store, "sqlite:////var/lib/gatepost/gatepost.db")
LOCAL_STORE = Scalar("the URL of a file of SQLite", _local_store, STORE.example)
