"""Not journalctl: a stand-in for tests, on hosts without a journal, that says so.

``fake_journalctl.py JOURNAL …`` takes journalctl's arguments and prints the entries of the file
JOURNAL, JSON objects a line, as ``journalctl -f -o json --after-cursor`` would: those behind the
cursor, and then whatever is appended to the file. With ``--lines=0`` it begins at the end. When it
has begun there is a file beside JOURNAL with the suffix ``.begun``.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path


def main() -> None:
    journal, arguments = Path(sys.argv[1]), sys.argv[2:]
    print("this is a fake journalctl, for tests", file=sys.stderr, flush=True)
    assert "--follow" in arguments
    assert "--output=json" in arguments
    assert "SYSLOG_FACILITY=2" in arguments
    text = journal.read_text(encoding="utf-8").splitlines()
    after = (
        arguments[arguments.index("--after-cursor") + 1] if "--after-cursor" in arguments else ""
    )
    cursors = [json.loads(line)["__CURSOR"] for line in text if line != "END"]
    printed = cursors.index(after) + 1 if after else len(text)
    journal.with_suffix(".begun").touch()
    while True:
        lines = journal.read_text(encoding="utf-8").splitlines()
        for line in lines[printed:]:
            if line == "END":
                sys.exit(1)
            print(line, flush=True)
        printed = len(lines)
        time.sleep(0.01)


if __name__ == "__main__":
    main()
