"""Control packets that were recorded, spoilt, cut, repeated, mixed up or sealed anew, on a server with clients.

Each case is a seed: what comes of it can be had again.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any, Literal

import pytest

from tests.scripted_client import ScriptedClient
from twistvpn.control.keys import control_key
from twistvpn.crypto.wrapping import packet_id_field
from twistvpn.errors import WireError
from twistvpn.interfaces import single
from twistvpn.testing import SERVER_ADDRESS, pair, udp_packet
from twistvpn.wire.opcodes import CONTROL_OPCODES, Opcode
from twistvpn.wire.packets import ControlPacket
from twistvpn.wire.roles import Role

if TYPE_CHECKING:
    from twistvpn.interfaces import Address
    from twistvpn.testing import Pair

DATAGRAMS = 500
SIZES = (0, 1, 8, 9, 13, 14, 22, 30, 50, 54, 100, 500, 1400)
MESSAGE_IDS = (*range(13), 20, 0xFFFFFFFF)
OPCODES = sorted(CONTROL_OPCODES)


pytestmark = pytest.mark.usefixtures("faults")


class Attacker:
    """Has the control key, has heard everything, and may write any sender on what it sends."""

    def __init__(self, vpn: Pair, heard: list[tuple[bytes, Address]], choose: Random) -> None:
        self._vpn = vpn
        self._heard = heard
        self._random = choose
        controls = [vpn.client.service.settings.control, vpn.server.service.settings.control]
        has_own_keys = controls[1].crypt_v2 is not None
        self._key = None if has_own_keys else control_key(controls[0], Role.CLIENT)
        self._opened: list[ControlPacket] = []
        if not has_own_keys:
            servers = control_key(controls[1], Role.SERVER)
            for datagram, _ in heard:
                try:
                    self._opened.append(servers.open(datagram).packet)
                except WireError:
                    continue  # it is data

    def attack(self) -> None:
        """Send something or other."""
        choose = self._random
        datagram, address = choose.choice(self._heard)
        way = choose.random()
        if way < 0.2:
            datagram = self._noise(datagram[1:9])
        elif way < 0.5 or self._key is None:
            datagram = self._spoilt(datagram)
        else:
            packet = self._mixed_up(choose.choice(self._opened))
            skew = choose.choice((0, 0, 0, 1, -1, 1000))
            now = self._vpn.clock.seconds() + skew
            datagram = self._key.seal(packet, packet_id_field(choose.randrange(1, 1 << 32), now))
        if choose.random() < 0.4:
            address = ("203.0.113.9", choose.randrange(1, 65536))
        for _ in range(choose.choice((1, 1, 1, 3)) if datagram else 0):
            self._vpn.network._send([single(datagram)], address, SERVER_ADDRESS)

    def _noise(self, session_id: bytes) -> bytes:
        choose = self._random
        first = bytes((choose.randrange(12) << 3 | choose.randrange(8),))
        return (first + choose.choice((b"", session_id)) + choose.randbytes(1400))[: choose.choice(SIZES)]

    def _spoilt(self, datagram: bytes) -> bytes:
        choose, spoilt = self._random, bytearray(datagram)
        for _ in range(choose.choice((0, 0, 1, 1, 2, 8))):
            spoilt[choose.randrange(len(spoilt))] = choose.randrange(256)
        if choose.random() < 0.3:
            del spoilt[choose.randrange(len(spoilt) + 1) :]
        return bytes(spoilt) + choose.randbytes(choose.choice((0, 0, 0, 0, 100)))

    def _mixed_up(self, packet: ControlPacket) -> ControlPacket:
        choose, other = self._random, self._random.choice(self._opened)
        payload = bytearray(packet.payload)
        if payload:
            payload[choose.randrange(len(payload))] ^= 1 << choose.randrange(8)
        changes: dict[str, Any] = {
            "opcode": Opcode(choose.choice(OPCODES)),
            "key_id": choose.randrange(8),
            "session_id": choose.choice((choose.randbytes(8), other.session_id)),
            "acks": tuple(choose.choice((0, 1, 2, 3, 0xFFFFFFFF)) for _ in range(choose.randrange(9))),
            "message_id": choose.choice(MESSAGE_IDS),
            "payload": choose.choice((choose.randbytes(choose.choice(SIZES)), bytes(payload), packet.payload * 2)),
        }
        mixed = packet._replace(**dict(choose.sample(sorted(changes.items()), choose.randrange(1, 4))))
        is_ack = mixed.opcode is Opcode.P_ACK_V1
        remote = choose.choice((packet.remote_session_id, other.remote_session_id)) or choose.randbytes(8)
        return mixed._replace(
            remote_session_id=remote if mixed.acks else None,
            message_id=None if is_ack else mixed.message_id or 0,
            payload=b"" if is_ack else mixed.payload,
        )


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("control", ["tls-crypt", "tls-auth", "tls-crypt-v2", "none"])
def test_whatever_comes_of_the_attacked_others_are_served(
    control: Literal["tls-crypt-v2", "tls-crypt", "tls-auth", "none"], seed: int
) -> None:
    choose = Random(seed)
    vpn = pair(control=control, server="connect-freq-initial 1000000 1\n")
    heard: list[tuple[bytes, Address]] = []

    def hear(datagram: bytes, source: Address, destination: Address) -> bool:
        if destination == SERVER_ADDRESS:
            heard.append((bytes(datagram), source))
        return True

    vpn.network.keep = hear
    attacked = [ScriptedClient(vpn, name=f"attacked{number}", port=6000 + number) for number in range(3)]
    attacked[0].say("PUSH_REQUEST")
    vpn.network.keep = None
    attacker = Attacker(vpn, heard, choose)
    for _ in range(DATAGRAMS):
        attacker.attack()
        if choose.random() < 0.2:
            vpn.advance(choose.choice((0.01, 0.1, 0.5)))
    vpn.advance(1)
    vpn.client.inject(udp_packet(vpn.client.address, vpn.server.address))
    vpn.advance(1)
    assert len(vpn.server.tun.written) == 1
    assert len(vpn.server.factory.connections) < DATAGRAMS / 10
    vpn.advance(200)
    assert vpn.client.is_connected
    assert vpn.client.times_connected == 1
    factory = vpn.server.factory
    assert len(factory.connections) == len(factory.demux._sessions) == len(factory.demux._by_id) == 1
