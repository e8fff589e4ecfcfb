"""One remote's timers and its end, on the clock of a memory network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.scripted_client import MODERN, ScriptedClient, serving
from twistvpn.control.session import KeyDerivation
from twistvpn.data.limits import EPOCH_WRAP
from twistvpn.data.messages import PING, OccKind
from twistvpn.interfaces import Frame, single
from twistvpn.peer import LINGER
from twistvpn.testing import pair, transfer, udp_packet
from twistvpn.wire.opcodes import Opcode

if TYPE_CHECKING:
    from twistvpn.interfaces import Address
    from twistvpn.peer import Peer
    from twistvpn.testing import Pair


def peers(vpn: Pair) -> tuple[Peer, Peer]:
    """The server's and the client's idea of each other."""
    (at_server,) = vpn.server.factory.connections
    connection = vpn.client.service._connection
    assert connection is not None
    return at_server, connection.peer


def data_sent(vpn: Pair, seconds: float) -> int:
    """How many data packets travel in the next `seconds`."""
    count = 0

    def note(datagram: bytes, source: Address, destination: Address) -> bool:
        nonlocal count
        count += datagram[0] >> 3 == Opcode.P_DATA_V2
        return True

    vpn.network.keep = note
    vpn.advance(seconds)
    vpn.network.keep = None
    return count


def test_a_ping_leaves_when_nothing_else_has() -> None:
    vpn = pair(server="keepalive 10 60")
    vpn.advance(5)
    assert data_sent(vpn, 100) == 20
    at_server, at_client = peers(vpn)
    assert vpn.server.tun.written == vpn.client.tun.written == []
    assert at_server.channel.packets_in >= 10
    assert at_client.channel.packets_in >= 10


def test_traffic_takes_the_place_of_pings() -> None:
    vpn = pair(server="keepalive 10 60")
    hello = udp_packet(vpn.client.address, vpn.server.address)
    for _ in range(40):
        transfer(vpn.client, vpn.server, hello)
        vpn.advance(5)
    at_server, _ = peers(vpn)
    assert at_server.channel.packets_in == pytest.approx(40, abs=1)


def test_without_keepalive_nobody_pings_and_nobody_gives_up() -> None:
    vpn = pair()
    vpn.advance(1)
    at_server, at_client = peers(vpn)
    for peer in (at_server, at_client):
        peer.set_keepalive(0, 0)
    assert data_sent(vpn, 3000) == 0
    assert at_server.is_open
    assert at_client.is_open


def test_ping_restart_counts_from_the_last_thing_heard() -> None:
    vpn = pair()
    at_server, _ = peers(vpn)
    at_server.set_keepalive(0, 30)
    vpn.advance(20)
    heard_at = at_server.timers.last_heard
    vpn.network.loss = 1.0
    vpn.advance(heard_at + 29.9 - vpn.clock.seconds())
    assert at_server.is_open
    vpn.advance(0.2)
    assert not at_server.is_open
    assert vpn.server.factory.connections == {}


def test_control_packets_count_as_signs_of_life() -> None:
    vpn = serving(server="keepalive 3600 7200")
    client = ScriptedClient(vpn)
    (peer,) = vpn.server.factory.connections
    peer.set_keepalive(0, 30)
    for _ in range(10):
        vpn.advance(20)
        client.say("ANYTHING")
    assert peer.is_open


def test_forged_packets_are_no_sign_of_life() -> None:
    vpn = pair()
    at_server, _ = peers(vpn)
    at_server.set_keepalive(0, 30)
    vpn.advance(1)
    link, address = vpn.client.link, at_server.link.address  # type: ignore[attr-defined]  # a memory link
    vpn.network.keep = lambda datagram, _source, _destination: len(datagram) == 77
    for _ in range(40):
        link.send_runs([single(b"\x48\0\0\0" + bytes(73)), single(b"\x20" + bytes(76))], address)
        vpn.advance(1)
    assert not at_server.is_open


# Renegotiation


def test_the_old_key_sends_on_until_the_peer_surely_has_the_new_one() -> None:
    vpn = pair(server="reneg-sec 100 100", client="reneg-sec 0")
    vpn.advance(99)
    used: list[int] = []

    def note(datagram: bytes, source: Address, destination: Address) -> bool:
        if datagram[0] >> 3 == Opcode.P_DATA_V2:
            used.append(datagram[0] & 7)
        return True

    vpn.network.keep = note
    hello = udp_packet(vpn.client.address, vpn.server.address)
    for _ in range(20):
        assert transfer(vpn.client, vpn.server, hello) == [hello]
        vpn.advance(5)
    assert used == sorted(used)
    assert set(used) == {0, 1}


def test_a_worn_out_key_is_replaced() -> None:
    vpn = pair()
    _, at_client = peers(vpn)
    generation = at_client.channel._keyring._newest
    assert generation is not None
    epochs = generation.epochs
    assert epochs is not None
    epochs._advance(EPOCH_WRAP)
    vpn.advance(15)
    newest = at_client.channel._keyring._newest
    assert newest is not None
    assert newest.key_id == 1


# The end


def test_last_words_are_repeated_until_they_are_acknowledged() -> None:
    vpn = serving()
    client = ScriptedClient(vpn)
    (peer,) = vpn.server.factory.connections
    vpn.network.loss = 1.0
    peer.send_message("RESTART")
    peer.linger("for the test")
    assert not peer.is_open
    vpn.advance(1)
    vpn.network.loss = 0.0
    vpn.advance(2)
    assert client.texts[-1] == "RESTART"
    assert vpn.server.factory.connections == {}


def test_who_does_not_acknowledge_is_let_go_all_the_same() -> None:
    vpn = serving()
    ScriptedClient(vpn)
    (peer,) = vpn.server.factory.connections
    vpn.network.loss = 1.0
    peer.send_message("RESTART")
    peer.linger("for the test")
    vpn.advance(LINGER - 0.1)
    assert len(vpn.server.factory.connections) == 1
    vpn.advance(0.2)
    assert vpn.server.factory.connections == {}
    sent = vpn.network.counts["sent"]
    vpn.advance(100)
    assert vpn.server.factory.deadlines._scheduled == {}
    assert vpn.network.counts["sent"] - sent < 30, "only the client still talks"


def test_a_lingering_peer_takes_no_data() -> None:
    vpn = pair()
    vpn.advance(1)
    at_server, at_client = peers(vpn)
    vpn.network.keep = lambda _datagram, source, _destination: source[0] != "192.0.2.1"
    at_server.send_message("INFO,hold on")
    at_server.linger("for the test")
    at_client.send_frames([Frame(udp_packet(vpn.client.address, vpn.server.address))])
    vpn.advance(1)
    assert vpn.server.tun.written == []


def test_closing_twice_tells_the_handler_once() -> None:
    vpn = serving()
    client = ScriptedClient(vpn)
    client.peer.close("one")
    client.peer.close("two")
    client.peer.linger("three")
    client.peer.pump()
    client.peer.control_received(b"\x28" + bytes(60))
    assert client.lost == ["one"]
    assert client.peer.deadline() is None
    assert not client.peer.data_received(single(bytes(60)))


def test_bad_control_packets_are_counted_by_reason() -> None:
    vpn = serving(control="none")
    client = ScriptedClient(vpn, MODERN | {"IV_PROTO": "478"})  # without dynamic tls-crypt: nothing wraps key 5
    (peer,) = vpn.server.factory.connections
    sid = client.peer.session.session_id
    peer.control_received(b"\x20" + sid)
    peer.control_received(b"\x20" + b"whoever!" + b"\0" + bytes(4))
    peer.control_received(b"\x25" + sid + b"\0" + bytes(4))
    assert peer.drops == {"malformed": 1, "session-id": 1, "unknown-key": 1}
    assert peer.is_open


def occ_answers(vpn: Pair, client: ScriptedClient, *questions: bytes) -> list[tuple[int, bytes]]:
    """What the server says to OCC messages."""
    answers: list[tuple[int, bytes]] = []
    client.peer.channel.on_occ = lambda kind, rest: answers.append((kind, bytes(rest)))
    (peer,) = vpn.server.factory.connections
    for question in questions:
        runs = client.peer.channel.seal_occ(question, vpn.clock.seconds())
        client.link.send_runs(runs, peer.link.address)  # type: ignore[attr-defined]  # a memory link
        vpn.advance(1)
    assert peer.is_open
    return answers


def ready_to_talk(**options: str) -> tuple[Pair, ScriptedClient]:
    vpn = serving(**options)
    client = ScriptedClient(vpn)
    client.open_data(KeyDerivation.EXPORTER, 0)
    return vpn, client


def test_our_options_are_told_to_who_asks() -> None:
    vpn, client = ready_to_talk()
    ((kind, text),) = occ_answers(vpn, client, b"\0", b"\1V4\0", b"\5\1\1\1\1", b"\7", b"\2", b"\2\0")
    assert kind == OccKind.REPLY
    assert text.startswith(b"V4,dev-type tun,")
    assert text.endswith(b",tls-server\0")


@pytest.mark.shows("mtu-test")
def test_the_path_is_measured_with_datagrams_of_the_size_that_is_asked_for() -> None:
    vpn, client = ready_to_talk()
    seen = len(client.received)
    load = b"\3" + bytes(1300)
    answers = occ_answers(vpn, client, b"\2\x04\xb0", load, b"\4")
    assert [kind for kind, _ in answers] == [OccKind.MTU_LOAD, OccKind.MTU_REPLY]
    assert len(client.received[seen]) == 1200
    received, sent = (int.from_bytes(answers[1][1][start : start + 2], "big") for start in (0, 2))
    assert (received, sent) == (16 + len(load) + 24, 1200)


def test_no_datagram_is_larger_than_our_own_packets_make_it() -> None:
    vpn, client = ready_to_talk()
    ((_, load),) = occ_answers(vpn, client, b"\2\xff\xff")
    assert 16 + 1 + len(load) == 1500
    assert len(client.received[-1]) == 1524


def test_a_goodbye_in_a_data_packet_is_the_end() -> None:
    vpn, client = ready_to_talk()
    (peer,) = vpn.server.factory.connections
    client.peer.say_goodbye()
    vpn.advance(1)
    assert not peer.is_open
    assert PING not in vpn.server.tun.written
