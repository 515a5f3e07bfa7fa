"""Nodes and their network interfaces."""

from enum import StrEnum

import msgspec

from bollard.domain.ids import Key, NetIfName, NodeName, Uuid, key_of
from bollard.domain.layers import ProviderKind

Props = dict[str, str]
"""Properties as stored; never edited in place: a change makes a new dict."""


class NodeType(StrEnum):
    """As the API names them."""

    CONTROLLER = "CONTROLLER"
    SATELLITE = "SATELLITE"
    COMBINED = "COMBINED"
    AUXILIARY = "AUXILIARY"
    REMOTE_SPDK = "REMOTE_SPDK"
    EBS_TARGET = "EBS_TARGET"


STORAGE_NODE_TYPES = frozenset({NodeType.SATELLITE, NodeType.COMBINED})


class NodePhase(StrEnum):
    """Where a node is in its life."""

    NORMAL = "normal"
    DELETING = "deleting"
    EVACUATING = "evacuating"
    EVICTED = "evicted"


class Encryption(StrEnum):
    """Of the satellite link, as the API names it."""

    PLAIN = "PLAIN"
    SSL = "SSL"


class NetInterface(msgspec.Struct, frozen=True, omit_defaults=True):
    """An address of a node; with a satellite port it can carry the controller's link."""

    name: NetIfName
    address: str
    uuid: Uuid
    satellite_port: int | None = None
    satellite_encryption: Encryption | None = None


class Node(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="node"):
    """A machine of the cluster."""

    name: NodeName
    uuid: Uuid
    type: NodeType = NodeType.SATELLITE
    net_interfaces: tuple[NetInterface, ...] = ()
    active_net_if: NetIfName | None = None
    props: Props = {}
    phase: NodePhase = NodePhase.NORMAL
    eviction_timestamp_ms: int | None = None

    @property
    def key(self) -> Key:
        """The store key."""
        return key_of(self.name)

    @property
    def holds_storage(self) -> bool:
        """Whether pools and resources may be placed here."""
        return self.type in STORAGE_NODE_TYPES

    def link(self) -> NetInterface | None:
        """The interface that carries the satellite link, or None when there is none."""
        for net_if in self.net_interfaces:
            if self.active_net_if is not None and net_if.name == self.active_net_if:
                return net_if
        return None

    def address_on(self, net_if: str) -> str | None:
        """That of the network interface of this name; None when there is none."""
        return next((one.address for one in self.net_interfaces if key_of(one.name) == key_of(net_if)), None)

    def data_address(self, preferred: str | None = None) -> str | None:
        """The address for replication: the preferred interface, else `default`, else the first."""
        by_key = {key_of(net_if.name): net_if.address for net_if in self.net_interfaces}
        for name in (preferred, "default"):
            if name is not None and key_of(name) in by_key:
                return by_key[key_of(name)]
        return self.net_interfaces[0].address if self.net_interfaces else None


class StoragePoolDefinition(
    msgspec.Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="pool-definition"
):
    """Cluster-wide defaults of all pools of one name."""

    name: str
    uuid: Uuid
    props: Props = {}

    @property
    def key(self) -> Key:
        """The store key."""
        return key_of(self.name)


class StoragePool(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="pool"):
    """A pool on one node."""

    node: NodeName
    name: str
    uuid: Uuid
    provider: ProviderKind
    props: Props = {}
    shared_space: str | None = None
    external_locking: bool = False

    @property
    def key(self) -> Key:
        """The store key."""
        return key_of(self.node, self.name)
