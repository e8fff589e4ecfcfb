"""UDP sockets as links: runs of datagrams in and out, with UDP_SEGMENT and UDP_GRO where the kernel has them.

Addresses stay as the kernel gives them, so on a socket for both IP versions an IPv4 peer is ('::ffff:192.0.2.1', port,
0, 0); `readable` prints it as people write it.

Sources: udp(7), linux/udp.h.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections import Counter, deque
from time import monotonic, sleep
from typing import TYPE_CHECKING

from twisted.internet.interfaces import IReadWriteDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from twistvpn.interfaces import Address, Buffer, ILink, ILinkReceiver, Multihome, Run
from twistvpn.link.addresses import readable
from twistvpn.link.datagrams import GRO_SIZE, MAX_DATAGRAM, SOL_UDP, UDP_GRO, OpenReader, open_reader
from twistvpn.link.gathering import Gathering
from twistvpn.link.multihome import CONTROL_SIZE, MultihomedSender
from twistvpn.link.sockets import set_tos
from twistvpn.verbosity import Logger

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from twisted.internet.interfaces import IReactorFDSet

UDP_SEGMENT = 103

SEGMENT_SIZE = struct.Struct("H")

MAX_SEGMENTS = 64
"""Datagrams that one send with UDP_SEGMENT takes (UDP_MAX_SEGMENTS)."""
MAX_SEND = 65507
"""Bytes that one send takes: 65535 without an IPv4 and a UDP header."""
ERRORS_PER_WAKEUP = 8
REFUSALS_KEPT = 1024
CONTROL_KEPT = 256
"""Control packets that wait for room in the socket, at most."""

ICMP_ERRORS = frozenset(
    {
        errno.ECONNREFUSED,
        errno.EHOSTUNREACH,
        errno.ENETUNREACH,
        errno.EHOSTDOWN,
        errno.ENETDOWN,
        errno.ENOPROTOOPT,
        errno.EPROTO,
    }
)
"""What somebody on the way said about an earlier datagram, or the routing table about this one."""

RECEIVE_AGAIN = frozenset({errno.EAGAIN, errno.EINTR, errno.ENOBUFS, errno.ENOMEM})

SEND_DROPS = {
    errno.EAGAIN: "full",
    errno.ENOBUFS: "full",
    errno.ENOMEM: "full",
    errno.EMSGSIZE: "too-long",
    errno.EPERM: "filtered",
    errno.EACCES: "filtered",
}

SEGMENT_REFUSALS = frozenset({errno.EINVAL, errno.EMSGSIZE, errno.EIO, errno.EOPNOTSUPP})
"""Segments longer than the path's MTU (EINVAL or EMSGSIZE by kernel version), or a route that cannot segment (EIO)."""


@implementer(ILink, IReadWriteDescriptor)
class UdpLink:
    """A bound, unconnected UDP socket (`link.sockets`) that reads from the moment it is made.

    With `multihome` the addresses that it hands over are paths, and what is sent to one leaves from its end here.

    Each wake-up gives the receiver one batch.  Neighbouring datagrams of one sender and size make one run, whether
    UDP_GRO has joined them or not.  `drops` counts by reason: outgoing 'full', 'too-long', 'filtered',
    'unreachable', 'closed' or the errno's name; incoming 'icmp' and 'empty'.

    `receiver.link_lost` is called when the socket fails, not after `close`.
    """

    _log = Logger()
    is_stream = False
    header_size = 0
    relay = None

    def __init__(
        self,
        reactor: IReactorFDSet,
        sock: socket.socket,
        receiver: ILinkReceiver,
        *,
        multihome: Multihome = Multihome.NO,
        open_reader: OpenReader = open_reader,
        clock: Callable[[], float] = monotonic,
        sleep: Callable[[float], None] = sleep,
    ) -> None:
        self.drops: Counter[str] = Counter()
        self.local = f"udp:{readable(sock.getsockname())}"
        self._reactor = reactor
        self._socket = sock
        self._sender = MultihomedSender(sock) if multihome else sock
        self._receiver = receiver
        self._open = True
        self._segments = self._has("UDP_SEGMENT", UDP_SEGMENT, 0)
        self._joins = self._has("UDP_GRO", UDP_GRO, 1)
        control_size = socket.CMSG_SPACE(GRO_SIZE.size) if self._joins else 0
        self._reader = open_reader(sock, control_size + (CONTROL_SIZE if multihome else 0), multihome)
        self._gathering = Gathering()
        self._clock = clock
        self._sleep = sleep
        self._tos = 0
        self._kept: deque[tuple[Buffer, Address]] = deque()
        """Control packets that the socket had no room for."""
        self._refused: dict[Address, int] = {}
        """Segment size from which the kernel refuses to segment towards an address."""
        reactor.addReader(self)

    def _has(self, name: str, option: int, value: int) -> bool:
        """Set a UDP option and tell whether the kernel knows it: an old one ignores an unknown cmsg in silence."""
        try:
            self._socket.setsockopt(SOL_UDP, option, value)
        except OSError:
            self._log.info("{local}: the kernel has no {name}: datagrams pass singly", local=self.local, name=name)
            return False
        return True

    def fileno(self) -> int:
        """Return the socket's file descriptor, -1 once it is closed."""
        return self._socket.fileno()

    def logPrefix(self) -> str:
        """Return what Twisted's log lines about this reader begin with."""
        return self.local

    def doRead(self) -> Failure | None:
        """Receive what is there, within bounds, and hand it over as one batch; a failure ends the reading."""
        gathering, clock = self._gathering, self._clock
        wait = gathering.wait(clock())
        if wait:
            self._sleep(wait)
        batch: list[tuple[Run, Address]] = []
        lost = self._receive_into(batch)
        if batch:
            try:
                self._receiver.runs_received(self, batch)
            except Exception:  # noqa: BLE001  a fault with one batch must not end the link
                self._log.failure("The datagrams received on {local} could not be processed", local=self.local)
        gathering.ended(clock(), sum([-(-len(run.data) // run.size) for run, _ in batch]))
        return lost

    def _receive_into(self, batch: list[tuple[Run, Address]]) -> Failure | None:
        for _ in range(ERRORS_PER_WAKEUP):
            runs, empty, code = self._reader.read()
            batch += runs
            if empty:
                self.drops["empty"] += empty
            if code not in ICMP_ERRORS:
                return None if not code or code in RECEIVE_AGAIN else Failure(OSError(code, os.strerror(code)))
            self.drops["icmp"] += 1
        return None

    def send_control(self, datagram: Buffer, address: Address) -> None:
        """Send one control packet, before any data as soon as the socket has room for it.

        Where the way out is slower than what comes, data takes all room there ever is: what is only tried when it is
        due again would hardly ever find any.
        """
        if len(self._kept) >= CONTROL_KEPT:
            self.drops["full"] += 1
            return
        self._kept.append((datagram, address))
        self._send_kept()
        if self._kept:
            self._reactor.addWriter(self)

    def _send_kept(self) -> None:
        kept = self._kept
        while kept:
            try:
                self._sender.sendto(*kept[0])
            except OSError as error:
                if error.errno == errno.EAGAIN:
                    return
                self._count(error, 1)
            kept.popleft()

    def doWrite(self) -> None:
        """The socket has room: send what has waited for it."""
        self._send_kept()
        if not self._kept:
            self._reactor.removeWriter(self)

    def send_runs(self, runs: Sequence[Run], address: Address) -> None:
        """Send data packets to one peer.  What the socket cannot take is dropped and counted."""
        if self._kept:
            self._send_kept()
        for run in runs:
            data, size = run
            if len(data) <= size:
                self._send_one(data, address)
            elif self._segments and size < self._refused.get(address, MAX_DATAGRAM):
                self._send_segmented(run, address)
            else:
                self._send_singly(run, address)

    def _send_segmented(self, run: Run, address: Address) -> None:
        size = run.size
        view = memoryview(run.data)
        step = min(MAX_SEGMENTS, MAX_SEND // size) * size
        if not step:
            self._send_singly(run, address)
            return
        control = [(SOL_UDP, UDP_SEGMENT, SEGMENT_SIZE.pack(size))]
        for start in range(0, len(view), step):
            chunk = view[start : start + step]
            try:
                self._sender.sendmsg((chunk,), control, 0, address)
            except OSError as error:
                if error.errno in SEGMENT_REFUSALS:
                    self._note_refusal(size, address, error)
                    self._send_singly(Run(view[start:], size), address)
                    return
                self._count(error, -(-len(chunk) // size))

    def _note_refusal(self, size: int, address: Address, error: OSError) -> None:
        """Remember not to ask again for this size, or at all where the route cannot segment."""
        if not self._refused:
            self._log.info(
                "{local}: the kernel does not segment {size} byte datagrams to {address} ({error}): sent singly",
                local=self.local,
                size=size,
                address=readable(address),
                error=error.strerror,
            )
        elif len(self._refused) >= REFUSALS_KEPT:
            self._refused.clear()
        self._refused[address] = 0 if error.errno in {errno.EIO, errno.EOPNOTSUPP} else size

    def _send_singly(self, run: Run, address: Address) -> None:
        for datagram in run.datagrams():
            self._send_one(datagram, address)

    def _send_one(self, datagram: Buffer, address: Address) -> None:
        try:
            self._sender.sendto(datagram, address)
        except OSError as error:
            self._count(error, 1)

    def _count(self, error: OSError, datagrams: int) -> None:
        code = error.errno or 0
        if not self._open:
            reason = "closed"
        elif code in ICMP_ERRORS:
            reason = "unreachable"
        else:
            reason = SEND_DROPS.get(code) or errno.errorcode.get(code, "other").lower()
        self.drops[reason] += datagrams

    def set_tos(self, tos: int) -> None:
        """See `ILink`."""
        if tos != self._tos and self._open:
            self._tos = tos
            set_tos(self._socket, tos)

    def close(self) -> None:
        """Stop receiving and release the socket.  Calling it twice is harmless."""
        if self._open:
            self._open = False
            self._kept.clear()
            self._reactor.removeReader(self)
            self._reactor.removeWriter(self)
            self._socket.close()

    def connectionLost(self, reason: Failure) -> None:
        """Close the link and tell the receiver; the reactor calls this when the socket fails or when it ends itself."""
        if self._open:
            self.close()
            self._receiver.link_lost(self, reason)
