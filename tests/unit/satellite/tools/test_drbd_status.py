"""DRBD's status, as the kernel's tools and the data process print it."""

import msgspec
import pytest

from bollard.satellite.tools.drbd_status import busy, parse_status, seen_peers, suspended

KERNEL = """
[{"name": "r0", "node-id": 0, "role": "Primary", "suspended": true, "suspended-user": false,
  "suspended-no-data": true, "suspended-fencing": false, "suspended-quorum": true, "write-ordering": "flush",
  "devices": [{"volume": 0, "minor": 1000, "disk-state": "UpToDate", "client": false, "quorum": true,
               "size": 1048316, "read": 1, "written": 2, "upper-pending": 0}],
  "connections": [
   {"peer-node-id": 2, "name": "zeta", "connection-state": "Connecting", "peer-role": "Unknown",
    "peer_devices": [{"volume": 0, "replication-state": "Off", "peer-disk-state": "DUnknown",
                      "out-of-sync": 12, "percent-in-sync": 99.00}]},
   {"peer-node-id": 1, "name": "beta", "connection-state": "Connected", "peer-role": "Secondary",
    "peer_devices": [{"volume": 0, "replication-state": "SyncSource", "peer-disk-state": "Inconsistent",
                      "out-of-sync": 2048, "percent-in-sync": 50.5}]}]}]
"""


def test_a_resource_with_peers() -> None:
    (status,) = parse_status(msgspec.json.decode(KERNEL))
    assert suspended(status) == "no-data,quorum"
    assert busy(status)
    assert status.devices[0].size == 1048316
    beta, zeta = seen_peers(status)
    assert (beta.node, beta.connection, beta.role) == ("beta", "Connected", "Secondary")
    assert beta.volumes[0].done_percent == pytest.approx(50.5)
    assert beta.volumes[0].out_of_sync_kib == 2048
    assert zeta.volumes[0].done_percent is None


def test_nothing_and_something_else() -> None:
    assert parse_status([]) == []
    with pytest.raises(msgspec.ValidationError):
        parse_status({"name": "r0"})
