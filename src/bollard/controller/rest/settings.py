"""Routes of the controller's properties, version and configuration, and of the catalogue of properties."""

import logging
from collections.abc import Awaitable, Callable

from starlette.responses import Response

from bollard.controller.rest.call import Call
from bollard.controller.rest.routing import Route
from bollard.domain.answers import Entry, Operation, Severity
from bollard.domain.commands import ModifyController, PropsChange
from bollard.domain.errors import Invalid, Subject
from bollard.domain.props import Scope
from bollard.wire.rest import answers
from bollard.wire.rest.codes import Act, Noun
from bollard.wire.rest.properties import PropertyInfo, all_infos, infos
from bollard.wire.rest.settings import (
    REST_API_VERSION,
    ConfigBody,
    ConfigDb,
    ConfigDebug,
    ConfigDir,
    ConfigHttp,
    ConfigLdap,
    ConfigLog,
    ConfigView,
    ControllerPropsModify,
    VersionView,
)

_PROPERTIES = "/v1/controller/properties"
_HTTPS_PORT = 3371
COMPATIBLE_VERSION = "1.34.0"
"""The LINSTOR release whose behaviour is served; clients compare it with what they need."""
_LEVELS = {
    "ERROR": logging.ERROR,
    "WARN": logging.WARNING,
    "WARNING": logging.WARNING,
    "INFO": logging.INFO,
    "DEBUG": logging.DEBUG,
    "TRACE": logging.DEBUG,
}


async def show_version(call: Call) -> Response:
    """The version of the API that is served, and of what serves it."""
    info = call.api.info
    return call.json(
        VersionView(
            version=COMPATIBLE_VERSION,
            git_hash=info.git_hash or "0" * 40,
            build_time=info.build_time or answers.iso(info.started_ms),
            rest_api_version=REST_API_VERSION,
            product=f"Bollard {info.version}",
        )
    )


async def list_properties(call: Call) -> Response:
    """The controller's properties."""
    settings = call.api.service.cluster.settings
    if settings is None:
        return call.json({})
    return call.json(dict(sorted({**settings.props, "Cluster/LocalID": settings.cluster_uuid}.items())))


async def modify_properties(call: Call) -> Response:
    """Set and delete properties of the controller: all or none."""
    body: ControllerPropsModify = await call.body()
    return await call.run(ModifyController(props=body.change()))


async def delete_property(call: Call) -> Response:
    """Delete one property of the controller; its key may have slashes."""
    return await call.run(ModifyController(props=PropsChange(delete=(call.names["key"],))))


async def show_config(call: Call) -> Response:
    """The configuration in effect, without secrets."""
    info = call.api.info
    https_port = call.api.https.port if call.api.https is not None else info.https_port
    return call.json(
        ConfigView(
            config=ConfigDir(info.config_dir),
            debug=ConfigDebug(),
            log=ConfigLog(print_stack_trace=False, level=_level()),
            db=ConfigDb(connection_url=info.database, version_check_disabled=False),
            http=ConfigHttp(enabled=True, port=info.port, listen_address=info.listen_address),
            https=ConfigHttp(
                enabled=https_port is not None,
                port=https_port or _HTTPS_PORT,
                listen_address=info.listen_address,
            ),
            ldap=ConfigLdap(),
        )
    )


async def modify_config(call: Call) -> Response:
    """Change the log level; nothing else can be changed while the controller runs."""
    body: ConfigBody = await call.body()
    log = body.log
    levels = (log.level, log.level_global, log.level_linstor, log.level_linstor_global) if log else ()
    named = [level.upper() for level in levels if level]
    if not named:
        raise Invalid(
            Subject.CONTROLLER,
            "config",
            "Nothing in the request can be changed while the controller runs",
            correction="Give 'log.level'.",
        )
    for level in named:
        if level not in _LEVELS:
            raise Invalid(
                Subject.CONTROLLER,
                level,
                f"'{level[:32]}' is not a log level",
                correction="Use one of " + ", ".join(_LEVELS) + ".",
            )
    logging.getLogger("bollard").setLevel(_LEVELS[named[0]])
    entry = Entry(
        severity=Severity.SUCCESS,
        operation=Operation.MODIFY,
        subject=Subject.CONTROLLER,
        message=f"The log level is {named[0]}",
    )
    return call.entries([answers.of_entry(entry, call.about, call.now_ms)])


async def show_all_infos(call: Call) -> Response:
    """Which properties each kind of object may have."""
    return call.json(all_infos())


def _level() -> str:
    number = logging.getLogger("bollard").getEffectiveLevel()
    return "WARN" if number == logging.WARNING else logging.getLevelName(number)


def _infos(scope: Scope) -> Callable[[Call], Awaitable[Response]]:
    async def show_infos(call: Call) -> Response:
        """Which properties this kind of object may have."""
        return call.json(infos(scope))

    return show_infos


_RESOURCES = "/v1/resource-definitions/{resource}/resources"
_INFO_PATHS = (
    ("/v1/controller", Scope.CONTROLLER),
    ("/v1/nodes", Scope.NODE),
    ("/v1/storage-pool-definitions", Scope.POOL_DEFINITION),
    ("/v1/nodes/{node}/storage-pools", Scope.POOL),
    ("/v1/resource-groups", Scope.RESOURCE_DEFINITION),
    ("/v1/resource-groups/{resource_group}/volume-groups", Scope.VOLUME_DEFINITION),
    ("/v1/resource-definitions", Scope.RESOURCE_DEFINITION),
    ("/v1/resource-definitions/{resource}/volume-definitions", Scope.VOLUME_DEFINITION),
    (_RESOURCES, Scope.RESOURCE),
    (_RESOURCES + "/{node}/volumes", Scope.VOLUME),
    ("/v1/resource-definitions/{resource}/resource-connections", Scope.RESOURCE_CONNECTION),
)

ROUTES = (
    Route(method="GET", path="/v1/controller/version", handler=show_version, answer=VersionView),
    Route(method="GET", path=_PROPERTIES, handler=list_properties, answer=dict[str, str]),
    Route(
        method="POST",
        path=_PROPERTIES,
        handler=modify_properties,
        act=Act.CREATE,
        noun=Noun.CTRL_CONF,
        body=ControllerPropsModify,
        status=201,
    ),
    Route(
        method="GET",
        path=_PROPERTIES + "/info/all",
        handler=show_all_infos,
        answer=dict[str, dict[str, PropertyInfo]],
    ),
    Route(
        method="DELETE",
        path=_PROPERTIES + "/{key...}",
        handler=delete_property,
        act=Act.DELETE,
        noun=Noun.CTRL_CONF,
    ),
    Route(method="GET", path="/v1/controller/config", handler=show_config, answer=ConfigView),
    Route(
        method="PUT",
        path="/v1/controller/config",
        handler=modify_config,
        body=ConfigBody,
    ),
    *(
        Route(
            method="GET",
            path=path + "/properties/info",
            handler=_infos(scope),
            answer=dict[str, PropertyInfo],
        )
        for path, scope in _INFO_PATHS
    ),
)
