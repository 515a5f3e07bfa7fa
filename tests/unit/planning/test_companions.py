"""Storage beside a volume: in the pool and of the size that properties name, and gone with the volume."""

import msgspec
import pytest

from bollard.domain import commands as c
from bollard.domain.errors import NotFound
from bollard.domain.ids import key_of
from bollard.domain.layers import LayerKind
from bollard.planning.layers import drbd
from bollard.planning.targets import target_for
from planning_lab import CAPABLE, GIB, Lab

STACK = (LayerKind.DRBD, LayerKind.WRITECACHE, LayerKind.STORAGE)


def lab_with_caches(pool: str = "fast") -> Lab:
    lab = Lab(1)
    lab.online("n1", capabilities=msgspec.structs.replace(CAPABLE, layers=tuple(LayerKind)))
    lab.run(
        c.CreatePool(node="n1", name="fast", provider="FILE_THIN", props={"StorDriver/StorPoolName": "/fast"})
    )
    lab.run(c.CreateDefinition(name="r1", layer_stack=STACK, props={"Writecache/PoolName": pool}))
    lab.run(c.CreateVolumeDefinition(definition="r1", size_kib=GIB))
    return lab


def test_a_cache_gets_its_own_storage_and_loses_it_with_the_volume() -> None:
    lab = lab_with_caches()
    place = c.NewResource(node="n1", props={"StorPoolName": "thin"})
    lab.run(c.CreateResources(definition="r1", resources=(place,)))
    (resource,) = lab.resources("r1").values()
    (companion,) = resource.volumes[0].companions
    assert (companion.kind, companion.pool) == (LayerKind.WRITECACHE, "fast")
    (target,) = target_for("n1", lab.cluster).resources
    (layer,) = target.volumes[0].layers
    assert (layer.companion_uuid, layer.companion_kib, layer.pool) == (
        companion.uuid,
        companion.size_kib,
        "fast",
    )
    assert companion.size_kib >= GIB // 20
    lab.quiet()
    lab.run(c.DeleteDefinition(name="r1"))
    (stone,) = lab.cluster.tombstones_on("n1")
    assert stone.volumes[0].uuids == (resource.volumes[0].uuid, companion.uuid)
    lab.quiet()
    assert lab.machines[key_of("n1")].local("r1").backings == ()


def test_a_pool_that_is_not_there_is_refused() -> None:
    lab = lab_with_caches("nowhere")
    place = c.NewResource(node="n1", props={"StorPoolName": "thin"})
    with pytest.raises(NotFound, match="nowhere"):
        lab.run(c.CreateResources(definition="r1", resources=(place,)))


def lab_with_metadata_pool(**where: dict[str, str]) -> Lab:
    lab = Lab(2)
    for node in ("n1", "n2"):
        lab.online(node)
        lab.run(
            c.CreatePool(
                node=node, name="meta", provider="FILE_THIN", props={"StorDriver/StorPoolName": "/meta"}
            )
        )
    lab.run(c.CreateDefinition(name="r1", props=where.get("definition", {})))
    lab.run(c.CreateVolumeDefinition(definition="r1", size_kib=GIB, props=where.get("volume", {})))
    places = tuple(c.NewResource(node=node, props={"StorPoolName": "thin"}) for node in ("n1", "n2"))
    lab.run(c.CreateResources(definition="r1", resources=places))
    return lab


KEY = "StorPoolNameDrbdMeta"


def test_metadata_gets_storage_of_its_own_that_grows_and_goes_with_the_volume() -> None:
    lab = lab_with_metadata_pool(definition={KEY: "meta"})
    lab.quiet()
    (target,) = target_for("n1", lab.cluster).resources
    (volume,) = target.volumes
    assert volume.metadata is not None
    assert (volume.metadata.pool, volume.gross_kib) == ("meta", GIB)
    assert volume.metadata.size_kib == drbd.external_kib(GIB, 7)
    there = {backing.volume_uuid: backing for backing in lab.machines[key_of("n1")].local("r1").backings}
    assert there[volume.metadata.uuid].size_kib >= volume.metadata.size_kib
    assert there[volume.uuid].metadata
    lab.run(c.ModifyVolumeDefinition(definition="r1", number=0, size_kib=40 * GIB))
    lab.quiet()
    there = {backing.volume_uuid: backing for backing in lab.machines[key_of("n1")].local("r1").backings}
    assert there[volume.metadata.uuid].size_kib >= drbd.external_kib(40 * GIB, 7) > volume.metadata.size_kib
    assert there[volume.uuid].size_kib >= 40 * GIB
    lab.run(c.DeleteDefinition(name="r1"))
    lab.quiet()
    assert lab.machines[key_of("n1")].local("r1").backings == ()


@pytest.mark.parametrize(
    ("definition", "volume", "pool"),
    [("meta", "", "meta"), ("meta", ".internal", None), (".internal", "meta", "meta"), ("", "", None)],
)
def test_the_nearest_property_says_where_metadata_is(definition: str, volume: str, pool: str | None) -> None:
    lab = lab_with_metadata_pool(
        definition={KEY: definition} if definition else {}, volume={KEY: volume} if volume else {}
    )
    (target,) = target_for("n1", lab.cluster).resources
    found = target.volumes[0].metadata
    assert (found.pool if found is not None else None) == pool


def test_a_metadata_pool_that_is_not_there_is_refused() -> None:
    with pytest.raises(NotFound, match="nowhere"):
        lab_with_metadata_pool(definition={KEY: "nowhere"})
