"""The REST API as calls: one connection pool, several controllers tried in order, typed failures.

Replies are plain JSON values: this client adds no second model of the API.
"""

import ipaddress
import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

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


class Insecure(ClientError):
    """The token would cross the network in the clear."""


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
        allow_insecure_auth: bool = False,
    ) -> None:
        assert controllers, "at least one controller address"
        files = tls or Tls()
        self._urls = list(controllers)
        self._headers = {"Accept": "application/json", "Accept-Encoding": "gzip"}
        self._token = token
        self._allow_insecure_auth = allow_insecure_auth
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
        answer, url = self._answer(method, target, data)
        return _reply(url, answer.status, answer.data)

    def download(self, path: str, query: Query | None = None) -> tuple[Reply, str, bytes]:
        """A file: the reply (no body when it is accepted), the name that the server gives it, its bytes."""
        answer, url = self._answer("GET", path + _query_text(query), None)
        if answer.status >= 400:
            return _reply(url, answer.status, answer.data), "", b""
        said = answer.headers.get("Content-Disposition", "")
        name = said.partition("filename=")[2].strip('"').rpartition("/")[2]
        return Reply(answer.status, None), name or "download", answer.data

    def _answer(self, method: str, target: str, data: bytes | None) -> tuple[Any, str]:
        """The first controller's answer, and its address. Raises NoController, TimedOut or Insecure."""
        headers = dict(self._headers)
        if data is not None:
            headers["Content-Type"] = "application/json"
        failures: list[str] = []
        for listed in list(self._urls):
            url = listed
            try:
                if self._token is not None and self._needs_tls(url):
                    url = self._under_tls(url)
                answer = self._pool.request(
                    method, url + target, body=data, headers=headers | self._key(), redirect=False
                )
                moved = _https_of(answer)
                if moved is not None:
                    url = moved
                    answer = self._pool.request(
                        method, url + target, body=data, headers=headers | self._key(), redirect=False
                    )
            except urllib3.exceptions.ReadTimeoutError as error:
                raise TimedOut(f"{url} did not answer in time") from error
            except urllib3.exceptions.HTTPError as error:
                failures.append(f"{url}: {_reason(error)}")
                continue
            self._prefer(listed, url)
            return answer, url
        raise NoController("No controller can be reached (" + "; ".join(failures) + ")")

    def curl(self, method: str, path: str, *, body: object = None, query: Query | None = None) -> str:
        """The same call as a curl command line, without the token."""
        words = ["curl", "-X", method]
        if body is not None:
            words += ["-H", "Content-Type: application/json", "-d", msgspec.json.encode(body).decode()]
        return shlex.join([*words, self.url + path + _query_text(query)])

    def _key(self) -> dict[str, str]:
        return {} if self._token is None else {"Authorization": f"Bearer {self._token}"}

    def _needs_tls(self, url: str) -> bool:
        return url.startswith("http://") and not self._allow_insecure_auth and not _is_here(url)

    def _under_tls(self, url: str) -> str:
        """Where this controller is under TLS: it is asked without the token. Raises Insecure."""
        moved = _https_of(self._pool.request("GET", url + "/v1/controller/version", redirect=False))
        if moved is None:
            raise Insecure(
                f"the token would be sent to {url} in the clear. Use https://, or say --allow-insecure-auth"
            )
        return moved

    def _prefer(self, listed: str, url: str) -> None:
        self._urls.remove(listed)
        self._urls.insert(0, url)


def _https_of(answer: Any) -> str | None:
    """The address under TLS that a controller says it has, on the same port or another."""
    where = answer.headers.get("Location", "") if answer.status in {301, 302, 307, 308} else ""
    parts = urlsplit(where)
    return f"https://{parts.netloc}" if parts.scheme == "https" and parts.netloc else None


def _is_here(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


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
