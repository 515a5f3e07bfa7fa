"""The five steps of the demo, and the summary. Any failed step is named, and its logs are kept."""

import argparse
import shlex
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from bollard.cli.demo.cluster import ClusterView
from bollard.cli.demo.mount import mount_check
from bollard.cli.demo.pattern import BLOCK_BYTES, Ledger, WrongBlock
from bollard.cli.demo.processes import DemoError, Servers
from bollard.cli.demo.writer import fill, keep_writing, read_back, rewrite
from bollard.cli.exits import Exit
from bollard.client.rest import ClientError

NODES = ("alpha", "beta", "gamma")
GROUP = "demo-group"
RESOURCE = "demo"
POOL = "thinpool"
_FAILOVER_LIMIT_S = 10.0
_SETTLE_LIMIT_S = 60.0
_RESYNC_LIMIT_S = 300.0
_KEEP_WRITING_S = 2.0
_CHANGED_BLOCKS = 1024
_POLL_S = 0.1
_SIZE_KIB_MIN = 4096


class Demo:
    """One run. `command` executes a command line of `bollard` and returns its exit code."""

    def __init__(self, options: argparse.Namespace, root: Path, command: Callable[[list[str]], int]) -> None:
        self.options = options
        self.servers = Servers(root, NODES)
        self.view = ClusterView(self.servers.controller_url, RESOURCE)
        self.console = Console(highlight=False, soft_wrap=True)
        self.ledger = Ledger(options.size * 1024 // BLOCK_BYTES)
        self.summary: list[tuple[str, str]] = []
        self.step = "start"
        self._command = command
        self._primary = self._survivor = ""

    def run(self) -> None:
        """All steps. Raises DemoError, WrongBlock, ClientError or OSError; `step` says where."""
        for name, work in (
            ("1. make a cluster and a replicated volume", self.create),
            ("2. write through NBD", self.write),
            ("3. kill the Primary's node, go on with the survivor", self.fail_over),
            ("4. bring the dead node back", self.rejoin),
            ("5. compare the replicas online", self.compare),
        ):
            self.step = name
            self.console.print(f"\n[bold]{name}[/bold]")
            work()
        if self.options.mount:
            self.step = "6. a file system on the volume"
            self.console.print(f"\n[bold]{self.step}[/bold]")
            self.note("file system", mount_check(self.view, self._survivor, self.servers.root))

    def bollard(self, text: str) -> None:
        """Run one command line, shown as a person would type it. Raises DemoError when it fails."""
        self.console.print(f"[dim]$ bollard {text}[/dim]", markup=True)
        words = ["--controllers", self.servers.controller_url, "--disable-config", *shlex.split(text)]
        code = self._command(words)
        if code != Exit.OK:
            raise DemoError(f"'bollard {text}' ended with code {code}")

    def note(self, what: str, value: str) -> None:
        """A line of the summary, shown at once."""
        self.summary.append((what, value))
        self.console.print(f"  {what}: {value}")

    def create(self) -> None:
        """Nodes, pools, a group, a spawned volume; its placement, with reasons, and the tiebreaker."""
        started_s = time.monotonic()
        self.servers.start_controller()
        for name, node in self.servers.nodes.items():
            self.servers.start_node(name)
            self.bollard(f"node create {name} {node.address}")
            self.bollard(f"storage-pool create filethin {name} {POOL} {node.pool_dir}")
        self.bollard(f"resource-group create {GROUP} --place-count 2 --storage-pool {POOL}")
        self.bollard(f"volume-group create {GROUP}")
        self.bollard(f"resource-group spawn {GROUP} {RESOURCE} {_size_word(self.options.size)} --explain")
        self.view.wait("two UpToDate replicas and a tiebreaker", _SETTLE_LIMIT_S, is_settled)
        self.bollard("resource list --all")
        found = self.view.resources()
        diskful = sorted(name for name, item in found.items() if "DISKLESS" not in item.get("flags", ()))
        witness = next(name for name, item in found.items() if "TIE_BREAKER" in item.get("flags", ()))
        self._primary, self._survivor = diskful
        self.note("cluster ready after", f"{time.monotonic() - started_s:.1f} s")
        self.note("replicas", f"{', '.join(diskful)}; tiebreaker added by itself on {witness}")

    def write(self) -> None:
        """Fill the volume on the Primary, then keep writing while the node is killed."""
        client = self.view.open(self._primary, _SETTLE_LIMIT_S)
        started_s = time.monotonic()
        with client, self.bar("writing", self.ledger.blocks) as advance:
            fill(client, self.ledger, self.options.seed, advance)
        took_s = time.monotonic() - started_s
        rate = self.options.size / 1024 / took_s
        self.note(
            "written", f"{self.options.size / 1024:.0f} MiB in {took_s:.1f} s ({rate:.0f} MiB/s, replicated)"
        )

    def fail_over(self) -> None:
        """SIGKILL in the middle of writes; promote the survivor; every acknowledged block must be there."""
        client = self.view.open(self._primary, _SETTLE_LIMIT_S)
        killer = threading.Timer(_KEEP_WRITING_S, self.servers.kill_node, (self._primary,))
        killer.start()
        before = self.ledger.writes_acknowledged
        try:
            with client:
                rng = Random(self.options.seed)  # noqa: S311  # a reproducible pattern, not a secret
                keep_writing(client, self.ledger, self.options.seed, rng, lambda: False)
        except OSError:
            killed_s = time.monotonic()
        killer.join()
        self.note(
            "killed", f"{self._primary}, {self.ledger.writes_acknowledged - before} more writes acknowledged"
        )
        with self.view.open(self._survivor, _FAILOVER_LIMIT_S) as survivor:
            survivor.read(0, BLOCK_BYTES)
            self.note("failover", f"{self._survivor} serves after {time.monotonic() - killed_s:.2f} s")
            with self.bar("reading back", self.ledger.blocks) as advance:
                blocks = read_back(survivor, self.ledger, self.options.seed, advance)
            self.note("acknowledged blocks lost", f"0 of {blocks}")
            changed = Random(self.options.seed + 1).sample(range(self.ledger.blocks), self._changed_blocks())  # noqa: S311
            rewrite(survivor, self.ledger, self.options.seed, changed)
            survivor.flush()
        self.note("written meanwhile", f"{len(changed)} blocks by {self._survivor} alone")

    def _changed_blocks(self) -> int:
        return max(1, min(_CHANGED_BLOCKS, self.ledger.blocks // 4))

    def rejoin(self) -> None:
        """Start the dead node; it becomes sync target and only what changed moves."""
        dead = self._primary
        started_s = time.monotonic()
        self.servers.start_node(dead)
        deadline_s = started_s + _RESYNC_LIMIT_S
        with self.bar(f"resync to {dead}", 100) as advance:
            shown = 0
            while not is_settled(self.view.resources()):
                if time.monotonic() > deadline_s:
                    raise DemoError(f"{dead} is not in sync after {_RESYNC_LIMIT_S:.0f} s")
                _moved, done = self.view.resynced(dead)
                if done is not None and int(done) > shown:
                    advance(int(done) - shown)
                    shown = int(done)
                time.sleep(_POLL_S)
            advance(100 - shown)
        moved_kib, _done = self.view.resynced(dead)
        whole_kib = self.options.size
        if moved_kib >= whole_kib:
            raise DemoError(f"The whole volume was copied ({moved_kib} KiB), not only what had changed")
        took_s = time.monotonic() - started_s
        blocks = moved_kib * 1024 // BLOCK_BYTES
        self.note(
            "resynced", f"{blocks} blocks ({moved_kib} KiB of {whole_kib} KiB), in sync after {took_s:.1f} s"
        )

    def compare(self) -> None:
        """An online verify must find no difference, and the returned node must serve the same data."""
        self.bollard(f"resource-definition verify {RESOURCE}")
        deadline_s = time.monotonic() + _RESYNC_LIMIT_S
        with self.bar("verify", 100) as advance:
            shown = 0
            while not (found := self.view.verify())["finished"]:
                if time.monotonic() > deadline_s:
                    raise DemoError(f"The verify did not end within {_RESYNC_LIMIT_S:.0f} s")
                if int(found["done_percent"]) > shown:
                    advance(int(found["done_percent"]) - shown)
                    shown = int(found["done_percent"])
                time.sleep(_POLL_S)
            advance(100 - shown)
        if found["out_of_sync_kib"]:
            raise DemoError(f"The verify found {found['out_of_sync_kib']} KiB that differ")
        self.note("online verify", "no difference")
        client = self.view.open(self._primary, _SETTLE_LIMIT_S)
        with client, self.bar("reading back", self.ledger.blocks) as advance:
            read_back(client, self.ledger, self.options.seed, advance)
        self.note("read on the returned node", f"all {self.ledger.blocks} blocks right")
        self.bollard("resource list --all")

    @contextmanager
    def bar(self, what: str, total: int) -> Iterator[Callable[[int], None]]:
        """A progress bar over blocks."""
        columns = (
            TextColumn("  {task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=self.console) as progress:
            task = progress.add_task(what, total=total)
            yield lambda blocks: progress.advance(task, blocks)


def run(options: argparse.Namespace) -> int:
    """The whole demo, with its own folder; returns the exit code."""
    from bollard.cli.main import run as command  # noqa: PLC0415  # that module imports the table that has the demo

    if options.size < _SIZE_KIB_MIN:
        Console(stderr=True).print(f"The demo needs at least {_SIZE_KIB_MIN // 1024} MiB (--size).")
        return Exit.USAGE
    given = options.state_dir
    root = Path(given).resolve() if given else Path(tempfile.mkdtemp(prefix="bollard-demo-"))
    if given:
        root.mkdir(parents=True, exist_ok=True)
        if any(root.iterdir()):
            Console(stderr=True).print(f"{root} is not empty: give an empty or new folder.", markup=False)
            return Exit.USAGE
    demo = Demo(options, root, command)
    started_s = time.monotonic()
    try:
        demo.run()
    except (DemoError, WrongBlock, ClientError, OSError) as error:
        demo.servers.stop()
        return _failed(demo, error)
    except BaseException:
        demo.servers.stop()
        raise
    _summary(demo, time.monotonic() - started_s)
    if options.keep:
        _how_to_go_on(demo)
    else:
        _clean(demo)
    return Exit.OK


def _size_word(size_kib: int) -> str:
    """A size as a person would type it."""
    return f"{size_kib // 1024}M" if size_kib % 1024 == 0 else f"{size_kib}K"


def is_settled(found: dict[str, Any]) -> bool:
    """Two UpToDate replicas that see each other, and a connected tiebreaker."""
    states = sorted(
        volume.get("state", {}).get("disk_state", "Unknown")
        for item in found.values()
        for volume in item.get("volumes", ())
    )
    connections = [
        peer
        for item in found.values()
        for peer in item.get("layer_object", {}).get("drbd", {}).get("connections", {}).values()
    ]
    calm = all(item.get("observed", {}).get("current") for item in found.values())
    linked = len(connections) == 6 and all(peer.get("connected") for peer in connections)
    disks = states.count("UpToDate") == 2 and states.count("Diskless") + states.count("TieBreaker") == 1
    return calm and linked and disks


def _failed(demo: Demo, error: Exception) -> int:
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print(f"\nThe demo failed in step '{demo.step}':", style="bold red", markup=False)
    console.print(f"  {error}", markup=False)
    console.print(f"Logs and state are kept in {demo.servers.root}", markup=False)
    return Exit.UNKNOWN


def _clean(demo: Demo) -> None:
    demo.servers.stop()
    shutil.rmtree(demo.servers.root)


def _summary(demo: Demo, took_s: float) -> None:
    demo.console.print("\n[bold green]Summary[/bold green]")
    for what, value in demo.summary:
        demo.console.print(f"  {what:<28} {value}", markup=False)
    demo.console.print(f"  {'total time':<28} {took_s:.1f} s")


def _how_to_go_on(demo: Demo) -> None:
    demo.console.print(
        f"\nThe cluster goes on in {demo.servers.root}. Use it:\n"
        f"  export LS_CONTROLLERS={demo.servers.controller_url}\n"
        "  bollard resource list --all\n"
        f"End it: kill {' '.join(map(str, demo.servers.pids()))}",
        markup=False,
    )
