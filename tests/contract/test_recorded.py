"""What clients met at LINSTOR they meet here: recorded calls, with the page of differences as exceptions."""

import asyncio
import json
import pathlib
import re
from http import HTTPStatus
from typing import Any

import recorded

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "reference" / "differences.md"


def listed() -> set[tuple[str, int]]:
    """The exchanges that the page names."""
    found: set[tuple[str, int]] = set()
    for text in re.findall(r"^Exchanges: (.+(?:\n[^\n]+)*)", PAGE.read_text(), re.MULTILINE):
        for part in text.replace("\n", " ").split(";"):
            section, _, numbers = part.strip().partition(" ")
            assert section in recorded.SECTIONS, part
            for number in numbers.split(","):
                exchange = (section, int(number))
                assert exchange not in found, f"{exchange} is listed twice"
                found.add(exchange)
    return found


async def replayed() -> tuple[int, dict[tuple[str, int], list[str]]]:
    """How many exchanges were compared, and what differs in those that differ."""
    town = recorded.Town()
    driver = await town.start()
    compared, differing = 0, {}
    nodes = recorded.Nodes()
    for section in recorded.SECTIONS:
        if section == "snapshots":
            await nodes.note(driver)
        for exchange in recorded.exchanges(section):
            if "action" in exchange:
                await town.act(exchange["action"].split())
                continue
            token = recorded.token_for(town, exchange)
            reply = await recorded.ask(driver, exchange["request"], token)
            recorded.keep_token(town, exchange, reply)
            await town.quiet()
            await take_clone_away(driver, exchange["request"], reply)
            if "response" in exchange:
                compared += 1
                found = recorded.different(exchange["response"], reply)
                if found:
                    request = exchange["request"]
                    differing[section, exchange["seq"]] = [f"{request['method']} {request['path']}", *found]
        if section == "snapshots":
            await nodes.bring_back(driver)
            await town.quiet()
    return compared, differing


async def take_clone_away(driver: recorded.Driver, request: dict[str, Any], reply: recorded.Reply) -> None:
    """The recorded pools could clone nothing: what ours make goes again, so that it differs once only."""
    if request["path"].endswith("/clone") and reply.status == HTTPStatus.CREATED:
        name = json.loads(reply.content)["clone_name"]
        await driver.ask("DELETE", f"/v1/resource-definitions/{name}")


def test_every_difference_is_on_the_page() -> None:
    compared, differing = asyncio.run(replayed())
    assert compared > 1000
    page = listed()
    new = {place: found for place, found in differing.items() if place not in page}
    assert not new, "answers that differ and are not on the page: " + str(new)
    gone = sorted(page - differing.keys())
    assert not gone, f"listed on the page, but no longer different: {gone}"
