"""Who runs a mail server."""

from __future__ import annotations

import pytest

from gatepost.maillog.provider import provider_of


@pytest.mark.parametrize(
    ("host", "provider"),
    [
        ("aspmx.l.google.com", "google.com"),
        ("mx.bbc.co.uk", "bbc.co.uk"),
        ("google.com", "google.com"),
        ("co.uk", "co.uk"),
        ("localhost", "localhost"),
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("", ""),
        ("mx.a.xn--p1ai", "a.xn--p1ai"),
    ],
)
def test_provider(host, provider):
    assert provider_of(host) == provider
