"""Layers as one stack: found by what they stand on, raised from below, made once, lowered from above."""

import asyncio

import msgspec
import pytest

from bollard.domain.ids import Uuid
from bollard.domain.layers import LayerKind, ProviderKind
from bollard.domain.local import LocalBacking, LocalLayer
from bollard.domain.targets import TargetLayer, TargetPool, TargetVolume
from bollard.satellite import layering
from bollard.satellite.drivers import DEVICE_LAYERS
from bollard.satellite.host.base import BackingSeen, Host, HostError, LayerMark, LayerSeen, Marks
from bollard.sim.engine import Mesh
from bollard.sim.host import SimMachine

LUKS, CACHE = LayerKind.LUKS, LayerKind.WRITECACHE
POOL = TargetPool("p", Uuid("p"), ProviderKind.LVM)


class Driver:
    """A layer in memory: what is open, and what was done."""

    def __init__(self, kind: LayerKind, did: list[str]) -> None:
        self.kind = kind
        self.open: list[LayerSeen] = []
        self.did = did

    async def observe(self, _host: Host) -> tuple[LayerSeen, ...]:
        self.did.append(f"look {self.kind}")
        return tuple(self.open)

    async def raise_(self, layer: TargetLayer, lower: str, mark: LayerMark, _host: Host) -> str:
        self.did.append(f"{'open' if mark.made else 'make'} {self.kind} on {lower} {mark.companion}".strip())
        return f"/dev/{self.kind.lower()}"

    async def grow(self, layer: TargetLayer, _seen: LayerSeen, _mark: LayerMark, _host: Host) -> bool:
        self.did.append(f"grow {self.kind} to {layer.size_kib}")
        return True

    async def lower(self, _seen: LayerSeen, _mark: LayerMark, _host: Host) -> bool:
        self.did.append(f"lower {self.kind}")
        return True


class Storage:
    """The storage verbs that layering uses."""

    kind = ProviderKind.LVM

    def __init__(self, did: list[str]) -> None:
        self.did = did

    async def activate(self, backing: BackingSeen, _host: Host, *, block: bool = False) -> str:
        self.did.append("activate")
        assert block
        return backing.path

    async def deactivate(self, _backing: BackingSeen, _host: Host) -> bool:
        self.did.append("deactivate")
        return True

    async def mark(self, _backing: BackingSeen, _pool: TargetPool, marks: Marks, _host: Host) -> None:
        self.did.append("mark " + ",".join(marks.made))


@pytest.fixture
def did(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    words: list[str] = []
    drivers = {kind: Driver(kind, words) for kind in (LUKS, CACHE)}
    for kind, driver in drivers.items():
        monkeypatch.setitem(DEVICE_LAYERS, kind, driver)  # type: ignore[arg-type]
    return words


def driver(kind: LayerKind) -> Driver:
    found = DEVICE_LAYERS[kind]
    assert isinstance(found, Driver)
    return found


def seen(kind: LayerKind, device: str, *below: str) -> LayerSeen:
    return LayerSeen(kind, f"/dev/{kind.lower()}", device, below, 100)


def backing(*made: LayerKind, device: str = "253:1") -> BackingSeen:
    return BackingSeen("r", "/dev/vg/r", 0, LocalBacking("p", 0, Uuid("v"), 200, made=made), device=device)


def volume() -> TargetVolume:
    layers = (TargetLayer(LUKS, 110), TargetLayer(CACHE, 100))
    return TargetVolume(0, Uuid("v"), 100, "p", gross_kib=200, layers=layers)


HOST = SimMachine("n1", Mesh()).host()


def test_nothing_is_looked_for_where_no_layer_was_made(did: list[str]) -> None:
    assert asyncio.run(layering.with_layers((backing(),), HOST)) == (backing(),)
    assert did == []


def test_layers_are_found_by_what_they_stand_on(did: list[str]) -> None:
    driver(LUKS).open = [seen(LUKS, "253:9", "253:8"), seen(LUKS, "253:2", "253:1")]
    driver(CACHE).open = [seen(CACHE, "253:3", "253:2", "253:7")]
    (found,) = asyncio.run(layering.with_layers((backing(LUKS, CACHE),), HOST))
    assert [one.device for one in found.layers] == ["253:2", "253:3"]
    assert found.local.layers == (LocalLayer(LUKS, 100), LocalLayer(CACHE, 100))
    assert (found.top, backing().top) == ("/dev/writecache", "/dev/vg/r")


def test_a_stack_ends_where_a_layer_is_closed(did: list[str]) -> None:
    driver(CACHE).open = [seen(CACHE, "253:3", "253:2")]
    (found,) = asyncio.run(layering.with_layers((backing(LUKS, CACHE),), HOST))
    assert found.layers == ()
    (found,) = asyncio.run(layering.with_layers((backing(LUKS, CACHE, device=""),), HOST))
    assert found.layers == ()


def test_what_was_never_made_is_made_and_remembered_at_once(did: list[str]) -> None:
    top = asyncio.run(
        layering.raise_(volume(), backing(), {CACHE: "/dev/fast"}, (Storage(did), POOL), HOST)  # type: ignore[arg-type]
    )
    assert top == "/dev/writecache"
    assert did == [
        "activate",
        "make LUKS on /dev/vg/r",
        "mark LUKS",
        "make WRITECACHE on /dev/luks /dev/fast",
        "mark LUKS,WRITECACHE",
    ]


def test_what_was_made_is_opened_and_what_is_open_is_left(did: list[str]) -> None:
    half = msgspec.structs.replace(backing(LUKS, CACHE), layers=(seen(LUKS, "253:2", "253:1"),))
    asyncio.run(layering.raise_(volume(), half, {}, (Storage(did), POOL), HOST))  # type: ignore[arg-type]
    assert did == ["activate", "open WRITECACHE on /dev/luks"]


def test_layers_grow_from_below_and_close_from_above(did: list[str]) -> None:
    open_ = (seen(LUKS, "253:2", "253:1"), seen(CACHE, "253:3", "253:2"))
    whole = msgspec.structs.replace(backing(LUKS, CACHE), layers=open_)
    assert asyncio.run(layering.grow(volume(), whole, HOST))
    assert asyncio.run(layering.lower(whole, Storage(did), HOST))  # type: ignore[arg-type]
    assert did == [
        "grow LUKS to 110",
        "grow WRITECACHE to 100",
        "lower WRITECACHE",
        "lower LUKS",
        "deactivate",
    ]


def test_a_layer_without_a_driver_is_said() -> None:
    odd = msgspec.structs.replace(volume(), layers=(TargetLayer(LayerKind.STORAGE, 1),))
    with pytest.raises(HostError) as caught:
        asyncio.run(layering.raise_(odd, backing(), {}, (Storage([]), POOL), HOST))  # type: ignore[arg-type]
    assert caught.value.code == "layer-missing"
