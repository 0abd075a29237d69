"""A PostgreSQL of one's own: in a directory, on a UNIX socket alone, gone at the end.

Purpose: tests and the lab need a real server that they may stop, kill and start again.
Limits: nothing is synced to the disk, so it survives the death of processes and not of the host.
Errors: `LabError` if there is none installed, or it does not start.
Security: whoever may enter the directory of the socket may do everything.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from lab.process import LabError

START_S = 30.0
_ACCOUNT = "postgres"
_STILL_THERE = "data directory"
_SETTINGS = (
    *("fsync=off", "full_page_writes=off", "autovacuum=off"),
    *("listen_addresses=", "shared_buffers=32MB", "max_connections=60", "jit=off"),
    *("logging_collector=off", "log_destination=stderr", "max_wal_size=256MB"),
)


def programs() -> Path | None:
    """Return the directory of the newest PostgreSQL's programs, or None if there is none."""
    found = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    by_version = sorted(found, key=lambda path: int(path.parts[-3]))
    if by_version:
        return by_version[-1].parent
    program = shutil.which("initdb")
    return Path(program).resolve().parent if program else None


class PrivatePostgres:
    """A server with an empty database ``gatepost`` of a user ``gatepost``, running once made."""

    def __init__(self, settings: Sequence[str] = ()) -> None:
        """Make the database and start the server.

        Args:
            settings: More settings, ``name=value`` each.

        Raises:
            LabError: If that cannot be done.
        """
        found = programs()
        if found is None:
            raise LabError("PostgreSQL is not installed; apt-get install postgresql")
        self._programs = found
        self._settings = (*_SETTINGS, *settings)
        # Octets that no file may exceed once the server is started anew, as on a full disk, or 0.
        self.largest_file = 0
        self.directory = Path(tempfile.mkdtemp(prefix="gatepost-pg-"))
        self.directory.chmod(0o755)
        if os.geteuid() == 0:
            account = pwd.getpwnam(_ACCOUNT)
            os.chown(self.directory, account.pw_uid, account.pw_gid)
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self._initialise()
            self.start()
            self.sql("create role gatepost login; create database gatepost owner gatepost")
        except BaseException:
            self.close()
            raise

    @property
    def url(self) -> str:
        """URL of the database, as the setting ``state`` takes it."""
        return f"postgresql://gatepost@/gatepost?host={self.directory}"

    @property
    def pid(self) -> int:
        """Process id of the server."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start the server, and wait until it answers.

        Raises:
            LabError: If it does not.
        """
        ready = [str(self._programs / "pg_isready"), "-q", "-h", str(self.directory)]
        deadline = time.monotonic() + START_S
        self._spawn()
        while subprocess.run(ready, check=False).returncode:
            assert self._process is not None
            if self._process.poll() is not None:
                # What a killed server has left takes a moment to notice that it is alone.
                if _STILL_THERE not in self.log().splitlines()[-1]:
                    raise LabError(f"PostgreSQL does not start:\n{self.log()}")
                self._spawn()
            if time.monotonic() > deadline:
                raise LabError(f"PostgreSQL does not answer:\n{self.log()}")
            time.sleep(0.02)

    def _spawn(self) -> None:
        options = [word for setting in self._settings for word in ("-c", setting)]
        data, socket = str(self.directory / "data"), str(self.directory)
        program = [str(self._programs / "postgres"), "-D", data, "-k", socket, *options]
        limit = ["prlimit", f"--fsize={self.largest_file}"] if self.largest_file else []
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*limit, *_as_account(), *program], stdout=log, stderr=log, start_new_session=True
            )

    @property
    def running(self) -> bool:
        """Whether the server runs."""
        return self._process is not None and self._process.poll() is None

    def stop(self, how: int = signal.SIGINT) -> None:
        """Stop the server.

        Args:
            how: SIGINT ends all connections, SIGQUIT is a crash of the server's own making, SIGKILL
                one of somebody else's.
        """
        if self._process is None:
            return
        self._process.send_signal(how)
        self._process.wait()
        self._process = None

    def log(self) -> str:
        """Return what the server has said."""
        with contextlib.suppress(OSError):
            return (self.directory / "log").read_text(errors="replace")
        return ""

    def sql(self, statements: str, database: str = "postgres") -> str:
        """Run statements as the owner of the server, and return what they print.

        Args:
            statements: Separated by semicolons; each is a transaction of its own.
            database: Where.

        Raises:
            LabError: If one fails.
        """
        words = ["-h", str(self.directory), "-U", "postgres", "-d", database, "-qAt"]
        steps = [word for each in statements.split(";") for word in ("-c", each)]
        program = [str(self._programs / "psql"), "-X", "-v", "ON_ERROR_STOP=1", *words, *steps]
        done = subprocess.run(program, capture_output=True, text=True, check=False)
        if done.returncode:
            raise LabError(f"{statements}: {done.stderr}")
        return done.stdout

    def close(self) -> None:
        """Stop the server, and remove everything."""
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self.directory, ignore_errors=True)

    def _initialise(self) -> None:
        words = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"]
        data = str(self.directory / "data")
        program = [str(self._programs / "initdb"), "-D", data, *words]
        done = subprocess.run(
            [*_as_account(), *program], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise LabError(f"initdb: {done.stderr}")


def _as_account() -> list[str]:
    """Return the words that run a program as PostgreSQL's account, and end it with this process."""
    setpriv = ["setpriv", "--pdeathsig", "INT"]
    if os.geteuid():
        return setpriv
    return [*setpriv, f"--reuid={_ACCOUNT}", f"--regid={_ACCOUNT}", "--clear-groups"]
