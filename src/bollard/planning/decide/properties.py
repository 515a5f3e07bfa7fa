"""Changes of properties, the same for every kind of object. Validation is the catalogue's."""

from collections.abc import Mapping

from bollard.domain import props
from bollard.domain.answers import Entry
from bollard.domain.commands import PropsChange
from bollard.domain.errors import Invalid, Subject
from bollard.domain.nodes import Node, Props
from bollard.domain.props import Scope
from bollard.planning import entries, quorum

__all__ = ["apply", "initial", "is_empty", "note_quorum", "require_net_if"]


def is_empty(change: PropsChange) -> bool:
    """Whether nothing is to be changed."""
    return not (change.override or change.delete or change.delete_namespaces)


def apply(
    current: Props, change: PropsChange, scope: Scope, *, subject: Subject, refs: dict[str, str]
) -> tuple[Props, list[Entry]]:
    """The new properties and what to say. Raises Invalid: all or none."""
    after = props.changed(
        current,
        scope,
        override=change.override,
        delete=change.delete,
        delete_namespaces=change.delete_namespaces,
    )
    said = entries.prop_entries(subject, refs, override=dict(change.override), delete=change.delete)
    return after, said


def initial(given: Mapping[str, str], scope: Scope) -> Props:
    """Properties of a new object. Raises Invalid."""
    return {key: props.checked(key, value, scope) for key, value in given.items()}


def note_quorum(before: Props, after: Props, change: PropsChange) -> Props:
    """Remember whether a person has taken quorum over, or has given it back."""
    key, mark = props.QUORUM.key, props.QUORUM_SET_BY.key
    if key in change.override and key in after:
        return after | {mark: quorum.SET_BY_USER}
    if key in before and key not in after:
        return {name: value for name, value in after.items() if name != mark}
    return after


def require_net_if(node: Node, after: Props) -> None:
    """Raises Invalid when the preferred interface is one that the node does not have."""
    wanted = after.get(props.PREF_NIC.key)
    if wanted is not None and wanted.upper() not in {nif.name.upper() for nif in node.net_interfaces}:
        raise Invalid(
            Subject.PROPERTY,
            props.PREF_NIC.key,
            f"The node '{node.name}' has no network interface '{wanted}'",
            cause=f"{props.PREF_NIC.key} must name one of its interfaces.",
        )
