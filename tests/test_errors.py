from __future__ import annotations

import inspect
import re

import pytest

from gatepost import errors
from gatepost.errors import (
    ConfigError,
    ConfigErrors,
    GatepostError,
    LocalProtocolError,
    MalformedMessage,
    ProtocolError,
    RemoteProtocolError,
    Unavailable,
)

CLASSES = [
    each for _, each in inspect.getmembers(errors, inspect.isclass) if issubclass(each, Exception)
]


def test_the_tree_in_the_docstring_is_the_hierarchy() -> None:
    drawn: dict[str, str] = {}
    path: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"    ([│ ]*(?:[├└]── )?)([A-Z]\w+)", line)
        if found is None:
            continue
        depth = len(found[1]) // 4
        path = [*path[:depth], (depth, found[2])]
        drawn[found[2]] = path[-2][1] if depth else "Exception"
    assert drawn == {each.__name__: each.__base__.__name__ for each in CLASSES}


def test_every_error_is_one_of_ours() -> None:
    assert all(issubclass(each, GatepostError) for each in CLASSES)


def test_config_error_reads_like_a_compiler_message() -> None:
    error = ConfigError("/etc/g.yaml", 7, "tenants.acme.lane", "no lane fast", "write bulk")
    assert str(error) == "/etc/g.yaml:7: tenants.acme.lane: no lane fast; write bulk"
    assert str(ConfigError("g.yaml", 0, "", "not there", "create it")) == (
        "g.yaml: not there; create it"
    )
    both = ConfigErrors([error, error])
    assert both.errors == (error, error)
    assert str(both) == f"{error}\n{error}"


def test_a_protocol_error_says_whose_it_is() -> None:
    with pytest.raises(TypeError):
        ProtocolError("x")
    assert str(RemoteProtocolError("x")) == str(LocalProtocolError("x")) == "x"


def test_malformed_message_names_the_rule() -> None:
    error = MalformedMessage("no", rule="RFC 5965 §3")
    assert (str(error), error.rule) == ("no (RFC 5965 §3)", "RFC 5965 §3")


def test_what_makes_mail_wait_is_unavailable() -> None:
    waiting = {each.__name__ for each in CLASSES if issubclass(each, Unavailable)}
    assert waiting >= {"StoreUnavailable", "PolicyUnavailable", "PostfixUnavailable"}
    assert not issubclass(MalformedMessage, Unavailable)
