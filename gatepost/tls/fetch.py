"""Fetch the policy file of a policy domain.

Source: RFC 8461 §3.3: HTTPS GET with a valid certificate for ``mta-sts.<domain>``, status 200, no
redirects, no HTTP caching, 60 s and 64 KB suggested; §3.2 media type; RFC 9325 §3.1.1 TLS 1.2.
Limits: 20 s for all of it (§3.3 suggests 60 s, which would let hosts that hang hold places for
longer); 64 KiB; 128 fetches at once, each at another domain, so that a few
policy hosts that hang do not keep others waiting.
Errors: `FetchError`, with the result type of RFC 8460 §4.3 and a reason.
Security: addresses come from the same resolver as everything else. Nothing is sent before the
certificate was found to be good, compressed bodies are refused, and cookies and proxies are unused.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from gatepost import __version__
from gatepost.errors import MalformedMessage
from gatepost.tls.mtasts.entry import Failure
from gatepost.tls.mtasts.fetching import FetchError
from gatepost.tls.mtasts.policy import MAX_OCTETS, MEDIA_TYPE, StsPolicy, parse_policy
from gatepost.tls.resolver import Resolver

TIMEOUT_S = 20.0
AT_ONCE = 128
_CHUNK = 8192
_OK = 200


class Fetcher:
    """Fetches policies; to be used within one event loop."""

    def __init__(
        self,
        resolver: Resolver,
        *,
        ca_file: Path | None = None,
        port: int = 443,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        """Make it; nothing is opened before the first fetch.

        Args:
            resolver: Finds the addresses of policy hosts.
            ca_file: Trusted roots in PEM, or None for those of the system.
            port: Where policy hosts listen.
            timeout_s: Seconds for a whole fetch.

        Raises:
            OSError: If `ca_file` cannot be read.
        """
        self._context = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
        self._context.minimum_version = ssl.TLSVersion.TLSv1_2
        # RFC 6125 §6.4.4: the name is in subjectAltName, or nowhere.
        self._context.hostname_checks_common_name = False
        self._resolver = resolver
        self._port = port
        self._timeout_s = timeout_s
        self._session: aiohttp.ClientSession | None = None
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def fetch(self, domain: str) -> StsPolicy:
        """Return the policy of a domain.

        Args:
            domain: The policy domain, normalised.

        Raises:
            FetchError: If there is none to be had.
        """
        async with self._turns:
            try:
                async with asyncio.timeout(self._timeout_s):
                    octets = await self._get(f"mta-sts.{domain}")
                return parse_policy(octets)
            except MalformedMessage as error:
                raise FetchError(Failure.INVALID, str(error)) from error
            except TimeoutError as error:
                raise FetchError(
                    Failure.FETCH, f"no answer within {self._timeout_s:g} s"
                ) from error
            except (aiohttp.ClientSSLError, ssl.SSLError) as error:
                raise FetchError(Failure.WEBPKI, _words(error)) from error
            except (aiohttp.ClientError, OSError, ValueError) as error:
                raise FetchError(Failure.FETCH, _words(error)) from error

    async def close(self) -> None:
        """Close what is open."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _get(self, host: str) -> bytes:
        url = f"https://{host}:{self._port}/.well-known/mta-sts.txt"
        async with self._open().get(url, allow_redirects=False) as response:
            try:
                return await self._read(response, host)
            finally:
                # Whoever sends without end would otherwise be listened to until TLS is closed
                # in good order.
                if response.connection is not None and response.connection.transport is not None:
                    response.connection.transport.abort()

    @staticmethod
    async def _read(response: aiohttp.ClientResponse, host: str) -> bytes:
        if response.status != _OK:
            raise FetchError(Failure.FETCH, f"status {response.status} from {host}")
        media_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if media_type != MEDIA_TYPE:
            raise FetchError(Failure.INVALID, f"Content-Type {media_type[:60]!a} from {host}")
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise FetchError(Failure.FETCH, f"compressed body from {host}")
        octets = b""
        async for chunk in response.content.iter_chunked(_CHUNK):
            octets += chunk
            if len(octets) > MAX_OCTETS:
                raise FetchError(Failure.INVALID, f"more than {MAX_OCTETS} octets from {host}")
        return octets

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(
                ssl=self._context,
                resolver=_Addresses(self._resolver),
                use_dns_cache=False,
                force_close=True,
                limit=AT_ONCE,
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"User-Agent": f"Gatepost/{__version__}", "Accept-Encoding": "identity"},
            )
        return self._session


def results_of(host: str, addresses: Iterable[str], port: int) -> list[ResolveResult]:
    """Return the addresses of a host as aiohttp wants them from a resolver."""
    return [
        ResolveResult(
            hostname=host,
            host=address,
            port=port,
            family=socket.AF_INET6 if ":" in address else socket.AF_INET,
            proto=socket.IPPROTO_TCP,
            flags=socket.AI_NUMERICHOST,
        )
        for address in addresses
    ]


class _Addresses(AbstractResolver):
    """Our resolver, as aiohttp wants one."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        del family
        answer = await self._resolver.addresses(host)
        if not answer.records:
            raise OSError(None, answer.reason or f"{host} has no address")
        return results_of(host, answer.records, port)

    async def close(self) -> None:
        """Close nothing: the resolver is not ours."""


def _words(error: Any) -> str:
    """Return what went wrong, without what aiohttp says about itself."""
    inner = getattr(error, "certificate_error", None) or getattr(error, "os_error", None) or error
    verify = getattr(inner, "verify_message", "")
    text = verify or getattr(inner, "strerror", "") or str(inner) or type(inner).__name__
    return str(text)[:200]
