"""Blocks whose content says what they are, and the ledger of what was acknowledged. Pure.

A block holds its number, the sequence of the write, a filler made from both and the seed, and a checksum:
a lost, stale, torn or misplaced write is seen when it is read.
"""

import hashlib
import struct
import zlib

BLOCK_BYTES = 4096
_HEADER = struct.Struct(">8sQQQ")
_CHECKSUM = struct.Struct(">I")
_MAGIC = b"BOLLARD1"
_FILLER_BYTES = BLOCK_BYTES - _HEADER.size - _CHECKSUM.size


class WrongBlock(Exception):
    """A block that does not hold what it may hold."""


def make_block(seed: int, number: int, sequence: int) -> bytes:
    """The 4 KiB of one write."""
    header = _HEADER.pack(_MAGIC, seed, number, sequence)
    digest = hashlib.blake2b(header).digest()
    body = header + (digest * (_FILLER_BYTES // len(digest) + 1))[:_FILLER_BYTES]
    return body + _CHECKSUM.pack(zlib.crc32(body))


def sequence_of(data: bytes, seed: int, number: int) -> int:
    """The sequence a block was written with; 0 for a block never written. Raises WrongBlock."""
    if not any(data[: _HEADER.size]) and not any(data):
        return 0
    magic, found_seed, found_number, sequence = _HEADER.unpack_from(data)
    if magic != _MAGIC or found_seed != seed:
        raise WrongBlock(f"block {number}: not written by this run")
    if found_number != number:
        raise WrongBlock(f"block {number}: holds block {found_number}")
    if data != make_block(seed, number, sequence):
        raise WrongBlock(f"block {number}: torn or corrupt (sequence {sequence})")
    return int(sequence)


class Ledger:
    """What each block may hold: the last acknowledged write, or one sent after it."""

    def __init__(self, blocks: int) -> None:
        self.blocks = blocks
        self._acknowledged = [0] * blocks
        self._sent = [0] * blocks
        self.writes_acknowledged = 0

    def send(self, number: int) -> int:
        """Note a write that is on its way; returns its sequence."""
        self._sent[number] += 1
        return self._sent[number]

    def acknowledge(self, number: int, sequence: int) -> None:
        """Note that a write was acknowledged: from here on it must not be lost."""
        self._acknowledged[number] = max(self._acknowledged[number], sequence)
        self.writes_acknowledged += 1

    def check(self, number: int, sequence: int) -> None:
        """Compare what was read. Raises WrongBlock when an acknowledged write is missing.

        An unacknowledged write that is seen counts as written from then on: it must not vanish again.
        """
        low, high = self._acknowledged[number], self._sent[number]
        if not low <= sequence <= high:
            raise WrongBlock(f"block {number}: holds write {sequence}, must be {low} to {high}")
        self._acknowledged[number] = self._sent[number] = sequence
