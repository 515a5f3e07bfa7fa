"""The REST client against a small server: fail-over, refusals, and replies that are no controller's."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from bollard.client.rest import BadReply, NoController, RestClient, controller_urls, path_of


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        status, body = (200, json.dumps({"path": self.path, "auth": self.headers.get("Authorization")}))
        if self.path == "/refused":
            status, body = 404, json.dumps([{"ret_code": -1, "message": "no"}])
        if self.path == "/html":
            status, body = 502, "<html>"
        data = body.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_args: object) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize(
    ("text", "urls"),
    [
        ("a", ["http://a:3370"]),
        ("a:1,linstor://b", ["http://a:1", "http://b:3370"]),
        ("linstor+ssl://c,https://d:9", ["https://c:3371", "https://d:9"]),
        ("[::1]", ["http://[::1]:3370"]),
    ],
)
def test_addresses(text: str, urls: list[str]) -> None:
    assert controller_urls(text) == urls


def test_an_unknown_scheme_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown scheme"):
        controller_urls("ftp://a")


def test_parts_of_a_path_are_encoded() -> None:
    assert path_of("nodes", "a/b", "x y") == "/v1/nodes/a%2Fb/x%20y"


def test_the_first_controller_that_answers_is_kept(url: str) -> None:
    client = RestClient(["http://127.0.0.1:1", url], token="secret")
    reply = client.get("/v1/x", {"nodes": ["a", "b"], "cached": True, "none": None})
    assert reply.body == {"path": "/v1/x?nodes=a&nodes=b&cached=true", "auth": "Bearer secret"}
    assert client.url == url


def test_a_refusal_is_a_reply(url: str) -> None:
    reply = RestClient([url]).get("/refused")
    assert not reply.ok
    assert reply.entries() == [{"ret_code": -1, "message": "no"}]


def test_something_else_that_answers_is_said(url: str) -> None:
    with pytest.raises(BadReply, match="502"):
        RestClient([url]).get("/html")


def test_nobody_there() -> None:
    with pytest.raises(NoController, match="127.0.0.1:1"):
        RestClient(["http://127.0.0.1:1"]).get("/")


def test_curl_does_not_show_the_token() -> None:
    line = RestClient(["http://h:1"], token="secret").curl("POST", "/v1/nodes", body={"name": "it's"})
    assert "secret" not in line
    assert "it'\"'\"'s" in line
