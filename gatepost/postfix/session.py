"""One run of attach or detach on one instance: what it reads, and that it is alone.

Purpose: two runs at once would each compute a change from the same text, and one be lost.
Errors: `AttachError` for files that cannot be read, and for another run at work.
Security: the lock is on the configuration directory itself, so nothing is left behind.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from gatepost.errors import AttachError
from gatepost.postfix.commands import PostfixCommands
from gatepost.postfix.detect import detect
from gatepost.postfix.facts import PostfixFacts
from gatepost.postfix.plan import MAIN_CF, MASTER_CF
from gatepost.postfix.planning import Bare
from gatepost.postfix.referee import write_scratch


@contextlib.contextmanager
def alone(config_dir: Path) -> Iterator[None]:
    """Keep other runs away from an instance.

    Raises:
        AttachError: If another run is at work, or the directory cannot be opened.
    """
    try:
        descriptor = os.open(config_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise AttachError(f"cannot open {config_dir}: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise AttachError(
            f"another gatepost attach or detach is at work on {config_dir}; run the command again "
            "when it has finished"
        ) from error
    finally:
        os.close(descriptor)


def read_files(config_dir: Path) -> dict[str, str]:
    """Return file name to text of main.cf and master.cf, without losing an octet.

    Raises:
        AttachError: If one cannot be read.
    """
    texts = {}
    for name in (MAIN_CF, MASTER_CF):
        path = config_dir / name
        try:
            texts[name] = path.read_bytes().decode("utf-8", "surrogateescape")
        except FileNotFoundError as error:
            raise AttachError(
                f"{path} does not exist; is {config_dir} the configuration directory of a Postfix "
                "instance? Name another with --postfix-config"
            ) from error
        except OSError as error:
            raise AttachError(f"cannot read {path}: {error.strerror}") from error
    return texts


def facts_without_ours(postfix: PostfixCommands, without: Bare) -> PostfixFacts:
    """Return what is known of an instance as it is, or would be, without ours.

    Raises:
        PostfixUnavailable: If postconf fails, which is also how it reports a broken file.
        AttachError: If the version is older than we support.
    """
    with tempfile.TemporaryDirectory(prefix="gatepost-") as name:
        write_scratch(without.texts, Path(name))
        facts = detect(postfix, Path(name))
        values = relocated(facts.values, name, postfix.config_dir)
    return dataclasses.replace(
        facts, values=values, queue_directory=Path(values["queue_directory"])
    )


def relocated(values: Mapping[str, str], scratch: str, config_dir: Path) -> dict[str, str]:
    """Return values, read in a scratch directory, with the instance's own directory in them."""
    return {name: value.replace(scratch, str(config_dir)) for name, value in values.items()}
