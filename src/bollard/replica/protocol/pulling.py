"""What a resync target keeps while it pulls: locked ranges, and the answers it waits for. No decisions."""

from collections.abc import Callable

from bollard.replica.protocol.commands import ID_SYNCER
from bollard.replica.protocol.digests import Digest
from bollard.replica.protocol.exclusion import Exclusion, RangeCall
from bollard.replica.protocol.model import Timer


class Fetch(RangeCall):
    """A range that is being fetched; it is locked until all its parts are settled.

    `parts`: answers it waits for, one, or one a block with checksums; `writes`: those being written.
    """

    __slots__ = ("parts", "writes")

    def __init__(self, start: int, end: int, call: Callable[[], None]) -> None:
        super().__init__(start, end, call)
        self.parts = 0
        self.writes = 0


class Part:
    """The bytes one request asks for. `writing`: its data has arrived."""

    __slots__ = ("end", "fetch", "start", "writing")

    def __init__(self, start: int, end: int, fetch: Fetch) -> None:
        assert fetch.start <= start < end <= fetch.end, (start, end)
        self.start = start
        self.end = end
        self.fetch = fetch
        self.writing = False


class Target:
    """One resync on its target. With a `digest` our own blocks are compared before any is fetched.

    `in_flight` has the parts by the id of their request, or `by_place` where the dialect has no ids: what an
    8.4 kernel puts into its answers instead means nothing. `in_flight_bytes` also counts what is not asked.
    """

    def __init__(self, link: int, start_uuid: int, digest: Digest | None = None) -> None:
        self.link = link
        self.start_uuid = start_uuid
        self.digest = digest
        self.cursor = 0
        self.in_flight: dict[int, Part] = {}
        self.by_place = False
        self.in_flight_bytes = 0
        self.failed = 0
        self.running = False
        self.source_ready = False
        self.finishing = False
        self.timer: Timer | None = None
        self.next_s = 0.0

    def asked(self, block_id: int, start: int, end: int, fetch: Fetch) -> None:
        """A request is on its way."""
        self.by_place = block_id == ID_SYNCER
        self.in_flight[start if self.by_place else block_id] = Part(start, end, fetch)
        fetch.parts += 1

    def find(self, block_id: int, start: int) -> Part | None:
        """The part that was asked for under this id, if it is still waited for."""
        part = self.in_flight.get(start if self.by_place else block_id)
        return part if part is not None and part.start == start and not part.writing else None

    def at(self, start: int) -> tuple[int, Part | None]:
        """The part that begins there, and its id, where answers do not name one."""
        for block_id, part in self.in_flight.items():
            if part.start == start and not part.writing:
                return block_id, part
        return 0, None

    def settle(self, block_id: int, part: Part, busy: Exclusion) -> None:
        """The part is done with, also after `abandon`; the last one of a range gives the range back."""
        self.in_flight.pop(part.start if self.by_place else block_id, None)
        self.in_flight_bytes -= part.end - part.start
        fetch = part.fetch
        fetch.parts -= 1
        if part.writing:
            fetch.writes -= 1
        if not fetch.parts:
            busy.leave(fetch)

    def abandon(self, busy: Exclusion) -> None:
        """No answer is waited for any more; ranges that are being written stay locked until that is done."""
        fetches = {id(part.fetch): part.fetch for part in self.in_flight.values()}
        self.in_flight = {}
        for fetch in fetches.values():
            fetch.parts = fetch.writes
            if not fetch.parts:
                busy.leave(fetch)
