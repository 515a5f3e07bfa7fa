"""Gross and net, and what pools can still take."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from bollard.domain import commands as c
from bollard.domain.ids import Uuid
from bollard.domain.layers import DEFAULT_STACK, LayerKind, ProviderKind
from bollard.domain.resources import VolumeDefinition
from bollard.domain.units import UNLIMITED_KIB
from bollard.planning import sizes
from planning_lab import GIB, Lab


def volume(size_kib: int, *, gross: bool = False) -> VolumeDefinition:
    return VolumeDefinition(0, Uuid("v"), size_kib, gross_size=gross)


@given(st.integers(4, 2**40), st.integers(1, 31), st.booleans(), st.sampled_from(list(ProviderKind)))
def test_what_users_get_fits_into_what_is_made(
    size_kib: int, slots: int, gross: bool, provider: ProviderKind
) -> None:
    one = volume(size_kib, gross=gross)
    below = sizes.gross_of(one, DEFAULT_STACK, peer_slots=slots, provider=provider)
    above = sizes.net_of(one, DEFAULT_STACK, peer_slots=slots)
    assert above < below
    assert below >= size_kib
    assert above == size_kib or gross


def test_plain_storage_adds_nothing_but_rounding() -> None:
    plain = (LayerKind.STORAGE,)
    assert sizes.gross_of(volume(4097), plain, peer_slots=7) == 4100
    assert sizes.gross_of(volume(4097), plain, peer_slots=7, provider=ProviderKind.LVM) == 8192
    assert sizes.net_of(volume(4097), plain, peer_slots=7) == 4097


def test_space_is_what_was_reported_for_this_very_pool() -> None:
    lab = Lab(1, free_kib=10 * GIB)
    pool = lab.cluster.pool("n1", "thin")
    assert pool is not None
    assert sizes.space_in(lab.world, pool).usable_kib == 20 * (10 * GIB - 1)
    assert sizes.space_in(lab.world, pool, 2.0).usable_kib == 2 * (10 * GIB - 1)
    stranger = msgspec.structs.replace(pool, uuid=Uuid("other"))
    assert sizes.space_in(lab.world, stranger).problem
    diskless = lab.cluster.pool("n1", "DfltDisklessStorPool")
    assert diskless is not None
    assert sizes.space_in(lab.world, diskless).usable_kib == UNLIMITED_KIB


def test_ratios_come_from_the_pool_then_its_definition_then_the_controller() -> None:
    lab = Lab(1, free_kib=10 * GIB)
    pool = lab.cluster.pool("n1", "thin")
    assert pool is not None

    def usable() -> int:
        found = lab.cluster.pool("n1", "thin")
        assert found is not None
        return sizes.space_in(lab.world, found).usable_kib // GIB

    def ratio(value: str) -> c.PropsChange:
        return c.PropsChange(override={"MaxOversubscriptionRatio": value})

    lab.run(c.ModifyController(props=ratio("5")))
    assert usable() == 49
    lab.run(c.ModifyPoolDefinition(name="thin", props=ratio("4")))
    assert usable() == 39
    lab.run(c.ModifyPool(node="n1", name="thin", props=ratio("3")))
    assert usable() == 29
    free = c.PropsChange(override={"MaxFreeCapacityOversubscriptionRatio": "2"})
    lab.run(c.ModifyController(props=free))
    assert usable() == 19
