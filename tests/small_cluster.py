"""A small cluster of real processes for end-to-end tests: the demo's servers, view, pattern and ledger."""

import io
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from random import Random
from typing import NoReturn

from bollard.cli.demo.cluster import ClusterView
from bollard.cli.demo.pattern import BLOCK_BYTES, Ledger
from bollard.cli.demo.processes import Servers
from bollard.cli.demo.run import is_settled
from bollard.cli.demo.writer import fill, read_back, rewrite
from bollard.cli.main import run
from bollard.client.nbd import NbdClient

NODES = ("alpha", "beta", "gamma")
RESOURCE = "vol"
SEED = 5
SETTLE_S = 60.0


class SmallCluster:
    """Three nodes, one replicated volume with a tiebreaker, and the ledger of what was written."""

    def __init__(self, root: Path, size_mib: int = 8) -> None:
        self.size_mib = size_mib
        self.servers = Servers(root, NODES)
        self.view = ClusterView(self.servers.controller_url, RESOURCE)
        self.ledger = Ledger((size_mib << 20) // BLOCK_BYTES)
        self.primary = self.survivor = self.witness = ""

    def bollard(self, *words: str) -> int:
        """One command line; returns its exit code."""
        with redirect_stdout(io.StringIO()):
            return run(["--disable-config", "--controllers", self.servers.controller_url, *words])

    def start(self) -> None:
        """Controller, nodes, pools."""
        self.servers.start_controller()
        for name in NODES:
            self.servers.start_node(name)
        for name, node in self.servers.nodes.items():
            assert self.bollard("node", "create", name, node.address) == 0
            assert self.bollard("storage-pool", "create", "filethin", name, "pool", str(node.pool_dir)) == 0

    def spawn(self) -> None:
        """Two replicas and a tiebreaker, settled."""
        assert self.bollard("resource-group", "create", "grp", "--place-count", "2") == 0
        assert self.bollard("volume-group", "create", "grp") == 0
        assert self.bollard("resource-group", "spawn", "grp", RESOURCE, f"{self.size_mib}M") == 0
        self.settle()
        flags = {name: item.get("flags", ()) for name, item in self.view.resources().items()}
        self.witness = next(name for name, words in flags.items() if "TIE_BREAKER" in words)
        self.primary, self.survivor = sorted(name for name in flags if name != self.witness)

    def settle(self) -> None:
        """Until everything is up to date and connected."""
        self.view.wait("a settled cluster", SETTLE_S, is_settled)

    def open(self, node: str) -> NbdClient:
        """The volume on a node, for writing."""
        return self.view.open(node, 20.0)

    def open_once(self, address: str, export: str) -> None:
        """Open and close; raises what the refusal is."""
        NbdClient(address, export).close()

    def fill(self, client: NbdClient) -> None:
        """Write every block once."""
        fill(client, self.ledger, SEED, lambda _blocks: None)

    def fill_for_ever(self, client: NbdClient) -> NoReturn:
        """Write every block again and again, until the connection breaks."""
        while True:
            self.fill(client)

    def rewrite(self, client: NbdClient, blocks: int, seed: int) -> None:
        """Write some blocks again."""
        numbers = Random(seed).sample(range(self.ledger.blocks), blocks)
        rewrite(client, self.ledger, SEED, numbers)

    def check(self, client: NbdClient) -> None:
        """Every acknowledged write is there."""
        read_back(client, self.ledger, SEED, lambda _blocks: None)

    def check_everywhere(self) -> None:
        """When all is settled: each replica serves what was written."""
        self.settle()
        for node in (self.primary, self.survivor):
            with self.open(node) as client:
                self.check(client)


@contextmanager
def small_cluster(root: Path) -> Iterator[SmallCluster]:
    """A cluster with its volume; ended whatever happens."""
    cluster = SmallCluster(root)
    try:
        cluster.start()
        cluster.spawn()
        yield cluster
    finally:
        cluster.servers.stop()
