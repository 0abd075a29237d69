"""Asking the sockets that Postfix is about to ask, in Postfix's own protocols.

Purpose: a socket file proves nothing: a process that was killed leaves it behind. A real question
tells whether the role works.
Source: SMTPD_POLICY_README, socketmap_table(5), libmilter/docs (SMFIC_OPTNEG, SMFIC_QUIT).
Limits: 5 s for each socket; an answer of at most 100,000 octets.
Errors: none are raised: each trouble is one sentence.
Security: the questions carry no address and no tenant; they count as no message.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Callable
from pathlib import Path

from gatepost.postfix.spec import (
    INTAKE_SOCKET,
    MAPS_SOCKET,
    MILTER_SOCKET,
    POLICY_SOCKET,
    AttachSpec,
)

TIMEOUT_S = 5.0
_MAX_ANSWER = 100_000

_POLICY_QUESTION = b"request=smtpd_access_policy\nprotocol_state=CONNECT\nprotocol_name=ESMTP\n\n"
# Protocol version 6, all actions, all steps: what Postfix offers.
_NEGOTIATE = struct.pack("!IcIII", 13, b"O", 6, 0x1FF, 0x1FFFFF)
_QUIT = struct.pack("!Ic", 1, b"Q")
# A sender that no rule can be about: RFC 2606.
_MAP_QUESTION = b"33:transport nobody@gatepost.invalid,"


def unanswered(spec: AttachSpec, queue_directory: Path) -> list[str]:
    """Return what is wrong with the sockets that a spec names, one sentence each.

    Args:
        spec: What Postfix is to be told.
        queue_directory: The queue directory of the instance.
    """
    directory = queue_directory / spec.socket_dir
    found: list[str] = []
    for name in spec.sockets:
        path = directory / name
        try:
            missing = _QUESTIONS[name](path)
            if missing is not None:
                found.append(f"{path}: what answers there is no {missing}")
        except (FileNotFoundError, ConnectionRefusedError):
            found.append(f"{path}: nothing listens there")
        except TimeoutError:
            found.append(f"{path}: no answer within {TIMEOUT_S:g} s")
        except OSError as error:
            found.append(f"{path}: {error.strerror or error}")
    return found


def _policy(path: Path) -> str | None:
    answer = _ask(path, _POLICY_QUESTION, lambda got: got.endswith(b"\n\n"))
    return None if answer.startswith(b"action=") else "policy service"


def _maps(path: Path) -> str | None:
    answer = _ask(path, _MAP_QUESTION, lambda got: got.endswith(b","))
    # Whatever it answers: a key that is found, not found, or cannot be looked up just now.
    _, colon, reply = answer.partition(b":")
    return None if colon and reply.partition(b" ")[0].isalpha() else "socketmap server"


def _milter(path: Path) -> str | None:
    answer = _ask(path, _NEGOTIATE, lambda got: len(got) >= 5, after=_QUIT)
    return None if answer[4:5] == b"O" else "milter"


def _intake(path: Path) -> str | None:
    answer = _ask(path, b"", lambda got: got.endswith(b"\n"), after=b"QUIT\r\n")
    return None if answer.startswith(b"220 ") else "LMTP server"


# Each returns None, or what the other side turned out not to be.
_QUESTIONS: dict[str, Callable[[Path], str | None]] = {
    MILTER_SOCKET: _milter,
    POLICY_SOCKET: _policy,
    MAPS_SOCKET: _maps,
    INTAKE_SOCKET: _intake,
}


def _ask(
    path: Path, question: bytes, complete: Callable[[bytearray], bool], after: bytes = b""
) -> bytes:
    answer = bytearray()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(TIMEOUT_S)
        connection.connect(str(path))
        connection.sendall(question)
        while not complete(answer) and len(answer) < _MAX_ANSWER:
            data = connection.recv(4096)
            if not data:
                break
            answer += data
        if after:
            # Whoever has closed already needs no farewell.
            with contextlib.suppress(OSError):
                connection.sendall(after)
    return bytes(answer)
