"""LUKS: which words cryptsetup is given, and that the passphrase is none of them."""

import asyncio
import shutil
from pathlib import Path

import pytest

from bollard.domain.ids import Uuid
from bollard.domain.layers import LayerKind
from bollard.domain.targets import TargetLayer
from bollard.satellite.drivers.luks import Luks, rekey
from bollard.satellite.host.base import Cmd, Done, Host, HostError, LayerMark
from bollard.satellite.host.runner import LocalRunner
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


class Headers:
    """Headers that know one passphrase each, and a cryptsetup that asks them."""

    def __init__(self, **headers: str) -> None:
        self.headers = headers
        self.ran: list[Cmd] = []

    def path_of(self, program: str) -> str | None:
        return "/sbin/" + program

    async def run(self, cmd: Cmd) -> Done:
        self.ran.append(cmd)
        lower = cmd.argv[-1].removeprefix("/dev/")
        assert cmd.stdin is not None
        given = cmd.stdin.decode().splitlines()
        if self.headers[lower] != given[0]:
            return Done(2, b"", b"No key available with this passphrase.")
        if "luksChangeKey" in cmd.argv:
            self.headers[lower] = given[1]
        return Done(0, b"", b"")


def _rekey(headers: Headers, secret: str, *before: str) -> None:
    host = SimMachine("n1", Mesh()).host()
    host = Host(host.files, headers, host.engine, "")  # type: ignore[arg-type]
    layer = TargetLayer(LayerKind.LUKS, 100, secret=secret, secrets_before=before)
    asyncio.run(rekey(layer, "/dev/x", LayerMark("data", 0, _UUID, made=True), host))


def test_a_changed_passphrase_takes_the_place_of_whichever_the_header_has() -> None:
    for has in ("one", "two", "three"):
        headers = Headers(x=has)
        _rekey(headers, "three", "one", "two")
        assert headers.headers == {"x": "three"}
        assert not any("three" in word for cmd in headers.ran for word in cmd.argv)


def test_a_header_that_nobody_can_open_is_left_alone() -> None:
    headers = Headers(x="other")
    with pytest.raises(HostError, match="does not open"):
        _rekey(headers, "three", "one", "two")
    assert headers.headers == {"x": "other"}


@pytest.mark.skipif(shutil.which("cryptsetup") is None, reason="needs cryptsetup")
def test_cryptsetup_changes_the_passphrase_of_a_header(tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.write_bytes(bytes(20 << 20))
    quick = ("--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000")
    host = SimMachine("n1", Mesh()).host()
    host = Host(host.files, LocalRunner(), host.engine, "")

    async def scene() -> None:
        argv = ("cryptsetup", "--batch-mode", "luksFormat", "--type", "luks2", *quick, str(image))
        await host.runner.run(Cmd(argv, stdin=b"old words\n", timeout_s=60))
        layer = TargetLayer(LayerKind.LUKS, 100, secret="new words", secrets_before=("other", "old words"))
        mark = LayerMark("data", 0, _UUID, made=True)
        await rekey(layer, str(image), mark, host)
        await rekey(layer, str(image), mark, host)
        test = ("cryptsetup", "--batch-mode", "open", "--test-passphrase", str(image))
        known = [
            (await host.runner.run(Cmd(test, stdin=word, timeout_s=60, expect=(0, 2)))).code
            for word in (b"new words\n", b"old words\n")
        ]
        assert known == [0, 2]

    asyncio.run(scene())


@pytest.mark.skipif(shutil.which("cryptsetup") is None, reason="needs cryptsetup")
def test_a_deleted_volume_can_never_be_opened_again(tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.write_bytes(bytes(20 << 20))
    quick = ("--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000")
    host = SimMachine("n1", Mesh()).host()
    host = Host(host.files, LocalRunner(), host.engine, "")

    async def scene() -> None:
        argv = ("cryptsetup", "--batch-mode", "luksFormat", "--type", "luks2", *quick, str(image))
        await host.runner.run(Cmd(argv, stdin=b"old words\n", timeout_s=60))
        with image.open("r+b") as file:
            file.seek(16 << 20)
            file.write(b"ciphertext")
        await Luks().wipe(str(image), 20 << 10, host)
        test = Cmd(("cryptsetup", "isLuks", str(image)), expect=(0, 1))
        assert (await host.runner.run(test)).code == 1
        await Luks().wipe(str(image), 20 << 10, host)

    asyncio.run(scene())
    content = image.read_bytes()
    assert len(content) == 20 << 20
    assert not any(content[: 16 << 20])
    assert content[16 << 20 :].startswith(b"ciphertext"), "the header is enough"
