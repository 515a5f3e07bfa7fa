"""The catalogue: which property may be set where, how values are stored, and who wins."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bollard.domain import props
from bollard.domain.catalogue.kinds import Kind, describe, normalise
from bollard.domain.errors import Invalid, Subject
from bollard.domain.props import Scope


@pytest.mark.parametrize(
    ("key", "value", "scope", "stored"),
    [
        ("Aux/anything at all", "ünïcode", Scope.VOLUME, "ünïcode"),
        ("Aux/empty", "", Scope.CONTROLLER, ""),
        ("EBS/Tags/a", "1", Scope.NODE, "1"),
        ("Paths/p1/n1", "default", Scope.NODE_CONNECTION, "default"),
        ("AutoplaceTarget", "YES", Scope.NODE, "true"),
        ("AutoplaceTarget", "False", Scope.NODE, "false"),
        ("DrbdOptions/Net/allow-two-primaries", "Yes", Scope.RESOURCE_CONNECTION, "yes"),
        ("DrbdOptions/Resource/quorum", "majority", Scope.RESOURCE_DEFINITION, "majority"),
        ("DrbdOptions/Resource/quorum", "3", Scope.CONTROLLER, "3"),
        ("DrbdOptions/Net/protocol", "C", Scope.CONTROLLER, "C"),
        ("DrbdOptions/Net/max-buffers", "8000", Scope.CONTROLLER, "8000"),
        ("TcpPortAutoRange", "7000-7999,8000", Scope.NODE, "7000-7999,8000"),
        ("Autoplacer/MinThinFreeSpace", "12.5 GiB", Scope.POOL, "12.5 GiB"),
        ("Autoplacer/Weights/MaxFreeSpace", "0.5", Scope.CONTROLLER, "0.5"),
        ("MaxOversubscriptionRatio", "3", Scope.POOL_DEFINITION, "3"),
        ("StorPoolNameDrbdMeta", ".internal", Scope.VOLUME_DEFINITION, ".internal"),
        ("FileSystem/Type", "ext4", Scope.RESOURCE_DEFINITION, "ext4"),
    ],
)
def test_what_is_taken(key: str, value: str, scope: Scope, stored: str) -> None:
    assert props.checked(key, value, scope) == stored


@pytest.mark.parametrize(
    ("key", "value", "scope"),
    [
        ("", "x", Scope.CONTROLLER),
        ("/Aux/x", "1", Scope.CONTROLLER),
        ("Aux/" + "k" * 257, "1", Scope.CONTROLLER),
        ("Aux/long", "x" * 5000, Scope.CONTROLLER),
        ("Unknown/Key", "x", Scope.CONTROLLER),
        ("Cluster/LocalID", "x", Scope.CONTROLLER),
        ("NodeUname", "x", Scope.NODE),
        ("Paths/p1/n1", "default", Scope.NODE),
        ("EBS/Tags/a", "1", Scope.VOLUME),
        ("DrbdOptions/Net/max-buffers", "9000", Scope.NODE),
        ("DrbdOptions/Net/max-buffers", "10", Scope.CONTROLLER),
        ("DrbdOptions/Net/max-buffers", "many", Scope.CONTROLLER),
        ("DrbdOptions/Net/protocol", "X", Scope.CONTROLLER),
        ("DrbdOptions/Net/nonexistent", "1", Scope.CONTROLLER),
        ("DrbdOptions/Resource/quorum", "most", Scope.CONTROLLER),
        ("DrbdOptions/Resource/quorum", "0", Scope.CONTROLLER),
        ("DrbdOptions/Resource/quorum", "33", Scope.CONTROLLER),
        ("DrbdOptions/auto-add-quorum-tiebreaker", "maybe", Scope.CONTROLLER),
        ("DrbdOptions/AutoEvictAfterTime", "soon", Scope.CONTROLLER),
        ("Autoplacer/Weights/MaxFreeSpace", "abc", Scope.CONTROLLER),
        ("MaxOversubscriptionRatio", "-5", Scope.POOL),
        ("MaxOversubscriptionRatio", "1001", Scope.POOL),
        ("TcpPortAutoRange", "abc", Scope.CONTROLLER),
        ("FileSystem/Type", "ntfs", Scope.RESOURCE_DEFINITION),
        ("StorDriver/FileDir", "/x", Scope.POOL_DEFINITION),
    ],
)
def test_what_is_refused(key: str, value: str, scope: Scope) -> None:
    with pytest.raises(Invalid) as caught:
        props.checked(key, value, scope)
    assert caught.value.subject is Subject.PROPERTY


def test_changes_are_all_or_none() -> None:
    before = {"Aux/a": "1", "Aux/b/c": "2", "Aux/b/d": "3"}
    with pytest.raises(Invalid):
        props.changed(before, Scope.NODE, override={"Aux/a": "9", "Bad/x": "1"})
    with pytest.raises(Invalid):
        props.changed(before, Scope.NODE, override={}, delete=("Bad/x",))
    after = props.changed(
        before,
        Scope.NODE,
        override={"Aux/n": "5"},
        delete=("Aux/a", "Aux/none"),
        delete_namespaces=("Aux/b",),
    )
    assert after == {"Aux/n": "5"}
    assert before == {"Aux/a": "1", "Aux/b/c": "2", "Aux/b/d": "3"}


def test_set_and_deleted_at_once_is_deleted() -> None:
    assert props.changed({}, Scope.CONTROLLER, override={"Aux/a": "2"}, delete=("Aux/a",)) == {}


def test_a_namespace_is_not_a_prefix_of_letters() -> None:
    before = {"Aux/zone": "1", "Aux/zones": "2", "Aux/zone/x": "3"}
    after = props.changed(before, Scope.NODE, override={}, delete_namespaces=("Aux/zone",))
    assert after == {"Aux/zone": "1", "Aux/zones": "2"}


def test_what_the_cluster_keeps_stays() -> None:
    before = {"CurStltConnName": "default", "Aux/a": "1"}
    with pytest.raises(Invalid):
        props.changed(before, Scope.NODE, override={}, delete=("CurStltConnName",))
    after = props.changed(
        before | {"NodeUname": "n1"}, Scope.NODE, override={}, delete_namespaces=("NodeUname",)
    )
    assert "NodeUname" in after


def test_the_nearest_map_wins_and_then_the_default() -> None:
    near, far = {"MaxOversubscriptionRatio": "3"}, {"MaxOversubscriptionRatio": "5", "PrefNic": "nic2"}
    assert props.OVERSUBSCRIPTION.number(near, far) == 3
    assert props.OVERSUBSCRIPTION.number({}, far) == 5
    assert props.OVERSUBSCRIPTION.number({}, default=20) == 20
    assert props.PREF_NIC.found(near, far) == "nic2"
    assert props.PREF_NIC.found(near) is None
    assert props.MIN_THIN_FREE_SPACE.text({}) == "10%"
    assert props.AUTO_TIEBREAKER.truth({"DrbdOptions/auto-add-quorum-tiebreaker": "True"})
    assert props.AUTOPLACE_TARGET.truth({}, default=True)
    assert props.OVERSUBSCRIPTION.number({"MaxOversubscriptionRatio": "old nonsense"}, default=1) == 1


@pytest.mark.parametrize(
    ("text", "kib"),
    [("10%", 100.0), ("2048", 2048), ("1M", 1024), ("1.5 GiB", 1572864), ("4096b", 4), ("8s", 4), ("x", 0)],
)
def test_sizes(text: str, kib: float) -> None:
    assert props.size_kib(text, 1000) == kib


def test_drbd_options_lose_their_prefix_and_keep_their_section() -> None:
    near = {"DrbdOptions/Net/protocol": "A", "DrbdOptions/Resource/quorum": "off", "Aux/x": "1"}
    far = {"DrbdOptions/Net/protocol": "C", "DrbdOptions/Net/timeout": "60"}
    assert props.drbd_options(near, far, sections=("Net",)) == {"Net/protocol": "A", "Net/timeout": "60"}


def test_the_catalogue_is_sound() -> None:
    scopes = {str(scope) for scope in Scope}
    for key, row in props.CATALOGUE.items():
        assert key == row.key
        assert set(row.scopes.split()) <= scopes
        assert describe(row)
        if row.default and row.kind not in {Kind.LONG, Kind.REGEX, Kind.RANGE}:
            assert normalise(row, row.default) is not None, key
    # What the recorded LINSTOR lists for these kinds of objects; and our own.
    assert {"Bollard/Attach", "Bollard/DrbdImplementation"} <= props.CATALOGUE.keys()
    assert len(props.properties_of(Scope.RESOURCE_DEFINITION)) == 173 + 2
    assert len(props.properties_of(Scope.VOLUME_DEFINITION)) == 72
    assert len(props.properties_of(Scope.RESOURCE_CONNECTION)) == 47
    assert len(props.properties_of(Scope.VOLUME)) == 24
    assert len(props.properties_of(Scope.RESOURCE)) == 20
    assert len(props.properties_of(Scope.POOL_DEFINITION)) == 8


@given(st.sampled_from(sorted(props.CATALOGUE)), st.text(max_size=40))
def test_a_stored_value_is_stored_the_same_again(key: str, value: str) -> None:
    row = props.CATALOGUE[key]
    stored = normalise(row, value)
    if stored is not None:
        assert normalise(row, stored) == stored
