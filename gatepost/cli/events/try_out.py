"""``gatepost events test``: send one signed batch now, and show what comes back."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated

import typer

from gatepost.cli.common import (
    DEFAULT_CONFIG,
    NO,
    ConfigOption,
    JsonOption,
    errors_to_exit,
    print_json,
)
from gatepost.cli.events.common import webhook_named
from gatepost.feedback.rules import Webhook
from gatepost.feedback.webhook import Batch, Reply, example
from gatepost.runtime.feedback.webhook_http import Poster
from gatepost.runtime.log import clean
from gatepost.settings import Loader


def command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The webhook.")],
    *,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Send one test event to a webhook at once, signed as all are, and show what comes back.

    The batch holds one event of the type tenant.warning whose details have the reason "test". It
    goes out from here and not from the back role, whatever the webhook is set to tell, with the
    same rules for addresses, certificates, redirects and time limits. It stands in no stream, is
    tried once, and changes nothing of the state of the webhook.

    Exit status: 0 the consumer took it (a status of 2xx); 1 it did not; 2 usage or configuration
    error.
    """
    with errors_to_exit(as_json=as_json):
        hook = webhook_named(name, Loader(config).load().snapshot)
        batch = example(hook, time.time())
        began = time.monotonic()
        reply = asyncio.run(_post(hook, batch))
        seconds = time.monotonic() - began
    if as_json:
        print_json(
            {
                "ok": not reply.error,
                "webhook": hook.name,
                "url": hook.url,
                "batch": batch.id,
                "status": reply.status,
                "error": reply.error or None,
                "retry_after_s": reply.retry_after_s,
                "body": reply.body,
                "seconds": round(seconds, 3),
            }
        )
    else:
        print(f"{hook.name}: POST {clean(hook.url)}")
        print(f"  webhook-id: {batch.id}")
        print(f"  after {seconds:.2f} s: {_verdict(reply)}")
        if reply.body and not reply.error:
            print(f"  it said: {reply.body}")
    if reply.error:
        raise typer.Exit(NO)


def _verdict(reply: Reply) -> str:
    if not reply.error:
        return f"taken, status {reply.status}"
    if reply.gone:
        return f"not taken: {reply.error}; a webhook that answers so is left alone until a reload"
    return f"not taken: {reply.error}"


async def _post(hook: Webhook, batch: Batch) -> Reply:
    poster = Poster()
    try:
        return await poster.post(hook, batch)
    finally:
        await poster.close()
