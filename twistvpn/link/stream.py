"""A link on any Twisted stream transport: TCP, TLS, UNIX sockets, behind HAProxy.

Every packet has its length in front (`twistvpn.wire.framing`).  Outgoing data queues here only while the
transport is full, up to a bound; control packets overtake it.

Source: wire-protocol draft, "TCP".
"""

from __future__ import annotations

import socket
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

from twisted.internet.interfaces import IPushProducer, ITCPTransport
from twisted.internet.protocol import Factory, Protocol, connectionDone
from zope.interface import implementer

from twistvpn.errors import MalformedPacket
from twistvpn.interfaces import Address, Buffer, ILink, ILinkReceiver, Run
from twistvpn.link.addresses import canonical_host, readable
from twistvpn.link.connections import abort, cancel
from twistvpn.link.sockets import set_tos
from twistvpn.link.strangers import Strangers
from twistvpn.verbosity import Logger
from twistvpn.wire.framing import Deframer, frame_one, frame_run, runs_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twisted.internet.interfaces import IAddress, IConsumer, IDelayedCall, IReactorTime
    from twisted.python.failure import Failure

MAX_FRAME = 2048
"""Longest packet taken by default, in bytes: what a tun MTU of 1500 can lead to, with room.

A stranger that speaks another protocol is noticed at its first two bytes, which make a longer one.
"""

LONGEST_FRAME = 0xFFFF
"""Bytes that the length in front of a packet can tell."""

_AROUND = 256
"""Bytes that the longest of headers, IVs, HMACs and framings add to what the device reads, rounded up."""
QUEUE_LIMIT = 256 * 1024
"""Bytes of data that wait for a peer that does not drain."""
IDLE_TIMEOUT = 60.0
"""Seconds a connection may stay without having delivered one packet."""
LINGER = 5.0
"""Seconds that `close` waits for what is queued to leave."""


@implementer(ILink, IPushProducer)
class StreamLink(Protocol):
    """One stream connection; `StreamLinkFactory` makes it.

    `receiver` learns of the link with its first packet.  `receiver.link_lost` is called once for every connection that
    was made, whichever end closed it, also when it never delivered a packet.

    `drops` counts packets by reason: 'full' (the peer does not drain), 'closed', and 'malformed' for
    the one that ended the stream.
    """

    _log = Logger()
    is_stream = True
    header_size = 0
    relay = None
    local = "stream"

    def __init__(
        self,
        receiver: ILinkReceiver,
        clock: IReactorTime,
        strangers: Strangers,
        *,
        max_frame: int = MAX_FRAME,
        queue_limit: int = QUEUE_LIMIT,
        idle: float | None = IDLE_TIMEOUT,
    ) -> None:
        self.drops: Counter[str] = Counter()
        self.address: Address = ("", 0)
        """The other end's: as the connection has it at first, and once something has come as a proxy in front says."""
        self._receiver = receiver
        self._clock = clock
        self._strangers = strangers
        self._deframer = Deframer(max_frame)
        self._queue_limit = queue_limit
        self._idle = idle
        self._queue: list[bytes] = []
        self._queued = 0
        self._full = False
        self._closed = True
        self._silent = True
        """Nothing has come yet."""
        self._timer: IDelayedCall | None = None
        self._tos = 0

    def connectionMade(self) -> None:
        """Tune the connection and wait for the first packet."""
        transport = self.transport
        assert transport is not None
        self._closed = False
        self._look_at_ends()
        if ITCPTransport.providedBy(transport):
            with suppress(AttributeError, OSError):  # TLS says it is TCP, whatever is below
                transport.setTcpNoDelay(True)
                transport.setTcpKeepAlive(True)
        # ITransport does not promise it, yet every stream transport has it.
        cast("IConsumer", transport).registerProducer(self, True)
        if self._idle is not None:
            self._timer = self._clock.callLater(self._idle, self._abort)
            self._strangers.enter(self)

    def _look_at_ends(self) -> None:
        assert self.transport is not None
        self.address = link_address(self.transport.getPeer())
        self.local = describe(self.transport.getHost())

    def dataReceived(self, data: bytes) -> None:
        """Cut the stream into packets and hand them over as one batch."""
        if self._closed:
            return
        if self._silent:
            # Where HAProxy or its like is in front, the header that has come before this says who the other end is.
            self._silent = False
            self._look_at_ends()
        try:
            datagrams = self._deframer.feed(data)
        except MalformedPacket as error:
            self.drops[error.reason] += 1
            line = self._strangers.line_about(f"{readable(self.address)}: closing the connection: {error}")
            if line is not None:
                self._log.info("{line}", line=line)
            self._abort()
            return
        if not datagrams:
            return
        self._stop_timer()
        address = self.address
        try:
            self._receiver.runs_received(self, [(run, address) for run in runs_of(datagrams)])
        except Exception:  # noqa: BLE001  the transport would end the connection
            self._log.failure("The packets received from {peer} could not be processed", peer=readable(address))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Forget what is queued and tell the receiver."""
        self._closed = True
        self._stop_timer()
        self._clear_queue()
        self._receiver.link_lost(self, reason)

    def send_control(self, datagram: Buffer, address: Address) -> None:
        """Send one control packet, ahead of queued data."""
        if self._closed or self.transport is None:
            self.drops["closed"] += 1
        else:
            self.transport.write(frame_one(datagram))

    def send_runs(self, runs: Sequence[Run], address: Address) -> None:
        """Send data packets; while the transport is full they queue up to the bound and are dropped beyond."""
        if self._closed or self.transport is None:
            self.drops["closed"] += sum(map(_count, runs))
            return
        if any(run.size > LONGEST_FRAME for run in runs):
            self.drops["too-long"] += sum(_count(run) for run in runs if run.size > LONGEST_FRAME)
            runs = [run for run in runs if run.size <= LONGEST_FRAME]
        if self._full:
            for run in runs:
                self._enqueue(run)
        else:
            self.transport.write(b"".join([frame_run(run) for run in runs]))

    def _enqueue(self, run: Run) -> None:
        framed = frame_run(run)
        if self._queued + len(framed) > self._queue_limit:
            self.drops["full"] += _count(run)
            return
        self._queue.append(framed)
        self._queued += len(framed)

    def set_tos(self, tos: int) -> None:
        """See `ILink`; what waits to be sent goes with it too."""
        sock = None if tos == self._tos else _socket_below(self.transport)
        if sock is not None:
            self._tos = tos
            set_tos(sock, tos)

    def pauseProducing(self) -> None:
        """Queue from now on; the transport calls this when its buffer is full."""
        self._full = True

    def resumeProducing(self) -> None:
        """Hand over what is queued; the transport calls this when its buffer has drained."""
        self._full = False
        if self._queue and self.transport is not None:
            framed = b"".join(self._queue)
            self._clear_queue()
            self.transport.write(framed)

    def stopProducing(self) -> None:
        """Drop what is queued; the transport calls this when it is lost."""
        self._full = True
        self._clear_queue()

    def close(self) -> None:
        """Let what is queued leave, for `LINGER` seconds at most, then disconnect.  Calling it twice is harmless."""
        if self._closed or self.transport is None:
            return
        self.resumeProducing()
        self._closed = True
        self._stop_timer()
        self._timer = self._clock.callLater(LINGER, self._abort)
        cast("IConsumer", self.transport).unregisterProducer()
        self.transport.loseConnection()

    def give_way(self) -> None:
        """See `strangers.Connection`."""
        self._abort()

    def _abort(self) -> None:
        self._closed = True
        self._stop_timer()
        abort(self.transport)

    def _stop_timer(self) -> None:
        timer, self._timer = self._timer, None
        cancel(timer)
        self._strangers.leave(self)

    def _clear_queue(self) -> None:
        self._queue = []
        self._queued = 0


def largest_frame(mtu: int) -> int:
    """Bytes of the longest packet to be taken from a stream where one of the two devices has this MTU (bytes)."""
    return min(LONGEST_FRAME, max(MAX_FRAME, mtu + _AROUND))


class StreamLinkFactory(Factory):
    """Makes a `StreamLink` for every connection of a server endpoint, or for the one of a client endpoint."""

    noisy = False

    def __init__(
        self,
        receiver: ILinkReceiver,
        clock: IReactorTime,
        *,
        max_frame: int = MAX_FRAME,
        queue_limit: int = QUEUE_LIMIT,
        idle: float | None = IDLE_TIMEOUT,
        strangers: Strangers | None = None,
    ) -> None:
        """`strangers` is shared by all that takes the connections of one server."""
        self.receiver = receiver
        self.clock = clock
        self.max_frame = max_frame
        self.queue_limit = queue_limit
        self.idle = idle
        self.strangers = Strangers(clock.seconds) if strangers is None else strangers

    def buildProtocol(self, addr: IAddress | None) -> StreamLink:
        """Return the link for a new connection."""
        link = StreamLink(
            self.receiver,
            self.clock,
            self.strangers,
            max_frame=self.max_frame,
            queue_limit=self.queue_limit,
            idle=self.idle,
        )
        link.factory = self
        return link


def _socket_below(transport: Any) -> socket.socket | None:
    """The socket that a connection's bytes go to in the end, whatever is around it; None where that is no socket."""
    while transport is not None:
        sock = getattr(transport, "socket", None)
        if isinstance(sock, socket.socket):
            return sock
        transport = getattr(transport, "transport", None)
    return None


def _count(run: Run) -> int:
    return -(-len(run.data) // run.size)


def link_address(peer: Any) -> Address:
    """Return (host, port), or ('unix', 0) and the like for an address that has none.

    What a proxy calls an address is not always one.
    """
    host = getattr(peer, "host", None)
    if host is None:
        return (_kind(peer), 0)
    try:
        return (canonical_host(host), peer.port)
    except ValueError:
        return ("unknown", 0)


def describe(host: IAddress) -> str:
    """Return 'tcp:0.0.0.0:1194', or 'unix:/run/vpn.sock' and the like."""
    if getattr(host, "host", None) is not None:
        return f"{_kind(host)}:{readable(link_address(host))}"
    name = getattr(host, "name", None)
    path = name.decode(errors="replace") if isinstance(name, bytes) else name or ""
    return f"{_kind(host)}:{path}"


def _kind(address: IAddress) -> str:
    name: str = getattr(address, "type", None) or type(address).__name__.removesuffix("Address") or "stream"
    return name.lower()
