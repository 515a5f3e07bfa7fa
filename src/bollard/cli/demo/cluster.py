"""The demo's view of the cluster, through the REST API only."""

import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from bollard.cli.demo.processes import DemoError
from bollard.client.nbd import NbdClient
from bollard.client.rest import RestClient, path_of

_POLL_S = 0.1


class ClusterView:
    """Reads and waits; every change goes through the command line's own code."""

    def __init__(self, url: str, resource: str) -> None:
        self._client = RestClient([url], timeout_s=30.0)
        self._resource = resource

    def resources(self) -> dict[str, dict[str, Any]]:
        """The demo's resource by node."""
        reply = self._client.get("/v1/view/resources", {"resources": [self._resource]})
        if not reply.ok:
            raise DemoError(f"The controller refused to show the resource: {reply.body}")
        return {item["node_name"]: item for item in reply.body}

    def disk_state(self, node: str) -> str:
        """Of volume 0 on that node."""
        volumes = self.resources().get(node, {}).get("volumes", [])
        state: str = volumes[0].get("state", {}).get("disk_state", "Unknown") if volumes else "Unknown"
        return state

    def device(self, node: str) -> tuple[str, str]:
        """NBD address and export name of volume 0 on a node."""
        volumes = self.resources()[node].get("volumes", [])
        uri = urlsplit(volumes[0].get("nbd_uri", "") if volumes else "")
        socket_path = parse_qs(uri.query).get("socket", [""])[0]
        if not uri.scheme.startswith("nbd") or not socket_path:
            raise DemoError(f"No NBD device is reported for {self._resource} on {node}")
        return f"unix:{socket_path}", unquote(uri.path.lstrip("/"))

    def open(self, node: str, limit_s: float) -> NbdClient:
        """Open the volume on a node for writing, which makes the node Primary; tried until it is allowed."""
        deadline_s = time.monotonic() + limit_s
        while True:
            try:
                return NbdClient(*self.device(node), timeout_s=60.0)
            except (OSError, DemoError) as error:
                if time.monotonic() > deadline_s:
                    raise DemoError(
                        f"{node} could not be promoted within {limit_s:.0f} s: {error}"
                    ) from error
            time.sleep(_POLL_S)

    def wait(self, what: str, limit_s: float, ready: Callable[[dict[str, dict[str, Any]]], bool]) -> None:
        """Until the condition holds for the resource by node. Raises DemoError with the last state."""
        deadline_s = time.monotonic() + limit_s
        while True:
            found = self.resources()
            if ready(found):
                return
            if time.monotonic() > deadline_s:
                raise DemoError(f"Waited {limit_s:.0f} s for {what}; last seen: {_states(found)}")
            time.sleep(_POLL_S)

    def wait_offline(self, node: str, limit_s: float) -> None:
        """Until the controller has noticed that a node is gone."""
        deadline_s = time.monotonic() + limit_s
        while self._client.get(path_of("nodes", node)).body.get("connection_status") == "ONLINE":
            if time.monotonic() > deadline_s:
                raise DemoError(f"{node} is still shown as online after {limit_s:.0f} s")
            time.sleep(_POLL_S)

    def verify(self) -> dict[str, Any]:
        """The newest online verify as reported: request, finished, done_percent, out_of_sync_kib."""
        best: dict[str, Any] = {"request": 0, "finished": False, "done_percent": 0.0, "out_of_sync_kib": 0}
        for item in self.resources().values():
            found = item.get("verify") or best
            if found["request"] > best["request"]:
                best = found
        return best

    def resynced(self, node: str) -> tuple[int, float | None]:
        """KiB moved to a node by its newest resync, and its progress in percent while one runs."""
        moved, done = 0, None
        for volume in self.resources().get(node, {}).get("volumes", ()):
            for state in volume.get("state", {}).get("replication_states", {}).values():
                moved = max(moved, state.get("resynced_kib", 0))
                if state.get("replication_state") in {"SyncTarget", "PausedSyncT", "WFBitMapT"}:
                    done = state.get("done_percentage") or 0.0
        return moved, done

    def definition_path(self) -> str:
        """The resource definition's path."""
        return path_of("resource-definitions", self._resource)


def _states(found: dict[str, dict[str, Any]]) -> str:
    words = []
    for node, item in sorted(found.items()):
        states = [volume.get("state", {}).get("disk_state", "?") for volume in item.get("volumes", ())]
        words.append(f"{node}: {'/'.join(states) or '?'}")
    return ", ".join(words)
