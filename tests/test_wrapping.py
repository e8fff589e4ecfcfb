from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wire_strategies import control_packets
from twistvpn.crypto.statickey import KeyDirection, StaticKey
from twistvpn.crypto.wrapping import ControlKey, Wrapping
from twistvpn.errors import (
    AuthenticationFailure,
    ConfigError,
    MalformedPacket,
    PacketIdExhausted,
    ReplayedPacket,
    WireError,
)
from twistvpn.wire.opcodes import CLIENT_RESETS, Opcode
from twistvpn.wire.packets import HEADER_SIZE, ControlPacket, encode_body
from twistvpn.wire.roles import Role

VECTORS = Path(__file__).parent / "vectors"
KEY = StaticKey.from_text((VECTORS / "static.key").read_bytes())
NOW = 1_700_000_000.75
PACKET = ControlPacket(Opcode.P_CONTROL_V1, 0, b"\x11" * 8, (3,), b"\x22" * 8, 4, b"hello")


@dataclass
class Pair:
    """A way to protect packets, as both ends have it."""

    client: ControlKey
    server: ControlKey


PAIRS = {
    "plain": Pair(ControlKey.plain(), ControlKey.plain()),
    "tls-auth": Pair(ControlKey.tls_auth(KEY, KeyDirection.INVERSE), ControlKey.tls_auth(KEY, KeyDirection.NORMAL)),
    "tls-auth SHA512": Pair(
        ControlKey.tls_auth(KEY, KeyDirection.NORMAL, "SHA512"),
        ControlKey.tls_auth(KEY, KeyDirection.INVERSE, "SHA512"),
    ),
    "tls-auth bidirectional": Pair(
        ControlKey.tls_auth(KEY, KeyDirection.BIDIRECTIONAL, "SHA256"),
        ControlKey.tls_auth(KEY, KeyDirection.BIDIRECTIONAL, "sha256"),
    ),
    "tls-crypt": Pair(ControlKey.tls_crypt(KEY, Role.CLIENT), ControlKey.tls_crypt(KEY, Role.SERVER)),
}
KEYED = [name for name in PAIRS if name != "plain"]


def a_pair(name: str) -> tuple[Wrapping, Wrapping]:
    return PAIRS[name].client.new_wrapping(), PAIRS[name].server.new_wrapping()


def packet_id_of(name: str, datagram: bytes) -> tuple[int, int]:
    """Packet id and time where the wrapping puts them."""
    hmac_sizes = {"tls-auth": 20, "tls-auth SHA512": 64, "tls-auth bidirectional": 32, "tls-crypt": 0}
    start = HEADER_SIZE + hmac_sizes[name]
    return int.from_bytes(datagram[start : start + 4], "big"), int.from_bytes(datagram[start + 4 : start + 8], "big")


@given(st.sampled_from(list(PAIRS)), st.lists(control_packets(), min_size=1, max_size=4))
def test_packets_pass_both_ways(name: str, packets: list[ControlPacket]) -> None:
    client, server = a_pair(name)
    for packet in packets:
        datagram = client.wrap(packet, NOW)
        assert len(datagram) == HEADER_SIZE + len(encode_body(packet)) + client.overhead
        assert server.unwrap(datagram) == packet
        assert client.unwrap(memoryview(server.wrap(packet, NOW))) == packet


@pytest.mark.parametrize("name", KEYED)
def test_packet_ids_count_and_time_stays(name: str) -> None:
    wrapping = PAIRS[name].client.new_wrapping()
    datagrams = [wrapping.wrap(PACKET, NOW + later) for later in (0, 10, -5)]
    assert [packet_id_of(name, datagram) for datagram in datagrams] == [
        (1, 1_700_000_000),
        (2, 1_700_000_000),
        (3, 1_700_000_000),
    ]


@pytest.mark.parametrize("name", KEYED)
def test_a_session_goes_on_behind_a_stateless_answer(name: str) -> None:
    client = PAIRS[name].client.new_wrapping()
    client.unwrap(PAIRS[name].server.new_wrapping().wrap(PACKET, NOW))
    client.unwrap(PAIRS[name].server.new_wrapping(first_packet_id=2).wrap(PACKET, NOW))
    with pytest.raises(ReplayedPacket):
        client.unwrap(PAIRS[name].server.new_wrapping(first_packet_id=2).wrap(PACKET, NOW))


@pytest.mark.parametrize("name", KEYED)
def test_a_replay_is_refused_and_reordering_is_not(name: str) -> None:
    client, server = a_pair(name)
    datagrams = [client.wrap(PACKET, NOW) for _ in range(3)]
    for index in (2, 0, 1):
        assert server.unwrap(datagrams[index]) == PACKET
    for datagram in datagrams:
        with pytest.raises(ReplayedPacket):
            server.unwrap(datagram)


@pytest.mark.parametrize("name", KEYED)
def test_time_going_back_is_a_replay(name: str) -> None:
    _, server = a_pair(name)
    server.unwrap(PAIRS[name].client.new_wrapping().wrap(PACKET, NOW))
    with pytest.raises(ReplayedPacket):
        server.unwrap(PAIRS[name].client.new_wrapping(first_packet_id=9).wrap(PACKET, NOW - 1))
    server.unwrap(PAIRS[name].client.new_wrapping().wrap(PACKET, NOW + 1))


@pytest.mark.parametrize("name", KEYED)
def test_a_packet_does_not_come_back_to_its_sender(name: str) -> None:
    client, _ = a_pair(name)
    datagram = client.wrap(PACKET, NOW)
    if name == "tls-auth bidirectional":
        assert client.unwrap(datagram) == PACKET
        return
    with pytest.raises(AuthenticationFailure):
        client.unwrap(datagram)


@given(st.sampled_from(KEYED), control_packets(), st.data())
def test_a_changed_bit_is_noticed_and_uses_no_packet_id(name: str, packet: ControlPacket, data: st.DataObject) -> None:
    client, server = a_pair(name)
    datagram = client.wrap(packet, NOW)
    bit = data.draw(st.integers(0, 8 * len(datagram) - 1))
    forged = bytearray(datagram)
    forged[bit // 8] ^= 1 << bit % 8
    with pytest.raises((AuthenticationFailure, MalformedPacket)):
        server.unwrap(forged)
    assert server.unwrap(datagram) == packet


@given(st.sampled_from(list(PAIRS)), control_packets(), st.data())
def test_a_truncated_datagram_is_refused(name: str, packet: ControlPacket, data: st.DataObject) -> None:
    client, server = a_pair(name)
    datagram = client.wrap(packet, NOW)
    cut = data.draw(st.integers(0, len(datagram) - 1))
    if name != "plain" or cut < HEADER_SIZE:
        with pytest.raises((AuthenticationFailure, MalformedPacket)):
            server.unwrap(datagram[:cut])


@given(st.sampled_from(list(PAIRS)), st.binary(max_size=150), st.sampled_from(list(Opcode)))
def test_any_bytes_are_refused_or_a_plain_packet(name: str, tail: bytes, opcode: Opcode) -> None:
    _, server = a_pair(name)
    for datagram in (tail, bytes((opcode << 3,)) + tail):
        try:
            server.unwrap(datagram)
        except WireError:
            continue
        assert name == "plain"


@pytest.mark.parametrize("name", KEYED)
def test_another_key_is_refused(name: str) -> None:
    other = StaticKey.generate()
    wrong = {
        "tls-auth": ControlKey.tls_auth(other, KeyDirection.INVERSE),
        "tls-auth SHA512": ControlKey.tls_auth(other, KeyDirection.NORMAL, "SHA512"),
        "tls-auth bidirectional": ControlKey.tls_auth(other, KeyDirection.BIDIRECTIONAL, "SHA256"),
        "tls-crypt": ControlKey.tls_crypt(other, Role.CLIENT),
    }
    _, server = a_pair(name)
    with pytest.raises(AuthenticationFailure):
        server.unwrap(wrong[name].new_wrapping().wrap(PACKET, NOW))


def test_an_authentic_packet_with_a_bad_body_is_malformed(monkeypatch: pytest.MonkeyPatch) -> None:
    client, server = a_pair("tls-crypt")
    monkeypatch.setattr("twistvpn.crypto.wrapping.encode_body", lambda _: bytes((9,)) + bytes(9 * 4 + 8))
    with pytest.raises(MalformedPacket):
        server.unwrap(client.wrap(PACKET, NOW))


@pytest.mark.parametrize("name", KEYED)
def test_used_up_packet_ids_wait_for_the_next_second(name: str) -> None:
    wrapping = PAIRS[name].client.new_wrapping(first_packet_id=0xFFFFFFFF)
    receiver = PAIRS[name].server.new_wrapping()
    receiver.unwrap(wrapping.wrap(PACKET, NOW))
    with pytest.raises(PacketIdExhausted):
        wrapping.wrap(PACKET, NOW)
    datagram = wrapping.wrap(PACKET, NOW + 1)
    assert packet_id_of(name, datagram) == (1, 1_700_000_001)
    assert receiver.unwrap(datagram) == PACKET


@pytest.mark.parametrize("name", list(PAIRS))
def test_sessions_under_one_key_do_not_disturb_each_other(name: str) -> None:
    sessions = [a_pair(name) for _ in range(3)]
    for _ in range(2):
        datagrams = [client.wrap(PACKET, NOW) for client, _ in sessions]
        assert [server.unwrap(datagram) for datagram, (_, server) in zip(datagrams, sessions, strict=True)] == [
            PACKET
        ] * 3


@pytest.mark.parametrize("name", KEYED)
def test_what_the_key_alone_has_opened_is_a_replay_for_the_session_that_took_it(name: str) -> None:
    client, server = a_pair(name)
    datagram = client.wrap(PACKET, NOW)
    assert server.admit(PAIRS[name].server.open(datagram)) == PACKET
    with pytest.raises(ReplayedPacket):
        server.unwrap(datagram)


def test_keys_do_not_show() -> None:
    for pair in PAIRS.values():
        assert "StaticKey" not in repr(pair.client)


def test_a_digest_that_is_not_to_be_had() -> None:
    with pytest.raises(ConfigError, match="SHA512"):
        ControlKey.tls_auth(KEY, KeyDirection.NORMAL, "SHA521")


def keys_of(vector: dict[str, Any]) -> dict[str, ControlKey]:
    """The `ControlKey` of each end of a captured handshake."""
    if vector["wrapping"] == "none":
        return {end.value: ControlKey.plain() for end in Role}
    if vector["wrapping"] == "tls-crypt":
        return {end.value: ControlKey.tls_crypt(KEY, end) for end in Role}
    directions = {end: KeyDirection.from_option(option) for end, option in vector["key_direction"].items()}
    return {end: ControlKey.tls_auth(KEY, direction, vector["auth"]) for end, direction in directions.items()}


HANDSHAKES = sorted(path.stem for path in VECTORS.glob("handshake-*.json"))


@pytest.mark.parametrize("name", HANDSHAKES)
def test_handshakes_of_stock_peers(name: str) -> None:
    """Each captured packet opens, says what it should, and is made again byte for byte."""
    vector = json.loads((VECTORS / f"{name}.json").read_text())
    keys = keys_of(vector)
    receivers = {"client": keys["server"].new_wrapping(), "server": keys["client"].new_wrapping()}
    packets: dict[str, list[ControlPacket]] = {"client": [], "server": []}
    for sender, text in vector["packets"]:
        datagram = bytes.fromhex(text)
        packet = receivers[sender].unwrap(datagram)
        packets[sender].append(packet)
        packet_id, time = wire_id(vector, datagram)
        assert keys[sender].new_wrapping(packet_id).wrap(packet, time) == datagram
    assert packets["client"][0].opcode in CLIENT_RESETS
    answer = packets["server"][0]
    assert answer.opcode is Opcode.P_CONTROL_HARD_RESET_SERVER_V2
    assert answer.remote_session_id == packets["client"][0].session_id
    stream = {packet.message_id: packet.payload for packet in packets["client"]}
    assert stream[1].startswith(b"\x16\x03")  # the TLS record with the ClientHello


def wire_id(vector: dict[str, Any], datagram: bytes) -> tuple[int, int]:
    """Packet id and time of a captured datagram; where there is none any will do."""
    size = {None: 0, "SHA1": 20, "SHA256": 32, "SHA512": 64}[vector["auth"]]
    start = HEADER_SIZE + size
    return int.from_bytes(datagram[start : start + 4], "big"), int.from_bytes(datagram[start + 4 : start + 8], "big")
