"""One replicated resource: events in, actions out. The composition of the parts; decisions are in them.

Pure: no clock, no I/O, no randomness but through the arguments.
"""

from collections.abc import Callable
from typing import Any

from bollard.replica.protocol import actions as a
from bollard.replica.protocol import events as e
from bollard.replica.protocol import packets as p
from bollard.replica.protocol.agree import Agreement
from bollard.replica.protocol.calls import Calls
from bollard.replica.protocol.changes import Changes
from bollard.replica.protocol.changes84 import Changes84
from bollard.replica.protocol.checksums import Checksums
from bollard.replica.protocol.commands import Channel
from bollard.replica.protocol.config import ResourceConfig
from bollard.replica.protocol.congestion import Congestion
from bollard.replica.protocol.connect import Connector
from bollard.replica.protocol.digests import Digests
from bollard.replica.protocol.disks import Disks
from bollard.replica.protocol.epochs import Epochs
from bollard.replica.protocol.fences import Fences
from bollard.replica.protocol.frames import FrameReader
from bollard.replica.protocol.growing import Growing
from bollard.replica.protocol.io_errors import IoErrors
from bollard.replica.protocol.losses import Losses
from bollard.replica.protocol.membership import Membership
from bollard.replica.protocol.model import Core, Peer
from bollard.replica.protocol.news import News
from bollard.replica.protocol.orders import Orders
from bollard.replica.protocol.peer84 import Peer84
from bollard.replica.protocol.peer_acks import PeerAcks
from bollard.replica.protocol.promotion import Promotion
from bollard.replica.protocol.reads import Reads
from bollard.replica.protocol.receiver import Receiver
from bollard.replica.protocol.reconcile import Reconcile
from bollard.replica.protocol.requests import Requests, Routes
from bollard.replica.protocol.resync import Resync
from bollard.replica.protocol.resync84 import Resync84
from bollard.replica.protocol.rotation import Rotation
from bollard.replica.protocol.serving import Serving
from bollard.replica.protocol.sharing import Sharing
from bollard.replica.protocol.sizing import Sizing
from bollard.replica.protocol.sources import Sources
from bollard.replica.protocol.states import DiskState, Role
from bollard.replica.protocol.status import Status
from bollard.replica.protocol.steady import Steady
from bollard.replica.protocol.thin import Thin
from bollard.replica.protocol.twopc import TwoPc
from bollard.replica.protocol.verify import Verifier

Handler = Callable[[Peer, int, Any], None]


class Resource:
    """`step` takes one event and the time, and returns what is to be done now, in order."""

    def __init__(self, config: ResourceConfig, draw_u64: Callable[[], int]) -> None:
        """`draw_u64` gives random 64-bit numbers (generations, transaction ids, backoff, challenges)."""
        self.core = Core(config, draw_u64)
        self.calls = Calls(self)
        self.changes = Changes(self)
        self.twopc = TwoPc(self.core, self.changes)
        self.digests = Digests(self)
        self.membership = Membership(self)
        self.news = News(self)
        self.losses = Losses(self)
        self.fences = Fences(self)
        self.peer_acks = PeerAcks(self)
        self.reconcile = Reconcile(self)
        self.sources = Sources(self)
        self.rotation = Rotation(self)
        self.disks = Disks(self)
        self.io_errors = IoErrors(self)
        self.sizing = Sizing(self)
        self.growing = Growing(self)
        self.agree = Agreement(self)
        self.connector = Connector(self)
        self.epochs = Epochs(self)
        self.routes = Routes(self)
        self.sharing = Sharing(self)
        self.congestion = Congestion(self)
        self.requests = Requests(self)
        self.reads = Reads(self)
        self.receiver = Receiver(self)
        self.resync = Resync(self)
        self.serving = Serving(self)
        self.checksums = Checksums(self)
        self.thin = Thin(self)
        self.verify = Verifier(self)
        self.promotion = Promotion(self)
        self.orders = Orders(self)
        self.status = Status(self)
        self.peer84 = Peer84(self)
        self.changes84 = Changes84(self)
        self.resync84 = Resync84(self)
        self.steady = Steady(self)
        self.handlers = self._packet_handlers()
        self._events = self._event_handlers()

    def step(self, event: e.Event, now_s: float) -> list[a.Action]:
        """Take an event; time never goes backwards."""
        core = self.core
        core.now_s = max(core.now_s, now_s)
        sends = self.steady.void()
        self._events[type(event)](event)
        return self._finished(sends)

    def settle(self) -> list[a.Action]:
        """What a short way (`steady`) left to be done, when `unsettled` says that it did."""
        sends = self.steady.void()
        return self._finished(sends)

    @property
    def unsettled(self) -> bool:
        """A short way ended in something unusual: `settle` is due before the next event."""
        core = self.core
        return bool(core.out or core.changed or core.retries)

    def _finished(self, sends: list[a.Send]) -> list[a.Action]:
        core = self.core
        if core.retries:
            self._retry()
        if core.changed:
            core.changed = False
            self.status.emit_changes()
        out, core.out = core.out, []
        return [*sends, *out] if sends else out

    @property
    def deadline_s(self) -> float:
        """When the next `Tick` is due; infinity when nothing waits for time."""
        return self.core.deadline_s

    def reader(self, peer: int, channel: Channel) -> FrameReader:
        """Where to receive a channel's bytes in place; another one after each LinkUp."""
        return self.core.peers[peer].readers[channel]

    def reads_locally(self, volume: int) -> bool:
        """Reads may be served from the backing directly, without asking; look again after each step."""
        core, found = self.core, self.core.volumes[volume]
        return (
            found.disk is DiskState.UP_TO_DATE
            and core.role is Role.PRIMARY
            and found.quorum
            and not core.suspended_user
            and not core.held
            and not core.fencing
        )

    def count_reads(self, volume: int, length: int) -> None:
        """So many bytes were read from the backing directly."""
        self.core.volumes[volume].read_bytes += length

    def size_bytes(self, volume: int) -> int:
        """The usable size, 0 when it is not known yet."""
        return self.core.volumes[volume].size_bytes

    def lost_disks(self) -> set[int]:
        """Volumes that should have a disk, have none, and are not about to get it."""
        return {
            number
            for number, volume in self.core.volumes.items()
            if not volume.config.diskless and volume.disk == DiskState.DISKLESS and volume.attach_tag is None
        }

    def status_record(self) -> dict[str, Any]:
        """One element of `status --json`."""
        return self.status.record()

    def event_lines(self) -> list[tuple[str, tuple[tuple[str, str], ...]]]:
        """(object, fields) of everything that exists now, in events2's words and order."""
        return [(kind, key + values) for kind, key, values in self.status.lines()]

    # -- for the parts

    def answer(
        self,
        tag: int,
        code: a.Code = a.Code.OK,
        message: str = "",
        *,
        number: int = 0,
        changed: bool = True,
    ) -> None:
        self.core.out.append(a.Answer(tag, code, message, changed and code is a.Code.OK, number))

    def retry_later(self, event: e.Request) -> None:
        """A request starts again, at the end of this step."""
        self.core.retries.append(event)

    def _retry(self) -> None:
        core = self.core
        events, core.retries = core.retries, []
        for event in events:
            self.requests.request(event)

    def _disk_done(self, event: e.DiskDone) -> None:
        found = self.core.disk_waiting.pop(event.tag, None)
        if found is not None:
            found[1](event.errno, event.data)

    def _tick(self, _event: e.Tick) -> None:
        self.core.run_timers()

    def _event_handlers(self) -> dict[type, Callable[[Any], None]]:
        orders = self.orders
        return {
            e.DiskDone: self._disk_done,
            e.Received: self.connector.received,
            e.Request: self.requests.request,
            e.Tick: self._tick,
            e.LinkUp: self.connector.link_up,
            e.LinkDown: self.connector.link_down,
            e.DiskAttached: self.disks.attached,
            e.DiskOpenFailed: self.disks.open_failed,
            e.Open: self.promotion.open,
            e.Close: self.promotion.close,
            e.AddVolume: orders.add_volume,
            e.ChangeVolume: orders.change_volume,
            e.RemoveVolume: orders.remove_volume,
            e.AddPeer: orders.add_peer,
            e.RemovePeer: orders.remove_peer,
            e.SetOptions: orders.set_options,
            e.BackingResized: orders.backing_resized,
            e.Promote: orders.promote,
            e.Demote: orders.demote,
            e.Connect: orders.connect,
            e.Disconnect: orders.disconnect,
            e.Attach: orders.attach,
            e.Detach: orders.detach,
            e.Outdate: orders.outdate,
            e.Invalidate: orders.invalidate,
            e.Verify: orders.verify,
            e.Resize: orders.resize,
            e.NewCurrentUuid: orders.new_current_uuid,
            e.SuspendIo: orders.suspend_io,
            e.ResumeIo: orders.resume_io,
            e.Stop: orders.stop,
            e.FenceDone: self.fences.done,
            e.CallDone: self.calls.done,
        }

    def _packet_handlers(self) -> dict[type, Handler]:
        connector, agree, receiver, resync = self.connector, self.agree, self.receiver, self.resync
        requests, verify = self.requests, self.verify
        handlers: dict[type, Handler] = {
            p.Data: receiver.on_data,
            p.WriteAck: requests.on_write_ack,
            p.WriteAckInSync: requests.on_write_ack,
            p.RecvAck: requests.on_write_ack,
            p.NegAck: requests.on_neg_ack,
            p.Barrier: receiver.on_barrier,
            p.BarrierAck: self.epochs.on_barrier_ack,
            p.Trim: receiver.on_range,
            p.Zeroes: receiver.on_range,
            p.OutOfSync: receiver.on_out_of_sync,
            p.Dagtag: self.peer_acks.on_dagtag,
            p.PeerAck: self.peer_acks.on_peer_ack,
            p.PeersInSync: self.peer_acks.on_peers_in_sync,
            p.PeerDagtag: self.reconcile.on_peer_dagtag,
            p.DataRequest: receiver.on_read,
            p.DataReply: self.reads.on_reply,
            p.NegDreply: self.reads.on_refused,
            p.RsDataRequest: self.serving.on_request,
            p.RsThinReq: self.serving.on_request,
            p.RsDagtagReq: self.serving.on_dagtag_request,
            p.CsumRsRequest: self.checksums.on_request,
            p.RsDataReply: resync.on_reply,
            p.RsWriteAck: resync.on_write_ack,
            p.RsDeallocated: self.thin.on_deallocated,
            p.RsDeallocatedId: self.thin.on_deallocated,
            p.RsIsInSync: resync.on_in_sync,
            p.NegRsDreply: resync.on_refused,
            p.RsCancel: resync.on_refused,
            p.RsCancelAhead: resync.on_refused,
            p.Bitmap: resync.on_bitmap,
            p.CompressedBitmap: resync.on_bitmap,
            p.OvRequest: verify.on_request,
            p.OvReply: verify.on_reply,
            p.OvResult: verify.on_result,
            p.OvResultId: verify.on_result,
            p.Ping: connector.on_ping,
            p.PingAck: connector.on_ping_ack,
            p.ConnectionFeatures: connector.on_features,
            p.AuthChallenge: connector.on_challenge,
            p.AuthResponse: connector.on_response,
            p.Protocol: connector.on_protocol,
            p.Disconnect: connector.on_disconnect,
            p.SyncParam89: agree.on_sync_param,
            p.Sizes: agree.on_sizes,
            p.Uuids110: agree.on_uuids,
            p.CurrentUuid: agree.on_current_uuid,
            p.State: agree.on_state,
            p.TwoPcPrepare: self.twopc.on_prepare,
            p.TwoPcPrepareResize: self.twopc.on_prepare,
            p.TwoPcYes: lambda peer, _volume, packet: self.twopc.on_reply(peer, packet),
            p.TwoPcNo: lambda peer, _volume, packet: self.twopc.on_reply(peer, packet),
            p.TwoPcRetry: lambda peer, _volume, packet: self.twopc.on_reply(peer, packet),
            p.TwoPcCommit: lambda peer, _volume, packet: self.twopc.on_commit(peer, packet),
            p.TwoPcAbort: lambda peer, _volume, packet: self.twopc.on_abort(peer, packet),
        }
        handlers |= self._handlers84()
        for record in p.Packet.__args__:
            handlers.setdefault(record, connector.ignore)
        return handlers

    def _handlers84(self) -> dict[type, Handler]:
        return {
            p.Uuids: self.peer84.on_uuids,
            p.SyncUuid: self.resync84.on_sync_uuid,
            p.StateChgReq: self.changes84.on_request,
            p.StateChgReply: self.changes84.on_reply,
            p.ConnStChgReq: self.changes84.on_conn_request,
        }
