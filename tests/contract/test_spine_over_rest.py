"""The life of a volume through the public API: real service and decisions, satellites that act at once."""

import asyncio
from typing import Any

from bollard.wire.rest import codes
from recorded import Town, three_nodes
from rest_driver import Driver

GIB = 1024 * 1024


async def spawn(town: Town, driver: Driver, name: str = "r1", count: int = 2) -> list[dict[str, Any]]:
    """A group and a volume from it; returns the entries of the spawn."""
    await driver.ask("POST", "/v1/resource-groups", {"name": "g1", "select_filter": {"place_count": count}})
    reply = await driver.ask(
        "POST",
        "/v1/resource-groups/g1/spawn",
        {"resource_definition_name": name, "volume_sizes": [GIB]},
    )
    assert reply.status == 201, reply.content
    await town.quiet()
    entries: list[dict[str, Any]] = reply.json
    return entries


async def places(driver: Driver, name: str = "r1") -> dict[str, tuple[str, ...]]:
    """The flags of a resource by node."""
    found = (await driver.ask("GET", f"/v1/view/resources?resources={name}")).json
    return {each["node_name"]: tuple(each.get("flags", ())) for each in found}


TIE_BREAKER = ("DISKLESS", "DRBD_DISKLESS", "TIE_BREAKER")


def test_a_volume_is_spawned_explained_and_shown() -> None:
    async def story() -> None:
        town, driver = await three_nodes()
        entries = await spawn(town, driver)
        assert not any(codes.is_error(entry["ret_code"]) for entry in entries)
        explained = next(entry["explanation"] for entry in entries if "explanation" in entry)
        assert sum(each["chosen"] for each in explained) == 2
        found = await places(driver)
        assert sorted(found.values()) == [(), (), TIE_BREAKER]
        shown = (await driver.ask("GET", "/v1/view/resources")).json
        disks = {each["node_name"]: each["volumes"][0]["state"]["disk_state"] for each in shown}
        assert sorted(disks.values()) == ["Diskless", "UpToDate", "UpToDate"]
        assert all(each["observed"] == {"current": True, "settled": True} for each in shown)
        definition = (await driver.ask("GET", "/v1/resource-definitions/r1")).json
        assert definition["props"]["DrbdOptions/Resource/quorum"] == "majority"
        assert (await driver.ask("GET", "/v1/resource-definitions/r1/sync-status")).json["synced_on_all"]

    asyncio.run(story())


def test_a_volume_grows_and_does_not_shrink() -> None:
    async def story() -> None:
        town, driver = await three_nodes()
        await spawn(town, driver)
        volume = "/v1/resource-definitions/r1/volume-definitions/0"
        assert (await driver.ask("PUT", volume, {"size_kib": 2 * GIB})).status == 200
        await town.quiet()
        shown = (await driver.ask("GET", volume)).json
        assert (shown["size_kib"], shown.get("flags")) == (2 * GIB, ["DRBD_INITIALIZED"])
        refused = await driver.ask("PUT", volume, {"size_kib": GIB})
        assert refused.status == 500
        assert codes.code_of(refused.codes[0]) == codes.FAIL["INVLD_VLM_SIZE"]

    asyncio.run(story())


def test_a_disk_moves_to_another_node() -> None:
    async def story() -> None:
        town, driver = await three_nodes()
        await spawn(town, driver)
        before = await places(driver)
        spare = next(node for node, flags in before.items() if flags)
        source = next(node for node, flags in before.items() if not flags)
        moved = await driver.ask(
            "PUT", f"/v1/resource-definitions/r1/resources/{spare}/migrate-disk/{source}/pthin"
        )
        assert moved.status == 200, moved.content
        for _ in range(5):
            await town.quiet()
        after = await places(driver)
        assert after[spare] == ()
        assert sorted(after.values()) == [(), (), TIE_BREAKER]
        assert after[source] == TIE_BREAKER

    asyncio.run(story())


def test_a_node_is_evacuated_and_taken_back() -> None:
    async def story() -> None:
        town, driver = await three_nodes()
        await spawn(town, driver)
        leaving = next(node for node, flags in (await places(driver)).items() if not flags)
        assert (await driver.ask("PUT", f"/v1/nodes/{leaving}/evacuate", {})).status == 200
        assert (await driver.ask("PUT", f"/v1/nodes/{leaving}/evacuate")).json == []
        for _ in range(8):
            await town.quiet()
        after = await places(driver)
        assert leaving not in after
        assert list(after.values()) == [(), ()]
        refused = await driver.ask(
            "POST", f"/v1/resource-definitions/r1/resources/{leaving}", {"resource": {}}
        )
        assert codes.code_of(refused.codes[0]) == codes.FAIL["EVACUATING"]
        assert (await driver.ask("GET", f"/v1/nodes/{leaving}")).json["flags"] == ["EVACUATE"]
        both = {"target": ["n1"], "do_not_target": ["n2"]}
        assert (await driver.ask("PUT", "/v1/nodes/n1/evacuate", both)).status == 500
        assert (await driver.ask("PUT", f"/v1/nodes/{leaving}/restore", {})).status == 200
        await town.quiet()
        assert "flags" not in (await driver.ask("GET", f"/v1/nodes/{leaving}")).json
        assert (await driver.ask("PUT", f"/v1/nodes/{leaving}/restore", {})).status == 500

    asyncio.run(story())


def test_a_node_that_is_away_holds_up_nothing() -> None:
    async def story() -> None:
        town, driver = await three_nodes()
        await spawn(town, driver)
        away = next(node for node, flags in (await places(driver)).items() if not flags)
        await town.act(["stop", "process", away])
        changed = await driver.ask(
            "PUT", "/v1/resource-definitions/r1", {"override_props": {"DrbdOptions/Net/protocol": "C"}}
        )
        assert changed.status == 200
        warnings = [code for code in changed.codes if codes.severity_of(code) is codes.Mask.WARN]
        assert {codes.code_of(code) for code in warnings} == {codes.WARN["NOT_CONNECTED"]}
        left = await driver.ask("DELETE", f"/v1/resource-definitions/r1/resources/{away}")
        assert left.status == 200
        warned = [code for code in left.codes if codes.code_of(code) == codes.WARN["NOT_CONNECTED"]]
        assert [codes.severity_of(code) for code in warned] == [codes.Mask.WARN]
        gone = await driver.ask("DELETE", "/v1/resource-definitions/r1")
        assert gone.status == 200
        assert await places(driver) == {}
        again = await driver.ask("POST", "/v1/resource-definitions", {"resource_definition": {"name": "r1"}})
        assert again.status == 201
        await town.act(["start", "process", away])
        assert not town.service.cluster.tombstones

    asyncio.run(story())


def test_what_is_in_use_stays() -> None:
    async def story() -> None:
        town, driver = await three_nodes()
        await spawn(town, driver)
        user = next(node for node, flags in (await places(driver)).items() if not flags)
        await town.act(["r1", "becomes", "Primary", "on", user])
        for path in (f"/v1/resource-definitions/r1/resources/{user}", "/v1/resource-definitions/r1"):
            refused = await driver.ask("DELETE", path)
            assert codes.code_of(refused.codes[0]) == codes.FAIL["IN_USE"], refused.content
        assert len(await places(driver)) == 3
        await town.act(["r1", "becomes", "Secondary", "on", user])
        assert (await driver.ask("DELETE", "/v1/resource-definitions/r1")).status == 200
        await town.quiet()
        for number in (1, 2, 3):
            assert (await driver.ask("DELETE", f"/v1/nodes/n{number}/storage-pools/pthin")).status == 200
            assert (await driver.ask("DELETE", f"/v1/nodes/n{number}")).status == 200
        await town.quiet()
        assert (await driver.ask("GET", "/v1/nodes")).json == []

    asyncio.run(story())


def test_error_reports_of_the_nodes_are_listed_too() -> None:
    async def story() -> None:
        town, driver = await three_nodes()
        await town.act(["stop", "process", "n3"])
        town.satellites.answers["error-reports"] = (
            '[{"id": "65A0BC00-12345-000001", "time_ms": 5, "message": "it broke", "text": "all of it"}]'
        )
        listed = (await driver.ask("GET", "/v1/error-reports")).json
        assert [(each["node_name"], each["module"], "text" in each) for each in listed] == [
            ("n1", "SATELLITE", False),
            ("n2", "SATELLITE", False),
        ]
        assert (await driver.ask("GET", "/v1/error-reports?node=N2&to=4")).json == []
        shown = (await driver.ask("GET", "/v1/error-reports/65A0BC00-12345-000001")).json
        assert shown[0]["text"] == "all of it"
        town.satellites.answers["error-reports"] = "no JSON"
        assert (await driver.ask("GET", "/v1/error-reports")).json == []

    asyncio.run(story())


def test_all_resources_of_a_definition_go_in_one_call() -> None:
    async def story() -> None:
        town, driver = await three_nodes()
        await spawn(town, driver)
        gone = await driver.ask("DELETE", "/v1/resource-definitions/r1/resources")
        assert gone.status == 200, gone.content
        await town.quiet()
        assert await places(driver) == {}
        assert (await driver.ask("GET", "/v1/resource-definitions/r1")).status == 200
        whole = "/v1/resource-definitions/r1/resources?delete_empty_resource_definition=True"
        assert (await driver.ask("DELETE", whole)).status == 200
        assert (await driver.ask("GET", "/v1/resource-definitions/r1")).status == 404
        assert (await driver.ask("DELETE", whole)).status == 404

    asyncio.run(story())


def test_a_satellite_s_configuration() -> None:
    async def story() -> None:
        town, driver = await three_nodes()
        path = "/v1/nodes/n3/config"
        shown = (await driver.ask("GET", path)).json
        assert shown["net"] == {"bind_address": "::", "port": 3366, "com_type": "plain"}
        assert shown["config"] == {"dir": "/etc/bollard"}
        assert (shown["log"]["level"], shown["log"]["level_linstor"]) == ("INFO", "INFO")
        shown["log"]["level"] = "INFO"
        assert (await driver.ask("PUT", path, shown)).status == 200
        assert (await driver.ask("PUT", path, {"log": {"level": "DEBUG"}})).status == 200
        assert (await driver.ask("PUT", path, {"log": {"level": "LOUD"}})).status == 500
        await town.act(["stop", "process", "n3"])
        away = await driver.ask("GET", path)
        assert (away.status, away.codes) == (503, [codes.ret_code(codes.Mask.WARN, "NOT_CONNECTED")])
        assert (await driver.ask("PUT", path, {"log": {"level": "INFO"}})).json == []

    asyncio.run(story())


def test_a_definition_shows_its_layers_once_it_has_resources() -> None:
    async def scenario() -> None:
        town, driver = await three_nodes()
        await driver.ask("POST", "/v1/resource-definitions", {"resource_definition": {"name": "a1"}})
        path = "/v1/resource-definitions/a1/volume-definitions"
        await driver.ask("POST", path, {"volume_definition": {"size_kib": 8192}})
        assert "layer_data" not in (await driver.ask("GET", path)).json[0]
        chosen = {"select_filter": {"place_count": 2}}
        await driver.ask("POST", "/v1/resource-definitions/a1/autoplace", chosen)
        await town.quiet()
        (listed,) = (await driver.ask("GET", path)).json
        minor = {"volume_number": 0, "minor_number": 1000}
        assert listed["layer_data"] == [{"type": "DRBD", "data": minor}, {"type": "STORAGE"}]
        assert (await driver.ask("GET", f"{path}/0")).json == listed
        whole = (await driver.ask("GET", "/v1/resource-definitions?with_volume_definitions=true")).json[0]
        assert whole["volume_definitions"] == [listed]
        assert [layer["type"] for layer in whole["layer_data"]] == ["DRBD", "STORAGE"]
        one = (await driver.ask("GET", "/v1/resource-definitions/a1")).json
        assert [layer["type"] for layer in one["layer_data"]] == ["DRBD", "STORAGE"]

    asyncio.run(scenario())
