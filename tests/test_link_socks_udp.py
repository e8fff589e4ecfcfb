"""Datagrams by a SOCKS proxy: what goes on the wire, and what becomes of what a proxy may say."""

from __future__ import annotations

import select
import socket
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactor, StringTransport
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from tests.recorders import RunRecorder
from tests.test_link_proxies import Underneath
from twistvpn.interfaces import ILink, ILinkReceiver, Run
from twistvpn.link.proxies import ProxyRefusal, read_socks_address, socks_address
from twistvpn.link.sockets import open_udp_socket
from twistvpn.link.socks_udp import Association, SocksUdpLink, associate

if TYPE_CHECKING:
    from collections.abc import Iterator

TARGET = ("192.0.2.1", 1194)
HEADER = b"\0\0\0\1\xc0\0\2\1\x04\xaa"
ELSEWHERE = b"\0\0\0\1\xc0\0\2\7\x04\xaa"


class Relay:
    """The proxy's end, and our link towards it."""

    def __init__(self, target: tuple[str, int] = TARGET) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.settimeout(10)
        self.socket.bind(("127.0.0.1", 0))
        self.recorder = RunRecorder()
        self.transport = StringTransport()
        self.association = Association()
        self.association.relay = self.socket.getsockname()
        self.association.makeConnection(self.transport)  # type: ignore[no-untyped-call]  # it is Twisted's
        reactor = MemoryReactor()
        self.link = SocksUdpLink(reactor, open_udp_socket("127.0.0.1"), self.association, target, self.recorder)
        self.below = self.link._below

    def say(self, *datagrams: bytes) -> None:
        """Let the link receive."""
        for datagram in datagrams:
            self.socket.sendto(datagram, self.below._socket.getsockname())
        wanted = len(datagrams)
        while wanted:
            assert select.select([self.below], [], [], 10)[0]
            before = sum(self.link.drops.values()) + len(self.recorder.datagrams)
            assert self.below.doRead() is None
            wanted -= sum(self.link.drops.values()) + len(self.recorder.datagrams) - before

    def close(self) -> None:
        self.link.close()
        self.socket.close()


@pytest.fixture
def relay() -> Iterator[Relay]:
    made = Relay()
    yield made
    made.close()


def test_it_provides_the_interfaces(relay: Relay) -> None:
    verifyObject(ILink, relay.link)
    verifyObject(ILinkReceiver, relay.link)
    assert relay.link.address == TARGET
    assert relay.link.header_size == len(HEADER)


def test_each_datagram_has_a_header_on_its_way_there(relay: Relay) -> None:
    relay.link.send_control(b"control", TARGET)
    relay.link.send_runs([Run(b"aaaabbbbcc", 4), Run(b"dd", 2)], TARGET)
    relay.link.send_control(b"moved", ("192.0.2.7", 1194))
    told = [relay.socket.recv(100) for _ in range(6)]
    assert told == [HEADER + text for text in (b"control", b"aaaa", b"bbbb", b"cc", b"dd")] + [ELSEWHERE + b"moved"]


def test_headers_come_off_and_runs_stay_together(relay: Relay) -> None:
    relay.say(*(HEADER + text for text in (b"aaaa", b"bbbb", b"cc")), ELSEWHERE + b"dd", HEADER + b"e")
    told = [(bytes(run.data), run.size, source) for batch in relay.recorder.batches for run, source in batch]
    assert b"".join(data for data, _, _ in told) == b"aaaabbbbccdde"
    assert told[-2:] == [(b"dd", 2, ("192.0.2.7", 1194)), (b"e", 1, TARGET)]


def test_a_name_is_the_proxys_to_look_up() -> None:
    relay = Relay(("vpn.example.org", 1194))
    relay.link.send_control(b"control", relay.link.address)
    assert relay.socket.recv(100) == b"\0\0\0\3\x0fvpn.example.org\x04\xaacontrol"
    relay.say(HEADER + b"answer", b"\0\0\0\3\1x\x04\xaaanother")
    assert {source for batch in relay.recorder.batches for _, source in batch} == {("vpn.example.org", 1194)}
    relay.close()


def test_what_has_no_header_or_is_from_elsewhere_is_dropped(relay: Relay) -> None:
    fragment = b"\0\0\1" + HEADER[3:] + b"part"
    relay.say(fragment, b"\0\0\0", HEADER[:9], HEADER, b"\0\0\0\2" + bytes(20), b"\0\0\0\3\xff" + bytes(20), b"x")
    assert relay.link.drops == {"malformed": 7}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.sendto(HEADER + b"hello", relay.below._socket.getsockname())
        assert select.select([relay.below], [], [], 10)[0]
        relay.below.doRead()
    assert relay.link.drops == {"malformed": 7, "unknown-source": 1}
    assert not relay.recorder.datagrams


@given(st.binary(max_size=300), st.integers(0, 20))
def test_addresses_are_read_or_not(datagram: bytes, at: int) -> None:
    read = read_socks_address(datagram, at)
    if read is not None:
        source, end = read
        assert at < end <= len(datagram)
        if source is not None:
            written = socks_address(source[0], source[1])
            assert read_socks_address(written, 0) == (source, len(written))


def test_an_ipv4_address_in_the_spelling_of_ipv6_is_ipv4() -> None:
    mapped = b"\4" + bytes(10) + b"\xff\xff\xc0\0\2\1\x04\xaa"
    assert read_socks_address(mapped, 0) == (("192.0.2.1", 1194), len(mapped))


def test_the_link_ends_with_the_connection(relay: Relay) -> None:
    relay.association.dataReceived(b"whatever")
    reason = Failure(ConnectionLost())
    relay.association.connectionLost(reason)
    assert (relay.recorder.links, relay.recorder.lost) == ([relay.link], [reason])
    relay.link.send_control(b"late", TARGET)
    assert relay.link.drops == {"closed": 1}


def test_the_connection_ends_with_the_link(relay: Relay) -> None:
    relay.below.connectionLost(Failure(ConnectionLost()))
    assert relay.transport.disconnecting or relay.transport.disconnected
    assert len(relay.recorder.lost) == 1


@pytest.mark.parametrize(
    ("bound", "relay_at"),
    [
        (b"\1\x0a\0\0\5\x04\xd2", ("10.0.0.5", 1234)),
        (b"\1\0\0\0\0\x04\xd2", ("192.0.2.9", 1234)),
        (b"\4" + bytes(16) + b"\x04\xd2", ("192.0.2.9", 1234)),
        (b"\4" + bytes(15) + b"\1\x04\xd2", ("::1", 1234)),
        (b"\1\x0a\0\0\5\0\0", None),
        (b"\3\1x\x04\xd2", None),
        (b"\3\0\x04\xd2", None),
    ],
)
def test_where_the_proxy_takes_datagrams(bound: bytes, relay_at: tuple[str, int] | None) -> None:
    underneath, clock = Underneath(), Clock()
    asked: Deferred[Any] = ensureDeferred(associate(underneath, "192.0.2.9", None, clock, 10))  # type: ignore[arg-type]
    results: list[Any] = []
    asked.addBoth(results.append)
    protocol = underneath.protocol
    protocol.dataReceived(b"\5\0")
    assert underneath.transport.value() == b"\5\1\0" + b"\5\3\0\1" + bytes(6)
    protocol.dataReceived(b"\5\0\0" + bound)
    (result,) = results
    if relay_at is None:
        assert result.check(ProxyRefusal)
        assert "which is no address" in result.getErrorMessage()
        assert underneath.transport.disconnecting or underneath.transport.disconnected
    else:
        assert result.relay == relay_at
