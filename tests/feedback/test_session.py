from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.feedback.session import seal_session, tenant_of_session
from gatepost.feedback.token import Keyring, Purpose, Token, day_of, seal_token
from gatepost.tenants.client import Client
from tests.world import DAY, KEYS, NOW, tenant

ACME = tenant("acme")
CLIENT = Client(certificate="aa:bb", address="2001:db8::1", port="4242")
# The milter sees the same connection without the certificate.
SEEN = Client(address="2001:db8::1", port="4242", listener="smtpd")
VALUE = seal_session(ACME, CLIENT, KEYS, NOW)


def test_the_milter_reads_what_the_policy_server_wrote() -> None:
    assert tenant_of_session(VALUE, SEEN, KEYS, NOW) == ACME.number
    assert tenant_of_session(f" {VALUE}\r\n\t", SEEN, KEYS, NOW) == ACME.number


@pytest.mark.parametrize("value", [f"\u00a0{VALUE}", f"{VALUE}\x0b", f"{VALUE}\x1c", f"{VALUE}\0"])
def test_what_is_no_white_space_in_mail_makes_another_value(value: str) -> None:
    assert tenant_of_session(value, SEEN, KEYS, NOW) is None


@pytest.mark.parametrize(
    "client",
    [
        Client(address="2001:db8::1", port="4243"),
        Client(address="2001:db8::2", port="4242"),
        Client(address="2001:db8::14242"),
        Client(),
    ],
)
def test_it_is_worthless_on_another_connection(client: Client) -> None:
    assert tenant_of_session(VALUE, client, KEYS, NOW) is None


def test_it_expires_and_needs_its_key() -> None:
    assert tenant_of_session(VALUE, SEEN, KEYS, NOW + 61 * DAY) is None
    assert tenant_of_session(VALUE, SEEN, Keyring({1: KEYS.keys[1]}, 1), NOW) is None


@pytest.mark.parametrize("purpose", [Purpose.BOUNCE, Purpose.COMPLAINT])
def test_a_token_that_recipients_see_is_no_session(purpose: Purpose) -> None:
    token = Token(ACME.number, bytes(8), 0, day_of(NOW))
    assert tenant_of_session(seal_token(token, purpose, KEYS), SEEN, KEYS, NOW) is None


@given(st.text(max_size=100))
def test_any_header_value_is_read_or_ignored(text: str) -> None:
    assert tenant_of_session(text, SEEN, KEYS, NOW) is None


@given(st.text(st.characters(exclude_categories=[])), st.text())
def test_any_connection_can_be_sealed(address: str, port: str) -> None:
    address = address.encode("utf-8", "replace").decode("utf-8", "surrogateescape")
    client = Client(address=address, port=port.encode("utf-8", "replace").decode())
    assert tenant_of_session(seal_session(ACME, client, KEYS, NOW), client, KEYS, NOW)
