"""Durable state behind narrow interfaces; the only package that knows a database."""

from gatepost.store.interface import ObservationStore, WhatIf
from gatepost.store.open import open_store

__all__ = ["ObservationStore", "WhatIf", "open_store"]
