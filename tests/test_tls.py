"""TLS on the reliability layer: one message a record, and silence where a session is dropped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import ITransport
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from zope.interface.verify import verifyObject

from tests.certificates import client_tls, server_tls
from twistvpn.control.reliable import Reliable
from twistvpn.control.round_trips import RoundTrips
from twistvpn.control.tls import ControlTlsFactory, ReliableTransport, drop
from twistvpn.control.verify import TlsContexts
from twistvpn.wire.roles import Role

if TYPE_CHECKING:
    from cryptography import x509
    from twisted.python.failure import Failure

APPLICATION_DATA = 0x17


class Recorder(Protocol):
    """Keeps each piece of plaintext and the reasons for the end."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.lost: list[Failure] = []

    def certificate_verified(self, certificate: x509.Certificate) -> None:
        pass

    def certificate_refused(self, why: str) -> None:
        raise AssertionError(why)

    def dataReceived(self, data: bytes) -> None:
        self.pieces.append(data)

    def connectionLost(self, reason: Failure = None) -> None:  # type: ignore[assignment]  # always given
        self.lost.append(reason)


class TlsEnd:
    def __init__(self, role: Role, max_payload: int) -> None:
        self.reliable = Reliable(RoundTrips.of_datagrams(2.0))
        self.transport = ReliableTransport(self.reliable, max_payload)
        self.protocol = Recorder()
        settings = server_tls() if role is Role.SERVER else client_tls()
        factory = ControlTlsFactory(TlsContexts(settings, role), Clock(), client=role is Role.CLIENT)
        self.tls = factory.connect(self.protocol, self.transport)

    def sent(self) -> list[bytes]:
        """The payloads that wait to leave, acknowledged at once."""
        payloads: list[bytes] = []
        while messages := self.reliable.due(0.0):
            payloads += [message.payload for message in messages]
            self.reliable.acknowledged([message.message_id for message in messages], 0.0)
        return payloads


def ends(max_payload: int = 1200) -> tuple[TlsEnd, TlsEnd]:
    """A client and a server whose handshake is complete."""
    client, server = TlsEnd(Role.CLIENT, max_payload), TlsEnd(Role.SERVER, max_payload)
    for _ in range(5):
        for source, sink in ((client, server), (server, client)):
            for payload in source.sent():
                sink.tls.dataReceived(payload)
    return client, server


def records(payloads: list[bytes]) -> list[int]:
    """The types of the TLS records in what was sent."""
    data, types = b"".join(payloads), []
    while data:
        types.append(data[0])
        data = data[5 + int.from_bytes(data[3:5], "big") :]
    return types


def test_the_transport_is_one() -> None:
    transport = ReliableTransport(Reliable(RoundTrips.of_datagrams(2.0)), 100)
    verifyObject(ITransport, transport)
    assert repr(transport.getPeer()) == repr(transport.getHost()) == "ControlChannel()"
    assert not isinstance(transport.getPeer(), IPv4Address)


def test_writes_are_cut_to_what_fits_a_packet() -> None:
    reliable = Reliable(RoundTrips.of_datagrams(2.0))
    ReliableTransport(reliable, 100).writeSequence([bytes(150), bytes(60)])
    assert [len(message.payload) for message in reliable.due(0.0)] == [100, 100, 10]


def test_each_message_is_a_record_of_its_own() -> None:
    client, server = ends()
    for text in (b"one\0", b"two\0", b"three\0"):
        client.tls.write(text)
    payloads = client.sent()
    assert len(payloads) == 3
    assert records(payloads) == [APPLICATION_DATA] * 3
    for payload in payloads:
        server.tls.dataReceived(payload)
    assert server.protocol.pieces == [b"one\0", b"two\0", b"three\0"]


def test_a_message_larger_than_a_packet_is_one_record_in_several() -> None:
    client, server = ends(max_payload=500)
    client.tls.write(bytes(2000))
    payloads = client.sent()
    assert len(payloads) > 4
    assert records(payloads) == [APPLICATION_DATA]
    for payload in payloads:
        server.tls.dataReceived(payload)
    assert server.protocol.pieces == [bytes(2000)]


def test_dropping_says_nothing_to_the_peer_and_ends_the_protocol() -> None:
    client, server = ends()
    drop(client.tls, client.transport)
    assert client.sent() == []
    assert len(client.protocol.lost) == 1
    assert server.protocol.lost == []


def test_losing_the_connection_tells_the_peer() -> None:
    client, server = ends()
    client.tls.loseConnection()
    payloads = client.sent()
    assert len(payloads) == 1
    server.tls.dataReceived(payloads[0])
    assert len(server.protocol.lost) <= 1


def test_after_the_end_nothing_more_is_written() -> None:
    for end in (ReliableTransport.loseConnection, ReliableTransport.abortConnection, ReliableTransport.detach):
        reliable = Reliable(RoundTrips.of_datagrams(2.0))
        transport = ReliableTransport(reliable, 100)
        transport.write(b"queued")
        end(transport)
        transport.write(b"late")
        assert transport.disconnecting
        assert [message.payload for message in reliable.due(0.0)] == [b"queued"]
