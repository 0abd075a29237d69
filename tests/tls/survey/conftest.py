"""Certificates of an authority of the tests' own."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from gatepost.tls.survey.trust import Trust
from lab.ca import Authority, Certificate, Oddity

HOST = "mx.a.example"

Issue = Callable[..., tuple[bytes, ...]]


def chain_of(certificate: Certificate) -> tuple[bytes, ...]:
    pem = certificate.chain_file.read_bytes()
    found = x509.load_pem_x509_certificates(pem[pem.index(b"-----BEGIN CERTIFICATE") :])
    return tuple(each.public_bytes(Encoding.DER) for each in found)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="session")
def trust(authority: Authority) -> Trust:
    return Trust(str(authority.ca_file))


@pytest.fixture(scope="session")
def issue(authority: Authority) -> Issue:
    """Return what makes a chain: of the host, unless told otherwise."""

    def issue(*names: str, oddity: Oddity = Oddity.NONE, alone: bool = False) -> tuple[bytes, ...]:
        names = names or (HOST,)
        if alone:
            return chain_of(authority.issue_self_signed(*names))
        return chain_of(authority.issue_odd(*names, oddity=oddity))

    return issue
