"""Renegotiations under a key that only the two ends of a session know, whatever wrapped its beginning."""

from __future__ import annotations

import hashlib
import hmac
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.control_ends import ControlEnd, ControlPair
from tests.scripted_client import MODERN, ScriptedClient, serving
from twistvpn.control.session import KeyDerivation, KeyEstablished, MessageReceived
from twistvpn.crypto.statickey import KEY_SIZE, KeyDirection, StaticKey
from twistvpn.crypto.wrapping import DYNAMIC_LABEL, ControlKey
from twistvpn.errors import AuthenticationFailure, ConfigError, KeyGone, UnknownKey
from twistvpn.testing import pair
from twistvpn.wire.opcodes import Opcode
from twistvpn.wire.packets import HEADER_SIZE, ControlPacket, encode_body, encode_header
from twistvpn.wire.roles import Role

if TYPE_CHECKING:
    from typing import Literal

NOW = 1_700_000_000.0
PACKET = ControlPacket(Opcode.P_CONTROL_V1, 1, b"\x11" * 8, (3,), b"\x22" * 8, 4, b"hello")
WRAPPINGS = ["none", "tls-auth", "tls-crypt"]


def keys(end: ControlEnd) -> list[int]:
    return [event.key_id for event in end.of(KeyEstablished)]


def have_keys(ends: ControlPair, count: int) -> bool:
    return len(keys(ends.client)) == len(keys(ends.server)) == count


def agreed(wrapping: str, **faults: float) -> ControlPair:
    """Two ends that have made their first key and agreed on a dynamic one."""
    ends = ControlPair(wrapping=wrapping, seed=int(faults.pop("seed", 0)), **faults)  # type: ignore[arg-type]
    ends.client.connect()
    ends.run_until(lambda: keys(ends.client) and keys(ends.server))
    ends.run(1)
    for end in (ends.client, ends.server):
        end.session.use_dynamic_tls_crypt()
    return ends


@pytest.mark.parametrize("wrapping", WRAPPINGS)
@pytest.mark.parametrize("who", ["client", "server"])
def test_every_key_but_the_first_goes_under_it(wrapping: str, who: str) -> None:
    ends = agreed(wrapping)
    end = ends.client if who == "client" else ends.server
    for number in range(1, 10):  # the key ids come round to 1 again
        end.renegotiate()
        ends.run_until(partial(have_keys, ends, number + 1))
        ends.run(1)
    assert keys(ends.server)[-3:] == [7, 1, 2]
    ends.client.send("still here")
    ends.run(1)
    assert ends.server.of(MessageReceived)[-1].text == "still here"
    assert not ends.client.dropped + ends.server.dropped


@pytest.mark.parametrize("seed", range(3))
def test_it_holds_on_a_bad_network(seed: int) -> None:
    ends = agreed("tls-crypt", seed=seed, loss=0.2, duplication=0.2, reordering=0.2)
    ends.client.renegotiate()
    ends.run_until(lambda: 1 in keys(ends.client) and 1 in keys(ends.server), within=600)


def test_once_it_is_in_use_the_first_keys_messages_may_go_under_it_too() -> None:
    ends = agreed("tls-crypt")
    ends.client.renegotiate()
    ends.run_until(partial(have_keys, ends, 2))
    session = ends.client.session
    session._wrapping.first = session._wrapping.of(1)  # as OpenVPN 3 has it
    next(iter(session._keys)).send("late")
    ends.client.send("later")
    ends.run(1)
    assert {event.text for event in ends.server.of(MessageReceived)} == {"late", "later"}
    assert not ends.server.dropped


def test_an_end_that_has_not_agreed_takes_nothing_under_it() -> None:
    ends = ControlPair(wrapping="tls-crypt")
    ends.client.connect()
    ends.run_until(lambda: keys(ends.client) and keys(ends.server))
    ends.client.session.use_dynamic_tls_crypt()
    ends.client.renegotiate()
    ends.run(1)
    assert keys(ends.server) == [0]
    assert set(ends.server.dropped) == {"authentication"}


def test_it_needs_the_first_key() -> None:
    ends = ControlPair()
    ends.client.connect()
    with pytest.raises(KeyGone):
        ends.client.session.use_dynamic_tls_crypt()


def test_after_the_first_key_is_gone_it_takes_nothing() -> None:
    ends = agreed("tls-crypt")
    client, server = ends.client.session, ends.server.session
    client.close()
    packet = PACKET._replace(session_id=server.session_id, acks=(), remote_session_id=None)
    with pytest.raises(UnknownKey):
        client.receive_datagram(ControlKey.plain().new_wrapping().wrap(packet, NOW), NOW)


def test_it_is_tls_crypt_under_both_secrets() -> None:
    """Computed here once more, with nothing but hmac, from the wire-protocol draft's words."""
    shared, exported = (bytes((seed * index + seed) % 256 for index in range(KEY_SIZE)) for seed in (3, 7))
    mixed = bytes(left ^ right for left, right in zip(shared, exported, strict=True))
    original = ControlKey.tls_auth(StaticKey(shared), KeyDirection.INVERSE, "SHA256")
    datagram = original.dynamic(exported, Role.CLIENT).new_wrapping().wrap(PACKET, NOW)
    packet_id = bytes((0, 0, 0, 1)) + int(NOW).to_bytes(4, "big")
    clear = encode_header(PACKET) + packet_id
    assert datagram[: len(clear)] == clear
    hmac_key = mixed[192:224]  # the client sends under the second pair
    assert datagram[HEADER_SIZE + 8 :][:32] == hmac.digest(hmac_key, clear + encode_body(PACKET), hashlib.sha256)
    opened = original.dynamic(exported, Role.SERVER).open(datagram)
    assert opened.packet == PACKET
    with pytest.raises(AuthenticationFailure):
        ControlKey.plain().dynamic(exported, Role.SERVER).open(datagram)


@pytest.mark.parametrize("length", [0, KEY_SIZE - 1, KEY_SIZE + 1])
def test_it_takes_material_of_its_length_only(length: int) -> None:
    with pytest.raises(ConfigError):
        ControlKey.plain().dynamic(bytes(length), Role.CLIENT)


def test_its_label_is_the_protocols() -> None:
    assert DYNAMIC_LABEL == b"EXPORTER-OpenVPN-dynamic-tls-crypt"


@pytest.mark.parametrize("proto", ["udp", "tcp"])
def test_our_two_ends_agree_on_it(proto: Literal["udp", "tcp"]) -> None:
    vpn = pair(proto=proto, control="none", server="reneg-sec 30")
    (peer,) = vpn.server.factory.connections
    client = vpn.client.service.peer
    assert client is not None
    vpn.advance(35)
    now = vpn.clock.seconds()
    assert peer.session.key_material(1, KeyDerivation.EXPORTER)
    packet = PACKET._replace(session_id=client.session.session_id, acks=(), message_id=9, payload=bytes(99))
    with pytest.raises(AuthenticationFailure):
        peer.session.receive_datagram(ControlKey.plain().new_wrapping().wrap(packet, now), now)
    assert vpn.client.is_connected


def test_a_client_without_it_renegotiates_as_before() -> None:
    vpn = serving()
    client = ScriptedClient(vpn, MODERN | {"IV_PROTO": str(990 & ~(1 << 9))})
    assert client.pushed_value("protocol-flags") == "cc-exit tls-ekm"
    client.renegotiate()
    assert client.keys == [0, 1]
