"""The base of all request bodies, and what many of them share.

Unknown members are refused; null is the same as absent; every other rule is the planner's.
"""

import msgspec

from bollard.domain.commands import PropsChange
from bollard.domain.errors import Invalid, Subject
from bollard.domain.nodes import Props

GivenProps = dict[str, str | int | float | bool | None]
"""Properties as clients send them: values may be bare numbers and booleans."""


class Body(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The root of all request bodies."""


class PropsModify(Body, frozen=True, kw_only=True):
    """The members of every request that changes properties."""

    override_props: GivenProps | None = None
    delete_props: tuple[str, ...] | None = None
    delete_namespaces: tuple[str, ...] | None = None

    def change(self) -> PropsChange:
        """The change as the planner knows it. Raises Invalid for a null value."""
        return PropsChange(
            override=props(self.override_props),
            delete=self.delete_props or (),
            delete_namespaces=self.delete_namespaces or (),
        )


def props(given: GivenProps | None) -> Props:
    """Properties with text values. Raises Invalid for a null value."""
    return {key: _text(key, value) for key, value in (given or {}).items()}


def _text(key: str, value: str | float | bool | None) -> str:
    match value:
        case None:
            raise Invalid(
                Subject.PROPERTY,
                key,
                f"Property '{key}' has no value",
                cause="The value is null.",
                correction="Give a value, or name the key in delete_props.",
            )
        case bool():
            return "true" if value else "false"
        case str():
            return value
        case _:
            return str(value)
