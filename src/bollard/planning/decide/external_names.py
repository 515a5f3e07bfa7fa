"""Names that LINSTOR derives for resources that are known outside by another name."""

import re

from bollard.domain.cluster import Cluster
from bollard.domain.errors import Exists, Invalid, Subject
from bollard.domain.ids import ResourceName, key_of, resource_name
from bollard.domain.ports import Draw

__all__ = ["EXTERNAL_NAME_BYTES_MAX", "checked", "name_for"]

EXTERNAL_NAME_BYTES_MAX = 256
_NAME_CHARACTERS_MAX = 48

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_PUNCTUATION = re.compile(r"[\s!-/:-@\[-`{-~]")
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def checked(external: str, cluster: Cluster) -> str:
    """An external name that is free. Raises Invalid or Exists."""
    if len(external.encode()) > EXTERNAL_NAME_BYTES_MAX:
        raise Invalid(
            Subject.EXTERNAL_NAME,
            external[:48],
            f"The external name has more than {EXTERNAL_NAME_BYTES_MAX} bytes",
        )
    if any(definition.external_name == external for definition in cluster.definitions.values()):
        raise Exists(
            Subject.EXTERNAL_NAME,
            external,
            f"The external name '{external}' is in use",
            cause="Another resource definition has it.",
        )
    return external


def name_for(external: str, cluster: Cluster, draw: Draw) -> ResourceName:
    """The resource name for an external name: itself when it can be one, else something close to it."""
    if _UUID.fullmatch(external):
        return _free(ResourceName("LS_" + external.upper()), cluster, draw)
    for candidate in (external[:_NAME_CHARACTERS_MAX], _tamed(external)[:_NAME_CHARACTERS_MAX]):
        try:
            return _free(resource_name(candidate), cluster, draw)
        except Invalid:
            continue
    return _random(draw)


def _tamed(external: str) -> str:
    """Spaces and punctuation become `_`, what is left of other bytes becomes letters."""
    text = _PUNCTUATION.sub("_", external)
    plain = "".join(
        letter if letter.isascii() and (letter.isalnum() or letter in "_-") else _LETTERS[ord(letter) % 26]
        for letter in text
    )
    return "_" + plain if plain[:1].isdigit() or plain[:1] == "-" else plain


def _free(name: ResourceName, cluster: Cluster, draw: Draw) -> ResourceName:
    return _random(draw) if key_of(name) in cluster.definitions else name


def _random(draw: Draw) -> ResourceName:
    return ResourceName("LS_" + draw.uuid().upper())
