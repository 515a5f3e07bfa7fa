"""Requests about resources on nodes, on the public API. What clients see of them is in resource_views."""

from typing import Any

from bollard.domain.commands import NewResource
from bollard.wire.rest.bodies import Body, GivenProps, PropsModify, props
from bollard.wire.rest.groups import AutoSelectFilter


class ResourceBody(Body, frozen=True, kw_only=True):
    """The resource inside a request to create one; members that only answers have are ignored."""

    name: str | None = None
    node_name: str | None = None
    props: GivenProps | None = None
    effective_props: dict[str, Any] | None = None
    flags: tuple[str, ...] | None = None
    layer_object: dict[str, Any] | None = None
    state: dict[str, Any] | None = None
    uuid: str | None = None
    create_timestamp: int | None = None


class ResourceCreate(Body, frozen=True, kw_only=True):
    """Of a request to create a resource on a node."""

    resource: ResourceBody | None = None
    layer_list: tuple[str, ...] | None = None
    drbd_node_id: int | None = None
    drbd_tcp_port_count: int | None = None
    drbd_tcp_ports: tuple[int, ...] | None = None
    snap_names: tuple[str, ...] | None = None
    copy_all_snaps: bool | None = None
    drbd_client: bool | None = None

    def new(self, node: str | None = None) -> NewResource:
        """The resource as the planner knows it; `node` is the one of the path."""
        given = self.resource or ResourceBody()
        return NewResource(
            node=node if node is not None else given.node_name or "",
            flags=given.flags or (),
            props=props(given.props),
            layer_stack=self.layer_list or (),
            drbd_node_id=self.drbd_node_id,
            tcp_ports=self.drbd_tcp_ports or (),
            client=bool(self.drbd_client),
        )


class ResourceModify(PropsModify, frozen=True, kw_only=True):
    """Of a request to change a resource on a node."""

    drbd_tiebreaker: bool | None = None
    drbd_client: bool | None = None


class VolumeModify(PropsModify, frozen=True, kw_only=True):
    """Of a request to change a volume on a node."""


class AutoPlace(Body, frozen=True, kw_only=True):
    """Of a request to place replicas."""

    diskless_on_remaining: bool | None = None
    select_filter: AutoSelectFilter | None = None
    layer_list: tuple[str, ...] | None = None
    snap_names: tuple[str, ...] | None = None
    copy_all_snaps: bool | None = None


class MakeAvailableBody(Body, frozen=True, kw_only=True):
    """Of a request to make a resource usable on a node."""

    layer_list: tuple[str, ...] | None = None
    diskful: bool | None = None
    drbd_tcp_ports: tuple[int, ...] | None = None
    snap_names: tuple[str, ...] | None = None
    copy_all_snaps: bool | None = None
    auto_manage_dual_primary: bool | None = None


class ToggleDiskDiskful(Body, frozen=True, kw_only=True):
    """Of the old request to give a resource a disk."""

    layer_list: tuple[str, ...] | None = None
    props: GivenProps | None = None
    drbd_tcp_ports: tuple[int, ...] | None = None
    snap_names: tuple[str, ...] | None = None
    copy_all_snaps: bool | None = None


class ToggleDiskBody(Body, frozen=True, kw_only=True):
    """Of the request to give a resource a disk or take it away."""

    operation: str | None = None
    storage_pool: str | None = None
    migrate_from: str | None = None
    layer_list: tuple[str, ...] | None = None
    props: GivenProps | None = None
    drbd_tcp_ports: tuple[int, ...] | None = None
    snap_names: tuple[str, ...] | None = None
    copy_all_snaps: bool | None = None
