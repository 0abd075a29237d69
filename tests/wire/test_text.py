"""Text: any octets come back as they were."""

from __future__ import annotations

import pytest

from gatepost.errors import LocalProtocolError
from gatepost.wire.text import decode_text, encode_text


@pytest.mark.parametrize("data", [b"", b"a", "é".encode(), b"\xc3", b"\xff\xfe", bytes(range(256))])
def test_round_trip(data):
    assert encode_text(decode_text(data)) == data
    assert encode_text(decode_text(bytearray(data))) == data


def test_surrogates_that_stand_for_no_octet():
    with pytest.raises(LocalProtocolError, match="not text that can be sent"):
        encode_text("\ud800")
