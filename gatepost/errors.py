"""Every error that Gatepost raises on purpose, in one hierarchy.

::

    GatepostError
    ├── ConfigError            one problem in a configuration, with file, line and remedy
    ├── ConfigErrors           all problems of a configuration at once
    ├── ProtocolError          (abstract) a peer or we broke a wire protocol
    │   ├── RemoteProtocolError    the peer did; the connection is closed without a reply
    │   └── LocalProtocolError     we did; a bug of ours
    ├── MalformedMessage       mail, a token or a header that breaks a rule named in the error
    ├── Unavailable            something we depend on is slow, down or wrong
    │   ├── StoreUnavailable       the database
    │   ├── PolicyUnavailable      the policy server, asked by the milter
    │   ├── LogUnavailable         the mail log cannot be read
    │   ├── CountersUnavailable    Valkey, or it answers what makes no sense
    │   └── PostfixUnavailable     postconf or postfix failed, or is not installed
    ├── StartError             a role cannot start, or cannot be reached to be told something
    └── AttachError            a change of main.cf or master.cf that we refuse to make

What Postfix sees: ``Unavailable`` becomes TEMP on a map, a closed connection on a policy
service (Postfix then uses its default_action, DEFER) and a temporary failure in the milter.
``RemoteProtocolError`` becomes a closed connection. Nothing else may reach the wire: each adapter
has one place that maps exceptions, and only that place catches ``Exception``.
"""

from __future__ import annotations

from collections.abc import Iterable


class GatepostError(Exception):
    """Base of all errors raised on purpose."""


class ConfigError(GatepostError):
    """One problem in a configuration.

    Attributes:
        file: Path as the operator named it.
        line: 1-based line, or 0 where the whole file is meant.
        path: Dotted path of the setting, such as ``tenants.acme.profile``; empty for a file.
        problem: What is wrong, without a full stop.
        remedy: What to write instead, without a full stop.
    """

    def __init__(self, file: str, line: int, path: str, problem: str, remedy: str) -> None:
        self.file = file
        self.line = line
        self.path = path
        self.problem = problem
        self.remedy = remedy
        super().__init__(str(self))

    def __str__(self) -> str:
        """Return ``file:line: path: problem; remedy``, the form that ``gatepost check`` prints."""
        where = f"{self.file}:{self.line}" if self.line else self.file
        path = f"{self.path}: " if self.path else ""
        return f"{where}: {path}{self.problem}; {self.remedy}"


class ConfigErrors(GatepostError):
    """All problems of one configuration, in file order.

    Attributes:
        errors: What must be mended.
        warnings: What is probably not meant so, besides.
    """

    def __init__(self, errors: Iterable[ConfigError], warnings: Iterable[ConfigError] = ()) -> None:
        self.errors = tuple(errors)
        self.warnings = tuple(warnings)
        super().__init__("\n".join(str(error) for error in self.errors))


class ProtocolError(GatepostError):
    """Somebody broke a wire protocol; raise one of the two subclasses."""

    def __init__(self, message: str) -> None:
        if type(self) is ProtocolError:
            raise TypeError("raise RemoteProtocolError or LocalProtocolError")
        super().__init__(message)


class RemoteProtocolError(ProtocolError):
    """The peer sent what the protocol forbids: log one line and close without a reply."""


class LocalProtocolError(ProtocolError):
    """Our own code used a codec wrongly, such as two replies to one request."""


class MalformedMessage(GatepostError):
    """Mail, a header or a token that breaks a rule.

    Attributes:
        rule: The rule broken, such as ``RFC 5965 §3``.
    """

    def __init__(self, message: str, *, rule: str) -> None:
        self.rule = rule
        super().__init__(f"{message} ({rule})")


class Unavailable(GatepostError):
    """A dependency cannot answer now; the MTA must see a temporary failure."""


class StoreUnavailable(Unavailable):
    """The database cannot be opened, is locked for too long, or has another schema."""


class PolicyUnavailable(Unavailable):
    """The policy server did not answer the milter in time."""


class LogUnavailable(Unavailable):
    """The mail log cannot be read; mail does not wait for it."""


class CountersUnavailable(Unavailable):
    """Valkey or Redis failed, is slow, or gave an answer that makes no sense."""


class PostfixUnavailable(Unavailable):
    """A Postfix command is missing or failed; the message holds what it printed."""


class StartError(GatepostError):
    """A role cannot start or be reached: account, directory, socket; says what to do."""


class AttachError(GatepostError):
    """A change of main.cf or master.cf that cannot be made safely; says what to do."""
