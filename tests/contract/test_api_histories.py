"""Histories of the API: one call after another, two at once, and ends of the controller between and inside.

After each step the lists show what a dictionary says. A call whose controller died in the middle has happened
or has not, according to whether its commit was through; of two calls at once neither is lost.
"""

import asyncio
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

import api_dictionary as api
from bollard.controller.reports import Reports
from bollard.controller.service import Service
from bollard.controller.store.memory import MemoryDatabase, MemoryStore
from bollard.domain.ids import key_of
from bollard.wire.rest import codes
from instant_satellites import InstantSatellites
from rest_driver import CountingDraw, Driver, Reply, StillClock

NODES, POOLS = st.sampled_from(["n1", "n2"]), st.sampled_from(["p11", "P22"])
GROUPS, DEFINITIONS = st.sampled_from(["g1", "G1", "g2"]), st.sampled_from(["aa", "AA", "bb"])
PROPS, VALUES = st.sampled_from(["Aux/a", "Aux/b/c", "Aux/B/c"]), st.text("aß /=", max_size=3)
NUMBERS, SIZES = st.integers(0, 1), st.sampled_from([4096, 8192])
SNAPSHOTS, STORES = st.sampled_from(["s1", "S2"]), st.sampled_from(["kv", "KV", "k2"])
CALLS = st.one_of(
    st.builds(api.create_node, NODES),
    st.builds(api.delete_node, NODES),
    st.builds(api.set_node, NODES, PROPS, VALUES),
    st.builds(api.create_pool, NODES, POOLS),
    st.builds(api.delete_pool, NODES, POOLS),
    st.builds(api.create_group, GROUPS),
    st.builds(api.set_group, GROUPS, PROPS, VALUES),
    st.builds(api.delete_group, GROUPS),
    st.builds(api.create_definition, DEFINITIONS, GROUPS | st.just("DfltRscGrp")),
    st.builds(api.set_definition, DEFINITIONS, PROPS, VALUES),
    st.builds(api.delete_definition, DEFINITIONS),
    st.builds(api.create_volume, DEFINITIONS, NUMBERS, SIZES),
    st.builds(api.resize_volume, DEFINITIONS, NUMBERS, SIZES),
    st.builds(api.delete_volume, DEFINITIONS, NUMBERS),
    st.builds(api.create_resource, DEFINITIONS, NODES, POOLS),
    st.builds(api.delete_resource, DEFINITIONS, NODES),
    st.builds(api.create_snapshot, DEFINITIONS, SNAPSHOTS),
    st.builds(api.delete_snapshot, DEFINITIONS, SNAPSHOTS),
    st.builds(api.change_store, STORES, PROPS, st.none() | VALUES),
)


class MortalStore(MemoryStore):
    """Whose process ends at a commit: before it is durable or right after."""

    def __init__(self, database: MemoryDatabase) -> None:
        super().__init__(database)
        self.left: int | None = None
        """Commits until then."""
        self.durable = False
        self.dead = asyncio.Event()

    async def commit(self, changes: Any, expected_revision: int) -> int:
        if self.left is not None:
            self.left -= 1
            if self.left <= 0:
                if self.durable:
                    await super().commit(changes, expected_revision)
                self.dead.set()
                await asyncio.Event().wait()
        return await super().commit(changes, expected_revision)


class Histories(RuleBasedStateMachine):
    """The model is what clients would believe from the answers."""

    @initialize()
    def begin(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.database = MemoryDatabase()
        self.draw = CountingDraw()
        self.believed = api.Believed(groups={key_of("DfltRscGrp"): {}})
        self.loop.run_until_complete(self.start())
        # A start to build on: most histories would have nothing to place otherwise.
        for call in (
            *(api.create_node("n1"), api.create_node("n2"), api.create_pool("n1", "p11")),
            *(api.create_definition("aa", "DfltRscGrp"), api.create_volume("aa", 0, 4096)),
            api.create_resource("aa", "n1", "p11"),
        ):
            self.one(call)
        assert self.believed.resources == {("AA", "N1")}

    async def start(self) -> None:
        self.store = MortalStore(self.database)
        await self.store.open()
        clock, satellites = StillClock(), InstantSatellites()
        reports = Reports(self.store, clock, node="host", version="1")
        self.satellites = satellites
        self.service = Service(self.store, satellites, clock=clock, draw=self.draw, reports=reports)
        satellites.service = self.service
        await self.service.start()
        satellites.resend()
        self.driver = Driver(self.service, store=self.store)
        await self.quiet()

    async def quiet(self) -> None:
        """Until nothing follows any more."""
        await self.satellites.quiet()

    async def ask(self, call: api.Call) -> Reply:
        """One call and what follows from it."""
        reply = await self.driver.ask(*call.request)
        await self.quiet()
        return reply

    def died(self) -> None:
        """Nothing of the process is left but its database."""
        self.loop.run_until_complete(_end_all())
        self.loop.close()
        self.loop = asyncio.new_event_loop()
        self.database.claimed = False
        self.loop.run_until_complete(self.start())

    @rule(call=CALLS)
    def one(self, call: api.Call) -> None:
        reply = self.loop.run_until_complete(self.ask(call))
        expected = call.sure(self.believed)
        assert expected in {None, succeeded(reply)}, (call.request, reply.status, reply.content)
        if succeeded(reply):
            self.believed = call.after(self.believed)

    @rule(first=CALLS, second=CALLS)
    def two_at_once(self, first: api.Call, second: api.Call) -> None:
        async def both() -> list[Reply]:
            replies = await asyncio.gather(self.driver.ask(*first.request), self.driver.ask(*second.request))
            await self.quiet()
            return replies

        replies = self.loop.run_until_complete(both())
        done = [call for call, reply in zip((first, second), replies, strict=True) if succeeded(reply)]
        orders = [self.after_all(done), self.after_all(done[::-1])]
        shown = self.shown()
        assert shown in orders, (first.request, second.request, shown, orders)
        self.believed = shown

    def after_all(self, calls: list[api.Call]) -> api.Believed | None:
        """What is believed after these; None: in that order they cannot all have succeeded."""
        found = self.believed
        for call in calls:
            if call.sure(found) is False:
                return None
            try:
                found = call.after(found)
            except KeyError:
                return None
        return found

    @rule(call=CALLS, commits=st.integers(1, 2), durable=st.booleans())
    def end_inside(self, call: api.Call, commits: int, durable: bool) -> None:
        self.store.left, self.store.durable = commits, durable

        async def asked() -> Reply | None:
            work = asyncio.ensure_future(self.ask(call))
            end = asyncio.ensure_future(self.store.dead.wait())
            await asyncio.wait({work, end}, return_when=asyncio.FIRST_COMPLETED)
            return work.result() if work.done() else None

        reply = self.loop.run_until_complete(asked())
        self.died()
        if reply is not None:
            possible = [call.after(self.believed) if succeeded(reply) else self.believed]
        else:
            possible = [self.believed, call.after(self.believed)]
            if commits == 1 and durable and call.sure(self.believed):
                possible = possible[1:]
            elif commits == 1 and not durable:
                possible = possible[:1]
        shown = self.shown()
        assert shown in possible, (call.request, commits, durable, shown, possible)
        self.believed = shown

    @rule()
    def restart(self) -> None:
        self.loop.run_until_complete(self.service.stop())
        self.loop.run_until_complete(self.store.close())
        self.loop.run_until_complete(self.start())

    def get(self, path: str) -> Any:
        return self.loop.run_until_complete(self.driver.ask("GET", path)).json

    def shown(self) -> api.Believed:
        """What the lists say."""
        definitions = self.get("/v1/resource-definitions?with_volume_definitions=true")
        return api.Believed(
            nodes={key_of(one["name"]): own(one) for one in self.get("/v1/nodes")},
            pools={
                (key_of(one["node_name"]), key_of(one["storage_pool_name"]))
                for one in self.get("/v1/view/storage-pools")
                if one["provider_kind"] != "DISKLESS"
            },
            groups={key_of(one["name"]): own(one) for one in self.get("/v1/resource-groups")},
            definitions={
                key_of(one["name"]): {
                    "group": key_of(one["resource_group_name"]),
                    "props": own(one),
                    "volumes": {
                        it["volume_number"]: it["size_kib"] for it in one.get("volume_definitions", ())
                    },
                }
                for one in definitions
            },
            resources={
                (key_of(one["name"]), key_of(one["node_name"])) for one in self.get("/v1/view/resources")
            },
            snapshots={
                (key_of(one["resource_name"]), key_of(one["name"])) for one in self.get("/v1/view/snapshots")
            },
            stores={key_of(one["name"]): one["props"] for one in self.get("/v1/key-value-store")},
        )

    @invariant()
    def both_know_the_same(self) -> None:
        if hasattr(self, "driver"):
            assert self.shown() == self.believed

    def teardown(self) -> None:
        if hasattr(self, "loop"):
            self.loop.run_until_complete(self.service.stop())
            self.loop.close()


async def _end_all() -> None:
    while others := asyncio.all_tasks() - {asyncio.current_task()}:
        for task in others:
            task.cancel()
        await asyncio.wait(others)


def succeeded(reply: Reply) -> bool:
    """Whether there is no error in the answer."""
    assert reply.status != 500 or codes.code_of(reply.codes[0]) != codes.FAIL["IMPL_ERROR"], reply.content
    return all(codes.severity_of(number) is not codes.Mask.ERROR for number in reply.codes)


def own(shown: dict[str, Any]) -> dict[str, str]:
    """The properties that clients have set."""
    return {key: value for key, value in shown.get("props", {}).items() if key.startswith("Aux/")}


TestHistories = Histories.TestCase
TestHistories.settings = settings(
    max_examples=12, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)
