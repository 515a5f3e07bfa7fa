"""What a row of the catalogue says, and what a value of each kind may look like."""

import re
from enum import StrEnum
from functools import lru_cache

import msgspec


class Kind(StrEnum):
    """The kind of a value, as the API names it."""

    TRUTH = "boolean_true_false"
    YES_NO = "boolean"
    LONG = "long"
    RANGE = "range"
    RANGE_FLOAT = "range_float"
    REGEX = "regex"
    SYMBOL = "symbol"
    STRING = "string"
    NUMBER_OR_SYMBOL = "numeric_or_symbol"


class Property(msgspec.Struct, frozen=True):
    """One property: where it may be set, which values it takes, what holds when nobody sets it."""

    key: str
    kind: Kind
    scopes: str
    """Scope words, separated by spaces."""
    values: str = ""
    """RANGE: least and greatest; REGEX: the pattern; SYMBOL: the words."""
    default: str = ""


_LONG = re.compile(r"-?[0-9]{1,19}")
_COUNT = "1 32"
_RATIO_MAX = 1000
_LONG_MAX = 2**63 - 1
_TRUTHS = {"true": "true", "yes": "true", "false": "false", "no": "false"}


def normalise(prop: Property, value: str) -> str | None:
    """The value as it is stored, or None when the property does not take it."""
    match prop.kind:
        case Kind.TRUTH:
            return _TRUTHS.get(value.lower())
        case Kind.YES_NO:
            word = _TRUTHS.get(value.lower())
            return None if word is None else {"true": "yes", "false": "no"}[word]
        case Kind.LONG:
            return value if _LONG.fullmatch(value) and abs(int(value)) <= _LONG_MAX else None
        case Kind.RANGE:
            return value if _in_range(value, prop.values) else None
        case Kind.RANGE_FLOAT:
            return value if _is_ratio(value) else None
        case Kind.REGEX:
            return value if _pattern(prop.values).fullmatch(value) else None
        case Kind.SYMBOL:
            return _symbol(value, prop.values)
        case Kind.STRING:
            return value
        case Kind.NUMBER_OR_SYMBOL:
            return value if _in_range(value, _COUNT) else _symbol(value, prop.values)


def describe(prop: Property) -> str:
    """What values are taken, for people."""
    match prop.kind:
        case Kind.TRUTH:
            return "true or false"
        case Kind.YES_NO:
            return "yes or no"
        case Kind.LONG:
            return "a whole number"
        case Kind.RANGE:
            low, high = prop.values.split()
            return f"a whole number from {low} to {high}"
        case Kind.RANGE_FLOAT:
            return f"a number above 0, up to {_RATIO_MAX}"
        case Kind.REGEX:
            return f"text that matches {prop.values}"
        case Kind.SYMBOL:
            return "one of " + ", ".join(prop.values.split())
        case Kind.STRING:
            return "any text"
        case Kind.NUMBER_OR_SYMBOL:
            return "a whole number from 1 to 32 or one of " + ", ".join(prop.values.split())


def _in_range(value: str, bounds: str) -> bool:
    low, high = bounds.split()
    return bool(_LONG.fullmatch(value)) and int(low) <= int(value) <= int(high)


def _is_ratio(value: str) -> bool:
    return bool(re.fullmatch(r"[0-9]{1,9}([.][0-9]{1,9})?", value)) and 0 < float(value) <= _RATIO_MAX


def _symbol(value: str, words: str) -> str | None:
    return next((word for word in words.split() if word.lower() == value.lower()), None)


@lru_cache(maxsize=512)
def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text)
