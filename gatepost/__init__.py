"""Gatepost: turn an existing Postfix into a multi-tenant sending platform.

This package is the core: every type and every decision. `milters` and `policy_server` are thin
adapters beside it. docs/architecture.md is the road map.
"""

__version__ = "0.1.0"
