"""Runs of `apply` that kill themselves, each at another step; started by test_apply.

Usage: ``killed_apply.py DIRECTORY accept|refuse attach|detach``. The plan is read from
``DIRECTORY/plan``. For N from 1 on, a child process carries it out in ``DIRECTORY/N`` and is
killed, as by a power cut, before it opens, renames or removes the N-th file there, until one comes
to its end. What is left in the directories is for the test to look at.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from gatepost.errors import AttachError, PostfixUnavailable
from gatepost.postfix.apply import ATTACH_ORDER, DETACH_ORDER, apply
from gatepost.postfix.commands import PostfixCommands
from gatepost.postfix.plan import Plan

EVENTS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.chown"}


class Accepting(PostfixCommands):
    """A Postfix that finds nothing wrong."""

    def check(self) -> str:
        return ""

    def reload(self) -> None:
        pass


class Refusing(Accepting):
    """A Postfix that refuses anything of ours."""

    def check(self) -> str:
        if b"gatepost" in (self.config_dir / "main.cf").read_bytes():
            raise PostfixUnavailable("postfix check: fatal: not like this")
        return ""


def run(directory: Path, plan: Plan, number: int, verdict: str, verb: str) -> int:
    """Carry a plan out in a child process; return its exit status, or minus its signal."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    postfix = {"accept": Accepting, "refuse": Refusing}[verdict](directory)
    order = {"attach": ATTACH_ORDER, "detach": DETACH_ORDER}[verb]
    left = number

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal left
        # Descriptors and names of other places do not count.
        if event in EVENTS and any(str(each).startswith(str(directory)) for each in arguments):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    try:
        apply(postfix, plan, order, reload=True)
    except AttachError:
        pass
    finally:
        os._exit(0)


def main(name: str, verdict: str, verb: str) -> None:
    plan = Plan(**json.loads((Path(name) / "plan").read_text(encoding="utf-8")))
    for number in range(1, 500):
        directory = Path(name) / str(number)
        directory.mkdir()
        for file, text in plan.old.items():
            (directory / file).write_text(text, encoding="utf-8")
        status = run(directory, plan, number, verdict, verb)
        if status != -signal.SIGKILL:
            sys.exit(status)


main(*sys.argv[1:])
