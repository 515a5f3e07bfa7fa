# ruff: noqa: INP001  # a program, not a package
"""Writes api/openapi.json from the routes: python generate/openapi.py [--check]."""

import pathlib
import sys
from importlib.metadata import version

import msgspec

from bollard.controller.rest.app import ROUTES
from bollard.controller.rest.openapi import document

TARGET = pathlib.Path(__file__).parent.parent / "api" / "openapi.json"


def rendered() -> bytes:
    """The document as it is committed."""
    found = document(ROUTES, version("bollard"))
    return msgspec.json.format(msgspec.json.encode(found, order="deterministic"), indent=1) + b"\n"


def main(arguments: list[str]) -> int:
    """Write the document, or with --check only compare; 1 when it differs."""
    if "--check" in arguments:
        same = TARGET.exists() and TARGET.read_bytes() == rendered()
        sys.stdout.write(
            "api/openapi.json is up to date\n" if same else "api/openapi.json differs from the code\n"
        )
        return int(not same)
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_bytes(rendered())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
