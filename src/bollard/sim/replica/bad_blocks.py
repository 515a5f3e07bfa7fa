"""Faults of single blocks in a history: one disk gets some, and is repaired later."""

from typing import TYPE_CHECKING

from bollard.replica.protocol import events as e

if TYPE_CHECKING:
    from bollard.sim.replica.history import History


def spoil(history: "History") -> None:
    """Blocks of one disk can neither be read nor written any more, while all others are good."""
    cluster = history.cluster
    disks = [node.disk for node in cluster.nodes if node.disk is not None]
    disk = history.random.choice(disks)
    if history.healthy() and not any(other.bad for other in disks):
        disk.bad.update(history.random.sample(history.blocks, 4))
        cluster.note(f"bad blocks {sorted(disk.bad)}")


def repair(history: "History") -> None:
    """Bad blocks can be used again; their content comes by a resync, begun as a person would."""
    cluster = history.cluster
    for node in cluster.nodes:
        if node.disk is not None and node.disk.bad:
            node.disk.bad.clear()
            cluster.note(f"repaired {node.node_id}")
            cluster.command(node.node_id, lambda tag: e.Disconnect(tag, force=True))
            cluster.run(0.5)
            cluster.command(node.node_id, e.Connect)
