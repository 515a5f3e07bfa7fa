"""What the drivers that are in no package registry send and need, call by call, against the API.

One file a client in tests/golden/clients: the request, the status that the client compares, the members of
the answer that it reads, and what it expects of the ApiCallRc entries.
"""

import asyncio
import json
import pathlib
from collections.abc import Iterator
from typing import Any

import pytest

from bollard.wire.rest import codes
from recorded import three_nodes

FOLDER = pathlib.Path(__file__).parents[1] / "golden" / "clients"
CLIENTS = sorted(path.stem for path in FOLDER.glob("*.json"))


def found(value: Any, path: str) -> Iterator[Any]:
    """What is at a path: members by dots (a name may hold slashes), `[]` for each of a list that has some."""
    word, _, rest = path.partition(".")
    if word == "[]":
        assert value, f"an empty list at '{path}'"
        inner = list(value)
    elif isinstance(value, list):
        inner = [value[int(word)]]
    else:
        assert word in value, f"'{word}' is not in {sorted(value)}"
        inner = [value[word]]
    for one in inner:
        if rest:
            yield from found(one, rest)
        else:
            yield one


def _entries(reply: Any, expected: str) -> None:
    """ApiCallRc entries: all success, none an error, or the first error with a code by name."""
    numbers = [entry["ret_code"] for entry in reply]
    assert numbers, reply
    severities = [codes.severity_of(number) for number in numbers]
    if expected == "success":
        assert severities[0] is codes.Mask.SUCCESS, reply
    elif expected == "no error":
        assert not any(codes.is_error(number) for number in numbers), reply
    else:
        first = next(number for number in numbers if codes.is_error(number))
        assert codes.code_of(first) == codes.FAIL[expected.removeprefix("FAIL_")], reply


async def _replay(calls: list[dict[str, Any]]) -> None:
    town, driver = await three_nodes()
    for call in calls:
        method, _, path = call["do"].partition(" ")
        reply = await driver.ask(method, path, call.get("body"))
        await town.quiet()
        assert reply.status == call["status"], (call, reply.content)
        for need in call.get("needs", ()):
            assert None not in list(found(reply.json, need)), (call, need)
        for need, value in call.get("equals", {}).items():
            assert set(found(reply.json, need)) == {value}, (call, reply.content)
        if expected := call.get("entries"):
            _entries(reply.json, expected)


@pytest.mark.parametrize("client", CLIENTS)
def test_a_client_finds_what_it_needs(client: str) -> None:
    contract = json.loads((FOLDER / f"{client}.json").read_text())
    asyncio.run(_replay(contract["calls"]))


def test_a_missing_member_is_noticed() -> None:
    with pytest.raises(AssertionError, match="device_path"):
        list(found([{"volumes": [{"number": 0}]}], "[].volumes.[].device_path"))
    with pytest.raises(AssertionError, match="empty"):
        list(found([], "[].name"))
