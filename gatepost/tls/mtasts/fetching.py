"""What whoever keeps policies expects of whoever fetches them.

Purpose: apart from `gatepost.tls.fetch`, which needs an HTTP library that most processes never use.
"""

from __future__ import annotations

from typing import Protocol

from gatepost.errors import GatepostError
from gatepost.tls.mtasts.entry import Failure
from gatepost.tls.mtasts.policy import StsPolicy


class FetchError(GatepostError):
    """A policy could not be had.

    Attributes:
        failure: The result type.
    """

    def __init__(self, failure: Failure, reason: str) -> None:
        self.failure = failure
        super().__init__(reason)


class PolicyFetcher(Protocol):
    """Fetches policies."""

    async def fetch(self, domain: str) -> StsPolicy:
        """Return the policy of a normalised domain.

        Raises:
            FetchError: If there is none to be had.
        """
