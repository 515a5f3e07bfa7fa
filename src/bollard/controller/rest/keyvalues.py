"""Routes of the key-value store."""

from starlette.responses import Response

from bollard.controller.rest.call import Call
from bollard.controller.rest.routing import Route
from bollard.domain.commands import DeleteKeyValueStore, ModifyKeyValueStore
from bollard.domain.errors import NotFound, Subject
from bollard.domain.ids import key_of
from bollard.wire.rest.answers import About
from bollard.wire.rest.keyvalues import KeyValueStoreModify, KeyValueStoreView, key_value_store_view

_ALL = "/v1/key-value-store"
_ONE = "/v1/key-value-store/{instance}"


async def list_stores(call: Call) -> Response:
    """All instances."""
    table = call.api.service.cluster.kvs
    return call.json(call.page([key_value_store_view(table[key]) for key in sorted(table)]))


async def show_store(call: Call) -> Response:
    """One instance, as a list of one."""
    name = call.names["instance"]
    found = call.api.service.cluster.kvs.get(key_of(name))
    if found is None:
        raise NotFound(Subject.KEY_VALUE_STORE, name, f"There is no key-value store '{name}'")
    return call.json([key_value_store_view(found)])


async def modify_store(call: Call) -> Response:
    """Set and delete keys; the instance comes with its first key and goes with its last."""
    body: KeyValueStoreModify = await call.body()
    return await call.run(ModifyKeyValueStore(name=call.names["instance"], props=body.change()))


async def delete_store(call: Call) -> Response:
    """Remove an instance."""
    call.about = About(bare=True)
    return await call.run(DeleteKeyValueStore(name=call.names["instance"]))


ROUTES = (
    Route(method="GET", path=_ALL, handler=list_stores, answer=list[KeyValueStoreView]),
    Route(method="GET", path=_ONE, handler=show_store, answer=list[KeyValueStoreView]),
    Route(
        method="PUT",
        path=_ONE,
        handler=modify_store,
        body=KeyValueStoreModify,
    ),
    Route(method="DELETE", path=_ONE, handler=delete_store),
)
