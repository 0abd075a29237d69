"""The HTTP API: tenants, their status, quotas, suppression, events, and what becomes of a message.

Only `gatepost.runtime.api` imports this, so that no other process pays for its libraries.
"""
