"""State words in both numberings."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bollard.replica.protocol.errors import ProtocolError
from bollard.replica.protocol.states import (
    CONN_NAMES,
    DISK_NAMES,
    REPL_NAMES,
    ConnState,
    DiskState,
    Field,
    ReplState,
    Role,
    StateChange,
    StateWord,
    decode_change,
    decode_state,
    encode_change,
    encode_state,
    name_of,
)

words = st.builds(
    StateWord,
    role=st.sampled_from(Role),
    peer_role=st.sampled_from(Role),
    conn=st.integers(0, 23),
    disk=st.sampled_from([disk for disk in DiskState if disk is not DiskState.DETACHING]),
    peer_disk=st.sampled_from([disk for disk in DiskState if disk is not DiskState.DETACHING]),
    suspended=st.booleans(),
    after_isp=st.booleans(),
    peer_isp=st.booleans(),
    user_isp=st.booleans(),
    suspended_no_data=st.booleans(),
    suspended_fencing=st.booleans(),
    quorum=st.booleans(),
)


@given(words)
def test_words_survive_the_wire(word: StateWord) -> None:
    assert decode_state(encode_state(word, 124), 124) == word
    old = decode_state(encode_state(word, 101), 101)
    assert not old.quorum
    assert (old.disk, old.peer_disk, old.conn) == (word.disk, word.peer_disk, word.conn)


@given(st.integers(0, 0xFFFF_FFFF), st.sampled_from([101, 124]))
def test_any_word_is_decoded_or_refused(word: int, version: int) -> None:
    try:
        state = decode_state(word, version)
    except ProtocolError:
        return
    meaningful = 0xFFFFFF if version == 124 else 0x7FFFFF
    assert encode_state(state, version) == word & meaningful


def test_words_as_seen_on_live_wires() -> None:
    established = StateWord(
        role=Role.SECONDARY,
        peer_role=Role.PRIMARY,
        conn=int(ReplState.ESTABLISHED),
        disk=DiskState.UP_TO_DATE,
        peer_disk=DiskState.UP_TO_DATE,
    )
    assert encode_state(established, 124) == 2 | 1 << 2 | 10 << 4 | 9 << 9 | 9 << 13
    assert encode_state(established, 101) == 2 | 1 << 2 | 10 << 4 | 8 << 9 | 8 << 13
    assert int(Field.ROLE | Field.CONN) == 0x1F3


def test_detaching_is_failed_for_84() -> None:
    word = encode_state(StateWord(disk=DiskState.DETACHING), 101)
    assert decode_state(word, 101).disk is DiskState.FAILED


@pytest.mark.parametrize("word", [3, 24 << 4, 10 << 9, 10 << 13])
def test_numbers_without_a_state_are_refused(word: int) -> None:
    with pytest.raises(ProtocolError):
        decode_state(word, 124)


changes = st.builds(
    StateChange,
    role=st.none() | st.sampled_from(Role),
    peer_role=st.none() | st.sampled_from(Role),
    conn=st.none() | st.integers(0, 23),
    disk=st.none() | st.sampled_from([DiskState.INCONSISTENT, DiskState.OUTDATED, DiskState.UP_TO_DATE]),
    peer_disk=st.none() | st.sampled_from([DiskState.UNKNOWN, DiskState.OUTDATED]),
)


@given(changes, st.sampled_from([101, 118, 124]))
def test_changes_survive_the_wire(change: StateChange, version: int) -> None:
    mask, value = encode_change(change, version)
    assert decode_change(mask, value, version) == change


@given(st.integers(0, 0xFFFF_FFFF), st.integers(0, 0xFFFF_FFFF))
def test_any_change_is_decoded_or_refused(mask: int, value: int) -> None:
    try:
        decode_change(mask, value, 124)
    except ProtocolError:
        return


def test_every_state_has_its_word() -> None:
    assert (len(DISK_NAMES), len(CONN_NAMES), len(REPL_NAMES)) == (
        len(DiskState),
        len(ConnState),
        len(ReplState),
    )
    assert name_of(DiskState.UNKNOWN) == "DUnknown"
    assert name_of(ReplState.PAUSED_SYNC_T) == "PausedSyncT"
    assert name_of(ConnState.CONNECTING) == "Connecting"
    assert name_of(Role.SECONDARY) == "Secondary"


def test_one_number_is_both_connection_and_replication() -> None:
    assert StateWord(conn=int(ReplState.SYNC_TARGET)).cstate is ConnState.CONNECTED
    assert StateWord(conn=int(ConnState.CONNECTING)).repl is ReplState.OFF
