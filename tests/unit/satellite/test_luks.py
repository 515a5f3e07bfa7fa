"""LUKS: which words cryptsetup is given, and that the passphrase is none of them."""

import asyncio

from bollard.domain.ids import Uuid
from bollard.domain.layers import LayerKind
from bollard.domain.targets import TargetLayer
from bollard.satellite.drivers.luks import Luks
from bollard.satellite.host.base import Cmd, Done, Host, LayerMark
from bollard.sim.engine import Mesh
from bollard.sim.host import SimMachine

_UUID = Uuid("6f1f7e1c-6f0f-4b0e-9d5c-0a8c3c4f6b11")
_WORDS = "four plain english words"


class Recorder:
    """Programs that do nothing, and what they were asked; `blkid` says what it is told to."""

    def __init__(self, blkid: str = "") -> None:
        self.ran: list[Cmd] = []
        self._blkid = blkid

    def path_of(self, program: str) -> str | None:
        return "/sbin/" + program

    async def run(self, cmd: Cmd) -> Done:
        self.ran.append(cmd)
        return Done(0, self._blkid.encode() if cmd.argv[0] == "blkid" else b"", b"")

    def words(self, verb: str) -> tuple[str, ...]:
        (found,) = (cmd.argv for cmd in self.ran if verb in cmd.argv)
        return found


def _raise(recorder: Recorder, options: dict[str, str], *, made: bool) -> str:
    host = SimMachine("n1", Mesh()).host()
    host = Host(host.files, recorder, host.engine, "")  # type: ignore[arg-type]
    layer = TargetLayer(LayerKind.LUKS, 100, secret=_WORDS, options=options)
    mark = LayerMark("data", 3, _UUID, made=made)
    return asyncio.run(Luks().raise_(layer, "/dev/vg/data", mark, host))


def test_the_passphrase_goes_over_stdin_alone() -> None:
    recorder = Recorder()
    assert _raise(recorder, {}, made=False) == "/dev/mapper/Linstor-Crypt-data_00003"
    spoken = [cmd for cmd in recorder.ran if cmd.stdin]
    assert [cmd.stdin for cmd in spoken] == [_WORDS.encode() + b"\n"] * 2
    assert not any(_WORDS in word for cmd in recorder.ran for word in cmd.argv)


def test_the_header_carries_the_volumes_mark() -> None:
    recorder = Recorder()
    _raise(recorder, {}, made=False)
    made = recorder.words("luksFormat")
    assert made[made.index("--uuid") + 1] == _UUID
    assert made[made.index("--type") + 1] == "luks2"


def test_options_that_decide_what_is_opened_are_not_the_users() -> None:
    recorder = Recorder()
    options = "--header /etc/shadow --key-file=/etc/hostname --cipher aes-cbc-essiv:sha256 --type luks1 -q"
    _raise(recorder, {"FormatOptions": options}, made=False)
    made = recorder.words("luksFormat")
    assert "--header" not in made
    assert "/etc/shadow" not in made
    assert "/etc/hostname" not in made
    assert made[made.index("--cipher") + 1] == "aes-cbc-essiv:sha256"
    assert made.count("--type") == 1


def test_discards_pass_only_where_they_are_allowed() -> None:
    assert "--allow-discards" in _opened({"AllowDiscards": "True"})
    assert "--allow-discards" not in _opened({"AllowDiscards": "False"})


def _opened(options: dict[str, str]) -> tuple[str, ...]:
    recorder = Recorder()
    _raise(recorder, options, made=True)
    assert not any("luksFormat" in cmd.argv for cmd in recorder.ran)
    return recorder.words("open")


def test_a_header_with_our_mark_that_was_not_remembered_is_made_again() -> None:
    recorder = Recorder(f"UUID={_UUID}\nTYPE=crypto_LUKS\n")
    _raise(recorder, {}, made=False)
    assert recorder.words("luksFormat")
    assert recorder.ran[0].argv[0] == "blkid"
