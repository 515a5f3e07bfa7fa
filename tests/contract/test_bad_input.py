"""What clients send by mistake or intent, over a real connection: a clear error, and nothing has happened."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import pytest

from bollard.wire.rest import codes
from http_driver import HttpDriver
from recorded import Town
from rest_driver import Reply

DEFINITIONS = "/v1/resource-definitions"
POOL = {"storage_pool_name": "pool", "provider_kind": "FILE_THIN"}
HERE = {"resource": {"props": {"StorPoolName": "pool"}}}
FOLDER = {"props": {"StorDriver/FileDir": "/srv/recorded/pools/n1/thin"}}


@asynccontextmanager
async def town() -> AsyncIterator[tuple[Town, HttpDriver]]:
    """A controller behind a port, with one node, one pool and the definition `r1`."""
    made = Town()
    driver = await made.serve()
    net_if = {"name": "default", "address": "10.99.0.11", "satellite_port": 3366}
    net_if["satellite_encryption_type"] = "PLAIN"
    node = {"name": "n1", "type": "SATELLITE", "net_interfaces": [net_if]}
    for path, body in (
        ("/v1/nodes", node),
        ("/v1/nodes/n1/storage-pools", POOL | FOLDER),
        (DEFINITIONS, {"resource_definition": {"name": "r1"}}),
    ):
        assert (await driver.ask("POST", path, body)).status == 201
    try:
        yield made, driver
    finally:
        await driver.stop()


def scene(play: Callable[[Town, HttpDriver], Awaitable[None]]) -> None:
    async def run() -> None:
        async with town() as (made, driver):
            await play(made, driver)

    asyncio.run(run())


async def everything(driver: HttpDriver) -> list[Any]:
    """All that could have changed."""
    paths = ("/v1/nodes", DEFINITIONS + "?with_volume_definitions=true", "/v1/view/resources")
    more = ("/v1/resource-groups", "/v1/key-value-store", "/v1/controller/properties")
    return [(await driver.ask("GET", path)).json for path in (*paths, *more)]


def code_of(reply: Reply) -> int:
    """Of the only error."""
    errors = [code for code in reply.codes if codes.severity_of(code) is codes.Mask.ERROR]
    assert len(errors) == 1, reply.content
    return codes.code_of(errors[0])


@pytest.mark.parametrize(
    ("method", "path", "raw"),
    [
        ("POST", DEFINITIONS, b'{"resource_definition":{"name":"r2"},"colour":"red"}'),
        ("POST", DEFINITIONS, b'{"resource_definition":{"name":"r2","colour":"red"}}'),
        ("PUT", DEFINITIONS + "/r1", b'{"override_props":{"Aux/a":{"b":"c"}}}'),
        ("POST", DEFINITIONS, b'{"resource_definition":["r2"]}'),
        ("POST", DEFINITIONS + "/r1/volume-definitions", b'{"volume_definition":{"size_kib":"10G"}}'),
        ("POST", DEFINITIONS + "/r1/volume-definitions", b'{"volume_definition":{"size_kib":20.5}}'),
        ("POST", DEFINITIONS, b"[" * 100_000 + b"]" * 100_000),
        ("POST", DEFINITIONS, b'{"resource_definition":' * 20_000 + b"{}" + b"}" * 20_000),
        ("POST", DEFINITIONS, b'{"resource_definition":{"name":"r2"}} {}'),
        ("POST", DEFINITIONS, b'{"resource_definition":{"name":"r\xff"}}'),
        ("POST", DEFINITIONS, b"null"),
        ("POST", DEFINITIONS, b"\x1f\x8b\x08\x00"),
        ("PATCH", "/v1/encryption/passphrase", b'{"new_passphrase":"x"}'),
    ],
)
def test_a_malformed_body_is_refused_as_such(method: str, path: str, raw: bytes) -> None:
    async def play(_: Town, driver: HttpDriver) -> None:
        before = await everything(driver)
        reply = await driver.ask(method, path, raw=raw)
        assert reply.status == 400
        assert reply.codes == [codes.PARSE_ERROR]
        assert len(reply.content) < 2000, "what was sent is not sent back"
        assert await everything(driver) == before

    scene(play)


def test_a_huge_body_is_refused_before_it_is_read() -> None:
    async def play(made: Town, driver: HttpDriver) -> None:
        limit = 8 << 20
        reply = await driver.ask("POST", DEFINITIONS, raw=b'{"x":"' + b"x" * limit + b'"}')
        assert reply.status == 413
        assert (await driver.ask("GET", DEFINITIONS)).status == 200
        reader, writer = await asyncio.open_connection("127.0.0.1", driver.port)
        writer.write(b"POST /v1/nodes HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n")
        writer.write(b"Content-Length: 99999999999\r\n\r\n")
        async with asyncio.timeout(20):
            assert b" 413 " in await reader.readline(), "without waiting for what was announced"
        writer.close()

    scene(play)


@pytest.mark.parametrize("kind", ["text/plain", "application/xml", "multipart/form-data; boundary=x"])
def test_another_content_type_is_refused(kind: str) -> None:
    async def play(_: Town, driver: HttpDriver) -> None:
        body = b'{"resource_definition":{"name":"r2"}}'
        reply = await driver.ask("POST", DEFINITIONS, raw=body, headers={"content-type": kind})
        assert reply.status >= 400
        code_of(reply)
        assert [one["name"] for one in (await driver.ask("GET", DEFINITIONS)).json] == ["r1"]

    scene(play)


def test_paging_cannot_be_abused() -> None:
    async def play(_: Town, driver: HttpDriver) -> None:
        for query, status, count in (
            ("limit=1&offset=9999999999999999999999", 200, 0),
            ("limit=-1", 200, 1),
            ("offset=-5&limit=1", 200, 1),
            ("limit=99999999999999999999", 200, 1),
            ("limit=x", 500, None),
            ("limit=1&offset=0x10", 500, None),
            ("limit=1e3", 500, None),
            ("limit=%00", 500, None),
        ):
            reply = await driver.ask("GET", f"{DEFINITIONS}?{query}")
            assert (reply.status, count if count is None else len(reply.json)) == (status, count), query

    scene(play)


@pytest.mark.parametrize(
    "name",
    ["größe", "имя", "卷一", "r\u202e1", "\uff521", "r1\u0301", "ⓡ1", "r\u00a01", "r1\n", "R\u0131", "ﬀa"],
)
def test_names_in_other_scripts_are_no_names(name: str) -> None:
    async def play(_: Town, driver: HttpDriver) -> None:
        reply = await driver.ask("POST", DEFINITIONS, {"resource_definition": {"name": name}})
        assert (reply.status, code_of(reply)) == (500, codes.FAIL["INVLD_RSC_NAME"])
        other = await driver.ask("GET", f"{DEFINITIONS}/{quote(name)}")
        assert (other.status, code_of(other)) == (404, codes.FAIL["NOT_FOUND_RSC_DFN"])

    scene(play)


def test_property_keys_may_have_slashes_and_their_case_counts() -> None:
    async def play(_: Town, driver: HttpDriver) -> None:
        path = f"{DEFINITIONS}/r1"
        values = {"Aux/a/b": "1", "Aux/A/b": "2", "Aux/a//b": "3", "Aux/ä/日": "4", "Aux/a b": "5"}
        reply = await driver.ask("PUT", path, {"override_props": values})
        assert reply.status == 200
        shown = (await driver.ask("GET", path)).json["props"]
        assert {shown["Aux/a/b"], shown["Aux/A/b"]} == {"1", "2"} or shown["Aux/a/b"] == "3"
        assert (shown["Aux/ä/日"], shown["Aux/a b"]) == ("4", "5")
        for key in ("drbdoptions/net/protocol", "Aux", "Aux/" + "x" * 300, "", "/", "Bogus/key", "Aux/\x00"):
            refused = await driver.ask("PUT", path, {"override_props": {key: "C"}})
            assert (refused.status, code_of(refused)) == (500, codes.FAIL["INVLD_PROP"]), key
        assert (await driver.ask("GET", path)).json["props"] == shown
        for key in ("Aux%2Fx%2Fy", "Aux/x/y"):
            await driver.ask("POST", "/v1/controller/properties", {"override_props": {"Aux/x/y": "1"}})
            assert (await driver.ask("DELETE", f"/v1/controller/properties/{key}")).status == 200
            assert "Aux/x/y" not in (await driver.ask("GET", "/v1/controller/properties")).json

    scene(play)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/v1/nodes", {"name": "n2", "type": "PLANET", "net_interfaces": []}),
        ("POST", "/v1/nodes/n1/storage-pools", {"storage_pool_name": "px", "provider_kind": "TAPE"}),
        ("POST", DEFINITIONS, {"resource_definition": {"name": "r2", "layer_data": [{"type": "MAGIC"}]}}),
        ("PUT", DEFINITIONS + "/r1", {"layer_stack": ["DRBD", "MAGIC"]}),
        ("POST", DEFINITIONS + "/r1/resources/n1", {"resource": {"flags": ["SHINY"]}}),
        ("POST", DEFINITIONS + "/r1/autoplace", {"select_filter": {"provider_list": ["TAPE"]}}),
        ("PUT", DEFINITIONS + "/r1/resources/n1/toggle-disk", {"operation": "INTO_GOLD"}),
        ("PUT", "/v1/controller/config", {"log": {"level": "LOUD"}}),
        ("PUT", DEFINITIONS + "/r1", {"override_props": {"DrbdOptions/Net/protocol": "D"}}),
    ],
)
def test_an_unknown_word_where_only_some_are_possible(method: str, path: str, body: Any) -> None:
    async def play(_: Town, driver: HttpDriver) -> None:
        before = await everything(driver)
        reply = await driver.ask(method, path, body)
        assert 400 <= reply.status <= 500
        assert code_of(reply) not in {codes.FAIL["IMPL_ERROR"], codes.FAIL["UNKNOWN_ERROR"]}
        assert await everything(driver) == before

    scene(play)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "/v1/nodes/n1/evacuate", {"target": ["n1"], "do_not_target": ["n1"]}),
        ("PUT", DEFINITIONS + "/r1", {"layer_stack": ["STORAGE", "DRBD"]}),
        (
            "POST",
            DEFINITIONS + "/r1/autoplace",
            {"select_filter": {"place_count": 2, "node_name_list": ["n1"]}},
        ),
        ("POST", "/v1/resource-groups/DfltRscGrp/spawn", {"volume_sizes": [4096, -1]}),
    ],
)
def test_wishes_that_contradict_each_other(method: str, path: str, body: Any) -> None:
    async def play(_: Town, driver: HttpDriver) -> None:
        before = await everything(driver)
        reply = await driver.ask(method, path, body)
        assert 400 <= reply.status <= 500
        assert code_of(reply) not in {codes.FAIL["IMPL_ERROR"], codes.FAIL["UNKNOWN_ERROR"]}
        assert await everything(driver) == before

    scene(play)


def test_two_clients_that_change_one_object_at_once_lose_nothing() -> None:
    async def play(_: Town, driver: HttpDriver) -> None:
        async def client(number: int) -> None:
            own = HttpDriver.to(driver.port)
            for turn in range(5):
                old, new = f"Aux/{number}/{turn - 1}", f"Aux/{number}/{turn}"
                change = {"override_props": {new: "x"}, "delete_props": [old]}
                assert (await own.ask("PUT", f"{DEFINITIONS}/r1", change)).status == 200
            await own.hang_up()

        await asyncio.gather(*(client(number) for number in range(6)))
        shown = (await driver.ask("GET", f"{DEFINITIONS}/r1")).json["props"]
        assert set(shown) == {f"Aux/{number}/4" for number in range(6)}

    scene(play)


def test_of_clients_that_create_the_same_one_makes_it() -> None:
    async def play(_: Town, driver: HttpDriver) -> None:
        clients = [HttpDriver.to(driver.port) for _ in range(6)]
        body = {"resource_definition": {"name": "twin"}}
        replies = await asyncio.gather(*(one.ask("POST", DEFINITIONS, body) for one in clients))
        assert sorted(reply.status for reply in replies) == [201, *[500] * 5]
        assert {code_of(reply) for reply in replies if reply.status == 500} == {codes.FAIL["EXISTS_RSC_DFN"]}
        for one in clients:
            await one.hang_up()

    scene(play)


def test_before_the_passphrase_is_entered_secrets_stay_closed() -> None:
    async def play(made: Town, driver: HttpDriver) -> None:
        encryption = "/v1/encryption/passphrase"
        assert (await driver.ask("POST", encryption, {"new_passphrase": "open sesame"})).status == 201
        await made.act(["start", "process", "ctl"])
        assert (await driver.ask("GET", encryption)).json == {"status": "locked"}
        luks = {"name": "lk", "layer_data": [{"type": "LUKS"}, {"type": "STORAGE"}]}
        assert (await driver.ask("POST", DEFINITIONS, {"resource_definition": luks})).status == 201
        volume = {"volume_definition": {"size_kib": 40960}, "passphrase": "own"}
        refused = await driver.ask("POST", f"{DEFINITIONS}/lk/volume-definitions", volume)
        assert refused.status >= 400
        code_of(refused)
        change = {"old_passphrase": "wrong", "new_passphrase": "x"}
        wrong = await driver.ask("PUT", encryption, change)
        assert wrong.status >= 400
        assert (await driver.ask("PATCH", encryption, "wrong")).status >= 400
        plain = {"resource_definition": {"name": "plain"}}
        assert (await driver.ask("POST", DEFINITIONS, plain)).status == 201, "what needs no secret goes on"
        assert (await driver.ask("PATCH", encryption, "open sesame")).status == 200
        assert (await driver.ask("POST", f"{DEFINITIONS}/lk/volume-definitions", volume)).status == 200

    scene(play)


def test_a_shutdown_lets_calls_under_way_end_and_takes_no_more() -> None:
    async def play(made: Town, driver: HttpDriver) -> None:
        streaming = HttpDriver.to(driver.port)
        stream = asyncio.ensure_future(streaming.ask("GET", "/v1/events/nodes"))
        await streaming.begun.wait()
        busy = HttpDriver.to(driver.port)
        # It answers when the node has followed, and that one is slow.
        slow = asyncio.Event()
        made.satellites.pause = slow
        await driver.ask(
            "POST", f"{DEFINITIONS}/r1/volume-definitions", {"volume_definition": {"size_kib": 4096}}
        )
        under_way = asyncio.ensure_future(busy.ask("POST", f"{DEFINITIONS}/r1/resources/n1", HERE))
        async with asyncio.timeout(20):
            await made.satellites.held_up.wait()
        made.service.events.end()
        stopping = asyncio.ensure_future(driver.stop())
        async with asyncio.timeout(20):
            assert (await stream).status == 200, "the stream has an end"
            while True:
                late = HttpDriver.to(driver.port)
                try:
                    await late.ask("GET", "/v1/nodes")
                except (OSError, asyncio.IncompleteReadError):
                    break
                finally:
                    await late.hang_up()
        slow.set()
        async with asyncio.timeout(20):
            assert (await under_way).status == 201
            await stopping
        for one in (streaming, busy):
            await one.hang_up()

    scene(play)


def test_a_stream_ends_with_the_token_that_opened_it() -> None:
    async def play(_: Town, driver: HttpDriver) -> None:
        first = await driver.ask("POST", "/v1/controller/auth/initialize-token-auth", {"no_https": True})
        admin = {"authorization": f"Bearer {first.json[0]['obj_refs']['token']}"}
        made = await driver.ask("POST", "/v1/controller/auth/token", {"description": "it"}, headers=admin)
        token = made.json[0]["obj_refs"]["token"]
        watching, other = HttpDriver.to(driver.port), HttpDriver.to(driver.port)
        headers = {"authorization": f"Bearer {token}"}
        stream = asyncio.ensure_future(watching.ask("GET", "/v1/events/nodes", headers=headers))
        kept = asyncio.ensure_future(other.ask("GET", "/v1/events/nodes", headers=admin))
        await asyncio.gather(watching.begun.wait(), other.begun.wait())
        shown = (await driver.ask("GET", "/v1/controller/auth/token", headers=admin)).json["list"]
        number = next(one["id"] for one in shown if one["description"] == "it")
        change = {"override_props": {"Aux/a": "1"}}
        await driver.ask("PUT", "/v1/nodes/n1", change, headers=admin)
        assert not stream.done()
        await driver.ask("DELETE", f"/v1/controller/auth/token/{number}", headers=admin)
        async with asyncio.timeout(20):
            ended = await stream
        assert b"Aux/a" in ended.content, "it was told of what happened before"
        assert not kept.done(), "others go on"
        kept.cancel()
        await asyncio.gather(kept, return_exceptions=True)
        for one in (watching, other):
            await one.hang_up()

    scene(play)


def test_answers_are_json_whatever_was_wrong() -> None:
    async def play(_: Town, driver: HttpDriver) -> None:
        for method, path in (
            ("GET", "/v1/nope"),
            ("PUT", "/v1/nodes"),
            ("GET", "/v1/nodes/%ff%fe"),
            ("GET", "/v1/nodes/" + "x" * 3000),
            ("GET", f"{DEFINITIONS}/..%2f..%2fetc"),
            ("DELETE", f"{DEFINITIONS}/r1/volume-definitions/-1"),
            ("GET", f"{DEFINITIONS}/r1/volume-definitions/99999999999999999999"),
        ):
            reply = await driver.ask(method, path)
            assert reply.headers["content-type"] == "application/json", path
            assert json.loads(reply.content), path

    scene(play)
