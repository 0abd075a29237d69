"""What the API says when it does not do what it was asked for.

Source: RFC 9457.
Format: ``application/problem+json`` with ``type`` (``urn:gatepost:problem:<word>``), ``title``,
``status`` and ``detail``; ``remedy``: what to do instead; and, where several things are wrong,
``errors``, each with ``file``, ``line``, ``path``, ``problem`` and ``remedy``, as ``gatepost check
--json`` has them.
Security: a tenant that a token may not see is answered as one that does not exist.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fastapi import HTTPException, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from gatepost.errors import ConfigError

MEDIA_TYPE = "application/problem+json"
MAX_ERRORS = 100

TITLES: Mapping[str, tuple[int, str]] = {
    "not-json": (400, "The body cannot be read"),
    "no-token": (401, "A valid token is needed"),
    "not-allowed": (403, "The token does not allow this"),
    "not-found": (404, "Not found"),
    "no-such-method": (405, "The address takes no such request"),
    "too-slow": (408, "The request took too long to arrive"),
    "exists": (409, "There is one already"),
    "of-a-file": (409, "The tenant stands in a file"),
    "needs-attach": (409, "Postfix lacks what this needs"),
    "files-broken": (409, "The files of the configuration have errors"),
    "busy": (409, "Others changed tenants at the same time"),
    "changed-meanwhile": (412, "It was changed meanwhile"),
    "too-large": (413, "The body is too large"),
    "wrong-type": (415, "The body has another type"),
    "not-possible": (422, "Not possible as it is"),
    "condition-missing": (428, "Say which version is to be replaced"),
    "too-many": (429, "Too many requests"),
    "failed": (500, "Something went wrong here"),
    "unavailable": (503, "Not possible at this time"),
}


class ErrorModel(BaseModel):
    """One thing that is wrong."""

    file: str = Field(
        default="", description="Where it stands: a file, `store:tenants/<id>`, or `body`."
    )
    line: int = Field(default=0, description="The line, from 1; 0 where there is none.")
    path: str = Field("", description="The setting.")
    problem: str = Field(description="What is wrong.")
    remedy: str = Field(default="", description="What to write instead.")


class ProblemModel(BaseModel):
    """Why a request was not carried out (RFC 9457)."""

    type: str = Field(description="`urn:gatepost:problem:` and a word for programs.")
    title: str
    status: int
    detail: str = Field(description="What is wrong here.")
    remedy: str = Field(default="", description="What to do instead.")
    errors: list[ErrorModel] = Field(default_factory=list)


class ProblemError(HTTPException):
    """A request is not carried out."""

    def __init__(
        self,
        word: str,
        detail: str,
        remedy: str = "",
        *,
        errors: Sequence[ErrorModel] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Say why.

        Args:
            word: One of `TITLES`.
            detail: What is wrong here.
            remedy: What to do instead.
            errors: Each thing that is wrong.
            headers: More headers of the answer.
        """
        status, self.title = TITLES[word]
        self.word = word
        self.remedy = remedy
        self.errors = list(errors[:MAX_ERRORS])
        super().__init__(status, detail, dict(headers or {}))

    def response(self) -> Response:
        """Return the answer."""
        return problem(self.word, self.detail, self.remedy, self.errors, self.headers)


def problem(
    word: str,
    detail: str,
    remedy: str = "",
    errors: Sequence[ErrorModel] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return an answer; arguments as of `ProblemError`."""
    status, title = TITLES[word]
    document: dict[str, Any] = {
        "type": f"urn:gatepost:problem:{word}",
        "title": title,
        "status": status,
        "detail": detail,
    }
    if remedy:
        document["remedy"] = remedy
    if errors:
        document["errors"] = [each.model_dump() for each in errors]
    return JSONResponse(document, status, dict(headers or {}), MEDIA_TYPE)


def told(errors: Iterable[ConfigError]) -> list[ErrorModel]:
    """Return problems of a configuration as the API tells them."""
    return [
        ErrorModel(
            file=each.file,
            line=each.line,
            path=each.path,
            problem=each.problem,
            remedy=each.remedy,
        )
        for each in errors
    ]


def documented(*words: str) -> dict[int | str, dict[str, Any]]:
    """Return the answers of a route for OpenAPI: those of some words, and those of every route."""
    always = ("no-token", "not-allowed", "too-slow", "too-many", "unavailable")
    found: dict[int | str, dict[str, Any]] = {}
    for word in (*always, *words):
        status, title = TITLES[word]
        entry = found.setdefault(
            status,
            {
                "description": "",
                "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemModel"}}},
            },
        )
        entry["description"] += f"{'; ' if entry['description'] else ''}{title} (`{word}`)"
    return found
