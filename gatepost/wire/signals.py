"""What a decoder says when it has no event to give."""

from __future__ import annotations

from enum import Enum, auto
from typing import Final


class Signal(Enum):
    """The reason why there is no event."""

    NEED_DATA = auto()
    CLOSED = auto()


# Nothing complete has arrived yet: feed more and ask again.
NEED_DATA: Final = Signal.NEED_DATA
# The exchange is over, and nothing was left half sent: close the connection.
CLOSED: Final = Signal.CLOSED
