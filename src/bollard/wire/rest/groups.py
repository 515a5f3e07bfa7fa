"""Resource groups, volume groups, spawning and select filters on the public API."""

from collections.abc import Iterable

import msgspec

from bollard.domain.layers import LayerKind, layer_kind, provider_kind
from bollard.domain.resources import ResourceGroup, SelectFilter, VolumeGroup
from bollard.wire.rest.bodies import Body, GivenProps, PropsModify


class AutoSelectFilter(Body, frozen=True, kw_only=True):
    """What placement may choose from, as clients send it."""

    place_count: int | None = None
    additional_place_count: int | None = None
    node_name_list: tuple[str, ...] | None = None
    storage_pool: str | None = None
    storage_pool_list: tuple[str, ...] | None = None
    storage_pool_diskless_list: tuple[str, ...] | None = None
    not_place_with_rsc: tuple[str, ...] | None = None
    not_place_with_rsc_regex: str | None = None
    replicas_on_same: tuple[str, ...] | None = None
    replicas_on_different: tuple[str, ...] | None = None
    x_replicas_on_different_map: dict[str, int] | None = None
    layer_stack: tuple[str, ...] | None = None
    provider_list: tuple[str, ...] | None = None
    diskless_on_remaining: bool | None = None
    diskless_type: str | None = None
    overprovision: float | None = None
    port_count: int | None = None

    def filter(self, *, with_layers: bool = True) -> SelectFilter:
        """The filter as the planner knows it. Raises Invalid for an unknown layer or provider."""
        pools = self.storage_pool_list
        if self.storage_pool is not None and not pools:
            pools = (self.storage_pool,) if self.storage_pool else ()
        layers = self.layer_stack if with_layers else None
        return SelectFilter(
            place_count=self.place_count,
            additional_place_count=self.additional_place_count,
            node_names=self.node_name_list,
            storage_pools=pools,
            storage_pools_diskless=self.storage_pool_diskless_list,
            not_place_with=self.not_place_with_rsc,
            not_place_with_regex=self.not_place_with_rsc_regex,
            replicas_on_same=self.replicas_on_same,
            replicas_on_different=self.replicas_on_different,
            x_replicas_on_different=self.x_replicas_on_different_map,
            layer_stack=None if layers is None else tuple(layer_kind(name) for name in layers),
            providers=(
                None
                if self.provider_list is None
                else tuple(provider_kind(name) for name in self.provider_list)
            ),
            diskless_on_remaining=self.diskless_on_remaining,
            diskless_type=self.diskless_type,
            overprovision=self.overprovision,
            port_count=self.port_count,
        )


def filter_of(body: AutoSelectFilter | None, *, with_layers: bool = True) -> SelectFilter:
    """The filter of a request that may leave it out."""
    return SelectFilter() if body is None else body.filter(with_layers=with_layers)


class GroupBody(Body, frozen=True, kw_only=True):
    """Of a request to create a resource group."""

    name: str | None = None
    description: str | None = None
    props: GivenProps | None = None
    select_filter: AutoSelectFilter | None = None
    uuid: str | None = None
    peer_slots: int | None = None


class GroupModify(PropsModify, frozen=True, kw_only=True):
    """Of a request to change a resource group."""

    description: str | None = None
    select_filter: AutoSelectFilter | None = None
    peer_slots: int | None = None
    snap_names: tuple[str, ...] | None = None
    copy_all_snaps: bool | None = None


class GroupAdjust(Body, frozen=True, kw_only=True):
    """Of a request to place what is missing."""

    select_filter: AutoSelectFilter | None = None
    snap_names: tuple[str, ...] | None = None
    copy_all_snaps: bool | None = None


class GroupSpawn(Body, frozen=True, kw_only=True):
    """Of a request to make a resource from a group."""

    resource_definition_name: str | None = None
    resource_definition_external_name: str | None = None
    volume_sizes: tuple[int, ...] | None = None
    select_filter: AutoSelectFilter | None = None
    partial: bool | None = None
    definitions_only: bool | None = None
    peer_slots: int | None = None
    volume_passphrases: tuple[str, ...] | None = None
    resource_definition_props: GivenProps | None = None


class VolumeGroupBody(Body, frozen=True, kw_only=True):
    """Of a request to create a volume group."""

    volume_number: int | None = None
    props: GivenProps | None = None
    uuid: str | None = None
    flags: tuple[str, ...] | None = None


class VolumeGroupModify(PropsModify, frozen=True, kw_only=True):
    """Of a request to change a volume group."""

    flags: tuple[str, ...] | None = None


class SelectFilterView(msgspec.Struct, frozen=True, omit_defaults=True):
    """A select filter as clients see it."""

    place_count: int | None = None
    additional_place_count: int | None = None
    node_name_list: tuple[str, ...] = ()
    storage_pool: str = ""
    storage_pool_list: tuple[str, ...] = ()
    storage_pool_diskless_list: tuple[str, ...] = ()
    not_place_with_rsc: tuple[str, ...] = ()
    not_place_with_rsc_regex: str = ""
    replicas_on_same: tuple[str, ...] = ()
    replicas_on_different: tuple[str, ...] = ()
    x_replicas_on_different_map: dict[str, int] = {}
    layer_stack: tuple[LayerKind, ...] = ()
    provider_list: tuple[str, ...] = ()
    diskless_on_remaining: bool | None = None
    diskless_type: str = ""
    overprovision: float | None = None
    port_count: int | None = None


class GroupView(msgspec.Struct, frozen=True, omit_defaults=True):
    """A resource group as clients see it."""

    name: str
    select_filter: SelectFilterView
    description: str = ""
    props: dict[str, str] = {}
    uuid: str = ""
    peer_slots: int | None = None


class VolumeGroupView(msgspec.Struct, frozen=True, omit_defaults=True):
    """A volume group as clients see it."""

    volume_number: int
    props: dict[str, str] = {}
    uuid: str = ""
    flags: tuple[str, ...] = ()


def group_view(group: ResourceGroup) -> GroupView:
    """A resource group."""
    return GroupView(
        name=group.name,
        select_filter=filter_view(group.select_filter),
        description=group.description,
        props=group.props,
        uuid=group.uuid,
        peer_slots=group.peer_slots,
    )


def filter_view(given: SelectFilter) -> SelectFilterView:
    """A select filter; the single pool of old clients is the first of the list."""
    pools = given.storage_pools or ()
    return SelectFilterView(
        place_count=given.place_count,
        additional_place_count=given.additional_place_count,
        node_name_list=given.node_names or (),
        storage_pool=pools[0] if pools else "",
        storage_pool_list=pools,
        storage_pool_diskless_list=given.storage_pools_diskless or (),
        not_place_with_rsc=given.not_place_with or (),
        not_place_with_rsc_regex=given.not_place_with_regex or "",
        replicas_on_same=given.replicas_on_same or (),
        replicas_on_different=given.replicas_on_different or (),
        x_replicas_on_different_map=given.x_replicas_on_different or {},
        layer_stack=given.layer_stack or (),
        provider_list=given.providers or (),
        diskless_on_remaining=given.diskless_on_remaining,
        diskless_type=given.diskless_type or "",
        overprovision=given.overprovision,
        port_count=given.port_count,
    )


def volume_group_view(volume_group: VolumeGroup) -> VolumeGroupView:
    """A volume group."""
    return VolumeGroupView(
        volume_number=volume_group.number,
        props=volume_group.props,
        uuid=volume_group.uuid,
        flags=("GROSS_SIZE",) if volume_group.gross_size else (),
    )


def gross(flags: Iterable[str] | None) -> bool:
    """Whether the flags of a new volume group ask for gross sizes."""
    return any(flag.upper() == "GROSS_SIZE" for flag in flags or ())
