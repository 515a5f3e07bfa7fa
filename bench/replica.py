"""The data path side by side in one run: fio's nbd engine on our volumes, nbdkit and qemu, round by round.

Prints tables of medians in Markdown: thousand I/O a second (4 KiB) or MiB/s (1 MiB), CPU time of an I/O
(which says something on a busy machine too), ratios, the machine's load; then resync, memory, failover.
"""

import argparse
import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from _replica_servers import META_BYTES, SERVERS, Python, Server, available
from _replica_states import failover_s, memory_mib, memory_plain_mib, resync_mib_s

JOBS = (
    ("4k read qd1", "randread", "4k", 1),
    ("4k read qd16", "randread", "4k", 16),
    ("4k read qd64", "randread", "4k", 64),
    ("4k write qd1", "randwrite", "4k", 1),
    ("4k write qd16", "randwrite", "4k", 16),
    ("4k write qd64", "randwrite", "4k", 64),
    ("1M read qd4", "read", "1m", 4),
    ("1M write qd4", "write", "1m", 4),
)
QUICK = ("4k read qd16", "4k write qd1", "4k write qd16", "1M write qd4")
PAIRS = (
    ("bollard", "nbdkit"),
    ("bollard", "qemu-nbd"),
    ("bollard", "q-s-d"),
    ("bollard +1", "quorum +1"),
    ("bollard +1", "q-s-d quorum +1"),
    ("bollard +2", "quorum +2"),
    ("bollard +2", "q-s-d quorum +2"),
)

Figures = dict[tuple[str, str], list[float]]


def fio(uri: str, pattern: str, block: str, depth: int, *more: str) -> str:
    return subprocess.run(
        [
            "fio", "--name=b", "--ioengine=nbd", f"--uri={uri}", f"--rw={pattern}", f"--bs={block}",
            f"--iodepth={depth}", "--output-format=json", *more,
        ],
        capture_output=True, text=True, check=True, cwd=tempfile.gettempdir(),
    ).stdout  # fmt: skip


def measure(
    server: Server, pattern: str, block: str, depth: int, *, size_bytes: int, seconds: float
) -> tuple[float, list[float]]:
    """Thousand I/O a second for 4 KiB or MiB a second for 1 MiB; CPU microseconds an I/O by process."""
    before = server.cpu_s()
    out = fio(
        server.uri, pattern, block, depth, f"--size={size_bytes}", f"--runtime={seconds}", "--time_based"
    )
    used = [after - start for start, after in zip(before, server.cpu_s(), strict=True)]
    job = json.loads(out[out.index("{") :])["jobs"][0]
    side = job["read"] if "read" in pattern else job["write"]
    rate = side["bw"] / 1024 if block == "1m" else side["iops"] / 1000
    return rate, [seconds_used * 1e6 / max(1, side["total_ios"]) for seconds_used in used]


def side_by_side(
    root: Path, names: list[str], titles: list[str], *, rounds: int, seconds: float, size_bytes: int
) -> tuple[Figures, Figures, Figures]:
    """Rates, CPU time of the process that serves, CPU time of all processes: by (server, job)."""
    rates: Figures = {}
    first: Figures = {}
    total: Figures = {}
    with contextlib.ExitStack() as stack:
        servers = {}
        for name in names:
            servers[name] = server = stack.enter_context(SERVERS[name][1](root, size_bytes))
            # Once everywhere, so that no measurement pays for first allocation.
            fio(server.uri, "write", "1m", 4, f"--size={size_bytes}")
        for number in range(rounds):
            for title, pattern, block, depth in JOBS:
                if title not in titles:
                    continue
                print(f"round {number + 1} of {rounds}: {title}", file=sys.stderr, flush=True)
                for name, server in servers.items():
                    if skipped(name, title):
                        continue
                    rate, used = measure(
                        server, pattern, block, depth, size_bytes=size_bytes, seconds=seconds
                    )
                    rates.setdefault((name, title), []).append(rate)
                    first.setdefault((name, title), []).append(used[0])
                    total.setdefault((name, title), []).append(sum(used))
    return rates, first, total


def skipped(name: str, title: str) -> bool:
    """Reads through quorum crawl, at a thousand a second: they would take most of the time for nothing."""
    return "quorum" in name and "read" in title


def row(*cells: str) -> None:
    print(f"| {' | '.join(cells)} |")


def heading(*cells: str) -> None:
    row(*cells)
    print("|---" * len(cells) + "|")


def middle(figures: Figures, name: str, title: str) -> float:
    return statistics.median(figures[name, title])


def cell(measured: tuple[Figures, Figures, Figures], name: str, title: str) -> str:
    if skipped(name, title):
        return "-"
    rate, first, total = (middle(figures, name, title) for figures in measured)
    peers = f" + {total - first:.1f}" if name.endswith(("+1", "+2")) else ""
    return (
        f"{rate:.0f} ({first:.0f}{peers})" if title.startswith("1M") else f"{rate:.1f} ({first:.1f}{peers})"
    )


def show_ratios(measured: tuple[Figures, Figures, Figures], names: list[str], titles: list[str]) -> None:
    """The rate of ours by theirs, and the CPU time of theirs by ours: above 1 is better for ours."""
    rates, _, total = measured
    pairs = [(ours, theirs) for ours, theirs in PAIRS if ours in names and theirs in names]
    heading("rate; CPU time", *(f"{ours} / {theirs}" for ours, theirs in pairs))
    for title in titles:
        cells = [
            "-"
            if skipped(theirs, title)
            else f"{middle(rates, ours, title) / middle(rates, theirs, title):.2f}; "
            f"{middle(total, theirs, title) / max(middle(total, ours, title), 0.01):.2f}"
            for ours, theirs in pairs
        ]
        row(title, *cells)


def show_rates(root: Path, arguments: argparse.Namespace) -> None:
    names = [
        name
        for name, (program, _) in SERVERS.items()
        if available(program) and (not arguments.only or name in arguments.only)
    ]
    titles = [title for title, *_ in JOBS if not arguments.quick or title in QUICK]
    measured = side_by_side(
        root,
        names,
        titles,
        rounds=arguments.rounds,
        seconds=arguments.seconds,
        size_bytes=arguments.size_mib << 20,
    )
    print(f"\nIn {root.parent}, medians of {arguments.rounds} rounds of {arguments.seconds} s.")
    print("Thousand I/O (4k) or MiB (1M) a second (CPU us an I/O: server + its peers together):\n")
    heading("", *names)
    for title in titles:
        row(title, *(cell(measured, name, title) for name in names))
    print()
    show_ratios(measured, names, titles)
    print(f"\n{load()}", flush=True)


def load() -> str:
    return "load of the machine: " + ", ".join(f"{average:.1f}" for average in os.getloadavg())


def machine() -> str:
    version = subprocess.run([Python.path, "--version"], capture_output=True, text=True, check=True).stdout
    return f"{os.cpu_count()} processors, Linux {platform.release()}, {version.strip()} ({Python.path})"


def show_states(root: Path, arguments: argparse.Namespace) -> None:
    size_bytes = (arguments.size_mib << 20) - META_BYTES
    figures = resync_mib_s(root, size_bytes, arguments.rounds)
    print(f"\nresync of {size_bytes >> 20} MiB: {statistics.median(figures):.0f} MiB/s")
    counts = (0, 1, 10) if arguments.quick else (0, 1, 10, 100)
    for kind, sizes in (("with a peer", memory_mib(root, counts)), ("plain", memory_plain_mib(root, counts))):
        words = ", ".join(f"{count}: {size:.0f} MiB" for count, size in sizes.items())
        print(f"resident memory by volumes {kind}: {words}")
    print(f"failover: {statistics.median(failover_s(root, arguments.rounds)) * 1000:.0f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1)
    parser.add_argument("--size-mib", type=int, default=512)
    parser.add_argument("--directory", action="append", help="where; repeatable (default: tmpfs and disk)")
    parser.add_argument("--only", action="append", help="a server of the table; may be repeated")
    parser.add_argument("--python", default=sys.executable, help="what runs our data processes")
    parser.add_argument("--real-time", action="store_true", help="before all other work of the machine: root")
    parser.add_argument("--quick", action="store_true", help="tmpfs, one round, few jobs: a minute")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rounds, arguments.size_mib = 1, min(arguments.size_mib, 128)
    Python.path = arguments.python
    if arguments.real_time:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(5))
    print(f"{machine()}; {load()}")
    places = arguments.directory or (["/dev/shm"] if arguments.quick else ["/dev/shm", "/var/tmp"])
    for place in places:
        with tempfile.TemporaryDirectory(dir=place) as root:
            show_rates(Path(root), arguments)
    with tempfile.TemporaryDirectory(dir=places[0]) as root:
        show_states(Path(root), arguments)


if __name__ == "__main__":
    main()
