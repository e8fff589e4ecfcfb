"""The key exchange and the messages behind it, apart from TLS."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from tests.control_ends import offer
from twistvpn.control.exchange import KeyExchange
from twistvpn.errors import NegotiationError
from twistvpn.wire.keymethod import KeyMethod2, decode_client, decode_server, encode_client, encode_server
from twistvpn.wire.roles import Role


class Session:
    """Keeps what the exchange reports."""

    def __init__(self) -> None:
        self.done: list[KeyExchange] = []
        self.texts: list[str] = []
        self.lost: list[tuple[BaseException, str | None]] = []

    def answer(self, local: KeyMethod2, remote: KeyMethod2) -> KeyMethod2:
        return local

    def exchange_done(self, exchange: KeyExchange) -> None:
        self.done.append(exchange)

    def message_received(self, text: str) -> None:
        self.texts.append(text)

    def exchange_lost(self, exchange: KeyExchange, reason: BaseException, refusal: str | None) -> None:
        self.lost.append((reason, refusal))


class Fixture:
    def __init__(self, role: Role) -> None:
        self.session = Session()
        self.exchange = KeyExchange(offer(role)(), self.session)
        self.transport = StringTransport()
        self.exchange.makeConnection(self.transport)  # type: ignore[no-untyped-call]
        self.exchange.handshakeCompleted()

    def written(self) -> bytes:
        data: bytes = self.transport.value()
        self.transport.clear()
        return data


CLIENT_SAYS, SERVER_SAYS = encode_client(offer(Role.CLIENT)()), encode_server(offer(Role.SERVER)())


def test_the_client_speaks_first_and_the_server_answers() -> None:
    client, server = Fixture(Role.CLIENT), Fixture(Role.SERVER)
    assert server.written() == b""
    said = client.written()
    assert decode_client(said) == (client.exchange.local, b"")
    server.exchange.dataReceived(said)
    answer = server.written()
    assert decode_server(answer) == (server.exchange.local, b"")
    client.exchange.dataReceived(answer)
    assert client.session.done == [client.exchange]
    assert client.exchange.remote == server.exchange.local
    assert server.exchange.remote == client.exchange.local


def test_a_message_in_pieces_is_put_together() -> None:
    for cut in (1, 60, 120, len(CLIENT_SAYS) - 1):
        server = Fixture(Role.SERVER)
        server.exchange.dataReceived(CLIENT_SAYS[:cut])
        assert server.session.done == []
        server.exchange.dataReceived(CLIENT_SAYS[cut:])
        assert server.session.done == [server.exchange]


def test_messages_come_in_order_with_and_without_company() -> None:
    client = Fixture(Role.CLIENT)
    client.exchange.dataReceived(SERVER_SAYS + b"with the keys\0")
    client.exchange.dataReceived(b"one\0two\0\0thr")
    client.exchange.dataReceived(b"ee\0")
    assert client.session.texts == ["with the keys", "one", "two", "three"]


def test_a_message_is_sent_with_its_nul() -> None:
    server = Fixture(Role.SERVER)
    server.exchange.send("PUSH_REPLY,ping 10")
    assert server.written() == b"PUSH_REPLY,ping 10\0"


def test_the_wrong_key_method_is_refused() -> None:
    server = Fixture(Role.SERVER)
    server.exchange.dataReceived(b"\0\0\0\0\1" + CLIENT_SAYS[5:])
    ((error, refusal),) = server.session.lost
    assert isinstance(error, NegotiationError)
    assert "key method 1" in str(error)
    assert refusal is None


def test_an_endless_message_is_refused() -> None:
    client = Fixture(Role.CLIENT)
    client.exchange.dataReceived(SERVER_SAYS)
    client.exchange.dataReceived(b"x" * 5000)
    ((error, _),) = client.session.lost
    assert "too long" in str(error)


def test_an_endless_key_exchange_is_refused() -> None:
    server = Fixture(Role.SERVER)
    server.exchange.dataReceived(CLIENT_SAYS[:117] + b"\x30\x00" + b"x" * 5000)
    ((error, _),) = server.session.lost
    assert "too long" in str(error)


def test_the_first_thing_against_a_certificate_is_what_is_told() -> None:
    client = Fixture(Role.CLIENT)
    client.exchange.certificate_refused("it has expired")
    client.exchange.certificate_refused("another thing")
    reason = ConnectionDone()
    client.exchange.connectionLost(Failure(reason))
    assert client.session.lost == [(reason, "it has expired")]


def test_before_it_is_connected_nothing_is_sent() -> None:
    exchange = KeyExchange(offer(Role.CLIENT)(), Session())
    exchange.send("into the void")
    assert exchange.transport is None


@given(st.lists(st.binary(max_size=300), max_size=8))
def test_any_bytes_are_messages_or_a_refusal(pieces: list[bytes]) -> None:
    for role, greeting in ((Role.SERVER, CLIENT_SAYS), (Role.CLIENT, SERVER_SAYS)):
        for first in (b"", greeting):
            end = Fixture(role)
            end.exchange.dataReceived(first)
            for piece in pieces:
                end.exchange.dataReceived(piece)
            assert all(isinstance(error, NegotiationError) for error, _ in end.session.lost)
