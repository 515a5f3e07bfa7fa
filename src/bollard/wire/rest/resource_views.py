"""Resources, their layers and volumes as clients see them: the wish and what was last seen of it.

The longest list of the API is made here: functions from records to records, which are spared the garbage
collector (they hold no cycles).
"""

import msgspec

from bollard.domain.layers import DEFAULT_STACK, LayerKind, ProviderKind
from bollard.domain.resources import DiskKind, Resource, ResourceDefinition, ResourcePhase, VolumeOnNode
from bollard.domain.seen import SeenPeer, SeenResource, SeenVolume
from bollard.wire.rest import codes
from bollard.wire.rest.answers import ApiCallRc
from bollard.wire.rest.codes import Mask
from bollard.wire.rest.definitions import (
    AL_STRIPE_SIZE_KIB,
    AL_STRIPES,
    DrbdDefinitionData,
    DrbdVolumeDefinition,
    drbd_data,
)

UNKNOWN_SIZE = -1
_NO_DISK_STATE = "[]"
"""What a plain volume without a state of its own says."""


class LayerVolume(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """One layer of a volume on a node; its number is in the definition where the layer is DRBD."""

    allocated_size_kib: int
    usable_size_kib: int
    drbd_volume_definition: DrbdVolumeDefinition | None = None
    volume_number: int | None = None
    device_path: str = ""
    backing_device: str = ""
    disk_state: str = ""


class DrbdConnection(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A connection to a peer."""

    connected: bool
    message: str = ""


class DrbdResource(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """The DRBD layer of a resource on a node."""

    drbd_resource_definition: DrbdDefinitionData
    peer_slots: int
    al_stripes: int
    al_size: int
    node_id: int | None = None
    tcp_ports: tuple[int, ...] = ()
    flags: tuple[str, ...] = ()
    drbd_volumes: tuple[LayerVolume, ...] = ()
    connections: dict[str, DrbdConnection] = {}
    promotion_score: int | None = None
    may_promote: bool | None = None


class StorageResource(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """The storage layer of a resource on a node."""

    storage_volumes: tuple[LayerVolume, ...] = ()


class LuksVolume(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """The LUKS layer of a volume on a node."""

    volume_number: int
    allocated_size_kib: int
    usable_size_kib: int
    opened: bool | msgspec.UnsetType = msgspec.UNSET
    corrupted_key: bool | msgspec.UnsetType = msgspec.UNSET


class LuksResource(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """The LUKS layer of a resource on a node."""

    luks_volumes: tuple[LuksVolume, ...] = ()


class NvmeResource(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """The NVMe layer of a resource on a node."""

    nvme_volumes: tuple[LayerVolume, ...] = ()


class LayerObject(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A layer and what it stands on."""

    type: LayerKind
    children: tuple["LayerObject", ...] = ()
    drbd: DrbdResource | None = None
    storage: StorageResource | None = None
    luks: LuksResource | None = None
    nvme: NvmeResource | None = None


class ResourceState(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """What a resource is doing; without in_use that is not known."""

    in_use: bool | None = None


class ReplicationState(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """What a volume is doing towards a peer."""

    replication_state: str
    done_percentage: float | None = None
    resynced_kib: int | None = None
    """Ours: moved by the resync that runs, or by the last one."""


class VolumeState(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """The state of a volume."""

    disk_state: str = ""
    replication_states: dict[str, ReplicationState] = {}


class VolumeLayer(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """One layer of a volume."""

    type: LayerKind
    data: LayerVolume | None = None


class VolumeView(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A volume on a node as clients see it."""

    volume_number: int
    allocated_size_kib: int
    storage_pool_name: str = ""
    provider_kind: str = ""
    device_path: str = ""
    usable_size_kib: int | None = None
    props: dict[str, str] = {}
    flags: tuple[str, ...] = ()
    state: VolumeState | None = None
    layer_data_list: tuple[VolumeLayer, ...] = ()
    uuid: str = ""
    reports: tuple[ApiCallRc, ...] = ()
    nbd_uri: str = ""
    """Ours: where the data process serves the volume, whether it is a block device too or not."""


class Freshness(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Ours: whether the state is current, and if not, since when not and why."""

    current: bool
    heard_at: int | None = None
    settled: bool | None = None
    problem: str = ""
    next_step: str = ""


class VerifyState(msgspec.Struct, frozen=True):
    """Ours: the newest online verify of a resource definition."""

    request: int
    finished: bool
    done_percent: float = 0.0
    out_of_sync_kib: int = 0


class ResourceView(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A resource on a node as clients see it; `volumes` only in the view with volumes."""

    name: str
    node_name: str
    props: dict[str, str] = {}
    flags: tuple[str, ...] = ()
    layer_object: LayerObject | None = None
    state: ResourceState | None = None
    uuid: str = ""
    create_timestamp: int | None = None
    volumes: tuple[VolumeView, ...] = ()
    shared_name: str = ""
    observed: Freshness | None = None
    verify: VerifyState | None = None


class Picture(msgspec.Struct, frozen=True, gc=False):
    """All that a view of one resource is made of."""

    resource: Resource
    definition: ResourceDefinition
    seen: SeenResource | None
    providers: dict[str, ProviderKind]
    """Of the pools of the node, by the names that its volumes have for them."""
    current: bool
    """Whether the node is online, so that `seen` is what it is now."""
    heard_ms: int = 0
    held: str = ""
    """Why the node is not told of it now."""


_UNLOCK = "Enter the passphrase with 'bollard encryption enter-passphrase'."

_DISK_FLAGS: dict[DiskKind, tuple[str, ...]] = {
    DiskKind.DISKFUL: (),
    DiskKind.DISKLESS: ("DISKLESS", "DRBD_DISKLESS"),
    DiskKind.TIE_BREAKER: ("DISKLESS", "DRBD_DISKLESS", "TIE_BREAKER"),
    DiskKind.CLIENT: ("DISKLESS", "DRBD_DISKLESS"),
    DiskKind.NVME_INITIATOR: ("DISKLESS", "NVME_INITIATOR"),
}
_PHASE_FLAGS: dict[ResourcePhase, tuple[str, ...]] = {
    ResourcePhase.NORMAL: (),
    ResourcePhase.DISK_ADDING: ("DISK_ADD_REQUESTED", "DISK_ADDING"),
    ResourcePhase.DISK_REMOVING: ("DISK_REMOVE_REQUESTED", "DISK_REMOVING"),
    ResourcePhase.INACTIVE: ("INACTIVE",),
    ResourcePhase.EVACUATING: ("EVACUATE",),
}


def flags_of(resource: Resource) -> tuple[str, ...]:
    """The API's flags of a resource."""
    disk = _DISK_FLAGS[resource.disk]
    if resource.phase is ResourcePhase.DISK_ADDING and not disk:
        disk = _DISK_FLAGS[DiskKind.DISKLESS]
    return (*disk, *_PHASE_FLAGS[resource.phase])


def resource_view(picture: Picture, *, with_volumes: bool) -> ResourceView:
    """One resource on one node."""
    resource, seen = picture.resource, picture.seen
    props = dict(resource.props)
    if resource.volumes and resource.phase is not ResourcePhase.DISK_ADDING:
        props.setdefault("StorPoolName", resource.volumes[0].pool)
    state = None
    stack = _stack(picture)
    if picture.current and seen is not None:
        state = ResourceState(seen.in_use if LayerKind.DRBD in stack else None)
    pieces = [_piece(picture, volume, stack) for volume in resource.volumes]
    return ResourceView(
        name=picture.definition.name,
        node_name=resource.node,
        props=props,
        flags=flags_of(resource),
        layer_object=_layers(picture, stack, pieces),
        state=state,
        uuid=resource.uuid,
        create_timestamp=resource.create_timestamp_ms or None,
        volumes=tuple([_volume(picture, stack, piece) for piece in pieces]) if with_volumes else (),
        observed=_freshness(picture),
        verify=_verify(picture),
    )


def _verify(picture: Picture) -> VerifyState | None:
    """What the definition knows to be done, else the progress that this node reports."""
    definition = picture.definition
    if not definition.verify_request:
        return None
    if definition.verify_finished >= definition.verify_request:
        found_kib = definition.verify_out_of_sync_kib
        return VerifyState(
            definition.verify_finished, finished=True, done_percent=100.0, out_of_sync_kib=found_kib
        )
    seen = picture.seen.verify if picture.seen is not None and picture.current else None
    if seen is None or seen.request != definition.verify_request:
        return VerifyState(definition.verify_request, finished=False)
    return VerifyState(seen.request, False, seen.done_percent, seen.out_of_sync_kib)


def volume_views(picture: Picture) -> tuple[VolumeView, ...]:
    """The volumes of a resource on its node."""
    stack = _stack(picture)
    return tuple(
        _volume(picture, stack, _piece(picture, volume, stack)) for volume in picture.resource.volumes
    )


class _Piece(msgspec.Struct, frozen=True, gc=False):
    """A volume with what is shown of it in more than one place."""

    volume: VolumeOnNode
    seen: SeenVolume | None
    size_kib: int
    layers: dict[LayerKind, LayerVolume]


def _piece(picture: Picture, volume: VolumeOnNode, stack: tuple[LayerKind, ...]) -> _Piece:
    number = volume.number
    definition = picture.definition.volume(number)
    size_kib = definition.size_kib if definition is not None else UNKNOWN_SIZE
    seen = None
    for each in picture.seen.volumes if picture.seen is not None else ():
        if each.number == number:
            seen = each
            break
    diskful = picture.resource.diskful
    layers: dict[LayerKind, LayerVolume] = {}
    if LayerKind.DRBD in stack:
        minor = definition.minor if definition is not None else None
        layers[LayerKind.DRBD] = _drbd_volume(DrbdVolumeDefinition(number, minor), seen, size_kib, diskful)
    plain = stack == (LayerKind.STORAGE,)
    layers[LayerKind.STORAGE] = _storage_volume(number, seen, size_kib, diskful=diskful, plain=plain)
    return _Piece(volume, seen, size_kib, layers)


def _freshness(picture: Picture) -> Freshness:
    seen = picture.seen
    problem = seen.problem if seen is not None else None
    settled = seen.settled if seen is not None else None
    return Freshness(
        current=picture.current,
        heard_at=None if picture.current else picture.heard_ms or None,
        settled=False if picture.held else settled,
        problem=picture.held or (problem.message if problem is not None else ""),
        next_step=_UNLOCK if picture.held else problem.correction if problem is not None else "",
    )


def _stack(picture: Picture) -> tuple[LayerKind, ...]:
    return picture.resource.layer_stack or picture.definition.layer_stack or DEFAULT_STACK


def _layers(picture: Picture, stack: tuple[LayerKind, ...], pieces: list[_Piece]) -> LayerObject:
    below: tuple[LayerObject, ...] = ()
    for kind in reversed(stack):
        match kind:
            case LayerKind.DRBD:
                layer = LayerObject(kind, below, drbd=_drbd(picture, pieces))
            case LayerKind.LUKS if picture.resource.diskful:
                layer = LayerObject(kind, below, luks=LuksResource(tuple(map(_luks_volume, pieces))))
            case LayerKind.NVME:
                layer = LayerObject(kind, below, nvme=NvmeResource(tuple(map(_nvme_volume, pieces))))
            case LayerKind.STORAGE:
                volumes = tuple([piece.layers[kind] for piece in pieces])
                layer = LayerObject(kind, below, storage=StorageResource(volumes))
            case _:
                layer = LayerObject(kind, below)
        below = (layer,)
    assert below, picture
    return below[0]


def _luks_volume(piece: _Piece) -> LuksVolume:
    # What stands on it is there to be used only while it is open.
    opened = piece.seen is not None and bool(piece.seen.backing_path and piece.seen.device_path)
    below = piece.layers[LayerKind.STORAGE]
    return LuksVolume(
        volume_number=piece.volume.number,
        allocated_size_kib=below.allocated_size_kib,
        usable_size_kib=piece.size_kib,
        opened=opened,
        corrupted_key=False,
    )


def _nvme_volume(piece: _Piece) -> LayerVolume:
    seen = piece.seen
    return LayerVolume(
        volume_number=piece.volume.number,
        allocated_size_kib=piece.layers[LayerKind.STORAGE].allocated_size_kib,
        usable_size_kib=seen.size_kib if seen is not None and seen.size_kib else piece.size_kib,
        device_path=seen.device_path if seen is not None else "",
        backing_device=seen.backing_path if seen is not None else "",
        disk_state=_NO_DISK_STATE,
    )


def _drbd(picture: Picture, pieces: list[_Piece]) -> DrbdResource:
    resource, seen = picture.resource, picture.seen
    flags = () if resource.diskful else ("DISKLESS",)
    if seen is not None:
        flags = (*flags, "INITIALIZED")
    if resource.disk is DiskKind.CLIENT:
        flags = (*flags, "CLIENT")
    shown = seen if picture.current and resource.phase is not ResourcePhase.INACTIVE else None
    return DrbdResource(
        drbd_resource_definition=drbd_data(picture.definition),
        peer_slots=resource.peer_slots or picture.definition.peer_slots,
        al_stripes=AL_STRIPES,
        al_size=AL_STRIPE_SIZE_KIB,
        node_id=resource.drbd_node_id,
        tcp_ports=resource.tcp_ports,
        flags=flags,
        drbd_volumes=tuple([piece.layers[LayerKind.DRBD] for piece in pieces]),
        connections={peer.node: _connection(peer) for peer in shown.peers} if shown else {},
        promotion_score=_promotion_score(shown) if shown else None,
        may_promote=shown.may_promote if shown else None,
    )


def _connection(peer: SeenPeer) -> DrbdConnection:
    return DrbdConnection(peer.connection == "Connected", peer.connection)


def _promotion_score(seen: SeenResource) -> int:
    """Higher is better to promote: current data first, then peers that see it, then peers at all."""
    own = "UpToDate" in [volume.disk_state for volume in seen.volumes]
    connected = current_peers = 0
    for peer in seen.peers:
        if peer.connection == "Connected":
            connected += 1
            states = [volume.peer_disk_state for volume in peer.volumes]
            current_peers += bool(states) and states.count("UpToDate") == len(states)
    return 10_000 * own + 100 * connected + (1 if own else current_peers)


def _drbd_volume(
    definition: DrbdVolumeDefinition, seen: SeenVolume | None, size_kib: int, diskful: bool
) -> LayerVolume:
    return LayerVolume(
        drbd_volume_definition=definition,
        allocated_size_kib=seen.allocated_kib if seen and diskful else UNKNOWN_SIZE,
        usable_size_kib=seen.size_kib if seen is not None and seen.size_kib else size_kib,
        device_path=seen.device_path if seen else "",
        backing_device=seen.backing_path if seen and diskful else "",
    )


def _storage_volume(
    number: int, seen: SeenVolume | None, size_kib: int, *, diskful: bool, plain: bool
) -> LayerVolume:
    if not diskful:
        return LayerVolume(volume_number=number, allocated_size_kib=0, usable_size_kib=size_kib)
    return LayerVolume(
        volume_number=number,
        allocated_size_kib=seen.allocated_kib if seen else UNKNOWN_SIZE,
        usable_size_kib=size_kib,
        device_path=(seen.device_path if plain else seen.backing_path) if seen else "",
        disk_state=_NO_DISK_STATE,
    )


def _volume(picture: Picture, stack: tuple[LayerKind, ...], piece: _Piece) -> VolumeView:
    volume, seen = piece.volume, piece.seen
    active = picture.resource.phase is not ResourcePhase.INACTIVE
    return VolumeView(
        volume_number=volume.number,
        allocated_size_kib=seen.allocated_kib if seen and picture.resource.diskful else 0,
        storage_pool_name=volume.pool,
        provider_kind=picture.providers.get(volume.pool, ""),
        device_path=seen.device_path if seen and active else "",
        nbd_uri=seen.nbd_uri if seen and active else "",
        usable_size_kib=piece.size_kib,
        props=volume.props,
        state=_volume_state(picture, seen) if seen and picture.current else None,
        layer_data_list=tuple([VolumeLayer(kind, piece.layers.get(kind)) for kind in stack]),
        uuid=volume.uuid,
        reports=_reports(seen),
    )


def _volume_state(picture: Picture, seen: SeenVolume) -> VolumeState:
    resource = picture.resource
    disk_state = seen.disk_state
    if resource.disk is DiskKind.CLIENT and disk_state == "Diskless":
        disk_state = "Client"
    states: dict[str, ReplicationState] = {}
    for peer in picture.seen.peers if picture.seen is not None else ():
        for volume in peer.volumes:
            if volume.number == seen.number:
                states[peer.node] = ReplicationState(
                    volume.replication_state, volume.done_percent, volume.resynced_kib or None
                )
    return VolumeState(disk_state, states)


def _reports(seen: SeenVolume | None) -> tuple[ApiCallRc, ...]:
    if seen is None or seen.problem is None:
        return ()
    return (
        ApiCallRc(
            ret_code=codes.ret_code(Mask.ERROR, "UNKNOWN_ERROR"),
            message=seen.problem.message,
            cause=seen.problem.cause,
            correction=seen.problem.correction,
        ),
    )
