from __future__ import annotations

import types

import pytest

from milters import listen


def test_a_libmilter_that_cannot_take_long_headers_is_told_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(listen.ctypes, "CDLL", lambda _: types.SimpleNamespace())
    monkeypatch.setattr(listen, "libmilter", types.SimpleNamespace(__file__="", **_callbacks()))
    monkeypatch.setattr(listen.Milter, "factory", None)
    listen.register(object)
    assert [record.getMessage() for record in caplog.records] == [
        'short-headers reason="libmilter takes 64 KiB at most"'
    ]


def _callbacks() -> dict[str, object]:
    names = ["connect", "envfrom", "envrcpt", "header", "eom", "abort", "close"]
    setters = {f"set_{name}_callback": lambda _: None for name in names}
    return {**setters, "register": lambda *_, **__: None}
