"""File systems: made once, with the owner that is asked for, and never where something is."""

import asyncio
from collections.abc import Mapping

import pytest

from bollard.satellite.host import filesystems
from bollard.satellite.host.base import Cmd, Done, Host, HostError
from bollard.sim.engine import Mesh
from bollard.sim.host import SimMachine


class Tools:
    """mkfs and what looks at devices; `codes` and `said` by program."""

    def __init__(self, codes: Mapping[str, int], said: Mapping[str, str]) -> None:
        self.ran: list[tuple[str, ...]] = []
        self.codes, self.said = codes, said

    def path_of(self, program: str) -> str | None:
        return f"/sbin/{program}"

    async def run(self, cmd: Cmd) -> Done:
        self.ran.append(cmd.argv)
        code = self.codes.get(cmd.argv[0], 0)
        assert code in cmd.expect, "an exit code that is no error here"
        return Done(code, self.said.get(cmd.argv[0], "").encode(), b"")


def host_with(tools: Tools) -> Host:
    machine = SimMachine("n1", Mesh())
    machine.disk.folders.add("/run")
    host = machine.host()
    return Host(host.files, tools, host.engine, "")


@pytest.mark.parametrize(
    ("blkid", "wipefs", "empty"), [(2, "", True), (0, "", False), (8, "", False), (2, "gpt\n", False)]
)
def test_a_device_is_empty_when_nothing_at_all_is_found(blkid: int, wipefs: str, *, empty: bool) -> None:
    tools = Tools({"blkid": blkid}, {"wipefs": wipefs})
    assert asyncio.run(filesystems.empty(host_with(tools), "/dev/x")) is empty


def made(options: dict[str, str], said: Mapping[str, str] | None = None) -> tuple[str, ...]:
    tools = Tools({}, said or {})
    asyncio.run(filesystems.make(host_with(tools), "/dev/x", options))
    return tools.ran[-1]


def test_ext4_with_and_without_an_owner() -> None:
    assert made({"Type": "ext4"}) == ("mkfs.ext4", "-q", "-F", "-E", "nodiscard", "/dev/x")
    with_owner = made({"Type": "ext4", "User": "7", "Group": "8", "MkfsParams": "-m 0"})
    assert with_owner == ("mkfs.ext4", "-q", "-F", "-E", "nodiscard,root_owner=7:8", "-m", "0", "/dev/x")
    named = made({"Type": "ext4", "User": "www"}, {"getent": "www:x:33:33::/:/bin/sh\n"})
    assert "nodiscard,root_owner=33:0" in named


def test_xfs_is_told_the_owner_by_a_file() -> None:
    assert made({"Type": "xfs"}) == ("mkfs.xfs", "-q", "-f", "-K", "/dev/x")
    assert made({"Type": "xfs", "User": "7"})[4:6] == ("-p", "/run/bollard-mkfs-7-0")


@pytest.mark.parametrize(
    "options",
    [{"Type": "ntfs"}, {"Type": "ext4", "User": "nobody-here"}, {"Type": "ext4", "MkfsParams": "'"}],
)
def test_what_cannot_be_made_is_said_before_anything_is_run(options: dict[str, str]) -> None:
    tools = Tools({}, {})
    with pytest.raises(HostError) as caught:
        asyncio.run(filesystems.make(host_with(tools), "/dev/x", options))
    assert caught.value.code == "bad-options"
    assert not any(argv[0].startswith("mkfs") for argv in tools.ran)
