"""What a node is told: sizes, peers, options, and which targets a change touches."""

import msgspec

from bollard.domain import commands as c
from bollard.domain.layers import LayerKind
from bollard.domain.nodes import Props
from bollard.domain.targets import TargetPath, TargetReplication
from bollard.planning.targets import target_for, target_pools, target_resource, touched
from bollard.satellite.host.spec import spec_of
from bollard.satellite.tools.paths import Paths
from planning_lab import Lab


def replication(lab: Lab, node: str, name: str = "vol") -> TargetReplication:
    found = target_resource(lab.cluster, lab.resources(name)[node]).replication
    assert found is not None
    return found


def override(**given: str) -> c.PropsChange:
    return c.PropsChange(
        override={key.replace("__", "/").replace("_", "-"): value for key, value in given.items()}
    )


def test_peers_with_their_own_ports_and_votes() -> None:
    lab = Lab(3)
    lab.spawn_on("other", "n2")
    lab.spawn_on("vol", "n1", "n2")
    mine = replication(lab, "n1")
    assert (mine.node_id, mine.address, mine.port) == (0, "10.0.0.2", 7000)
    assert [(peer.node, peer.node_id, peer.address, peer.port) for peer in mine.peers] == [
        ("n2", 1, "10.0.0.3", 7001),
        ("n3", 2, "10.0.0.4", 7000),
    ]
    assert [(peer.diskless, peer.tie_breaker, peer.votes) for peer in mine.peers] == [
        (False, False, True),
        (True, True, True),
    ]
    assert mine.secret == lab.cluster.definitions["VOL"].drbd_secret
    assert all(mine.secret == replication(lab, node).secret for node in ("n2", "n3"))


def test_sizes_are_gross_below_and_net_above() -> None:
    lab = Lab(3)
    lab.spawn("vol")
    (volume,) = target_resource(lab.cluster, lab.resources("vol")["n1"]).volumes
    assert (volume.size_kib, volume.gross_kib, volume.pool, volume.minor) == (10240, 10280, "thin", 1000)
    (diskless,) = target_resource(lab.cluster, lab.resources("vol")["n3"]).volumes
    assert (diskless.size_kib, diskless.gross_kib, diskless.current_gi) == (10240, None, None)


def test_a_gross_size_leaves_less_to_users() -> None:
    lab = Lab(1)
    lab.run(c.CreateDefinition(name="vol"))
    lab.run(c.CreateVolumeDefinition(definition="vol", size_kib=10240, flags=("GROSS_SIZE",)))
    lab.run(c.MakeAvailable(definition="vol", node="n1"))
    (volume,) = target_resource(lab.cluster, lab.resources("vol")["n1"]).volumes
    assert (volume.size_kib, volume.gross_kib) == (10200, 10240)


def test_plain_storage_has_no_replication() -> None:
    lab = Lab(1)
    lab.run(c.CreateDefinition(name="vol", layer_stack=("STORAGE",)))
    lab.run(c.CreateVolumeDefinition(definition="vol", size_kib=4097))
    lab.run(c.MakeAvailable(definition="vol", node="n1"))
    target = target_resource(lab.cluster, lab.resources("vol")["n1"])
    assert (target.replication, target.layer_stack) == (None, (LayerKind.STORAGE,))
    assert target.volumes[0].gross_kib == 4100


def test_options_come_from_the_nearest_place() -> None:
    lab = Lab(3)
    lab.spawn("vol")
    lab.run(
        c.ModifyController(props=override(DrbdOptions__Net__protocol="A", DrbdOptions__Net__timeout="50"))
    )
    lab.run(c.ModifyGroup(name="DfltRscGrp", props=override(DrbdOptions__Net__protocol="B")))
    assert replication(lab, "n1").options["Net/protocol"] == "B"
    lab.run(c.ModifyDefinition(name="vol", props=override(DrbdOptions__Net__protocol="C")))
    options = replication(lab, "n1").options
    assert (options["Net/protocol"], options["Net/timeout"]) == ("C", "50")
    lab.run(c.ModifyNode(node="n1", props=override(DrbdOptions__Resource__cpu_mask="3")))
    assert replication(lab, "n1").options["Resource/cpu-mask"] == "3"
    assert "Resource/cpu-mask" not in replication(lab, "n2").options


def test_options_of_a_volume_and_of_a_pair() -> None:
    lab = Lab(3)
    lab.spawn("vol")
    props: Props = {"DrbdOptions/Disk/al-extents": "100"}
    lab.run(c.ModifyVolumeDefinition(definition="vol", number=0, props=c.PropsChange(override=props)))
    (volume,) = target_resource(lab.cluster, lab.resources("vol")["n1"]).volumes
    assert volume.props["Disk/al-extents"] == "100"
    both = c.PropsChange(override={"DrbdOptions/Net/max-buffers": "8000"})
    one = c.PropsChange(override={"DrbdOptions/Net/max-buffers": "9000"})
    lab.run(c.ModifyConnection(node_a="n1", node_b="n2", props=both))
    assert replication(lab, "n2").peers[0].options == {"Net/max-buffers": "8000"}
    lab.run(c.ModifyConnection(node_a="n2", node_b="n1", definition="vol", props=one))
    assert replication(lab, "n1").peers[0].options == {"Net/max-buffers": "9000"}
    assert replication(lab, "n1").peers[1].options == {}


def test_the_preferred_interface_carries_the_replication() -> None:
    lab = Lab(3)
    lab.spawn("vol")
    net_if = c.NewNetInterface(name="data", address="10.9.0.1")
    lab.run(c.CreateNetInterface(node="n1", net_interface=net_if))
    assert replication(lab, "n1").address == "10.0.0.2"
    lab.run(c.ModifyNode(node="n1", props=c.PropsChange(override={"PrefNic": "DATA"})))
    assert replication(lab, "n1").address == "10.9.0.1"
    assert replication(lab, "n2").peers[0].address == "10.9.0.1"


def test_paths_of_a_pair_are_by_network_interface() -> None:
    lab = Lab(3)
    lab.spawn("vol")
    for number in (1, 2):
        for name in ("fast", "slow"):
            address = f"10.{8 if name == 'fast' else 9}.0.{number}"
            lab.run(
                c.CreateNetInterface(
                    node=f"n{number}", net_interface=c.NewNetInterface(name=name, address=address)
                )
            )
    assert replication(lab, "n1").peers[0].paths == ()
    every = {"Paths/b/n1": "slow", "Paths/b/n2": "slow", "Paths/a/n1": "FAST", "Paths/a/N2": "fast"}
    lab.run(c.ModifyConnection(node_a="n2", node_b="n1", props=c.PropsChange(override=every)))
    assert replication(lab, "n1").peers[0].paths == (
        TargetPath("a", "10.8.0.1", "10.8.0.2"),
        TargetPath("b", "10.9.0.1", "10.9.0.2"),
    )
    assert replication(lab, "n1").peers[1].paths == ()
    own = {"Paths/mine/n1": "slow", "Paths/mine/n2": "fast", "Paths/half/n1": "fast"}
    lab.run(c.ModifyConnection(node_a="n1", node_b="n2", definition="vol", props=c.PropsChange(override=own)))
    assert replication(lab, "n2").peers[0].paths == (TargetPath("mine", "10.8.0.2", "10.9.0.1"),)


def test_a_whole_target() -> None:
    lab = Lab(3)
    lab.spawn("vol")
    lab.spawn("other")
    target = target_for("N1", lab.cluster)
    assert (target.node, target.revision) == ("n1", lab.cluster.revision)
    assert [one.name for one in target.resources] == ["other", "vol"]
    assert [pool.name for pool in target_pools("n1", lab.cluster)] == ["thin"]
    lab.run(c.DeleteDefinition(name="vol"))
    target = target_for("n1", lab.cluster)
    assert [stone.definition for stone in target.tombstones] == ["vol"]
    decoded = msgspec.msgpack.decode(msgspec.msgpack.encode(target), type=type(target))
    assert decoded == target


def test_touched_names_only_what_is_meant() -> None:
    lab = Lab(4)
    lab.spawn("vol")
    lab.spawn_on("other", "n4")
    decision = lab.run(c.ModifyDefinition(name="vol", props=c.PropsChange(override={"Aux/a": "1"})))
    assert touched(decision.changes, lab.cluster) == {("N1", "VOL"), ("N2", "VOL"), ("N3", "VOL")}
    decision = lab.run(c.ModifyPool(node="n4", name="thin", props=c.PropsChange(override={"Aux/a": "1"})))
    assert touched(decision.changes, lab.cluster) == {("N4", None)}
    decision = lab.run(c.ModifyKeyValueStore(name="kv", props=c.PropsChange(override={"a": "1"})))
    assert touched(decision.changes, lab.cluster) == set()
    decision = lab.run(c.ModifyNode(node="n4", props=c.PropsChange(override={"Aux/a": "1"})))
    assert touched(decision.changes, lab.cluster) == {("N4", None), ("N4", "OTHER")}
    decision = lab.run(c.ModifyController(props=c.PropsChange(override={"Aux/a": "1"})))
    assert len(touched(decision.changes, lab.cluster)) == 4


def test_two_primaries_on_one_connection_are_known_to_every_data_process() -> None:
    lab = Lab(3)
    lab.spawn_on("vol", "n1", "n2")
    key = "Net/allow-two-primaries"
    assert all(key not in replication(lab, node).options for node in ("n1", "n2", "n3"))
    allow = c.ModifyConnection("n1", "n2", "vol", override(DrbdOptions__Net__allow_two_primaries="yes"))
    lab.run(allow)
    assert all(replication(lab, node).options[key] == "yes" for node in ("n1", "n2", "n3"))
    lab.run(c.ModifyConnection("n1", "n2", "vol", override(DrbdOptions__Net__allow_two_primaries="no")))
    assert all(replication(lab, node).options.get(key, "no") == "no" for node in ("n1", "n2", "n3"))


def test_a_disk_option_of_a_volume_reaches_the_data_process() -> None:
    lab = Lab(3)
    lab.spawn("vol")
    change = override(DrbdOptions__Disk__on_io_error="pass_on")
    lab.run(c.ModifyVolumeDefinition(definition="vol", number=0, props=change))
    target = target_resource(lab.cluster, lab.resources("vol")["n1"])
    spec = spec_of(target, {}, Paths({0: "/x"}), node_name="n1")
    assert spec.volumes[0].options["on-io-error"] == "pass_on"
    assert "on-io-error" not in spec.options
