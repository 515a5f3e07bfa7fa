"""Encrypted volumes: who gets a passphrase when, and what nodes are told while nobody can open them."""

import msgspec
import pytest

from bollard.domain import commands as c
from bollard.domain.encryption import MasterKey
from bollard.domain.errors import Conflict, DomainError, Exists, Invalid, NotFound, Unavailable
from bollard.domain.layers import LayerKind
from bollard.domain.ports import LockedVault, Vault
from bollard.domain.resources import VolumeDefinition
from bollard.domain.seen import Capabilities
from bollard.planning.decide import decide
from bollard.planning.targets import held_back, target_for, target_resource
from bollard.planning.world import World
from planning_lab import CAPABLE, Lab, codes

LUKS = ("DRBD", "LUKS", "STORAGE")


def new(node: str) -> c.NewResource:
    return c.NewResource(node=node, props={"StorPoolName": "thin"})


class ClearVault:
    """Seals by turning words around."""

    unlocked = True

    def seal(self, secret: str, label: str) -> str:
        return f"{label}:{secret[::-1]}"

    def open(self, sealed: str, label: str) -> str | None:
        found, _, secret = sealed.partition(":")
        return secret[::-1] if found == label else None


class Locked(Lab):
    """Nodes that can encrypt, and a controller that is locked or not."""

    vault: Vault = LockedVault()

    def __init__(self, *, open_: bool = False, key: bool = True) -> None:
        super().__init__()
        able = Capabilities(**{**_dict(CAPABLE), "layers": (*CAPABLE.layers, LayerKind.LUKS)})
        for number in (1, 2, 3):
            self.online(f"n{number}", capabilities=able)
        if key:
            self.run(c.SetMasterKey(sealed=KEY))
        if open_:
            self.vault = ClearVault()

    @property
    def world(self) -> World:
        return World(self.cluster, self.observed, self.now_ms, self.draw, self.vault)

    def define(self, name: str = "r1", *, place: bool = True) -> None:
        self.run(c.CreateDefinition(name=name, layer_stack=LUKS))
        self.run(c.CreateVolumeDefinition(definition=name, size_kib=40960))
        if place:
            self.run(c.CreateResources(definition=name, resources=(new("n1"),)))

    @property
    def volume(self) -> VolumeDefinition:
        return self.cluster.definitions["R1"].volumes[0]  # type: ignore[index]

    def refused(self, command: c.Command) -> type[DomainError]:
        with pytest.raises(DomainError) as caught:
            decide(command, self.world)
        return type(caught.value)


def _dict(struct: msgspec.Struct) -> dict[str, object]:
    return {name: getattr(struct, name) for name in struct.__struct_fields__}


KEY = MasterKey(sealed="s", salt="s", cost=2, block_size=8, parallel=1, generation="G")


def secret_in(lab: Locked, name: str = "r1") -> tuple[str | None, tuple[str, ...]]:
    resource = lab.cluster.resource(name, "n1")
    assert resource is not None
    (volume,) = target_resource(lab.cluster, resource, lab.vault).volumes
    (layer,) = volume.layers
    assert layer.kind is LayerKind.LUKS
    return layer.secret, layer.secrets_before


def test_a_volume_gets_its_passphrase_before_a_node_gets_it() -> None:
    lab = Locked(open_=True)
    lab.define(place=False)
    assert lab.volume.sealed_passphrase == ""
    lab.run(c.CreateResources(definition="r1", resources=(new("n1"),)))
    first = lab.volume.sealed_passphrase
    assert first
    secret, before = secret_in(lab)
    assert secret is not None
    assert len(secret) >= 30
    assert before == ()
    lab.run(c.CreateResources(definition="r1", resources=(new("n2"),)))
    assert lab.volume.sealed_passphrase == first, "all replicas have one"


def test_without_a_key_nothing_is_placed_but_definitions_can_be_made() -> None:
    for lab, error in ((Locked(key=False), NotFound), (Locked(), Unavailable)):
        made = lab.run(c.CreateDefinition(name="r1", layer_stack=LUKS))
        assert codes(made)[0].endswith("|NOT_FOUND_CRYPT_KEY")
        lab.run(c.CreateVolumeDefinition(definition="r1", size_kib=40960))
        place = c.CreateResources(definition="r1", resources=(new("n1"),))
        assert lab.refused(place) is error
        own = c.CreateVolumeDefinition(definition="r1", size_kib=40960, passphrase="own")
        assert lab.refused(own) is error
        assert lab.refused(c.SetVolumePassphrase(definition="r1", number=0, passphrase="x")) is error


def test_while_locked_nodes_are_told_of_all_but_what_is_encrypted() -> None:
    lab = Locked(open_=True)
    lab.define()
    lab.run(c.CreateDefinition(name="plain"))
    lab.run(c.CreateVolumeDefinition(definition="plain", size_kib=40960))
    lab.run(c.CreateResources(definition="plain", resources=(new("n1"),)))
    target = target_for("n1", lab.cluster, lab.vault)
    assert [it.name for it in target.resources] == ["plain", "r1"]
    assert not target.locked
    locked = target_for("n1", lab.cluster)
    assert [it.name for it in locked.resources] == ["plain"]
    assert locked.locked
    resource = lab.cluster.resource("r1", "n1")
    assert resource is not None
    assert "passphrase" in held_back(lab.cluster, resource, LockedVault())
    assert held_back(lab.cluster, resource, lab.vault) == ""


def test_a_passphrase_of_ones_own_brings_the_layer() -> None:
    lab = Locked(open_=True)
    lab.run(c.CreateDefinition(name="r1"))
    lab.run(c.CreateVolumeDefinition(definition="r1", size_kib=40960, passphrase="own words"))
    assert lab.cluster.definitions["R1"].layer_stack == tuple(LayerKind(it) for it in LUKS)  # type: ignore[index]
    lab.run(c.CreateResources(definition="r1", resources=(new("n1"),)))
    assert secret_in(lab) == ("own words", ())
    lab.run(c.CreateDefinition(name="flag"))
    lab.run(c.CreateVolumeDefinition(definition="flag", size_kib=40960, flags=("encrypted",)))
    assert LayerKind.LUKS in lab.cluster.definitions["FLAG"].layer_stack  # type: ignore[index]
    lab.run(c.CreateDefinition(name="other", layer_stack=("DRBD", "STORAGE")))
    wrong = c.CreateVolumeDefinition(definition="other", size_kib=40960, passphrase="x")
    assert lab.refused(wrong) is Invalid
    for bad in ("a\nb", "x" * 600):
        again = c.CreateVolumeDefinition(definition="flag", size_kib=40960, passphrase=bad)
        assert lab.refused(again) is Invalid


def test_a_changed_passphrase_goes_with_those_it_replaces_until_all_nodes_have_it() -> None:
    lab = Locked(open_=True)
    lab.define()
    first, _ = secret_in(lab)
    for number in range(8):
        lab.run(c.SetVolumePassphrase(definition="r1", number=0, passphrase=f"word {number}"))
    secret, before = secret_in(lab)
    assert secret == "word 7"
    assert before == (first, *(f"word {number}" for number in range(7)))
    ninth = c.SetVolumePassphrase(definition="r1", number=0, passphrase="word 8")
    assert lab.refused(ninth) is Conflict


def test_the_master_key_is_set_once_and_replaced_by_itself_only() -> None:
    lab = Locked(key=False)
    other = msgspec.structs.replace(KEY, generation="H")
    assert lab.refused(c.SetMasterKey(sealed=KEY, replace=True)) is Conflict
    lab.run(c.SetMasterKey(sealed=KEY))
    assert lab.refused(c.SetMasterKey(sealed=other)) is Exists
    assert lab.refused(c.SetMasterKey(sealed=other, replace=True)) is Conflict
    lab.run(c.SetMasterKey(sealed=msgspec.structs.replace(KEY, salt="t"), replace=True))
    assert lab.cluster.master_key is not None
    assert lab.cluster.master_key.salt == "t"


def test_a_passphrase_is_never_a_property() -> None:
    lab = Locked(open_=True)
    given = {"Encryption/Passphrase": "in the clear"}
    lab.run(c.CreateDefinition(name="r1"))
    create = c.CreateVolumeDefinition(definition="r1", size_kib=40960, props=given)
    assert lab.refused(create) is Invalid
    lab.run(c.CreateVolumeDefinition(definition="r1", size_kib=40960))
    change = c.ModifyVolumeDefinition(definition="r1", number=0, props=c.PropsChange(override=given))
    assert lab.refused(change) is Invalid
