"""JSON schemas of Kubernetes objects, made from the official client's own models.

The client is generated from Kubernetes' OpenAPI document; its models carry each field's type
(`openapi_types`), its name on the wire (`attribute_map`), and whether it is required. Nothing is
written by hand here, so that the fake API server can't agree with our mistakes.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker
from kubernetes import client

_PLAIN: dict[str, dict[str, Any]] = {
    "str": {"type": "string"},
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "bool": {"type": "boolean"},
    "object": {},
    "datetime": {"type": "string", "format": "date-time"},
}
_CONTAINER = re.compile(r"(List|list|Dict|dict)[\[(](.+)[\])]")
_checker = FormatChecker(formats=())


@_checker.checks("date-time")
def _is_time(value: object) -> bool:
    return not isinstance(value, str) or bool(
        re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", value)
    )


def _schema(type_name: str, definitions: dict[str, Any]) -> dict[str, Any]:
    """The schema of a type as the client writes it, such as `Dict[str, V1RoleRef]`."""
    if type_name in _PLAIN:
        return _PLAIN[type_name]
    container = _CONTAINER.fullmatch(type_name)
    if container is not None:
        if container[1].lower() == "list":
            return {"type": "array", "items": _schema(container[2], definitions)}
        inner = container[2].partition(",")[2].strip()
        return {"type": "object", "additionalProperties": _schema(inner, definitions)}
    if type_name not in definitions:
        definitions[type_name] = {}  # first, since a model may hold itself
        definitions[type_name] = _of_model(getattr(client, type_name), definitions)
    return {"$ref": f"#/$defs/{type_name}"}


def _of_model(model: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            model.attribute_map[name]: _schema(type_name, definitions)
            for name, type_name in model.openapi_types.items()
        },
        "required": [
            model.attribute_map[name]
            for name, field in model.model_fields.items()
            if field.is_required()
        ],
    }


@cache
def validator(model_name: str) -> Draft202012Validator:
    """Judges objects of one model."""
    definitions: dict[str, Any] = {}
    root = _schema(model_name, definitions)
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$defs": definitions}
    return Draft202012Validator(schema | root, format_checker=_checker)


def problems(model_name: str, value: object) -> list[str]:
    """What is wrong with an object of that model, a line each."""
    return [
        f"{'.'.join(map(str, error.absolute_path)) or model_name}: {error.message}"
        for error in validator(model_name).iter_errors(value)
    ]
