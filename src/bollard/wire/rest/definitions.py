"""Resource definitions and volume definitions on the public API."""

from collections.abc import Iterable
from typing import Any

import msgspec

from bollard.domain.layers import DEFAULT_STACK, LayerKind
from bollard.domain.procedures import Procedure
from bollard.domain.resources import (
    DefinitionPhase,
    ResourceDefinition,
    VolumeDefinition,
    VolumePhase,
)
from bollard.wire.rest.bodies import Body, GivenProps, PropsModify

AL_STRIPES = 1
AL_STRIPE_SIZE_KIB = 32
NO_PORT = -1
_PEER_SLOTS = 7


class LayerBody(Body, frozen=True, kw_only=True):
    """One layer of a stack, as clients send it; only its kind is used."""

    type: str | None = None
    data: dict[str, Any] | None = None


class DefinitionBody(Body, frozen=True, kw_only=True):
    """The definition inside a request to create one."""

    name: str | None = None
    external_name: str | None = None
    props: GivenProps | None = None
    flags: tuple[str, ...] | None = None
    layer_data: tuple[LayerBody, ...] | None = None
    uuid: str | None = None
    resource_group_name: str | None = None
    volume_definitions: tuple[dict[str, Any], ...] | None = None


class DefinitionCreate(Body, frozen=True, kw_only=True):
    """Of a request to create a resource definition."""

    resource_definition: DefinitionBody | None = None
    drbd_port: int | None = None
    drbd_secret: str | None = None
    drbd_peer_slots: int | None = None
    drbd_transport_type: str | None = None


class DefinitionModify(PropsModify, frozen=True, kw_only=True):
    """Of a request to change a resource definition."""

    drbd_port: int | None = None
    drbd_peer_slots: int | None = None
    layer_stack: tuple[str, ...] | None = None
    resource_group: str | None = None


class VolumeDefinitionBody(Body, frozen=True, kw_only=True):
    """The volume definition inside a request to create one."""

    volume_number: int | None = None
    size_kib: int | None = None
    props: GivenProps | None = None
    flags: tuple[str, ...] | None = None
    layer_data: tuple[LayerBody, ...] | None = None
    uuid: str | None = None


class VolumeDefinitionCreate(Body, frozen=True, kw_only=True):
    """Of a request to create a volume definition."""

    volume_definition: VolumeDefinitionBody | None = None
    drbd_minor_number: int | None = None
    passphrase: str | None = None


class VolumeDefinitionModify(PropsModify, frozen=True, kw_only=True):
    """Of a request to change a volume definition."""

    size_kib: int | None = None
    flags: tuple[str, ...] | None = None


class DrbdDefinitionData(msgspec.Struct, frozen=True, omit_defaults=True):
    """The DRBD layer of a definition. Its secret is never shown."""

    peer_slots: int
    port: int
    transport_type: str
    al_stripes: int
    al_stripe_size_kib: int
    down: bool


class DefinitionLayer(msgspec.Struct, frozen=True, omit_defaults=True):
    """One layer of a definition."""

    type: LayerKind
    data: DrbdDefinitionData | None = None


class DrbdVolumeDefinition(msgspec.Struct, frozen=True, omit_defaults=True):
    """The DRBD layer of a volume definition."""

    volume_number: int
    minor_number: int | None = None


class VolumeDefinitionLayer(msgspec.Struct, frozen=True, omit_defaults=True):
    """One layer of a volume definition."""

    type: LayerKind
    data: DrbdVolumeDefinition | None = None


class VolumeDefinitionView(msgspec.Struct, frozen=True, omit_defaults=True):
    """A volume definition as clients see it."""

    volume_number: int
    size_kib: int
    props: dict[str, str] = {}
    flags: tuple[str, ...] = ()
    layer_data: tuple[VolumeDefinitionLayer, ...] = ()
    uuid: str = ""


class ProcedureView(msgspec.Struct, frozen=True, omit_defaults=True):
    """Work that is under way for a definition: what, how far, and what it waits for."""

    verb: str
    phase: str
    message: str = ""
    started_at: int = 0
    """Milliseconds since the epoch."""
    node_name: str = ""


class DefinitionView(msgspec.Struct, frozen=True, omit_defaults=True):
    """A resource definition as clients see it."""

    name: str
    external_name: str = ""
    props: dict[str, str] = {}
    flags: tuple[str, ...] = ()
    layer_data: tuple[DefinitionLayer, ...] = ()
    uuid: str = ""
    resource_group_name: str = ""
    volume_definitions: tuple[VolumeDefinitionView, ...] = ()
    procedures: tuple[ProcedureView, ...] = ()
    """Ours: what is under way."""


_PHASES: dict[DefinitionPhase, tuple[str, ...]] = {
    DefinitionPhase.NORMAL: (),
    DefinitionPhase.CLONING: ("CLONING",),
    DefinitionPhase.FAILED: ("FAILED",),
    DefinitionPhase.RESTORE_TARGET: ("RESTORE_TARGET",),
}


def drbd_data(definition: ResourceDefinition) -> DrbdDefinitionData:
    """The DRBD layer of a definition; without a fixed port its port is -1."""
    return DrbdDefinitionData(
        peer_slots=definition.peer_slots,
        port=NO_PORT if definition.drbd_port is None else definition.drbd_port,
        transport_type=definition.transport_type,
        al_stripes=AL_STRIPES,
        al_stripe_size_kib=AL_STRIPE_SIZE_KIB,
        down=False,
    )


def definition_view(
    definition: ResourceDefinition,
    *,
    placed: bool,
    with_volumes: bool = False,
    running: Iterable[Procedure] = (),
) -> DefinitionView:
    """A resource definition, with its volume definitions when asked for, and what is under way for it.

    `placed`: it has resources.
    """
    volumes = definition.volumes if with_volumes else ()
    return DefinitionView(
        name=definition.name,
        external_name=definition.external_name or "",
        props=definition.props,
        flags=_PHASES[definition.phase],
        layer_data=tuple(
            DefinitionLayer(kind, drbd_data(definition) if kind is LayerKind.DRBD else None)
            for kind in _shown_stack(definition, placed=placed)
        ),
        uuid=definition.uuid,
        resource_group_name=definition.group,
        volume_definitions=tuple(
            volume_definition_view(definition, volume, placed=placed) for volume in volumes
        ),
        procedures=tuple(
            ProcedureView(one.verb, one.phase, one.message, one.started_ms, one.node or "") for one in running
        ),
    )


def _decided_stack(definition: ResourceDefinition, *, placed: bool) -> tuple[LayerKind, ...]:
    """The layers; none while neither somebody nor a resource has decided on them."""
    return definition.layer_stack or (DEFAULT_STACK if placed else ())


def _shown_stack(definition: ResourceDefinition, *, placed: bool) -> tuple[LayerKind, ...]:
    """The layers, or DRBD alone when only settings of DRBD are decided so far."""
    stack = _decided_stack(definition, placed=placed)
    decided = (
        definition.drbd_port is not None
        or definition.drbd_secret is not None
        or definition.transport_type != "IP"
        or definition.peer_slots != _PEER_SLOTS
    )
    return (LayerKind.DRBD,) if decided and not stack else stack


def volume_definition_view(
    definition: ResourceDefinition, volume: VolumeDefinition, *, placed: bool
) -> VolumeDefinitionView:
    """A volume definition; `placed`: there are resources of it."""
    props = dict(volume.props)
    if volume.current_gi:
        props["DrbdCurrentGi"] = volume.current_gi
    stack = _decided_stack(definition, placed=placed)
    flags = [
        flag
        for flag, is_set in (
            ("ENCRYPTED", volume.encrypted),
            ("RESIZE", volume.phase is VolumePhase.RESIZING),
            ("GROSS_SIZE", volume.gross_size),
            ("DRBD_INITIALIZED", volume.initialized and LayerKind.DRBD in stack),
        )
        if is_set
    ]
    return VolumeDefinitionView(
        volume_number=volume.number,
        size_kib=volume.size_kib,
        props=props,
        flags=tuple(flags),
        layer_data=tuple(
            VolumeDefinitionLayer(
                kind,
                DrbdVolumeDefinition(volume.number, volume.minor) if kind is LayerKind.DRBD else None,
            )
            for kind in stack
        ),
        uuid=volume.uuid,
    )
