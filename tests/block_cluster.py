"""A small cluster of real processes whose volumes are block devices of this machine; nothing stays behind."""

import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bollard.cli.demo.processes import Servers
from bollard.client.rest import RestClient, path_of
from bollard.satellite.host import loop_devices

NODES = ("alpha", "beta", "gamma")
PATIENCE_S = 120.0


def lacking() -> str:
    """Why there can be no such devices here; empty when there can."""
    reason = loop_devices.lacking()
    return reason or ("" if Path("/dev/fuse").exists() else "the kernel has no FUSE")


def run(*argv: str | Path) -> "subprocess.CompletedProcess[str]":
    """A command; what it said is in the result."""
    return subprocess.run([str(word) for word in argv], capture_output=True, text=True, check=False)


def must(*argv: str | Path) -> str:
    """A command that has to work; what it said."""
    done = run(*argv)
    assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
    return done.stdout


class BlockCluster:
    """A controller and three nodes with a pool each."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.servers = Servers(root, NODES, attach=True)
        self.rest = RestClient([self.servers.controller_url], timeout_s=60.0)

    def start(self) -> None:
        self.servers.start_controller()
        for name in NODES:
            self.servers.start_node(name)
        for name, node in self.servers.nodes.items():
            interface = {"name": "default", "address": node.address}
            interface |= {"satellite_port": 3366, "satellite_encryption_type": "Plain"}
            self.call("POST", "/v1/nodes", name=name, type="SATELLITE", net_interfaces=[interface])
            self.call(
                "POST",
                path_of("nodes", name, "storage-pools"),
                storage_pool_name="pool",
                provider_kind="FILE_THIN",
                props={"StorDriver/StorPoolName": str(node.pool_dir)},
            )

    def call(self, method: str, path: str, **body: Any) -> Any:
        """A call that has to work; its answer."""
        reply = self.rest.call(method, path, body=body or None)
        assert reply.ok, f"{method} {path}: {reply.status} {reply.body}"
        return reply.body

    def spawn(self, name: str, *nodes: str, size_mib: int = 64) -> None:
        """A volume with replicas on some nodes."""
        self.call("POST", "/v1/resource-definitions", resource_definition={"name": name})
        volumes = path_of("resource-definitions", name, "volume-definitions")
        self.call("POST", volumes, volume_definition={"size_kib": size_mib << 10})
        for node in nodes:
            resource = {"name": name, "node_name": node, "props": {"StorPoolName": "pool"}}
            path = path_of("resource-definitions", name, "resources", node)
            self.call("POST", path, resource=resource)

    def make_available(self, name: str, node: str) -> str:
        """As every client does before it uses a volume somewhere; the path to use it by."""
        path = path_of("resource-definitions", name, "resources", node, "make-available")
        self.call("POST", path, diskful=False)
        return self.device(name, node)

    def view(self, name: str, node: str) -> dict[str, Any]:
        found = self.call("GET", f"/v1/view/resources?resources={name}&nodes={node}")
        return found[0] if found else {}

    def device(self, name: str, node: str) -> str:
        """Its block device, once it has one."""
        return str(self.until(lambda: _block(self.view(name, node))))

    def until(self, found: Callable[[], Any]) -> Any:
        """Wait for something; it."""
        deadline_s = time.monotonic() + PATIENCE_S
        while not (result := found()):
            assert time.monotonic() < deadline_s, "it did not come to that"
            time.sleep(0.1)
        return result

    def until_free(self, name: str, node: str) -> None:
        """Until nobody uses it there."""
        self.until(lambda: not self.view(name, node).get("state", {}).get("in_use", True))

    def delete(self, path: str) -> None:
        """As clients do it: again, while a use that has just ended is still reported."""
        self.until(lambda: self.rest.call("DELETE", path).ok)

    def stop(self) -> None:
        self.servers.stop()
        for name in NODES:
            part = f"/.devices-{_mark(self.root / name / 'volumes')}/"
            for loop in loop_devices.found(part):
                run("umount", "-l", loop.path)
                loop_devices.forget(loop.path)
            run("umount", "-l", self.root / name / "volumes")


def _block(item: dict[str, Any]) -> str:
    volumes = item.get("volumes", [])
    path = str(volumes[0].get("device_path", "")) if volumes else ""
    return path if path.startswith("/dev/") else ""


def _mark(folder: Path) -> str:
    import hashlib

    return hashlib.blake2b(os.fsencode(folder), digest_size=6).hexdigest()


@contextlib.contextmanager
def block_cluster(root: Path) -> Iterator[BlockCluster]:
    """Ended whatever happens; its logs are printed."""
    cluster = BlockCluster(root)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
        for log in sorted(cluster.servers.logs.glob("*.log")):
            print(f"== {log.name}\n{log.read_text()[-6000:]}")  # noqa: T201  shown when a test fails


@contextlib.contextmanager
def mounted(device: str, where: Path, *options: str) -> Iterator[Path]:
    """A file system, for a while."""
    where.mkdir(exist_ok=True)
    must("mount", *options, device, where)
    try:
        yield where
    finally:
        must("umount", where)
