"""The network of one lab: a namespace with two bridges and two taps for each node.

Everything lives in the namespace `lab-NAME`, so that nothing of the machine's own network is touched and
deleting the namespace removes it all. Needs root and Debian's iproute2 and nftables.
"""

from collections.abc import Sequence

from bollard.lab.programs import LabError, in_namespace, run

DATA_NET = "10.77.0"
CONTROL_NET = "10.78.0"
HOST_PART = 254
"""The host's own address in both networks, inside the namespace."""


def data_address(node: int) -> str:
    """Of a node; replication and clients use it. Faults apply to it."""
    return f"{DATA_NET}.{node}"


def control_address(node: int) -> str:
    """Of a node; commands reach it here, whatever faults there are."""
    return f"{CONTROL_NET}.{node}"


class LabNetwork:
    """The namespace and what is in it."""

    def __init__(self, name: str, nodes: int) -> None:
        self.namespace = f"lab-{name}"
        self._nodes = nodes
        self._cuts: set[tuple[int, int]] = set()

    def create(self) -> None:
        """Build it. Raises LabError when it is there already."""
        run("ip", "netns", "add", self.namespace)
        self._ip("link", "set", "lo", "up")
        for bridge, net in (("data", DATA_NET), ("control", CONTROL_NET)):
            self._ip("link", "add", bridge, "type", "bridge", "forward_delay", "0", "stp_state", "0")
            self._ip("link", "set", bridge, "up")
            self._ip("addr", "add", f"{net}.{HOST_PART}/24", "dev", bridge)
        for node in range(1, self._nodes + 1):
            for tap, bridge in ((data_tap(node), "data"), (control_tap(node), "control")):
                self._ip("tuntap", "add", "dev", tap, "mode", "tap")
                self._ip("link", "set", tap, "master", bridge)
                self._ip("link", "set", tap, "up")

    def destroy(self) -> None:
        """Remove the namespace, and with it everything."""
        run("ip", "netns", "delete", self.namespace)

    def partition(self, node: int) -> None:
        """Block a node's data network at the bridge.

        The tap itself must stay up: after a tap was down, User Mode Linux's network card stays deaf.
        """
        self._bridge_state(node, "disabled")

    def heal(self, node: int) -> None:
        """Undo a partition."""
        self._bridge_state(node, "forwarding")

    def cut(self, first: int, second: int) -> None:
        """Block traffic between two nodes only."""
        self._cuts.add((min(first, second), max(first, second)))
        self._load_cuts()

    def join(self, first: int, second: int) -> None:
        """Undo a cut."""
        self._cuts.discard((min(first, second), max(first, second)))
        self._load_cuts()

    def argv(self, command: Sequence[str]) -> list[str]:
        """The command line that runs `command` inside the namespace."""
        return in_namespace(self.namespace, command)

    def _bridge_state(self, node: int, state: str) -> None:
        number = {"disabled": "0", "forwarding": "3"}[state]
        run(*self.argv(["bridge", "link", "set", "dev", data_tap(node), "state", number]))

    def _load_cuts(self) -> None:
        rules = "".join(
            f'iifname "{data_tap(one)}" oifname "{data_tap(other)}" drop\n'
            for pair in sorted(self._cuts)
            for one, other in (pair, pair[::-1])
        )
        table = (
            "table bridge lab\ndelete table bridge lab\n"
            "table bridge lab {\n chain forward {\n"
            f"  type filter hook forward priority 0;\n{rules} }}\n}}\n"
        )
        run(*self.argv(["nft", "-f", "-"]), text=table)

    def _ip(self, *words: str) -> None:
        run("ip", "-n", self.namespace, *words)


def data_tap(node: int) -> str:
    """The tap of a node's data network."""
    return f"d{node}"


def control_tap(node: int) -> str:
    """The tap of a node's control network."""
    return f"c{node}"


__all__ = ["LabError", "LabNetwork", "control_address", "control_tap", "data_address", "data_tap"]
