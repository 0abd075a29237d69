"""A run of `apply` that kills itself at its N-th step in a directory; started by test_apply.

Usage: ``killed_apply.py DIRECTORY N accept|refuse attach|detach``. The plan is read from
``DIRECTORY.plan``. An audit hook sees each file opened, renamed or removed, and kills the process,
as a power cut would, before the N-th of them that concerns DIRECTORY.
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


def main(directory: str, number: str, verdict: str, verb: str) -> None:
    plan = Plan(**json.loads(Path(directory + ".plan").read_text(encoding="utf-8")))
    postfix = {"accept": Accepting, "refuse": Refusing}[verdict](Path(directory))
    left = int(number)

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal left
        # Descriptors and names of other places do not count.
        if event in EVENTS and any(str(each).startswith(directory) for each in arguments):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    order = {"attach": ATTACH_ORDER, "detach": DETACH_ORDER}[verb]
    try:
        apply(postfix, plan, order, reload=True)
    except AttachError as error:
        print(error)


main(*sys.argv[1:])
