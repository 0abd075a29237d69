"""The settings of a tenant as the API takes them, made from their declaration.

Purpose: what a file may say of a tenant, the API may; see `gatepost.settings.schema`.
Format: a setting of one value is a string as in a file, yes and no are booleans, lists are lists.
Whole numbers may be numbers.
Limits: `MAX_TEXT` characters of a value, `MAX_ITEMS` of a list; the body is bounded before.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StringConstraints
from pydantic import create_model as create

from gatepost.settings import kinds
from gatepost.settings.keys_tenants import TenantSection
from gatepost.settings.schema import Entry, ListOf, Scalar, Section, Table

MAX_TEXT = 500
MAX_ITEMS = 5000
MAX_NUMBER = 10**12

# Without control characters, see `strict_json`.
PLAIN = r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029\ufffe\uffff]*$"
_TEXT = Annotated[
    str, StringConstraints(strict=True, min_length=1, max_length=MAX_TEXT, pattern=PLAIN)
]
_WHOLE_NUMBER = "a whole number"
_CONFIG = ConfigDict(extra="forbid", strict=True)


def _scalar(node: Scalar[Any]) -> Any:
    if node is kinds.BOOLEAN:
        return StrictBool
    if node.values:
        return Literal[node.values]
    if node.label.startswith(_WHOLE_NUMBER):
        return Annotated[StrictInt, Field(ge=0, le=MAX_NUMBER)] | _TEXT
    return _TEXT


def _type_of(entry: Entry, name: str, *, nullable: bool) -> Any:
    plain = _plain_type_of(entry, name, nullable=nullable)
    return plain | None if nullable else plain


def _plain_type_of(entry: Entry, name: str, *, nullable: bool) -> Any:
    node = entry.node
    if isinstance(node, Section):
        return model_of(node, name, nullable=nullable)
    if isinstance(node, ListOf):
        return Annotated[list[_scalar(node.item)], Field(max_length=MAX_ITEMS)]  # type: ignore[misc]
    if isinstance(node, Table):
        value = node.value
        inner: Any = model_of(value, name) if isinstance(value, Section) else _TEXT
        return Annotated[dict[_TEXT, inner], Field(max_length=MAX_ITEMS)]
    if isinstance(node, Scalar):
        return _scalar(node)
    # Of a kind of its own: what it may be, the check of the settings knows.
    return _TEXT | Annotated[list[_TEXT], Field(max_length=MAX_ITEMS)]


def model_of(section: Section[Any], name: str, *, nullable: bool = False) -> type[BaseModel]:
    """Return the model of a section of settings.

    Args:
        section: The section.
        name: Name of the model.
        nullable: Whether null may stand for a setting, as in a merge patch.
    """
    fields: dict[str, Any] = {}
    for key, entry in section.entries.items():
        inner = f"{name}{''.join(word.capitalize() for word in key.split('_'))}"
        default = f" Default: {entry.default}." if entry.default else ""
        fields[key] = (
            _type_of(entry, inner, nullable=nullable),
            Field(None, description=f"{entry.doc}{default}".strip() or None),
        )
    made: type[BaseModel] = create(name, __config__=_CONFIG, __doc__=section.doc, **fields)
    return made


SETTINGS: type[BaseModel] = model_of(Section(TenantSection), "TenantSettings")
PATCH: type[BaseModel] = model_of(Section(TenantSection), "TenantPatch", nullable=True)


def settings_text(given: BaseModel | Mapping[str, Any]) -> str:
    """Return settings as the store keeps them."""
    value = given.model_dump(exclude_unset=True) if isinstance(given, BaseModel) else dict(given)
    return json.dumps(value, separators=(",", ":"))
