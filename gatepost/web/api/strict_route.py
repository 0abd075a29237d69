"""Routes whose bodies are read by `strict_json`, whatever the library would make of them.

Errors: `ProblemError`.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from gatepost.web.api.problems import ProblemError
from gatepost.web.api.strict_json import NotStrict, read_json

PREFIX = "/v1"
JSON_TYPES = frozenset({"application/json", "application/merge-patch+json"})

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class StrictRequest(Request):
    """A request whose JSON has one meaning."""

    async def json(self) -> Any:
        """Return the value of the body, see `strict_json`."""
        kind = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind not in JSON_TYPES:
            raise ProblemError(
                "wrong-type",
                "the body is no JSON by its type",
                "send Content-Type: application/json",
            )
        try:
            return read_json(await self.body())
        except NotStrict as error:
            raise ProblemError("not-json", f"the body is not taken: {error}") from error


class StrictRoute(APIRoute):
    """A route that makes such a request of each that has a body."""

    def get_route_handler(self) -> Handler:
        """Return what answers, with a request that reads JSON strictly."""
        answer = super().get_route_handler()

        async def strictly(request: Request) -> Response:
            if self.body_field is not None:
                # Before the type of the body decides whether it is read as JSON at all.
                strict = StrictRequest(request.scope, request.receive)
                await strict.json()
                return await answer(strict)
            return await answer(request)

        return strictly
