"""Let an account that is not root list the queue of a private Postfix.

Purpose: postqueue(1) takes a configuration directory from root only, unless the host's own main.cf
names it; where Postfix is in /etc/postfix, as on a real host, the account of Gatepost may list it.
Source: postconf(5) ``alternate_config_directories``.
Errors: `LabError` outside of a lab, whose mounts are its own.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from lab.enter import inside
from lab.process import LabError, run

_HOST = Path("/etc/postfix")


@contextlib.contextmanager
def listed(directory: Path, *config_dirs: Path) -> Iterator[None]:
    """Have the lab's own /etc/postfix name configuration directories, for the length of a block.

    Args:
        directory: Where a copy of /etc/postfix is made.
        config_dirs: What it names; they need not exist yet.
    """
    if not inside():
        raise LabError("only a lab has an /etc/postfix of its own")
    own = directory / "etc-postfix"
    shutil.copytree(_HOST, own)
    names = ", ".join(map(str, config_dirs))
    (own / "main.cf").write_text(f"alternate_config_directories = {names}\n", encoding="ascii")
    run(["mount", "--bind", own, _HOST])
    try:
        yield
    finally:
        run(["umount", _HOST])
