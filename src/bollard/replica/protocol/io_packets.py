"""Packets of the data path: writes, epochs, reads, resync, verify, acknowledgements, bitmaps.

Payloads are views into what was received: they keep that buffer alive, so do not hoard them.
"""

from bollard.replica.protocol.commands import OvResultCode
from bollard.replica.protocol.setup_packets import PacketBase

Payload = bytes | bytearray | memoryview


# ---- writes and reads


class Data(PacketBase, frozen=True):
    """A write; flags are DataFlag bits, sector in 512 bytes."""

    sector: int
    block_id: int
    seq: int
    flags: int
    data: Payload
    digest: bytes = b""


class DataReply(PacketBase, frozen=True):
    """The answer to DataRequest."""

    sector: int
    block_id: int
    seq: int
    flags: int
    data: Payload
    digest: bytes = b""


class RsDataReply(PacketBase, frozen=True):
    """A resynced block."""

    sector: int
    block_id: int
    seq: int
    flags: int
    data: Payload
    digest: bytes = b""


class Trim(PacketBase, frozen=True):
    """Discard `size_bytes` from `sector`."""

    sector: int
    block_id: int
    seq: int
    flags: int
    size_bytes: int


class Zeroes(PacketBase, frozen=True):
    """Make `size_bytes` from `sector` read as zero."""

    sector: int
    block_id: int
    seq: int
    flags: int
    size_bytes: int


class Barrier(PacketBase, frozen=True):
    """End of an epoch; the number is opaque and echoed."""

    barrier: int


class BarrierAck(PacketBase, frozen=True):
    """All `set_size` writes of the epoch are durable."""

    barrier: int
    set_size: int


class UnplugRemote(PacketBase, frozen=True):
    """A hint: nothing follows at once."""


class OutOfSync(PacketBase, frozen=True):
    """A write that was not sent: only its place."""

    sector: int
    size_bytes: int


class Dagtag(PacketBase, frozen=True):
    """Position in the sender's change stream, in sectors."""

    dagtag: int


class PeerAck(PacketBase, frozen=True):
    """The nodes of the mask hold everything up to dagtag."""

    node_mask: int
    dagtag: int


class PeersInSync(PacketBase, frozen=True):
    """The nodes of the mask agree on this area."""

    sector: int
    node_mask: int
    size_bytes: int


class FlushRequests(PacketBase, frozen=True):
    """Asks a Primary to finish all earlier requests."""

    seq: int


class FlushForward(PacketBase, frozen=True):
    """A flush request on its way through a third node."""

    seq: int
    initiator_node_id: int


class FlushRequestsAck(PacketBase, frozen=True):
    """The flush request was answered by this Primary."""

    seq: int
    primary_node_id: int


class ConfirmStable(PacketBase, frozen=True):
    """Writes between two block ids are durable."""

    oldest_block_id: int
    youngest_block_id: int
    set_size: int


# ---- requests for blocks


class _Request(PacketBase, frozen=True):
    """The common fields of a request for a range."""

    sector: int
    block_id: int
    size_bytes: int


class DataRequest(_Request, frozen=True):
    """A read by a diskless or reading peer."""


class RsDataRequest(_Request, frozen=True):
    """A resync target asks for a range."""


class RsThinReq(_Request, frozen=True):
    """As RsDataRequest; zeroes may be answered by RsDeallocated."""


class OvRequest(_Request, frozen=True):
    """Asks for the digest of a range."""


class CsumRsRequest(_Request, frozen=True):
    """As RsDataRequest with the digest the target has."""

    digest: bytes


class OvReply(_Request, frozen=True):
    """The digest of a range."""

    digest: bytes


class _DagtagRequest(PacketBase, frozen=True):
    """A request that waits until the source has a node's change stream up to dagtag."""

    sector: int
    block_id: int
    size_bytes: int
    dagtag_node_id: int
    dagtag: int


class RsDagtagReq(_DagtagRequest, frozen=True):
    """RsDataRequest with a position."""


class RsThinDagtagReq(_DagtagRequest, frozen=True):
    """RsThinReq with a position."""


class OvDagtagReq(_DagtagRequest, frozen=True):
    """OvRequest with a position."""


class RsCsumDagtagReq(_DagtagRequest, frozen=True):
    """CsumRsRequest with a position."""

    digest: bytes


class OvDagtagReply(_DagtagRequest, frozen=True):
    """OvReply with a position."""

    digest: bytes


class RsDeallocated(PacketBase, frozen=True):
    """The range is all zero (below 122)."""

    sector: int
    size_bytes: int


# ---- acknowledgements


class _Ack(PacketBase, frozen=True):
    """The common fields of all acknowledgements; block ids are echoed."""

    sector: int
    block_id: int
    size_bytes: int
    seq: int = 0


class RecvAck(_Ack, frozen=True):
    """Protocol B: the write arrived."""


class WriteAck(_Ack, frozen=True):
    """The write is on the peer's disk (or in its cache, until the barrier)."""


class WriteAckInSync(_Ack, frozen=True):
    """As WriteAck, and the block is now in sync (122)."""


class RsWriteAck(_Ack, frozen=True):
    """The resynced block is written."""


class Superseded(_Ack, frozen=True):
    """8.4, two Primaries: another write won."""


class RetryWrite(_Ack, frozen=True):
    """8.4, two Primaries: send it again."""


class NegAck(_Ack, frozen=True):
    """The write failed."""


class NegDreply(_Ack, frozen=True):
    """The read failed."""


class NegRsDreply(_Ack, frozen=True):
    """The resync source could not read."""


class RsNegAck(_Ack, frozen=True):
    """The resync target could not write (122)."""


class RsIsInSync(_Ack, frozen=True):
    """The digests were equal: nothing to send."""


class RsCancel(_Ack, frozen=True):
    """The source will not serve this request."""


class RsCancelAhead(_Ack, frozen=True):
    """As RsCancel, because the source went Ahead."""


class RsDeallocatedId(_Ack, frozen=True):
    """The range is all zero (122)."""


class OvResult(_Ack, frozen=True):
    """Below 122: the block id says the outcome."""


class OvResultId(PacketBase, frozen=True):
    """From 122: the outcome of one verified range."""

    sector: int
    block_id: int
    size_bytes: int
    seq: int
    result: OvResultCode


class Ping(PacketBase, frozen=True):
    """Are you there?"""


class PingAck(PacketBase, frozen=True):
    """Yes."""


# ---- bitmaps


class Bitmap(PacketBase, frozen=True):
    """Little-endian words of the bitmap; empty = the end."""

    words: Payload


class CompressedBitmap(PacketBase, frozen=True):
    """Run lengths; see rle.py for the encoding byte."""

    encoding: int
    code: Payload
