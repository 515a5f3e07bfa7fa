"""The API against a dictionary: random calls and restarts, after each of which both know the same."""

import asyncio
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from bollard.controller.reports import Reports
from bollard.controller.service import Service
from bollard.controller.store.memory import MemoryDatabase, MemoryStore
from bollard.domain.ids import key_of
from bollard.wire.rest import codes
from instant_satellites import InstantSatellites
from rest_driver import CountingDraw, Driver, StillClock

DEFINITIONS = st.sampled_from(["aa", "AA", "bb", "b-2", "c_3"])
GROUPS = st.sampled_from(["g1", "G1", "g2"])
KEYS = st.sampled_from(["Aux/a", "Aux/b/c", "Aux/d"])
VALUES = st.text(alphabet="abcäö /=", max_size=4)
NUMBERS = st.integers(0, 3)
SIZES = st.sampled_from([4, 4096, 4097, 2**30])


class Api(RuleBasedStateMachine):
    """The model is what a client would believe from the answers."""

    @initialize()
    def begin(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.database = MemoryDatabase()
        self.draw = CountingDraw()
        self.definitions: dict[str, dict[str, Any]] = {}
        self.groups: dict[str, str] = {"DFLTRSCGRP": "DfltRscGrp"}
        self.stores: dict[str, dict[str, str]] = {}
        self.loop.run_until_complete(self.start())

    async def start(self) -> None:
        self.store = MemoryStore(self.database)
        await self.store.open()
        clock, satellites = StillClock(), InstantSatellites()
        reports = Reports(self.store, clock, node="host", version="1")
        self.service = Service(self.store, satellites, clock=clock, draw=self.draw, reports=reports)
        satellites.service = self.service
        await self.service.start()
        self.driver = Driver(self.service, store=self.store)

    def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        reply = self.loop.run_until_complete(self.driver.ask(method, path, body))
        return reply.status, reply.json

    def refused(self, answer: Any, code: str) -> bool:
        return codes.code_of(answer[0]["ret_code"]) == codes.FAIL[code]

    @rule()
    def restart(self) -> None:
        self.loop.run_until_complete(self.service.stop())
        self.loop.run_until_complete(self.store.close())
        self.loop.run_until_complete(self.start())

    @rule(name=DEFINITIONS, group=GROUPS)
    def create_definition(self, name: str, group: str) -> None:
        wanted = {"name": name, "resource_group_name": group}
        status, answer = self.call("POST", "/v1/resource-definitions", {"resource_definition": wanted})
        if key_of(name) in self.definitions:
            assert self.refused(answer, "EXISTS_RSC_DFN")
        elif key_of(group) not in self.groups:
            assert (status, self.refused(answer, "NOT_FOUND_RSC_GRP")) == (404, True)
        else:
            assert status == 201
            found = {"name": name, "group": self.groups[key_of(group)], "props": {}, "volumes": {}}
            self.definitions[key_of(name)] = found

    @rule(name=DEFINITIONS)
    def delete_definition(self, name: str) -> None:
        status, answer = self.call("DELETE", f"/v1/resource-definitions/{name}")
        there = self.definitions.pop(key_of(name), None) is not None
        assert (status, codes.severity_of(answer[-1]["ret_code"]) is codes.Mask.SUCCESS) == (200, there)

    @rule(name=DEFINITIONS, key=KEYS, value=VALUES)
    def set_property(self, name: str, key: str, value: str) -> None:
        status, _ = self.call("PUT", f"/v1/resource-definitions/{name}", {"override_props": {key: value}})
        found = self.definitions.get(key_of(name))
        assert status == (200 if found else 404)
        if found:
            found["props"][key] = value

    @rule(name=DEFINITIONS)
    def delete_namespace(self, name: str) -> None:
        change = {"delete_namespaces": ["Aux/b"], "override_props": {"Bad/key": "x"}}
        assert self.call("PUT", f"/v1/resource-definitions/{name}", change)[0] in {404, 500}
        change.pop("override_props")
        self.call("PUT", f"/v1/resource-definitions/{name}", change)
        if found := self.definitions.get(key_of(name)):
            found["props"].pop("Aux/b/c", None)

    @rule(name=DEFINITIONS, size=SIZES, number=st.none() | NUMBERS)
    def create_volume(self, name: str, size: int, number: int | None) -> None:
        wanted = {"size_kib": size, "volume_number": number}
        path = f"/v1/resource-definitions/{name}/volume-definitions"
        status, answer = self.call("POST", path, {"volume_definition": wanted})
        found = self.definitions.get(key_of(name))
        if found is None:
            assert status == 404
            return
        free = next(it for it in range(10) if it not in found["volumes"])
        number = free if number is None else number
        if number in found["volumes"]:
            assert self.refused(answer, "EXISTS_VLM_DFN")
        else:
            assert status == 200
            found["volumes"][number] = size

    @rule(name=DEFINITIONS, number=NUMBERS, size=SIZES)
    def resize_volume(self, name: str, number: int, size: int) -> None:
        path = f"/v1/resource-definitions/{name}/volume-definitions/{number}"
        status, _ = self.call("PUT", path, {"size_kib": size})
        found = self.definitions.get(key_of(name))
        if found is None or number not in found["volumes"]:
            assert status == 404
        else:
            assert status == 200
            found["volumes"][number] = size

    @rule(name=DEFINITIONS, number=NUMBERS)
    def delete_volume(self, name: str, number: int) -> None:
        self.call("DELETE", f"/v1/resource-definitions/{name}/volume-definitions/{number}")
        if found := self.definitions.get(key_of(name)):
            found["volumes"].pop(number, None)

    @rule(name=GROUPS)
    def create_group(self, name: str) -> None:
        status, answer = self.call("POST", "/v1/resource-groups", {"name": name})
        if key_of(name) in self.groups:
            assert self.refused(answer, "EXISTS_RSC_GRP")
        else:
            assert status == 201
            self.groups[key_of(name)] = name

    @rule(name=GROUPS)
    def delete_group(self, name: str) -> None:
        status, answer = self.call("DELETE", f"/v1/resource-groups/{name}")
        used = any(key_of(found["group"]) == key_of(name) for found in self.definitions.values())
        if used:
            assert self.refused(answer, "EXISTS_RSC_DFN")
        else:
            assert status == 200
            self.groups.pop(key_of(name), None)

    @rule(name=st.sampled_from(["kv", "KV", "k2"]), key=KEYS, value=VALUES, drop=st.booleans())
    def change_store(self, name: str, key: str, value: str, drop: bool) -> None:
        change = {"delete_props": [key]} if drop else {"override_props": {key: value}}
        assert self.call("PUT", f"/v1/key-value-store/{name}", change)[0] == 200
        found = self.stores.setdefault(key_of(name), {})
        if drop:
            found.pop(key, None)
        else:
            found[key] = value
        if not found:
            del self.stores[key_of(name)]

    @invariant()
    def both_know_the_same(self) -> None:
        if not hasattr(self, "driver"):
            return
        _, definitions = self.call("GET", "/v1/resource-definitions?with_volume_definitions=true")
        shown = {
            key_of(each["name"]): {
                "name": each["name"],
                "group": each["resource_group_name"],
                "props": {key: it for key, it in each.get("props", {}).items() if key.startswith("Aux/")},
                "volumes": {it["volume_number"]: it["size_kib"] for it in each.get("volume_definitions", ())},
            }
            for each in definitions
        }
        assert shown == self.definitions
        assert {each["name"] for each in self.call("GET", "/v1/resource-groups")[1]} == set(
            self.groups.values()
        )
        stores = {key_of(each["name"]): each["props"] for each in self.call("GET", "/v1/key-value-store")[1]}
        assert stores == self.stores

    def teardown(self) -> None:
        if hasattr(self, "loop"):
            self.loop.run_until_complete(self.service.stop())
            self.loop.close()


TestApi = Api.TestCase
TestApi.settings = settings(
    max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
