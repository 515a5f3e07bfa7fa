"""DRBD's event lines, of 9 and of 8.4, as a model of the kernel's resources."""

from bollard.satellite.tools.drbd_events import KernelModel, model_of, parse_event
from bollard.satellite.tools.drbd_status import busy, suspended

NINE = """\
2026-11-20T13:26:13.013205+00:00 exists resource name:r0 role:Secondary suspended:no,quorum may_promote:yes
2026-11-20T13:26:13.013205+00:00 exists connection name:r0 peer-node-id:2 conn-name:node3 \
connection:Connected role:Secondary congested:no
2026-11-20T13:26:13.013205+00:00 exists device name:r0 volume:0 minor:1000 backing_dev:/dev/vg/r0 \
disk:UpToDate client:no quorum:yes size:1048316 open:yes read:101133
2026-11-20T13:26:13.013205+00:00 exists peer-device name:r0 peer-node-id:2 conn-name:node3 volume:0 \
replication:Established peer-disk:UpToDate received:0 out-of-sync:16
2026-11-20T13:26:13.013205+00:00 exists path name:r0 peer-node-id:2 conn-name:node3 \
local:ipv4:10.77.0.1:7789 peer:ipv4:10.77.0.3:7789 established:yes
2026-11-20T13:26:13.014649+00:00 exists -
""".splitlines()
EIGHT = """\
exists resource name:r role:Secondary suspended:no write-ordering:flush
exists connection name:r peer-node-id:0 conn-name:peer connection:StandAlone role:Unknown congested:no
exists device name:r volume:0 minor:1000 disk:UpToDate size:100000 read:0
exists peer-device name:r peer-node-id:0 conn-name:peer volume:0 replication:Off peer-disk:DUnknown
exists -
""".splitlines()


def take(model: KernelModel, line: str) -> None:
    event = parse_event(line)
    assert event is not None
    model.take(event)


def test_lines_that_are_no_events() -> None:
    assert parse_event("") is None
    assert parse_event("- skipped 4") is None
    assert parse_event("drbdsetup: something else") is None
    event = parse_event("2026-11-20T13:23:37+00:00 change peer-device name:a peer-node-id:2 volume:0")
    assert event is not None
    assert (event.action, event.object, event.name, event.time[:4]) == (
        "change",
        "peer-device",
        "a",
        "2026",
    )


def test_the_present_state_of_9() -> None:
    model = model_of(NINE)
    assert model.complete
    assert model.names == ("r0",)
    status = model.status("r0")
    assert status is not None
    assert (status.role, status.may_promote, suspended(status)) == ("Secondary", True, "quorum")
    (device,) = status.devices
    assert (device.minor, device.disk_state, device.size, device.open) == (1000, "UpToDate", 1048316, True)
    (connection,) = status.connections
    assert (connection.peer_node_id, connection.name) == (2, "node3")
    assert connection.peer_devices[0].out_of_sync == 16
    assert model.status("other") is None


def test_what_an_event_does_not_say_stays() -> None:
    model = model_of(NINE)
    take(model, "change connection name:r0 peer-node-id:2 conn-name:node3 connection:NetworkFailure")
    take(model, "change device name:r0 volume:0 minor:1000 disk:Consistent")
    status = model.status("r0")
    assert status is not None
    assert status.connections[0].peer_role == "Secondary"
    assert (status.devices[0].disk_state, status.devices[0].size) == ("Consistent", 1048316)


def test_a_resync_and_its_end() -> None:
    model = model_of(NINE)
    where = "name:r0 peer-node-id:2 conn-name:node3 volume:0"
    take(model, f"change peer-device {where} replication:SyncTarget peer-disk:UpToDate done:3.50 received:64")
    status = model.status("r0")
    assert status is not None
    assert busy(status)
    assert status.connections[0].peer_devices[0].percent_resync_done == 3.5
    assert status.connections[0].peer_devices[0].resynced == 64
    take(model, f"change peer-device {where} replication:Established")
    status = model.status("r0")
    assert status is not None
    assert not busy(status)
    assert status.connections[0].peer_devices[0].percent_resync_done is None


def test_what_is_destroyed_is_gone() -> None:
    model = model_of(NINE)
    take(model, "destroy peer-device name:r0 peer-node-id:2 conn-name:node3 volume:0")
    take(model, "destroy connection name:r0 peer-node-id:2 conn-name:node3")
    take(model, "destroy device name:r0 volume:0")
    status = model.status("r0")
    assert status is not None
    assert (status.devices, status.connections) == ([], [])
    take(model, "destroy resource name:r0")
    take(model, "destroy resource name:r0")
    assert model.names == ()


def test_a_resource_is_renamed() -> None:
    model = model_of(NINE)
    take(model, "rename resource name:r0 new_name:r9")
    assert model.names == ("r9",)


def test_a_split_brain_is_known_until_the_link_is_back() -> None:
    model = model_of(EIGHT)
    assert model.split_brain("r") == frozenset()
    take(model, "call helper name:r volume:0 minor:1000 helper:initial-split-brain")
    assert model.split_brain("r") == frozenset()
    take(model, "call helper name:r volume:0 minor:1000 helper:split-brain")
    take(model, "response helper name:r volume:0 minor:1000 helper:split-brain status:0")
    assert model.split_brain("r") == {0}
    model.adopt("r", model_of(EIGHT))
    assert model.split_brain("r") == {0}, "a fresh dump does not tell"
    take(model, "change connection name:r peer-node-id:0 conn-name:peer connection:Connected role:Secondary")
    assert model.split_brain("r") == frozenset()
    assert model.split_brain("other") == frozenset()


def test_9_names_the_peer_of_a_split_brain() -> None:
    model = model_of(NINE)
    take(model, "change connection name:r0 peer-node-id:1 conn-name:node2 connection:StandAlone")
    take(model, "call helper name:r0 peer-node-id:1 conn-name:node2 helper:split-brain")
    assert model.split_brain("r0") == {1}


def test_adopting_an_absence() -> None:
    model = model_of(NINE)
    model.adopt("r0", KernelModel())
    assert model.status("r0") is None
