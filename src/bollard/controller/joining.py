"""The door for nodes that have no certificate yet: token and request in, certificate out."""

import asyncio

from starlette.responses import Response

from bollard.controller.pki import Pki
from bollard.controller.rest.call import Call
from bollard.controller.rest.routing import Route
from bollard.domain.errors import Invalid, Subject
from bollard.domain.ports import Clock
from bollard.wire.join import Joined, JoinRequest

CSR_BYTES_MAX = 16 << 10


def routes(pki: Pki, clock: Clock) -> tuple[Route, ...]:
    """The routes to mount beside those of the API."""

    async def join(call: Call) -> Response:
        request: JoinRequest = await call.body()
        if len(request.csr) > CSR_BYTES_MAX or len(request.token) > 256:
            raise Invalid(Subject.REQUEST, "csr", "The request is too long to be one for a certificate")
        certificate, authority = await asyncio.to_thread(
            pki.join, request.token, request.node_name, request.csr.encode(), clock.now_ms()
        )
        return call.json(Joined(request.node_name, certificate.decode(), authority.decode()), status=201)

    async def ca(call: Call) -> Response:
        pem = await asyncio.to_thread(pki.authority_pem)
        return Response(pem, media_type="application/x-pem-file", status_code=call.route.status)

    return (
        Route(
            method="POST",
            path="/v1/bollard/join",
            handler=join,
            body=JoinRequest,
            answer=Joined,
            status=201,
        ),
        Route(method="GET", path="/v1/bollard/ca", handler=ca, answer=None),
    )
