"""The data path side by side in one run: fio's nbd engine on our volumes, nbdkit and qemu, round by round.

Prints medians: thousand I/O a second (4 KiB), MiB/s (1 MiB), CPU time, ratios; then resync, memory, failover.
"""

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from _replica_servers import META_BYTES, SERVERS, Server, available
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
        for _ in range(rounds):
            for title, pattern, block, depth in JOBS:
                if title not in titles:
                    continue
                for name, server in servers.items():
                    rate, used = measure(
                        server, pattern, block, depth, size_bytes=size_bytes, seconds=seconds
                    )
                    rates.setdefault((name, title), []).append(rate)
                    first.setdefault((name, title), []).append(used[0])
                    total.setdefault((name, title), []).append(sum(used))
    return rates, first, total


def table(heading: str, figures: Figures, names: list[str], titles: list[str]) -> None:
    print(f"{heading:28}" + "".join(f"{name:>16}" for name in names))
    for title in titles:
        cells = "".join(f"{statistics.median(figures[name, title]):16.1f}" for name in names)
        print(f"{title:28}{cells}")


def ratios(figures: Figures, names: list[str], titles: list[str]) -> None:
    for ours, theirs in PAIRS:
        if ours in names and theirs in names:
            times = {
                title: statistics.median(figures[ours, title]) / statistics.median(figures[theirs, title])
                for title in titles
            }
            cells = "  ".join(f"{title} {factor:.2f}" for title, factor in times.items())
            print(f"{ours} / {theirs}: {cells}")


def show_rates(root: Path, arguments: argparse.Namespace) -> None:
    names = [
        name
        for name, (program, _) in SERVERS.items()
        if available(program) and (not arguments.only or name in arguments.only)
    ]
    titles = [title for title, *_ in JOBS if not arguments.quick or title in QUICK]
    rates, first, total = side_by_side(
        root,
        names,
        titles,
        rounds=arguments.rounds,
        seconds=arguments.seconds,
        size_bytes=arguments.size_mib << 20,
    )
    print(f"\n-- in {root.parent}: {arguments.rounds} rounds of {arguments.seconds} s")
    table("k IOPS (4k), MiB/s (1M)", rates, names, titles)
    ratios(rates, names, titles)
    print()
    table("CPU us an I/O, server", first, names, titles)
    table("CPU us an I/O, with peers", total, names, titles)


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
    parser.add_argument("--quick", action="store_true", help="tmpfs, one round, few jobs: a minute")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rounds, arguments.size_mib = 1, min(arguments.size_mib, 128)
    places = arguments.directory or (["/dev/shm"] if arguments.quick else ["/dev/shm", "/var/tmp"])
    for place in places:
        with tempfile.TemporaryDirectory(dir=place) as root:
            show_rates(Path(root), arguments)
    with tempfile.TemporaryDirectory(dir=places[0]) as root:
        show_states(Path(root), arguments)


if __name__ == "__main__":
    main()
