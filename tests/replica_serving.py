"""A data path inside the test process: a loop on a thread that serves plain volumes over NBD."""

import contextlib
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bollard.replica.disk import Backing
from bollard.replica.export import Exports, PlainVolume, Volume
from bollard.replica.loop import Loop
from bollard.replica.nbd.listen import NbdListener, listen_tcp, listen_unix


@dataclass
class Serving:
    """Where the volume `vol/0` is served, and its backing file."""

    loop: Loop
    unix: str
    tcp: str
    file: Path
    volume: Volume

    def uri(self) -> str:
        return f"nbd+unix:///vol/0?socket={self.unix.removeprefix('unix:')}"


@contextlib.contextmanager
def serving(
    directory: Path,
    size_bytes: int = 16 << 20,
    *,
    read_only: bool = False,
    tls: ssl.SSLContext | None = None,
    volume: Volume | None = None,
) -> Iterator[Serving]:
    """Serves one volume on a Unix and a TCP socket until the block ends."""
    file = directory / "backing"
    with file.open("ab") as out:
        out.truncate(size_bytes)
    loop = Loop()
    exports = Exports()
    backing = Backing(loop, str(file), read_only=read_only)
    served = volume or PlainVolume("vol/0", backing)
    exports.add("vol/0", served)
    listeners = [
        NbdListener(loop, listen_unix(str(directory / "nbd.sock")), exports, default_export="vol/0"),
        NbdListener(loop, listen_tcp("127.0.0.1", 0), exports, default_export="vol/0", tls=tls),
    ]
    unix, tcp = (listener.address for listener in listeners)
    thread = threading.Thread(target=loop.run, name="nbd-loop")
    thread.start()
    try:
        yield Serving(loop, unix, tcp, file, served)
    finally:
        loop.stop()
        thread.join(10)
        assert not thread.is_alive()
        for listener in listeners:
            listener.close()
        backing.close()
        loop.close()
        assert loop.failures == 0, "a handler of the data process failed"
