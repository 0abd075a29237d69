"""The version of a Postfix, as far as anything that we emit depends on it.

Purpose: parameters and TLS policy attributes are written only for versions that know them.
Source: Postfix RELEASE_NOTES; ``postconf -h mail_version``.
Format: ``3.7.11`` for a stable release, ``3.12-20260821`` for a development snapshot.
Errors: `parse_version` raises `MalformedMessage`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from gatepost.errors import MalformedMessage

# A snapshot ("3.12-20260821", "3.8-20221023-nonprod") comes before the first patch of its series;
# a release candidate ("3.7.0-RC1") counts as the release.
_VERSION = re.compile(r"(\d{1,3})\.(\d{1,3})(?:\.(\d{1,3}))?(?:-[A-Za-z0-9.-]+)?")


@dataclass(frozen=True, slots=True, order=True)
class PostfixVersion:
    """A Postfix version, ordered by age.

    Attributes:
        major: First number.
        minor: Second number; a series such as 3.7 is supported as one.
        patch: Third number, 0 for a development snapshot.
    """

    major: int
    minor: int
    patch: int = 0

    def __str__(self) -> str:
        """Return the form ``3.7.11``."""
        return f"{self.major}.{self.minor}.{self.patch}"


OLDEST_SUPPORTED = PostfixVersion(3, 7)


def parse_version(text: str) -> PostfixVersion:
    """Return the version that ``mail_version`` names.

    Raises:
        MalformedMessage: If the text is no Postfix version.
    """
    found = _VERSION.fullmatch(text.strip())
    if found is None:
        raise MalformedMessage(f"{text!a} is not a Postfix version", rule="postconf mail_version")
    return PostfixVersion(int(found[1]), int(found[2]), int(found[3] or 0))
