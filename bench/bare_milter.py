"""A milter that decides nothing, to measure what pymilter itself costs: ``PATH KIND``.

Format: kind ``callbacks`` takes MAIL, RCPT and headers without a reply, as ours does, and looks at
none; kind ``end`` takes only the end of message. Both add three header fields.
"""

from __future__ import annotations

import sys

import Milter


class EndOnly(Milter.Base):  # type: ignore[misc]  # pymilter has no type hints
    """Adds three header fields."""

    def eom(self) -> int:
        """Add them."""
        self.addheader("X-Tenant-ID", "t123")
        self.addheader("Feedback-ID", "tt123:examplesp")
        self.addheader("X-Gatepost-Token", "a" * 48)
        return int(Milter.CONTINUE)


class WithCallbacks(EndOnly):
    """Is told of sender, recipients and headers, too."""

    @Milter.noreply  # type: ignore[untyped-decorator]
    def envfrom(self, _sender: str, *_params: str) -> int:
        """Take the sender."""
        return int(Milter.CONTINUE)

    @Milter.noreply  # type: ignore[untyped-decorator]
    def envrcpt(self, _recipient: str, *_params: str) -> int:
        """Take a recipient."""
        return int(Milter.CONTINUE)

    @Milter.noreply  # type: ignore[untyped-decorator]
    def header(self, _name: str, _value: str) -> int:
        """Take a header field."""
        return int(Milter.CONTINUE)


def main(path: str, kind: str) -> None:
    """Serve until killed."""
    Milter.factory = WithCallbacks if kind == "callbacks" else EndOnly
    Milter.runmilter("bare", f"unix:{path}", 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
