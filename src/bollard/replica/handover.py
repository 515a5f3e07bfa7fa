"""Conversion of the metadata of a volume that nobody uses: `bollard-replica convert-md`.

It carries out, durably and in order, what `metadata.handover` says; it never touches data.
"""

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import assert_never

from bollard.replica.disk import BackingError
from bollard.replica.loop import Loop
from bollard.replica.metadata.growth import Flush, Write
from bollard.replica.metadata.handover import as_v08, as_v09
from bollard.replica.metadata.image import read_metadata
from bollard.replica.metadata.layout import Place
from bollard.replica.metadisk import Disk, open_disk
from bollard.wire.engine import V08

__all__ = ["convert_md"]


def convert_md(
    backing: str, meta: str, *, to: str, node_id: int, peer_node_id: int, max_peers: int = 1
) -> bool:
    """Make the metadata of `to` (v08 or v09) out of the other; False when it is that already.

    Raises MetadataError for what cannot be converted, OSError when the storage is in use or fails. May be
    repeated after a crash.
    """
    _check_unused(backing)
    loop = Loop()
    try:
        disk = open_disk(loop, backing, meta)
        try:
            return _carry_out(disk, to=to, node_id=node_id, peer_node_id=peer_node_id, max_peers=max_peers)
        finally:
            disk.close()
    finally:
        loop.close()


def _check_unused(backing: str) -> None:
    """A device that a kernel uses (DRBD, a mount) is claimed; a lock of ours does not show that."""
    try:
        if not stat.S_ISBLK(Path(backing).stat().st_mode):
            return
        os.close(os.open(backing, os.O_RDWR | os.O_EXCL | os.O_CLOEXEC))
    except OSError as error:
        hint = "it is in use; take its resource down first" if error.errno == errno.EBUSY else error.strerror
        raise BackingError(error.errno, f"backing {backing} cannot be converted: {hint}") from error


def _carry_out(disk: Disk, *, to: str, node_id: int, peer_node_id: int, max_peers: int) -> bool:
    found = read_metadata(
        lambda offset, length: bytes(disk.meta.read(offset, length)),
        device_bytes=disk.meta.size_bytes,
        place=Place.INTERNAL if disk.internal else Place.EXTERNAL,
    )
    steps: Iterator[Write | Flush]
    if to == V08:
        steps = as_v08(found, peer_node_id=peer_node_id)
    else:
        steps = as_v09(found, node_id=node_id, peer_node_id=peer_node_id, max_peers=max_peers)
    os.fdatasync(disk.data.fd)
    changed = False
    for step in steps:
        changed = True
        match step:
            case Write(offset_bytes=offset, data=data):
                disk.meta.write(offset, data)
            case Flush():
                os.fdatasync(disk.meta.fd)
            case _:
                assert_never(step)
    return changed
