"""What the lab's tests share: why there is no lab here, and resources by few words."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bollard.lab.cluster import Kernel, Lab, find_kernel
from bollard.lab.programs import LabError, need
from bollard.lab.satellites import LabCluster


def lacking(*programs: str, kernel: Callable[[], Kernel] = find_kernel) -> str:
    """Why the lab cannot run here; empty when it can."""
    if os.geteuid() != 0:
        return "the lab needs root"
    try:
        kernel()
        need("ip", "bridge", "nft", "mkfs.ext4", *programs)
    except LabError as error:
        return str(error)
    return ""


@contextmanager
def cluster(
    root: Path,
    *,
    nodes: int,
    disks: int,
    disk_mib: int,
    load: tuple[str, ...],
    kind: type[Lab] = Lab,
    satellites: type[LabCluster] = LabCluster,
    memory_mib: int = 384,
) -> Iterator[LabCluster]:
    """A lab with satellites and a controller, gone at the end."""
    name = f"c{os.getpid() % 10**6}"
    with kind(
        root / "lab", name=name, nodes=nodes, disks=disks, disk_mib=disk_mib, memory_mib=memory_mib, load=load
    ) as lab:
        lab.boot()
        found = satellites(lab, root)
        try:
            found.start()
            yield found
        finally:
            found.stop()
    shutil.rmtree(root / "lab", ignore_errors=True)


def pool(cluster: LabCluster, node: int, name: str, provider: str, on: str) -> None:
    """Register a storage pool."""
    body = {"storage_pool_name": name, "provider_kind": provider, "props": {"StorDriver/StorPoolName": on}}
    cluster.call("POST", f"/v1/nodes/node{node}/storage-pools", body)


def define(cluster: LabCluster, name: str, *layers: str, sizes: tuple[int, ...] = (20480,)) -> None:
    """A resource definition with volumes of these sizes in KiB."""
    definition = {"name": name, "layer_data": [{"type": layer} for layer in layers]}
    cluster.call("POST", "/v1/resource-definitions", {"resource_definition": definition})
    for size_kib in sizes:
        volume = {"volume_definition": {"size_kib": size_kib}}
        cluster.call("POST", f"/v1/resource-definitions/{name}/volume-definitions", volume)


def place(cluster: LabCluster, name: str, node: int, pool: str) -> None:
    """A replica on a node; it waits for what the API waits for."""
    body = {"resource": {"props": {"StorPoolName": pool}}}
    cluster.call("POST", f"/v1/resource-definitions/{name}/resources/node{node}", body)


def resource(cluster: LabCluster, name: str, node: int) -> dict[str, Any] | None:
    """The view of a replica."""
    for found in cluster.call("GET", f"/v1/view/resources?resources={name}"):
        if (found["name"], found["node_name"]) == (name, f"node{node}"):
            view: dict[str, Any] = found
            return view
    return None


def volume(cluster: LabCluster, name: str, node: int, number: int = 0) -> dict[str, Any]:
    """The view of a volume; empty while there is none."""
    found = resource(cluster, name, node)
    volumes = found.get("volumes", []) if found is not None else []
    return next((one for one in volumes if one["volume_number"] == number), {})


def state(cluster: LabCluster, name: str, node: int, number: int = 0) -> str:
    """DRBD's word for a volume's disk; `Created` without replication, empty when not known."""
    return str(volume(cluster, name, node, number).get("state", {}).get("disk_state", ""))


def wait_ready(cluster: LabCluster, name: str, *nodes: int, limit_s: float = 300.0) -> None:
    """Until the replicas have all their data and nothing is left to do."""

    def ready() -> bool:
        views = [resource(cluster, name, node) for node in nodes]
        return all(
            view is not None
            and view.get("observed", {}).get("current")
            and view["observed"].get("settled")
            and all(
                one.get("state", {}).get("disk_state") in {"UpToDate", "Created"} for one in view["volumes"]
            )
            for view in views
        )

    cluster.until(ready, f"{name} to be ready", limit_s)


def logical_volumes(cluster: LabCluster, node: int) -> dict[str, int]:
    """Names and sizes in MiB of a node's logical volumes, thin pools left out."""
    text = cluster.lab.exec(
        node, "lvs", "--noheadings", "--nosuffix", "--units", "m", "-o", "lv_name,lv_size,lv_attr"
    )
    rows = (line.split() for line in text.splitlines() if line.strip())
    return {name: int(float(size)) for name, size, attr in rows if not attr.startswith("t")}


def take_snapshot(cluster: LabCluster, name: str, snapshot: str) -> None:
    """Of a resource; returns when it is there, however long that takes."""
    path = f"/v1/resource-definitions/{name}/snapshots"
    cluster.call("POST", path, {"name": snapshot})

    def there() -> bool:
        return "SUCCESSFUL" in cluster.call("GET", f"{path}/{snapshot}").get("flags", [])

    cluster.until(there, f"snapshot {snapshot} of {name}")


def problem(cluster: LabCluster, name: str, node: int) -> str:
    """What stands in the way of a replica, in the satellite's words; empty when nothing does."""
    found = resource(cluster, name, node)
    said = found.get("observed", {}).get("problem") if found is not None else None
    return str(said) if said else ""


def wait_problem(cluster: LabCluster, name: str, node: int, words: str) -> None:
    """Until the node says so of its replica."""
    cluster.until(lambda: words in problem(cluster, name, node), f"'{words}' of {name} on node{node}")


def delete(cluster: LabCluster, name: str) -> None:
    """The definition with all its replicas."""
    cluster.call("DELETE", f"/v1/resource-definitions/{name}")
