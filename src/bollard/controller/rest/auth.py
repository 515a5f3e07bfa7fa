"""Routes of tokens. A token is made here, shown in this one answer, and forgotten: only its hash is kept."""

import asyncio
import hashlib
import logging
import secrets
import string

import msgspec
from starlette.responses import Response

from bollard.controller.rest.call import Call
from bollard.controller.rest.routing import Route
from bollard.controller.service import Answer
from bollard.domain import props
from bollard.domain.answers import Severity
from bollard.domain.commands import (
    Command,
    CreateToken,
    ModifyController,
    PropsChange,
    RevokeToken,
)
from bollard.domain.errors import DomainError, Invalid, Subject
from bollard.domain.nodes import Node
from bollard.wire.rest import answers, codes
from bollard.wire.rest.answers import About, ApiCallRc
from bollard.wire.rest.auth import TokenAuthInit, TokenCreate, TokenList, TokenModify, token_view
from bollard.wire.rest.codes import Mask

_ALL = "/v1/controller/auth/token"
_ONE = "/v1/controller/auth/token/{authtokenid}"
_INIT = "/v1/controller/auth/initialize-token-auth"
_LETTERS = string.ascii_letters + string.digits
_LENGTH = 32
_ANSWER_S = 5.0
_OF_NODE = "satellite:{node}"
_log = logging.getLogger(__name__)


async def list_tokens(call: Call) -> Response:
    """All tokens, without what they are."""
    table = call.api.service.cluster.tokens
    found = sorted(table.values(), key=lambda token: token.number)
    return call.json(TokenList(len(found), tuple(token_view(token) for token in found)))


async def create_token(call: Call) -> Response:
    """Make a token; it is in the answer, and nowhere else."""
    body: TokenCreate = await call.body()
    token = _fresh()
    return await _made(call, body.command(_digest(token)), token)


async def modify_token(call: Call) -> Response:
    """Change the description, the address, the scope of a token, or let it rest."""
    number = _number(call)
    body: TokenModify = await call.body()
    return await call.run(body.command(number))


async def revoke_token(call: Call) -> Response:
    """Revoke a token for good."""
    return await call.run(RevokeToken(number=_number(call)))


async def initialize(call: Call) -> Response:
    """Demand tokens from now on, and make the first one and one for every node."""
    body: TokenAuthInit = await call.body()
    if body.only_satellites:
        said = await _tokens_of_nodes(call)
        return call.entries(said)
    token = _fresh()
    command = CreateToken(
        digest=_digest(token), description=body.description or "init-client", scope="admin", enable=True
    )
    https = call.api.https
    secured = [] if body.no_https or https is None or props.TOKEN_AUTH.truth(_props(call)) else [https]
    ports = [await each.enable() for each in secured]
    answer = await call.api.service.submit(command)
    call.about = About(bare=True)
    entries = [answers.of_entry(entry, call.about, call.now_ms) for entry in answer.entries]
    if not _is_made(answer):
        return call.entries(entries)
    entries[0] = msgspec.structs.replace(entries[0], obj_refs={"token": token})
    if ports:
        change = PropsChange(override={props.AUTO_HTTPS.key: "true"})
        await call.api.service.submit(ModifyController(props=change))
        entries.append(_info(call, f"The API is served under TLS on port {ports[0]}", "PROP_SET"))
    entries += await _tokens_of_nodes(call)
    return call.entries(entries)


async def _made(call: Call, command: Command, token: str) -> Response:
    answer = await call.api.service.submit(command)
    call.about = About(bare=True)
    entries = [answers.of_entry(entry, call.about, call.now_ms) for entry in answer.entries]
    if _is_made(answer):
        entries[0] = msgspec.structs.replace(entries[0], obj_refs={"token": token})
    return call.entries(entries)


def _is_made(answer: Answer) -> bool:
    return bool(answer.entries) and answer.entries[0].severity is Severity.SUCCESS


async def _tokens_of_nodes(call: Call) -> list[ApiCallRc]:
    """A fresh token for every node that is online, for programs there; those from before are revoked."""
    service = call.api.service
    table = service.cluster.nodes
    nodes = [table[key] for key in sorted(table) if table[key].holds_storage and table[key].link()]
    made = [await _token_of(call, node) for node in nodes if service.observed.node(node.name).online]
    away = [node.name for node in nodes if not service.observed.node(node.name).online]
    said = [entry for entry in made if entry is not None]
    if away:
        said.append(_info(call, "These nodes are away and have no token: " + ", ".join(away)))
    return said


async def _token_of(call: Call, node: Node) -> ApiCallRc | None:
    service, link = call.api.service, node.link()
    assert link is not None, node.name
    before = [it.number for it in service.cluster.tokens.values() if it.node == node.name and it.active]
    token = _fresh()
    await service.submit(
        CreateToken(
            digest=_digest(token),
            description=_OF_NODE.format(node=node.name),
            scope="operator",
            ip_filter=link.address,
            node=node.name,
        )
    )
    try:
        async with asyncio.timeout(_ANSWER_S):
            await service.ask(node.name, "auth-token", {"token": token})
    except (DomainError, TimeoutError) as error:
        _log.warning("node %s did not take its token: %s", node.name, type(error).__name__)
        made = service.cluster.token_of(_digest(token))
        if made is not None:
            await service.submit(RevokeToken(number=made.number))
        return _info(call, f"Node '{node.name}' did not take its token; it has none")
    for number in before:
        await service.submit(RevokeToken(number=number))
    return None


def _props(call: Call) -> dict[str, str]:
    return call.api.service.cluster.props()


def _info(call: Call, message: str, code: str = "NOOP") -> ApiCallRc:
    return ApiCallRc(
        ret_code=codes.ret_code(Mask.INFO, code), message=message, created_at=answers.iso(call.now_ms)
    )


def _number(call: Call) -> int:
    text = call.names["authtokenid"]
    if not text.isdecimal() or len(text) > 18:
        raise Invalid(Subject.REQUEST, text[:32], f"'{text[:32]}' is not the number of a token")
    return int(text)


def _fresh() -> str:
    return "".join(secrets.choice(_LETTERS) for _ in range(_LENGTH))


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


ROUTES = (
    Route(
        method="POST",
        path=_INIT,
        handler=initialize,
        body=TokenAuthInit,
        optional_body=True,
        status=201,
    ),
    Route(method="GET", path=_ALL, handler=list_tokens, answer=TokenList),
    Route(method="POST", path=_ALL, handler=create_token, body=TokenCreate, status=201),
    Route(method="PUT", path=_ONE, handler=modify_token, body=TokenModify),
    Route(method="DELETE", path=_ONE, handler=revoke_token),
)
