"""Real satellites in lab nodes, steered from here as a controller does."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

from bollard.domain.ids import NodeName, Uuid
from bollard.domain.layers import ProviderKind
from bollard.domain.resources import Tombstone
from bollard.domain.seen import SeenResource
from bollard.domain.targets import Target, TargetPool, TargetResource
from bollard.lab.cluster import Lab, LabError, socket_in
from bollard.lab.network import control_address
from bollard.runtime.channel import SocketChannel
from bollard.wire.link import Welcome
from satellite_process import CLUSTER, FakeController

PORT = 3366
GROUP = "pool0"
POOL = TargetPool("pool", Uuid("pool-uuid"), ProviderKind.LVM, {"StorDriver/StorPoolName": GROUP})
_MAIN = "from bollard.satellite.app import main; main()"
_PID = "/run/bollard-satellite.pid"
_LOG = "/var/log/bollard-satellite.log"


class LabSatellites:
    """The satellites of a lab's nodes; targets are sent whole."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.controllers: dict[int, FakeController] = {}
        self.resources: dict[int, dict[str, TargetResource]] = {node: {} for node in lab.nodes}
        self.stones: dict[int, list[Tombstone]] = {node: [] for node in lab.nodes}
        self.revision = 0

    async def start(self, *nodes: int) -> None:
        """Start it in the node and link to it. The pool's volume group is made on the first disk."""
        for node in nodes:
            if await self._try_link(node):
                continue
            if (await self.run(node, "vgs", GROUP, check=False)).code:
                await self.run(node, "vgcreate", "-q", GROUP, "/dev/ubdb")
            words = f'echo $$ > {_PID}; exec "{sys.executable}" -c "{_MAIN}" --node-name node{node} '
            words += f"--bind {control_address(node)} --port {PORT} --insecure-plain "
            words += "--state-dir /var/lib/bollard/satellite"
            self.lab.try_exec(node, "sh", "-c", f"{words} >>{_LOG} 2>&1", background=True)
        for node in nodes:
            async with asyncio.timeout(300):
                while node not in self.controllers and not await self._try_link(node):  # noqa: ASYNC110
                    await asyncio.sleep(0.1)

    async def stop(self, node: int) -> None:
        """End the satellite alone; what it runs goes on."""
        self.controllers.pop(node).close()
        # An ended process of the agent's stays as a zombie.
        runs = "grep -qs '^State:.[^Z]' /proc/$pid/status"
        script = f"pid=$(cat {_PID}); kill $pid; while {runs}; do sleep 0.1; done"
        await self.run(node, "sh", "-c", script)

    async def lose(self, node: int) -> None:
        """Cut the node's power."""
        if node in self.controllers:
            self.controllers.pop(node).close()
        await asyncio.to_thread(self.lab.kill, node)

    async def boot(self, node: int) -> None:
        """Power again, and its satellite."""
        await asyncio.to_thread(self.lab.boot, node)
        await self.start(node)

    async def send(self, *nodes: int) -> None:
        """What each of these nodes should hold, as of now."""
        self.revision += 1
        for node in nodes or tuple(self.controllers):
            wanted = tuple(self.resources[node].values())
            target = Target(
                NodeName(f"node{node}"),
                Uuid(CLUSTER),
                self.revision,
                (POOL,),
                wanted,
                tuple(self.stones[node]),
            )
            await self.controllers[node].send(target)

    def seen(self, node: int, name: str) -> SeenResource | None:
        """The newest report."""
        return self.controllers[node].observed.resource(name, f"node{node}")

    async def until(
        self, name: str, holds: Callable[[SeenResource], bool], *nodes: int, limit_s: float = 300.0
    ) -> None:
        """These nodes report it so."""
        for node in nodes:

            def there(_: FakeController, node: int = node) -> bool:
                seen = self.seen(node, name)
                return seen is not None and holds(seen)

            try:
                await self.controllers[node].until(there, limit_s)
            except TimeoutError:
                log = (await self.run(node, "tail", "-n", "30", _LOG)).stdout
                others = "\n".join(
                    f"node{other}: {self.seen(other, name)}" for other in self.controllers if other != node
                )
                raise AssertionError(f"node{node}: {self.seen(node, name)}\n{others}\n{log}") from None

    async def gone(self, uuid: str, *nodes: int) -> None:
        """These nodes report the tombstone carried out."""
        for node in nodes:
            await self.controllers[node].until(lambda one: uuid in one.removed, 300.0)

    async def log(self, node: int) -> str:
        """What the satellite said since its node was made."""
        return (await self.run(node, "cat", _LOG)).stdout

    async def run(self, node: int, *argv: str, check: bool = True, stdin: bytes = b"") -> Any:
        """A command in the node."""
        done = await asyncio.to_thread(self.lab.try_exec, node, *argv, stdin=stdin)
        assert not check or done.code == 0, (node, argv, done)
        return done

    async def _try_link(self, node: int) -> bool:
        """Whether the satellite is there and takes us for its controller."""
        with contextlib.suppress(OSError, LabError):
            reader, writer = await self._connect(node)
            controller = FakeController(SocketChannel(reader, writer), f"node{node}")
            answer = await controller.greet()
            assert isinstance(answer, Welcome), answer
            self.controllers[node] = controller
            return True
        return False

    async def _connect(self, node: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        sock = await asyncio.to_thread(socket_in, self.lab.network.namespace)
        sock.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(sock, (control_address(node), PORT))
        except OSError:
            sock.close()
            raise
        return await asyncio.open_connection(sock=sock)


@contextlib.asynccontextmanager
async def satellites_of(lab: Lab) -> AsyncIterator[LabSatellites]:
    """Links are dropped at the end; the nodes are the caller's."""
    satellites = LabSatellites(lab)
    try:
        yield satellites
    finally:
        for controller in satellites.controllers.values():
            controller.close()
