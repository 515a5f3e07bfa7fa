"""Runs inside a node, with nothing but the standard library: executes commands that the host sends.

One connection a command. Request: one JSON line {argv, stdin (base64), background}. Answer: one JSON line
{code, stdout, stderr} with base64 texts. `@read PATH` and its like take no
process. It listens on the control network only.
"""

import base64
import json
import os
import socketserver
import stat
import subprocess

PORT = 7077
_FILES = ("@read", "@write", "@remove", "@list")
_TREE = ("@put", "@make", "@drop", "@link", "@ask", "@device", "@claimed")


class _Handler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        line = self.rfile.readline()
        if not line:
            return
        self.wfile.write(json.dumps(_execute(json.loads(line))).encode() + b"\n")


def _execute(request: dict[str, object]) -> dict[str, object]:
    argv = [str(word) for word in list(request["argv"])]  # type: ignore[call-overload]  # a JSON list
    try:
        if argv[0] in _TREE:
            said = _in_tree(argv, base64.b64decode(str(request.get("stdin") or "")))
            return {"code": 0, "stdout": _text(said), "stderr": ""}
        if argv[0] in _FILES:
            return _on_file(argv, base64.b64decode(str(request.get("stdin") or "")))
        if request.get("background"):
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            return {"code": 0, "stdout": _text(str(process.pid).encode()), "stderr": ""}
        data = base64.b64decode(str(request.get("stdin") or ""))
        done = subprocess.run(argv, input=data, capture_output=True, check=False)
    except OSError as error:
        return {"code": 127, "stdout": "", "stderr": _text(str(error).encode())}
    return {"code": done.returncode, "stdout": _text(done.stdout), "stderr": _text(done.stderr)}


def _on_file(argv: list[str], data: bytes) -> dict[str, object]:
    """Small files without a process, of which each costs a node 20 ms and more."""
    path, said = argv[1], b""
    match argv[0]:
        case "@read":
            with open(path, "rb") as file:  # noqa: PTH123  # pathlib is slow to load here
                said = file.read()
        case "@write":
            fd = os.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, int(argv[2], 8))
            with open(fd, "wb") as file:  # noqa: PTH123
                file.write(data)
            os.replace(path + ".new", path)  # noqa: PTH105
        case "@remove":
            os.unlink(path)  # noqa: PTH108
        case "@list":
            said = "\n".join(sorted(os.listdir(path))).encode()  # noqa: PTH208
    return {"code": 0, "stdout": _text(said), "stderr": ""}


def _in_tree(argv: list[str], data: bytes) -> bytes:
    """What the kernel's own files need: writes in place, folders, links, and one file for both ways."""
    path = argv[1]
    match argv[0]:
        case "@put" | "@ask":
            fd = os.open(path, os.O_RDWR if argv[0] == "@ask" else os.O_WRONLY)
            try:
                os.write(fd, data)
                return os.read(fd, 4096) if argv[0] == "@ask" else b""
            finally:
                os.close(fd)
        case "@make":
            os.mkdir(path)  # noqa: PTH102
        case "@drop":
            os.rmdir(path)  # noqa: PTH106
        case "@link":
            os.symlink(argv[2], path)  # noqa: PTH211
        case "@device":
            seen = os.stat(path)  # noqa: PTH116
            if stat.S_ISBLK(seen.st_mode):
                return f"{os.major(seen.st_rdev)}:{os.minor(seen.st_rdev)}".encode()
        case "@claimed":
            os.close(os.open(path, os.O_RDONLY | os.O_EXCL | os.O_NONBLOCK))
    return b""


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 64


def serve(address: str) -> None:
    """Answer for ever."""
    with _Server((address, PORT), _Handler) as server:
        server.serve_forever()
