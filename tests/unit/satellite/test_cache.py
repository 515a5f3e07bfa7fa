"""CACHE: what it holds back goes down before it is closed, whoever looks at it meanwhile."""

import asyncio

from bollard.domain.ids import Uuid
from bollard.domain.layers import LayerKind
from bollard.satellite.drivers.cache import Cache
from bollard.satellite.host.base import Cmd, Done, Host, LayerMark, LayerSeen
from bollard.sim.engine import Mesh
from bollard.sim.host import SimMachine

_NAME = "linstor_cache_data_00000"
_MARK = LayerMark("data", 0, Uuid("6f1f7e1c-6f0f-4b0e-9d5c-0a8c3c4f6b11"), made=True, companion="/dev/fast")


class Mapper:
    """A cache with one dirty block, which others have open for the first looks at it."""

    def __init__(self, passers_by: int, mode: str) -> None:
        self.passers_by = passers_by
        self.mode = mode
        self.changes: list[str] = []

    def path_of(self, program: str) -> str | None:
        return "/sbin/" + program

    async def run(self, cmd: Cmd) -> Done:
        return Done(0, self._answer(cmd.argv[1], cmd.argv).encode(), b"")

    def _answer(self, verb: str, argv: tuple[str, ...]) -> str:
        match verb:
            case "info":
                users = int(self.passers_by > 0)
                self.passers_by -= 1
                return "" if "remove" in self.changes else f"{_NAME}\t253\t3\t{users}\tActive\n"
            case "table":
                return f"{_NAME}: 0 8192 cache 253:1 253:2 253:0 64 1 {self.mode} smq 0\n"
            case "status":
                dirty = int("load" not in self.changes)
                return f"0 8192 cache 8 1/2 64 1/2 0 0 0 0 0 0 {dirty} 1 writeback\n"
            case _:
                self.changes.append(verb)
                if verb == "load":
                    assert "cleaner" in argv[-1]
                return ""


def _lower(mapper: Mapper) -> bool:
    host = SimMachine("n1", Mesh()).host()
    host = Host(host.files, mapper, host.engine, "")
    seen = LayerSeen(LayerKind.CACHE, f"/dev/mapper/{_NAME}", "253:3", ("253:0", "253:2", "253:1"), 4096)
    return asyncio.run(Cache().lower(seen, _MARK, host))


def test_a_passing_look_does_not_keep_dirty_blocks_in_the_cache() -> None:
    mapper = Mapper(passers_by=2, mode="writeback")
    assert _lower(mapper)
    assert mapper.changes == ["suspend", "load", "resume", "remove"]


def test_a_cache_that_holds_nothing_back_is_closed_at_once() -> None:
    mapper = Mapper(passers_by=0, mode="writethrough")
    assert _lower(mapper)
    assert mapper.changes == ["remove"]
