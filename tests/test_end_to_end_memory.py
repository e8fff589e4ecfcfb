"""A whole server and its clients in memory: what a user would notice."""

from __future__ import annotations

import random
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Literal

import pytest
from twisted.trial.unittest import SynchronousTestCase

from tests.inner_packets import checksums_hold, tcp
from tests.routing import peer_at
from twistvpn.interfaces import Frame
from twistvpn.memory import MemoryTun
from twistvpn.server.factory import ClientProtocol, VpnFactory
from twistvpn.server.service import FAREWELL
from twistvpn.testing import ClientEnd, Pair, ServerEnd, pair, transfer, udp_packet
from twistvpn.wire.opcodes import Opcode

if TYPE_CHECKING:
    from twistvpn.interfaces import Address, Buffer
    from twistvpn.peer import Peer

TUN_F_CSUM, TUN_F_TSO4, TUN_F_TSO6 = 1, 2, 4


def packets_between(source: ServerEnd | ClientEnd, destination: ServerEnd | ClientEnd, count: int = 3) -> list[bytes]:
    texts = [b"packet %d" % number for number in range(count)]
    return [
        packet
        for text in texts
        for packet in (
            udp_packet(source.address, destination.address, text),
            udp_packet(source.address6, destination.address6, text),
        )
    ]


def assert_joined(vpn: Pair) -> None:
    """Packets of both IP versions pass both ways between the server and every client."""
    for client in vpn.clients.values():
        for source, destination in ((client, vpn.server), (vpn.server, client)):
            sent = packets_between(source, destination)
            assert transfer(source, destination, *sent) == sent


class DocumentedExampleTests(SynchronousTestCase):
    """What the module's docstring promises works as it stands there, under trial as well."""

    def test_a_packet_goes_through(self) -> None:
        vpn = pair()
        hello = udp_packet(vpn.client.address, vpn.server.address, b"hello")
        assert transfer(vpn.client, vpn.server, hello) == [hello]

    def test_options_and_faults(self) -> None:
        vpn = pair("alice", "bob", server="client-to-client", client="ping-restart 30", loss=0.3, reordering=0.1)
        vpn.clients["alice"].stop()
        vpn.advance(60)
        assert not vpn.clients["alice"].is_connected

    def test_nothing_is_left_on_the_clock(self) -> None:
        vpn = pair("alice", "bob")
        vpn.advance(10)
        vpn.stop()
        assert vpn.clock.getDelayedCalls() == []
        assert vpn.server.tun.closed
        assert all(client.tun.closed for client in vpn.clients.values())

    def test_a_client_that_cannot_connect_is_told_of(self) -> None:
        with pytest.raises(AssertionError, match="every client is connected"):
            pair(loss=1.0)


@pytest.mark.parametrize("proto", ["udp", "tcp"])
@pytest.mark.parametrize("control", ["tls-crypt-v2", "tls-crypt", "tls-auth", "none"])
def test_every_wrapping_over_both_kinds_of_link(
    proto: Literal["udp", "tcp"], control: Literal["tls-crypt-v2", "tls-crypt", "tls-auth", "none"]
) -> None:
    assert_joined(pair(proto=proto, control=control))


@pytest.mark.parametrize("cipher", ["AES-128-GCM", "AES-192-GCM", "AES-256-GCM", "CHACHA20-POLY1305"])
def test_every_cipher(cipher: str) -> None:
    vpn = pair(
        server=f"data-ciphers {cipher}", client="data-ciphers AES-256-GCM:AES-192-GCM:AES-128-GCM:CHACHA20-POLY1305"
    )
    assert vpn.client.pushed is not None
    assert vpn.client.pushed.cipher == cipher
    assert_joined(vpn)


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_tls_versions(version: str) -> None:
    assert_joined(pair(server=f"tls-version-max {version}\n", client=f"tls-version-min {'1.2'}\n"))


@pytest.mark.parametrize("seed", range(5))
def test_a_bad_network_delays_the_connection_and_nothing_else(seed: int) -> None:
    vpn = pair("alice", "bob", seed=seed, loss=0.3, duplication=0.2, reordering=0.3, delay=0.05)
    vpn.network.loss = vpn.network.duplication = vpn.network.reordering = 0.0
    vpn.advance(10)
    assert_joined(vpn)


def test_data_lost_on_the_way_is_lost_and_data_repeated_arrives_once() -> None:
    vpn = pair()
    vpn.network.loss, vpn.network.duplication = 0.3, 0.3
    sent = packets_between(vpn.client, vpn.server, 100)
    received = transfer(vpn.client, vpn.server, *sent)
    assert 100 < len(received) < 180
    assert [packet for packet in sent if packet in set(received)] == received


@pytest.mark.parametrize("option", ["client-to-client", ""])
def test_clients_reach_each_other(option: str) -> None:
    vpn = pair("alice", "bob", server=option)
    alice, bob = vpn.clients["alice"], vpn.clients["bob"]
    sent = packets_between(alice, bob)
    if option:
        assert transfer(alice, bob, *sent) == sent
        assert vpn.server.tun.written == []
    else:
        assert transfer(alice, vpn.server, *sent) == sent, "the host decides"
        assert transfer(vpn.server, bob, *sent) == sent


def test_no_client_is_sent_more_than_clients_take() -> None:
    vpn = pair("alice", "bob", server="client-to-client")
    alice, bob = vpn.clients["alice"], vpn.clients["bob"]
    most, more, huge = (udp_packet(alice.address, bob.address, bytes(size - 28)) for size in (1600, 1700, 60000))
    assert transfer(alice, bob, more, huge, most) == [most]
    assert vpn.server.factory.drops["too-long"] == 2


def test_two_clients_have_addresses_of_their_own_and_the_first_ones_free() -> None:
    vpn = pair("alice", "bob")
    assert [str(client.address) for client in vpn.clients.values()] == ["10.8.0.2", "10.8.0.3"]
    assert vpn.server.address == IPv4Address("10.8.0.1")
    assert len({client.address6 for client in vpn.clients.values()}) == 2


def test_an_address_is_free_again_once_its_client_has_left() -> None:
    vpn = pair("alice", server="server 10.8.0.0 255.255.255.252")
    vpn.clients["alice"].stop()
    vpn.add_client("bob")
    vpn.clients.pop("alice")
    vpn.connect()
    assert str(vpn.clients["bob"].address) == "10.8.0.2"
    assert_joined(vpn)


def test_a_client_that_goes_silent_times_out_and_gives_its_address_back() -> None:
    vpn = pair()
    vpn.network.loss = 1.0
    vpn.advance(119)
    assert len(vpn.server.factory.connections) == 1
    vpn.advance(11)
    assert vpn.server.factory.connections == {}
    assert peer_at(vpn.server.factory.routes, vpn.client.address) is None


def test_a_silent_server_is_noticed_and_a_restarted_one_found_again() -> None:
    vpn = pair(proto="udp")
    vpn.network.loss = 1.0
    vpn.advance(70)
    assert not vpn.client.is_connected
    vpn.network.loss = 0.0
    vpn.wait_until(lambda: vpn.client.is_connected)
    vpn.advance(1)
    assert_joined(vpn)


@pytest.mark.parametrize("proto", ["udp", "tcp"])
def test_a_server_that_stops_sends_its_clients_away_and_finds_them_again(proto: Literal["udp", "tcp"]) -> None:
    vpn = pair("alice", "bob", proto=proto)
    vpn.server.stop()
    vpn.advance(0.5)
    assert not any(client.is_connected for client in vpn.clients.values())
    vpn.server.start()
    vpn.wait_until(lambda: all(client.is_connected for client in vpn.clients.values()))
    vpn.advance(1)
    assert_joined(vpn)


def test_whoever_comes_in_a_servers_last_second_finds_the_next_one() -> None:
    vpn = pair("alice")
    deaf = vpn.client.link.address
    vpn.network.keep = lambda _datagram, source, _destination: source != deaf
    stopped = vpn.server.service.stopService()
    vpn.add_client("bob").start()
    vpn.advance(FAREWELL / 2)
    assert not stopped.called, "alice has not acknowledged the goodbye"
    assert len(vpn.server.factory.connections) == 1, "alice's session is still there"
    assert vpn.server.factory.demux.drops["stopping"] > 0
    vpn.wait_for(stopped)
    vpn.server.start()
    vpn.wait_until(lambda: vpn.clients["bob"].is_connected, within=10)


@pytest.mark.parametrize("progress", [0.16, 0.21])
@pytest.mark.parametrize("proto", ["udp", "tcp"])
def test_a_handshake_that_a_stopping_server_finishes_ends_with_a_goodbye(
    proto: Literal["udp", "tcp"], progress: float
) -> None:
    vpn = pair("alice", proto=proto, delay=0.05, connect=False)
    vpn.server.start()
    vpn.client.start()
    vpn.advance(progress)
    assert len(vpn.server.factory.connections) == 1, "the handshake has begun"
    vpn.server.stop()
    assert vpn.client.times_connected == 0
    vpn.server.start()
    vpn.wait_until(lambda: vpn.client.is_connected, within=10)


def test_idle_ends_stay_connected_with_pings_alone() -> None:
    vpn = pair()
    vpn.advance(1)
    sent = vpn.network.counts["sent"]
    vpn.advance(600)
    assert vpn.client.times_connected == 1
    assert 100 <= vpn.network.counts["sent"] - sent <= 130, "one ping each way in ten seconds"
    assert vpn.client.tun.written == vpn.server.tun.written == []


@pytest.mark.parametrize("who", ["server", "client", "both"])
def test_renegotiation_goes_unnoticed(who: str) -> None:
    often = "reneg-sec 60"
    vpn = pair(server=often if who != "client" else "reneg-sec 0", client=often if who != "server" else "reneg-sec 0")
    keys: set[int] = set()

    def note(datagram: bytes, source: Address, destination: Address) -> bool:
        if datagram[0] >> 3 == Opcode.P_DATA_V2:
            keys.add(datagram[0] & 7)
        return True

    vpn.network.keep = note
    for _ in range(60):
        assert_joined(vpn)
        vpn.advance(10)
    assert vpn.client.times_connected == 1
    assert keys == set(range(8))


def test_a_large_flow_in_super_packets_arrives_whole_and_in_batches() -> None:
    vpn = pair(offloads=(TUN_F_CSUM, TUN_F_TSO4, TUN_F_TSO6))
    payload = random.Random(1).randbytes(1300)
    source, destination = str(vpn.client.address), str(vpn.server.address)
    segments = [tcp(source, destination, payload, sequence=1 + 1300 * n, identification=n) for n in range(40)]
    vpn.client.inject(*segments)
    vpn.advance(1)
    assert len(vpn.server.tun.frames) < 10
    assert all(checksums_hold(frame.packet) or frame.vnet != bytes(10) for frame in vpn.server.tun.frames)
    assert sum(len(frame.packet) - 40 for frame in vpn.server.tun.frames) == 40 * 1300


@pytest.mark.parametrize("asked", ["server", "client"])
def test_what_the_host_answers_on_the_spot_leaves_with_the_same_wake_up(asked: str) -> None:
    vpn = pair()
    here, there = (vpn.client, vpn.server) if asked == "server" else (vpn.server, vpn.client)
    answer = udp_packet(there.address, here.address, b"answer")
    there.tun.answer = lambda _: answer
    assert transfer(here, there, udp_packet(here.address, there.address, b"question")) != []
    vpn.advance(vpn.network.delay)
    assert here.tun.take() == [answer]


def test_packets_before_the_connection_are_counted_not_kept() -> None:
    vpn = pair(connect=False)
    vpn.client.start()
    vpn.client.inject(Frame(bytes([0x45]) + bytes(19)))
    assert vpn.client.service.drops["not-connected"] == 1


def test_packets_for_nobody_are_counted() -> None:
    vpn = pair()
    nobody = udp_packet(vpn.server.address, IPv4Address("10.8.0.77"))
    assert transfer(vpn.server, vpn.client, nobody, within=1) == []
    assert vpn.server.factory.routes.drops["no-route"] == 1


class Echo(ClientProtocol):
    """Sends everything back where it came from."""

    def connectionMade(self) -> None:
        self.factory.came.append(self.transport.getPeer().identity)  # type: ignore[attr-defined]  # EchoFactory's

    def packets_received(self, packets: list[Buffer]) -> None:
        self.transport.writeSequence(packets)

    def connectionLost(self, reason: object = None) -> None:
        self.factory.left.append(self.transport.getPeer().identity)  # type: ignore[attr-defined]  # EchoFactory's


class EchoFactory(VpnFactory):
    protocol = Echo

    def __init__(self, *args: object) -> None:
        super().__init__(*args)  # type: ignore[arg-type]  # what the service gives
        self.came: list[str] = []
        self.left: list[str] = []


def test_an_application_may_answer_in_python() -> None:
    vpn = pair("alice", factory_class=EchoFactory)
    client = vpn.client
    hello = udp_packet(client.address, vpn.server.address, b"anybody there?")
    assert transfer(client, client, hello) == [hello]
    factory = vpn.server.factory
    assert isinstance(factory, EchoFactory)
    assert factory.came == ["alice"]
    client.stop()
    assert factory.left == ["alice"]


def test_an_application_may_send_a_client_away() -> None:
    vpn = pair(factory_class=EchoFactory)
    (protocol,) = vpn.server.factory._protocols.values()
    protocol.transport.write(udp_packet(vpn.server.address, vpn.client.address))
    protocol.transport.loseConnection()
    assert protocol.transport.disconnecting
    vpn.wait_until(lambda: vpn.client.times_connected == 2)


def test_the_same_name_twice_makes_room_for_the_newcomer() -> None:
    vpn = pair("alice", client="connect-retry 30 30")
    twin = vpn.add_client("alice's phone", "connect-retry 30 30", vpn.authority.issue_client("alice", vpn.valid_from))
    twin.start()
    vpn.wait_until(lambda: twin.is_connected)
    vpn.advance(1)
    assert len(vpn.server.factory.connections) == 1
    assert twin.address == vpn.clients["alice"].address


def test_with_duplicate_cn_the_same_name_may_be_in_twice() -> None:
    vpn = pair("alice", server="duplicate-cn")
    vpn.add_client("alice's phone", issued=vpn.authority.issue_client("alice", vpn.valid_from))
    vpn.connect()
    assert len({client.address for client in vpn.clients.values()}) == 2
    assert_joined(vpn)


def test_an_exhausted_pool_refuses_cleanly_and_lets_in_once_there_is_room() -> None:
    vpn = pair("alice", server="server 10.8.0.0 255.255.255.252", client="auth-retry nointeract")
    bob = vpn.add_client("bob", "auth-retry nointeract\nconnect-retry 1 5")
    bob.start()
    vpn.advance(20)
    assert not bob.is_connected
    assert bob.fatal is None
    assert len(vpn.server.factory.connections) <= 2
    vpn.clients.pop("alice").stop()
    vpn.wait_until(lambda: bob.is_connected)


def test_counters_tell_what_passed() -> None:
    vpn = pair()
    (peer,) = vpn.server.factory.connections
    transfer(vpn.client, vpn.server, *packets_between(vpn.client, vpn.server, 5))
    assert peer.channel.packets_in >= 10
    assert isinstance(vpn.server.tun, MemoryTun)
    assert peer.drops == {}


def peer_of(client: ClientEnd) -> Peer:
    connection = client.service._connection
    assert connection is not None
    return connection.peer


def test_the_ends_say_goodbye() -> None:
    vpn = pair("alice", "bob")
    before = vpn.clock.seconds()
    vpn.clients["alice"].stop()
    assert vpn.clock.seconds() - before < 1
    assert [connection.identity for connection in vpn.server.factory.connections.values()] == ["bob"]
