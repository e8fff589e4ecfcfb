"""tls-crypt-v2 at the server: every kind of client beside each other, and what hostile ones can do with a key."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from tests.certificates import client_tls
from tests.control_ends import offer
from tests.recorders import RunRecorder
from twistvpn.config.settings import ControlSettings
from twistvpn.control.round_trips import RoundTrips
from twistvpn.control.session import ControlSession
from twistvpn.control.tls import ControlTlsFactory
from twistvpn.control.verify import TlsContexts
from twistvpn.crypto.clientkey import ClientKey, timestamp_metadata, user_metadata
from twistvpn.crypto.statickey import StaticKey
from twistvpn.crypto.wrapping import ControlKey, Wrapping
from twistvpn.errors import AuthenticationRejected, MalformedPacket
from twistvpn.interfaces import Address, ClientKeyMetadata, Credentials, IAuthenticator, IClientKeyVerifier
from twistvpn.server.control_keys import MAX_UNPROVEN
from twistvpn.testing import SERVER_ADDRESS, Pair, pair, transfer, udp_packet
from twistvpn.wire.earlyneg import EarlyFlag, encode_early_flags
from twistvpn.wire.opcodes import Opcode
from twistvpn.wire.packets import MAX_ACKS, ControlPacket
from twistvpn.wire.roles import Role

if TYPE_CHECKING:
    from collections import Counter
    from typing import Literal

HERE: Address = ("203.0.113.7", 5000)
RESET = ControlPacket(Opcode.P_CONTROL_HARD_RESET_CLIENT_V3, 0, b"stranger", message_id=0)
DAY = 86400
SHARED = StaticKey.generate()
SHARED_BLOCK = f"<tls-crypt>\n{SHARED.to_text()}</tls-crypt>\n"


def serving(options: str = "", verifier: IClientKeyVerifier | None = None) -> Pair:
    """A server with tls-crypt-v2, and no client yet."""
    vpn = pair(control="tls-crypt-v2", server=options, client_key_verifier=verifier, connect=False)
    vpn.clock.advance(1_000 * DAY)
    vpn.server.start()
    return vpn


def own_key(vpn: Pair, metadata: ClientKeyMetadata | None = None) -> ClientKey:
    return vpn.server_key.new_client_key(metadata or timestamp_metadata(vpn.clock.seconds()))


def drops(vpn: Pair) -> Counter[str]:
    return vpn.server.factory.demux.drops + vpn.server.factory.drops


class Stranger:
    """Somebody with a client's key; `first_packet_id` 1 makes it one from before 2.6."""

    def __init__(
        self, vpn: Pair, key: ClientKey, *, address: Address = HERE, first_packet_id: int | None = None
    ) -> None:
        self.vpn = vpn
        self.received = RunRecorder()
        self.link = vpn.network.link(self.received, address)
        self.wrapping: Wrapping = ControlKey.tls_crypt_v2(key).new_wrapping(first_packet_id)

    def wrap(self, packet: ControlPacket) -> bytes:
        return self.wrapping.wrap(packet, self.vpn.clock.seconds())

    def send(self, packet: ControlPacket) -> list[ControlPacket]:
        """Send, and return what came back since."""
        return self.send_raw(self.wrap(packet))

    def send_raw(self, datagram: bytes) -> list[ControlPacket]:
        seen = len(self.received.datagrams)
        self.link.send_control(datagram, SERVER_ADDRESS)
        self.vpn.advance(0.1)
        return [self.wrapping.unwrap(datagram) for datagram in self.received.datagrams[seen:]]

    def returned(self, opcode: Opcode = Opcode.P_CONTROL_WKC_V1) -> ControlPacket:
        """The packet that returns the server's cookie."""
        (answer,) = self.send(RESET)
        return RESET._replace(opcode=opcode, acks=(0,), remote_session_id=answer.session_id, message_id=1)


@implementer(IClientKeyVerifier)
@dataclass
class Choosy:
    """Lets in whose metadata is `wanted`."""

    wanted: bytes
    asked: list[tuple[ClientKeyMetadata, Address]] = field(default_factory=list)

    def verify(self, metadata: ClientKeyMetadata, address: Address) -> None:
        self.asked.append((metadata, address))
        if metadata.data != self.wanted:
            raise AuthenticationRejected("its key has been withdrawn\n")


# The handshake


def test_a_first_packet_is_answered_without_a_trace() -> None:
    vpn = serving()
    stranger = Stranger(vpn, own_key(vpn))
    (answer,) = stranger.send(RESET)
    assert answer.opcode is Opcode.P_CONTROL_HARD_RESET_SERVER_V2
    assert answer.payload == encode_early_flags(EarlyFlag.RESEND_WKC)
    assert (answer.acks, answer.remote_session_id, answer.message_id) == ((0,), RESET.session_id, 0)
    assert vpn.server.factory.connections == {}


def test_who_returns_the_cookie_with_its_key_becomes_a_peer() -> None:
    vpn = serving()
    stranger = Stranger(vpn, own_key(vpn))
    packet = stranger.returned()
    (answer,) = stranger.send(packet)
    assert answer.opcode is Opcode.P_ACK_V1
    assert stranger.send(packet)[0].acks[0] == 1
    assert len(vpn.server.factory.connections) == 1
    (peer,) = vpn.server.factory.connections
    assert not peer.drops


def test_a_cookie_is_not_taken_without_the_key() -> None:
    vpn = serving()
    stranger = Stranger(vpn, own_key(vpn))
    packet = stranger.returned(Opcode.P_CONTROL_V1)
    assert stranger.send(packet) == []
    assert stranger.send(packet._replace(opcode=Opcode.P_ACK_V1, message_id=None)) == []
    assert drops(vpn) == {"control-key": 2}


def test_a_cookie_is_one_clients_at_one_address() -> None:
    vpn = serving()
    stranger, neighbour = Stranger(vpn, own_key(vpn)), Stranger(vpn, own_key(vpn), address=("203.0.113.7", 5001))
    packet = stranger.returned()
    assert neighbour.send_raw(stranger.wrap(packet)) == []
    assert stranger.send(packet._replace(session_id=b"somebody")) == []
    vpn.advance(600)
    assert stranger.send(packet) == []
    assert drops(vpn) == {"unknown-session": 3}
    assert vpn.server.factory.connections == {}


@pytest.mark.parametrize("proto", ["udp", "tcp"])
def test_a_bad_network_delays_but_does_not_prevent(proto: Literal["udp", "tcp"]) -> None:
    for seed in range(3):
        vpn = pair(
            "alice", "bob", proto=proto, control="tls-crypt-v2", seed=seed, loss=0.2, duplication=0.2, reordering=0.2
        )
        assert all(client.is_connected for client in vpn.clients.values())
        vpn.stop()


def test_a_key_that_fills_the_packet_leaves_tls_to_the_next() -> None:
    vpn = pair(control="tls-crypt-v2", server="max-packet-size 400", client="max-packet-size 400")
    packet = udp_packet(vpn.client.address, vpn.server.address)
    assert transfer(vpn.client, vpn.server, packet) == [packet]


# Beside each other


@pytest.mark.parametrize("proto", ["udp", "tcp"])
def test_clients_with_and_without_a_key_of_their_own_share_a_server(proto: Literal["udp", "tcp"]) -> None:
    vpn = pair("own", proto=proto, control="tls-crypt-v2", server=SHARED_BLOCK, connect=False)
    vpn._control, vpn._static_key = "tls-crypt", SHARED.to_text()
    vpn.add_client("shared")
    vpn.connect()
    for client in vpn.clients.values():
        packet = udp_packet(client.address, vpn.server.address)
        assert transfer(client, vpn.server, packet) == [packet]
    assert not drops(vpn)


def test_nobody_comes_in_without_a_key_where_there_is_no_shared_one() -> None:
    vpn = serving()
    stranger = Stranger(vpn, own_key(vpn))
    for key in (ControlKey.plain(), ControlKey.tls_crypt(SHARED, Role.CLIENT)):
        stranger.wrapping = key.new_wrapping()
        assert stranger.send(RESET._replace(opcode=Opcode.P_CONTROL_HARD_RESET_CLIENT_V2)) == []
    assert drops(vpn) == {"control-key": 2}


@pytest.mark.parametrize("control", ["tls-crypt", "tls-auth", "none"])
def test_a_server_without_it_ignores_its_clients(control: Literal["tls-crypt", "tls-auth", "none"]) -> None:
    vpn = pair(control=control)
    stranger = Stranger(vpn, own_key(vpn))
    assert stranger.send(RESET) == []
    assert drops(vpn) == {"control-key": 1}


# Clients before 2.6


def test_an_old_client_has_a_peer_at_once() -> None:
    vpn = serving()
    old = Stranger(vpn, own_key(vpn), first_packet_id=1)
    (answer,) = old.send(RESET)
    assert (answer.opcode, answer.payload) == (Opcode.P_CONTROL_HARD_RESET_SERVER_V2, b"")
    assert len(vpn.server.factory.connections) == 1
    assert old.send(RESET)[0].acks[0] == 0
    assert len(vpn.server.factory.connections) == 1


def test_force_cookie_refuses_it() -> None:
    vpn = serving()
    vpn.server.factory.demux._keyring.max_unproven = 0
    assert Stranger(vpn, own_key(vpn), first_packet_id=1).send(RESET) == []
    assert drops(vpn) == {"no-cookie": 1}
    assert len(Stranger(vpn, own_key(vpn), address=("203.0.113.8", 1)).send(RESET)) == 1


def test_a_replayed_old_first_packet_fills_nothing_up() -> None:
    vpn = serving()
    old = Stranger(vpn, own_key(vpn), first_packet_id=1)
    datagram = old.wrap(RESET)
    for number in range(MAX_UNPROVEN + 50):
        link = vpn.network.link(RunRecorder(), ("198.51.100.1", 1000 + number))
        link.send_control(datagram, SERVER_ADDRESS)
    vpn.advance(1)
    assert len(vpn.server.factory.connections) == MAX_UNPROVEN
    assert drops(vpn) == {"no-cookie": 50}
    newer = Stranger(vpn, own_key(vpn), address=("203.0.113.8", 1))
    assert newer.send(newer.returned())
    vpn.advance(120)
    assert old.send(RESET), "there is room again when the forgeries have timed out"


def test_an_old_client_that_answers_makes_room_for_others() -> None:
    vpn = serving()
    for number in range(MAX_UNPROVEN + 5):
        old = Stranger(vpn, own_key(vpn), address=("198.51.100.1", 1000 + number), first_packet_id=1)
        (answer,) = old.send(RESET)
        ack = ControlPacket(Opcode.P_ACK_V1, 0, RESET.session_id, (0,), answer.session_id)
        assert old.send(ack) == []
    assert not drops(vpn)


# Metadata


def test_max_age_is_counted_in_days_and_needs_a_time() -> None:
    vpn = serving("tls-crypt-v2-max-age 10")
    now = vpn.clock.seconds()
    for port, (metadata, admitted) in enumerate(
        [
            (timestamp_metadata(now - 10 * DAY + 60), True),
            (timestamp_metadata(now - 10 * DAY - 60), False),
            (timestamp_metadata(now + DAY), True),
            (user_metadata(b"made yesterday"), False),
            (ClientKeyMetadata(None, b""), False),
            (ClientKeyMetadata(1, bytes(7)), False),
        ]
    ):
        stranger = Stranger(vpn, own_key(vpn, metadata), address=("203.0.113.7", 6000 + port))
        assert bool(stranger.send(stranger.returned())) is admitted, metadata
    assert drops(vpn) == {"client-key": 4}


def test_a_verifier_is_asked_once_the_address_is_proven() -> None:
    choosy = Choosy(b"in force")
    vpn = serving(verifier=choosy)
    good, bad = (
        Stranger(vpn, own_key(vpn, user_metadata(data)), address=("203.0.113.7", port))
        for port, data in ((1, b"in force"), (2, b"withdrawn"))
    )
    packets = [(stranger, stranger.returned()) for stranger in (good, bad)]
    assert choosy.asked == []
    answers = [stranger.send(packet) for stranger, packet in packets]
    assert [len(answer) for answer in answers] == [1, 0]
    assert choosy.asked == [
        (user_metadata(b"in force"), ("203.0.113.7", 1)),
        (user_metadata(b"withdrawn"), ("203.0.113.7", 2)),
    ]
    assert drops(vpn) == {"client-key": 1}


def test_an_authenticator_sees_it_too() -> None:
    seen: list[ClientKeyMetadata | None] = []

    @implementer(IAuthenticator)
    class Curious:
        def authenticate(self, credentials: Credentials) -> Deferred[str]:
            seen.append(credentials.client_key)
            return succeed("somebody")

    pair(control="tls-crypt-v2", authenticator=Curious())
    pair(control="tls-crypt", authenticator=Curious())
    assert seen == [timestamp_metadata(0), None]


def test_a_verifier_is_asked_about_old_clients_too() -> None:
    vpn = serving(verifier=Choosy(b"in force"))
    assert Stranger(vpn, own_key(vpn), first_packet_id=1).send(RESET) == []
    assert vpn.server.factory.connections == {}


def test_a_refused_client_is_hung_up_on_where_there_is_a_stream() -> None:
    vpn = pair(
        proto="tcp", control="tls-crypt-v2", client_key_verifier=Choosy(b"nobody's"), client="connect-retry-max 1",
        connect=False,
    )  # fmt: skip
    vpn.server.start()
    vpn.client.start()
    vpn.advance(1)
    assert vpn.client.link.closed
    assert vpn.server.factory.connections == {}
    assert drops(vpn)["client-key"] == 1


def test_a_verifier_that_breaks_lets_nobody_in() -> None:
    @implementer(IClientKeyVerifier)
    class Broken:
        def verify(self, metadata: ClientKeyMetadata, address: Address) -> None:
            raise RuntimeError("no database")

    vpn = serving(verifier=Broken())
    stranger = Stranger(vpn, own_key(vpn))
    assert stranger.send(stranger.returned()) == []
    assert drops(vpn) == {"client-key": 1}


def test_a_verifier_is_not_asked_about_clients_without_a_key() -> None:
    choosy = Choosy(b"")
    vpn = pair("own", control="tls-crypt-v2", server=SHARED_BLOCK, client_key_verifier=choosy, connect=False)
    vpn.clients.clear()
    vpn._control, vpn._static_key = "tls-crypt", SHARED.to_text()
    vpn.add_client("shared")
    vpn.connect()
    assert choosy.asked == []


# Hostile input


@pytest.mark.parametrize("payload", ["00", "000100020001ff", "000100ff0001", "00010001ff"])
def test_a_server_that_talks_nonsense_before_tls_is_not_followed(payload: str) -> None:
    vpn = serving()
    own = own_key(vpn)
    session = ControlSession(
        Role.CLIENT,
        ControlKey.tls_crypt_v2(own).new_wrapping(),
        ControlTlsFactory(TlsContexts(client_tls(), Role.CLIENT), vpn.clock, client=True),
        offer(Role.CLIENT),
        ControlSettings(),
        RoundTrips.of_datagrams(2.0),
    )
    session.connect(0.0)
    session.datagrams_to_send(0.0)
    server = ControlKey.tls_crypt_v2_client(own.key, timestamp_metadata(0)).new_wrapping()
    reset = ControlPacket(
        Opcode.P_CONTROL_HARD_RESET_SERVER_V2, 0, b"serverid", (0,), session.session_id, 0, bytes.fromhex(payload)
    )
    with pytest.raises(MalformedPacket):
        session.receive_datagram(server.wrap(reset, 0.0), 0.0)
    (ack,) = session.datagrams_to_send(0.0)
    assert server.unwrap(ack).opcode is Opcode.P_ACK_V1


VPN = serving()
OWN = own_key(VPN)


@settings(max_examples=200)
@given(
    st.sampled_from([Opcode.P_CONTROL_HARD_RESET_CLIENT_V3, Opcode.P_CONTROL_WKC_V1]),
    st.integers(0, 600),
    st.binary(max_size=40),
    st.integers(0, 0xFFFF),
)
def test_no_tail_of_bytes_does_any_harm(opcode: Opcode, kept: int, junk: bytes, size: int) -> None:
    """Truncated packets, junk behind them, and any length at their end."""
    stranger = ControlKey.tls_crypt_v2(OWN).new_wrapping()
    whole = stranger.wrap(RESET._replace(opcode=opcode), 0.0)
    link = VPN.network.link(RunRecorder(), HERE)
    for datagram in (whole[:kept] + junk, whole[:kept] + junk + size.to_bytes(2, "big"), whole[:-2] + junk):
        if datagram and datagram != whole:
            link.send_control(datagram, SERVER_ADDRESS)
    VPN.advance(0.1)
    link.close()
    assert VPN.server.factory.connections == {}


def test_the_key_on_a_later_packet_of_a_session_changes_nothing() -> None:
    vpn = serving()
    stranger = Stranger(vpn, own_key(vpn))
    first = stranger.returned()
    stranger.send(first)
    (peer,) = vpn.server.factory.connections
    stranger.send(first._replace(message_id=2))
    other = Stranger(vpn, own_key(vpn), address=("203.0.113.9", 1))
    stranger.send_raw(other.wrap(first._replace(message_id=3)))
    assert list(vpn.server.factory.connections) == [peer]
    assert peer.drops == {"authentication": 1}
    later = first._replace(opcode=Opcode.P_ACK_V1, acks=tuple(range(MAX_ACKS)), message_id=None)
    stranger.send(later)
    assert peer.drops == {"authentication": 1}
    wrapped_ack = stranger.wrap(later) + own_key(vpn).wrapped
    stranger.send_raw(wrapped_ack)
    assert peer.drops == {"authentication": 2}


def test_first_packets_under_many_keys_leave_nothing() -> None:
    vpn = serving()
    link = vpn.network.link(RunRecorder(), HERE)
    for _ in range(300):
        own = ControlKey.tls_crypt_v2(own_key(vpn)).new_wrapping()
        link.send_control(own.wrap(RESET, vpn.clock.seconds()), SERVER_ADDRESS)
    vpn.advance(1)
    opener: Any = vpn.server.factory.demux._keyring._open_key
    assert opener.cache_info().currsize == 128
    assert vpn.server.factory.connections == {}


def test_a_replayed_first_packet_opens_no_second_session() -> None:
    vpn = serving()
    stranger = Stranger(vpn, own_key(vpn))
    reset = stranger.wrap(RESET)
    for port in range(20):
        link = vpn.network.link(RunRecorder(), ("198.51.100.1", 1000 + port))
        link.send_control(reset, SERVER_ADDRESS)
    vpn.advance(1)
    assert vpn.server.factory.connections == {}
    packet = stranger.wrap(stranger.returned())
    for _ in range(3):
        stranger.send_raw(packet)
    (peer,) = vpn.server.factory.connections
    assert peer.drops == {"replay": 2}
