"""How a program that embeds the VPN tests itself: a whole server and its clients in memory, no root, no real second."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import TYPE_CHECKING, cast

from twisted.trial.unittest import SynchronousTestCase
from twisted.web.test.requesthelper import DummyRequest

from examples.presence.packets import ICMP, UDP, Packet, checksum, decode
from examples.presence.server import WHO_PORT, PresenceFactory, PresencePage
from twistvpn.testing import ClientEnd, Pair, pair, transfer, udp_packet

if TYPE_CHECKING:
    from twisted.web.iweb import IRequest


def ask(vpn: Pair, client: ClientEnd, protocol: int, payload: bytes) -> Packet | None:
    """What the client's host is answered when it sends the gateway an IPv4 packet."""
    client.inject(Packet(client.address, vpn.server.address, protocol, payload).encode())
    vpn.advance(1)
    answers = client.tun.take()
    return decode(answers[0]) if answers else None


def who(vpn: Pair, client: ClientEnd) -> str:
    """What UDP port 7777 tells the client."""
    answer = ask(vpn, client, UDP, (40000).to_bytes(2, "big") + WHO_PORT.to_bytes(2, "big") + b"\0\x08\0\0")
    return "" if answer is None else answer.payload[8:].decode()


class PresenceTest(SynchronousTestCase):
    """The server, seen from its clients."""

    def test_the_gateway_answers_pings(self) -> None:
        """An echo request comes back as a reply with the same identifier, sequence number and data."""
        vpn = pair(factory_class=PresenceFactory)
        rest = b"\x12\x34\0\x01 hello"
        request = b"\x08\0" + (checksum(b"\x08\0\0\0" + rest)).to_bytes(2, "big") + rest
        answer = ask(vpn, vpn.client, ICMP, request)
        assert answer is not None
        assert (answer.source, answer.destination) == (vpn.server.address, vpn.client.address)
        assert (answer.payload[0], answer.payload[4:], checksum(answer.payload)) == (0, rest, 0)

    def test_clients_see_each_other_come_and_go(self) -> None:
        """The list has everybody who is connected, with the address inside, and nobody else."""
        vpn = pair("alice", "bob", factory_class=PresenceFactory)
        alice, bob = vpn.clients.values()
        listed = who(vpn, alice)
        assert f"alice {alice.address} since " in listed
        assert f"bob {bob.address} since " in listed
        bob.stop()
        assert [line.split()[0] for line in who(vpn, alice).splitlines()] == ["alice"]

    def test_it_works_over_a_bad_network(self) -> None:
        """The handshake gets through whatever the network does."""
        vpn = pair(factory_class=PresenceFactory, loss=0.3, duplication=0.1, reordering=0.3, seed=4)
        vpn.network.loss = 0
        assert "client " in who(vpn, vpn.client)

    def test_everything_else_is_routed_as_usual(self) -> None:
        """A packet to another client reaches it, one to the world reaches the device."""
        vpn = pair("alice", "bob", server="client-to-client", factory_class=PresenceFactory)
        alice, bob = vpn.clients.values()
        to_bob = udp_packet(alice.address, bob.address, b"hello")
        assert transfer(alice, bob, to_bob) == [to_bob]
        to_the_world = udp_packet(alice.address, IPv4Address("192.0.2.99"), b"hello")
        assert transfer(alice, vpn.server, to_the_world) == [to_the_world]

    def test_what_nobody_answers_is_dropped(self) -> None:
        """Other ports, other ICMP messages and cut packets get no answer and break nothing."""
        vpn = pair(factory_class=PresenceFactory)
        for protocol, payload in (
            (UDP, b"\x9c\x40\0\x07\0\x08\0\0"),
            (UDP, b"\0"),
            (ICMP, b"\x0d" + bytes(19)),
            (6, b""),
        ):
            assert ask(vpn, vpn.client, protocol, payload) is None
        assert "client " in who(vpn, vpn.client)

    def test_the_page_shows_the_same_list(self) -> None:
        """The page outside says what the port inside says."""
        vpn = pair("alice", factory_class=PresenceFactory)
        factory = vpn.server.factory
        assert isinstance(factory, PresenceFactory)
        body = PresencePage(factory.who).render_GET(cast("IRequest", DummyRequest([b""])))
        assert body.decode() == who(vpn, vpn.client)
