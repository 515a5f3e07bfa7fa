"""Long lists of the API with 100 to 10 000 resources, and small reads: [--resources 100,1000,10000].

In-process, without a network but where HTTP is named: the controller's own time, the best of some runs.
"""

import argparse
import asyncio
import pathlib
import sys
import time
from collections.abc import Awaitable, Callable

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "tests"))

import msgspec
from rich.console import Console
from rich.table import Table

from bollard.controller.serving import Serving, bind
from bollard.domain.cluster import Record
from bollard.domain.ids import GroupName, NodeName, ResourceName, Uuid, key_of
from bollard.domain.layers import DEFAULT_STACK, ProviderKind
from bollard.domain.nodes import Node, StoragePool
from bollard.domain.observed import NodeSeen
from bollard.domain.resources import (
    Resource,
    ResourceDefinition,
    ResourceGroup,
    VolumeDefinition,
    VolumeOnNode,
)
from bollard.domain.seen import SeenPeer, SeenPeerVolume, SeenResource, SeenVolume
from rest_driver import NOW_MS, Driver, FakeService

NODES = 10
REPLICAS = 3
GIB_KIB = 1 << 20


def filled(resources: int) -> Driver:
    """An application whose cluster has so many resources, three of each definition."""
    records: list[Record] = [ResourceGroup(GroupName("DfltRscGrp"), Uuid("g"))]
    seen: list[dict[str, SeenResource]] = [{} for _ in range(NODES)]
    names = [NodeName(f"node{number}") for number in range(NODES)]
    for number, name in enumerate(names):
        records.append(Node(name, Uuid(f"n{number}")))
        records.append(StoragePool(name, "pthin", Uuid(f"p{number}"), ProviderKind.FILE_THIN))
    for number in range(resources // REPLICAS):
        name = ResourceName(f"res{number:06d}")
        volume = VolumeDefinition(0, Uuid(f"v{number}"), GIB_KIB, minor=1000 + number)
        definition = ResourceDefinition(
            name, Uuid(f"d{number}"), GroupName("DfltRscGrp"), layer_stack=DEFAULT_STACK, volumes=(volume,)
        )
        records.append(definition)
        places = [(number + index) % NODES for index in range(REPLICAS)]
        for index, place in enumerate(places):
            records.append(
                Resource(
                    name,
                    names[place],
                    Uuid(f"r{number}-{index}"),
                    volumes=(VolumeOnNode(0, Uuid(f"w{number}-{index}"), "pthin"),),
                    drbd_node_id=index,
                    tcp_ports=(7000 + number % 1000,),
                    create_timestamp_ms=NOW_MS,
                )
            )
            state = SeenVolume(0, f"/dev/drbd{1000 + number}", "/x", GIB_KIB, 100, "UpToDate")
            line = (SeenPeerVolume(0, "Established", "UpToDate"),)
            peers = tuple(SeenPeer(names[it], "Connected", "Secondary", line) for it in places if it != place)
            seen[place][key_of(name)] = SeenResource(
                name, Uuid("r"), settled=True, may_promote=True, volumes=(state,), peers=peers
            )
    service = FakeService(records)
    for name, found in zip(names, seen, strict=True):
        service.observed.nodes[key_of(name)] = NodeSeen(status="ONLINE", resources=found, heard_ms=NOW_MS)
    return Driver(service)


async def after_a_report(driver: Driver, headers: dict[str, str]) -> None:
    """The view after one node has said something new of one resource."""
    tell_news(driver)
    await driver.ask("GET", "/v1/view/resources", headers=headers)


def tell_news(driver: Driver) -> None:
    """One node reports one resource."""
    observed = driver.service.observed
    node = observed.nodes[key_of("node3")]
    key = sorted(node.resources)[len(node.resources) // 2]
    node.resources[key] = msgspec.structs.replace(node.resources[key])
    observed.changes += 1


async def timed_ms(work: Callable[[], Awaitable[object]], repeat: int = 5) -> float:
    """The best of some runs."""
    best = float("inf")
    for _ in range(repeat):
        begin = time.perf_counter()
        await work()
        best = min(best, (time.perf_counter() - begin) * 1000)
    return best


async def lists(table: Table, count: int) -> None:
    """The rows about long lists."""
    driver = filled(count)
    gzip = {"accept-encoding": "gzip"}
    view = "/v1/view/resources"
    rows = (
        ("view, first time", 1, lambda: driver.ask("GET", view)),
        ("view, nothing new", 5, lambda: driver.ask("GET", view)),
        ("view, first time gzip", 1, lambda: driver.ask("GET", view, headers=gzip)),
        ("view, nothing new, gzip", 5, lambda: driver.ask("GET", view, headers=gzip)),
        ("view, one resource is new", 5, lambda: after_a_report(driver, {})),
        ("view, one resource is new, gzip", 5, lambda: after_a_report(driver, gzip)),
        ("view, 100 of it", 5, lambda: driver.ask("GET", view + "?limit=100&offset=50")),
        ("definitions", 5, lambda: driver.ask("GET", "/v1/resource-definitions")),
        ("one resource", 20, lambda: driver.ask("GET", "/v1/resource-definitions/res000001/resources/node1")),
        ("metrics", 3, lambda: driver.ask("GET", "/metrics")),
    )
    for about, repeat, work in rows:
        table.add_row(f"{count} resources", about, f"{await timed_ms(work, repeat):.1f}")


async def over_http(table: Table, count: int) -> None:
    """The rows about the list over a real connection, in this process."""
    driver, serving = filled(count), Serving()
    sock = bind("127.0.0.1", 0)
    await serving.start(driver.app, sock)
    reader, writer = await asyncio.open_connection("127.0.0.1", sock.getsockname()[1], limit=1 << 26)

    async def get(more: str) -> None:
        writer.write(f"GET /v1/view/resources HTTP/1.1\r\nHost: bench\r\n{more}\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        await reader.readexactly(int(lengths[0].partition(b":")[2]) if lengths else 0)

    async def after_news(more: str) -> None:
        tell_news(driver)
        await get(more)

    gzip = "Accept-Encoding: gzip\r\n"
    rows = (
        ("over HTTP, first time, gzip", 1, lambda: get(gzip)),
        ("over HTTP, nothing new, gzip", 5, lambda: get(gzip)),
        ("over HTTP, one resource is new, gzip", 5, lambda: after_news(gzip)),
        ("over HTTP, first time", 1, lambda: get("")),
        ("over HTTP, nothing new", 5, lambda: get("")),
        ("over HTTP, one resource is new", 5, lambda: after_news("")),
    )
    for about, repeat, work in rows:
        table.add_row(f"{count} resources", about, f"{await timed_ms(work, repeat):.1f}")
    writer.close()
    await serving.stop()


async def main(arguments: list[str]) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--resources", default="100,1000,10000")
    options = parser.parse_args(arguments)
    table = Table("with", "what", "ms")
    table.columns[-1].justify = "right"
    for count in options.resources.split(","):
        await lists(table, int(count))
        await over_http(table, int(count))
    Console().print(table)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
