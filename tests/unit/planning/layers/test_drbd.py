"""Sizes of DRBD's internal metadata against figures of LINSTOR and against each other."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bollard.planning.layers import drbd
from bollard.replica.metadata import layout


@pytest.mark.parametrize(("net", "gross"), [(10240, 10280), (20480, 20524), (4096, 4136)])
def test_gross_sizes_that_linstor_reported(net: int, gross: int) -> None:
    assert drbd.gross_kib(net) == gross


def test_a_gibibyte_takes_about_264_kib_more() -> None:
    assert 260 <= drbd.gross_kib(1024 * 1024) - 1024 * 1024 <= 268


@given(st.integers(1, 2**40), st.integers(1, 31), st.sampled_from([4, 8, 64, 1024]))
def test_the_metadata_of_the_whole_device_fits(net: int, slots: int, block_kib: int) -> None:
    gross = drbd.gross_kib(net, slots, block_kib)
    assert gross % 4 == 0
    assert gross - drbd.metadata_kib(gross, slots, block_kib) >= net
    assert gross >= drbd.GROSS_KIB_MIN


@given(st.integers(drbd.GROSS_KIB_MIN, 2**40), st.integers(1, 31))
def test_net_of_gross_is_what_is_left(gross: int, slots: int) -> None:
    net = drbd.net_kib(gross, slots)
    assert 0 <= net < gross
    if net:
        assert drbd.gross_kib(net, slots) <= gross + 4


@given(st.integers(1, 2**40), st.integers(1, 31))
def test_growing_never_needs_less(net: int, slots: int) -> None:
    assert drbd.gross_kib(net + 4, slots) >= drbd.gross_kib(net, slots)


@given(st.integers(4, 2**39), st.integers(1, 31))
def test_the_replica_lays_it_out_alike(net: int, slots: int) -> None:
    geometry = layout.Geometry(max_peers=slots)
    gross = drbd.gross_kib(net, slots)
    assert gross * 1024 == layout.internal_device_bytes(net * 1024, geometry)
    laid_out = layout.internal(gross * 1024, geometry)
    assert laid_out.usable_bytes == drbd.net_kib(gross, slots) * 1024
    assert laid_out.usable_bytes >= net * 1024
