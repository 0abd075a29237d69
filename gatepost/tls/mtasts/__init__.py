"""MTA-STS, the sending side: record, policy, and what is to be done when (RFC 8461)."""
