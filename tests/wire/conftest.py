"""The one helper through which every decoder goes: whole, octet by octet, with junk behind."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

import pytest

from gatepost.errors import RemoteProtocolError
from gatepost.wire.signals import CLOSED, NEED_DATA


class Decoder(Protocol):
    def receive_data(self, data: bytes) -> None: ...

    def next_event(self) -> Any: ...


REFUSED = "refused"


def read(decoder: Decoder, chunks: Iterable[bytes], answer: Callable[[Any], object]) -> list[Any]:
    """Return all events, and at last NEED_DATA, CLOSED or REFUSED."""
    events: list[Any] = []
    for chunk in chunks:
        decoder.receive_data(chunk)
        try:
            while (event := decoder.next_event()) is not NEED_DATA:
                if event is CLOSED:
                    return [*events, CLOSED]
                events.append(event)
                answer(event)
        except RemoteProtocolError:
            return [*events, REFUSED]
    return [*events, NEED_DATA]


def octets(data: bytes) -> list[bytes]:
    return [data[index : index + 1] for index in range(len(data))]


Feed = Callable[..., list[Any]]


@pytest.fixture
def feed() -> Feed:
    """Feed data in every way, check that the way does not matter, and return the events.

    Args of the result:
        make: Makes a decoder or a codec.
        data: What the peer sends.
        eof: Whether the peer then closes.
        junk: Sent behind `data`; it may only change what comes after the events of `data`.
        reply: How to answer an event of a codec.
    """

    def feed(
        make: Callable[[], Any],
        data: bytes,
        *,
        eof: bool = False,
        junk: bytes = b"\0junk",
        reply: object = None,
    ) -> list[Any]:
        end = [b""] if eof else []

        def events(chunks: list[bytes]) -> list[Any]:
            decoder = make()
            return read(
                decoder, chunks, lambda _: decoder.send(reply) if reply is not None else None
            )

        whole = events([data, *end] if data else end)
        assert events([*octets(data), *end]) == whole
        half = len(data) // 2
        assert events([c for c in (data[:half], data[half:]) if c] + end) == whole
        with_junk = events([data + junk])
        assert with_junk[: len(whole) - 1] == whole[:-1]
        return whole

    return feed
