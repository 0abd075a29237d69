"""A small internet, put together: names, mail servers, and a sending Postfix with Gatepost.

Purpose: one line for a test, the demo or a measurement to have all of it, started in a few seconds
and gone without a trace.
Format: the sending platform is ``sender.example``, its Postfix ``mail.sender.example``.
Errors: `LabError` from whatever cannot be started, and outside of a lab.
Not handled: more than one world at a time in one lab, which has one resolv.conf; any number run
side by side in labs of their own.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lab.ca import Authority
from lab.dkim import Signer
from lab.dns import Names, NameService
from lab.enter import LAB_DIR, inside
from lab.fleet import Fleet
from lab.gatepost import Gatepost
from lab.mx import Kind
from lab.postfix import PrivatePostfix
from lab.process import LabError

SENDER_DOMAIN = "sender.example"
HOSTNAME = f"mail.{SENDER_DOMAIN}"
ADDRESS = "198.18.0.25"
BOUNCE_DOMAIN = f"bounces.{SENDER_DOMAIN}"
FEEDBACK_DOMAIN = f"fbl.{SENDER_DOMAIN}"
SIGNED_DOMAINS = ("acme.example", FEEDBACK_DOMAIN)


class World:
    """Names and mail servers; a context manager.

    Attributes:
        directory: For everything in it.
        names: What the name service will know.
        authority: The certification authority that good servers use.
        fleet: The mail servers.
        signer: A DKIM signer for the tenant domain ``acme.example`` and, if it is asked to, for
            the platform, not started.
    """

    def __init__(self, kinds: Sequence[Kind] = tuple(Kind)) -> None:
        """Make files; nothing runs yet, and `names` can still be added to.

        Raises:
            LabError: Outside of a lab.
        """
        if not inside():
            raise LabError(
                "this needs root and a network of its own; run it as: "
                "sudo .venv/bin/python -m lab.enter -- COMMAND"
            )
        parent = Path(os.environ.get("GATEPOST_LAB_DIR", LAB_DIR))
        # Postfix puts sockets below it: its name has to be short, and open to Postfix's account.
        self.directory = Path(tempfile.mkdtemp(prefix="w", dir=parent))
        self.directory.chmod(0o755)
        self.names = Names()
        self.authority = Authority(self.directory / "ca")
        self.fleet = Fleet(self.directory / "mx", self.authority, kinds)
        self.fleet.publish(self.names)
        self.signer = Signer(self.directory / "dkim", SIGNED_DOMAINS, self.names)
        self.names.address(HOSTNAME, ADDRESS)
        for domain in (SENDER_DOMAIN, BOUNCE_DOMAIN, FEEDBACK_DOMAIN):
            self.names.mail(domain, HOSTNAME)
        self._stack = contextlib.ExitStack()
        self._used = 0

    def __enter__(self) -> World:
        """Start names and mail servers.

        Raises:
            LabError: If something does not start, or another world runs in this lab.
        """
        with contextlib.ExitStack() as stack:
            stack.enter_context(_only_one(self.directory.parent / "world.lock"))
            stack.callback(shutil.rmtree, self.directory, ignore_errors=True)
            stack.callback(self.signer.stop)
            stack.enter_context(NameService(self.directory / "dns", self.names))
            stack.enter_context(self.fleet)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop everything and remove all files."""
        self._stack.close()

    @contextlib.contextmanager
    def postfix(
        self,
        main: Mapping[str, str] | None = None,
        users: Sequence[str] = ("acme", "beta", "gamma", "mailer"),
        **options: Any,
    ) -> Iterator[PrivatePostfix]:
        """Run the sending Postfix for the length of a block; passwords are ``secret``.

        Args:
            main: main.cf parameters beside the lab's own.
            users: SASL logins.
            options: Further arguments of `PrivatePostfix`.
        """
        self._used += 1
        settings = {
            # Tests have no time for real intervals.
            "minimal_backoff_time": "300s",
            "maximal_backoff_time": "300s",
            "smtp_connect_timeout": "5s",
            "smtp_helo_timeout": "10s",
            "relay_domains": "",
            **(main or {}),
        }
        with PrivatePostfix(
            self.directory / f"p{self._used}",
            address=options.pop("address", ADDRESS),
            hostname=HOSTNAME,
            main=settings,
            users=dict.fromkeys(users, "secret"),
            ca_file=self.authority.ca_file,
            **options,
        ) as postfix:
            yield postfix

    def gatepost(self, postfix: PrivatePostfix, configuration: Mapping[str, Any]) -> Gatepost:
        """Return Gatepost for a Postfix, not started."""
        return Gatepost(self.directory / f"g{self._used}", postfix, configuration)


@contextlib.contextmanager
def _only_one(path: Path) -> Iterator[None]:
    """Hold a lock, which the kernel takes back whatever becomes of us."""
    with path.open("w", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LabError(
                "another world runs in this lab; start this one in a lab of its own, "
                "or end the other first"
            ) from None
        yield
