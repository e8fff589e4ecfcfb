"""Two sessions find together, renegotiate and end, whatever the network does to their packets."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.certificates import YESTERDAY, client_tls, server_tls, tls_settings
from tests.control_ends import ADDRESSES, ControlEnd, ControlPair
from twistvpn.config.settings import ControlSettings
from twistvpn.control.events import RenegotiationBegun, RenegotiationFailed
from twistvpn.control.negotiation import Input
from twistvpn.control.reliable import Message
from twistvpn.control.session import (
    KeyDerivation,
    KeyEstablished,
    MessageReceived,
    SessionFailed,
    WrongSession,
)
from twistvpn.control.verify import common_name
from twistvpn.errors import MalformedPacket, NegotiationError, UnknownKey
from twistvpn.pki.authority import Authority
from twistvpn.wire.opcodes import Opcode, first_byte
from twistvpn.wire.packets import ControlPacket, decode_body, decode_header
from twistvpn.wire.roles import Role

if TYPE_CHECKING:
    from twistvpn.interfaces import Address


def keys(end: ControlEnd) -> list[int]:
    return [event.key_id for event in end.of(KeyEstablished)]


def texts(end: ControlEnd) -> list[str]:
    return [event.text for event in end.of(MessageReceived)]


def connected(**faults: float) -> ControlPair:
    pair = ControlPair(seed=int(faults.pop("seed", 0)), **faults)  # type: ignore[arg-type]  # all numbers
    connect(pair)
    return pair


def connect(pair: ControlPair) -> None:
    pair.client.connect()
    pair.run_until(lambda: keys(pair.client) and keys(pair.server))


def test_a_handshake_gives_both_ends_the_same_keys() -> None:
    pair = connected()
    assert keys(pair.client) == keys(pair.server) == [0]
    for derivation in KeyDerivation:
        ours, theirs = (end.session.key_material(0, derivation) for end in (pair.client, pair.server))
        assert ours == theirs
        assert len(ours) == 256
    exporter, prf = (pair.client.session.key_material(0, derivation) for derivation in KeyDerivation)
    assert exporter != prf


def test_each_end_learns_who_the_other_is() -> None:
    pair = connected()
    (at_server,), (at_client,) = pair.server.of(KeyEstablished), pair.client.of(KeyEstablished)
    assert at_server.certificate is not None
    assert at_client.certificate is not None
    assert common_name(at_server.certificate) == "client"
    assert common_name(at_client.certificate) == "server"
    assert at_server.remote.peer_info == "IV_VER=test\n"
    assert at_client.remote.options == "V4,tls-server"
    assert at_server.description.startswith("TLSv1.3")


@pytest.mark.parametrize("wrapping", ["none", "tls-crypt"])
@pytest.mark.parametrize("seed", range(8))
def test_a_lossy_network_only_delays_the_handshake(seed: int, wrapping: str) -> None:
    settings = ControlSettings(hand_window=600)
    pair = ControlPair(
        wrapping=wrapping, seed=seed, loss=0.3, duplication=0.2, reordering=0.3, delay=0.05, settings=settings
    )
    pair.client.connect()
    pair.run_until(lambda: keys(pair.client) and keys(pair.server), within=600)
    for number in range(20):
        pair.client.send(f"question {number}")
        pair.server.send(f"answer {number}")
    pair.run_until(lambda: len(texts(pair.client)) == len(texts(pair.server)) == 20, within=600)
    assert texts(pair.server) == [f"question {number}" for number in range(20)]
    assert texts(pair.client) == [f"answer {number}" for number in range(20)]
    assert pair.network.counts["lost"] > 0


def test_no_control_packet_is_longer_than_any_path_takes() -> None:
    pair = ControlPair(wrapping="tls-crypt")
    connect(pair)
    pair.server.send("x" * 2000)
    pair.run(1)
    sizes = [len(datagram) for datagram in pair.client.received + pair.server.received]
    assert max(sizes) <= ControlSettings.max_packet_size
    assert texts(pair.client) == ["x" * 2000]


@pytest.mark.parametrize("who", ["client", "server", "both"])
def test_either_end_or_both_may_renegotiate(who: str) -> None:
    pair = connected()
    for end in (pair.client, pair.server):
        if who in {end.role.value, "both"}:
            end.renegotiate()
    pair.run(2)
    assert keys(pair.client) == keys(pair.server) == [0, 1]
    first, second = (pair.client.session.key_material(key_id, KeyDerivation.EXPORTER) for key_id in (0, 1))
    assert first != second
    assert second == pair.server.session.key_material(1, KeyDerivation.EXPORTER)
    pair.client.send("under the new key")
    pair.run(1)
    assert texts(pair.server) == ["under the new key"]


def test_asking_twice_renegotiates_once() -> None:
    pair = connected()
    pair.client.renegotiate()
    pair.client.renegotiate()
    pair.run(2)
    assert keys(pair.server) == [0, 1]


def test_renegotiation_on_a_lossy_network() -> None:
    pair = connected(delay=0.05)
    pair.network.loss, pair.network.duplication, pair.network.reordering = 0.3, 0.2, 0.3
    for key_id in range(1, 5):
        pair.server.renegotiate()
        pair.run_until(lambda wanted=key_id: keys(pair.client)[-1] == keys(pair.server)[-1] == wanted)  # type: ignore[misc]
    assert keys(pair.client) == [0, 1, 2, 3, 4]


def test_key_ids_come_round_again_to_one() -> None:
    pair = connected()
    for turn in range(17):
        (pair.client if turn % 2 else pair.server).renegotiate()
        pair.run(0.5)
    assert keys(pair.client) == keys(pair.server) == [0, *range(1, 8), *range(1, 8), 1, 2, 3]
    assert pair.client.session.key_material(3, KeyDerivation.PRF) == pair.server.session.key_material(
        3, KeyDerivation.PRF
    )


def test_messages_wait_for_the_first_key() -> None:
    pair = ControlPair()
    pair.client.connect()
    pair.client.send("too early")
    pair.run(1)
    assert texts(pair.server) == []


def test_a_refused_client_certificate_is_told_to_both_ends() -> None:
    stranger = Authority.create("Another CA", YESTERDAY)
    theirs = tls_settings(stranger.issue_client("mallory", YESTERDAY))
    pair = ControlPair(client=replace(theirs, ca=server_tls().ca))
    pair.client.connect()
    pair.run(2)
    (at_server,), (at_client,) = pair.server.of(SessionFailed), pair.client.of(SessionFailed)
    assert at_server.refusal is not None
    assert "CN=mallory" in at_server.refusal
    assert "alert" in str(at_client.error)
    assert at_client.refusal is None


def test_a_refused_server_certificate_is_told_to_both_ends() -> None:
    pair = ControlPair(client=replace(client_tls(), remote_cert_tls="client"))
    pair.client.connect()
    pair.run(2)
    (at_server,), (at_client,) = pair.server.of(SessionFailed), pair.client.of(SessionFailed)
    assert at_client.refusal is not None
    assert at_client.refusal.startswith("remote-cert-tls client")
    assert "alert" in str(at_server.error)
    assert keys(pair.server) == []


def test_a_client_without_a_certificate_is_refused() -> None:
    pair = ControlPair(client=tls_settings(None))
    pair.client.connect()
    pair.run(2)
    assert len(pair.server.of(SessionFailed)) == 1
    assert len(pair.client.of(SessionFailed)) == 1


def test_an_answer_that_does_not_come_ends_the_session_once() -> None:
    pair = ControlPair(loss=1.0, settings=ControlSettings(hand_window=20))
    pair.client.connect()
    pair.run(19.9)
    assert pair.client.events == []
    pair.run(60)
    (failed,) = pair.client.of(SessionFailed)
    assert str(failed.error) == "no answer within 20 s (hand-window)"


def test_a_handshake_that_stalls_ends_the_session_at_both_ends() -> None:
    pair = ControlPair(settings=ControlSettings(hand_window=20))
    pair.client.connect()
    pair.run(0.02)
    pair.network.loss = 1.0
    pair.run(60)
    for end in (pair.client, pair.server):
        (failed,) = end.of(SessionFailed)
        assert str(failed.error) == "no TLS handshake within 20 s (hand-window)"


def test_the_last_messages_under_the_old_key_still_arrive() -> None:
    pair = connected()
    pair.network.keep = lambda datagram, _source, _destination: datagram[0] & 7 != 0
    pair.client.send("under the old key")
    pair.client.renegotiate()
    pair.run_until(lambda: len(keys(pair.server)) == 2)
    pair.network.keep = None
    pair.run(10)
    assert texts(pair.server) == ["under the old key"]


def test_an_old_key_goes_quietly_after_a_hand_window() -> None:
    pair = connected()
    pair.client.renegotiate()
    pair.run(70)
    with pytest.raises(NegotiationError):
        pair.client.session.key_material(0, KeyDerivation.PRF)
    assert pair.client.of(SessionFailed) == pair.server.of(SessionFailed) == []
    assert pair.client.session.deadline() is None


def test_closing_says_nothing_to_the_peer() -> None:
    pair = connected()
    pair.run(5)
    sent = pair.network.counts["sent"]
    pair.client.stop()
    pair.run(5)
    assert pair.network.counts["sent"] == sent
    assert pair.server.of(SessionFailed) == []
    assert pair.client.session.take_events() == []


def packet(pair: ControlPair, **changes: object) -> ControlPacket:
    """A packet that the client would take from the server, but for `changes`."""
    remote = pair.client.session.remote_session_id
    assert remote is not None
    usual = ControlPacket(Opcode.P_ACK_V1, 0, remote, (0,), pair.client.session.session_id)
    return usual._replace(**changes)  # type: ignore[arg-type]  # the caller's


def test_packets_of_other_sessions_are_dropped() -> None:
    pair = connected()
    session = pair.client.session
    session.receive(packet(pair), 1.0)
    with pytest.raises(WrongSession, match="from another session"):
        session.receive(packet(pair, session_id=b"whoever!"), 1.0)
    with pytest.raises(WrongSession, match="another session's messages"):
        session.receive(packet(pair, remote_session_id=b"whoever!"), 1.0)


def test_before_the_answer_only_the_answer_counts() -> None:
    pair = ControlPair()
    session = pair.client.session
    session.connect(0.0)
    answer = ControlPacket(Opcode.P_CONTROL_HARD_RESET_SERVER_V2, 0, b"a server", (0,), session.session_id, 0)
    for wrong in (
        answer._replace(opcode=Opcode.P_CONTROL_V1),
        answer._replace(acks=(), remote_session_id=None),
        answer._replace(remote_session_id=b"whoever!"),
    ):
        with pytest.raises(WrongSession):
            session.receive(wrong, 0.0)
    session.receive(answer, 0.0)
    assert session.remote_session_id == b"a server"


@pytest.mark.parametrize(
    ("opcode", "key_id"),
    [(Opcode.P_CONTROL_SOFT_RESET_V1, 2), (Opcode.P_CONTROL_V1, 1), (Opcode.P_ACK_V1, 5)],
)
def test_only_a_soft_reset_of_the_next_key_begins_a_negotiation(opcode: Opcode, key_id: int) -> None:
    pair = connected()
    message_id = None if opcode is Opcode.P_ACK_V1 else 0
    with pytest.raises(UnknownKey):
        pair.client.session.receive(packet(pair, opcode=opcode, key_id=key_id, message_id=message_id), 1.0)


def test_a_reset_in_the_middle_is_refused_and_harmless() -> None:
    pair = connected()
    next_id = 1 + max(
        decode_body(*decode_header(datagram), datagram[9:]).message_id or 0 for datagram in pair.client.received
    )
    with pytest.raises(MalformedPacket):
        pair.client.session.receive(
            packet(pair, opcode=Opcode.P_CONTROL_SOFT_RESET_V1, message_id=next_id), pair.clock.seconds()
        )
    assert pair.client.of(SessionFailed) == []


def test_what_a_batch_brings_to_tls_is_answered_as_one() -> None:
    pair = ControlPair()
    client, server = pair.client.session, pair.server.session
    client.connect(0.0)
    client.datagrams_to_send(0.0)
    reset = ControlPacket(Opcode.P_CONTROL_HARD_RESET_SERVER_V2, 0, server.session_id, (0,), client.session_id, 0)
    client.receive(reset, 0.0)
    server.resume(client.session_id, 0.0)
    answers: list[int] = []
    while not any(isinstance(event, KeyEstablished) for event in client.take_events()):
        for one, other in ((client, server), (server, client)):
            batch = one.datagrams_to_send(0.0)
            for datagram in batch:
                other.receive_datagram(datagram, 0.0)
            other.read(0.0)
        answers.append(len(batch))
    # The last is the end of TLS's handshake and the server's key material, though the client's words were two packets.
    assert answers == [2, 1]


def hold(pair: ControlPair) -> list[bytes]:
    """What is sent to the server from now on, which nobody receives, as nothing else."""
    kept: list[bytes] = []

    def keep(datagram: bytes, _source: Address, destination: Address) -> bool:
        if destination == ADDRESSES[Role.SERVER]:
            kept.append(datagram)
        return False

    pair.network.keep = keep
    return kept


def test_a_reset_right_behind_the_failure_of_its_key_is_another_try() -> None:
    pair = connected()
    pair.run(1)
    pair.client.renegotiate()
    pair.run_until(lambda: pair.server.of(RenegotiationBegun))
    kept = hold(pair)
    key = pair.client.session._keys.get(1)
    assert key is not None
    key.advance(Input.PEER_RESET)
    key.deliver(Message(1, Opcode.P_CONTROL_V1, b"\x16\x03\x03\x00\x04\xff\x00\x00\x00"))
    key.read()
    pair.client.pump()
    pair.client.renegotiate()
    hello_and_alert, reset = [datagram for datagram in kept if datagram[0] >> 3 != Opcode.P_ACK_V1][:-1], kept[-1]
    assert reset[0] >> 3 == Opcode.P_CONTROL_SOFT_RESET_V1
    pair.network.keep = None
    pair.server.take(*hello_and_alert, reset)
    assert len(pair.server.of(RenegotiationFailed)) == 1
    pair.run_until(lambda: keys(pair.client) == keys(pair.server) == [0, 1], within=10)


def test_the_end_of_a_key_that_is_replaced_in_the_same_batch_is_not_the_sessions() -> None:
    pair = connected()
    pair.run(1)
    pair.client.renegotiate()
    old = pair.client.session._keys.get(0)
    assert old is not None
    kept: list[bytes] = []
    answered: list[bool] = []

    def keep(datagram: bytes, _source: Address, destination: Address) -> bool:
        """Hold what the client says from its answer to the server's words on."""
        if destination == ADDRESSES[Role.CLIENT]:
            answered.append(datagram[:1] == bytes((first_byte(Opcode.P_CONTROL_V1, 1),)))
        elif kept or (any(answered) and datagram[0] >> 3 == Opcode.P_CONTROL_V1):
            kept.append(datagram)
        return not kept

    pair.network.keep = keep
    pair.run_until(lambda: kept)
    old.exchange.transport.loseConnection()  # type: ignore[union-attr]
    pair.client.pump()
    pair.network.keep = None
    pair.server.take(*kept)
    assert keys(pair.server) == [0, 1]
    assert pair.server.of(SessionFailed) == []


def test_a_stateless_exchange_of_resets_goes_on_where_it_stopped() -> None:
    pair = ControlPair()
    client, server = pair.client.session, pair.server.session
    client.connect(0.0)
    client.datagrams_to_send(0.0)
    client.receive(
        ControlPacket(Opcode.P_CONTROL_HARD_RESET_SERVER_V2, 0, server.session_id, (0,), client.session_id, 0),
        0.0,
    )
    server.resume(client.session_id, 0.0)
    for _ in range(10):
        for one, other in ((client, server), (server, client)):
            for datagram in one.datagrams_to_send(0.0):
                other.receive_datagram(datagram, 0.0)
            other.read(0.0)
    assert any(isinstance(event, KeyEstablished) for event in client.take_events())
    assert any(isinstance(event, KeyEstablished) for event in server.take_events())
    assert client.settled
    assert server.settled
