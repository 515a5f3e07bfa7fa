"""Durable creates per second through the REST API of a controller process over SQLite, by number of clients.

Each client keeps its connection and waits for its answer before the next call; all are in this process.
"""

import asyncio
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CLIENTS = (1, 8, 32)
SECONDS = 3.0
ROUNDS = 3


class Client:
    """A connection that stays open."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def open(self) -> None:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)

    async def post(self, path: str, body: str) -> int:
        """The status of the answer."""
        head = f"POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
        head += f"Content-Length: {len(body)}\r\n\r\n"
        self._writer.write(head.encode() + body.encode())
        answer = await self._reader.readuntil(b"\r\n\r\n")
        for line in answer.split(b"\r\n"):
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                await self._reader.readexactly(int(value))
        return int(answer.split(b" ", 2)[1])

    def close(self) -> None:
        self._writer.close()


async def rate(port: int, clients: int, label: str) -> tuple[float, float]:
    """Creates per second, and the 99th percentile of their latency in ms."""
    latencies: list[float] = []
    started = time.perf_counter()

    async def loop(number: int) -> None:
        client = Client(port)
        await client.open()
        count = 0
        while time.perf_counter() < started + SECONDS:
            count += 1
            body = f'{{"resource_definition":{{"name":"{label}-{number}-{count}"}}}}'
            before = time.perf_counter()
            status = await client.post("/v1/resource-definitions", body)
            assert status == 201, status
            latencies.append(time.perf_counter() - before)
        client.close()

    await asyncio.gather(*(loop(number) for number in range(clients)))
    elapsed = time.perf_counter() - started
    return len(latencies) / elapsed, sorted(latencies)[int(len(latencies) * 0.99)] * 1000


def main() -> None:
    """Print a table; medians of the rounds, a fresh controller for each."""
    print(f"durable creates of resource definitions over REST, median of {ROUNDS} rounds of {SECONDS:g} s")
    print(f"{'clients':>10}{'creates/s':>14}{'p99 ms':>10}")
    for clients in CLIENTS:
        rounds = sorted(_round(clients, number) for number in range(ROUNDS))
        creates, p99 = rounds[ROUNDS // 2]
        print(f"{clients:>10}{creates:14,.0f}{p99:10.1f}", flush=True)


def _round(clients: int, number: int) -> tuple[float, float]:
    with tempfile.TemporaryDirectory() as folder:
        argv = [sys.executable, "-m", "bollard.controller.app", "--state-dir", str(Path(folder) / "c")]
        process = subprocess.Popen([*argv, "--rest-bind", "127.0.0.1:0"], stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        try:
            for line in process.stderr:
                if "serving on" in line:
                    port = int(line.partition(" port ")[2].partition(",")[0])
                    break
            else:
                raise RuntimeError("the controller did not start")
            return asyncio.run(rate(port, clients, f"r{number}"))
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=60)


if __name__ == "__main__":
    main()
