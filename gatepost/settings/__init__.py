"""From configuration files to `Settings` and `Snapshot`, or to all errors at once.

Use `Loader`; docs/config.md, which is generated from `keys`, describes the files.
"""

from __future__ import annotations

from gatepost.settings.load import Loader
from gatepost.settings.model import Address, Loaded, Settings

__all__ = ["Address", "Loaded", "Loader", "Settings"]
