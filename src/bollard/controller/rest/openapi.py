"""The OpenAPI document, made from the routes and their records; served, and committed as a file."""

from typing import Any

import msgspec
from starlette.responses import Response

from bollard.controller.rest.call import Call
from bollard.controller.rest.routing import TAIL, Route
from bollard.domain.access import Scope
from bollard.wire.rest.answers import ApiCallRc
from bollard.wire.rest.settings import REST_API_VERSION

PATH = "/v1/bollard/openapi.json"
_REF = "#/components/schemas/{name}"
_NUMBERS = frozenset({"limit", "offset", "since", "to"})


def document(routes: tuple[Route, ...], version: str) -> dict[str, Any]:
    """The document for these routes."""
    types = [route.body for route in routes if route.body is not None]
    types += [route.answer for route in routes if route.answer is not None]
    types += [route.refusal for route in routes if route.refusal is not None]
    shapes, components = msgspec.json.schema_components([*types, list[ApiCallRc]], ref_template=_REF)
    wanted = iter(shapes)
    bodies = {id(route): next(wanted) for route in routes if route.body is not None}
    answered = {id(route): next(wanted) for route in routes if route.answer is not None}
    special = {id(route): next(wanted) for route in routes if route.refusal is not None}
    entries = shapes[-1]
    paths: dict[str, dict[str, Any]] = {}
    for route in sorted(routes, key=lambda each: (each.path, each.method)):
        own = special.get(id(route))
        refused = entries if own is None else {"anyOf": [entries, own]}
        operation = _operation(route, bodies.get(id(route)), answered.get(id(route)), refused)
        paths.setdefault(route.path.replace(TAIL, ""), {})[route.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Bollard",
            "version": version,
            "description": f"LINSTOR's REST API {REST_API_VERSION} as Bollard serves it.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": dict(sorted(components.items())),
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "certificate": {"type": "mutualTLS"},
            },
        },
    }


def _operation(
    route: Route, body: dict[str, Any] | None, answer: dict[str, Any] | None, refused: dict[str, Any]
) -> dict[str, Any]:
    about = (route.handler.__doc__ or "").strip().partition("\n")[0]
    operation: dict[str, Any] = {
        "summary": about,
        "tags": [_tag(route)],
        "x-scope": route.needs.value,
        "security": [] if route.needs is Scope.OPEN else [{"token": []}, {"certificate": []}],
        "parameters": [
            *(
                {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
                for name in route.names
            ),
            *(_query(name) for name in route.query),
        ],
        "responses": {
            str(route.status): {"description": "Done", **_content(answer)},
            "default": {"description": "Refused", **_content(refused)},
        },
    }
    if body is not None:
        operation["requestBody"] = {"required": not route.optional_body, **_content(body)}
    return operation


def _content(shape: dict[str, Any] | None) -> dict[str, Any]:
    return {} if shape is None else {"content": {"application/json": {"schema": shape}}}


def _query(name: str) -> dict[str, Any]:
    kind = {"type": "integer"} if name in _NUMBERS else {"type": "array", "items": {"type": "string"}}
    return {"name": name, "in": "query", "schema": kind}


def _tag(route: Route) -> str:
    parts = [part for part in route.path.split("/") if part and part != "v1"]
    return parts[0] if parts else "front page"


async def show_document(call: Call) -> Response:
    """This document."""
    return call.json(document(call.api.routes, call.api.info.version))


ROUTES = (Route(method="GET", path=PATH, handler=show_document, answer=dict[str, Any]),)
