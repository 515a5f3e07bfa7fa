"""The API as an ASGI application: finds the route, asks the guard, runs the handler, answers every error.

Composition only: routes live in the files of their nouns.
"""

import math
from collections.abc import Iterable

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Send
from starlette.types import Scope as AsgiScope

from bollard.controller.audit import Audit, Audited, NoAudit
from bollard.controller.rest import (
    auth,
    connections,
    definitions,
    devices,
    encryption,
    events,
    files,
    groups,
    keyvalues,
    missing,
    net_interfaces,
    nodes,
    openapi,
    pools,
    reports,
    resources,
    satellites,
    scopes,
    settings,
    sizes,
    snapshots,
    sos,
    stats,
    system,
    views,
    volumes,
)
from bollard.controller.rest.api import Api, Guard, Https, Info, Narrow, OpenGuard, SignIn, TooMany
from bollard.controller.rest.call import Call, MalformedBody
from bollard.controller.rest.routing import Match, Route, Routes
from bollard.controller.service import Service
from bollard.controller.store.base import Store
from bollard.domain.access import Scope
from bollard.domain.errors import Denied, DomainError, Subject
from bollard.domain.ports import Clock
from bollard.wire.rest import answers, codes
from bollard.wire.rest.answers import About, ApiCallRc
from bollard.wire.rest.codes import Mask

_REFUSED = frozenset({401, 403, 429})
_PATH_MAX = 1024

ROUTES: tuple[Route, ...] = (
    *system.ROUTES,
    *settings.ROUTES,
    *nodes.ROUTES,
    *satellites.ROUTES,
    *net_interfaces.ROUTES,
    *pools.ROUTES,
    *devices.ROUTES,
    *groups.ROUTES,
    *definitions.ROUTES,
    *resources.ROUTES,
    *volumes.ROUTES,
    *snapshots.ROUTES,
    *connections.ROUTES,
    *sizes.ROUTES,
    *views.ROUTES,
    *stats.ROUTES,
    *keyvalues.ROUTES,
    *reports.ROUTES,
    *auth.ROUTES,
    *encryption.ROUTES,
    *files.ROUTES,
    *sos.ROUTES,
    *events.ROUTES,
    *missing.ROUTES,
    *openapi.ROUTES,
)


def build(
    service: Service,
    *,
    store: Store,
    clock: Clock,
    info: Info,
    guard: Guard | None = None,
    audit: Audit | None = None,
    https: Https | None = None,
    more: Iterable[Route] = (),
) -> "Edge":
    """The application. `more` routes come from parts that are optional, such as joining satellites."""
    routes = (*ROUTES, *more)
    api = Api(
        service,
        store,
        clock,
        info,
        guard or OpenGuard(),
        routes=routes,
        audit=audit or NoAudit(),
        https=https,
    )
    return Edge(api, Routes(routes))


class Edge:
    """The ASGI application."""

    def __init__(self, api: Api, routes: Routes) -> None:
        self.api = api
        self.routes = routes

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        response = await self.respond(request)
        if request.method == "HEAD":
            response.body = b""
        await response(scope, receive, send)

    async def respond(self, request: Request) -> Response:
        """The answer to a request, whatever happens."""
        raw_path = request.scope.get("raw_path") or request.scope["path"].encode()
        found = self.routes.find(request.method, raw_path.partition(b"?")[0])
        if isinstance(found, frozenset):
            return self._nowhere(request, found)
        call = Call(self.api, request, found.route, found.names)
        response = await self._handled(call, found)
        self._note(call, response)
        return response

    async def _handled(self, call: Call, found: Match) -> Response:
        request = call.request
        try:
            _refuse_foreign(request)
            call.who = (await self.api.guard.admit(call.visitor, found.route.needs)).name
            return await found.route.handler(call)
        except SignIn as error:
            return _sign_in(call, error)
        except Narrow as error:
            call.who = error.name
            return call.refused(error)
        except TooMany as error:
            call.who = error.name
            return _too_many(call, error)
        except MalformedBody as error:
            entry = answers.parse_error(error.message, call.now_ms)
            return call.json([entry], status=error.status)
        except DomainError as error:
            return call.refused(error)
        except Exception as error:  # noqa: BLE001  # the outermost frame of a request: others go on
            return self._broken(call, error)

    def _note(self, call: Call, response: Response) -> None:
        """One line for what changes something, is for administrators, or was refused entry."""
        quiet = call.route.method in scopes.READS and call.route.needs is not Scope.ADMIN
        if quiet and response.status_code not in _REFUSED:
            return
        began_ms, now_ms = call.began_ms, call.now_ms
        self.api.audit.note(
            Audited(
                at=answers.iso(began_ms),
                who=call.who,
                peer=call.visitor.peer,
                method=call.request.method,
                path=call.request.url.path[:_PATH_MAX],
                status=response.status_code,
                codes=call.codes,
                revision=self.api.service.cluster.revision,
                took_ms=now_ms - began_ms,
            )
        )

    def _nowhere(self, request: Request, allowed: frozenset[str]) -> Response:
        methods = sorted({*allowed, "OPTIONS", *(("HEAD",) if "GET" in allowed else ())})
        if allowed and request.method == "OPTIONS":
            return Response(
                ", ".join(methods), media_type="text/plain", headers={"Allow": ", ".join(methods)}
            )
        if allowed:
            message = f"{request.method} is not possible on {request.url.path}; {', '.join(methods)} are"
            status, headers = 405, {"Allow": ", ".join(methods)}
        else:
            message = f"There is nothing at {request.url.path}"
            status, headers = 404, {}
        entry = ApiCallRc(
            ret_code=codes.ret_code(Mask.ERROR, "UNKNOWN_ERROR"),
            message=message,
            details="The paths of the API start with /v1 and are case-sensitive.",
            created_at=answers.iso(self.api.clock.now_ms()),
        )
        return _json([entry], status, headers)

    def _broken(self, call: Call, error: Exception) -> Response:
        report_id = self.api.service.broken(error, f"{call.request.method} {call.route.path}")
        entry = ApiCallRc(
            ret_code=codes.ret_code(Mask.ERROR, "IMPL_ERROR", call.about.act, call.about.noun),
            message="The controller failed on this request because of an error of its own",
            cause=type(error).__name__,
            correction=f"Please report it with error report {report_id}.",
            error_report_ids=(report_id,),
            obj_refs=call.about.refs,
            created_at=answers.iso(call.now_ms),
        )
        return _json([entry], 500, {})


def _sign_in(call: Call, error: SignIn) -> Response:
    call.about = About()
    response = call.refused(error, status=401)
    response.headers["WWW-Authenticate"] = 'Bearer realm="linstor-controller"'
    return response


def _too_many(call: Call, error: TooMany) -> Response:
    call.about = About()
    response = call.refused(error, status=429)
    response.headers["Retry-After"] = str(max(1, math.ceil(error.wait_s)))
    return response


def _refuse_foreign(request: Request) -> None:
    """A page of another site may not change anything here, whoever looks at it. Raises Denied."""
    origin = request.headers.get("origin")
    if origin is None or request.method in {"GET", "HEAD"}:
        return
    if origin.rpartition("//")[2].lower() != request.headers.get("host", "").lower():
        raise Denied(
            Subject.COMMAND,
            origin[:64],
            f"A page of '{origin[:64]}' may not send commands to this controller",
            cause="The request comes from a page of another site.",
            correction="Use a page that this controller serves, or a client that is no browser.",
        )


def _json(entries: list[ApiCallRc], status: int, headers: dict[str, str]) -> Response:
    return Response(
        msgspec.json.encode(entries), status_code=status, media_type="application/json", headers=headers
    )


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return
