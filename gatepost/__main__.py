"""``python -m gatepost`` is the ``gatepost`` command."""

from __future__ import annotations

from gatepost.cli.app import main

if __name__ == "__main__":
    main()
