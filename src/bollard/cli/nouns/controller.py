"""`bollard controller`: the cluster as a whole."""

import argparse

from bollard.cli.context import Context
from bollard.cli.exits import Exit
from bollard.cli.grammar import Noun, Verb
from bollard.cli.nouns.properties import property_verbs


def _version(context: Context, _options: argparse.Namespace) -> int:
    found = context.fetch("/v1/controller/version")
    if not context.raw(found):
        context.show.line(
            f"controller {found['version']}; REST API {found['rest_api_version']}; {context.client.url}"
        )
    return Exit.OK


def _which(context: Context, _options: argparse.Namespace) -> int:
    context.fetch("/v1/controller/version")
    if not context.raw({"controller": context.client.url}):
        context.show.line(context.client.url)
    return Exit.OK


NOUN = Noun(
    ("controller", "c"),
    "the cluster as a whole",
    (
        Verb(("version", "v"), "version of the controller", _version),
        Verb(("which",), "address of the controller in use", _which),
        *property_verbs(lambda _options: "/v1/controller/properties", (), method="POST"),
    ),
)
