"""Which header fields the DKIM signatures of a message cover, so that none of them gets broken.

Purpose: a tenant that signs its own mail before it hands it in vouches for the fields that its
signature names. To change or to add one of them would make the signature fail.
Source: RFC 6376 §3.5 (``h=``), §5.4.2: a name that stands in ``h=`` more often than in the message
covers the absence of further fields, and fields are taken from the bottom up, where a milter adds.
So a field whose name stands in ``h=`` can be neither changed nor added.
Format: tags separated by semicolons; ``h=`` is a list of names separated by colons, folded anywhere
between them, in any case.
Limits: 20 signatures and 8 KiB of each; real ones have some hundred octets, and verifiers give up
after a few.
Errors: none: what cannot be read covers nothing, as it could not be verified either.
Security: signatures are read and not verified, which would take DNS and a millisecond a message. So
whoever sends may claim one; what must not leave in our name is replaced whatever is claimed, see
`decisions.feedback`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType

DKIM_SIGNATURE = "DKIM-Signature"
MAX_SIGNATURES = 20
MAX_CHARACTERS = 8192

_NOTHING: Mapping[str, str] = MappingProxyType({})
_BLANKS = " \t\r\n"
_DOMAIN = re.compile(r"[a-z0-9._-]{1,255}")
# Names of tags are told apart by case, RFC 6376 §3.2.
_TAG = re.compile(r"(?:^|;)[ \t\r\n]*([dh])[ \t\r\n]*=([^;]*)")


def covered_fields(signatures: Sequence[str]) -> Mapping[str, str]:
    """Return the header fields that signatures cover, each with the domain that signed.

    Args:
        signatures: Values of ``DKIM-Signature``, folded or not.

    Returns:
        Field name in lower case to the ``d=`` of the first signature that names it, which is empty
        where it is no domain in ASCII.
    """
    found: dict[str, str] = {}
    for value in signatures[:MAX_SIGNATURES]:
        tags = _TAG.findall(value[:MAX_CHARACTERS])
        domain = next((text for name, text in tags if name == "d"), "")
        domain = "".join(domain.split()).lower()
        domain = domain if _DOMAIN.fullmatch(domain) else ""
        for name, text in tags:
            if name == "h":
                for field in text.split(":"):
                    found.setdefault(field.strip(_BLANKS).lower(), domain)
    found.pop("", None)
    return found or _NOTHING
