"""What the commands write, where the octets are no text, and where there is no room for them.

As processes of their own: the streams are those that the operating system gives.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from gatepost.cli.output import UNWRITTEN
from gatepost.errors import PostfixUnavailable
from gatepost.postfix.commands import PostfixCommands
from tests.settled import settle

LATIN_1 = "# Größe\n".encode("latin-1")
KEYS = f"current: 1\nkeys:\n  1: {{secret: {bytes(range(32)).hex()}}}\n"
# The command line as it is, and a Postfix whose files nobody but us looks at.
PROGRAM = """
from gatepost.cli.app import main
from gatepost.postfix.commands import PostfixCommands
PostfixCommands.check = lambda self: ""
main()
"""
MASTER = b"""\
smtp      inet  n       -       y       -       -       smtpd
cleanup   unix  n       -       y       -       0       cleanup
smtp      unix  -       -       y       -       -       smtp
"""


def gatepost(
    *arguments: str | Path, out: int = subprocess.PIPE, encoding: str = "utf-8:strict"
) -> subprocess.CompletedProcess[bytes]:
    environment: Mapping[str, str] = os.environ | {"PYTHONIOENCODING": encoding}
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *map(str, arguments)],
        stdout=out,
        stderr=subprocess.PIPE,
        env=environment,
        cwd=Path(__file__).parents[2],
        timeout=60,
        check=False,
    )


@pytest.fixture
def full() -> Iterator[int]:
    """Return a descriptor on which there is no room."""
    with Path("/dev/full").open("wb", buffering=0) as stream:
        yield stream.fileno()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Return a configuration whose name holds an octet that is no text."""
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/gr\xf6\xdfe.yaml"))
    path.write_text("platform: {sender_id: examplesp}\n")
    keys = tmp_path / "keys.yaml"
    keys.write_text(KEYS)
    keys.chmod(0o600)
    return path


@pytest.mark.parametrize("encoding", ["utf-8:strict", "ascii:strict", "latin-1:strict"])
def test_octets_that_are_no_text_come_out_as_they_are(config: Path, encoding: str) -> None:
    done = gatepost("check", "--config", config, encoding=encoding)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"/gr\xf6\xdfe.yaml: fine: 0 tenants" in done.stdout
    config.write_text("nonsense: 1\n")
    done = gatepost("check", "--config", config, encoding=encoding)
    assert done.returncode == 2
    assert b"/gr\xf6\xdfe.yaml:1: nonsense" in done.stderr


def test_what_the_locale_cannot_write_is_escaped(config: Path) -> None:
    config = config.rename(config.with_name("zażółć.yaml"))
    done = gatepost("check", "--config", config, encoding="latin-1:strict")
    assert (done.returncode, done.stderr) == (0, b"")
    assert rb"/za\u017c" + b"\xf3" + rb"\u0142\u0107.yaml: fine" in done.stdout


def test_no_room_for_the_output_is_one_sentence(config: Path, full: int) -> None:
    done = gatepost("check", "--config", config, out=full)
    assert done.returncode == UNWRITTEN
    assert done.stderr == (
        b"gatepost: cannot write to standard output: No space left on device; "
        b"the command itself is done\n"
    )


def test_no_room_for_a_long_output(full: int) -> None:
    # More than the buffer takes, so that it fails while it is printed.
    done = gatepost("attach", "--help", out=full)
    assert (done.returncode, done.stderr.count(b"\n")) == (UNWRITTEN, 1)


def test_a_reader_that_has_gone_is_no_news(config: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = gatepost("check", "--config", config, out=writer)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (UNWRITTEN, b"")


def test_a_closed_standard_output_is_no_file_of_ours(config: Path) -> None:
    command = f'exec "{sys.executable}" -m gatepost check --config "$0" >&-'
    done = subprocess.run(
        ["/bin/sh", "-c", command, config],
        stderr=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert done.returncode == UNWRITTEN
    assert done.stderr.startswith(b"gatepost: cannot write to standard output: Bad file desc")


def test_no_room_for_errors_changes_no_status(tmp_path: Path, full: int) -> None:
    command = [sys.executable, "-m", "gatepost", "check", "--config", str(tmp_path / "missing")]
    done = subprocess.run(command, stderr=full, cwd=Path(__file__).parents[2], check=False)
    assert done.returncode == 2


@pytest.fixture
def instance(tmp_path: Path, config: Path) -> Path:
    """Return the directory of a Postfix with Latin-1 in its main.cf."""
    directory = tmp_path / "postfix"
    directory.mkdir()
    main = f"queue_directory = {tmp_path}/queue\n".encode() + LATIN_1
    for name, text in (("main.cf", main), ("master.cf", MASTER)):
        (directory / name).write_bytes(text)
        settle(directory / name)
    config.write_text(f"postfix: {{config_dir: {directory}}}\n")
    try:
        PostfixCommands(directory).postconf("mail_version")
    except PostfixUnavailable:
        pytest.skip("Postfix is not installed")
    return directory


@pytest.mark.parametrize("command", ["attach", "detach"])
@pytest.mark.parametrize("where", ["pipe", "full"])
def test_a_change_is_made_and_told_whatever_main_cf_holds(
    instance: Path, config: Path, full: int, command: str, where: str
) -> None:
    attach = ("attach", "--no-reload", "--even-if-not-running", "--config", config)
    detach = ("detach", "--no-reload", "--config", config)
    before = (instance / "main.cf").read_bytes()
    if command == "detach":
        assert gatepost(*attach).returncode == 0
        settle(instance / "main.cf", instance / "master.cf")
    out = full if where == "full" else subprocess.PIPE
    done = gatepost(*(attach if command == "attach" else detach), out=out)
    after = (instance / "main.cf").read_bytes()
    assert (after == before) == (command == "detach")
    assert LATIN_1 in after
    assert b"Traceback" not in done.stderr
    if where == "full":
        assert done.returncode == UNWRITTEN
    else:
        assert done.returncode == 0
        assert b"\n " + LATIN_1 in done.stdout
    settle(instance / "main.cf", instance / "master.cf")
    # Whole: there is nothing left to do.
    again = gatepost(*(attach if command == "attach" else detach))
    assert again.returncode == 0
    assert (instance / "main.cf").read_bytes() == after
