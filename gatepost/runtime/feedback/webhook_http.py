"""Post a batch to a webhook, and trust nobody on the way.

Purpose: one request with one answer, whatever the server at the other end does.
Source: Standard Webhooks specification 1.0, "Security considerations" (SSRF, timeouts).
Format: POST with the body and headers of `gatepost.feedback.webhook`. Success is a status of 2xx.
Limits: 5 s to connect, 15 s for all of it; of the answer the first 64 KiB are read and 200
characters kept.
Errors: none; whatever goes wrong is in the `Reply`.
Security: a tenant may choose the URL, so it must not lead into our own network. A connection goes
to an address that was looked at, and the name is not asked for again: who answers first with a
public address and then with another gains nothing. Only public addresses are taken, unless the
webhook may have private ones; redirects are not followed; proxies of the environment, cookies and
logins in ~/.netrc are not used; certificates are checked. A connection serves one request.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import time
import weakref
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from gatepost import __version__
from gatepost.feedback.rules import Webhook
from gatepost.feedback.webhook import Batch, Reply, headers_of, retry_after
from gatepost.runtime.log import clean
from gatepost.tls.fetch import results_of
from gatepost.tls.survey.addresses import is_public

CONNECT_S = 5.0
TOTAL_S = 15.0
CLOSE_S = 1.0
MAX_ANSWER = 65_536
SHOWN = 200
LOOKUPS_AT_ONCE = 32

# Returns the addresses of a host.
Lookup = Callable[[str], Awaitable[list[str]]]


class Poster:
    """Posts batches; to be used within one event loop."""

    def __init__(
        self,
        *,
        context: ssl.SSLContext | None = None,
        lookup: Lookup | None = None,
        connect_s: float = CONNECT_S,
        total_s: float = TOTAL_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Make it; nothing is opened before the first post.

        Args:
            context: How TLS is spoken; by default with the trusted roots of the system.
            lookup: Finds the addresses of a host; by default as the system does.
            connect_s: Seconds to connect, to each address.
            total_s: Seconds for all of it.
            clock: Unix time in seconds.
        """
        self._context = context or ssl.create_default_context()
        self._threads = ThreadPoolExecutor(LOOKUPS_AT_ONCE, "webhook-dns")
        self._lookup = lookup or self._ask_system
        self._connect_s, self._total_s = connect_s, total_s
        self._timeout = aiohttp.ClientTimeout(total=total_s, sock_connect=connect_s)
        self._clock = clock
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        # Apart, so that nothing opened for one kind is ever used for the other.
        self._sessions: dict[bool, aiohttp.ClientSession] = {}

    async def post(self, webhook: Webhook, batch: Batch) -> Reply:
        """Send a batch once, and return what became of it."""
        try:
            return await self._post(webhook, batch)
        except aiohttp.ConnectionTimeoutError:
            return Reply(f"no connection within {self._connect_s:g} s")
        except TimeoutError:
            return Reply(f"no answer within {self._total_s:g} s")
        except aiohttp.ClientResponseError as error:
            said = clean(" ".join(error.message.split()), SHOWN)
            return Reply(f"its answer is not HTTP as it should be: {said}")
        except aiohttp.ClientConnectorCertificateError as error:
            return Reply(f"its certificate is not good: {_words(error)}")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Reply(_words(error))

    async def close(self) -> None:
        """Close what is open."""
        for session in self._sessions.values():
            await session.close()
        self._sessions.clear()
        self._threads.shutdown(wait=False, cancel_futures=True)
        # TLS is still being closed in good order, which a loop that ends would leave undone.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                # A socket tells nobody that it is closed.
                while any(each.fileno() >= 0 for each in self._sockets):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)

    async def _post(self, webhook: Webhook, batch: Batch) -> Reply:
        session = self._session(allow_private=webhook.allow_private)
        now = self._clock()
        async with session.post(
            webhook.url,
            data=batch.body,
            headers=headers_of(webhook.secret, batch, now),
            allow_redirects=False,
        ) as response:
            try:
                said = await _beginning(response)
                return _reply(response, said, now)
            finally:
                # Whoever sends without end would otherwise be listened to.
                if response.connection is not None and response.connection.transport is not None:
                    response.connection.transport.abort()

    def _session(self, *, allow_private: bool) -> aiohttp.ClientSession:
        if allow_private not in self._sessions:
            connector = aiohttp.TCPConnector(
                ssl=self._context,
                resolver=_Checked(self._lookup, allow_private=allow_private),
                # An address in the URL passes by the resolver; this sees all that is connected to.
                socket_factory=lambda address: self._open(address, allow_private=allow_private),
                use_dns_cache=False,
                force_close=True,
                # One that hangs must not take the place of another.
                limit=0,
            )
            self._sessions[allow_private] = aiohttp.ClientSession(
                connector=connector,
                timeout=self._timeout,
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
                headers={"User-Agent": f"Gatepost/{__version__}", "Accept-Encoding": "identity"},
            )
        return self._sessions[allow_private]

    def _open(self, address: aiohttp.AddrInfoType, *, allow_private: bool) -> socket.socket:
        """Return the socket for a connection.

        Raises:
            OSError: If it would lead where it must not.
        """
        number = str(address[4][0])
        if not (allow_private or _is_public(number)):
            raise OSError(None, _refusal(number, number))
        opened = socket.socket(*address[:3])
        self._sockets.add(opened)
        return opened

    async def _ask_system(self, host: str) -> list[str]:
        loop = asyncio.get_running_loop()
        # Threads of our own: a name server that hangs holds one until the system gives up.
        found = await loop.run_in_executor(
            self._threads, lambda: socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        )
        return list(dict.fromkeys(str(each[4][0]) for each in found))


class _Checked(AbstractResolver):
    """Gives aiohttp the addresses of a host that may be connected to."""

    def __init__(self, lookup: Lookup, *, allow_private: bool) -> None:
        self._lookup = lookup
        self._allow_private = allow_private

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        del family
        found = await self._lookup(host)
        good = [each for each in found if self._allow_private or _is_public(each)]
        if not good:
            raise OSError(None, _refusal(host, found[0]) if found else f"{host} has no address")
        return results_of(host, good, port)

    async def close(self) -> None:
        """Close nothing."""


def _is_public(number: str) -> bool:
    try:
        return is_public(number)
    except ValueError:
        return False


def _refusal(host: str, address: str) -> str:
    what = "is" if host == address else f"has the address {address},"
    return f"{host} {what} not a public address, and allow_private is not set"


async def _beginning(response: aiohttp.ClientResponse) -> str:
    """Return the beginning of what a server says, having read what may be read of it."""
    octets = b""
    try:
        while len(octets) < MAX_ANSWER:
            chunk = await response.content.read(MAX_ANSWER - len(octets))
            if not chunk:
                break
            octets += chunk
    except (aiohttp.ClientError, TimeoutError, OSError):
        # The status has said what matters.
        pass
    return clean(" ".join(octets[: 4 * SHOWN].decode("utf-8", "replace").split()), SHOWN)


def _reply(response: aiohttp.ClientResponse, said: str, now: float) -> Reply:
    status = response.status
    if 200 <= status < 300:
        return Reply("", status, body=said)
    error = f"status {status}"
    if 300 <= status < 400:
        to = clean(response.headers.get("Location", "nowhere"), SHOWN)
        error += f", a redirect to {to}, which is not followed: put that URL into the configuration"
    elif said:
        error += f": {said}"
    field = response.headers.get("Retry-After")
    return Reply(error, status, None if field is None else retry_after(field, now), said)


def _words(error: Any) -> str:
    """Return what went wrong, without what aiohttp says about itself."""
    inner = getattr(error, "certificate_error", None) or getattr(error, "os_error", None) or error
    verify = getattr(inner, "verify_message", "")
    number = getattr(inner, "errno", None) or 0
    # Those below zero are the resolver's.
    system = os.strerror(number) if number > 0 and not isinstance(inner, ssl.SSLError) else ""
    text = verify or system or getattr(inner, "strerror", "") or str(inner) or type(inner).__name__
    return clean(str(text), SHOWN)
