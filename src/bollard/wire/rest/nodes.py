"""Nodes and their network interfaces on the public API."""

import msgspec

from bollard.domain.commands import NewNetInterface
from bollard.domain.ids import key_of
from bollard.domain.layers import LayerKind, ProviderKind
from bollard.domain.nodes import NetInterface, Node, NodePhase
from bollard.domain.observed import NodeSeen
from bollard.wire.rest.bodies import Body, GivenProps, PropsModify


class NetInterfaceBody(Body, frozen=True, kw_only=True):
    """Of a request to create or change a network interface."""

    name: str | None = None
    address: str | None = None
    satellite_port: int | None = None
    satellite_encryption_type: str | None = None
    is_active: bool | None = None
    uuid: str | None = None

    def new(self) -> NewNetInterface:
        """The interface as the planner knows it."""
        return NewNetInterface(
            name=self.name or "",
            address=self.address or "",
            satellite_port=self.satellite_port,
            satellite_encryption=self.satellite_encryption_type,
            is_active=self.is_active,
        )


class NodeBody(Body, frozen=True, kw_only=True):
    """Of a request to create a node; members that only answers have are ignored."""

    name: str | None = None
    type: str | None = None
    props: GivenProps | None = None
    net_interfaces: tuple[NetInterfaceBody, ...] | None = None
    flags: tuple[str, ...] | None = None
    connection_status: str | int | None = None
    uuid: str | None = None
    storage_providers: tuple[str, ...] | None = None
    resource_layers: tuple[str, ...] | None = None
    unsupported_providers: dict[str, list[str]] | None = None
    unsupported_layers: dict[str, list[str]] | None = None
    eviction_timestamp: int | None = None
    platform: str | None = None
    os_variant: str | None = None


class NodeCreateEbs(Body, frozen=True, kw_only=True):
    """Of a request to register an EBS target."""

    name: str | None = None
    ebs_remote_name: str | None = None


class NodeModify(PropsModify, frozen=True, kw_only=True):
    """Of a request to change a node."""

    node_type: str | None = None


class NodeEvacuate(Body, frozen=True, kw_only=True):
    """Of a request to move all replicas away from a node."""

    target: tuple[str, ...] | None = None
    do_not_target: tuple[str, ...] | None = None


class NodeRestore(Body, frozen=True, kw_only=True):
    """Of a request to take a node back."""

    delete_resources: bool | None = None
    delete_snapshots: bool | None = None


class NetInterfaceView(msgspec.Struct, frozen=True, omit_defaults=True):
    """A network interface as clients see it."""

    name: str
    address: str
    is_active: bool
    satellite_port: int | None = None
    satellite_encryption_type: str = ""
    uuid: str = ""


class NodeView(msgspec.Struct, frozen=True, omit_defaults=True):
    """A node as clients see it."""

    name: str
    type: str
    flags: tuple[str, ...] = ()
    props: dict[str, str] = {}
    net_interfaces: tuple[NetInterfaceView, ...] = ()
    connection_status: str = ""
    uuid: str = ""
    storage_providers: tuple[str, ...] = ()
    resource_layers: tuple[str, ...] = ()
    unsupported_providers: dict[str, list[str]] = {}
    unsupported_layers: dict[str, list[str]] = {}
    eviction_timestamp: int | None = None
    platform: str = ""
    os_variant: str = ""
    connection_message: str = ""
    """Ours: why the node is not online."""
    heard_at: int | None = None
    """Ours: when the node last reported, ms since the epoch; the age of what is shown of it."""
    leftovers: tuple[str, ...] = ()
    """Ours: storage on the node that carries our mark and that nothing names, as `POOL:PATH`."""
    attach: str = ""
    """Ours: how volumes of the data process become block devices on the node; empty: they do not."""
    attach_reasons: dict[str, str] = {}
    """Ours: why other ways of attaching cannot be gone there, by way."""


_FLAGS: dict[NodePhase, tuple[str, ...]] = {
    NodePhase.NORMAL: (),
    NodePhase.DELETING: ("DELETE",),
    NodePhase.EVACUATING: ("EVACUATE",),
    NodePhase.EVICTED: ("EVICTED",),
}
_UNKNOWN = "No information from satellite yet"
_ALWAYS = (ProviderKind.DISKLESS,)


def net_interface_view(node: Node, net_if: NetInterface) -> NetInterfaceView:
    """One interface of a node."""
    return NetInterfaceView(
        name=net_if.name,
        address=net_if.address,
        is_active=node.active_net_if is not None and key_of(net_if.name) == key_of(node.active_net_if),
        satellite_port=net_if.satellite_port,
        satellite_encryption_type=net_if.satellite_encryption or "",
        uuid=net_if.uuid,
    )


def node_view(node: Node, seen: NodeSeen, evicted_at_ms: int | None = None) -> NodeView:
    """A node with what is known of it, and when it is to be given up if it stays away."""
    props = dict(node.props)
    if node.active_net_if is not None:
        props["CurStltConnName"] = node.active_net_if
    able = seen.capabilities
    if able is not None and able.uname:
        props["NodeUname"] = able.uname
    return NodeView(
        name=node.name,
        type=node.type,
        flags=_FLAGS[node.phase],
        props=props,
        net_interfaces=tuple(net_interface_view(node, net_if) for net_if in node.net_interfaces),
        connection_status=status_of(node, seen),
        uuid=node.uuid,
        storage_providers=able.providers if able else _ALWAYS,
        resource_layers=able.layers if able else (LayerKind.STORAGE,),
        unsupported_providers=able.unsupported_providers if able else _unknown(ProviderKind, _ALWAYS),
        unsupported_layers=able.unsupported_layers if able else _unknown(LayerKind, (LayerKind.STORAGE,)),
        eviction_timestamp=evicted_at_ms or node.eviction_timestamp_ms,
        platform=able.platform if able else "",
        os_variant=able.os_variant if able else "",
        attach=able.attach if able else "",
        attach_reasons=able.attach_reasons if able else {},
        connection_message=seen.message,
        heard_at=seen.heard_ms or None,
        leftovers=seen.leftovers,
    )


def status_of(node: Node, seen: NodeSeen) -> str:
    """The API's word for the connection to a node."""
    if not node.holds_storage:
        return "OFFLINE"
    return seen.status if node.link() is not None else "NO_STLT_CONN"


def _unknown(
    kinds: type[ProviderKind] | type[LayerKind], known: tuple[ProviderKind | LayerKind, ...]
) -> dict[str, list[str]]:
    return {kind: [_UNKNOWN] for kind in kinds if kind not in known}
