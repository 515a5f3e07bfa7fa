"""What a device carries, by the signatures that `blkid` knows. It reads and never writes."""

import msgspec

from bollard.satellite.host.base import Cmd, Host, HostError

__all__ = ["Signature", "has_data", "parse", "probe", "starts_with_zeroes"]

_NOTHING = 2
_SEVERAL = 8
_BLOCK_BYTES = 4096


class Signature(msgspec.Struct, frozen=True):
    """The content that a device seems to have."""

    kind: str
    """As blkid names it: ext4, crypto_LUKS, LVM2_member ...; `several` when there is more than one."""
    uuid: str = ""


async def probe(path: str, host: Host) -> Signature | None:
    """What is on the device now, not what some cache says; None when nothing known is."""
    cmd = Cmd(("blkid", "--probe", "--output", "export", path), expect=(0, _NOTHING, _SEVERAL))
    done = await host.runner.run(cmd)
    return Signature("several") if done.code == _SEVERAL else parse(done.stdout.decode())


def parse(text: str) -> Signature | None:
    """From what `blkid --output export` prints."""
    fields = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    kind = fields.get("TYPE") or fields.get("PTTYPE")
    return Signature(kind, fields.get("UUID", "")) if kind else None


async def starts_with_zeroes(path: str, host: Host) -> bool:
    """Whether the first 4 KiB of a device are zeroes."""
    argv = ("dd", f"if={path}", f"bs={_BLOCK_BYTES}", "count=1", "status=none", "iflag=direct")
    return not any((await host.runner.run(Cmd(argv))).stdout)


def has_data(path: str, found: Signature, resource: str) -> HostError:
    """The refusal to make anything on a device that is not empty."""
    return HostError(
        f"'{path}' of '{resource}' holds data already",
        code="device-has-data",
        cause=f"It carries {found.kind}" + (f" with UUID {found.uuid}." if found.uuid else "."),
        correction=f"If nobody needs it, clear it with 'wipefs --all {path}'.",
        name=resource,
    )
