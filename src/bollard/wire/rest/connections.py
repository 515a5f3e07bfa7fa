"""Node connections and resource connections on the public API."""

import msgspec

from bollard.domain.resources import Connection
from bollard.wire.rest.bodies import PropsModify


class ConnectionModify(PropsModify, frozen=True, kw_only=True):
    """Of a request to change the properties of a pair of nodes."""


class ConnectionView(msgspec.Struct, frozen=True, omit_defaults=True):
    """A pair of nodes as clients see it."""

    node_a: str
    node_b: str
    props: dict[str, str] = {}
    flags: tuple[str, ...] = ()


def connection_view(node_a: str, node_b: str, connection: Connection | None) -> ConnectionView:
    """A pair of nodes, by name, with what is set for it."""
    first, second = sorted((node_a, node_b), key=str.upper)
    return ConnectionView(first, second, connection.props if connection is not None else {})
