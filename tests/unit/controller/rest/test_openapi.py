"""The OpenAPI document and the page of what is missing: whole, and as committed."""

import importlib.util
import pathlib
import re
from types import ModuleType
from typing import Any

import msgspec
import pytest

from bollard.controller.rest.app import ROUTES
from bollard.controller.rest.openapi import PATH, document
from rest_driver import Driver, FakeService

ROOT = pathlib.Path(__file__).parents[4]


def program(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"generate_{name}", ROOT / "generate" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["openapi", "missing", "properties"])
def test_what_is_committed_is_what_the_code_says(name: str) -> None:
    assert program(name).main(["--check"]) == 0, f"run: python generate/{name}.py"


def references(value: Any) -> set[str]:
    return set(re.findall(r"#/components/schemas/(\w+)", msgspec.json.encode(value).decode()))


def test_the_document_is_whole() -> None:
    found = document(ROUTES, "1")
    assert references(found) <= found["components"]["schemas"].keys()
    operations = [one for path in found["paths"].values() for one in path.values()]
    assert len(operations) == len(ROUTES)
    assert all(one["summary"] for one in operations)
    for path, methods in found["paths"].items():
        named = set(re.findall(r"{(\w+)}", path))
        for one in methods.values():
            assert {each["name"] for each in one["parameters"] if each["in"] == "path"} == named


def test_the_document_is_served() -> None:
    reply = Driver(FakeService())("GET", PATH)
    assert reply.status == 200
    assert reply.json["paths"]["/v1/nodes"]["get"]["x-scope"] == "viewer"
