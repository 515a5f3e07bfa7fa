"""Links between simulated nodes: bytes in order on each channel, delays, cuts that nobody is told."""

from typing import TYPE_CHECKING

from bollard.replica.protocol import events as e
from bollard.replica.protocol.commands import Channel, Cmd

if TYPE_CHECKING:
    from bollard.sim.replica.cluster import Cluster


_RESYNC_REQUESTS = frozenset({int(Cmd.RS_DATA_REQUEST), int(Cmd.CSUM_RS_REQUEST), int(Cmd.RS_DAGTAG_REQ)})


class Link:
    """One established pair of TCP connections between two nodes."""

    def __init__(self, low: int, high: int, acceptor: int) -> None:
        self.ends = (low, high)
        self.acceptor = acceptor
        self.alive = {low: True, high: True}
        self.broken = False
        self.last: dict[tuple[int, Channel], float] = {}


class Network:
    """Who dials whom, what is on the way, and what is cut."""

    def __init__(self, cluster: "Cluster") -> None:
        self.cluster = cluster
        self.dialling: set[tuple[int, int]] = set()
        self.links: dict[tuple[int, int], Link] = {}
        self.cuts: set[tuple[int, int]] = set()

    @staticmethod
    def pair(one: int, other: int) -> tuple[int, int]:
        return (one, other) if one < other else (other, one)

    def dial(self, node: int, peer: int, delay_s: float) -> None:
        """`node` wants a link from now on."""
        boot = self.cluster.nodes[node].boot
        self.dialling.add((node, peer))
        self.cluster.at(delay_s + self.cluster.delay_s(), lambda: self._try(node, peer, boot))

    def _try(self, node: int, peer: int, boot: int) -> None:
        cluster = self.cluster
        here, there = cluster.nodes[node], cluster.nodes[peer]
        if here.boot != boot or (node, peer) not in self.dialling:
            return
        pair = self.pair(node, peer)
        old = self.links.get(pair)
        if old is not None and old.alive.get(node):
            return
        ready = there.resource is not None and pair not in self.cuts
        wanted = (peer, node) in self.dialling or (old is not None and old.alive.get(peer))
        if not ready or not wanted:
            cluster.at(0.2 + cluster.delay_s(), lambda: self._try(node, peer, boot))
            return
        if old is not None:
            self.reset(pair)
        link = Link(*pair, acceptor=cluster.random.choice(pair))
        self.links[pair] = link
        self.dialling.discard((node, peer))
        self.dialling.discard((peer, node))
        for end, far in ((node, peer), (peer, node)):
            cluster.deliver(end, e.LinkUp(far, link.acceptor == end))

    def send(self, node: int, peer: int, channel: Channel, data: bytes) -> None:
        """Bytes on their way, in order on their channel."""
        link = self.links.get(self.pair(node, peer))
        if link is None or not link.alive.get(node) or link.broken:
            return
        cluster = self.cluster
        if cluster.held_resyncs is not None and int.from_bytes(data[6:8], "big") in _RESYNC_REQUESTS:
            cluster.held_resyncs.append(lambda: self._pass(link, node, peer, channel, data))
            return
        self._pass(link, node, peer, channel, data)

    def _pass(self, link: Link, node: int, peer: int, channel: Channel, data: bytes) -> None:
        cluster = self.cluster
        key = (node, channel)
        when = max(cluster.now_s + cluster.delay_s(), link.last.get(key, 0.0))
        link.last[key] = when
        cluster.at_time(when, lambda: self._arrive(link, node, peer, channel, data))

    def _arrive(self, link: Link, node: int, peer: int, channel: Channel, data: bytes) -> None:
        if link.broken or not link.alive.get(peer):
            return
        if self.links.get(self.pair(node, peer)) is link:
            self.cluster.deliver(peer, e.Received(node, channel, data))

    def hang_up(self, node: int, peer: int) -> None:
        """The node closed its end; the other one notices a little later, if the network lets it."""
        self.dialling.discard((node, peer))
        link = self.links.get(self.pair(node, peer))
        if link is None or not link.alive.get(node):
            return
        link.alive[node] = False
        self._notice(link, peer)

    def _notice(self, link: Link, end: int) -> None:
        """The end learns that the link is gone, unless packets do not get through."""
        cluster = self.cluster

        def tell() -> None:
            if link.broken or not link.alive.get(end):
                return
            link.alive[end] = False
            far = link.ends[0] if link.ends[1] == end else link.ends[1]
            cluster.deliver(end, e.LinkDown(far, "closed by the peer"))

        last = max([when for (node, _), when in link.last.items() if node != end], default=0.0)
        cluster.at_time(max(cluster.now_s + cluster.delay_s(), last), tell)

    def reset(self, pair: tuple[int, int]) -> None:
        """Both ends learn at once."""
        link = self.links.pop(pair, None)
        if link is None:
            return
        for end in pair:
            if link.alive.get(end):
                link.alive[end] = False
                far = pair[0] if pair[1] == end else pair[1]
                if self.cluster.nodes[end].resource is not None:
                    self.cluster.deliver(end, e.LinkDown(far, "reset"))
        link.broken = True

    def crashed(self, node: int) -> None:
        """All links of a node end; its peers are told later or, where the power went, not at all."""
        self.dialling = {(one, other) for one, other in self.dialling if one != node}
        for pair, link in list(self.links.items()):
            if node not in pair or not link.alive.get(node):
                continue
            link.alive[node] = False
            peer = pair[0] if pair[1] == node else pair[1]
            if self.cluster.random.random() < 0.6:
                self._notice(link, peer)
            else:
                link.broken = True

    def cut(self, one: int, other: int, *, silent: bool) -> None:
        """No packet passes any more; a silent cut is only found by pings."""
        pair = self.pair(one, other)
        self.cuts.add(pair)
        link = self.links.get(pair)
        if link is None:
            return
        if silent:
            link.broken = True
        else:
            self.reset(pair)

    def heal(self, one: int, other: int) -> None:
        """Packets pass again; a link that lost some stays dead."""
        self.cuts.discard(self.pair(one, other))
