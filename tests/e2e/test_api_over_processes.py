"""A controller and three satellites as programs, asked over HTTP: replicated volumes come, grow and go."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from http_driver import HttpDriver
from satellite_process import free_port

NODES = ("n1", "n2", "n3")
LIMIT_S = 120.0
"""For what takes a second: other programs may have the machine."""


class Town:
    """The programs, and calls to them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.programs: list[subprocess.Popen[bytes]] = []
        self.ports = {name: free_port() for name in NODES}
        # Nodes have addresses of their own, so that replication may use the same ports on each.
        net = os.getpid() % 60_000
        self.addresses = {
            name: f"127.{1 + net // 250}.{1 + net % 250}.{number}" for number, name in enumerate(NODES, 11)
        }

    def start(self, name: str, *argv: str) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self.programs.append(subprocess.Popen([sys.executable, *argv], stdout=log, stderr=log))

    async def begin(self) -> None:
        for name in NODES:
            (self.folder / "pools" / name).mkdir(parents=True)
            main = ("-c", "from bollard.satellite.app import main; main()", "--node-name", name)
            where = ("--bind", self.addresses[name], "--port", str(self.ports[name]))
            self.start(name, *main, *where, "--state-dir", str(self.folder / name))
        port = free_port()
        state = ("--state-dir", str(self.folder / "controller"))
        self.start("controller", "-m", "bollard.controller.app", *state, "--rest-bind", f"127.0.0.1:{port}")
        self.driver = HttpDriver.to(port)
        async with asyncio.timeout(LIMIT_S):
            while True:
                with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                    await self.driver.ask("GET", "/v1/nodes")
                    return
                await asyncio.sleep(0.1)

    async def end(self) -> None:
        await self.driver.hang_up()
        for program in reversed(self.programs):
            program.terminate()
        for program in self.programs:
            program.wait(60)
        for name in NODES:
            with contextlib.suppress(OSError, ValueError):
                os.kill(int((self.folder / name / "replica" / "lock").read_text()), signal.SIGTERM)

    async def ask(self, method: str, path: str, body: Any = None) -> Any:
        """The body of an answer that is no refusal."""
        reply = await self.driver.ask(method, path, body)
        assert reply.status < 400, (method, path, reply.content, self.logs())
        return reply.json

    async def until(self, path: str, holds: Callable[[Any], bool]) -> None:
        found = None
        try:
            async with asyncio.timeout(LIMIT_S):
                while True:
                    found = (await self.driver.ask("GET", path)).json
                    if holds(found):
                        return
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise AssertionError((path, found, self.logs())) from None

    def logs(self) -> dict[str, str]:
        return {one.stem: one.read_text()[-1500:] for one in sorted(self.folder.glob("**/*.log"))}


@asynccontextmanager
async def town(folder: Path) -> AsyncIterator[Town]:
    made = Town(folder)
    try:
        await made.begin()
        yield made
    finally:
        await made.end()


def complete(volumes: set[int]) -> Callable[[Any], bool]:
    """Two disks and a vote, connected with each other, with these volumes and nothing in doubt."""

    def holds(resources: Any) -> bool:
        states = [
            (volume["volume_number"], volume.get("state", {}).get("disk_state"))
            for one in resources
            for volume in one.get("volumes", ())
        ]
        links = [
            link["connected"]
            for one in resources
            for link in one["layer_object"]["drbd"].get("connections", {}).values()
        ]
        wanted = [(number, state) for number in volumes for state in ("Diskless", "UpToDate", "UpToDate")]
        return sorted(states) == sorted(wanted) and links == [True] * 6

    return holds


def test_volumes_come_grow_and_go_on_three_nodes(tmp_path: Path) -> None:
    async def story() -> None:
        async with town(tmp_path) as made:
            for name in NODES:
                net_if = {"name": "default", "address": made.addresses[name]}
                net_if |= {"satellite_port": made.ports[name], "satellite_encryption_type": "PLAIN"}
                node = {"name": name, "type": "SATELLITE", "net_interfaces": [net_if]}
                await made.ask("POST", "/v1/nodes", node)
                props = {"StorDriver/FileDir": str(tmp_path / "pools" / name)}
                pool = {"storage_pool_name": "thin", "provider_kind": "FILE_THIN", "props": props}
                await made.ask("POST", f"/v1/nodes/{name}/storage-pools", pool)
                await made.until(f"/v1/nodes/{name}", lambda shown: shown["connection_status"] == "ONLINE")
            config = await made.ask("GET", "/v1/nodes/n2/config")
            assert config["net"]["bind_address"] == made.addresses["n2"]
            assert config["log"]["level"] == "INFO"

            path, view = "/v1/resource-definitions/r1", "/v1/view/resources"
            await made.ask("POST", "/v1/resource-definitions", {"resource_definition": {"name": "r1"}})
            await made.ask("POST", f"{path}/volume-definitions", {"volume_definition": {"size_kib": 8192}})
            await made.ask("POST", f"{path}/autoplace", {"select_filter": {"place_count": 2}})
            await made.until(view, complete({0}))
            await made.ask("POST", f"{path}/volume-definitions", {"volume_definition": {"size_kib": 4096}})
            await made.until(view, complete({0, 1}))
            await made.ask("PUT", f"{path}/volume-definitions/0", {"size_kib": 16384})
            await made.until(f"{path}/volume-definitions/0", lambda shown: "RESIZE" not in shown["flags"])
            shown = await made.ask("GET", f"{path}/volume-definitions/0")
            assert (shown["size_kib"], shown["flags"]) == (16384, ["DRBD_INITIALIZED"])
            assert shown["props"]["DrbdOptions/Disk/block-size"] == "512"
            await made.ask("DELETE", f"{path}/volume-definitions/1")
            await made.until(view, complete({0}))
            await made.ask("DELETE", path)
            await made.until(view, lambda resources: resources == [])

    asyncio.run(story())
