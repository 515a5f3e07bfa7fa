"""8.4's rules by number, and mirrored outcomes."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bollard.replica.protocol.commands import AfterSplitBrain
from bollard.replica.protocol.handshake84 import decide84
from bollard.replica.protocol.outcomes import Settings, Side, Strategy
from bollard.replica.protocol.states import DiskState, Role
from bollard.replica.protocol.uuids import SYNC_UUID_OFFSET, UuidFlag

A, B, C, D = 0xA0, 0xB0, 0xC0, 0xD0
CRASHED = int(UuidFlag.CRASHED_PRIMARY)
NO, SRC, TGT, SB = Strategy.NO_SYNC, Strategy.SYNC_SOURCE, Strategy.SYNC_TARGET, Strategy.SPLIT_BRAIN
OLD = Settings(version=101)


def side(node: int, current: int, slot: int = 0, history: tuple[int, ...] = (0, 0), **more: object) -> Side:
    base = {"node_id": node, "current": current, "bitmap_uuids": ((1 - node, slot),), "history": history}
    return Side(**{**base, "resolve_conflicts": node == 0, **more})  # type: ignore[arg-type]


CASES = [
    (10, side(0, 4), side(1, 4), NO, False),
    (20, side(0, 4), side(1, A), TGT, True),
    (30, side(0, A), side(1, 4), SRC, True),
    (34, side(0, A, B, (C, D)), side(1, A, 0, (B, C)), SRC, False),
    (36, side(0, A, B), side(1, A), SRC, False),
    (35, side(0, A, 0, (B, C)), side(1, A, B, (C, 0)), TGT, False),
    (37, side(0, A), side(1, A, B), TGT, False),
    (40, side(0, A), side(1, A), NO, False),
    (40, side(0, A, flags=CRASHED), side(1, A), SRC, False),
    (40, side(0, A), side(1, A, flags=CRASHED), TGT, False),
    (40, side(0, A, flags=CRASHED), side(1, A, flags=CRASHED), TGT, False),
    (41, side(0, A, flags=CRASHED), side(1, A, role=Role.PRIMARY), TGT, False),
    (41, side(0, A, role=Role.PRIMARY), side(1, A, flags=CRASHED), SRC, False),
    (41, side(0, A, role=Role.PRIMARY), side(1, A, role=Role.PRIMARY, flags=CRASHED), SB, True),
    (50, side(0, A), side(1, B, A), TGT, False),
    (51, side(0, A), side(1, B, A + SYNC_UUID_OFFSET, (A, 0)), TGT, False),
    (60, side(0, A), side(1, B, C, (D, A)), TGT, True),
    (70, side(0, A, B), side(1, B), SRC, False),
    (71, side(0, A, B + SYNC_UUID_OFFSET, (B, 0)), side(1, B), SRC, False),
    (80, side(0, A, C, (D, B)), side(1, B), SRC, True),
    (90, side(0, A, C), side(1, B, C | 1), SB, False),
    (100, side(0, A, 0, (C, 0)), side(1, B, 0, (D, C)), SB, True),
]


@pytest.mark.parametrize("case", CASES, ids=[f"{case[0]}-{n}" for n, case in enumerate(CASES)])
def test_rules(case: tuple[int, Side, Side, Strategy, bool]) -> None:
    number, mine, theirs, strategy, full = case
    decision = decide84(mine, theirs, OLD)
    assert (decision.number, decision.strategy, decision.full) == (number, strategy, full)


def test_unrelated() -> None:
    assert decide84(side(0, A), side(1, B), OLD).strategy is Strategy.UNRELATED


def test_inconsistent_disk_is_the_target_whatever_the_generations_say() -> None:
    bad = DiskState.INCONSISTENT
    assert decide84(side(0, A, disk=bad), side(1, A), OLD).strategy is TGT
    turned = decide84(side(0, A, B, disk=bad), side(1, B), OLD)
    assert (turned.strategy, turned.full) == (TGT, False)
    split = decide84(side(0, A, 0, (C, 0), disk=bad), side(1, B, 0, (C, 0)), OLD)
    assert (split.strategy, split.full) == (TGT, True)
    assert decide84(side(0, A, disk=bad), side(1, B), OLD).strategy is Strategy.UNRELATED


uuids = st.sampled_from([0, 4, A, A | 1, B, C, A + SYNC_UUID_OFFSET, B + SYNC_UUID_OFFSET])


@st.composite
def sides(draw: st.DrawFn, node: int) -> Side:
    return side(
        node,
        draw(uuids),
        draw(uuids),
        (draw(uuids), draw(uuids)),
        flags=draw(st.sampled_from([0, CRASHED, int(UuidFlag.DISCARD_MY_DATA)])),
        disk=draw(st.sampled_from([DiskState.INCONSISTENT, DiskState.OUTDATED, DiskState.UP_TO_DATE])),
        role=draw(st.sampled_from([Role.PRIMARY, Role.SECONDARY])),
        dirty_bits=draw(st.integers(0, 2)),
    )


rule_sets = st.builds(
    Settings,
    version=st.just(101),
    after_sb_0p=st.sampled_from(AfterSplitBrain),
    after_sb_1p=st.sampled_from(AfterSplitBrain),
    after_sb_2p=st.sampled_from(AfterSplitBrain),
    always_asbp=st.booleans(),
)


@settings(max_examples=800, deadline=None)
@given(sides(0), sides(1), rule_sets)
def test_both_sides_come_to_mirrored_strategies(left: Side, right: Side, rules: Settings) -> None:
    mine, theirs = decide84(left, right, rules), decide84(right, left, rules.mirrored())
    mirrored = mine.mirrored()
    assert (theirs.strategy, theirs.full) == (mirrored.strategy, mirrored.full)
