"""The town of the recordings behind a real port, for clients that are programs or libraries of others."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator

import uvicorn

from recorded import Town


class Server:
    """A controller with three instant satellites in a thread of its own."""

    def __init__(self, port: int) -> None:
        self.sock = socket.create_server(("127.0.0.1", port))
        # asyncio sets it on sockets that know their protocol only; answers take 40 ms without.
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.port = self.sock.getsockname()[1]
        self.ready = threading.Event()
        self.server: uvicorn.Server | None = None
        self.thread = threading.Thread(target=lambda: asyncio.run(self.run()), daemon=True)

    async def run(self) -> None:
        town = Town()
        driver = await town.start()
        self.server = uvicorn.Server(
            uvicorn.Config(driver.app, log_config=None, lifespan="off", ws="none", http="httptools")
        )
        serving = asyncio.ensure_future(self.server.serve(sockets=[self.sock]))
        self.ready.set()
        while not serving.done():
            await asyncio.sleep(0.01)
            await town.quiet()
        await serving


@contextlib.contextmanager
def served(port: int = 0) -> Iterator[int]:
    """The port of a controller that is ended afterwards; OSError when the wanted one is taken."""
    server = Server(port)
    server.thread.start()
    assert server.ready.wait(10)
    yield server.port
    assert server.server is not None
    server.server.should_exit = True
    server.thread.join(20)
