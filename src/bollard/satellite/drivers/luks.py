"""LUKS: what is written below is encrypted, by dm-crypt through cryptsetup. The passphrase goes over stdin.

The header's UUID is the volume's mark, so that a header of somebody else is never opened or overwritten.
"""

import shlex
from typing import Final

from bollard.domain.layers import LayerKind
from bollard.domain.targets import TargetLayer
from bollard.satellite.host import device_mapper, signatures
from bollard.satellite.host.base import Cmd, Host, HostError, LayerMark, LayerSeen

__all__ = ["Luks", "rekey"]

_PBKDF_MEMORY_KIB: Final = 262144
_WRONG_PASSPHRASE: Final = 2
_BUSY: Final = 5
_VALUED: Final = frozenset(
    (
        *("--header", "--key-file", "-d", "--keyfile-size", "-l", "--key-slot", "-S", "--master-key-file"),
        *("--volume-key-file", "--uuid", "--pbkdf-memory"),
    )
)
_KIND: Final = ("--type", "-M")
_OURS: Final = _VALUED | {"--batch-mode", "-q", "--test-passphrase", "--readonly", "-r", "--token-only"}
"""Options that decide what is opened and by which key: they are not the user's to set."""
_LIMIT_S: Final = 120.0
_HEAD_KIB: Final = 16384
"""Of the header that cryptsetup makes when nothing is said, key slots and all."""


class Luks:
    """See `drivers.DeviceLayer` for the verbs."""

    kind = LayerKind.LUKS

    async def observe(self, host: Host) -> tuple[LayerSeen, ...]:
        return tuple(_seen(one) for one in await device_mapper.devices(host, "crypt"))

    async def raise_(self, layer: TargetLayer, lower: str, mark: LayerMark, host: Host) -> str:
        name = _name(mark)
        secret = _secret(layer, mark)
        if not mark.made:
            found = await signatures.probe(lower, host)
            if found is not None and found.uuid != mark.volume_uuid:
                raise signatures.has_data(lower, found, mark.resource)
            # A header with our mark that was not remembered was cut in the making: nothing was ever above it.
            await self._close_half_made(name, host)
            await _format(layer, lower, mark, secret, host)
        elif layer.secrets_before:
            await rekey(layer, lower, mark, host)
        words = ["cryptsetup", "--batch-mode", "open", "--type", "luks", *_open_words(layer), lower, name]
        try:
            await _run(tuple(words), secret, host)
        finally:
            device_mapper.look_again(host)
        return f"/dev/mapper/{name}"

    async def grow(self, layer: TargetLayer, seen: LayerSeen, mark: LayerMark, host: Host) -> bool:
        try:
            await _run(("cryptsetup", "--batch-mode", "resize", seen.path), _secret(layer, mark), host)
        finally:
            device_mapper.look_again(host)
        return True

    async def lower(self, seen: LayerSeen, mark: LayerMark, host: Host) -> bool:
        try:
            done = await host.runner.run(Cmd(("cryptsetup", "close", seen.path), expect=(0, _BUSY)))
        finally:
            device_mapper.look_again(host)
        if done.code == _BUSY:
            raise HostError(
                f"'{seen.path}' is in use",
                code="busy",
                cause=f"Something has volume {mark.number} of '{mark.resource}' open.",
                correction="Unmount it or stop its user; it is tried again by itself.",
                name=mark.resource,
            )
        return True

    async def wipe(self, path: str, size_kib: int, host: Host) -> None:
        """Overwrite the key slots, then the head of the device: nothing on it can be read ever again.

        What is no LUKS device any more, because a pass that was cut has done it, is only overwritten.
        """
        if (await host.runner.run(Cmd(("cryptsetup", "isLuks", path), expect=(0, 1)))).code == 0:
            await host.runner.run(Cmd(("cryptsetup", "--batch-mode", "erase", path), timeout_s=_LIMIT_S))
        # Zeroes that are written, not asked for: thin storage would only forget where the keys are.
        argv = ("dd", "if=/dev/zero", f"of={path}", "bs=1024", f"count={min(_HEAD_KIB, size_kib)}")
        await host.runner.run(Cmd((*argv, "conv=fsync,notrunc,nocreat", "status=none"), timeout_s=_LIMIT_S))

    async def _close_half_made(self, name: str, host: Host) -> None:
        """Close what a pass that was cut had opened, so that its storage can be made anew."""
        for one in await device_mapper.devices(host, "crypt"):
            if one.name == name:
                await device_mapper.remove(host, one)


def _name(mark: LayerMark) -> str:
    """Of the open device; the name that LINSTOR gives."""
    return f"Linstor-Crypt-{mark.resource}_{mark.number:05d}"


def _seen(device: device_mapper.DmDevice) -> LayerSeen:
    # crypt: cipher, key, offset of the IV, device, offset of the data
    below = device.words[3] if len(device.words) > 3 else ""
    return LayerSeen(
        kind=LayerKind.LUKS,
        path=device.path,
        device=device.device,
        below=(below,),
        size_kib=device.size_kib,
        secret=True,
    )


def _secret(layer: TargetLayer, mark: LayerMark) -> bytes:
    if not layer.secret:
        raise HostError(
            f"Volume {mark.number} of '{mark.resource}' cannot be opened",
            code="locked",
            cause="The controller has no passphrase for it: it is locked.",
            correction="Enter the master passphrase: 'bollard encryption enter-passphrase'.",
            name=mark.resource,
        )
    return layer.secret.encode() + b"\n"


async def _format(layer: TargetLayer, lower: str, mark: LayerMark, secret: bytes, host: Host) -> None:
    options = _words(layer.options.get("FormatOptions", ""))
    memory = () if "pbkdf2" in options else ("--pbkdf-memory", str(_PBKDF_MEMORY_KIB))
    kind = () if any(word in options for word in _KIND) else ("--type", "luks2")
    argv = ("cryptsetup", "--batch-mode", "luksFormat", *kind, *memory, "--uuid", mark.volume_uuid)
    await _run((*argv, *options, lower), secret, host)


def _open_words(layer: TargetLayer) -> tuple[str, ...]:
    discards = layer.options.get("AllowDiscards", "").lower() in ("true", "yes")
    options = _words(layer.options.get("OpenOptions", ""))
    return (*options, "--allow-discards") if discards and "--allow-discards" not in options else options


def _words(text: str) -> tuple[str, ...]:
    """The user's options as words, without those that are not the user's to set."""
    found: list[str] = []
    skip = False
    for word in shlex.split(text.replace("=", " ")):
        if skip:
            skip = False
        elif word in _OURS:
            skip = word in _VALUED
        else:
            found.append(word)
    return tuple(found)


async def rekey(layer: TargetLayer, lower: str, mark: LayerMark, host: Host) -> None:
    """Let the header below open with the layer's passphrase, and no more with the one it had.

    Nothing is done when it does already. Raises HostError when none of the known passphrases opens it.
    """
    secret = _secret(layer, mark)
    test = ("cryptsetup", "--batch-mode", "open", "--test-passphrase", "--type", "luks", lower)
    if await _opens(test, secret, host):
        return
    change = ("cryptsetup", "--batch-mode", "luksChangeKey", "--pbkdf-memory", str(_PBKDF_MEMORY_KIB), lower)
    for earlier in reversed(layer.secrets_before):
        if await _opens(change, earlier.encode() + b"\n" + secret, host):
            return
    raise _wrong(lower)


async def _run(argv: tuple[str, ...], secret: bytes, host: Host) -> None:
    if not await _opens(argv, secret, host):
        raise _wrong(argv[-1])


async def _opens(argv: tuple[str, ...], secret: bytes, host: Host) -> bool:
    cmd = Cmd(argv, stdin=secret, timeout_s=_LIMIT_S, expect=(0, _WRONG_PASSPHRASE))
    return (await host.runner.run(cmd)).code != _WRONG_PASSPHRASE


def _wrong(lower: str) -> HostError:
    return HostError(
        f"'{lower}' does not open",
        code="wrong-passphrase",
        cause="Its header has no key for the passphrase that the controller has for it.",
        correction="Set the volume's passphrase to the one that it was made with.",
        name=lower,
    )
