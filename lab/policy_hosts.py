"""Hosts of MTA-STS policies: HTTPS servers good and bad, all at one address, told apart by name.

Purpose: everything that a sender may meet when it fetches a policy.
Source: RFC 8461 §3.3.
Format: `PolicyHosts.add` publishes ``_mta-sts.<domain>`` and ``mta-sts.<domain>`` and says what the
host does; what it does may be changed while it runs. It runs in a thread of the test's process.
Errors: `OSError` if the address is taken or not there.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path

from lab.ca import Authority
from lab.dns import Names

ADDRESS = "198.18.3.1"
PORT = 443
PATH = "/.well-known/mta-sts.txt"


def policy_text(*mx: str, mode: str = "enforce", max_age: int = 86_400) -> bytes:
    """Return a policy file."""
    lines = ["version: STSv1", f"mode: {mode}", *(f"mx: {each}" for each in mx)]
    return "\r\n".join([*lines, f"max_age: {max_age}", ""]).encode("ascii")


@dataclass(frozen=True, slots=True)
class PolicyHost:
    """What one host does.

    Attributes:
        body: What it sends.
        status: Status line after the version.
        headers: Header fields, without those that belong to every response.
        certificate: ``good``, ``expired``, ``self-signed`` or ``wrong-name``.
        hangs: Whether it never answers.
        drips: Whether it sends the body octet by octet, for ever.
    """

    body: bytes = b""
    status: str = "200 OK"
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "text/plain"})
    certificate: str = "good"
    hangs: bool = False
    drips: bool = False


class PolicyHosts:
    """All hosts; a context manager that starts and stops them.

    Attributes:
        requests: Request lines with the host they were for, in order.
    """

    def __init__(self, directory: Path, authority: Authority, names: Names) -> None:
        """Describe it; nothing listens yet."""
        self.requests: list[tuple[str, str]] = []
        self._authority = authority
        self._names = names
        self._directory = directory
        self._hosts: dict[str, PolicyHost] = {}
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._loop: asyncio.AbstractEventLoop
        self._thread: threading.Thread
        self._server: asyncio.Server | None = None

    def add(
        self, domain: str, host: PolicyHost, policy_id: str = "20260101", text: str = ""
    ) -> None:
        """Publish a policy domain; before the name service starts.

        Args:
            domain: The policy domain.
            host: What its policy host does.
            policy_id: The id of its record.
            text: Another record; empty for the good one with `policy_id`.
        """
        name = f"mta-sts.{domain}"
        self._names.address(name, ADDRESS)
        self._names.text(f"_mta-sts.{domain}", text or f"v=STSv1; id={policy_id};")
        self._contexts[name] = self._context(name, host)
        self._hosts[name] = host

    def change(self, domain: str, **changes: object) -> None:
        """Have a host do something else from now on; not its certificate."""
        name = f"mta-sts.{domain}"
        self._hosts[name] = replace(self._hosts[name], **changes)  # type: ignore[arg-type]

    def count(self, domain: str) -> int:
        """Return how many requests a host has had."""
        return sum(host == f"mta-sts.{domain}" for host, _ in self.requests)

    def __enter__(self) -> PolicyHosts:
        """Listen."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        front = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        any_good = self._authority.issue("nobody.example").chain_file
        front.load_cert_chain(any_good)
        front.sni_callback = self._choose
        starting = asyncio.start_server(self._serve, ADDRESS, PORT, ssl=front)
        self._server = asyncio.run_coroutine_threadsafe(starting, self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _stop(self) -> None:
        assert self._server is not None
        self._server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _context(self, name: str, host: PolicyHost) -> ssl.SSLContext:
        if host.certificate == "self-signed":
            certificate = self._authority.issue_self_signed(name)
        elif host.certificate == "wrong-name":
            certificate = self._authority.issue("mta-sts.somebody-else.example")
        else:
            certificate = self._authority.issue(name, expired=host.certificate == "expired")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate.chain_file)
        return context

    def _choose(self, sock: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> int | None:
        context = self._contexts.get(name or "")
        if context is None:
            return int(ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME)
        sock.context = context
        return None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            request, *fields = head.split("\r\n")
            name = next(f[5:].strip() for f in fields if f.lower().startswith("host:"))
            name = name.partition(":")[0]
            self.requests.append((name, request))
            await self._answer(self._hosts[name], request, writer)
        writer.close()

    async def _answer(self, host: PolicyHost, request: str, writer: asyncio.StreamWriter) -> None:
        if host.hangs:
            await asyncio.sleep(3600)
        found = request == f"GET {PATH} HTTP/1.1"
        status = host.status if found else "404 Not Found"
        headers = {"Content-Length": str(len(host.body)), "Connection": "close", **host.headers}
        lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in headers.items())]
        writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
        while host.drips:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.02)
        writer.write(host.body)
        await writer.drain()
