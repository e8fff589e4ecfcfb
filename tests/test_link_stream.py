"""Stream links on a transport in memory, and over TCP."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any, cast

from twisted.internet import defer, task
from twisted.internet.address import IPv6Address, UNIXAddress
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IPushProducer
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.protocols.haproxy._v2parser import V2Parser
from twisted.protocols.haproxy._wrapper import HAProxyWrappingFactory
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.recorders import RunRecorder
from tests.running import in_reactor
from twistvpn.interfaces import Address, ILink, Run, single
from twistvpn.link.stream import (
    IDLE_TIMEOUT,
    LINGER,
    LONGEST_FRAME,
    MAX_FRAME,
    StreamLink,
    StreamLinkFactory,
    largest_frame,
)
from twistvpn.wire.framing import frame_one

if TYPE_CHECKING:
    from collections.abc import Sequence

PEER: Address = ("198.51.100.2", 40000)


def framed(*datagrams: bytes) -> bytes:
    return b"".join(frame_one(datagram) for datagram in datagrams)


class StreamLinkTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.recorder = RunRecorder()
        self.transport = StringTransport(peerAddress=IPv6Address("TCP", "2001:db8::7", 40000))
        self.link = self.connect(self.transport)

    def connect(self, transport: StringTransport, queue_limit: int = 1000) -> StreamLink:
        factory = StreamLinkFactory(self.recorder, self.clock, queue_limit=queue_limit)
        link = factory.buildProtocol(None)
        link.makeConnection(transport)  # type: ignore[no-untyped-call]  # it is Twisted's
        return link

    def sent(self) -> bytes:
        data: bytes = self.transport.value()
        self.transport.clear()
        return data

    def test_it_provides_the_interfaces(self) -> None:
        verifyObject(ILink, self.link)
        verifyObject(IPushProducer, self.link)
        assert self.link.is_stream
        assert self.transport.producer is self.link
        assert self.transport.streaming
        self.link.set_tos(0xB8)  # there is no socket to set it on

    def test_what_one_read_completes_is_one_batch(self) -> None:
        self.link.dataReceived(framed(b"one", b"two") + b"\0")
        self.link.dataReceived(b"\5thr")
        self.link.dataReceived(b"ee")
        peer = ("2001:db8::7", 40000)
        assert self.recorder.batches == [
            [(Run(b"onetwo", 3), peer)],
            [(single(b"three"), peer)],
        ]
        assert self.recorder.links == [self.link, self.link]

    def test_it_may_arrive_byte_by_byte(self) -> None:
        for byte in framed(b"one", b"x" * MAX_FRAME):
            self.link.dataReceived(bytes([byte]))
        assert self.recorder.datagrams == [b"one", b"x" * MAX_FRAME]

    def test_every_datagram_of_a_run_leaves_with_its_length(self) -> None:
        self.link.send_runs([Run(b"aaaabbbbcc", 4), single(b"alone")], PEER)
        self.link.send_control(b"control", PEER)
        assert self.sent() == framed(b"aaaa", b"bbbb", b"cc", b"alone", b"control")

    def test_a_full_transport_makes_data_wait_and_control_overtake_it(self) -> None:
        self.link.pauseProducing()
        self.link.send_runs([Run(b"aaaabb", 4)], PEER)
        self.link.send_control(b"control", PEER)
        self.link.send_runs([single(b"later")], PEER)
        assert self.sent() == framed(b"control")
        self.link.resumeProducing()
        assert self.sent() == framed(b"aaaa", b"bb", b"later")
        self.link.send_runs([single(b"free again")], PEER)
        assert self.sent() == framed(b"free again")

    def test_beyond_the_bound_the_newest_is_dropped_and_counted(self) -> None:
        self.link.pauseProducing()
        self.link.send_runs([single(b"x" * 900), Run(b"y" * 300, 100), single(b"z" * 50)], PEER)
        self.link.send_control(b"c" * 2000, PEER)
        assert self.link.drops == {"full": 3}
        self.sent()
        self.link.resumeProducing()
        assert self.sent() == framed(b"x" * 900, b"z" * 50)

    def test_what_no_length_can_tell_is_dropped_and_counted(self) -> None:
        too_long = bytes(LONGEST_FRAME + 1)
        self.link.send_runs([single(b"before"), single(too_long), Run(2 * too_long, len(too_long))], PEER)
        assert self.sent() == framed(b"before")
        assert self.link.drops == {"too-long": 3}

    def test_a_large_mtu_makes_room_for_long_packets(self) -> None:
        assert largest_frame(1500) == MAX_FRAME
        assert 9000 < largest_frame(9000) < 9500
        assert largest_frame(65535) == LONGEST_FRAME
        factory = StreamLinkFactory(self.recorder, self.clock, max_frame=largest_frame(9000))
        link = factory.buildProtocol(None)
        link.makeConnection(StringTransport())  # type: ignore[no-untyped-call]  # it is Twisted's
        link.dataReceived(framed(bytes(9100)))
        assert self.recorder.datagrams == [bytes(9100)]

    def test_a_malformed_length_ends_the_connection(self) -> None:
        for data in (b"\0\0", b"GET / HTTP/1.1\r\n", b"\x16\x03\x01\x02"):
            transport = StringTransport()
            link = self.connect(transport)
            link.dataReceived(data)
            assert transport.disconnected
            assert link.drops == {"malformed": 1}
            link.dataReceived(framed(b"late"))
        assert self.recorder.batches == []

    def test_a_connection_that_stays_silent_is_closed(self) -> None:
        self.link.dataReceived(b"\0")
        self.clock.advance(IDLE_TIMEOUT - 1)
        assert not self.transport.disconnected
        self.clock.advance(1)
        assert self.transport.disconnected

    def test_the_first_packet_ends_the_wait(self) -> None:
        self.link.dataReceived(framed(b"hello"))
        assert self.clock.getDelayedCalls() == []

    def test_a_lost_connection_is_told_once_and_leaves_no_timer(self) -> None:
        self.link.pauseProducing()
        self.link.send_runs([single(b"data")], PEER)
        reason = Failure(ConnectionDone())
        self.link.connectionLost(reason)
        assert self.recorder.lost == [reason]
        assert self.clock.getDelayedCalls() == []
        self.link.send_runs([Run(b"aab", 2)], PEER)
        self.link.send_control(b"late", PEER)
        self.link.close()
        assert self.link.drops == {"closed": 3}

    def test_close_lets_what_is_queued_leave(self) -> None:
        self.link.pauseProducing()
        self.link.send_runs([single(b"last words")], PEER)
        self.link.close()
        self.link.close()
        assert self.sent() == framed(b"last words")
        assert self.transport.disconnecting
        assert self.transport.producer is None
        self.link.send_control(b"late", PEER)
        self.link.dataReceived(framed(b"late"))
        assert self.sent() == b""
        assert self.recorder.batches == []

    def test_a_peer_that_does_not_drain_cannot_hold_a_closed_link(self) -> None:
        self.link.close()
        self.clock.advance(LINGER - 1)
        assert not self.transport.disconnected
        self.clock.advance(1)
        assert self.transport.disconnected

    def test_a_receiver_that_fails_does_not_end_the_link(self) -> None:
        class Failing(RunRecorder):
            def runs_received(self, link: ILink, batch: Sequence[tuple[Run, Address]]) -> None:
                super().runs_received(link, batch)
                raise ZeroDivisionError

        self.recorder = Failing()
        link = self.connect(StringTransport())
        link.dataReceived(framed(b"one"))
        link.dataReceived(framed(b"two"))
        assert self.recorder.datagrams == [b"one", b"two"]
        assert len(self.flushLoggedErrors(ZeroDivisionError)) == 2  # type: ignore[no-untyped-call]  # it is trial's

    def test_a_peer_without_host_and_port_has_an_address_too(self) -> None:
        link = self.connect(StringTransport(UNIXAddress(b"/run/vpn.sock"), UNIXAddress(None)))
        link.dataReceived(framed(b"hello"))
        assert self.recorder.batches == [[(single(b"hello"), ("unix", 0))]]
        assert link.local == "unix:/run/vpn.sock"

    def behind_a_proxy(self, header: bytes) -> StreamLink:
        proxied = HAProxyWrappingFactory(StreamLinkFactory(self.recorder, self.clock))
        self.transport = StringTransport(peerAddress=IPv6Address("TCP", "2001:db8::7", 40000))
        protocol: Any = proxied.buildProtocol(IPv6Address("TCP", "2001:db8::7", 40000))
        protocol.makeConnection(self.transport)
        link: StreamLink = protocol.wrappedProtocol
        assert link.address == ("2001:db8::7", 40000)
        protocol.dataReceived(header)
        protocol.dataReceived(framed(b"one"))
        return link

    def test_behind_a_proxy_the_address_is_the_clients(self) -> None:
        link = self.behind_a_proxy(b"PROXY TCP4 203.0.113.5 192.0.2.1 4711 443\r\n")
        assert self.recorder.batches == [[(single(b"one"), ("203.0.113.5", 4711))]]
        assert link.address == ("203.0.113.5", 4711)
        assert link.local == "tcp:192.0.2.1:443"

    def test_behind_a_proxy_that_speaks_the_second_version(self) -> None:
        ends = b"".join(socket.inet_pton(socket.AF_INET6, host) for host in ("2001:db8::5", "2001:db8::1"))
        body = ends + (4711).to_bytes(2, "big") + (443).to_bytes(2, "big") + b"\4\0\1x"
        header = V2Parser.PREFIX + b"\x21\x21" + len(body).to_bytes(2, "big") + body
        assert self.behind_a_proxy(header).address == ("2001:db8::5", 4711)

    def test_a_proxy_that_asks_for_itself_has_its_own_address(self) -> None:
        assert self.behind_a_proxy(V2Parser.PREFIX + b"\x20\0\0\0").address == ("2001:db8::7", 40000)

    def test_what_is_no_address_is_not_shown(self) -> None:
        assert self.behind_a_proxy(b"PROXY TCP4 \x1b[2J 192.0.2.1 4711 443\r\n").address == ("unknown", 0)

    def test_local_is_for_people(self) -> None:
        transport = StringTransport(hostAddress=IPv6Address("TCP", "::ffff:192.0.2.1", 1194))
        assert self.connect(transport).local == "tcp:192.0.2.1:1194"


class Meeting(RunRecorder):
    """Counts datagrams as they come in, and tells when the link is lost."""

    def __init__(self) -> None:
        super().__init__()
        self.left: defer.Deferred[None] = defer.Deferred()
        self._waiting: list[tuple[int, defer.Deferred[None]]] = []
        self._count = 0

    def arrived(self, count: int) -> defer.Deferred[None]:
        """Fire when `count` datagrams in all have come, fail after 10 seconds."""
        done: defer.Deferred[None] = defer.Deferred()
        self._waiting.append((count, done))
        self._tell()
        return done.addTimeout(10, the_reactor())

    def runs_received(self, link: ILink, batch: Sequence[tuple[Run, Address]]) -> None:
        super().runs_received(link, batch)
        self._count = len(self.datagrams)
        self._tell()

    def link_lost(self, link: ILink, reason: Failure) -> None:
        super().link_lost(link, reason)
        self.left.callback(None)

    def _tell(self) -> None:
        due = [item for item in self._waiting if item[0] <= self._count]
        self._waiting = [item for item in self._waiting if item[0] > self._count]
        for _, done in due:
            done.callback(None)


def the_reactor() -> Any:
    from twisted.internet import reactor

    return reactor


async def meet(at_server: Meeting, at_client: Meeting) -> tuple[StreamLink, StreamLink]:
    """Return the server's and the client's end of a TCP connection over which one datagram has come."""
    reactor = the_reactor()
    port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(StreamLinkFactory(at_server, reactor))
    endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port)
    client = cast("StreamLink", await endpoint.connect(StreamLinkFactory(at_client, reactor)))
    client.send_control(b"hello", client.address)
    await at_server.arrived(1)
    await port.stopListening()
    return cast("StreamLink", at_server.links[0]), client


@in_reactor
async def test_over_tcp_all_arrives_in_order_and_both_ends_learn_of_the_close() -> None:
    at_server, at_client = Meeting(), Meeting()
    server, client = await meet(at_server, at_client)
    datagrams = [b"%05d" % number * 20 for number in range(1000)]
    client.send_runs([Run(b"".join(datagrams), 100)], client.address)
    server.send_control(b"welcome", server.address)
    await at_server.arrived(1001)
    await at_client.arrived(1)
    assert at_server.datagrams == [b"hello", *datagrams]
    assert at_client.datagrams == [b"welcome"]
    assert at_client.batches[0][0][1] == client.address
    client.close()
    for meeting in (at_server, at_client):
        await meeting.left.addTimeout(10, the_reactor())
    assert not client.drops


@in_reactor
async def test_over_tcp_a_peer_that_does_not_drain_costs_bounded_memory() -> None:
    at_server, at_client = Meeting(), Meeting()
    server, client = await meet(at_server, at_client)
    drain = cast("IPushProducer", server.transport)
    drain.pauseProducing()
    sent = 0
    while not client.drops["full"]:
        client.send_runs([Run(bytes(60000), 1000)], client.address)
        sent += 60
        await task.deferLater(the_reactor(), 0)
    client.send_control(b"control", client.address)
    drain.resumeProducing()
    arriving = 1 + sent - client.drops["full"] + 1
    await at_server.arrived(arriving)
    assert at_server.datagrams.index(b"control") < arriving - 1
    client.close()
    await at_server.left.addTimeout(10, the_reactor())


@in_reactor
async def test_over_tcp_another_protocol_is_hung_up_on() -> None:
    at_server, at_client = Meeting(), Meeting()
    server, client = await meet(at_server, at_client)
    assert client.transport is not None
    client.transport.write(b"GET / HTTP/1.1\r\n")
    for meeting in (at_server, at_client):
        await meeting.left.addTimeout(10, the_reactor())
    assert server.drops == {"malformed": 1}
    assert at_server.datagrams == [b"hello"]


@in_reactor
async def test_over_tcp_the_type_of_service_is_set_on_the_socket_below() -> None:
    at_server, at_client = Meeting(), Meeting()
    _, client = await meet(at_server, at_client)
    client.set_tos(0xB8)
    sock = cast("Any", client.transport).socket
    assert sock.getsockopt(socket.IPPROTO_IP, socket.IP_TOS) == 0xB8
    client.close()
    for meeting in (at_server, at_client):
        await meeting.left.addTimeout(10, the_reactor())
    client.set_tos(0)
