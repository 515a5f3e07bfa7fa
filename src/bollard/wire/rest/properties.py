"""What the API says of the catalogue of properties: kind, values and default of each, by kind of object."""

import msgspec

from bollard.domain.catalogue.kinds import Kind, Property
from bollard.domain.props import Scope, properties_of


class PropertyInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """One property that may be set."""

    info: str = ""
    prop_type: str = ""
    value: str = ""
    dflt: str = ""
    unit: str = ""


OBJECTS: dict[str, Scope | None] = {
    "CTRL": Scope.CONTROLLER,
    "NODE": Scope.NODE,
    "NODE_CONN": Scope.NODE_CONNECTION,
    "RSC": Scope.RESOURCE,
    "RSC_DFN": Scope.RESOURCE_DEFINITION,
    "RSC_CONN": Scope.RESOURCE_CONNECTION,
    "STOR_POOL": Scope.POOL,
    "STOR_POOL_DFN": Scope.POOL_DEFINITION,
    "VLM": Scope.VOLUME,
    "VLM_DFN": Scope.VOLUME_DEFINITION,
    "RSC_GRP": None,
    "VLM_GRP": None,
    "KVS": None,
    "NET_IF": None,
    "SNAP": None,
    "SNAP_DFN": None,
    "SNAP_VLM": None,
    "SNAP_VLM_DFN": None,
    "VLM_CONN": None,
}
"""Kinds of objects as the API names them; those without a scope are checked like another or not at all."""

_TRUTH = "(?i)(?:true|false|yes|no)"
_YES_NO = "(?i)(?:yes|no)"
_YES_NO_DEFAULTS = {"yes": "True", "no": "False"}


def infos(scope: Scope) -> dict[str, PropertyInfo]:
    """The properties of one kind of object by key."""
    return {row.key: info_of(row) for row in properties_of(scope)}


def all_infos() -> dict[str, dict[str, PropertyInfo]]:
    """The properties of all kinds of objects."""
    return {name: infos(scope) if scope is not None else {} for name, scope in OBJECTS.items()}


def info_of(row: Property) -> PropertyInfo:
    """One row of the catalogue as clients see it."""
    kind, value = _shape(row)
    default = _YES_NO_DEFAULTS.get(row.default, row.default) if row.kind is Kind.YES_NO else row.default
    return PropertyInfo(prop_type=kind, value=value, dflt=default)


def _shape(row: Property) -> tuple[str, str]:
    match row.kind:
        case Kind.TRUTH:
            return "boolean_true_false", _TRUTH
        case Kind.YES_NO:
            return "boolean", _YES_NO
        case Kind.RANGE:
            low, high = row.values.split()
            return "range", f"({low} - {high})"
        case Kind.RANGE_FLOAT:
            return "range_float", "(0.0 - 1000.0)"
        case Kind.SYMBOL:
            return "regex", _words(row)
        case Kind.NUMBER_OR_SYMBOL:
            return "numeric_or_symbol", "(1 - 32) or " + _words(row)
        case Kind.LONG | Kind.STRING:
            return row.kind, ""
        case Kind.REGEX:
            return row.kind, row.values


def _words(row: Property) -> str:
    return "(?:" + "|".join(sorted(row.values.split())) + ")"
