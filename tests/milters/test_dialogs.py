"""Runs every tests/dialogs/milter/*.dialog against the real milter; see tests/dialogs/README.md."""

from __future__ import annotations

import contextlib
import re
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from lab.milter_client import MilterConnection, command, macros, negotiate
from tests.milters.process import Milter

DIALOGS = sorted((Path(__file__).parents[1] / "dialogs" / "milter").glob("*.dialog"))
PIECE = 4096

# What Postfix sends of itself when a client connects, see README.md.
OPENING = {
    "connect": {
        "{daemon_name}": "smtpd",
        "{client_addr}": "198.51.100.1",
        "{client_port}": "4242",
    },
    "helo": {},
}

_REPEAT = re.compile(r"\\\{(\d+)\*(.*?)\}")
_ESCAPE = re.compile(rb"\\(x[0-9a-f]{2}|[nr0\\])")
_OCTETS = {b"n": b"\n", b"r": b"\r", b"0": b"\0", b"\\": b"\\"}


def octets(text: str) -> bytes:
    text = _REPEAT.sub(lambda match: match[2] * int(match[1]), text)
    return _ESCAPE.sub(
        lambda match: _OCTETS.get(match[1]) or bytes.fromhex(match[1][1:].decode()), text.encode()
    )


def pairs(text: str) -> dict[str, bytes]:
    return {key: octets(value) for key, _, value in (word.partition("=") for word in text.split())}


def _negotiate(text: str) -> bytes:
    return negotiate(**{key: int(value, 0) for key, value in pairs(text).items()})


def _macros(text: str) -> bytes:
    stage, _, values = text.partition(" ")
    return macros(stage, pairs(values))


def _header(text: str) -> bytes:
    name, _, value = text.partition(":")
    return command("header", octets(name), octets(value.removeprefix(" ")))


def packet(text: str) -> bytes:
    """Return the packet that a line of a dialog stands for."""
    verb, _, rest = text.partition(" ")
    special = {"negotiate": _negotiate, "macros": _macros, "header": _header}
    if verb in special:
        return special[verb](rest)
    return command(verb, *(octets(word) for word in rest.split()))


class Conversation:
    """Plays one dialog."""

    def __init__(self, milter: Milter, *, cut: bool) -> None:
        self._milter = milter
        self._cut = cut
        self._unsent = b""
        self._connection: MilterConnection | None = None

    @property
    def connection(self) -> MilterConnection:
        if self._connection is None:
            self._connection = self._milter.connect()
        return self._connection

    def play(self, path: Path) -> None:
        try:
            for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
                if line and not line.startswith("#"):
                    self._line(f"{path.name}:{number}", line)
            self._close()
            assert self.connection.read() is None, "the milter has said more"
        finally:
            if self._connection is not None:
                self._connection.__exit__()

    def _line(self, where: str, line: str) -> None:
        who, what, text = [*line.split(" ", 2), "", ""][:3]
        match who, what:
            case "given", thing:
                self._milter.tell(thing, text)
            case "c", "opens":
                self._open(text)
            case "c", "->":
                self._unsent += packet(text)
            case "c", ".>":
                self._unsent += octets(text)
            case "c", "closes":
                self._close()
            case "s", "<-":
                self._flush()
                reply = self.connection.read()
                assert (where, reply and reply.text) == (where, text)
            case "s", "closes":
                self._flush()
                assert (where, self.connection.read()) == (where, None)
            case "log", "<-":
                self._flush()
                lines = self._milter.report()["log"]
                told = [re.sub(r"^\S+ gatepost/milter\[\d+\]: ", "", each) for each in lines]
                found = [each for each in told if fnmatchcase(each, text)]
                assert found, f"{where}: {told}"
                assert len(found) == 1
            case "logs", "nothing":
                assert (where, self._milter.report()["log"]) == (where, [])
            case "counts", _:
                counts = self._milter.report()["counts"]
                expected = {key: int(value) for key, value in pairs(f"{what} {text}").items()}
                assert (where, counts) == (where, expected)
            case _:
                raise AssertionError(f"{where}: {line}")

    def _open(self, text: str) -> None:
        changed = pairs(text)
        self._unsent += negotiate()
        self._flush()
        reply = self.connection.read()
        assert reply is not None
        assert reply.text.startswith("negotiate ")
        for stage, values in OPENING.items():
            sent = {key: changed.get(key, value.encode()) for key, value in values.items()}
            self._unsent += macros(stage, {key: value for key, value in sent.items() if value})

    def _flush(self) -> None:
        size = 1 if self._cut and len(self._unsent) <= PIECE else PIECE
        step = size if self._cut else max(len(self._unsent), 1)
        # Where the milter has closed already, the dialog says so in its next line.
        with contextlib.suppress(BrokenPipeError):
            for start in range(0, len(self._unsent), step):
                self.connection.send(self._unsent[start : start + step])
        self._unsent = b""

    def _close(self) -> None:
        self._flush()
        with contextlib.suppress(OSError):
            self.connection.half_close()


def test_every_rule_has_a_dialog() -> None:
    assert len(DIALOGS) > 30


@pytest.mark.parametrize("path", DIALOGS, ids=[path.stem for path in DIALOGS])
@pytest.mark.parametrize("cut", [False, True], ids=["as written", "in pieces"])
def test_dialog(path: Path, milter: Milter, *, cut: bool) -> None:
    Conversation(milter, cut=cut).play(path)
