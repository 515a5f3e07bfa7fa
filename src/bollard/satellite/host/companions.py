"""What cache layers share: a companion device that is empty once and the cache's own ever after.

A cache that was made and whose companion is empty now has lost what it held back: it is never made anew.
"""

from typing import Final

from bollard.satellite.host import signatures
from bollard.satellite.host.base import Cmd, Host, HostError, LayerMark

__all__ = ["missing", "ready", "refuse_data", "sectors_of"]

_HEAD_BYTES: Final = 4096


async def ready(path: str, mark: LayerMark, host: Host) -> None:
    """See that the cache's superblock (at the start of `path`) is there, or cleared when none was ever made.

    HostError `companion-missing` when there is none, `companion-lost` when it is empty and must not be.
    """
    if not path:
        raise missing(mark, "the layer's property")
    if not mark.made:
        argv = ("dd", "if=/dev/zero", f"of={path}", f"bs={_HEAD_BYTES}", "count=1", "conv=fsync,notrunc")
        await host.runner.run(Cmd((*argv, "status=none")))
    elif await signatures.starts_with_zeroes(path, host):
        raise HostError(
            f"The cache of volume {mark.number} of '{mark.resource}' is lost",
            code="companion-lost",
            cause=f"'{path}' is empty, although it may hold writes that the volume lacks.",
            correction="Bring the cache's device back, or create the resource anew on this node.",
            name=mark.resource,
        )


def missing(mark: LayerMark, by: str) -> HostError:
    """There is no companion; `by` says what names a pool for one."""
    return HostError(
        f"Volume {mark.number} of '{mark.resource}' has no cache device",
        code="companion-missing",
        cause="The layer needs storage in a second pool.",
        correction=f"Name a pool for it by {by}, then create the resource again.",
        name=mark.resource,
    )


async def refuse_data(lower: str, mark: LayerMark, host: Host) -> None:
    """HostError `device-has-data` when something is on the device that the layer is to be made on."""
    found = await signatures.probe(lower, host)
    if found is not None:
        raise signatures.has_data(lower, found, mark.resource)


async def sectors_of(path: str, host: Host) -> int:
    """The size of a block device in sectors of 512 bytes."""
    return int((await host.runner.run(Cmd(("blockdev", "--getsz", path)))).stdout)
