"""Running Postfix's own commands: the only place that does.

Purpose: postconf(1) reads and judges configurations, postfix(1) checks, reloads and tells whether
an instance runs, postmulti(1) lists instances.
Source: postconf(1), postfix(1): ``-c`` names the instance, and keeps postfix(1) from passing the
command on to all instances.
Limits: time limits below; postfix check walks the queue directory and gets the longest.
Errors: `PostfixUnavailable` for a command that is missing, fails or takes too long, with what it
printed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from gatepost.errors import PostfixUnavailable
from gatepost.postfix.terminal import run_on_terminal

POSTCONF_TIMEOUT_S = 30
CHECK_TIMEOUT_S = 300
CONTROL_TIMEOUT_S = 60
QUEUE_TIMEOUT_S = 300

# postfix(1) and its kin are in /usr/sbin, which is not in everybody's PATH.
_SEARCH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"])


@dataclass(frozen=True, slots=True)
class Output:
    """What a command printed.

    Attributes:
        status: Exit status.
        stdout: Standard output.
        stderr: Standard error.
    """

    status: int
    stdout: str
    stderr: str


class PostfixCommands:
    """The commands of one Postfix instance.

    Attributes:
        config_dir: Its configuration directory.
    """

    def __init__(self, config_dir: Path) -> None:
        self.config_dir = config_dir

    def postconf(self, *arguments: str, config_dir: Path | None = None) -> Output:
        """Run postconf(1) on this instance, or on another directory in its place.

        Raises:
            PostfixUnavailable: If it is missing or fails.
        """
        directory = str(config_dir or self.config_dir)
        return _run(["postconf", "-c", directory, *arguments], POSTCONF_TIMEOUT_S)

    def postmap(self, option: str, *arguments: str, directory: Path) -> str:
        """Run a query of postmap(1) and return what it prints; not found prints nothing.

        Args:
            option: ``-q`` with a key and a table, or ``-s`` with a table.
            arguments: What belongs to the option.
            directory: The queue directory, which names of sockets are relative to.

        Raises:
            PostfixUnavailable: If it is missing, or cannot read the table.
        """
        command = ["postmap", "-c", str(self.config_dir), option, *arguments]
        output = _run(command, POSTCONF_TIMEOUT_S, may_fail=True, directory=directory)
        # Status 1 without a word means that there is no such key.
        if output.status and output.stderr:
            raise PostfixUnavailable(f"postmap {option}: {output.stderr.strip()}")
        return output.stdout.strip()

    def postcat(self, descriptor: int) -> bytes:
        """Return header and body of a queue file that is open, even if its name has gone.

        Raises:
            PostfixUnavailable: If postcat is missing, or it is no queue file.
        """
        command = ["postcat", "-c", str(self.config_dir), "-bh", f"/proc/self/fd/{descriptor}"]
        output = _run(command, POSTCONF_TIMEOUT_S, keep=(descriptor,))
        return output.stdout.encode("utf-8", "surrogateescape")

    def postsuper(self, option: str, queue_ids: Sequence[str]) -> str:
        """Run postsuper(1) on messages, and return what it says of each that it has found.

        Args:
            option: ``-h``, ``-H`` or ``-d``.
            queue_ids: As Postfix writes them; they go by standard input, so that any number fits.

        Raises:
            PostfixUnavailable: If it is missing or fails, as it does for all but root.
        """
        command = ["postsuper", "-c", str(self.config_dir), option, "-"]
        given = "".join(f"{each}\n" for each in queue_ids).encode("ascii")
        return _run(command, QUEUE_TIMEOUT_S, given=given).stderr

    def queued_headers(self, queue_id: str) -> bytes:
        """Return the header of a queued message, or nothing of one that has gone.

        Raises:
            PostfixUnavailable: If postcat(1) is missing or hangs.
        """
        command = ["postcat", "-c", str(self.config_dir), "-hq", queue_id]
        output = _run(command, CONTROL_TIMEOUT_S, may_fail=True)
        return b"" if output.status else output.stdout.encode("utf-8", "surrogateescape")

    def flush_one(self, queue_id: str) -> None:
        """Have a deferred message tried at once; one that has gone is none.

        Raises:
            PostfixUnavailable: If postqueue(1) is missing or refuses.
        """
        command = ["postqueue", "-c", str(self.config_dir), "-i", queue_id]
        _run(command, CONTROL_TIMEOUT_S)

    def check(self) -> str:
        """Run ``postfix check`` and return what it warned about.

        Raises:
            PostfixUnavailable: If it finds an error.
        """
        command = ["postfix", "-c", str(self.config_dir), "check"]
        status, printed = run_on_terminal(_found(command), CHECK_TIMEOUT_S, _environment())
        if status:
            said = printed.strip() or f"exit status {status}; the mail log may say why"
            raise PostfixUnavailable(f"{' '.join(command)}: {said}")
        return printed.strip()

    def running(self) -> bool:
        """Tell whether the instance runs.

        Raises:
            PostfixUnavailable: If postfix(1) is missing or hangs.
        """
        command = ["postfix", "-c", str(self.config_dir), "status"]
        return _run(command, CONTROL_TIMEOUT_S, may_fail=True).status == 0

    def start(self) -> None:
        """Start the instance.

        Raises:
            PostfixUnavailable: If it runs already or cannot be started.
        """
        # Not on a terminal, which master(8) would keep.
        _run(["postfix", "-c", str(self.config_dir), "start"], CONTROL_TIMEOUT_S)

    def stop(self) -> None:
        """Stop the instance; what is in its queue stays there.

        Raises:
            PostfixUnavailable: If it cannot be stopped.
        """
        _run(["postfix", "-c", str(self.config_dir), "stop"], CONTROL_TIMEOUT_S)

    def flush(self) -> None:
        """Have all deferred messages tried at once.

        Raises:
            PostfixUnavailable: If the instance does not run.
        """
        _run(["postqueue", "-c", str(self.config_dir), "-f"], CONTROL_TIMEOUT_S)

    def reload(self) -> None:
        """Make the instance read its configuration again.

        Raises:
            PostfixUnavailable: If it does not run or refuses.
        """
        _run(["postfix", "-c", str(self.config_dir), "reload"], CONTROL_TIMEOUT_S)


def start(command: Sequence[str], stderr: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start a command whose standard output is read while it runs.

    Args:
        command: Program and arguments.
        stderr: Where its messages go.

    Raises:
        PostfixUnavailable: If it is missing or cannot be started.
    """
    try:
        return subprocess.Popen(
            _found(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=_environment(),
        )
    except OSError as error:
        raise PostfixUnavailable(f"{' '.join(command)}: {error.strerror}") from error


def _found(command: Sequence[str]) -> list[str]:
    program = shutil.which(command[0], path=_SEARCH)
    if program is None:
        raise PostfixUnavailable(f"{command[0]}: not found; is Postfix installed on this host?")
    return [program, *command[1:]]


def _environment() -> dict[str, str]:
    # postfix(1) hands MAIL_CONFIG and its kin to what it starts.
    kept = {k: v for k, v in os.environ.items() if not k.startswith("MAIL_")}
    return kept | {"LC_ALL": "C", "PATH": _SEARCH}


def _run(
    command: Sequence[str],
    timeout_s: int,
    *,
    may_fail: bool = False,
    directory: Path | None = None,
    keep: tuple[int, ...] = (),
    given: bytes | None = None,
) -> Output:
    arguments = _found(command)
    try:
        done = subprocess.run(
            arguments,
            input=given or b"",
            capture_output=True,
            timeout=timeout_s,
            check=False,
            env=_environment(),
            cwd=directory,
            pass_fds=keep,
        )
    except subprocess.TimeoutExpired as error:
        raise PostfixUnavailable(
            f"{' '.join(command)}: no result within {timeout_s} seconds"
        ) from error
    except OSError as error:
        raise PostfixUnavailable(f"{' '.join(command)}: {error.strerror}") from error
    # Not by the text mode of subprocess, which would turn a carriage return into a line feed.
    stdout, stderr = (
        each.decode("utf-8", "surrogateescape") for each in (done.stdout, done.stderr)
    )
    if done.returncode != 0 and not may_fail:
        printed = (stderr or stdout).strip() or f"exit status {done.returncode}"
        raise PostfixUnavailable(f"{' '.join(command)}: {printed}")
    return Output(done.returncode, stdout, stderr)
