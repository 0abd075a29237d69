"""A small internet, put together: names, mail servers, and a sending Postfix with Gatepost.

Purpose: one line for a test, the demo or a measurement to have all of it, started in a few seconds
and gone without a trace.
Format: the sending platform is ``sender.example``, its Postfix ``mail.sender.example``.
Errors: `LabError` from whatever cannot be started.
Not handled: more than one world in one lab; side by side run separate labs.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lab.ca import Authority
from lab.dkim import Signer
from lab.dns import Names, NameService
from lab.enter import LAB_DIR
from lab.fleet import Fleet
from lab.gatepost import Gatepost
from lab.mx import Kind
from lab.postfix import PrivatePostfix

SENDER_DOMAIN = "sender.example"
HOSTNAME = f"mail.{SENDER_DOMAIN}"
ADDRESS = "198.18.0.25"
BOUNCE_DOMAIN = f"bounces.{SENDER_DOMAIN}"


class World:
    """Names and mail servers; a context manager.

    Attributes:
        directory: For everything in it.
        authority: The certification authority that good servers use.
        fleet: The mail servers.
        signer: A DKIM signer for the tenant domain ``acme.example``, not started.
    """

    def __init__(self, kinds: Sequence[Kind] = tuple(Kind)) -> None:
        """Make files; nothing runs yet."""
        parent = Path(os.environ.get("GATEPOST_LAB_DIR", LAB_DIR))
        # Postfix puts sockets below it: its name has to be short, and open to Postfix's account.
        self.directory = Path(tempfile.mkdtemp(prefix="w", dir=parent))
        self.directory.chmod(0o755)
        self.names = Names()
        self.authority = Authority(self.directory / "ca")
        self.fleet = Fleet(self.directory / "mx", self.authority, kinds)
        self.fleet.publish(self.names)
        self.signer = Signer(self.directory / "dkim", "acme.example", self.names)
        self.names.address(HOSTNAME, ADDRESS)
        for domain in (SENDER_DOMAIN, BOUNCE_DOMAIN):
            self.names.mail(domain, HOSTNAME)
        self._stack = contextlib.ExitStack()
        self._used = 0

    def __enter__(self) -> World:
        """Start names and mail servers."""
        with contextlib.ExitStack() as stack:
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
