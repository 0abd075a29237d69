"""Percentages as commands print them."""

from __future__ import annotations


def percent(count: int, total: int) -> str:
    """Return a part of a whole of which neither the last bit nor the first is rounded away.

    Args:
        count: The part.
        total: The whole, more than 0.
    """
    shown = f"{100 * count / total:.1f}"
    if shown == "100.0" and count < total:
        return ">99.9 %"
    return "<0.1 %" if shown == "0.0" and count else f"{shown} %"
