"""A resource of two nodes: kernel DRBD in a User Mode Linux node, and the data process beside it.

The data process runs on this machine, inside the lab's network; both backings are files that can be compared.
"""

import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from bollard.client.nbd import NbdClient
from bollard.lab.cluster import Done, Kernel, Lab, find_kernel
from bollard.lab.network import data_address
from bollard.lab.programs import LabError, need
from bollard.replica.metadata import layout, superblock
from bollard.replica.metadata.image import AnySuperblock, encode_any
from bollard.replica.metadata.superblock import DeviceFlag
from bollard.replica.metadata.superblock08 import fresh08
from bollard.wire import engine as wire
from replica_process import ReplicaProcess

MIB = 1 << 20
BLOCK = 4096
PORT = 7789
NODE = 1
ENGINE_ADDRESS = "10.77.0.254"
NAME = "data"
SECRET = "shared by both"
KERNEL_ID, ENGINE_ID = 1, 0
GENERATION = 0x5EED_5EED_5EED_5EE0
DISK_MIB = 25
_LIMIT_S = 300.0


class Seen(msgspec.Struct, frozen=True):
    """What the kernel says of the resource, in DRBD 9's words."""

    connection: str
    replication: str
    role: str
    disk: str
    peer_disk: str
    out_of_sync_kib: int


@dataclass(frozen=True)
class Flavour:
    """A kernel with a DRBD: 8.4 in Debian's own, 9 in one that is named by the environment."""

    name: str
    kernel: Kernel
    drbd9: bool

    @property
    def metadata(self) -> str:
        return "v09" if self.drbd9 else "v08"


def lacking() -> str:
    """Why no kernel can be run here; empty if one can."""
    if os.geteuid() != 0:
        return "the lab needs root"
    try:
        find_kernel()
        need("ip", "bridge", "nft", "mkfs.ext4", "drbdadm", "drbdmeta")
    except LabError as error:
        return str(error)
    return ""


def flavour_84() -> Flavour:
    return Flavour("8.4", find_kernel(), drbd9=False)


def flavour_9() -> Flavour | str:
    """The kernel that BOLLARD_DRBD9_KERNEL names (modules: BOLLARD_DRBD9_MODULES), or why there is none."""
    program = os.environ.get("BOLLARD_DRBD9_KERNEL", "")
    if not program:
        return "BOLLARD_DRBD9_KERNEL does not name a User Mode Linux kernel with DRBD 9"
    modules = os.environ.get("BOLLARD_DRBD9_MODULES", "")
    if not Path(program).exists():
        return f"BOLLARD_DRBD9_KERNEL: {program} does not exist"
    folders = sorted(Path(program).parent.glob("lib/modules/*"))
    return Flavour("9", Kernel(Path(program), Path(modules) if modules else folders[0]), drbd9=True)


@dataclass
class Pair:
    """One resource on both; `start` makes them two equal disks that are connected."""

    lab: Lab
    root: Path
    flavour: Flavour
    net: dict[str, str] = field(default_factory=dict)
    protocol: str = "C"
    engine_mib: int = DISK_MIB
    max_peers: int = 1
    fixed_size: bool = False
    engine_disk: Path = Path()

    def __post_init__(self) -> None:
        self.root.mkdir(exist_ok=True)
        self.engine = ReplicaProcess(self.root / "engine")
        self.engine.prefix = self.lab.network.argv([])
        if self.engine_disk == Path():
            self.engine_disk = self.root / "engine.img"
        self.kernel_disk = self.lab.disk(NODE)
        self.net = {
            "ping-timeout": "30", "ping-int": "2", "connect-int": "1", "timeout": "40",
            "cram-hmac-alg": "sha256", "verify-alg": "crc32c", **self.net,
        }  # fmt: skip

    # -- the kernel's side

    def write_config(self, *nodes: int) -> None:
        """The resource's file in node 1, whose other node is the engine; or in two nodes for each other."""
        net = "".join(f"    {name} {value};\n" for name, value in self.net.items())
        size = f"size {self.size_bytes >> 10}k; " if self.fixed_size else ""
        second = ("engine", ENGINE_ADDRESS) if len(nodes) < 2 else ("node2", data_address(2))
        text = (
            f"resource {NAME} {{\n"
            f'  net {{\n    protocol {self.protocol};\n    shared-secret "{SECRET}";\n'
            f"    socket-check-timeout 2;\n{net}  }}\n"
            f"  disk {{ {size}resync-rate 200M; c-plan-ahead 0; c-min-rate 200M; }}\n"
        )
        for name, address, node_id in (("node1", data_address(NODE), KERNEL_ID), (*second, ENGINE_ID)):
            number = f"    node-id {node_id};\n" if self.flavour.drbd9 else ""
            text += (
                f"  on {name} {{\n{number}    device /dev/drbd0 minor 0;\n"
                f"    disk /dev/ubdb; meta-disk internal;\n    address {address}:{PORT};\n  }}\n"
            )
        for node in nodes or (NODE,):
            self.lab.exec(node, "tee", f"/etc/drbd.d/{NAME}.res", stdin=(text + "}\n").encode())

    def run(self, *argv: str, stdin: bytes = b"") -> str:
        return self.lab.exec(NODE, *argv, stdin=stdin)

    def drbdadm(self, *words: str) -> str:
        """`drbdadm WORDS... data`, which must succeed."""
        return self.run("drbdadm", *words, NAME)

    def try_drbdadm(self, *words: str) -> Done:
        return self.lab.try_exec(NODE, "drbdadm", *words, NAME)

    def start(self, *, version: str = "") -> None:
        """Both disks UpToDate and equal from the start, both nodes connected."""
        self.engine.start()
        self.write_config()
        self.make_kernel_disk()
        self.give_generation()
        self.make_engine_disk(version=version, initial_uuid=f"{GENERATION:016X}")
        self.configure()
        self.drbdadm("up")
        self.both_healthy()

    def give_generation(self) -> None:
        """The kernel's disk of zeroes counts as UpToDate, of the generation of the engine's."""
        size = self.kernel_disk.stat().st_size
        place = layout.internal(size, layout.Geometry(max_peers=1))
        flags = DeviceFlag.CONSISTENT | DeviceFlag.WAS_UP_TO_DATE | DeviceFlag.AL_CLEAN
        changes: dict[str, Any] = {
            "current_uuid": GENERATION,
            "flags": flags,
            "effective_size_sectors": self.size_bytes // 512,
        }
        fresh: AnySuperblock = superblock.fresh(place) if self.flavour.drbd9 else fresh08(place)
        with self.kernel_disk.open("r+b") as file:
            file.seek(place.superblock_offset_bytes)
            file.write(encode_any(msgspec.structs.replace(fresh, **changes)))

    def kernel_primary(self) -> None:
        """Promote; what the engine has just told of its role may still be on its way."""
        self._in_the_end("primary")

    def kernel_secondary(self) -> None:
        """Demote; the system's own probes may hold the device for a moment after a write."""
        self._in_the_end("secondary")

    def kernel_down(self, node: int = NODE) -> None:
        """Stop the resource in a node; the same probes may hold it."""
        self._in_the_end("down", node)

    def _in_the_end(self, word: str, node: int = NODE) -> None:
        end = time.monotonic() + _LIMIT_S
        while (done := self.lab.try_exec(node, "drbdadm", word, NAME)).code != 0:
            assert time.monotonic() < end, done.stderr

    def make_kernel_disk(self) -> None:
        """Fresh metadata on a disk of zeroes."""
        with self.kernel_disk.open("r+b") as file:
            size = file.seek(0, os.SEEK_END)
            file.truncate(0)
            file.truncate(size)
        extra = ["--max-peers=1"] if self.flavour.drbd9 else []
        self.run("drbdadm", "create-md", "--force", *extra, NAME)

    def seen(self, node: int = NODE) -> Seen:
        """The kernel's view now."""
        if self.flavour.drbd9:
            return _from_json(self.lab.exec(node, "drbdsetup", "status", "--json", "--statistics", NAME))
        return _from_proc(self.lab.exec(node, "cat", "/proc/drbd"))

    def kernel_until(
        self, condition: Callable[[Seen], bool], timeout_s: float = _LIMIT_S, node: int = NODE
    ) -> Seen:
        """Ask the kernel until it says so."""
        end = time.monotonic() + timeout_s
        while True:
            seen = self.seen(node)
            if condition(seen):
                return seen
            assert time.monotonic() < end, f"{seen}\n{self.logs()}"

    def kernel_write(self, block: int, letter: bytes, count: int = 1) -> None:
        self.run(
            "dd", "of=/dev/drbd0", "bs=4k", f"seek={block}", f"count={count}", "oflag=direct",
            "iflag=fullblock", "status=none", stdin=letter * (BLOCK * count),
        )  # fmt: skip

    # -- the engine's side

    def spec(self, **over: Any) -> wire.ResourceSpec:
        volume = wire.VolumeSpec(number=0, size_bytes=0, minor=1000, backing=str(self.engine_disk))
        peer = wire.PeerSpec(node_id=KERNEL_ID, name="node1", address=data_address(NODE), port=PORT)
        fields: dict[str, Any] = {
            "name": NAME,
            "uuid": "u1",
            "volumes": (volume,),
            "node_id": ENGINE_ID,
            "node_name": "engine",
            "address": ENGINE_ADDRESS,
            "port": PORT,
            "peers": (peer,),
            "options": {**self.net, "protocol": self.protocol},
            "shared_secret": SECRET,
            **over,
        }
        return wire.ResourceSpec(**fields)

    def make_engine_disk(self, *, version: str = "", initial_uuid: str | None = None) -> None:
        """Fresh metadata with one bitmap slot, in the kernel's own version unless another is named."""
        with self.engine_disk.open("wb") as out:
            out.truncate(self.engine_mib * MIB)
        request = wire.CreateMd(
            backing=str(self.engine_disk),
            max_peers=self.max_peers,
            node_id=ENGINE_ID,
            initial_uuid=initial_uuid,
            version=version or self.flavour.metadata,
        )
        self.engine.control.must(request)

    def configure(self) -> None:
        self.engine.control.must(wire.Configure(resource=self.spec()))

    def engine_until(self, condition: Callable[[dict[str, Any]], bool], timeout_s: float = _LIMIT_S) -> None:
        try:
            self.engine.until(NAME, condition, timeout_s)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.logs()}") from error

    def client(self) -> NbdClient:
        return NbdClient(self.engine.nbd, NAME, timeout_s=_LIMIT_S)

    def engine_write(self, block: int, letter: bytes, count: int = 1) -> None:
        with self.client() as client:
            client.write(block * BLOCK, letter * (BLOCK * count))
            client.flush()

    # -- both

    def both_healthy(self, timeout_s: float = _LIMIT_S) -> None:
        """Connected, UpToDate and in sync, in the eyes of both."""
        self.engine_until(healthy, timeout_s)
        self.kernel_until(whole, timeout_s)

    @property
    def size_bytes(self) -> int:
        return layout.internal(self.engine_mib * MIB, layout.Geometry(max_peers=self.max_peers)).usable_bytes

    def same_bytes(self) -> None:
        """Both backings hold the same data, byte by byte. Only when nothing is being written."""
        with self.engine_disk.open("rb") as one, self.kernel_disk.open("rb") as other:
            ours, theirs = one.read(self.size_bytes), other.read(self.size_bytes)
        if ours != theirs:
            wrong = [
                n for n in range(0, self.size_bytes, BLOCK) if ours[n : n + BLOCK] != theirs[n : n + BLOCK]
            ]
            raise AssertionError(f"{len(wrong)} blocks differ, the first at {wrong[0]}\n{self.logs()}")

    def part(self) -> None:
        """Cut the network between the two, silently."""
        self.lab.network.partition(NODE)

    def heal(self) -> None:
        self.lab.network.heal(NODE)

    def stop(self) -> None:
        """End both; the node keeps running."""
        self.heal()
        self.engine.kill()
        for node in self.lab.nodes:
            self.lab.try_exec(node, "drbdadm", "down", NAME)
            self.lab.try_exec(node, "rm", "-f", f"/etc/drbd.d/{NAME}.res")

    def logs(self) -> str:
        kernel = self.lab.try_exec(NODE, "dmesg").stdout.splitlines()
        lines = [line for line in kernel if "drbd" in line and "lab_" not in line]
        return "\n".join(["== kernel", *lines[-60:], "== engine", self.engine.log()[-5000:]])


def healthy(state: dict[str, Any]) -> bool:
    """The engine's view: connected, UpToDate and in sync."""
    link = state["connections"][0]
    one = link["peer_devices"][0]
    return bool(
        state["devices"][0]["disk-state"] == "UpToDate"
        and link["connection-state"] == "Connected"
        and (one["replication-state"], one["peer-disk-state"]) == ("Established", "UpToDate")
        and one["out-of-sync"] == 0
    )


def whole(seen: Seen) -> bool:
    """The kernel's view: the same."""
    return (seen.replication, seen.disk, seen.peer_disk, seen.out_of_sync_kib) == (
        "Established",
        "UpToDate",
        "UpToDate",
        0,
    )


def connection(state: dict[str, Any]) -> str:
    return str(state["connections"][0]["connection-state"])


_LINE = re.compile(r"\s*0: cs:(\w+)(?: ro:(\w+)/\w+ ds:(\w+)/(\w+))?")
_OOS = re.compile(r"oos:(\d+)")
_BELOW = {"WFConnection": "Connecting", "Unconnected": "Unconnected", "StandAlone": "StandAlone"}


def _from_proc(text: str) -> Seen:
    line = next((match for match in map(_LINE.match, text.splitlines()) if match), None)
    if line is None or line[2] is None:
        return Seen("StandAlone", "Off", "Unknown", "Diskless", "DUnknown", 0)
    cs = line[1]
    found = _OOS.search(text)
    below = cs in _BELOW or cs.endswith(("Failure", "Error", "Pipe", "Down", "Timeout", "ing", "Params"))
    return Seen(
        _BELOW.get(cs, cs) if below else "Connected",
        "Off" if below else {"Connected": "Established"}.get(cs, cs),
        line[2],
        line[3],
        line[4],
        int(found[1]) if found else 0,
    )


def _from_json(text: str) -> Seen:
    (state,) = msgspec.json.decode(text)
    link = state["connections"][0] if state["connections"] else None
    if link is None:
        return Seen("StandAlone", "Off", state["role"], state["devices"][0]["disk-state"], "DUnknown", 0)
    one = link["peer_devices"][0]
    return Seen(
        link["connection-state"],
        one["replication-state"],
        state["role"],
        state["devices"][0]["disk-state"],
        one["peer-disk-state"],
        one["out-of-sync"],
    )


def no_helpers(lab: Lab, node: int = NODE) -> None:
    """The kernel starts no programs of its own when something happens."""
    lab.exec(node, "tee", "/sys/module/drbd/parameters/usermode_helper", stdin=b"disabled")


def fill(pair: Pair, blocks: range, letter: bytes) -> None:
    """Write blocks one by one through the engine."""
    with pair.client() as client:
        for block in blocks:
            client.write(block * BLOCK, letter * BLOCK)
        client.flush()
