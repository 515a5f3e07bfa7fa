"""The REST API as calls: one connection pool, several controllers tried in order, typed failures.

Replies are plain JSON values: this client adds no second model of the API.
"""

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode

import msgspec
import urllib3

DEFAULT_PORT = 3370
DEFAULT_TLS_PORT = 3371
DEFAULT_TIMEOUT_S = 300.0

Query = Mapping[str, object]


class ClientError(Exception):
    """The call did not get a usable reply."""


class NoController(ClientError):
    """No controller of the list could be reached."""


class TimedOut(ClientError):
    """The controller did not answer in time; the command may still be carried out."""


class BadReply(ClientError):
    """What answered is not a controller."""


class Reply(msgspec.Struct, frozen=True):
    """Status and decoded body; `text` when the body is not JSON."""

    status: int
    body: Any
    text: str = ""

    @property
    def ok(self) -> bool:
        """Whether the controller accepted the call."""
        return self.status < 400

    def entries(self) -> list[dict[str, Any]]:
        """The ApiCallRc entries of the reply; an empty list for plain data."""
        if isinstance(self.body, list):
            return [entry for entry in self.body if isinstance(entry, dict) and "ret_code" in entry]
        return []


class Tls(msgspec.Struct, frozen=True):
    """Files for HTTPS, all optional: our certificate and key, and the authority of the controller."""

    cert_file: str | None = None
    key_file: str | None = None
    ca_file: str | None = None


def controller_urls(text: str) -> list[str]:
    """URLs of a comma list of HOST[:PORT], linstor://, linstor+ssl://, http:// and https:// addresses."""
    return [_url(part.strip()) for part in text.split(",") if part.strip()]


def _url(text: str) -> str:
    scheme, mark, rest = text.partition("://")
    if not mark:
        scheme, rest = "linstor", text
    secure = scheme in {"https", "linstor+ssl"}
    if scheme not in {"http", "https", "linstor", "linstor+ssl"}:
        raise ValueError(f"'{text}' is not a controller address: unknown scheme '{scheme}'")
    host = rest.rstrip("/")
    if ":" not in host.rpartition("]")[2]:
        host = f"{host}:{DEFAULT_TLS_PORT if secure else DEFAULT_PORT}"
    return f"{'https' if secure else 'http'}://{host}"


def path_of(*parts: object) -> str:
    """A path below /v1 with every part percent-encoded."""
    return "/v1/" + "/".join(quote(str(part), safe="") for part in parts)


class RestClient:
    """Calls to the first controller of the list that answers; it is kept for the calls that follow."""

    def __init__(
        self,
        controllers: Sequence[str],
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        token: str | None = None,
        tls: Tls | None = None,
    ) -> None:
        assert controllers, "at least one controller address"
        files = tls or Tls()
        self._urls = list(controllers)
        self._headers = {"Accept": "application/json", "Accept-Encoding": "gzip"}
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token}"
        self._pool = urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=min(timeout_s, 5.0), read=timeout_s),
            retries=False,
            cert_file=files.cert_file,
            key_file=files.key_file,
            ca_certs=files.ca_file,
        )

    @property
    def url(self) -> str:
        """The controller in use."""
        return self._urls[0]

    def get(self, path: str, query: Query | None = None) -> Reply:
        """Read."""
        return self.call("GET", path, query=query)

    def post(self, path: str, body: object = None, query: Query | None = None) -> Reply:
        """Create or act."""
        return self.call("POST", path, body=body, query=query)

    def put(self, path: str, body: object = None, query: Query | None = None) -> Reply:
        """Modify."""
        return self.call("PUT", path, body=body, query=query)

    def delete(self, path: str, body: object = None, query: Query | None = None) -> Reply:
        """Delete."""
        return self.call("DELETE", path, body=body, query=query)

    def call(self, method: str, path: str, *, body: object = None, query: Query | None = None) -> Reply:
        """One call. Raises NoController, TimedOut or BadReply; a refusal is a reply."""
        target = path + _query_text(query)
        data = None if body is None else msgspec.json.encode(body)
        headers = dict(self._headers)
        if data is not None:
            headers["Content-Type"] = "application/json"
        failures: list[str] = []
        for url in list(self._urls):
            try:
                answer = self._pool.request(method, url + target, body=data, headers=headers)
            except urllib3.exceptions.ReadTimeoutError as error:
                raise TimedOut(f"{url} did not answer in time") from error
            except urllib3.exceptions.HTTPError as error:
                failures.append(f"{url}: {_reason(error)}")
                continue
            self._prefer(url)
            return _reply(url, answer.status, answer.data)
        raise NoController("No controller can be reached (" + "; ".join(failures) + ")")

    def curl(self, method: str, path: str, *, body: object = None, query: Query | None = None) -> str:
        """The same call as a curl command line, without the token."""
        words = ["curl", "-X", method]
        if body is not None:
            words += ["-H", "Content-Type: application/json", "-d", msgspec.json.encode(body).decode()]
        return shlex.join([*words, self.url + path + _query_text(query)])

    def _prefer(self, url: str) -> None:
        self._urls.remove(url)
        self._urls.insert(0, url)


def _query_text(query: Query | None) -> str:
    pairs: list[tuple[str, str]] = []
    for name, value in (query or {}).items():
        values = value if isinstance(value, list | tuple) else [value]
        pairs += [(name, _word(item)) for item in values if item is not None]
    return "?" + urlencode(pairs) if pairs else ""


def _word(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _reason(error: Exception) -> str:
    """The innermost cause: what a person can act on."""
    inner: BaseException = error
    while (deeper := inner.__cause__ or getattr(inner, "reason", None)) is not None:
        if not isinstance(deeper, BaseException):
            return str(deeper)
        inner = deeper
    return str(getattr(inner, "strerror", None) or inner)


def _reply(url: str, status: int, data: bytes) -> Reply:
    if not data:
        return Reply(status, None)
    try:
        return Reply(status, msgspec.json.decode(data))
    except msgspec.DecodeError:
        text = data.decode("utf-8", "replace")
    if status >= 400:
        raise BadReply(f"{url} answered {status} and no JSON: {json.dumps(text[:200])}")
    return Reply(status, None, text)
