"""Runs inside a node, with nothing but the standard library: executes commands that the host sends.

One connection a command. Request: one JSON line {argv, stdin (base64), background}. Answer: one JSON line
{code, stdout, stderr} with base64 texts. It listens on the control network only.
"""

import base64
import json
import socketserver
import subprocess

PORT = 7077


class _Handler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        line = self.rfile.readline()
        if not line:
            return
        self.wfile.write(json.dumps(_execute(json.loads(line))).encode() + b"\n")


def _execute(request: dict[str, object]) -> dict[str, object]:
    argv = [str(word) for word in list(request["argv"])]  # type: ignore[call-overload]  # a JSON list
    try:
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


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


def serve(address: str) -> None:
    """Answer for ever."""
    with _Server((address, PORT), _Handler) as server:
        server.serve_forever()
