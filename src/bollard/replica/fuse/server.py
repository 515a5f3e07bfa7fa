"""Serves volumes as the files RESOURCE/NUMBER of a FUSE file system. An open file is an open volume.

As with a DRBD device, opening makes a replicated volume Primary and the last close lets it go.
"""

import errno
import hashlib
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from bollard.replica.disk import Buffer
from bollard.replica.export import DEVICES, OWNED_BYTES, Exports, Volume, Writing
from bollard.replica.fuse import wire
from bollard.replica.fuse.mount import MAX_IO_BYTES, mount, unmount
from bollard.replica.fuse.wire import Attributes, Opcode
from bollard.replica.loop import READ, Loop

__all__ = ["FuseServer"]

_ROOT: Final = 1
_DEVICES: Final = DEVICES.rstrip("/")
_ROUND: Final = 64
_PUNCH: Final = 0x02
_ZERO_RANGE: Final = 0x10
_KEEP_SIZE: Final = 0x01
_DEAD: Final = (errno.ENODEV, errno.EBADF)
_log = logging.getLogger(__name__)

Handler = Callable[[wire.Header, memoryview], None]


class FuseServer:
    """One mount. Requests are answered in any order; nothing is ever written but to the volumes."""

    def __init__(self, loop: Loop, exports: Exports, folder: Path) -> None:
        """Mounts and serves from now on. Raises `mount.MountError`."""
        self._loop = loop
        self._exports = exports
        self._folder = folder
        self.devices = f"{_DEVICES}-{hashlib.blake2b(bytes(folder.absolute()), digest_size=6).hexdigest()}"
        """The folder in it for block devices: its name is its own, so that a device tells whose it is."""
        self._names: dict[int, str] = {_ROOT: ""}
        self._nodes: dict[str, tuple[int, Volume | None]] = {"": (_ROOT, None)}
        self._node_count = _ROOT
        self._open: dict[int, Volume] = {}
        self._handles = 0
        self._buffer = bytearray(MAX_IO_BYTES + wire.HEADER_BYTES + 4096)
        self._bursts: dict[int, list[Writing]] = {}
        self._writer = _Writer(self._wrote)
        self._fd = mount(folder)
        self._handlers: dict[int, Handler] = {
            Opcode.INIT: self._init,
            Opcode.LOOKUP: self._lookup,
            Opcode.GETATTR: self._getattr,
            Opcode.SETATTR: self._setattr,
            Opcode.OPEN: self._open_file,
            Opcode.READ: self._read,
            Opcode.WRITE: self._write,
            Opcode.FSYNC: self._fsync,
            Opcode.FALLOCATE: self._fallocate,
            Opcode.RELEASE: self._release,
            Opcode.READDIR: self._readdir,
            Opcode.OPENDIR: lambda head, _: self._answer(head.unique, wire.open_out(0)),
            Opcode.STATFS: lambda head, _: self._answer(head.unique, wire.statfs_out()),
        }
        for opcode in (Opcode.FLUSH, Opcode.RELEASEDIR, Opcode.FSYNCDIR, Opcode.DESTROY):
            self._handlers[opcode] = lambda head, _: self._answer(head.unique)
        # A request that was lost would be waited for without end: then better no files at all.
        loop.watch(self._fd, READ, self._on_ready, self.close)

    @property
    def address(self) -> str:
        """Where the files are."""
        return str(self._folder)

    def close(self) -> None:
        """Unmount, and give the open volumes back."""
        if self._fd < 0:
            return
        unmount(self._folder)
        self._gone()

    def _gone(self) -> None:
        self._loop.forget(self._fd)
        os.close(self._fd)
        self._fd = -1
        opened, self._open = self._open, {}
        for volume in opened.values():
            volume.close()

    # -- requests

    def _on_ready(self, _events: int) -> None:
        """All that wait, up to a round; short writes of one file go to its volume together."""
        whole = memoryview(self._buffer)
        for _ in range(_ROUND):
            try:
                length = os.readv(self._fd, [self._buffer])
            except (BlockingIOError, InterruptedError):
                break
            except OSError as error:
                if error.errno == errno.ENOENT:
                    continue  # it was interrupted before we took it
                if error.errno not in _DEAD:
                    raise
                _log.info("%s was unmounted", self._folder)
                self._bursts.clear()
                self._gone()
                return
            message = whole[:length]
            head = wire.header_of(message)
            if head.opcode in (Opcode.FORGET, Opcode.BATCH_FORGET):
                continue
            handler = self._handlers.get(head.opcode)
            if handler is None:
                self._refuse(head.unique, errno.ENOSYS)
            else:
                handler(head, message[wire.HEADER_BYTES :])
        self._write_bursts()

    def _answer(self, unique: int, *parts: Buffer) -> None:
        self._send(wire.reply(unique, 0, *(bytes(part) for part in parts)))

    def _refuse(self, unique: int, code: int) -> None:
        self._send(wire.reply(unique, code))

    def _send(self, pieces: list[bytes]) -> None:
        if self._fd < 0:
            return
        try:
            os.writev(self._fd, pieces)
        except OSError as error:
            # ENOENT: whoever asked has been killed and waits no more.
            if error.errno not in (errno.ENOENT, *_DEAD):
                raise

    def _init(self, head: wire.Header, body: memoryview) -> None:
        _, _, readahead, flags = wire.init_in(body)
        self._answer(head.unique, wire.init_out(readahead, flags, MAX_IO_BYTES))

    # -- names

    def _node(self, name: str, volume: Volume | None = None) -> int:
        """Another volume under a name is another file: what was attached to the old one does not reach it."""
        node, known = self._nodes.get(name, (0, None))
        if not node or known is not volume:
            self._names.pop(node, None)
            self._node_count += 1
            node = self._node_count
            self._nodes[name] = node, volume
            self._names[node] = name
        return node

    def _attributes(self, name: str) -> Attributes | None:
        """Of `` (the root), `RESOURCE` or `RESOURCE/NUMBER`; None when there is no such thing now."""
        volume = self._exports.exact(name)
        if volume is not None:
            return Attributes(self._node(name, volume), volume.size_bytes, volume.read_only)
        if name and not self._exports.within(name):
            return None
        return Attributes(self._node(name), None)

    def _inside(self, folder: str) -> list[str]:
        """The names in a folder."""
        if folder:
            return [known for known, _ in self._exports if known.startswith(folder + "/")]
        return sorted({known.partition("/")[0] for known, _ in self._exports})

    def _lookup(self, head: wire.Header, body: memoryview) -> None:
        word = bytes(body).split(b"\0", 1)[0].decode("utf-8", "replace")
        folder = self._names.get(head.node, "")
        if not folder and word == _DEVICES:
            word = ""
        elif not folder and word == self.devices:
            word = _DEVICES
        found = self._attributes(f"{folder}/{word}" if folder else word)
        if found is None:
            self._refuse(head.unique, errno.ENOENT)
        else:
            self._answer(head.unique, wire.entry_out(found))

    def _getattr(self, head: wire.Header, _body: memoryview) -> None:
        name = self._names.get(head.node)
        found = self._attributes(name) if name is not None else None
        if found is None or found.node != head.node:
            self._refuse(head.unique, errno.ESTALE)
        else:
            self._answer(head.unique, wire.attr_out(found))

    def _setattr(self, head: wire.Header, body: memoryview) -> None:
        """Nothing can be set; a wish to truncate is passed over, as a block device does."""
        self._getattr(head, body)

    def _readdir(self, head: wire.Header, body: memoryview) -> None:
        _, offset, limit = wire.read_in(body)
        parts: list[bytes] = []
        room = limit
        names = self._inside(self._names.get(head.node, ""))
        for index, name in enumerate(names[offset:], offset + 1):
            found = self._attributes(name)
            if found is None:
                continue
            piece = wire.dirent(found, name.rpartition("/")[2].encode(), index)
            if len(piece) > room:
                break
            parts.append(piece)
            room -= len(piece)
        self._answer(head.unique, *parts)

    # -- files

    def _open_file(self, head: wire.Header, _body: memoryview) -> None:
        name = self._names.get(head.node, "")
        volume = self._exports.exact(name)
        if volume is None:
            self._refuse(head.unique, errno.ENOENT)
            return

        def opened(refusal: str) -> None:
            if refusal:
                _log.warning("%s is not opened: %s", name, refusal)
                # What DRBD's device says to those who open it while another node is Primary.
                self._refuse(head.unique, errno.EMEDIUMTYPE)
                return
            if self._fd < 0:
                volume.close()
                return
            self._handles += 1
            self._open[self._handles] = volume
            self._answer(head.unique, wire.open_out(self._handles))

        volume.open(opened)

    def _release(self, head: wire.Header, body: memoryview) -> None:
        self._write_bursts()
        volume = self._open.pop(wire.handle_in(body), None)
        if volume is not None:
            volume.close()
        self._answer(head.unique)

    def _read(self, head: wire.Header, body: memoryview) -> None:
        self._write_bursts()
        handle, offset, length = wire.read_in(body)
        volume = self._open.get(handle)
        if volume is None:
            self._refuse(head.unique, errno.EBADF)
            return
        length = max(0, min(length, volume.size_bytes - offset))
        block = volume.block_bytes
        start = offset - offset % block
        end = min(volume.size_bytes, -(-(offset + length) // block) * block)
        if not length:
            self._answer(head.unique)
            return

        def done(unique: int, code: int, data: Buffer) -> None:
            if code:
                self._refuse(unique, code)
            else:
                self._answer(unique, memoryview(data)[offset - start : offset - start + length])

        direct = volume.direct()
        data = direct.read_now(start, end - start) if direct is not None else None
        if data is not None:
            volume.count_reads(end - start)
            done(head.unique, 0, data)
        else:
            volume.read(start, end - start, head.unique, done)

    def _write(self, head: wire.Header, body: memoryview) -> None:
        handle, offset, data = wire.write_in(body)
        volume = self._open.get(handle)
        code = errno.EBADF if volume is None else _why_not(volume, offset, len(data))
        if volume is None or code:
            self._refuse(head.unique, code)
            return
        copy = bytes(data)
        if len(copy) < OWNED_BYTES:
            asked = (self._writer, _cookie(head.unique, len(copy)))
            self._bursts.setdefault(handle, []).append((offset, memoryview(copy), asked))
            return

        def done(unique: int, code: int, _data: Buffer) -> None:
            self._wrote(unique, code, len(copy))

        self._write_bursts()
        volume.write(offset, copy, False, head.unique, done)

    def _write_bursts(self) -> None:
        bursts, self._bursts = self._bursts, {}
        for handle, writes in bursts.items():
            self._open[handle].write_burst(writes)

    def _wrote(self, unique: int, code: int, length: int) -> None:
        if code:
            self._refuse(unique, code)
        else:
            self._answer(unique, wire.write_out(length))

    def _fsync(self, head: wire.Header, body: memoryview) -> None:
        self._write_bursts()
        volume = self._open.get(wire.handle_in(body))
        if volume is None:
            self._refuse(head.unique, errno.EBADF)
        else:
            volume.flush(head.unique, self._done)

    def _fallocate(self, head: wire.Header, body: memoryview) -> None:
        """Only what keeps the size: holes and zeroes, which both read as zeroes afterwards."""
        self._write_bursts()
        handle, offset, length, mode = wire.fallocate_in(body)
        volume = self._open.get(handle)
        kind = mode & ~_KEEP_SIZE
        if volume is None or kind not in (_PUNCH, _ZERO_RANGE):
            self._refuse(head.unique, errno.EBADF if volume is None else errno.EOPNOTSUPP)
            return
        length = min(length, volume.size_bytes - offset)
        if code := _why_not(volume, offset, length):
            self._refuse(head.unique, code)
        else:
            volume.zero(offset, length, head.unique, self._done, may_unmap=kind == _PUNCH, fua=False)

    def _done(self, unique: int, code: int, _data: Buffer) -> None:
        if code:
            self._refuse(unique, code)
        else:
            self._answer(unique)


def _cookie(unique: int, length: int) -> bytes:
    return (unique << 32 | length).to_bytes(12)


class _Writer:
    """`export.Client` for short writes that were taken together."""

    def __init__(self, wrote: Callable[[int, int, int], None]) -> None:
        self._wrote = wrote

    def wrote(self, cookies: list[bytes]) -> None:
        for cookie in cookies:
            self.written(int.from_bytes(cookie), 0, b"")

    def written(self, cookie: int, code: int, _data: Buffer) -> None:
        self._wrote(cookie >> 32, code, cookie & 0xFFFF_FFFF)


def _why_not(volume: Volume, offset: int, length: int) -> int:
    """The errno of a change that the volume cannot take; 0 when it can."""
    if volume.read_only:
        return errno.EROFS
    if offset < 0 or length <= 0 or offset + length > volume.size_bytes:
        return errno.ENOSPC
    if offset % volume.block_bytes or length % volume.block_bytes:
        return errno.EINVAL
    return 0
