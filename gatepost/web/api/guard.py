"""What stands before every route: who calls, how much, how long; and one line of log for each call.

Purpose: nothing of a request is parsed before it is known whose it is, how large and how late.
Format: ``api token=NAME method=M route=/v1/… status=N seconds=S client=A``.
Limits: `MAX_BUSY` requests at once, `MAX_OF_TENANT` of them with tokens of one tenant; `MAX_BODY`
octets of a body and `MAX_IMPORT` of an import;
`IDLE_S` between two parts of a body; `CALL_S` and `IMPORT_S` for a whole call. `FAILURES` failed
authentications a minute from one address, and ten times as many from all, are answered with 401 and
a line of log each, further ones with 429, and with one line a minute for all. A valid token is not
asked to wait for the mistakes of others: behind a web server all of them have its address.
Errors: none; `ProblemError` becomes an answer, and everything else a 500 and a line of log.
Security: the line of log holds the pattern of the route, never an address of a person; the token
itself is nowhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from fastapi.concurrency import run_in_threadpool

from gatepost.errors import StoreUnavailable
from gatepost.runtime.api_token import Caller, token_in
from gatepost.runtime.log import log_event
from gatepost.web.api.asgi import ASGIApp, Message, Receive, Scope, Send
from gatepost.web.api.problems import ProblemError, problem

MAX_BUSY = 32
# An import may take ten minutes, and one tenant's must leave room for everybody else.
MAX_OF_TENANT = 8
MAX_BODY = 65_536
MAX_IMPORT = 64 * 1024 * 1024
IDLE_S = 10.0
CALL_S = 60.0
IMPORT_S = 600.0
FAILURES = 20
WINDOW_S = 60.0
MAX_ADDRESSES = 1_000
RETRY_S = 5
# What of a body that is refused is read all the same, and for how long.
DRAINED = 1024 * 1024
DRAIN_S = 2.0

PUBLIC = frozenset({"/v1/openapi.json", "/v1/docs"})
# No tenant's own address ends so, whatever the id.
IMPORT = "/suppressions/import"

_log = logging.getLogger("gatepost.api")

Find = Callable[[str], Caller | None]


@dataclass(slots=True)
class Failures:
    """Counts failed authentications by address, for a minute each."""

    clock: Callable[[], float] = time.monotonic
    _counts: dict[str, list[float]] = field(default_factory=dict)

    def add(self, address: str) -> int:
        """Count one, and return how many there were within the minute."""
        now = self.clock()
        found = self._counts.get(address)
        if found is None or now >= found[0] + WINDOW_S:
            if len(self._counts) >= MAX_ADDRESSES:
                self._counts.pop(next(iter(self._counts)))
            found = self._counts[address] = [now, 0]
        found[1] += 1
        return int(found[1])


class Guard:
    """The outermost part of the application."""

    def __init__(
        self,
        app: ASGIApp,
        find: Find,
        count: Callable[[int], None],
        failures: int = FAILURES,
    ) -> None:
        """Stand before an application.

        Args:
            app: The application.
            find: Returns who has a token; may block, and raise `StoreUnavailable`.
            count: Is told the status of each answer.
            failures: How many failed authentications a minute are answered one by one.
        """
        self._most = failures
        self._app = app
        self._find = find
        self._count = count
        self._failures = Failures()
        self._all = Failures()
        self._busy = 0
        self._of_tenants: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        call = _Call(scope, receive, send)
        if self._busy >= MAX_BUSY:
            await call.refuse(_busy(f"{MAX_BUSY} requests are under way"))
        else:
            self._busy += 1
            try:
                await self._answer(call)
            finally:
                self._busy -= 1
        self._count(call.status)
        call.write_line()

    async def _answer(self, call: _Call) -> None:
        try:
            async with asyncio.timeout(call.seconds):
                call.check_length()
                await self._authenticate(call)
                with self._turn(call):
                    await self._app(call.scope, call.receive, call.send)
        except ProblemError as error:
            await call.refuse(error)
        except TimeoutError:
            await call.refuse(
                ProblemError(
                    "unavailable",
                    f"it took longer than {call.seconds:g} s, and may be done all the same",
                    headers={"Retry-After": str(RETRY_S)},
                )
            )
        except Exception:
            _log.exception("api-failed")
            await call.refuse(ProblemError("failed", "the log tells more"))

    async def _authenticate(self, call: _Call) -> None:
        if call.scope["path"] in PUBLIC:
            return
        caller = None
        token = token_in(call.header(b"authorization"))
        if token is not None:
            try:
                caller = await run_in_threadpool(self._find, token)
            except StoreUnavailable as error:
                _log.warning("api-store %s", error)
                raise store_is_away() from error
        if caller is None:
            self._failed(call)
        else:
            call.is_silent = False
            call.caller = call.scope.setdefault("state", {})["caller"] = caller

    @contextlib.contextmanager
    def _turn(self, call: _Call) -> Iterator[None]:
        """Count a request for its tenant as long as it is answered."""
        tenant = "" if call.caller is None else call.caller.tenant
        if not tenant:
            yield
            return
        if self._of_tenants[tenant] >= MAX_OF_TENANT:
            raise _busy(f"{MAX_OF_TENANT} requests of this tenant are under way")
        self._of_tenants[tenant] += 1
        try:
            yield
        finally:
            self._of_tenants[tenant] -= 1
            # What is not there counts as none, and takes no room.
            self._of_tenants += Counter()

    def _failed(self, call: _Call) -> None:
        # Whoever has many addresses has no more than ten have.
        count = max(self._failures.add(call.client), self._all.add("") - 9 * self._most)
        call.is_silent = count > self._most + 1
        if count > self._most:
            raise ProblemError(
                "too-many",
                "too many requests without a valid token",
                headers={"Retry-After": str(int(WINDOW_S))},
            )
        raise ProblemError(
            "no-token",
            "the request has no token that is valid",
            "send Authorization: Bearer and a token that gatepost api token create has made",
            headers={"WWW-Authenticate": 'Bearer realm="gatepost"'},
        )


def _busy(why: str) -> ProblemError:
    return ProblemError("unavailable", why, headers={"Retry-After": str(RETRY_S)})


def store_is_away() -> ProblemError:
    """Return what is said while the store cannot be used."""
    return ProblemError(
        "unavailable",
        "the database cannot be used at this time",
        "try again; gatepost status tells more",
        headers={"Retry-After": str(RETRY_S)},
    )


class _Call:
    """One request on its way."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self.caller: Caller | None = None
        self.status = 0
        # Whoever has no token must not be able to fill the log.
        self.is_silent = True
        self._receive = receive
        self._send = send
        self._begun = time.monotonic()
        self._size = 0
        self._whole = False
        is_import = scope["path"].endswith(IMPORT)
        self.seconds = IMPORT_S if is_import else CALL_S
        self._limit = MAX_IMPORT if is_import else MAX_BODY

    @property
    def client(self) -> str:
        """Who is connected."""
        client = self.scope.get("client")
        return client[0] if client else "unix"

    def header(self, name: bytes) -> bytes:
        """Return the value of a header, or nothing where it does not stand exactly once."""
        values = [value for key, value in self.scope["headers"] if key == name]
        return values[0] if len(values) == 1 else b""

    def check_length(self) -> None:
        """Refuse a body whose length is told, and too much."""
        length = self.header(b"content-length")
        if length.isdigit() and int(length) > self._limit:
            raise self._too_large()

    async def receive(self) -> Message:
        """Return the next part of the body."""
        if self._whole:
            return await self._receive()
        try:
            async with asyncio.timeout(IDLE_S):
                message = await self._receive()
        except TimeoutError:
            raise ProblemError(
                "too-slow", f"nothing came for {IDLE_S:g} s", headers={"Connection": "close"}
            ) from None
        self._take_in(message)
        if self._size > self._limit:
            await self._drain()
            raise self._too_large()
        return message

    async def send(self, message: Message) -> None:
        """Hand on a part of the answer."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [
                *message.get("headers", ()),
                (b"cache-control", b"no-store"),
                (b"x-content-type-options", b"nosniff"),
            ]
        await self._send(message)

    async def refuse(self, error: ProblemError) -> None:
        """Say why not, unless an answer has begun."""
        if not self.status:
            await self._drain()
            response = problem(error.word, str(error.detail), error.remedy, headers=error.headers)
            await response(self.scope, self._receive, self.send)

    def _take_in(self, message: Message) -> None:
        self._size += len(message.get("body", b""))
        self._whole = not message.get("more_body", False)

    async def _drain(self) -> None:
        """Read a little on: to close on a client that is still sending takes the answer from it."""
        if self.header(b"expect"):
            # It waits until it is told to send.
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_S):
                while not self._whole and self._size < DRAINED:
                    self._take_in(await self._receive())

    def write_line(self) -> None:
        """Log the call."""
        if self.is_silent:
            return
        route = self.scope.get("route")
        log_event(
            _log,
            logging.INFO,
            "api",
            token=self.caller.name if self.caller else "-",
            method=self.scope["method"],
            route=getattr(route, "path", "-"),
            status=self.status,
            seconds=time.monotonic() - self._begun,
            client=self.client,
        )

    def _too_large(self) -> ProblemError:
        return ProblemError(
            "too-large",
            f"a body may have {self._limit} octets",
            headers={"Connection": "close"},
        )
