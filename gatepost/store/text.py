"""Text as every database can hold it.

Source: SQLite and PostgreSQL store UTF-8, which has no surrogates, and PostgreSQL no NUL; what
comes from the log or from strangers' mail may hold both.
"""

from __future__ import annotations


def storable(text: str) -> str:
    """Return text with what no database can hold written as escapes."""
    if "\0" in text:
        text = text.replace("\0", "\\x00")
    if text.isascii():
        return text
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
