"""The application of the API in this process, with files, stores and tokens of its own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient

from gatepost.runtime.api_tenants import ApiTenantKeeper
from gatepost.runtime.api_token import digest_of
from gatepost.runtime.configuration import SnapshotHolder
from gatepost.runtime.tenant_writer import TenantWriter
from gatepost.settings import Loader
from gatepost.snapshot import Snapshot
from gatepost.store.api_tokens import PLATFORM, ApiToken
from gatepost.store.open import open_api_tokens
from gatepost.web.api.app import build_app
from gatepost.web.api.guard import FAILURES
from gatepost.web.api.site import Site

NOW = 1_800_000_000.0
CONFIGURATION = """
postfix: {{config_dir: {directory}}}
service: {{run_dir: {directory}/run}}
state: sqlite:///{directory}/gatepost.db
modes: {{default: observe}}
platform: {{sender_id: examplesp, quota: [1000/hour]}}
groups:
  resellers: {{quota: [500/hour]}}
lanes:
  bulk: {{concurrency: 5}}
tenants:
  acme:
    logins: [acme]
    senders: [acme.example]
    quota: [100/hour]
    group: resellers
  globex: {{logins: [globex], senders: [globex.example]}}
"""
# Name of a token to its scope and whether it may read alone.
TOKENS = {
    "platform": (PLATFORM, False),
    "watcher": (PLATFORM, True),
    "acme": ("acme", False),
    "acme-watcher": ("acme", True),
    "ended": (PLATFORM, False),
}


def secret_of(name: str) -> str:
    """Return the token of a name."""
    return "gatepost_" + name.encode().hex().rjust(64, "0")


class Api:
    """An API to call."""

    def __init__(
        self, directory: Path, configuration: str = CONFIGURATION, failures: int = FAILURES
    ) -> None:
        self.directory = directory
        self.config = directory / "gatepost.yaml"
        self.config.write_text(configuration.format(directory=directory))
        keys = directory / "keys.yaml"
        keys.write_text(f"current: 1\nkeys:\n  1: {{secret: {bytes(range(32)).hex()}}}\n")
        keys.chmod(0o600)
        (directory / "run").mkdir()
        self.lacking: list[str] = []
        self.keeper = ApiTenantKeeper()
        self.holder = SnapshotHolder(self.config, source=Loader(self.config, self.keeper.load))
        self.settings = self.holder.settings
        with closing(open_api_tokens(self.settings.state)) as store:
            for name, (tenant, read_only) in TOKENS.items():
                end = NOW if name == "ended" else None
                token = ApiToken(name, tenant, read_only, 0.0, "test", end)
                assert store.add(token, digest_of(secret_of(name)))
        self.now = NOW
        self.statuses: list[int] = []
        self.site = Site(
            self.settings,
            lambda: self.holder.current,
            self.keeper,
            TenantWriter(self.config, self.settings, self.complain),
            self.holder.reload,
            lambda: {"ok": True},
            lambda: self.now,
        )
        self.app = build_app(self.site, self.statuses.append, failures)
        self.client = TestClient(self.app, raise_server_exceptions=True)

    def complain(self, snapshot: Snapshot) -> list[str]:
        """Say what Postfix lacks, as a test wants it."""
        del snapshot
        return self.lacking

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = "platform",
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        kind: str = "application/json",
    ) -> Any:
        """Send a request and return the answer."""
        sent = dict(headers or {})
        if token is not None:
            sent["Authorization"] = f"Bearer {secret_of(token)}"
        if body is not None:
            content = json.dumps(body).encode()
        if content is not None:
            sent.setdefault("Content-Type", kind)
        return self.client.request(method, path, content=content, headers=sent)

    def get(self, path: str, **more: Any) -> Any:
        return self.call("GET", path, **more)

    def post(self, path: str, body: Any = None, **more: Any) -> Any:
        return self.call("POST", path, body, **more)

    def put(self, path: str, body: Any = None, **more: Any) -> Any:
        return self.call("PUT", path, body, **more)
