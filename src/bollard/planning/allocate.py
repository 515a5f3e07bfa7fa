"""Numbers that must be unique: TCP ports per address, minors in the cluster, node ids in a resource."""

from collections.abc import Iterable

from bollard.domain import props
from bollard.domain.errors import Conflict, Exhausted, Invalid, Subject
from bollard.domain.nodes import Node
from bollard.planning.draft import Draft

__all__ = [
    "MINOR_MAX",
    "NODE_ID_MAX",
    "checked_minor",
    "checked_ports",
    "free_minor",
    "free_node_id",
    "free_port",
    "number_ranges",
]

MINOR_MAX = 1048575
NODE_ID_MAX = 31
PORT_MAX = 65535

_PORTS_DEFAULT = ((7000, 7999),)
_MINORS_DEFAULT = ((1000, 49999),)


def number_ranges(text: str) -> tuple[tuple[int, int], ...]:
    """`7000`, `7000-7999` and lists of them, in order. Bounds may be swapped; other text is skipped."""
    found = []
    for part in text.split(","):
        low, _, high = part.strip().partition("-")
        if low.isdigit() and (high or low).isdigit():
            bounds = sorted((int(low), int(high or low)))
            found.append((bounds[0], bounds[1]))
    return tuple(found)


def free_port(draft: Draft, node: Node) -> int:
    """The lowest free port of the node's range. Raises Exhausted.

    Nodes that share an address share its ports: on one machine a port can be bound once.
    """
    text = props.TCP_PORT_AUTO_RANGE.found(node.props, draft.controller_props()) or ""
    ranges = number_ranges(text) or _PORTS_DEFAULT
    taken = draft.ports_taken(node)
    for low, high in number_ranges(props.TCP_PORTS_BLOCKED.text(node.props)):
        taken.update(range(low, min(high, PORT_MAX) + 1))
    for low, high in ranges:
        for port in range(max(low, 1), min(high, PORT_MAX) + 1):
            if port not in taken:
                return port
    raise Exhausted(
        Subject.TCP_PORT,
        node.name,
        f"The node '{node.name}' has no free TCP port left",
        cause="All ports of its range are in use or blocked: "
        + ", ".join(f"{low}-{high}" for low, high in ranges)
        + ".",
        correction=f"Widen {props.TCP_PORT_AUTO_RANGE.key} of the node or of the controller.",
    )


def checked_ports(draft: Draft, node: Node, ports: Iterable[int]) -> tuple[int, ...]:
    """Ports that the caller asked for. Raises Invalid when out of range, Conflict when one is taken."""
    wanted = tuple(ports)
    taken = draft.ports_taken(node)
    for port in wanted:
        if not 1 <= port <= PORT_MAX:
            raise Invalid(
                Subject.TCP_PORT,
                str(port),
                f"{port} is not a TCP port",
                cause=f"A port is a number from 1 to {PORT_MAX}.",
            )
        if port in taken:
            raise Conflict(
                Subject.TCP_PORT,
                str(port),
                f"The TCP port {port} of the node '{node.name}' is in use",
                cause="Another resource has it at one of the node's addresses.",
                correction="Name another port, or none: a free one is taken then.",
            )
    return wanted


def free_minor(draft: Draft) -> int:
    """The lowest free minor of the range. Raises Exhausted."""
    ranges = number_ranges(props.MINOR_NR_AUTO_RANGE.text(draft.controller_props()) or "") or _MINORS_DEFAULT
    taken = draft.minors_taken()
    for low, high in ranges:
        minor = draft.cluster.first_free_minor(low, taken)
        if minor <= min(high, MINOR_MAX):
            return minor
    raise Exhausted(
        Subject.MINOR,
        "",
        "There is no free minor number left",
        cause="All of the range are in use: " + ", ".join(f"{low}-{high}" for low, high in ranges) + ".",
        correction=f"Widen {props.MINOR_NR_AUTO_RANGE.key} of the controller.",
    )


def checked_minor(draft: Draft, minor: int) -> int:
    """A minor that the caller asked for. Raises Invalid when out of range or taken."""
    if not 0 <= minor <= MINOR_MAX:
        raise Invalid(
            Subject.MINOR,
            str(minor),
            f"{minor} is not a minor number",
            cause=f"A minor is a number from 0 to {MINOR_MAX}.",
        )
    if draft.cluster.minor_in_use(minor) or minor in draft.minors_taken():
        raise Invalid(
            Subject.MINOR,
            str(minor),
            f"The minor number {minor} is in use",
            cause="Another volume definition has it.",
            correction="Name another one, or none: a free one is taken then.",
        )
    return minor


def free_node_id(taken: Iterable[int | None], name: str) -> int:
    """The lowest free DRBD node id of a resource. Raises Exhausted."""
    used = set(taken)
    for node_id in range(NODE_ID_MAX + 1):
        if node_id not in used:
            return node_id
    raise Exhausted(
        Subject.NODE_ID,
        name,
        f"The resource '{name}' has no free DRBD node id left",
        cause=f"A resource can be on {NODE_ID_MAX + 1} nodes at most.",
    )
