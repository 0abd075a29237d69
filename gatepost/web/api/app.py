"""The application: routes, errors, OpenAPI and a page that shows it.

Source: OpenAPI 3.1.
Format: ``/v1/…``; ``/v1/openapi.json`` and ``/v1/docs`` need no token.
Errors: none; each exception of a route becomes a problem, see `problems`.
Security: the page of documentation has no script and nothing from elsewhere.
"""

from __future__ import annotations

import html
import json
import logging
import re
from collections.abc import Callable
from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from fastapi.security import HTTPBearer

from gatepost import __version__
from gatepost.errors import StoreUnavailable
from gatepost.runtime.log import log_event
from gatepost.web.api import lists, pauses, rest, tenants
from gatepost.web.api.asgi import ASGIApp
from gatepost.web.api.guard import FAILURES, Guard, store_is_away
from gatepost.web.api.problems import ErrorModel, ProblemError, ProblemModel, problem
from gatepost.web.api.site import Site
from gatepost.web.api.strict_route import PREFIX

_log = logging.getLogger("gatepost.api")
_ABOUT = (
    "Tenants, their status, quotas, suppression lists and events of a Gatepost, and what becomes "
    "of a message. Every request needs a token; `gatepost api token create` makes one."
)
_STYLE = "body{font:16px/1.5 sans-serif;max-width:60em;margin:2em auto;padding:0 1em}"
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'"

_PARAMETER = re.compile(r"\{[a-z]+\}")


class _Json(JSONResponse):
    def render(self, content: Any) -> bytes:
        """Return JSON in ASCII: what is stored may hold what UTF-8 has no octets for."""
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode("ascii")


def build_app(
    site: Site,
    count: Callable[[int], None] = lambda _status: None,
    failures: int = FAILURES,
) -> ASGIApp:
    """Return the application.

    Args:
        site: What the routes work with.
        count: Is told the status of each answer.
        failures: As of `Guard`.
    """
    app = plain_app()
    app.state.site = site
    return Guard(app, site.caller, count, failures)


def plain_app() -> FastAPI:
    """Return the routes without what stands before them, as for their description."""
    app = FastAPI(
        title="Gatepost",
        version=__version__,
        summary="HTTP API",
        description=_ABOUT,
        license_info={"name": "GPL-3.0-or-later"},
        openapi_url=f"{PREFIX}/openapi.json",
        docs_url=None,
        redoc_url=None,
        default_response_class=_Json,
        generate_unique_id_function=lambda route: route.name,
        redirect_slashes=False,
    )
    token = Depends(HTTPBearer(scheme_name="token", auto_error=False))
    for each in (tenants.router, pauses.router, lists.router, rest.router):
        app.include_router(each, dependencies=[token])
    app.add_route(f"{PREFIX}/docs", _docs, include_in_schema=False)
    _describe(app)
    app.add_exception_handler(ProblemError, _on_problem)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    for status in (400, 404, 405):
        app.add_exception_handler(status, _on_http)
    app.add_exception_handler(StoreUnavailable, _on_store)
    app.add_exception_handler(Exception, _on_bug)
    return app


def _describe(app: FastAPI) -> None:
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        made = app.openapi_schema is None
        found = plain()
        if made:
            schemas = found.setdefault("components", {}).setdefault("schemas", {})
            model = ProblemModel.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas.update(model.pop("$defs"))
            schemas["ProblemModel"] = model
            for name in ("HTTPValidationError", "ValidationError"):
                schemas.pop(name, None)
        return found

    app.openapi = openapi  # type: ignore[method-assign]


async def _on_problem(request: Request, error: Exception) -> Response:
    del request
    assert isinstance(error, ProblemError)
    return error.response()


async def _on_invalid(request: Request, error: Exception) -> Response:
    del request
    assert isinstance(error, RequestValidationError)
    errors = [
        ErrorModel(file=str(each["loc"][0]), path=_path(each["loc"]), problem=str(each["msg"]))
        for each in error.errors()
    ]
    first = errors[0]
    detail = f"{first.path or first.file}: {first.problem}"
    return ProblemError("not-possible", detail, errors=errors).response()


def _path(steps: tuple[Any, ...]) -> str:
    return ".".join(str(step) for step in steps[1:])[:500]


async def _on_http(request: Request, error: Exception) -> Response:
    if isinstance(error, ProblemError):
        return error.response()
    status: int = getattr(error, "status_code", 0)
    if status == 405:
        methods = sorted(_methods(request))
        return problem(
            "no-such-method",
            f"{request.method} is not possible here",
            f"there are {', '.join(methods)}",
            headers={"Allow": ", ".join(methods)},
        )
    if status == 404:
        return problem("not-found", "there is nothing at this address", f"see {PREFIX}/docs")
    return problem("not-json", "the body cannot be read")


def _methods(request: Request) -> set[str]:
    """Return the methods that the address of a request takes."""
    found: set[str] = set()
    for path, operations in request.app.openapi()["paths"].items():
        if re.fullmatch(_PARAMETER.sub("[^/]+", path), request.scope["path"]):
            found |= {method.upper() for method in operations}
    return found or {"GET"}


async def _on_store(request: Request, error: Exception) -> Response:
    del request
    log_event(_log, logging.WARNING, "api-store", reason=str(error))
    return store_is_away().response()


async def _on_bug(request: Request, error: Exception) -> Response:
    # The library raises it again, so that `Guard` logs it.
    del request, error
    return ProblemError("failed", "the log tells more").response()


async def _docs(request: Request) -> Response:
    return HTMLResponse(_page(request.app.openapi()), headers={"Content-Security-Policy": _POLICY})


def _page(schema: dict[str, Any]) -> str:
    lines = [
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Gatepost</title>',
        f"<style>{_STYLE}</style></head><body><h1>Gatepost {html.escape(__version__)}</h1>",
        f"<p>{html.escape(schema['info']['description'])}</p>",
        f'<p>The whole description: <a href="{PREFIX}/openapi.json">openapi.json</a>.</p><dl>',
    ]
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            lines.append(f"<dt><code>{method.upper()} {html.escape(path)}</code></dt>")
            text = operation.get("description") or operation.get("summary", "")
            lines.append(f"<dd>{html.escape(text)}</dd>")
    return "\n".join([*lines, "</dl></body></html>\n"])
