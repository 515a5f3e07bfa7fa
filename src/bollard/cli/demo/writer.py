"""Writes the pattern through NBD with many requests in flight, and reads it back."""

from collections.abc import Callable
from random import Random

from bollard.cli.demo.pattern import BLOCK_BYTES, Ledger, make_block, sequence_of
from bollard.client.nbd import NbdClient

_DEPTH = 16
_READ_BLOCKS = 64

Progress = Callable[[int], None]


def fill(client: NbdClient, ledger: Ledger, seed: int, progress: Progress) -> None:
    """Write every block once, in order. Raises OSError when the connection fails."""
    _write(client, ledger, seed, list(range(ledger.blocks)), progress)


def keep_writing(client: NbdClient, ledger: Ledger, seed: int, rng: Random, stop: Callable[[], bool]) -> None:
    """Rewrite random blocks until told to stop. Raises OSError when the connection fails."""
    while not stop():
        batch = rng.sample(range(ledger.blocks), min(ledger.blocks, 4 * _DEPTH))
        _write(client, ledger, seed, batch, lambda _blocks: None)


def rewrite(client: NbdClient, ledger: Ledger, seed: int, numbers: list[int]) -> None:
    """Write each of these blocks once more. Raises OSError when the connection fails."""
    _write(client, ledger, seed, numbers, lambda _blocks: None)


def _write(client: NbdClient, ledger: Ledger, seed: int, numbers: list[int], progress: Progress) -> None:
    """Each number at most once, so that no two writes of one block are in flight together."""
    pending: list[tuple[int, int, int]] = []
    for number in numbers:
        if len(pending) >= _DEPTH:
            _finish(client, ledger, pending.pop(0), progress)
        sequence = ledger.send(number)
        cookie = client.submit_write(number * BLOCK_BYTES, make_block(seed, number, sequence))
        pending.append((cookie, number, sequence))
    for entry in pending:
        _finish(client, ledger, entry, progress)


def _finish(client: NbdClient, ledger: Ledger, entry: tuple[int, int, int], progress: Progress) -> None:
    cookie, number, sequence = entry
    client.wait(cookie)
    ledger.acknowledge(number, sequence)
    progress(1)


def read_back(client: NbdClient, ledger: Ledger, seed: int, progress: Progress) -> int:
    """Read every block and compare with the ledger; returns the number of blocks. Raises WrongBlock."""
    for start in range(0, ledger.blocks, _READ_BLOCKS):
        count = min(_READ_BLOCKS, ledger.blocks - start)
        data = client.read(start * BLOCK_BYTES, count * BLOCK_BYTES)
        for index in range(count):
            block = data[index * BLOCK_BYTES : (index + 1) * BLOCK_BYTES]
            ledger.check(start + index, sequence_of(block, seed, start + index))
        progress(count)
    return ledger.blocks
