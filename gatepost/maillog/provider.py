"""Who runs a mail server: the registrable domain of its name.

Source: the public suffix list (publicsuffix.org), in the version that the package publicsuffixlist
carries.
Limits: the last 65,536 host names are remembered.
Errors: none; a name without a registrable domain is its own provider.
"""

from __future__ import annotations

from functools import cache, lru_cache

from publicsuffixlist import PublicSuffixList


@lru_cache(maxsize=65536)
def provider_of(host: str) -> str:
    """Return the registrable domain of a host name in lower case, or the name itself."""
    if host.replace(".", "").isdigit() or ":" in host:
        return host
    return _list().privatesuffix(host) or host


@cache
def _list() -> PublicSuffixList:
    # It takes some 30 ms to read, which a command that never asks should not pay.
    return PublicSuffixList()
