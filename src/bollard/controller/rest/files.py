"""Routes of external files: the cluster keeps them, nodes write them where their settings allow it."""

import asyncio
import base64
import binascii
import hashlib

import msgspec
from starlette.responses import Response

from bollard.controller.rest import find
from bollard.controller.rest.call import Call
from bollard.controller.rest.routing import Route
from bollard.domain.commands import AttachFile, DeleteFile, PutFile
from bollard.domain.errors import DomainError, Invalid, NotFound, Subject, Unavailable
from bollard.domain.ids import Key
from bollard.wire.rest.codes import Act, Noun
from bollard.wire.rest.files import FileCheck, FilePut, FileStatus, FileView, file_view

_ALL = "/v1/files"
_ONE = "/v1/files/{extFileName}"
_OF_DEFINITION = "/v1/resource-definitions/{resource}/files/{extFileName}"
_ANSWER_S = 5.0


async def list_files(call: Call) -> Response:
    """All files."""
    table, with_content = call.api.service.cluster.files, call.flag("content")
    return call.json(call.page([file_view(table[key], with_content=with_content) for key in sorted(table)]))


async def show_file(call: Call) -> Response:
    """One file with its content."""
    path = call.names["extFileName"]
    found = call.api.service.cluster.files.get(Key(path))
    if found is None:
        raise NotFound(Subject.EXTERNAL_FILE, path[:64], f"There is no file '{path[:64]}'")
    return call.json(file_view(found, with_content=True))


async def put_file(call: Call) -> Response:
    """Make or replace a file; nodes that have it write it anew."""
    path = call.names["extFileName"]
    call.refer(ExtFile=path)
    body: FilePut = await call.body()
    if body.path is not None and body.path != path:
        raise Invalid(
            Subject.EXTERNAL_FILE,
            path[:64],
            "The body names another file than the path of the request",
            cause=f"'{body.path[:64]}' and '{path[:64]}' differ.",
        )
    try:
        content = base64.b64decode(body.content or "", validate=True)
    except (binascii.Error, ValueError):
        raise Invalid(
            Subject.EXTERNAL_FILE,
            path[:64],
            "The content is not base64",
            correction="Encode it with the standard alphabet.",
        ) from None
    return await call.run(PutFile(path=path, content=content, alt_suffixes=body.alt_suffixes))


async def delete_file(call: Call) -> Response:
    """Remove a file, from the cluster and from the nodes that have it."""
    call.refer(ExtFile=call.names["extFileName"])
    return await call.run(DeleteFile(path=call.names["extFileName"]))


async def check_file(call: Call) -> Response:
    """Whether a node would write this file; false where nobody can say."""
    try:
        answer = await _ask(call, "file-check")
        return call.json(msgspec.json.decode(answer, type=FileCheck))
    except (DomainError, TimeoutError, msgspec.MsgspecError):
        return call.json(FileCheck(allowed=False))


async def file_status(call: Call) -> Response:
    """What a node has of this file; 503 while the node is away."""
    node = find.node(call.api.service.cluster, call.names["node"])
    file = call.api.service.cluster.files.get(Key(call.names["extFileName"]))
    if not call.api.service.observed.node(node.name).online:
        error = Unavailable(
            Subject.SATELLITE_CONNECTION,
            node.name,
            f"Node '{node.name}' is not connected",
            correction="Make sure that its satellite runs.",
        )
        return call.refused(error, status=503)
    if file is None:
        return call.json(FileStatus(content_match=False))
    try:
        answer = await _ask(call, "file-status")
        found = msgspec.json.decode(answer, type=_OnNode)
    except (DomainError, TimeoutError, msgspec.MsgspecError):
        return call.json(FileStatus(content_match=False))
    same = found.sha256 == _digest(file.content)
    return call.json(FileStatus(content_match=same, actual_path=found.actual_path))


async def attach_file(call: Call) -> Response:
    """Let the nodes of a resource definition have a file."""
    return await _attach(call, attached=True)


async def detach_file(call: Call) -> Response:
    """Let the nodes of a resource definition have a file no more."""
    return await _attach(call, attached=False)


class _OnNode(msgspec.Struct, frozen=True):
    """A file as a satellite sees it."""

    actual_path: str = ""
    sha256: str = ""


async def _attach(call: Call, *, attached: bool) -> Response:
    path = call.names["extFileName"]
    return await call.run(AttachFile(definition=call.names["resource"], path=path, attached=attached))


async def _ask(call: Call, topic: str) -> str:
    node = find.node(call.api.service.cluster, call.names["node"])
    file = call.api.service.cluster.files.get(Key(call.names["extFileName"]))
    suffixes = file.alt_suffixes if file is not None else ()
    arguments = {"path": call.names["extFileName"], "suffixes": "\0".join(suffixes)}
    async with asyncio.timeout(_ANSWER_S):
        return await call.api.service.ask(node.name, topic, arguments)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


ROUTES = (
    Route(
        method="GET",
        path=_ALL,
        handler=list_files,
        answer=list[FileView],
        query=("content", "offset", "limit"),
    ),
    Route(method="GET", path=_ONE, handler=show_file, answer=FileView),
    Route(method="PUT", path=_ONE, handler=put_file, act=Act.MODIFY, noun=Noun.EXT_FILES, body=FilePut),
    Route(
        method="DELETE",
        path=_ONE,
        handler=delete_file,
        act=Act.MODIFY,
        noun=Noun.EXT_FILES,
        keep_act=True,
    ),
    Route(method="GET", path=_ONE + "/check/{node}", handler=check_file, answer=FileCheck),
    Route(method="GET", path=_ONE + "/status/{node}", handler=file_status, answer=FileStatus),
    Route(method="POST", path=_OF_DEFINITION, handler=attach_file, act=Act.MODIFY, noun=Noun.RSC_DFN),
    Route(method="DELETE", path=_OF_DEFINITION, handler=detach_file, act=Act.MODIFY, noun=Noun.RSC_DFN),
)
