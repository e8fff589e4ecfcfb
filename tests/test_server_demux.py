"""Strangers cost nothing, and every packet finds its peer wherever the peer has moved to."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tests.recorders import RunRecorder
from twistvpn.crypto.wrapping import ControlKey
from twistvpn.data.formats import PacketFormat
from twistvpn.interfaces import Address, Buffer, ILinkReceiver, Run, single
from twistvpn.keying import DataTerms
from twistvpn.testing import SERVER_ADDRESS, Pair, pair, transfer, udp_packet
from twistvpn.wire.compression import Compression
from twistvpn.wire.opcodes import OPCODE_SHIFT, Opcode, first_byte
from twistvpn.wire.packets import ControlPacket

if TYPE_CHECKING:
    from twistvpn.server.demux import Demux

HERE: Address = ("203.0.113.7", 5000)
RESET = ControlPacket(Opcode.P_CONTROL_HARD_RESET_CLIENT_V2, 0, b"stranger", message_id=0)
PLAIN = ControlKey.plain().new_wrapping()


class Sink:
    """A link that only counts what leaves."""

    is_stream = False
    local = "sink"

    def __init__(self) -> None:
        self.sent = 0

    def send_control(self, datagram: Buffer, address: Address) -> None:
        self.sent += 1

    def send_runs(self, runs: Sequence[Run], address: Address) -> None:
        raise AssertionError("no data for strangers")

    def close(self) -> None:
        raise AssertionError("a UDP link stays open")


class Stranger:
    """Somebody at an address of the network who speaks the plain control channel."""

    def __init__(self, vpn: Pair, address: Address = HERE) -> None:
        self.vpn = vpn
        self.received = RunRecorder()
        self.link = vpn.network.link(self.received, address)

    def send(self, packet: ControlPacket) -> list[ControlPacket]:
        """Send, and return what came back since."""
        seen = len(self.received.datagrams)
        self.link.send_control(PLAIN.wrap(packet, 0.0), SERVER_ADDRESS)
        self.vpn.advance(0.1)
        return [PLAIN.unwrap(datagram) for datagram in self.received.datagrams[seen:]]


def server(proto: str = "udp", options: str = "") -> Pair:
    """A server with a plain control channel, and no client yet."""
    vpn = pair(control="none", proto="tcp" if proto == "tcp" else "udp", server=options, connect=False)
    vpn.server.start()
    return vpn


def demux_of(vpn: Pair) -> Demux:
    return vpn.server.factory.demux


def test_resets_from_a_hundred_thousand_addresses_leave_nothing() -> None:
    vpn = server(options="connect-freq-initial 1000000 10")
    demux, sink = demux_of(vpn), Sink()

    def flood(first: int, count: int) -> None:
        for number in range(first, first + count):
            address = (f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 1024 + number % 50000)
            reset = RESET._replace(session_id=number.to_bytes(8, "big"))
            demux.runs_received(sink, [(single(PLAIN.wrap(reset, 0.0)), address)])  # type: ignore[arg-type]  # half a link

    flood(0, 1000)
    tracemalloc.start()
    flood(1000, 1000)
    gc.collect()  # it empties the interpreter's lists of free tuples, which fill at their own pace
    before, _ = tracemalloc.get_traced_memory()
    flood(2000, 98000)
    gc.collect()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sink.sent == 100_000
    assert vpn.server.factory.connections == {}
    assert after - before < 64 * 1024


def test_what_belongs_to_nobody_is_counted_and_answered_with_silence() -> None:
    vpn = server()
    stranger = Stranger(vpn)
    assert stranger.send(RESET._replace(opcode=Opcode.P_CONTROL_V1, payload=b"hello")) == []
    assert stranger.send(RESET._replace(message_id=3)) == []
    stranger.link.send_control(b"\x38short", SERVER_ADDRESS)
    stranger.link.send_control(b"GET / HTTP/1.1\r\n", SERVER_ADDRESS)
    stranger.link.send_runs([single(bytes([first_byte(Opcode.P_DATA_V1, 0)]) + bytes(60))], SERVER_ADDRESS)
    stranger.link.send_runs([single(bytes([first_byte(Opcode.P_DATA_V2, 0)]) + bytes(60))], SERVER_ADDRESS)
    vpn.advance(1)
    assert stranger.received.datagrams == []
    assert demux_of(vpn).drops == {"unknown-session": 2, "malformed": 2, "unknown-peer": 2}


def test_a_wrong_static_key_is_met_with_silence() -> None:
    vpn = pair(control="tls-crypt")
    stranger = Stranger(vpn)
    assert stranger.send(RESET._replace(payload=bytes(100))) == []
    assert demux_of(vpn).drops["control-key"] == 1


def cookie(stranger: Stranger) -> bytes:
    (answer,) = stranger.send(RESET)
    assert answer.opcode is Opcode.P_CONTROL_HARD_RESET_SERVER_V2
    assert (answer.acks, answer.remote_session_id, answer.message_id) == ((0,), RESET.session_id, 0)
    return answer.session_id


def returned(cookie: bytes) -> ControlPacket:
    return RESET._replace(opcode=Opcode.P_ACK_V1, acks=(0,), remote_session_id=cookie, message_id=None)


def test_who_returns_the_cookie_becomes_a_peer() -> None:
    vpn = server()
    stranger = Stranger(vpn)
    packet = returned(cookie(stranger))
    assert vpn.server.factory.connections == {}
    stranger.send(packet)
    stranger.send(packet)
    assert len(vpn.server.factory.connections) == 1


def test_a_cookie_is_good_at_its_address_and_for_its_time_only() -> None:
    vpn = server()
    stranger, neighbour = Stranger(vpn), Stranger(vpn, ("203.0.113.7", 5001))
    packet = returned(cookie(stranger))
    neighbour.send(packet)
    stranger.send(packet._replace(session_id=b"somebody"))
    stranger.send(packet._replace(key_id=1))
    vpn.advance(200)
    stranger.send(packet)
    assert vpn.server.factory.connections == {}
    assert demux_of(vpn).drops["unknown-session"] == 4


def test_a_session_that_goes_no_further_is_forgotten_after_a_hand_window() -> None:
    vpn = server()
    stranger = Stranger(vpn)
    stranger.send(returned(cookie(stranger)))
    vpn.advance(59)
    assert len(vpn.server.factory.connections) == 1
    vpn.advance(2)
    assert vpn.server.factory.connections == {}
    assert demux_of(vpn)._sessions == {}


def test_more_than_max_clients_find_no_room() -> None:
    vpn = pair(server="max-clients 1", control="none")
    stranger = Stranger(vpn)
    stranger.send(returned(cookie(stranger)))
    assert len(vpn.server.factory.connections) == 1
    assert vpn.server.factory.drops["max-clients"] == 1
    assert vpn.client.is_connected


def handshake(vpn: Pair) -> list[tuple[bytes, Address]]:
    """Connect the client of `vpn`; the datagrams of both ends, each with its source."""
    seen: list[tuple[bytes, Address]] = []

    def note(datagram: bytes, source: Address, destination: Address) -> bool:
        seen.append((datagram, source))
        return True

    vpn.network.keep = note
    vpn.connect()
    vpn.advance(1)
    vpn.network.keep = None
    return seen


def test_a_handshake_has_no_bare_acknowledgement_where_an_answer_follows() -> None:
    seen = handshake(pair(connect=False))
    bare = [source for datagram, source in seen if datagram[0] >> OPCODE_SHIFT == Opcode.P_ACK_V1]
    assert bare.count(SERVER_ADDRESS) == 0
    assert len(bare) == 1, "the client's, for the pushed options"


def test_the_packet_that_brings_the_cookie_back_is_taken_once() -> None:
    vpn = pair(connect=False)
    seen = handshake(vpn)
    (peer,) = vpn.server.factory.connections
    _, cookie_returned = [datagram for datagram, source in seen if source != SERVER_ADDRESS][:2]
    vpn.client.link.send_control(cookie_returned, SERVER_ADDRESS)
    vpn.advance(0.1)
    assert peer.drops == {"replay": 1}


# Data


def greeting(vpn: Pair, text: bytes = b"hello") -> bytes:
    return udp_packet(vpn.client.address, vpn.server.address, text)


def test_a_roaming_client_is_found_by_its_peer_id() -> None:
    vpn = pair()
    vpn.network.move(vpn.client.link, HERE)
    assert transfer(vpn.client, vpn.server, greeting(vpn)) == [greeting(vpn)]
    answer = udp_packet(vpn.server.address, vpn.client.address)
    assert transfer(vpn.server, vpn.client, answer) == [answer]
    (peer,) = vpn.server.factory.connections
    assert peer.address == HERE
    vpn.client.stop()
    assert vpn.server.factory.connections == {}, "the goodbye on the control channel came from the new address"


def captured(vpn: Pair, packet: bytes) -> bytes:
    """The datagram that carries `packet` to the server; it does not arrive."""
    vpn.advance(1)
    seen: list[bytes] = []

    def take(datagram: bytes, source: Address, destination: Address) -> bool:
        seen.append(datagram)
        return False

    vpn.network.keep = take
    vpn.client.inject(packet)
    vpn.advance(0.1)
    vpn.network.keep = None
    (datagram,) = seen
    return datagram


def test_a_client_does_not_move_onto_a_session_that_somebody_has_begun_under_its_id() -> None:
    vpn = pair(control="none")
    (peer,) = vpn.server.factory.connections
    session_id = peer.session.remote_session_id
    assert session_id is not None
    moved = captured(vpn, greeting(vpn))
    stranger = Stranger(vpn)
    (answer,) = stranger.send(RESET._replace(session_id=session_id))
    proof = ControlPacket(Opcode.P_ACK_V1, 0, session_id, acks=(0,), remote_session_id=answer.session_id)
    stranger.send(proof)
    assert len(vpn.server.factory.connections) == 2
    stranger.link.send_runs([single(moved)], SERVER_ADDRESS)
    vpn.advance(0.1)
    assert peer.address != HERE
    vpn.client.stop()
    stranger.send(proof)
    assert demux_of(vpn).drops == {"float": 1}, "the stranger's session is still its own"


def test_only_an_authentic_packet_moves_a_client() -> None:
    vpn = pair()
    (peer,) = vpn.server.factory.connections
    home = peer.address
    datagram = captured(vpn, greeting(vpn))
    stranger = Stranger(vpn)
    forged = datagram[:-1] + bytes([datagram[-1] ^ 1])
    stranger.link.send_runs([single(forged)], SERVER_ADDRESS)
    vpn.advance(0.1)
    assert peer.address == home
    assert peer.channel.drops["authentication"] == 1
    vpn.client.link.send_runs([single(datagram)], SERVER_ADDRESS)
    vpn.advance(0.1)
    stranger.link.send_runs([single(datagram)], SERVER_ADDRESS)
    vpn.advance(0.1)
    assert peer.address == home, "a replayed packet is not authentic"
    assert peer.channel.drops["replay"] == 1
    assert vpn.server.tun.take() == [greeting(vpn)]


def test_a_forged_packet_that_finds_an_expired_key_moves_nobody() -> None:
    vpn = pair(server="tran-window 100\nreneg-sec 0\n", client="reneg-sec 0\n")
    (peer,) = vpn.server.factory.connections
    home = peer.address
    client = vpn.client.service.peer
    assert client is not None
    client.session.renegotiate(vpn.clock.seconds())
    client.pump()
    vpn.advance(200)
    transfer(vpn.client, vpn.server, greeting(vpn))
    datagram = bytearray(captured(vpn, greeting(vpn)))
    datagram[0] &= ~7  # the first key, which has expired and which nobody has asked for since
    stranger = Stranger(vpn)
    stranger.link.send_runs([single(bytes(datagram))], SERVER_ADDRESS)
    vpn.advance(0.1)
    assert peer.channel.drops["unknown-key"] == 1
    assert peer.address == home


def test_data_without_a_peer_id_is_found_by_its_address() -> None:
    vpn = pair("v1", "v2", server="client-to-client")
    one, other = vpn.clients["v1"], vpn.clients["v2"]
    for client in (one, other):
        connection = client.service._connection
        assert connection is not None
        terms = DataTerms("AES-256-GCM", connection.peer._keying._terms.derivation, None, PacketFormat.EPOCH)
        connection.peer.begin_data(terms, Compression.NONE, None)
    packet = udp_packet(one.address, other.address, b"to my neighbour")
    assert transfer(one, other, packet) == [packet]
    vpn.network.move(one.link, HERE)
    assert transfer(one, other, packet, within=1) == []
    assert demux_of(vpn).drops["unknown-peer"] == 1


def test_a_source_address_that_is_not_the_clients_own_is_dropped_and_counted() -> None:
    vpn = pair("alice", "bob")
    alice, bob = vpn.clients["alice"], vpn.clients["bob"]
    lie = udp_packet(bob.address, vpn.server.address)
    truth = udp_packet(alice.address, vpn.server.address)
    assert transfer(alice, vpn.server, lie, truth, lie) == [truth]
    assert vpn.server.factory.routes.drops["source-address"] == 2


# Two sessions at one address


def again(vpn: Pair) -> None:
    """Let the client's service connect anew from the port it had, as stock clients with `lport` do."""
    connection = vpn.client.service._connection
    assert connection is not None
    connection.peer.close("restarting without a goodbye")
    vpn.client._port -= 1


def test_a_second_session_at_an_address_replaces_the_first_once_it_is_in() -> None:
    vpn = pair("alice")
    factory = vpn.server.factory
    (first,) = factory.connections
    again(vpn)
    vpn.wait_until(lambda: len(factory.connections) == 2)
    assert first.is_open, "the old session lives until the new one has authenticated"
    vpn.wait_until(lambda: vpn.client.is_connected)
    vpn.advance(0.1)
    (second,) = factory.connections
    assert second is not first
    assert not first.is_open
    assert second.address == first.address
    assert transfer(vpn.client, vpn.server, greeting(vpn)) == [greeting(vpn)]


def test_a_second_session_that_does_not_get_in_leaves_the_first_alone() -> None:
    vpn = pair(control="none")
    (peer,) = vpn.server.factory.connections
    reset = PLAIN.wrap(RESET, 0.0)
    answers: list[bytes] = []

    def note(datagram: bytes, source: Address, destination: Address) -> bool:
        if source == SERVER_ADDRESS and datagram[0] >> 3 == Opcode.P_CONTROL_HARD_RESET_SERVER_V2:
            answers.append(datagram)
        return True

    vpn.network.keep = note
    vpn.client.link.send_control(reset, SERVER_ADDRESS)
    vpn.advance(0.1)
    vpn.client.link.send_control(PLAIN.wrap(returned(PLAIN.unwrap(answers[0]).session_id), 0.0), SERVER_ADDRESS)
    vpn.advance(0.1)
    assert len(vpn.server.factory.connections) == 2
    assert transfer(vpn.client, vpn.server, greeting(vpn)) == [greeting(vpn)]
    vpn.advance(61)
    assert list(vpn.server.factory.connections) == [peer]
    assert vpn.client.times_connected == 1


# Streams


class Caller:
    """One stream connection to the server."""

    def __init__(self, vpn: Pair) -> None:
        self.vpn = vpn
        self.received = RunRecorder()
        receiver: ILinkReceiver = self.received
        self.link = vpn.server.accept(receiver, HERE)

    def send(self, *datagrams: bytes) -> None:
        self.link.send_runs([single(datagram) for datagram in datagrams], SERVER_ADDRESS)
        self.vpn.advance(0.1)


def test_a_stream_opens_a_session_with_its_first_packet() -> None:
    vpn = server("tcp")
    caller = Caller(vpn)
    caller.send(PLAIN.wrap(RESET, 0.0))
    assert len(vpn.server.factory.connections) == 1
    (answer,) = caller.received.datagrams
    assert PLAIN.unwrap(answer).opcode is Opcode.P_CONTROL_HARD_RESET_SERVER_V2
    assert caller.received.lost == []


def test_a_stream_that_opens_with_anything_else_is_closed() -> None:
    vpn = server("tcp")
    data = bytes([first_byte(Opcode.P_DATA_V2, 0)]) + bytes(60)
    for wrong in (b"GET / HTTP/1.0", data, PLAIN.wrap(RESET._replace(message_id=1), 0.0), returned_blindly()):
        caller = Caller(vpn)
        caller.send(wrong)
        assert len(caller.received.lost) == 1
        assert caller.received.datagrams == []
    assert vpn.server.factory.connections == {}


def returned_blindly() -> bytes:
    return PLAIN.wrap(returned(b"a cookie"), 0.0)


def test_a_full_server_closes_a_stream() -> None:
    vpn = pair(server="max-clients 1", control="none", proto="tcp")
    caller = Caller(vpn)
    caller.send(PLAIN.wrap(RESET, 0.0))
    assert len(caller.received.lost) == 1
    assert vpn.client.is_connected


def test_a_second_reset_on_a_stream_is_ignored() -> None:
    vpn = server("tcp")
    caller = Caller(vpn)
    caller.send(PLAIN.wrap(RESET, 0.0), PLAIN.wrap(RESET._replace(session_id=b"another!"), 0.0))
    assert len(vpn.server.factory.connections) == 1
    assert demux_of(vpn).drops["unknown-session"] == 1


def test_a_stream_that_closes_takes_its_client_along() -> None:
    vpn = pair(proto="tcp")
    link = vpn.client.link
    vpn.network.delay = 0
    link.close()
    vpn.advance(0.1)
    assert vpn.server.factory.connections == {}
    assert demux_of(vpn)._by_stream == {}
    vpn.wait_until(lambda: vpn.client.times_connected == 2)


def test_data_from_elsewhere_does_not_move_a_stream() -> None:
    vpn = pair(proto="tcp")
    (peer,) = vpn.server.factory.connections
    demux, sink = demux_of(vpn), Sink()
    data = bytes([first_byte(Opcode.P_DATA_V2, 0)]) + bytes(60)
    demux.runs_received(sink, [(single(data), HERE)])  # type: ignore[arg-type]  # half a link
    assert demux.drops["unknown-peer"] == 1
    assert peer.link.is_stream
