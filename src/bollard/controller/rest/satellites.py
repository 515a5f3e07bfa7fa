"""Routes that ask or tell a satellite something about itself: its configuration and log level."""

import msgspec
from starlette.responses import Response

from bollard.controller.rest import find
from bollard.controller.rest.call import Call
from bollard.controller.rest.routing import Route
from bollard.domain.answers import Entry, Operation, Severity
from bollard.domain.errors import Invalid, Subject, Unsupported
from bollard.domain.nodes import Node
from bollard.wire.rest import answers, codes
from bollard.wire.rest.answers import ApiCallRc
from bollard.wire.rest.codes import Act, Mask, Noun
from bollard.wire.rest.satellites import SatelliteConfigBody, SatelliteConfigView, SatelliteSays, config_view

LEVELS = {
    "ERROR": "error",
    "WARN": "warning",
    "WARNING": "warning",
    "INFO": "info",
    "DEBUG": "debug",
    "TRACE": "debug",
}


async def show_config(call: Call) -> Response:
    """What a satellite says of itself; 503 while it is not there."""
    node = find.node(call.api.service.cluster, call.names["node"])
    if not call.api.service.observed.node(node.name).online:
        return _away(call, node)
    try:
        said = await call.api.service.ask(node.name, "config", {})
    except Unsupported:
        # A satellite of an older release does not know the question.
        return call.json(config_view(node, SatelliteSays()))
    return call.json(config_view(node, msgspec.json.decode(said, type=SatelliteSays)))


async def modify_config(call: Call) -> Response:
    """Change a satellite's log level until it is restarted; one that is away keeps its own."""
    body: SatelliteConfigBody = await call.body()
    node = find.node(call.api.service.cluster, call.names["node"])
    level = ((body.log.level or body.log.level_linstor) if body.log else None) or ""
    if level.upper() not in LEVELS:
        raise Invalid(
            Subject.CONTROLLER,
            node.name,
            f"'{level[:32]}' is not a log level",
            cause="Nothing but the log level can be changed while a satellite runs.",
            correction="Give 'log.level': one of " + ", ".join(LEVELS) + ".",
        )
    if not call.api.service.observed.node(node.name).online:
        return call.json([])
    await call.api.service.ask(node.name, "log-level", {"level": LEVELS[level.upper()]})
    call.about = msgspec.structs.replace(call.about, act=Act.MODIFY, noun=Noun.NODE, refs={"Node": node.name})
    entry = Entry(
        severity=Severity.SUCCESS,
        operation=Operation.MODIFY,
        subject=Subject.NODE,
        message=f"The log level of '{node.name}' is {level.upper()}",
    )
    return call.entries([answers.of_entry(entry, call.about, call.now_ms)])


def _away(call: Call, node: Node) -> Response:
    entry = ApiCallRc(
        ret_code=codes.ret_code(Mask.WARN, "NOT_CONNECTED"),
        message=f"Node '{node.name}' is not connected",
        correction="Make sure that its satellite runs.",
        created_at=answers.iso(call.now_ms),
    )
    return call.json([entry], status=503)


ROUTES = (
    Route(method="GET", path="/v1/nodes/{node}/config", handler=show_config, answer=SatelliteConfigView),
    Route(
        method="PUT",
        path="/v1/nodes/{node}/config",
        handler=modify_config,
        body=SatelliteConfigBody,
    ),
)
