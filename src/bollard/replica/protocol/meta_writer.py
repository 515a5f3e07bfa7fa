"""Brings one volume's metadata to the disk: superblock, bitmap pages, activity log; one write at a time.

Order is kept where it matters: bits of evicted extents before the log block, data before cleared bits.
"""

from collections import deque
from collections.abc import Callable, Iterator

from bollard.domain.units import SECTOR_BYTES
from bollard.replica.metadata.activity_log import AlTransaction
from bollard.replica.metadata.al_block import EXTENT_BYTES
from bollard.replica.metadata.running import encode_running
from bollard.replica.protocol import actions as a
from bollard.replica.protocol.events import Buffer
from bollard.replica.protocol.model import Core, Volume

Done = Callable[[], None]
Pieces = tuple[tuple[int, bytes], ...]
"""Offsets on the metadata device, and what is to be written there."""


class MetaWriter:
    """`on_error` is told once when a metadata write fails: the disk must be given up then."""

    def __init__(self, core: Core, volume: Volume, *, on_error: Done, starved: Done) -> None:
        self._core = core
        self._volume = volume
        self._on_error = on_error
        self._starved = starved
        self._busy = False
        self._dead = False
        self._superblock: list[Done] | None = None
        self._flush_first = False
        self._bitmap: list[Done] | None = None
        self._raw: deque[tuple[Pieces, Done]] = deque()
        self._runs: deque[tuple[Iterator[Pieces], Done]] = deque()
        self._extents: deque[tuple[range, Done]] = deque()

    @property
    def idle(self) -> bool:
        waits = self._raw or self._runs or self._bitmap is not None or self._superblock is not None
        return not self._busy and not waits

    def save(self, then: Done | None = None, *, flush_data: bool = False) -> None:
        """Write the superblock as it is now or later; `then` when it is durable.

        `flush_data`: all data written so far is durable before.
        """
        if self._superblock is None:
            self._superblock = []
        if then is not None:
            self._superblock.append(then)
        self._flush_first = self._flush_first or flush_data
        self._pump()

    def save_bitmap(self, then: Done) -> None:
        """Write all bitmap pages that the disk lacks, after the data; `then` when they are durable."""
        if self._bitmap is None:
            self._bitmap = []
        self._bitmap.append(then)
        self._pump()

    def write(self, pieces: Pieces, then: Done) -> None:
        """Write pieces at offsets of the metadata device, data before them; in the order of calls."""
        self._raw.append((pieces, then))
        self._pump()

    def run(self, steps: Iterator[Pieces], then: Done) -> None:
        """Write steps, each durable before the next is asked for, and nothing else in between; then `then()`.

        The first is asked for when nothing is being written and no log transaction is pending. `then()` is
        also called when the disk is given up before.
        """
        self._runs.append((steps, then))
        self._pump()

    def activate(self, extents: range, then: Done) -> None:
        """Hold the extents, which were not all active; `then` once they are, on the disk too."""
        self._extents.append((extents, then))
        self._pump()

    def wake(self) -> None:
        """References were given back: extents may be evicted now."""
        if self._extents:
            self._pump()

    def stop(self) -> list[Done]:
        """The disk is gone: nothing more is written. Returns the calls that waited for extents or runs."""
        self._dead = True
        waiting = [then for _, then in self._extents] + [then for _, then in self._runs]
        self._extents.clear()
        self._runs.clear()
        return waiting

    # -- one write after another

    def _pump(self) -> None:
        if self._busy or self._dead:
            return
        volume = self._volume
        if self._runs:
            self._next_step()
        elif self._raw:
            pieces, then = self._raw.popleft()
            self._start(pieces, [then], flush_data=True)
        elif self._superblock is not None:
            waiters, self._superblock = self._superblock, None
            flush, self._flush_first = self._flush_first, False
            assert volume.superblock is not None
            piece = (volume.superblock_offset_bytes, encode_running(volume.superblock, v08=volume.v08))
            self._start((piece,), waiters, flush_data=flush)
        elif self._bitmap is not None:
            waiters, self._bitmap = self._bitmap, None
            self._start(self._pages(None), waiters, flush_data=True)
        elif self._extents:
            self._next_transaction()

    def _next_step(self) -> None:
        steps, then = self._runs[0]
        pieces = next(steps, None)
        if pieces is None:
            self._runs.popleft()
            then()
            self._pump()
        else:
            self._start(pieces, [], flush_data=True)

    def _next_transaction(self) -> None:
        log = self._volume.log
        assert log is not None
        self._serve_active()
        if not self._extents:
            return
        transaction = log.prepare(extent for wanted, _ in self._extents for extent in wanted)
        if transaction is None:
            self._starved()
            return
        pieces: list[tuple[int, bytes]] = []
        for extent in transaction.evicted:
            pieces += self._pages(extent)
        if pieces:
            self._start(tuple(pieces), [lambda: self._write_block(transaction)], flush_data=True)
        else:
            self._write_block(transaction)

    def _write_block(self, transaction: AlTransaction) -> None:
        volume = self._volume
        assert volume.superblock is not None
        start = volume.superblock_offset_bytes + volume.superblock.al_offset_sectors * SECTOR_BYTES
        piece = (start + transaction.offset_bytes, transaction.data)

        def written() -> None:
            assert volume.log is not None
            volume.log.commit(transaction)
            volume.al_writes += 1
            self._serve_active()

        self._start((piece,), [written], flush_data=bool(transaction.evicted))

    def _serve_active(self) -> None:
        log = self._volume.log
        assert log is not None
        ready: list[Done] = []
        waiting: deque[tuple[range, Done]] = deque()
        for extents, then in self._extents:
            if log.hold_all(extents):
                waiting.append((extents, then))
            else:
                ready.append(then)
        self._extents = waiting
        for then in ready:
            then()

    def _pages(self, extent: int | None) -> Pieces:
        volume = self._volume
        assert volume.bitmap is not None
        assert volume.superblock is not None
        start = volume.superblock_offset_bytes + volume.superblock.bitmap_offset_sectors * SECTOR_BYTES
        # A bitmap that has just grown may have pages whose place on the disk is made by a run that waits.
        within = range(volume.superblock.bitmap_pages)
        if extent is not None:
            first = extent * EXTENT_BYTES
            if first >= volume.bitmap.size_bytes:
                return ()
            pages = volume.bitmap.pages_of(first, min(EXTENT_BYTES, volume.bitmap.size_bytes - first))
            within = range(pages.start, min(pages.stop, within.stop))
        runs = volume.bitmap.take_dirty(within)
        volume.bm_writes += len(runs)
        return tuple((start + run.offset_bytes, run.data) for run in runs)

    def _start(self, pieces: Pieces, waiters: list[Done], *, flush_data: bool) -> None:
        self._busy = True

        def done(errno: int, _data: Buffer) -> None:
            self._busy = False
            if self._dead:
                return
            if errno:
                self._dead = True
                self._on_error()
                return
            for then in waiters:
                then()
            self._pump()

        tag = self._core.disk_tag(self._volume, done)
        self._core.out.append(a.WriteMeta(tag, self._volume.number, pieces, flush_data))
