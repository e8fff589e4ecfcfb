"""New keys under traffic: who may begin when, what is said under which key, and nothing lost on the way."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import pytest

from tests.control_ends import ControlPair
from twistvpn.client.connection import MOST_GOODBYES
from twistvpn.client.service import ClientState
from twistvpn.config.settings import ControlSettings
from twistvpn.control.events import KeyEstablished, MessageReceived, RenegotiationBegun, RenegotiationFailed
from twistvpn.control.reliable import Reliable
from twistvpn.control.round_trips import ECHOES
from twistvpn.control.session import SessionFailed
from twistvpn.peer import Peer
from twistvpn.testing import Pair, pair, transfer, udp_packet
from twistvpn.wire.opcodes import DATA_OPCODES, Opcode

if TYPE_CHECKING:
    from tests.control_ends import ControlEnd
    from twistvpn.interfaces import Address, Buffer


def keys(end: ControlEnd) -> list[int]:
    return [event.key_id for event in end.of(KeyEstablished)]


def texts(end: ControlEnd) -> list[str]:
    return [event.text for event in end.of(MessageReceived)]


def connected(*, hand_window: float = 60.0, control: ControlPair | None = None) -> ControlPair:
    ends = control or ControlPair(settings=ControlSettings(hand_window=hand_window))
    ends.client.connect()
    ends.run_until(lambda: keys(ends.client) and keys(ends.server))
    return ends


# The session


@pytest.mark.parametrize("who", ["client", "server"])
def test_a_key_that_is_not_in_use_has_no_successor(who: str) -> None:
    ends = ControlPair()
    idle, eager = (ends.client, ends.server) if who == "client" else (ends.server, ends.client)
    idle.makes_data_keys = False
    connected(control=ends)
    idle.renegotiate()
    eager.renegotiate()
    ends.run(5)
    assert keys(ends.client) == keys(ends.server) == [0]
    assert "unknown-key" in idle.dropped
    idle.session.data_keys_made(0)
    ends.run(10)
    assert keys(ends.client) == keys(ends.server) == [0, 1]


def test_messages_said_while_keys_change_go_under_the_new_one() -> None:
    ends = connected()
    ends.run(1)
    first = len(ends.server.received)
    ends.client.renegotiate()
    ends.client.send("hello")
    assert not ends.client.session.settled
    ends.run(2)
    assert texts(ends.server) == ["hello"]
    assert {datagram[0] & 7 for datagram in ends.server.received[first:]} == {1}
    assert ends.client.session.settled


def test_both_ends_are_told_that_the_other_negotiates_too() -> None:
    ends = connected()
    assert ends.client.of(RenegotiationBegun) == ends.server.of(RenegotiationBegun) == []
    ends.client.renegotiate()
    ends.run(2)
    assert ends.client.of(RenegotiationBegun) == ends.server.of(RenegotiationBegun) == [RenegotiationBegun(1)]


def test_a_renegotiation_that_is_not_answered_leaves_the_key_before() -> None:
    ends = connected(hand_window=20)
    began = ends.clock.seconds()
    ends.network.loss = 1.0
    ends.client.renegotiate()
    ends.client.send("later")
    ends.run(25)
    (failed,) = ends.client.of(RenegotiationFailed)
    assert (failed.key_id, failed.began, failed.refusal) == (1, began, None)
    assert str(failed.error) == "no answer within 20 s (hand-window)"
    assert ends.client.of(SessionFailed) == ends.server.of(SessionFailed) == []
    ends.network.loss = 0.0
    ends.run(5)
    assert texts(ends.server) == ["later"], "what waited for the new key goes under the old one"
    ends.client.renegotiate()
    ends.run(5)
    assert keys(ends.client) == keys(ends.server) == [0, 1]


def test_a_renegotiation_that_stalls_leaves_the_key_before_at_both_ends() -> None:
    ends = connected(hand_window=20)
    ends.client.renegotiate()
    ends.run(0.02)
    ends.network.loss = 1.0
    ends.run(30)
    for end in (ends.client, ends.server):
        (failed,) = end.of(RenegotiationFailed)
        assert str(failed.error) == "no TLS handshake within 20 s (hand-window)"
        assert end.of(SessionFailed) == []
    ends.network.loss = 0.0
    ends.server.renegotiate()
    ends.run(5)
    assert keys(ends.client) == keys(ends.server) == [0, 1]
    ends.client.send("hello")
    ends.run(1)
    assert texts(ends.server) == ["hello"]


def test_who_has_not_noticed_a_failure_yet_takes_part_in_another_try() -> None:
    ends = connected(hand_window=20)
    ends.network.loss = 1.0
    ends.client.renegotiate()
    ends.run(15)
    ends.server.renegotiate()
    ends.run(6)
    assert ends.client.of(RenegotiationFailed)
    assert not ends.server.of(RenegotiationFailed)
    ends.network.loss = 0.0
    ends.client.renegotiate()
    ends.run(10)
    assert keys(ends.client) == keys(ends.server) == [0, 1]


def test_nothing_is_said_under_old_keys_once_they_are_silenced() -> None:
    ends = connected()
    ends.network.loss = 1.0
    ends.server.send("lost")
    ends.run(1)
    ends.network.loss = 0.0
    ends.client.renegotiate()
    ends.run_until(lambda: ends.server.of(RenegotiationBegun))
    received = len(ends.client.received)
    ends.server.session.silence_old_keys()
    ends.run(10)
    assert keys(ends.server) == [0, 1]
    assert {datagram[0] & 7 for datagram in ends.client.received[received:]} == {1}
    assert ends.server.session.settled


@pytest.mark.parametrize("seed", range(4))
def test_both_ends_begin_at_once_on_a_bad_network_more_often_than_there_are_key_ids(seed: int) -> None:
    ends = ControlPair(
        seed=seed, loss=0.2, duplication=0.2, reordering=0.3, delay=0.05, settings=ControlSettings(hand_window=600)
    )
    connected(control=ends)
    for count in range(10):
        for end in (ends.client, ends.server):
            end.renegotiate()
            end.send(f"message {count}")
        ends.run_until(lambda: len(keys(ends.client)) == len(keys(ends.server)) == count + 2, within=600)  # noqa: B023
        ends.run(30)
    for end in (ends.client, ends.server):
        assert keys(end) == [0, 1, 2, 3, 4, 5, 6, 7, 1, 2, 3]
        assert not end.of(RenegotiationFailed)
        assert not end.of(SessionFailed)
        assert texts(end) == [f"message {count}" for count in range(10)]


@pytest.mark.parametrize(("option", "seconds"), [("", 2), ("tls-timeout 5", 5)])
@pytest.mark.shows("tls-timeout")
def test_what_is_not_acknowledged_is_said_again_after_tls_timeout(option: str, seconds: float) -> None:
    vpn = pair(client=option, connect=False)
    vpn.client.start()
    vpn.advance(seconds - 0.1)
    assert vpn.network.counts["sent"] == 1
    vpn.advance(0.2)
    assert vpn.network.counts["sent"] == 2


# Peers


def peers(vpn: Pair) -> tuple[Peer, Peer]:
    (at_server,) = vpn.server.factory.connections
    connection = vpn.client.service._connection
    assert connection is not None
    return at_server, connection.peer


def newest(peer: Peer) -> int:
    generation = peer.channel._keyring._newest
    assert generation is not None
    return generation.key_id


@pytest.mark.parametrize("who", ["server", "client"])
@pytest.mark.parametrize("option", ["reneg-bytes 20000", "reneg-pkts 40"])
@pytest.mark.parametrize("proto", ["udp", "tcp"])
@pytest.mark.shows("reneg-bytes", "reneg-pkts")
def test_traffic_wears_keys_out(who: str, option: str, proto: Literal["udp", "tcp"]) -> None:
    lines = {who: f"{option}\n"}
    vpn = pair(proto=proto, server="hand-window 4\n" + lines.get("server", ""), client=lines.get("client", ""))
    hello = udp_packet(vpn.client.address, vpn.server.address, bytes(900))
    answer = udp_packet(vpn.server.address, vpn.client.address, bytes(900))
    for _ in range(60):
        assert transfer(vpn.client, vpn.server, hello) == [hello]
        assert transfer(vpn.server, vpn.client, answer) == [answer]
        vpn.advance(1)
    at_server, at_client = peers(vpn)
    assert vpn.client.times_connected == 1
    assert newest(at_server) == newest(at_client)
    last = newest(at_server)
    assert 2 <= last <= 7
    vpn.advance(100)
    assert newest(at_server) - last <= 1, "pings alone take their time to wear a key out"


@pytest.mark.parametrize("who", ["server", "client"])
@pytest.mark.parametrize("sender", ["server", "client"])
@pytest.mark.shows("reneg-bytes")
def test_a_key_that_is_worn_out_in_one_direction_is_soon_used_no_more(who: str, sender: str) -> None:
    """No overlap passes: a server sends under a key that the client has all of, and says so where it has no data."""
    lines = {who: "reneg-bytes 20000\n"}
    vpn = pair(server="keepalive 10 120\n" + lines.get("server", ""), client=lines.get("client", ""))
    near, far = (vpn.server, vpn.client) if sender == "server" else (vpn.client, vpn.server)
    at_server, at_client = peers(vpn)
    packet = udp_packet(near.address, far.address, bytes(900))
    known = {newest(at_server)}
    for _ in range(120):
        assert transfer(near, far, packet) == [packet]
        vpn.advance(0.1)
        known.add(newest(at_server))
    assert len(known) >= 5
    assert newest(at_server) == newest(at_client)
    assert vpn.client.times_connected == 1


def test_a_renegotiation_takes_seconds_where_every_third_packet_is_lost() -> None:
    for seed in range(12):
        ends = ControlPair(seed=seed)
        connected(control=ends)
        ends.run(1)
        ends.network.loss = 0.33
        (ends.client if seed % 2 else ends.server).renegotiate()
        ends.run_until(lambda: keys(ends.client) == keys(ends.server) == [0, 1], within=8)  # noqa: B023
        ends.stop()


def test_a_reset_is_not_said_again_to_who_has_answered_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer before 2.6 whose acknowledgement was lost would begin with yet another key."""
    ends = connected()
    ends.run(5)
    acks = Reliable.take_acks
    monkeypatch.setattr(Reliable, "take_acks", lambda *given: tuple(filter(None, acks(*given))))
    before = len(ends.server.received)
    ends.client.renegotiate()
    ends.run_until(lambda: keys(ends.client) == [0, 1])
    ends.run(10)
    opcodes = [datagram[0] >> 3 for datagram in ends.server.received[before:]]
    assert opcodes.count(Opcode.P_CONTROL_SOFT_RESET_V1) == 1


@pytest.mark.parametrize("answers", [True, False])
def test_acknowledgements_are_not_repeated_once_the_peer_sends_under_the_new_key(answers: bool) -> None:  # noqa: FBT001
    """A stock peer that had begun with the next key by then would take them for an error."""
    vpn = pair(server="reneg-sec 100 100", client="reneg-sec 0")
    seen: list[int] = []

    def note(datagram: bytes, source: Address, destination: Address) -> bool:
        seen.append(datagram[0])
        return answers or datagram[0] >> 3 not in DATA_OPCODES

    vpn.advance(98)
    vpn.network.keep = note
    vpn.advance(8)
    lone = [first for first in seen if first >> 3 == Opcode.P_ACK_V1 and first & 7 == 1]
    assert len(lone) == (1 if answers else 1 + ECHOES), "the client's, for the server's last word"


def test_control_packets_find_room_where_data_fills_the_socket_of_the_peer() -> None:
    """The network here loses control packets that come right behind data, as the socket of a loaded peer does."""
    vpn = pair(server="reneg-sec 0\nreneg-bytes 50000", client="reneg-sec 0")
    at_server, at_client = peers(vpn)
    filled: dict[Address, float] = {}
    lost: list[bytes] = []

    def keep(datagram: bytes, source: Address, destination: Address) -> bool:
        now = vpn.clock.seconds()
        if datagram[0] >> 3 in DATA_OPCODES:
            filled[destination] = now
            return True
        if now - filled.get(destination, 0.0) < 0.0005:
            lost.append(datagram)
            return False
        return True

    vpn.network.keep = keep
    packet = udp_packet(vpn.server.address, vpn.client.address, bytes(900))
    for _ in range(2000):
        vpn.server.inject(packet)
        vpn.advance(0.001)
    vpn.advance(1)
    assert newest(at_client) == newest(at_server) != 0
    assert lost == []
    assert vpn.client.tun.take() == [packet] * 2000


def test_nobody_renegotiates_for_what_an_idle_key_has_not_done() -> None:
    vpn = pair(server="reneg-sec 0\nreneg-bytes 1000000", client="reneg-sec 0")
    vpn.advance(100_000)
    assert newest(peers(vpn)[0]) == 0


@pytest.mark.shows("reneg-sec")
def test_a_server_renegotiates_with_each_client_at_a_time_of_its_own() -> None:
    names = [f"client{number}" for number in range(8)]
    vpn = pair(*names, server="reneg-sec 100 50", client="reneg-sec 0")
    vpn.advance(49)
    assert {newest(peer) for peer in vpn.server.factory.connections} == {0}
    vpn.advance(26)
    assert {newest(peer) for peer in vpn.server.factory.connections} == {0, 1}


@pytest.mark.parametrize("seed", range(3))
def test_no_packet_is_lost_while_keys_change_on_a_bad_control_channel(seed: int) -> None:
    """Control packets are lost, repeated and overtaken; those of data only come late."""
    vpn = pair(server="reneg-sec 20 15", client="reneg-sec 20 15", seed=seed)
    losses = iter(range(10**6))

    def keep(datagram: bytes, source: Address, destination: Address) -> bool:
        return datagram[0] >> 3 in DATA_OPCODES or next(losses) % 4 != 0

    vpn.network.keep = keep
    vpn.network.duplication, vpn.network.reordering = 0.2, 0.3
    sent = []
    for number in range(2000):
        packet = udp_packet(vpn.client.address, vpn.server.address, b"%d" % number)
        answer = udp_packet(vpn.server.address, vpn.client.address, b"%d" % number)
        sent.append((packet, answer))
        vpn.client.inject(packet)
        vpn.server.inject(answer)
        vpn.advance(0.1)
    vpn.advance(1)
    assert sorted(vpn.server.tun.take()) == sorted(packet for packet, _ in sent)
    assert sorted(vpn.client.tun.take()) == sorted(answer for _, answer in sent)
    assert vpn.client.times_connected == 1


@pytest.mark.shows("tran-window", "hand-window")
def test_datagrams_go_on_under_the_old_key_after_a_renegotiation_that_failed() -> None:
    vpn = pair(server="hand-window 10\ntran-window 200\nreneg-sec 100 100\nkeepalive 10 60", client="reneg-sec 0")
    at_server, _ = peers(vpn)
    vpn.advance(90)

    def no_new_key(datagram: bytes, source: Address, destination: Address) -> bool:
        return datagram[0] >> 3 in DATA_OPCODES or datagram[0] & 7 != 1

    vpn.network.keep = no_new_key
    hello = udp_packet(vpn.client.address, vpn.server.address)
    vpn.advance(40)
    assert transfer(vpn.client, vpn.server, hello) == [hello]
    vpn.advance(150)
    assert transfer(vpn.client, vpn.server, hello) == [hello]
    assert at_server.is_open
    vpn.advance(30)
    assert not at_server.is_open


def test_a_renegotiation_that_failed_is_tried_again() -> None:
    vpn = pair(server="hand-window 10\ntran-window 200\nreneg-sec 100 100", client="reneg-sec 0")
    at_server, at_client = peers(vpn)
    vpn.network.keep = lambda datagram, _source, _destination: datagram[0] >> 3 in DATA_OPCODES
    vpn.advance(140)
    assert newest(at_server) == 0
    vpn.network.keep = None
    vpn.advance(400)
    assert at_server.is_open
    assert newest(at_server) == newest(at_client) >= 3
    assert vpn.client.times_connected == 1


def test_a_client_begins_another_session_beside_the_one_whose_renegotiation_failed() -> None:
    vpn = pair(server="reneg-sec 0", client="hand-window 10\ntran-window 200\nreneg-sec 100\nconnect-retry 2 5")
    blocked = [True]

    def no_control(datagram: bytes, source: Address, destination: Address) -> bool:
        return datagram[0] >> 3 in DATA_OPCODES or not blocked[0]

    vpn.advance(90)
    vpn.network.keep = no_control
    hello = udp_packet(vpn.client.address, vpn.server.address)
    answer = udp_packet(vpn.server.address, vpn.client.address)
    for _ in range(80):
        assert transfer(vpn.client, vpn.server, hello) == [hello]
        assert transfer(vpn.server, vpn.client, answer) == [answer]
        vpn.advance(1)
    assert not vpn.client.is_connected
    assert vpn.client.service._predecessor is not None
    blocked[0] = False
    vpn.wait_until(lambda: vpn.client.is_connected)
    vpn.advance(1)
    assert vpn.client.service._predecessor is None
    assert vpn.client.times_connected == 2
    assert len(vpn.server.factory.connections) == 1
    assert transfer(vpn.client, vpn.server, hello) == [hello]
    assert transfer(vpn.server, vpn.client, answer) == [answer]


def test_what_goes_through_the_session_left_behind_is_filtered_as_ever() -> None:
    vpn = pair(server="reneg-sec 0", client="hand-window 10\ntran-window 200\nreneg-sec 100\nblock-ipv6")
    vpn.network.keep = lambda datagram, _source, _destination: datagram[0] >> 3 in DATA_OPCODES
    vpn.advance(120)
    assert vpn.client.service._predecessor is not None
    packet = udp_packet(vpn.client.address6, vpn.server.address6)
    assert transfer(vpn.client, vpn.server, packet) == []
    assert vpn.client.service.drops["block-ipv6"] == 1


def test_a_client_that_is_leaving_begins_no_other_session() -> None:
    vpn = pair(server="reneg-sec 0", client="hand-window 10\nreneg-sec 100")
    vpn.network.keep = lambda datagram, _source, _destination: datagram[0] >> 3 in DATA_OPCODES
    vpn.advance(105)
    service = vpn.client.service
    assert service._connection is not None
    assert service._connection.pushed is not None
    service._connection.pushed = replace(
        service._connection.pushed, protocol_flags=frozenset(), explicit_exit_notify=MOST_GOODBYES
    )
    stopped = service.stopService()
    vpn.advance(MOST_GOODBYES)
    assert service._predecessor is None
    vpn.wait_until(lambda: bool(stopped.called))
    assert service.state is ClientState.STOPPED


def test_a_worn_key_is_tried_again_after_a_hand_window() -> None:
    """Not at once: where the load of the data takes the control packets, more of these would not help."""
    vpn = pair(server="reneg-sec 0\nreneg-bytes 20000\nhand-window 10", client="reneg-sec 0")
    at_server, _at_client = peers(vpn)
    tries: list[float] = []
    renegotiate = at_server.session.renegotiate

    def note(now: float) -> None:
        if at_server.session.can_renegotiate:
            tries.append(now)
        renegotiate(now)

    at_server.session.renegotiate = note  # type: ignore[method-assign]
    vpn.network.keep = lambda datagram, _source, _destination: datagram[0] >> 3 in DATA_OPCODES
    answer = udp_packet(vpn.server.address, vpn.client.address, bytes(900))
    for _ in range(60):
        assert transfer(vpn.server, vpn.client, answer) == [answer]
        vpn.advance(0.5)
    assert len(tries) >= 2
    assert min(later - earlier for earlier, later in pairwise(tries)) >= 20


def test_what_was_left_behind_ends_with_its_last_key() -> None:
    vpn = pair(server="reneg-sec 0", client="hand-window 10\ntran-window 60\nreneg-sec 100\nconnect-retry 2 5")
    vpn.network.keep = lambda datagram, _source, _destination: datagram[0] >> 3 in DATA_OPCODES
    vpn.advance(158)
    assert vpn.client.service._predecessor is not None
    vpn.advance(5)
    assert vpn.client.service._predecessor is None
    vpn.client.inject(udp_packet(vpn.client.address, vpn.server.address))
    assert vpn.client.service.drops["not-connected"] == 1


def test_a_client_that_stops_leaves_nothing_behind() -> None:
    vpn = pair(server="reneg-sec 0", client="hand-window 10\nreneg-sec 100")
    vpn.network.keep = lambda datagram, _source, _destination: datagram[0] >> 3 in DATA_OPCODES
    vpn.advance(120)
    assert vpn.client.service._predecessor is not None
    vpn.client.stop()
    vpn.advance(1)
    assert vpn.server.factory.connections == {}
    vpn.stop()
    assert vpn.clock.getDelayedCalls() == []


def test_a_stream_ends_with_a_renegotiation_that_failed() -> None:
    vpn = pair(proto="tcp", server="hand-window 10\nreneg-sec 100 100", client="reneg-sec 0")
    at_server, at_client = peers(vpn)
    at_client.session.receive = lambda *_: None  # type: ignore[method-assign]
    vpn.advance(120)
    assert not at_server.is_open
    vpn.wait_until(lambda: vpn.client.times_connected == 2)


def test_on_a_stream_nothing_is_said_under_a_key_that_the_peer_has_left(monkeypatch: pytest.MonkeyPatch) -> None:
    vpn = pair(proto="tcp", server="reneg-sec 100 100", client="reneg-sec 0")
    at_server, at_client = peers(vpn)
    seen: list[int] = []
    take = Peer.control_received

    def note(peer: Peer, datagram: Buffer) -> None:
        if peer is at_client:
            seen.append(datagram[0])
        take(peer, datagram)

    monkeypatch.setattr(Peer, "control_received", note)
    vpn.advance(102)
    at_server.send_message("INFO,hello")
    vpn.advance(20)
    assert seen[0] >> 3 == Opcode.P_CONTROL_SOFT_RESET_V1
    assert {first & 7 for first in seen} == {1}
