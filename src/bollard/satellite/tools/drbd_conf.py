"""Resource files as `drbdadm` reads them, in DRBD 9's and in DRBD 8.4's grammar, from a target. Pure.

The content holds the shared secret: it belongs into a file of mode 0600 and nowhere else.
"""

import ipaddress
import re
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from bollard.domain.ids import NodeName
from bollard.domain.nodes import Props
from bollard.domain.targets import TargetPeer, TargetReplication, TargetResource, TargetVolume
from bollard.satellite.tools.paths import Paths

__all__ = ["OPTIONS_84", "Allowed", "ConfError", "Rendered", "render9", "render84"]

Allowed = Mapping[str, frozenset[str]]
"""Option names by section (`Resource`, `Net`, `Disk`, `PeerDevice`, `Handlers`) that the tools know."""


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


OPTIONS_84: Final[Allowed] = {
    "Resource": _names("cpu-mask on-no-data-accessible"),
    "Net": _names(
        "protocol timeout ping-int ping-timeout connect-int ko-count max-epoch-size max-buffers "
        "unplug-watermark sndbuf-size rcvbuf-size allow-two-primaries cram-hmac-alg data-integrity-alg "
        "csums-alg verify-alg csums-after-crash-only after-sb-0pri after-sb-1pri after-sb-2pri always-asbp "
        "rr-conflict tcp-cork on-congestion congestion-fill congestion-extents use-rle socket-check-timeout"
    ),
    "Disk": _names(
        "on-io-error disk-barrier disk-flushes disk-drain md-flushes resync-after al-extents al-updates "
        "discard-zeroes-if-aligned disable-write-same disk-timeout read-balancing rs-discard-granularity"
    ),
    "PeerDevice": _names("resync-rate c-plan-ahead c-delay-target c-fill-target c-max-rate c-min-rate"),
    "Handlers": _names(
        "pri-on-incon-degr pri-lost pri-lost-after-sb initial-split-brain split-brain fence-peer "
        "unfence-peer local-io-error before-resync-target after-resync-target before-resync-source "
        "out-of-sync"
    ),
}
"""What DRBD 8.4 knows, fixed long ago."""

_ELSEWHERE: Final = "/dev/drbd/this/is/not/used"
"""The disk of another node: the grammar wants one, nothing here looks at it."""
_BARE: Final = re.compile(r"[A-Za-z0-9./_-]{1,64}")
_TEXT_MAX: Final = 255
_AUTH: Final = "sha1"
_NOBODY_ID: Final = 31
_NOBODY_PORT: Final = 1


class ConfError(ValueError):
    """A target that the grammar cannot express; the sentence says what and why."""


class Rendered(msgspec.Struct, frozen=True):
    """A resource file."""

    text: str
    dropped: tuple[str, ...] = ()
    """Options that these tools do not know, as `Section/name`."""

    def __repr__(self) -> str:
        return f"Rendered({len(self.text)} characters)"


def render9(target: TargetResource, paths: Paths, *, host: str, allowed: Allowed) -> Rendered:
    """DRBD 9's file. `host` is this node's uname.

    Raises ConfError.
    """
    replication = _replication(target)
    keep = _Keep(allowed)
    lines = [
        *keep.section("options", replication.options, "Resource"),
        *keep.section("handlers", replication.options, "Handlers"),
        *_net(keep, replication),
        *keep.section("disk", replication.options, "Disk", "PeerDevice"),
        *_host9(target, paths, host, keep),
    ]
    for peer in replication.peers:
        lines += _peer9(target, peer)
    for peer in replication.peers:
        if not (peer.diskless and _is_diskless(target)):
            lines += _connection9(replication, peer, host, keep)
    return _file(target, lines, keep)


def render84(target: TargetResource, paths: Paths, *, host: str, allowed: Allowed) -> Rendered:
    """DRBD 8.4's file, for two nodes with disks, or for one whose peer is not made yet. Raises ConfError."""
    replication = _replication(target)
    if len(replication.peers) > 1 or any(one.diskless for one in replication.peers) or _is_diskless(target):
        raise ConfError("DRBD 8.4 replicates between two nodes that both have a disk, and no more")
    peer = replication.peers[0] if replication.peers else _nobody(replication.address)
    if peer.paths:  # 8.4 has one: the first by name
        way = peer.paths[0]
        replication = msgspec.structs.replace(replication, address=way.address)
        peer = msgspec.structs.replace(peer, address=way.peer_address)
    keep = _Keep(allowed)
    merged = replication.options | peer.options
    replication = msgspec.structs.replace(replication, options=merged)
    lines = [
        *keep.section("options", merged, "Resource"),
        *keep.section("handlers", merged, "Handlers"),
        *_net(keep, replication),
        *keep.section("disk", merged, "Disk", "PeerDevice", fencing=True),
    ]
    mine = [_address(replication.address, replication.port)]
    for volume in target.volumes:
        mine += _volume(volume, paths.data[volume.number], keep, paths.metadata.get(volume.number, ""))
    other = [_address(peer.address, peer.port)]
    for volume in target.volumes:
        other += _volume(volume, _ELSEWHERE, None)
    lines += [*_block(f"on {_quoted(host)}", mine), *_block(f"on {_quoted(peer.node)}", other)]
    return _file(target, lines, keep)


class _Keep:
    """Which options are written, and which were dropped."""

    def __init__(self, allowed: Allowed) -> None:
        self._allowed = allowed
        self.dropped: dict[str, None] = {}

    def lines(self, options: Props, *sections: str) -> list[str]:
        found = []
        for key, value in sorted(options.items()):
            section, _, name = key.rpartition("/")
            if section not in sections or (section == "Disk" and name == "diskless"):
                continue
            # A section that the tools said nothing about is written whole: they check the file.
            if section in self._allowed and name not in self._allowed[section]:
                self.dropped[key] = None
                continue
            text = _quoted(value) if section == "Handlers" or not _BARE.fullmatch(value) else value
            found.append(f"{name} {text};")
        return found

    def section(self, word: str, options: Props, *sections: str, fencing: bool = False) -> list[str]:
        lines = self.lines(options, *sections)
        if fencing and "Net/fencing" in options:
            lines.append(f"fencing {options['Net/fencing']};")
        return _block(word, lines) if lines else []


def _nobody(address: str) -> TargetPeer:
    """Stands for the peer that is not there yet: the grammar wants one. Nothing answers at its address."""
    loopback = "::1" if ":" in address else "127.0.0.1"
    return TargetPeer(NodeName("no-peer-yet"), _NOBODY_ID, loopback, _NOBODY_PORT)


def _net(keep: _Keep, replication: TargetReplication) -> list[str]:
    options = dict(replication.options)
    if "fencing" not in keep._allowed.get("Net", {"fencing"}):  # noqa: SLF001  # a class of this file
        options.pop("Net/fencing", None)
    lines = keep.lines(options, "Net")
    if replication.secret:
        if "Net/cram-hmac-alg" not in options:
            lines.append(f"cram-hmac-alg {_AUTH};")
        lines = [line for line in lines if not line.startswith("shared-secret ")]
        lines.append(f"shared-secret {_quoted(replication.secret)};")
    return _block("net", lines) if lines else []


def _host9(target: TargetResource, paths: Paths, host: str, keep: _Keep) -> list[str]:
    lines = [f"node-id {_replication(target).node_id};"]
    for volume in target.volumes:
        lines += _volume(
            volume, paths.data.get(volume.number, "none"), keep, paths.metadata.get(volume.number, "")
        )
    return _block(f"on {_quoted(host)}", lines)


def _peer9(target: TargetResource, peer: TargetPeer) -> list[str]:
    lines = [f"node-id {peer.node_id};"]
    for volume in target.volumes:
        lines += _volume(volume, "none" if peer.diskless else _ELSEWHERE, None)
    return _block(f"on {_quoted(peer.node)}", lines)


def _volume(volume: TargetVolume, disk: str, keep: _Keep | None, meta: str = "") -> list[str]:
    """A volume block; only this node's own has options (`keep`)."""
    if volume.minor is None:
        raise ConfError(f"volume {volume.number} has no minor number")
    lines = [f"device minor {volume.minor};"]
    lines.append("disk none;" if disk == "none" else f"disk {_quoted(disk)};")
    if disk != "none":
        lines.append(f"meta-disk {_quoted(meta)};" if meta else "meta-disk internal;")
        if keep is not None:
            options = keep.lines(volume.props, "Disk")
            lines += _block("disk", [f"size {volume.size_kib}k;", *options])
    return _block(f"volume {volume.number}", lines)


def _connection9(replication: TargetReplication, peer: TargetPeer, host: str, keep: _Keep) -> list[str]:
    lines = [
        *keep.section("net", peer.options, "Net"),
        *keep.section("disk", peer.options, "PeerDevice"),
    ]
    ends = [(replication.address, peer.address)]
    if peer.paths:
        ends = [(path.address, path.peer_address) for path in peer.paths]
    for mine, other in ends:
        hosts = [
            f"host {_quoted(host)} {_address(mine, replication.port)}",
            f"host {_quoted(peer.node)} {_address(other, peer.port)}",
        ]
        lines += _block("path", hosts) if peer.paths else hosts
    return _block("connection", lines)


def _replication(target: TargetResource) -> TargetReplication:
    assert target.replication is not None, target.name
    return target.replication


def _is_diskless(target: TargetResource) -> bool:
    return all(volume.gross_kib is None for volume in target.volumes)


def _address(address: str, port: int) -> str:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        raise ConfError(f"'{address}' is not an IP address") from None
    if parsed.version == 6:
        return f"address ipv6 [{parsed}]:{port};"
    return f"address ipv4 {parsed}:{port};"


def _quoted(text: str | NodeName) -> str:
    if len(text) > _TEXT_MAX or any(ord(char) < 32 for char in text):
        raise ConfError("a value is longer than 255 characters or has a line break or control character")
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _block(head: str, lines: Iterable[str]) -> list[str]:
    return [f"{head} {{", *(f"    {line}" for line in lines), "}"]


def _file(target: TargetResource, lines: list[str], keep: _Keep) -> Rendered:
    head = [
        "# Written by Bollard, which overwrites changes.",
        f"# Resource {target.uuid}",
        *(f"# Left out, these tools do not know it: {name}" for name in keep.dropped),
    ]
    body = _block(f"resource {_quoted(target.name)}", lines)
    return Rendered("\n".join([*head, *body, ""]), tuple(keep.dropped))
