"""A lost peer is fenced by the operator's program before writes go on without it."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bollard.client.nbd import NbdClient
from replica_cluster import BLOCK, Cluster, pattern

_BODY = """#!{python}
import os
verdict = 7 if os.path.exists({shot!r}) else 5
with open({calls!r}, "a") as out:
    out.write(os.environ["DRBD_PEER"] + "\\n")
raise SystemExit(verdict)
"""


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    handler = tmp_path / "fence"
    calls, shot = str(tmp_path / "calls"), str(tmp_path / "shot")
    handler.write_text(_BODY.format(python=sys.executable, calls=calls, shot=shot))
    handler.chmod(0o700)
    options = {"fencing": "resource-and-stonith", "fence-peer": str(handler)}
    made = Cluster(tmp_path, options=options)
    made.start()
    yield made
    made.stop()
    print(made.logs())  # noqa: T201  shown by pytest when the test fails


def test_writes_go_on_when_the_lost_peer_is_known_dead(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "shot").touch()
    with cluster.open(0) as client:
        client.write(0, pattern(0, 1))
        cluster.nodes[1].kill()
        client.write(BLOCK, pattern(1, 1))
        assert client.read(BLOCK, BLOCK) == pattern(1, 1)
    assert set((tmp_path / "calls").read_text().split()) == {"n1"}


def test_writes_wait_until_somebody_vouches_for_its_death(cluster: Cluster, tmp_path: Path) -> None:
    with NbdClient(cluster.nodes[0].nbd, "data", timeout_s=60.0) as client:
        client.write(0, pattern(0, 1))
        cluster.nodes[1].kill()
        calls = tmp_path / "calls"
        cluster.nodes[0].until("data", lambda state: state["suspended-fencing"] and calls.exists())
        (tmp_path / "shot").touch()
        client.write(BLOCK, pattern(1, 1))
    assert len(calls.read_text().split()) >= 2, "it was asked again"
