"""Calls about secrets and files: what is told to whom, and what never is. Three nodes answer at once."""

import asyncio
import base64
import hashlib
import io
import json
import tarfile
from collections.abc import Awaitable, Callable
from typing import Any

from recorded import Town
from rest_driver import Driver

PATH = "/v1/encryption/passphrase"
FILE = "/v1/files/%2Fetc%2Fdrbd.d%2Fx.conf"


class Scene:
    """A town with a pool on each node, and calls to it."""

    def __init__(self, town: Town, driver: Driver) -> None:
        self.town = town
        self.driver = driver

    async def call(self, method: str, path: str, body: Any = None, *, status: int = 200, **more: Any) -> Any:
        reply = await self.driver.ask(method, path, body, **more)
        await self.town.quiet()
        assert reply.status == status, (method, path, reply.status, reply.content[:500])
        try:
            return json.loads(reply.content) if reply.content else None
        except ValueError:
            return reply.content


def play(body: Callable[[Scene], Awaitable[None]]) -> None:
    async def whole() -> None:
        town = Town()
        scene = Scene(town, await town.start())
        for number in (1, 2, 3):
            net_if = {
                "name": "default",
                "address": f"10.99.0.1{number}",
                "satellite_port": 3366,
                "satellite_encryption_type": "PLAIN",
            }
            await scene.call(
                "POST", "/v1/nodes", {"name": f"n{number}", "net_interfaces": [net_if]}, status=201
            )
            pool = {
                "storage_pool_name": "pthin",
                "provider_kind": "FILE_THIN",
                "props": {"StorDriver/StorPoolName": f"/srv/recorded/pools/n{number}/thin"},
            }
            await scene.call("POST", f"/v1/nodes/n{number}/storage-pools", pool, status=201)
        await body(scene)

    asyncio.run(whole())


def test_an_encrypted_resource_waits_for_the_passphrase_and_the_view_says_so() -> None:
    async def body(it: Scene) -> None:
        await it.call("POST", PATH, {"new_passphrase": "master words"}, status=201)
        group = {
            "name": "g1",
            "select_filter": {"place_count": 2, "layer_stack": ["DRBD", "LUKS", "STORAGE"]},
        }
        await it.call("POST", "/v1/resource-groups", group, status=201)
        spawn = {
            "resource_definition_name": "enc",
            "volume_sizes": [40960, 40960],
            "volume_passphrases": ["own words"],
        }
        await it.call("POST", "/v1/resource-groups/g1/spawn", spawn, status=201)
        seen = await it.call("GET", "/v1/view/resources?resources=enc")
        assert len(seen) == 3
        assert all(view["observed"]["settled"] for view in seen)
        disks = [view for view in seen if "DISKLESS" not in view.get("flags", ())]
        luks = disks[0]["layer_object"]["children"][0]
        assert [vol["usable_size_kib"] for vol in luks["luks"]["luks_volumes"]] == [40960, 40960]
        await it.town.act(["start", "process", "ctl"])
        locked = await it.call("GET", "/v1/view/resources?resources=enc")
        problems = {view["node_name"]: view["observed"].get("problem", "") for view in locked}
        assert sum("passphrase" in problem for problem in problems.values()) == 2, problems
        steps = [view["observed"].get("next_step", "") for view in locked]
        assert sum("enter-passphrase" in step for step in steps) == 2
        change = {"override_props": {"Aux/x": "1"}}
        answer = await it.call("PUT", "/v1/resource-definitions/enc", change)
        assert any("stays as it is" in entry["message"] for entry in answer)
        plain = {"resource_definition": {"name": "plain"}}
        await it.call("POST", "/v1/resource-definitions", plain, status=201)
        await it.call("PATCH", PATH, raw=b'"wrong"', status=500)
        await it.call("PATCH", PATH, raw=b'"master words"')
        opened = await it.call("GET", "/v1/view/resources?resources=enc")
        assert not any(view["observed"].get("problem") for view in opened)
        everything = json.dumps([seen, locked, opened, answer])
        everything += json.dumps(
            await it.call("GET", "/v1/resource-definitions?with_volume_definitions=true")
        )
        assert "own words" not in everything
        assert "sealed" not in everything

    play(body)


def test_files_are_asked_of_the_node() -> None:
    async def body(it: Scene) -> None:
        content = b"options {}\n"
        given = {"content": base64.b64encode(content).decode(), "alt_suffixes": [".off"]}
        await it.call("PUT", FILE, given)
        it.town.satellites.answers["file-check"] = '{"allowed": true}'
        assert await it.call("GET", FILE + "/check/n1") == {"allowed": True}
        there = {"actual_path": "/etc/drbd.d/x.conf.off", "sha256": hashlib.sha256(content).hexdigest()}
        it.town.satellites.answers["file-status"] = json.dumps(there)
        found = await it.call("GET", FILE + "/status/n1")
        assert found == {"content_match": True, "actual_path": "/etc/drbd.d/x.conf.off"}
        it.town.satellites.answers["file-status"] = json.dumps({**there, "sha256": "0"})
        assert (await it.call("GET", FILE + "/status/n1"))["content_match"] is False
        await it.town.act(["stop", "process", "n1"])
        await it.call("GET", FILE + "/status/n1", status=503)
        assert await it.call("GET", FILE + "/check/n1") == {"allowed": True}
        await it.call("GET", FILE + "/status/nope", status=404)
        too_long = {"content": base64.b64encode(bytes(300 << 10)).decode()}
        await it.call("PUT", FILE, too_long, status=500)
        for path in ("%2Fetc%2F..%2Fx", "%2Fetc%2F%2Fx", "%2F", "etc%2Fx"):
            await it.call("PUT", f"/v1/files/{path}", {"content": ""}, status=500)

    play(body)


def test_a_report_for_support_has_no_secret_and_waits_for_nobody() -> None:
    async def body(it: Scene) -> None:
        await it.call("POST", PATH, {"new_passphrase": "master words"}, status=201)
        definition = {"resource_definition": {"name": "r1"}}
        await it.call("POST", "/v1/resource-definitions", definition, status=201)
        token = await it.call("POST", "/v1/controller/auth/token", {"description": "x"}, status=201)
        await it.town.act(["stop", "process", "n3"])
        packed = await it.call("GET", "/v1/sos-report/download?exclude=n2")
        with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            names = {name.partition("/")[2] for name in archive.getnames()}
            whole = b"".join(archive.extractfile(it).read() for it in archive)  # type: ignore[union-attr]
        assert {"_CONTROLLER/info.json", "_CONTROLLER/dbexport.json", "n1/seen.json", "n3/seen.json"} <= names
        assert "n2/seen.json" not in names
        secret = it.town.service.cluster.definitions["R1"].drbd_secret  # type: ignore[index]
        assert secret is not None
        for word in (secret, token[0]["obj_refs"]["token"], "master words"):
            assert word.encode() not in whole

    play(body)


def test_tokens_of_nodes_are_renewed_and_useless_ones_revoked() -> None:
    async def body(it: Scene) -> None:
        await it.town.act(["stop", "process", "n3"])
        init = "/v1/controller/auth/initialize-token-auth"
        made = await it.call("POST", init, {"description": "me", "no_https": True}, status=201)
        headers = {"authorization": "Bearer " + made[0]["obj_refs"]["token"]}
        assert any("n3" in entry["message"] for entry in made)
        again = await it.call("POST", init, {"only_satellites": True}, status=201, headers=headers)
        assert "token" not in json.dumps([entry.get("obj_refs", {}) for entry in again])
        listed = await it.call("GET", "/v1/controller/auth/token", headers=headers)
        of_nodes = [one for one in listed["list"] if not one["is_user_token"]]
        assert [(one["description"], one["is_active"]) for one in of_nodes] == [
            ("satellite:n1", False),
            ("satellite:n2", False),
            ("satellite:n1", True),
            ("satellite:n2", True),
        ]
        assert not {"digest", "hash"} & set(of_nodes[0])
        refused = await it.call("GET", "/v1/nodes", status=401)
        assert refused[0]["ret_code"] == -4611686018427387492

    play(body)
