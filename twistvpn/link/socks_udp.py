"""Datagrams through a SOCKS 5 proxy: a connection asks it to relay them as long as it stands; each has a header.

Source: RFC 1928 sections 6 and 7.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from twisted.internet.interfaces import ITCPTransport
from twisted.internet.protocol import Protocol, connectionDone
from zope.interface import implementer

from twistvpn.interfaces import ILink, ILinkReceiver, Run
from twistvpn.link.addresses import is_address, readable
from twistvpn.link.connections import abort
from twistvpn.link.proxies import (
    UDP_ASSOCIATE,
    ProxiedEndpoint,
    ProxyRefusal,
    Socks5,
    read_socks_address,
    socks_address,
)
from twistvpn.link.single import SingleFactory
from twistvpn.link.udp import UdpLink
from twistvpn.verbosity import Logger
from twistvpn.wire.framing import runs_of

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
    from twisted.python.failure import Failure

    from twistvpn.interfaces import Address, Buffer

_log = Logger()

_WHOLE = b"\0\0\0"
"""Two reserved bytes, and the number of a fragment: none."""


class Association(Protocol):
    """The connection that a relay lives by.  `on_lost` is called when the proxy has ended it."""

    def __init__(self) -> None:
        self.relay: tuple[str, int] = ("", 0)
        """Where the proxy takes datagrams."""
        self.on_lost: Callable[[Failure], None] | None = None

    def connectionMade(self) -> None:
        """Notice a proxy that has gone without a word."""
        if ITCPTransport.providedBy(self.transport):
            cast("Any", self.transport).setTcpKeepAlive(True)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The proxy relays no longer."""
        on_lost, self.on_lost = self.on_lost, None
        if on_lost is not None:
            on_lost(reason)

    def end(self) -> None:
        """Let the proxy relay no longer."""
        self.on_lost = None
        abort(self.transport)


async def associate(
    endpoint: IStreamClientEndpoint,
    proxy: str,
    credentials: tuple[str, str] | None,
    clock: IReactorTime,
    timeout: float,
) -> Association:
    """Ask the proxy that `endpoint` reaches, whose address is `proxy`, to relay datagrams.

    Fails as `ProxiedEndpoint` does.
    """
    dialogue = Socks5("0.0.0.0", 0, credentials, UDP_ASSOCIATE)  # noqa: S104  we do not know yet where we send from
    association = Association()
    await ProxiedEndpoint(endpoint, lambda: dialogue, clock, timeout).connect(SingleFactory(association))
    host, port = dialogue.bound
    if host in {"0.0.0.0", "::"}:  # noqa: S104  what many proxies say for their own address
        host = proxy
    if not port or not is_address(host):
        association.end()
        raise ProxyRefusal(f"the proxy relays datagrams at {host}:{port}, which is no address")
    association.relay = (host, port)
    _log.info("the SOCKS proxy takes datagrams at {relay}", relay=readable(association.relay))
    return association


@implementer(ILink, ILinkReceiver)
class SocksUdpLink:
    """A UDP socket whose datagrams a relay carries to and from `address`.

    `drops` counts as `UdpLink` does, incoming 'unknown-source' (not from the relay) and 'malformed' besides.
    """

    is_stream = False

    def __init__(
        self,
        reactor: Any,
        sock: socket.socket,
        association: Association,
        address: tuple[str, int],
        receiver: ILinkReceiver,
    ) -> None:
        """`address` is where the server is: an IP address, or a name that the proxy shall look up; and the port."""
        self.address = address
        self._is_named = not is_address(address[0])
        self._association = association
        self._receiver = receiver
        self._headers: tuple[Address, bytes] = (address, _header_to(address))
        self.header_size = len(self._headers[1])
        self.relay = association.relay[0]
        self._below = UdpLink(reactor, sock, self)
        self.drops = self._below.drops
        self.local = self._below.local
        association.on_lost = self._not_relayed

    def send_control(self, datagram: Buffer, address: Address) -> None:
        """See `ILink`."""
        self._below.send_control(self._header(address) + datagram, self._association.relay)

    def send_runs(self, runs: Sequence[Run], address: Address) -> None:
        """See `ILink`."""
        header = self._header(address)
        wrapped = [
            Run(b"".join([part for datagram in run.datagrams() for part in (header, datagram)]), run.size + len(header))
            for run in runs
        ]
        self._below.send_runs(wrapped, self._association.relay)

    def _header(self, address: Address) -> bytes:
        if self._headers[0] != address:
            self._headers = (address, _header_to(address))
        return self._headers[1]

    def set_tos(self, tos: int) -> None:
        """See `ILink`."""
        self._below.set_tos(tos)

    def close(self) -> None:
        """See `ILink`: the relay ends too."""
        self._association.end()
        self._below.close()

    def _not_relayed(self, reason: Failure) -> None:
        self._below.close()
        self._receiver.link_lost(self, reason)

    # What the socket receives (`interfaces.ILinkReceiver`)

    def runs_received(self, link: ILink, batch: Sequence[tuple[Run, Address]]) -> None:
        """Take the headers off and hand on what is behind them."""
        unwrapped: list[tuple[Run, Address]] = []
        for run, source in batch:
            if source[:2] != self._association.relay:
                self.drops["unknown-source"] += len(run.datagrams())
                continue
            unwrapped += self._unwrap(run)
        if unwrapped:
            self._receiver.runs_received(self, unwrapped)

    def _unwrap(self, run: Run) -> list[tuple[Run, Address]]:
        texts: list[tuple[Address, list[bytes]]] = []
        for datagram in map(bytes, run.datagrams()):
            address, start = self._source(datagram)
            if start >= len(datagram):
                self.drops["malformed"] += 1
            elif texts and texts[-1][0] == address:
                texts[-1][1].append(datagram[start:])
            else:
                texts.append((address, [datagram[start:]]))
        return [(part, address) for address, datagrams in texts for part in runs_of(datagrams)]

    def _source(self, datagram: bytes) -> tuple[Address, int]:
        """Whom a datagram is from, and where it begins behind its header; at its end for one that has none."""
        read = read_socks_address(datagram, len(_WHOLE)) if datagram.startswith(_WHOLE) else None
        if read is None:
            return self.address, len(datagram)
        source, start = read
        # A name that the proxy looks up is an address when the answer comes.
        return (self.address if source is None or self._is_named else source), start

    def link_lost(self, link: ILink, reason: Failure) -> None:
        """The socket has failed."""
        self._association.end()
        self._receiver.link_lost(self, reason)


def _header_to(address: Address) -> bytes:
    return _WHOLE + socks_address(address[0], address[1])
