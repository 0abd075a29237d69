"""The table of profiles that bounce: what the other side lacks, and nothing else."""

from __future__ import annotations

import re

import pytest

from gatepost.postfix import bounce_filter


def bounced(text: str) -> str:
    """Apply the table as smtp(8) does: the first line that matches gives the answer."""
    for line in bounce_filter.TEXT.splitlines():
        found = re.fullmatch(r"/(.*)/ (5\$1)", line)
        if found and (match := re.search(found[1], text)):
            return "5" + match[1]
    return text


@pytest.mark.parametrize(
    "text",
    [
        "4.7.4 TLS is required, but was not offered by host mx.example[192.0.2.1]",
        "4.7.4 TLS is required, but host mx.example[192.0.2.1] refused to start TLS: 454 4.7.0 no",
        "4.7.5 Server certificate not trusted",
        "4.7.5 Server certificate not verified",
    ],
)
def test_what_the_other_side_lacks_bounces(text: str) -> None:
    assert bounced(text) == "5" + text[1:]


@pytest.mark.parametrize(
    "text",
    [
        "4.7.5 client TLS configuration problem",
        "4.7.5 TLS policy lookup error for example.com",
        "4.7.5 Cannot start TLS: handshake failure",
        "4.7.4 TLS is required, but our TLS engine is unavailable",
        "4.7.4 TLS is required, but unavailable",
        "4.7.5 TLSA lookup error for mx.example:25",
        "4.4.1 connect to mx.example[192.0.2.1]:25: Connection timed out",
        "4.7.4 host mx.example[192.0.2.1] said: 450 TLS is required, but was not offered by host x",
        "4.0.0 host mx.example[192.0.2.1] said: 450 Server certificate not trusted",
        "2.0.0 Server certificate not trusted",
    ],
)
def test_everything_else_keeps_its_status(text: str) -> None:
    assert bounced(text) == text
