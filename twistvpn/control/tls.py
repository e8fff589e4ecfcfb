"""TLS on the reliability layer: Twisted's TLS protocol on a transport whose bytes leave in control messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IAddress, ITransport
from twisted.internet.protocol import Factory
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from twistvpn.wire.opcodes import Opcode

if TYPE_CHECKING:
    from collections.abc import Iterable

    from twisted.internet.interfaces import (
        IOpenSSLClientConnectionCreator,
        IOpenSSLServerConnectionCreator,
        IProtocol,
        IReactorTime,
    )

    from twistvpn.control.reliable import Reliable


MAX_BACKLOG = 1024
"""Messages that may wait for the window: several times what the longest chain or the most options need."""


@implementer(IAddress)
class _ControlChannelAddress:
    """The control channel has no address of its own; its link has."""

    def __repr__(self) -> str:
        return "ControlChannel()"


@implementer(ITransport)
class ReliableTransport:
    """The transport below TLS: writes become P_CONTROL_V1 messages of at most `max_payload` bytes."""

    def __init__(self, reliable: Reliable, max_payload: int) -> None:
        self._reliable = reliable
        self._max_payload = max_payload
        self._next = (Opcode.P_CONTROL_V1, max_payload)
        self.disconnecting = False

    def show_key(self, wrapped_size: int) -> None:
        """Let the next message bring the client's wrapped key along, which leaves so many bytes less for TLS."""
        self._next = (Opcode.P_CONTROL_WKC_V1, max(0, self._max_payload - wrapped_size))

    def write(self, data: bytes) -> None:
        """Cut TLS records into messages and queue them.

        Each write begins a message, whatever room there is in the one before: OpenVPN 3 reads one record of what a
        packet brings, and the next when another packet comes.
        """
        if self.disconnecting:
            return
        if self._reliable.backlog > MAX_BACKLOG:
            # TLS answers some of what it is sent; a peer that asks and never acknowledges would fill our memory.
            self.disconnecting = True
            return
        while data:
            opcode, room = self._next
            self._next = (Opcode.P_CONTROL_V1, self._max_payload)
            self._reliable.enqueue(opcode, data[:room])
            data = data[room:]

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """Queue several buffers as one."""
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        """Write nothing more; what is queued still leaves."""
        self.disconnecting = True

    def abortConnection(self) -> None:
        """As `loseConnection`: what TLS has said last is an alert that the peer should see."""
        self.disconnecting = True

    def detach(self) -> None:
        """Swallow whatever TLS still writes: without this, dropping a session would tell the peer close_notify."""
        self.disconnecting = True

    def getPeer(self) -> IAddress:
        """Twisted asks; see `_ControlChannelAddress`."""
        return _ControlChannelAddress()

    def getHost(self) -> IAddress:
        """Twisted asks; see `_ControlChannelAddress`."""
        return _ControlChannelAddress()


class ControlTlsFactory(TLSMemoryBIOFactory):
    """Makes the TLS protocol of one key.

    The protocol class is the one that writes a record for each write: OpenVPN wants one message a record,
    which the factory's default, an aggregating subclass, would join.
    """

    protocol = TLSMemoryBIOProtocol

    def __init__(
        self,
        creator: IOpenSSLClientConnectionCreator | IOpenSSLServerConnectionCreator,
        clock: IReactorTime,
        *,
        client: bool,
    ) -> None:
        super().__init__(creator, client, Factory(), clock=clock)

    def connect(self, protocol: IProtocol, transport: ReliableTransport) -> TLSMemoryBIOProtocol:
        """Start TLS on `transport` with `protocol` above it; a client's first flight is queued at once."""
        tls = TLSMemoryBIOProtocol(self, protocol)
        tls.makeConnection(transport)
        return tls


def drop(tls: TLSMemoryBIOProtocol, transport: ReliableTransport) -> None:
    """End a TLS session in silence and let go of its OpenSSL state."""
    transport.detach()
    tls.connectionLost(Failure(ConnectionDone()))
