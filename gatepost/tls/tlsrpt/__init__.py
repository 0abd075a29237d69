"""TLS reports (RFC 8460) that others send us about mail to our domains: read, never trusted.

`read` takes what an operator or a mail hands in; `json_report` and `mail` know the two formats.
"""

from __future__ import annotations

from gatepost.tls.tlsrpt.model import FailureDetail, PolicyResult, TlsReport
from gatepost.tls.tlsrpt.read import read_report

__all__ = ["FailureDetail", "PolicyResult", "TlsReport", "read_report"]
