"""Each example of docs/api.md does what it says, against a server on a real socket."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gatepost.settings import Address
from gatepost.web.api.guard import FAILURES, MAX_BODY, MAX_BUSY, MAX_IMPORT
from gatepost.web.api.server import MAX_CONNECTIONS, ApiServer, listen, port_of
from gatepost.web.api.strict_json import MAX_DEPTH
from tests.web.api.place import Api, secret_of

TEXT = (Path(__file__).resolve().parents[3] / "docs" / "api.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```sh\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    api = Api(tmp_path_factory.mktemp("api"))
    listener, _ = listen(Address("127.0.0.1", 0))
    server = ApiServer(api.app, 1)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])))
    thread.start()
    yield port_of(listener)
    server.should_exit = True
    thread.join(10)
    listener.close()


@pytest.mark.skipif(shutil.which("curl") is None, reason="the examples need curl")
def test_all_examples_work_one_after_the_other(port: int) -> None:
    assert len(EXAMPLES) > 10
    found = []
    for example in EXAMPLES:
        result = subprocess.run(
            ["sh", "-c", example.replace("127.0.0.1:9465", f"127.0.0.1:{port}")],
            env=os.environ | {"TOKEN": secret_of("platform")},
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
        assert result.returncode == 0, (example, result.stdout, result.stderr)
        found.append(json.loads(result.stdout) if result.stdout else None)
    assert [each["version"] for each in found[:4]] == [1, 1, 2, 3]
    assert found[3]["settings"]["modes"] == {"quota": "enforce"}
    assert found[4] is None
    assert found[5]["pauses"][0]["queued"] == "retry"
    assert [each["suppressed"] for each in found[8]["addresses"]] == [True, False]


def test_the_limits_are_those_of_the_code() -> None:
    flat = " ".join(TEXT.split())
    for text in (
        f"{MAX_BODY // 1024} KiB of a body, {MAX_IMPORT // 2**20} MiB of an import",
        f"{MAX_DEPTH} levels of JSON",
        f"{MAX_BUSY} requests at once",
        f"{MAX_CONNECTIONS} connections",
        f"{FAILURES} requests a minute of one address",
    ):
        assert text in flat
