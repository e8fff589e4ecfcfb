"""A VPN server that answers its clients in Python: no tun device, no root.

Inside the tunnel the gateway answers pings, and a datagram to UDP port 7777 with the list of who is connected.
Outside, a web page on the loopback shows the same list.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from twisted.application.internet import StreamServerEndpointService
from twisted.application.service import MultiService
from twisted.internet.endpoints import serverFromString
from twisted.web.resource import Resource
from twisted.web.server import Site

from examples.presence.packets import ICMP, UDP, Packet, decode, echo_reply, udp_reply
from twistvpn.server.factory import ClientProtocol, VpnFactory
from twistvpn.service import make_server_service
from twistvpn.tun.null import NullTun

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.web.iweb import IRequest

    from twistvpn.config.settings import Settings
    from twistvpn.interfaces import Buffer

WHO_PORT = 7777


class PresenceProtocol(ClientProtocol):
    """One client.  What it sends to the gateway is answered here, everything else is routed as usual."""

    factory: PresenceFactory

    def connectionMade(self) -> None:
        """Remember when it came."""
        self.since = datetime.now().astimezone()

    def __str__(self) -> str:
        client = self.transport.getPeer()
        return f"{client.identity} {client.lease.ipv4} since {self.since:%H:%M:%S}"

    def packets_received(self, packets: list[Buffer]) -> None:
        """Answer a batch, and answer it as one batch."""
        answers: list[bytes] = []
        others: list[Buffer] = []
        for buffer in packets:
            packet = decode(buffer)
            if packet is None or packet.destination != self.factory.own_addresses[0]:
                others.append(buffer)
                continue
            payload = self._answer(packet)
            if payload is not None:
                answers.append(packet.reply(payload).encode())
        if answers:
            self.transport.writeSequence(answers)
        if others:
            super().packets_received(others)

    def _answer(self, packet: Packet) -> bytes | None:
        if packet.protocol == ICMP:
            return echo_reply(packet.payload)
        if packet.protocol == UDP:
            return udp_reply(packet.payload, WHO_PORT, self.factory.who().encode())
        return None


class PresenceFactory(VpnFactory):
    """Makes the clients' protocols and knows who is there."""

    protocol = PresenceProtocol

    def who(self) -> str:
        """One line for each client."""
        return "".join(f"{client}\n" for client in self.clients)


class PresencePage(Resource):
    """Who is connected, as plain text."""

    isLeaf = True

    def __init__(self, who: Callable[[], str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._who = who

    def render_GET(self, request: IRequest) -> bytes:
        """See `IResource`."""
        request.setHeader(b"content-type", b"text/plain; charset=utf-8")
        return self._who().encode()


def make_presence_service(
    reactor: Any, settings: Settings, on_fatal: Callable[[str], None], web: str = "tcp:8080:interface=127.0.0.1"
) -> MultiService:
    """The VPN server and its web page, which listens on the endpoint `web`."""
    vpn = make_server_service(reactor, settings, on_fatal, open_device=NullTun, factory_class=PresenceFactory)

    def who() -> str:
        return vpn.factory.who() if isinstance(vpn.factory, PresenceFactory) else ""

    both = MultiService()
    page = StreamServerEndpointService(serverFromString(reactor, web), Site(PresencePage(who)))
    for service in (vpn, page):
        service.setServiceParent(both)  # type: ignore[no-untyped-call]
    return both
