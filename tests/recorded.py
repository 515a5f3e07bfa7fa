"""Replays what clients asked of LINSTOR 1.34 against our controller, and says where the answers differ.

The recordings have codes, shapes and values; texts, times, uuids and free space are masked on both sides.
"""

import json
import lzma
import pathlib
import re
from collections import Counter
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

from bollard.controller.reports import Reports
from bollard.controller.rest.api import OpenGuard
from bollard.controller.rest.guard import KeyGuard
from bollard.controller.service import Service
from bollard.controller.store.memory import MemoryStore
from bollard.controller.vault import MasterVault
from bollard.wire.rest import codes
from bollard.wire.rest.codes import Mask
from http_driver import HttpDriver
from instant_satellites import FOLDERS, InstantSatellites
from rest_driver import CountingDraw, Driver, Reply, StillClock

FOLDER = pathlib.Path(__file__).parent / "golden" / "recorded"
SECTIONS = (
    *("controller", "nodes", "pools", "rd", "resources", "autoplace", "groups", "snapshots", "misc"),
    *("encryption", "events", "offline", "auth"),
)
"""In the order in which they were recorded: each builds on those before it."""
_WITHOUT_TOKEN = frozenset({"no token", "wrong token", "basic"})
"""What the exchanges are called that bring no good token on purpose."""

_ADDRESSES = {f"10.99.0.1{number}" for number in (1, 2, 3)}
_SPACE_KIB = {"n1": (31139756, 31391744), "n3": (41552420, 41877504)}
_SPACE_KIB_ELSE = (31139764, 31391744)
_TEXTS = frozenset(
    {
        "message",
        "cause",
        "correction",
        "details",
        "created_at",
        "error_report_ids",
        "reports",
        "info",
        "text",
        "reportText",
        "exception",
        "exception_message",
        "origin_file",
        "origin_method",
        "origin_line",
        "filename",
        "connection_url",
        "unsupported_layers",
        "unsupported_providers",
    }
)
_VOLATILE = frozenset(
    {
        "free_capacity",
        "total_capacity",
        "free_space_mgr_name",
        "allocated_size_kib",
        "usable_size_kib",
        "create_timestamp",
        "build_time",
        "git_hash",
        "version",
        "DrbdCurrentGi",
        "backing_device",
        "device_path",
        "error_time",
        "size",
        "directory",
    }
)
_RULES = frozenset(
    {
        *("secret", "storage_providers", "resource_layers", "tcp_ports"),
        "DrbdOptions/Disk/discard-zeroes-if-aligned",
    }
)
"""Members that differ by a rule of the page, everywhere."""
_NAMES = ("node_name", "resource_name", "storage_pool_name", "name", "volume_number", "nodes")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[.\d]*Z?")
_LEFT_BEHIND = frozenset({"lk"})
"""What LINSTOR could not remove without the tools for encryption."""
_COST = 1 << 8
"""Of scrypt: passphrases are entered often here."""
_LATE_MS = 1_500_000_000_000
_TYPES = {
    ("controller", 36): "text/plain;version=0.0.4",
    ("controller", 37): "text/plain",
    ("controller", 57): "text/plain",
    ("misc", 1491): "text/plain;version=0.0.4",
}
"""The kind of content where it is not JSON."""


def exchanges(section: str) -> list[dict[str, Any]]:
    """The exchanges and actions of a section, in order."""
    with lzma.open(FOLDER / f"{section}.jsonl.xz", "rt") as lines:
        return [json.loads(line) for line in lines]


class Town:
    """A controller with three satellites that do everything at once, as the recordings expect."""

    def __init__(self) -> None:
        self.away: set[str] = set()
        self.token: str | None = None

    async def serve(self) -> HttpDriver:
        """The application behind a real port, ready for the first exchange."""
        driver = HttpDriver((await self.start()).app)
        await driver.start()
        return driver

    async def start(self) -> Driver:
        """The application, ready for the first exchange."""
        satellites = InstantSatellites(
            there=lambda node: bool(
                (link := node.link()) and link.address in _ADDRESSES and node.name not in self.away
            ),
            folder_exists=lambda path: path.startswith("/srv/recorded/pools/"),
            space_kib=lambda node: _SPACE_KIB.get(node, _SPACE_KIB_ELSE),
        )
        self.satellites = satellites
        store = MemoryStore()
        await store.open()
        clock = StillClock()
        reports = Reports(store, clock, node="host", version="1")
        vault = MasterVault(_COST)
        service = Service(store, satellites, clock=clock, draw=CountingDraw(), reports=reports, vault=vault)
        satellites.service = service
        await service.start()
        self.service = service
        driver = Driver(service, store=store)
        driver.app.api.guard = KeyGuard(OpenGuard(), lambda: service.cluster, clock)
        return driver

    async def act(self, words: list[str]) -> None:
        """Something outside of the API happens: `stop process n3`, `r1 becomes Primary on n1`."""
        match words:
            case ["stop" | "start", "process", "ctl"]:
                # A controller that was started anew does not know the passphrase.
                self.service.vault = MasterVault(_COST)
                return
            case ["stop", "process", node]:
                self.away.add(node)
            case ["start", "process", node]:
                self.away.discard(node)
            case [resource, "becomes", role, "on", node]:
                self.satellites.use(resource, node, in_use=role == "Primary")
            case _:
                return
        self.satellites.poke(node)
        await self.quiet()

    async def quiet(self) -> None:
        """Until the nodes have answered and the automatics have done what follows from that."""
        await self.satellites.quiet()


async def three_nodes() -> tuple[Town, Driver]:
    """A town with three nodes that have a thin pool each, `pthin`."""
    town = Town()
    driver = await town.start()
    for number in (1, 2, 3):
        link: dict[str, Any] = {"name": "default", "address": f"10.99.0.1{number}"}
        link |= {"satellite_port": 3366, "satellite_encryption_type": "PLAIN"}
        node = {"name": f"n{number}", "type": "SATELLITE", "net_interfaces": [link]}
        assert (await driver.ask("POST", "/v1/nodes", node)).status == 201
        pool = {
            "storage_pool_name": "pthin",
            "provider_kind": "FILE_THIN",
            "props": {"StorDriver/FileDir": f"/srv/recorded/pools/n{number}/thin"},
        }
        made = await driver.ask("POST", f"/v1/nodes/n{number}/storage-pools", pool)
        assert made.status == 201, made.content
    await town.quiet()
    return town, driver


class Nodes:
    """Nodes and pools as they were: what a section deletes was made anew, unrecorded, before the next one."""

    def __init__(self) -> None:
        self._nodes: list[dict[str, Any]] = []
        self._pools: list[dict[str, Any]] = []

    async def note(self, driver: HttpDriver) -> None:
        """Remember what is there."""
        self._nodes = json.loads((await driver.ask("GET", "/v1/nodes")).content)
        self._pools = json.loads((await driver.ask("GET", "/v1/view/storage-pools")).content)

    async def bring_back(self, driver: HttpDriver) -> None:
        """Make what is missing."""
        there = {node["name"] for node in json.loads((await driver.ask("GET", "/v1/nodes")).content)}
        for node in self._nodes:
            if node["name"] not in there:
                props = {key: value for key, value in node["props"].items() if key.startswith("Aux/")}
                body = {key: node[key] for key in ("name", "type", "net_interfaces")} | {"props": props}
                await driver.ask("POST", "/v1/nodes", body)
        for pool in self._pools:
            if pool["node_name"] not in there and pool["provider_kind"] != "DISKLESS":
                body = {key: pool[key] for key in ("storage_pool_name", "provider_kind", "props")}
                body["props"] = {key: value for key, value in body["props"].items() if key in FOLDERS}
                await driver.ask("POST", f"/v1/nodes/{pool['node_name']}/storage-pools", body)


def token_for(town: Town, exchange: dict[str, Any]) -> str | None:
    """The token that the recording brought along with this request; it is not part of what was kept."""
    return None if exchange.get("tag") in _WITHOUT_TOKEN else town.token


def keep_token(town: Town, exchange: dict[str, Any], reply: Reply) -> None:
    """Remember the token with which the recording went on: the one that switched tokens on."""
    if exchange["request"]["path"].endswith("/initialize-token-auth") and town.token is None:
        town.token = reply.json[0]["obj_refs"]["token"]


async def ask(driver: HttpDriver, request: dict[str, Any], token: str | None = None) -> Reply:
    """Send a recorded request."""
    query = request.get("query")
    path = request["path"] + ("?" + urlencode(query, doseq=True) if query else "")
    raw = request.get("raw_body")
    headers = {name.lower(): value for name, value in request.get("headers", {}).items()}
    if token is not None:
        headers["authorization"] = f"Bearer {token}"
    return await driver.ask(
        request["method"],
        path,
        request.get("body"),
        raw=raw.encode() if raw is not None else None,
        headers=headers,
    )


def different(section: str, expected: dict[str, Any], reply: Reply) -> list[str]:
    """How an answer differs from the recorded one beyond the rules of the page; empty: not at all."""
    try:
        body = json.loads(reply.content) if reply.content else None
    except ValueError:
        body = None
    numbers = [entry["ret_code"] for entry in body] if _is_answers(body) else None
    if numbers is not None and numbers[0] == codes.PARSE_ERROR and "codes" in expected:
        return [] if _refused(expected["status"]) else ["refused as malformed"]
    if expected["status"] != reply.status:
        return [f"status {reply.status}, not {expected['status']}"]
    if numbers is not None and _refused(reply.status) and expected.keys() == {"status"}:
        return []
    if "codes" in expected and numbers is not None:
        return _missing_codes(expected["codes"], numbers)
    wanted = expected.get("body")
    if section == "offline" and isinstance(wanted, list):
        wanted = [item for item in wanted if item.get("name") not in _LEFT_BEHIND]
    return list(_differences(_masked(wanted), _masked(body), "$"))


def _refused(status: int) -> bool:
    return status >= HTTPStatus.BAD_REQUEST


def different_headers(section: str, number: int, reply: Reply) -> list[str]:
    """How the headers that tell something differ from the recorded ones; a status of 401 names the scheme."""
    found = []
    wanted = _TYPES.get((section, number), "application/json")
    if (
        reply.content
        and reply.headers.get("content-type", "").replace(" ", "").partition(";charset")[0] != wanted
    ):
        found.append(f"content type {reply.headers.get('content-type')}, not {wanted}")
    if reply.status == HTTPStatus.UNAUTHORIZED:
        scheme = reply.headers.get("www-authenticate")
        if scheme != 'Bearer realm="linstor-controller"':
            found.append(f"signs in with {scheme}")
    if (section, number) == ("controller", 57):
        methods = set(reply.headers.get("allow", "").replace(" ", "").split(","))
        if not {"HEAD", "POST", "GET", "OPTIONS"} <= methods:
            found.append(f"allows {sorted(methods)}")
    return found


def _missing_codes(wanted: list[int], there: list[int]) -> list[str]:
    missing = Counter(wanted) - Counter(there)
    if any(codes.severity_of(number) is Mask.SUCCESS for number in there):
        # The steps that LINSTOR's satellites took one by one are not repeated, nor what they warn of alike.
        missing = Counter(
            number
            for number in set(wanted) - set(there)
            if codes.severity_of(number) is not Mask.SUCCESS
            and not (codes.severity_of(number) is Mask.INFO and not codes.code_of(number))
        )
    return [f"code {number} is missing" for number in missing]


def _is_answers(body: Any) -> bool:
    return (
        isinstance(body, list)
        and bool(body)
        and all(isinstance(it, dict) and "ret_code" in it for it in body)
    )


def _masked(value: Any, key: str = "") -> Any:
    match value:
        case dict():
            return {
                name: _masked(inner, name)
                for name, inner in value.items()
                if name not in _TEXTS and name not in _RULES
            }
        case _ if key in _VOLATILE and not isinstance(value, list):
            return f"<{type(value).__name__}>"
        case list():
            return sorted((_masked(inner) for inner in value), key=_identity)
        case str():
            if key == "dflt" and (len(value) > 40 or value == "<text>"):
                return "<text>"
            if key == "address":
                return value.lower()
            return _TIME.sub("<time>", _UUID.sub("<uuid>", value))
        case int() if not isinstance(value, bool) and value > _LATE_MS:
            return "<time>"
        case _:
            return value


def _identity(value: Any) -> tuple[list[str], str]:
    names = [str(value.get(name, "")) for name in _NAMES] if isinstance(value, dict) else []
    return names, json.dumps(value, sort_keys=True)


def _differences(expected: Any, actual: Any, path: str) -> Iterator[str]:
    if isinstance(expected, dict) and isinstance(actual, dict):
        for name in expected:
            if name not in actual:
                yield f"{path}.{name} is missing"
            else:
                yield from _differences(expected[name], actual[name], f"{path}.{name}")
    elif isinstance(expected, list) and isinstance(actual, list):
        if len(expected) != len(actual):
            yield f"{path} has {len(actual)} items, not {len(expected)}"
        for left, right in zip(expected, actual, strict=False):
            yield from _differences(left, right, path + "[]")
    elif expected != actual:
        yield f"{path} is {str(actual)[:80]}, not {str(expected)[:80]}"
