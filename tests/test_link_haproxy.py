"""Headers of the PROXY protocol from the network, in memory."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactor, StringTransport
from twisted.logger import LogLevel, capturedLogs, formatEvent

from tests.recorders import RunRecorder
from twistvpn.interfaces import single
from twistvpn.link.haproxy import server_endpoint
from twistvpn.link.strangers import Strangers
from twistvpn.link.stream import StreamLinkFactory
from twistvpn.wire.framing import frame_one

PROXY = IPv4Address("TCP", "192.0.2.200", 40000)


def connect(recorder: RunRecorder) -> tuple[Any, StringTransport]:
    reactor = MemoryReactor()
    server_endpoint(reactor, "haproxy:tcp:1194", Strangers(Clock().seconds)).listen(
        StreamLinkFactory(recorder, Clock())
    )
    protocol: Any = reactor.tcpServers[0][1].buildProtocol(PROXY)
    transport = StringTransport(peerAddress=PROXY)
    protocol.makeConnection(transport)
    return protocol, transport


def test_the_client_is_whom_the_header_names() -> None:
    recorder = RunRecorder()
    protocol, _ = connect(recorder)
    protocol.dataReceived(b"PROXY TCP4 203.0.113.5 192.0.2.1 4711 443\r\n" + frame_one(b"one"))
    assert recorder.batches == [[(single(b"one"), ("203.0.113.5", 4711))]]


def test_nobody_hears_of_factories() -> None:
    reactor = MemoryReactor()
    endpoint = server_endpoint(reactor, "haproxy:tcp:1194", Strangers(Clock().seconds))
    endpoint.listen(StreamLinkFactory(RunRecorder(), Clock()))
    with capturedLogs() as logged:
        reactor.tcpServers[0][1].doStart()
    assert logged == []


WORDS = st.sampled_from([b"TCP4", b"TCP6", b"UNKNOWN", b"203.0.113.5", b"\xff", b"99999", b"-1", b"x", b"::1", b""])
V1 = st.lists(WORDS, max_size=8).map(lambda words: b"PROXY " + b" ".join(words) + b"\r\n")
V2 = st.tuples(st.integers(0, 255), st.integers(0, 255), st.sampled_from([0, 4, 12, 36, 216]), st.binary(max_size=230))


@given(V1 | V2.map(lambda v: b"\r\n\r\n\0\r\nQUIT\n" + bytes(v[:2]) + v[2].to_bytes(2, "big") + v[3]) | st.binary())
def test_whatever_comes_in_the_place_of_a_header_raises_nothing(header: bytes) -> None:
    with capturedLogs() as logged:
        protocol, _ = connect(RunRecorder())
        protocol.dataReceived(header)
        protocol.dataReceived(b"\0")
    assert [event for event in logged if event["log_level"] >= LogLevel.error] == []


@pytest.mark.parametrize("header", [b"PROXY TCP4 203.0.113.5 192.0.2.1 x 443\r\n", b"PROXY TCP4 \xff \xff 1 2\r\n"])
def test_a_header_that_is_none_ends_the_connection(header: bytes) -> None:
    protocol, transport = connect(RunRecorder())
    protocol.dataReceived(header)
    assert transport.disconnected


@pytest.mark.parametrize("header", [b"GET / HTTP/1.1\r\n\r\n", b"PROXY TCP4 x\r\n"])
def test_a_connection_without_a_header_is_told_of_once(header: bytes) -> None:
    with capturedLogs() as logged:
        protocol, _ = connect(RunRecorder())
        protocol.dataReceived(header)
        protocol.dataReceived(header)
    told = [text for event in logged if "no PROXY header" in (text := formatEvent(event) or "")]
    assert len(told) == 1
    assert told[0].startswith("192.0.2.200:40000: closing the connection: no PROXY header")


def test_other_endpoints_are_twisteds() -> None:
    reactor = MemoryReactor()
    server_endpoint(reactor, "tcp:1194", Strangers(Clock().seconds)).listen(StreamLinkFactory(RunRecorder(), Clock()))
    assert reactor.tcpServers[0][0] == 1194
