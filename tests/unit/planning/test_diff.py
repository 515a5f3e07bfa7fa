"""Plans: cut anywhere they lead to the same end, and nothing is removed that no tombstone names."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bollard.domain.ids import NodeName, ResourceName, Uuid
from bollard.domain.layers import LayerKind
from bollard.domain.local import Local, LocalBacking, LocalEngine
from bollard.domain.resources import Companion, DiskKind, Tombstone, VolumeOnNode
from bollard.domain.steps import (
    ConfigureReplication,
    CreateBacking,
    CreateMetadata,
    ExportPlain,
    GrowBacking,
    GrowLayers,
    LowerLayers,
    MakeFileSystem,
    RaiseLayers,
    RemoveBacking,
    RemoveExport,
    RemoveReplication,
    ResizeReplication,
    ShrinkBacking,
    Step,
)
from bollard.domain.targets import (
    TargetLayer,
    TargetPeer,
    TargetReplication,
    TargetResource,
    TargetVolume,
)
from bollard.planning.diff import diff, fingerprint, finished
from planning_lab import COMPANION_POOL, carried_out

NAME = ResourceName("vol")
DRBD, STORAGE = LayerKind.DRBD, LayerKind.STORAGE


def volume(number: int, uuid: str, size_kib: int = 10240, *, disk: bool = True) -> TargetVolume:
    return TargetVolume(
        number=number,
        uuid=Uuid(uuid),
        size_kib=size_kib,
        pool="thin" if disk else "DfltDisklessStorPool",
        gross_kib=size_kib + 40 if disk else None,
        current_gi="00000000000000AA",
    )


def resource(
    uuid: str, *volumes: TargetVolume, replicated: bool = True, active: bool = True, port: int = 7000
) -> TargetResource:
    diskful = all(one.gross_kib is not None for one in volumes)
    peer = TargetPeer(NodeName("n2"), 1, "10.0.0.2", port)
    replication = TargetReplication(0, "10.0.0.1", 7000, secret="hush", peers=(peer,))
    return TargetResource(
        name=NAME,
        uuid=Uuid(uuid),
        disk=DiskKind.DISKFUL if diskful else DiskKind.DISKLESS,
        active=active,
        layer_stack=(DRBD, STORAGE) if replicated else (STORAGE,),
        volumes=volumes,
        replication=replication if replicated else None,
    )


def stone(uuid: str, *volumes: str) -> Tombstone:
    return Tombstone(
        NodeName("n1"),
        NAME,
        Uuid(uuid),
        tuple(VolumeOnNode(number, Uuid(one), "thin") for number, one in enumerate(volumes)),
    )


def carry_out(local: Local, steps: tuple[Step, ...]) -> Local:
    for step in steps:
        local = carried_out(local, step)
    return local


def settled(target: TargetResource | None, stones: tuple[Tombstone, ...], local: Local) -> Local:
    for _ in range(4):
        steps = diff(target, stones, local)
        if not steps:
            return local
        local = carry_out(local, steps)
    raise AssertionError("it never comes to rest")


def words(steps: tuple[Step, ...]) -> list[str]:
    return [type(step).__name__ for step in steps]


def test_a_new_replica_gets_its_disk_before_its_engine() -> None:
    target = resource("r1", volume(0, "v0"), volume(1, "v1"))
    assert words(diff(target, (), Local(NAME))) == [
        "CreateBacking",
        "CreateMetadata",
        "CreateBacking",
        "CreateMetadata",
        "ConfigureReplication",
    ]


def test_a_diskless_resource_needs_no_storage() -> None:
    assert words(diff(resource("r1", volume(0, "v0", disk=False)), (), Local(NAME))) == [
        "ConfigureReplication"
    ]


def test_metadata_is_made_with_the_first_generation() -> None:
    (_, made, _) = diff(resource("r1", volume(0, "v0")), (), Local(NAME))
    assert isinstance(made, CreateMetadata)
    assert made.current_gi == "00000000000000AA"


def test_a_backing_grows_before_the_engine_and_the_engine_before_its_configuration() -> None:
    local = settled(resource("r1", volume(0, "v0")), (), Local(NAME))
    grown = resource("r1", volume(0, "v0", 20480))
    assert words(diff(grown, (), local)) == ["GrowBacking", "ResizeReplication", "ConfigureReplication"]
    held_back = msgspec.structs.replace(volume(0, "v0"), gross_kib=20520)
    assert words(diff(resource("r1", held_back), (), local))[0] == "GrowBacking"
    assert "ResizeReplication" not in words(diff(resource("r1", held_back), (), local))


def test_a_name_that_is_used_again_waits_for_its_predecessor_to_go() -> None:
    local = settled(resource("r1", volume(0, "v0")), (), Local(NAME))
    again = resource("r2", volume(0, "w0"))
    assert words(diff(again, (stone("r1", "v0"),), local)) == [
        "RemoveReplication",
        "RemoveBacking",
        "CreateBacking",
        "CreateMetadata",
        "ConfigureReplication",
    ]


def test_a_disk_is_let_go_before_it_is_removed() -> None:
    local = settled(resource("r1", volume(0, "v0")), (), Local(NAME))
    diskless = resource("r1", volume(0, "x0", disk=False))
    steps = diff(diskless, (stone("t1", "v0"),), local)
    assert words(steps) == ["ConfigureReplication", "RemoveBacking"]
    assert finished((stone("t1", "v0"),), local) == ()
    assert finished((stone("t1", "v0"),), carry_out(local, steps)) == (Uuid("t1"),)


def test_what_is_merely_absent_is_left_alone() -> None:
    local = settled(resource("r1", volume(0, "v0")), (), Local(NAME))
    assert diff(None, (), local) == ()
    assert diff(None, (stone("other", "w0"),), local) == ()


def test_an_inactive_resource_keeps_its_data() -> None:
    active, inactive = resource("r1", volume(0, "v0")), resource("r1", volume(0, "v0"), active=False)
    local = settled(active, (), Local(NAME))
    stopped = carry_out(local, diff(inactive, (), local))
    assert words(diff(inactive, (), local)) == ["RemoveReplication"]
    assert stopped.backings == local.backings
    assert words(diff(active, (), stopped)) == ["ConfigureReplication"]


def test_plain_storage_is_exported_grown_and_shrunk() -> None:
    def plain(size_kib: int) -> TargetResource:
        return resource("r1", volume(0, "v0", size_kib), replicated=False)

    local = settled(plain(10240), (), Local(NAME))
    assert words(diff(plain(20480), (), local)) == ["GrowBacking", "ExportPlain"]
    local = settled(plain(20480), (), local)
    assert words(diff(plain(12288), (), local)) == ["ShrinkBacking", "ExportPlain"]
    assert words(diff(None, (stone("r1", "v0"),), local)) == ["RemoveExport", "RemoveBacking"]


def test_metadata_is_never_written_twice_even_when_it_cannot_be_found() -> None:
    target = resource("r1", volume(0, "v0"))
    backing = LocalBacking("thin", 0, Uuid("v0"), 10280, metadata=True)
    assert words(diff(target, (), Local(NAME, (backing,)))) == ["ConfigureReplication"]


def test_an_unknown_configuration_is_applied_again() -> None:
    target = resource("r1", volume(0, "v0"))
    local = settled(target, (), Local(NAME))
    assert local.engine is not None
    forgotten = msgspec.structs.replace(local, engine=msgspec.structs.replace(local.engine, fingerprint=""))
    assert words(diff(target, (), forgotten)) == ["ConfigureReplication"]


def test_the_fingerprint_knows_secrets_and_peers_but_no_requests() -> None:
    target = resource("r1", volume(0, "v0"))
    replication = target.replication
    assert replication is not None

    def with_replication(**changes: object) -> TargetResource:
        changed = msgspec.structs.replace(replication, **changes)
        return msgspec.structs.replace(target, replication=changed)

    assert fingerprint(with_replication(secret="other")) != fingerprint(target)
    assert fingerprint(with_replication(peers=())) != fingerprint(target)
    assert fingerprint(with_replication(verify_request=3)) == fingerprint(target)
    assert "hush" not in fingerprint(target)


def test_wanting_what_is_buried_is_a_mistake_of_ours() -> None:
    local = settled(resource("r1", volume(0, "v0")), (), Local(NAME))
    with pytest.raises(AssertionError):
        diff(resource("r1", volume(0, "v0")), (stone("t1", "v0"),), local)


def layered(one: TargetVolume) -> TargetVolume:
    """The volume on LUKS, with a cache above that."""
    if one.gross_kib is None:
        return one
    luks = TargetLayer(LayerKind.LUKS, one.gross_kib, "hush")
    cache = TargetLayer(
        LayerKind.WRITECACHE,
        one.gross_kib,
        pool=COMPANION_POOL,
        companion_uuid=Uuid(one.uuid + "-c"),
        companion_kib=512,
    )
    return msgspec.structs.replace(one, gross_kib=one.gross_kib + 16384, layers=(luks, cache))


def layered_stone(uuid: str, *volumes: TargetVolume) -> Tombstone:
    return Tombstone(
        NodeName("n1"),
        NAME,
        Uuid(uuid),
        tuple(
            VolumeOnNode(
                one.number,
                one.uuid,
                one.pool,
                companions=tuple(
                    Companion(layer.kind, layer.companion_uuid, layer.pool, layer.companion_kib)
                    for layer in one.layers
                    if layer.companion_uuid
                ),
            )
            for one in volumes
            if one.gross_kib
        ),
    )


def test_layers_stand_between_storage_and_engine() -> None:
    target = resource("r1", layered(volume(0, "v0")))
    assert words(diff(target, (), Local(NAME))) == [
        "CreateBacking",
        "CreateBacking",
        "RaiseLayers",
        "CreateMetadata",
        "ConfigureReplication",
    ]
    local = settled(target, (), Local(NAME))
    (made, _) = (step for step in diff(target, (), Local(NAME)) if isinstance(step, CreateBacking))
    assert (made.volume_uuid, made.suffix, made.size_kib) == (Uuid("v0-c"), ".writecache", 512)
    assert words(diff(None, (layered_stone("r1", *target.volumes),), local)) == [
        "RemoveReplication",
        "LowerLayers",
        "RemoveBacking",
        "RemoveBacking",
    ]
    grown = resource("r1", layered(volume(0, "v0", 20480)))
    assert words(diff(grown, (), local)) == [
        "GrowBacking",
        "GrowLayers",
        "ResizeReplication",
        "ConfigureReplication",
    ]


def test_layers_that_are_closed_are_opened_before_the_engine_is_told() -> None:
    target = resource("r1", layered(volume(0, "v0")))
    local = settled(target, (), Local(NAME))
    closed = tuple(msgspec.structs.replace(one, layers=()) for one in local.backings)
    booted = msgspec.structs.replace(local, backings=closed)
    assert words(diff(target, (), booted)) == ["RaiseLayers", "ConfigureReplication"]


def test_a_secret_of_a_layer_is_nothing_to_the_engine() -> None:
    target = resource("r1", layered(volume(0, "v0")))
    one = target.volumes[0]
    other = msgspec.structs.replace(one, layers=(msgspec.structs.replace(one.layers[0], secret="new"),))
    changed = msgspec.structs.replace(target, volumes=(other,))
    assert fingerprint(changed) == fingerprint(target)


def on_device(one: TargetVolume) -> TargetVolume:
    return msgspec.structs.replace(one, block=True)


def test_plain_block_devices_are_used_as_they_are() -> None:
    target = resource("r1", on_device(volume(0, "v0")), replicated=False)
    assert words(diff(target, (), Local(NAME))) == ["CreateBacking"]
    backing = LocalBacking("thin", 0, Uuid("v0"), 12288, block=True, unit_kib=4096)
    assert diff(target, (), Local(NAME, (backing,))) == ()
    asleep = msgspec.structs.replace(backing, active=False)
    assert words(diff(target, (), Local(NAME, (asleep,)))) == ["RaiseLayers"]
    idle = msgspec.structs.replace(target, active=False)
    assert words(diff(idle, (), Local(NAME, (backing,)))) == ["LowerLayers"]
    assert diff(idle, (), Local(NAME, (asleep,))) == ()


def test_a_plain_volume_gets_its_file_system_once() -> None:
    one = msgspec.structs.replace(on_device(volume(0, "v0")), filesystem={"Type": "ext4"})
    target = resource("r1", one, replicated=False)
    assert words(diff(target, (), Local(NAME))) == ["CreateBacking", "MakeFileSystem"]
    backing = LocalBacking("thin", 0, Uuid("v0"), 10280, block=True)
    assert words(diff(target, (), Local(NAME, (backing,)))) == ["MakeFileSystem"]
    marked = msgspec.structs.replace(backing, filesystem=True)
    assert diff(target, (), Local(NAME, (marked,))) == ()


def test_growth_is_clean_only_where_it_reads_as_zeroes() -> None:
    target = resource("r1", volume(0, "v0"))
    local = settled(target, (), Local(NAME))
    thick = msgspec.structs.replace(volume(0, "v0", 20480), zeroed=False)
    (resize,) = (one for one in diff(resource("r1", thick), (), local) if isinstance(one, ResizeReplication))
    assert not resize.assume_clean


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[TargetResource | None, tuple[Tombstone, ...], int]]:
    """Targets one after the other, as decisions make them, each with how many steps are carried out."""
    wishes: list[tuple[TargetResource | None, tuple[Tombstone, ...], int]] = []
    stones: list[Tombstone] = []
    life = 0
    present: TargetResource | None = None
    with_layers = draw(st.booleans())
    for serial in range(1, draw(st.integers(2, 7))):
        kinds = ["create"] if present is None else ["delete", "grow", "toggle", "port", "idle", "volume"]
        kind = draw(st.sampled_from(kinds))
        if present is None:
            life += 1
            replicated = draw(st.booleans())
            volumes = [volume(number, f"v{serial}-{number}") for number in range(draw(st.integers(0, 2)))]
            volumes = [layered(one) for one in volumes] if with_layers else volumes
            present = resource(f"r{life}", *volumes, replicated=replicated)
        elif kind == "delete":
            stones.append(layered_stone(present.uuid, *present.volumes))
            present = None
        else:
            present, buried = changed(present, kind, serial, with_layers=with_layers)
            stones += buried
        wishes.append((present, tuple(stones), draw(st.integers(0, 8))))
    return wishes


def changed(
    present: TargetResource, kind: str, serial: int, *, with_layers: bool
) -> tuple[TargetResource, list[Tombstone]]:
    replicated = present.replication is not None
    if kind == "grow":
        return msgspec.structs.replace(present, volumes=tuple(map(doubled, present.volumes))), []
    if kind == "idle":
        return msgspec.structs.replace(present, active=not present.active), []
    if kind == "toggle" and replicated:
        had = [one for one in present.volumes if one.gross_kib]
        volumes = tuple(
            volume(one.number, f"v{serial}-{one.number}", one.size_kib, disk=not one.gross_kib)
            for one in present.volumes
        )
        volumes = tuple(map(layered, volumes)) if with_layers else volumes
        buried = [layered_stone(f"t{serial}", *had)] if had else []
        return msgspec.structs.replace(present, volumes=volumes), buried
    if kind == "port" and present.replication is not None:
        peer = TargetPeer(NodeName("n2"), 1, "10.0.0.2", 7000 + serial)
        replication = msgspec.structs.replace(present.replication, peers=(peer,))
        return msgspec.structs.replace(present, replication=replication), []
    if kind == "volume" and present.volumes:
        gone = present.volumes[-1]
        left = msgspec.structs.replace(present, volumes=present.volumes[:-1])
        return left, [layered_stone(f"t{serial}", gone)] if gone.gross_kib else []
    return present, []


def doubled(one: TargetVolume) -> TargetVolume:
    size_kib = one.size_kib * 2
    if one.gross_kib is None:
        return msgspec.structs.replace(one, size_kib=size_kib)
    layers = tuple(msgspec.structs.replace(layer, size_kib=size_kib + 40) for layer in one.layers)
    gross_kib = size_kib + 40 + (16384 if layers else 0)
    return msgspec.structs.replace(one, size_kib=size_kib, gross_kib=gross_kib, layers=layers)


@settings(max_examples=400, deadline=None)
@given(histories())
def test_any_history_of_wishes_and_cuts_converges(
    wishes: list[tuple[TargetResource | None, tuple[Tombstone, ...], int]],
) -> None:
    local = Local(NAME)
    for target, stones, cut in wishes:
        local = carry_out(local, diff(target, stones, local)[:cut])
    target, stones, _ = wishes[-1]
    local = settled(target, stones, local)
    assert set(finished(stones, local)) == {one.resource_uuid for one in stones}
    named = [one for one in target.volumes if one.gross_kib] if target is not None else []
    wanted = {one.uuid for one in named} | {layer.companion_uuid for one in named for layer in one.layers}
    assert {backing.volume_uuid for backing in local.backings} == wanted - {None}
    runs = target is not None and target.active
    assert all(bool(backing.layers) is (runs and bool(backing.made)) for backing in local.backings)
    if target is not None and target.replication is None and named:
        runs = runs and not all(one.device for one in named)
    assert (local.engine is not None) is runs


@settings(max_examples=200, deadline=None)
@given(histories(), st.data())
def test_every_prefix_of_a_plan_is_a_start_of_another(
    wishes: list[tuple[TargetResource | None, tuple[Tombstone, ...], int]], data: st.DataObject
) -> None:
    local = Local(NAME)
    for target, stones, _ in wishes[:-1]:
        local = settled(target, stones, local)
    target, stones, _ = wishes[-1]
    whole = diff(target, stones, local)
    end = settled(target, stones, local)
    cut = data.draw(st.integers(0, len(whole)))
    assert settled(target, stones, carry_out(local, whole[:cut])) == end


def test_a_stranger_under_our_name_is_not_touched() -> None:
    engine = LocalEngine(Uuid("stranger"), replicated=True)
    steps = diff(resource("r1", volume(0, "v0")), (), Local(NAME, engine=engine))
    assert not any(isinstance(step, RemoveReplication | RemoveExport | RemoveBacking) for step in steps)


STEP_KINDS = (
    ConfigureReplication,
    CreateBacking,
    CreateMetadata,
    ExportPlain,
    GrowBacking,
    GrowLayers,
    LowerLayers,
    MakeFileSystem,
    RaiseLayers,
    RemoveBacking,
    RemoveExport,
    RemoveReplication,
    ResizeReplication,
    ShrinkBacking,
)


def test_steps_can_be_stored_and_read_back() -> None:
    local = settled(resource("r1", volume(0, "v0")), (), Local(NAME))
    steps = diff(resource("r2", volume(0, "w0", 20480)), (stone("r1", "v0"),), local)
    decoder = msgspec.json.Decoder(tuple[Step, ...])
    assert decoder.decode(msgspec.json.encode(steps)) == steps
    assert len(STEP_KINDS) == 14
