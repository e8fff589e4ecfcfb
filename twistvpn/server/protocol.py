"""One connected client as an application sees it: a Protocol, with packets in the place of bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import BaseProtocol, connectionDone
from zope.interface import implementer

from twistvpn.interfaces import Frame

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from twisted.python.failure import Failure

    from twistvpn.interfaces import Buffer, Lease
    from twistvpn.server.connection import ServerConnection
    from twistvpn.server.factory import VpnFactory


@implementer(IAddress)
class ClientAddress:
    """Who a protocol is made for: the client's identity, its lease, and what it says of itself (IV_..., UV_...)."""

    def __init__(self, identity: str, lease: Lease, peer_info: Mapping[str, str] | None = None) -> None:
        self.identity = identity
        self.lease = lease
        self.peer_info = dict(peer_info or {})

    def __repr__(self) -> str:
        return f"ClientAddress({self.identity!r}, {self.lease!r})"


class TunnelTransport:
    """What a client's protocol writes to: packets for that client."""

    disconnecting = False

    def __init__(
        self, factory: VpnFactory, connection: ServerConnection, address: ClientAddress, own: ClientAddress
    ) -> None:
        self._factory = factory
        self._connection = connection
        self._address = address
        self._own = own

    def write(self, packet: Buffer) -> None:
        """Send one packet to the client."""
        self.write_frames([Frame(packet)])

    def write_frames(self, frames: Sequence[Frame]) -> None:
        """Send a batch to the client."""
        self._connection.peer.send_frames(frames)

    def writeSequence(self, packets: Sequence[Buffer]) -> None:
        """Send several packets to the client."""
        self.write_frames([Frame(packet) for packet in packets])

    def loseConnection(self) -> None:
        """Send the client away; it may come back."""
        self.disconnecting = True
        self._connection.disconnect("the application has closed the connection")

    def restart(self, params: str = "") -> None:
        """Let the client connect anew; in `params` "[N]" is to its next remote, "[P]" with its password kept."""
        self.disconnecting = True
        self._connection.disconnect("the application lets it connect anew", params)

    def halt(self, reason: str) -> None:
        """Send the client away for good; stock clients end, and log the reason."""
        self.disconnecting = True
        self._connection.halt(reason)

    def tell(self, text: str) -> None:
        """Show the client's user a text (INFO)."""
        self._connection.tell(text)

    def push_update(self, options: Sequence[str]) -> bool:
        """Change options of the connected client, as "route 10.1.0.0 255.255.0.0" or "-dns" (PUSH_UPDATE, 2.7).

        False where the client does not take them: it needs a `restart`, and the options in its next PUSH_REPLY.
        Raises `ConfigError` for options that cannot be changed, and `PoolExhausted` for an address of another client.
        """
        return self._factory.push_update_to(self._connection, options)

    def getPeer(self) -> ClientAddress:
        """The client, by its identity and lease."""
        return self._address

    def getHost(self) -> ClientAddress:
        """Our own end, by the server's addresses."""
        return self._own


class ClientProtocol(BaseProtocol):
    """One connected client.  `transport` is a `TunnelTransport`; `factory` the `VpnFactory`."""

    factory: VpnFactory
    transport: TunnelTransport  # type: ignore[assignment]  # packets, not a byte stream

    def packets_received(self, packets: list[Buffer]) -> None:
        """Packets of one batch from the client, their source addresses checked; Ethernet frames where `dev` is a tap.

        The default routes them: to other clients where `client-to-client` is on, else to the tun.
        """
        self.factory.forward(packets)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The client has left; its addresses are about to be free."""
