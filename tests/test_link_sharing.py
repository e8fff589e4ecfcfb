"""One port for OpenVPN and another protocol: who gets a connection, and what passes between joined ends."""

from __future__ import annotations

import os
import socket
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, cast

import pytest
from twisted.internet.defer import Deferred, fail
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.internet.threads import deferToThread
from twisted.logger import capturedLogs

from tests.recorders import RunRecorder
from tests.running import in_reactor
from twistvpn.interfaces import single
from twistvpn.link import sharing
from twistvpn.link.relay import CLOSING
from twistvpn.link.sharing import PortShare, SharedPortFactory
from twistvpn.link.sockets import listen_tcp, open_tcp_listener
from twistvpn.link.stream import IDLE_TIMEOUT, StreamLinkFactory
from twistvpn.wire.framing import Opening, frame_one, judge_opening

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from twistvpn.link.sharing import SharedConnection

RESET_V2 = frame_one(b"\x38" + bytes(13))
RESET_V3 = frame_one(b"\x50" + bytes(400))


@pytest.mark.parametrize(
    ("opcode", "size", "verdict"),
    [
        (0x38, 13, Opening.OTHER),
        (0x38, 14, Opening.OPENVPN),
        (0x38, 255, Opening.OPENVPN),
        (0x38, 256, Opening.OTHER),
        (0x50, 335, Opening.OTHER),
        (0x50, 336, Opening.OPENVPN),
        (0x50, 1278, Opening.OPENVPN),
        (0x50, 1279, Opening.OTHER),
        (0x20, 100, Opening.OTHER),
        (0x39, 100, Opening.OTHER),
    ],
)
def test_the_first_three_bytes_decide(opcode: int, size: int, verdict: Opening) -> None:
    opening = size.to_bytes(2, "big") + bytes([opcode])
    assert judge_opening(opening) is judge_opening(opening + b"more") is verdict


def test_fewer_bytes_decide_where_they_rule_openvpn_out_and_never_otherwise() -> None:
    for length in range(1 << 16):
        opening = length.to_bytes(2, "big")
        verdicts = {judge_opening(opening + bytes([opcode])) for opcode in (0x38, 0x50, 0)}
        expected = Opening.UNDECIDED if Opening.OPENVPN in verdicts else Opening.OTHER
        assert judge_opening(opening) is expected
        if expected is Opening.UNDECIDED:
            assert judge_opening(opening[:1]) is Opening.UNDECIDED
    assert judge_opening(b"") is Opening.UNDECIDED
    for start in (b"\x16", b"G", b"S"):
        assert judge_opening(start) is Opening.OTHER


class Endpoint:
    """Reaches nobody until it is told what comes of it."""

    def __init__(self) -> None:
        self.attempts: list[Deferred[Any]] = []
        self.factories: list[Any] = []
        self.refuses = False

    def connect(self, factory: Any) -> Deferred[Any]:
        if self.refuses:
            return fail(Refused())
        self.factories.append(factory)
        self.attempts.append(Deferred())
        return self.attempts[-1]

    def reach(self) -> StringTransport:
        """The transport of the last attempt, which has been successful."""
        far = self.factories[-1].buildProtocol(None)
        transport = StringTransport()
        far.makeConnection(transport)
        self.attempts[-1].callback(far)
        return transport


class Bench:
    """A shared port in memory."""

    def __init__(self, journal: str | None = None) -> None:
        self.clock = Clock()
        self.recorder = RunRecorder()
        self.endpoint = cast("Any", Endpoint())
        self.share = PortShare(self.endpoint, "the website", self.clock, journal)
        self.factory = SharedPortFactory(StreamLinkFactory(self.recorder, self.clock), self.share, self.clock)

    def connect(self) -> tuple[SharedConnection, StringTransport]:
        protocol = self.factory.buildProtocol(None)
        transport = StringTransport()
        protocol.makeConnection(transport)  # type: ignore[no-untyped-call]  # it is Twisted's
        return protocol, transport


@pytest.mark.parametrize("opening", [RESET_V2, RESET_V3], ids=["V2", "V3"])
@pytest.mark.parametrize("step", [1, 2, 1000])
def test_openvpn_is_a_link_however_its_bytes_come(opening: bytes, step: int) -> None:
    bench = Bench()
    connection, transport = bench.connect()
    for start in range(0, len(opening), step):
        connection.dataReceived(opening[start : start + step])
    connection.dataReceived(frame_one(b"more"))
    assert bench.recorder.datagrams == [opening[2:], b"more"]
    assert transport.producer is bench.recorder.links[0]
    connection.readConnectionLost()
    assert transport.disconnecting
    connection.connectionLost()
    assert len(bench.recorder.lost) == 1
    assert not bench.clock.getDelayedCalls()


def test_anything_else_waits_for_the_server_behind_and_is_handed_on() -> None:
    bench = Bench()
    connection, near = bench.connect()
    connection.dataReceived(b"G")
    assert near.producerState == "paused"
    connection.dataReceived(b"ET /")
    far = bench.endpoint.reach()
    assert near.producerState == "producing"
    connection.dataReceived(b" HTTP/1.1")
    assert far.value() == b"GET / HTTP/1.1"
    assert (near.producer, far.producer) == (far, near)
    assert bench.recorder.links == []


def test_who_says_nothing_or_too_little_is_hung_up_on() -> None:
    bench = Bench()
    for said in (b"", b"\0", b"\0\x20"):
        connection, transport = bench.connect()
        connection.dataReceived(said) if said else None
        bench.clock.advance(IDLE_TIMEOUT)
        assert transport.disconnected or transport.disconnecting
    connection, transport = bench.connect()
    connection.readConnectionLost()
    assert transport.disconnected or transport.disconnecting
    connection.connectionLost()
    assert not bench.clock.getDelayedCalls()


def test_a_server_behind_that_is_away_is_told_once_and_again_when_it_had_been_there() -> None:
    bench = Bench()
    bench.endpoint.refuses = True
    with capturedLogs() as logged:
        for _ in range(3):
            connection, transport = bench.connect()
            connection.dataReceived(b"GET")
            assert transport.disconnected or transport.disconnecting
            connection.connectionLost()
        bench.endpoint.refuses = False
        connection, _ = bench.connect()
        connection.dataReceived(b"GET")
        bench.endpoint.reach()
        bench.endpoint.refuses = True
        bench.connect()[0].dataReceived(b"GET")
    problems = [event["problem"] for event in logged if "problem" in event]
    assert [problem.startswith("cannot reach the website: ") for problem in problems] == [True, True]


def test_a_client_that_leaves_early_ends_the_attempt() -> None:
    bench = Bench()
    connection, _ = bench.connect()
    connection.dataReceived(b"GET")
    cancelled: list[Any] = []
    bench.endpoint.attempts[0]._canceller = cancelled.append
    connection.connectionLost()
    assert len(cancelled) == 1


def test_the_number_of_connections_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "MAX_SHARED", 2)
    bench = Bench()
    connections = [bench.connect() for _ in range(3)]
    for connection, _ in connections:
        connection.dataReceived(b"GET")
    assert [transport.disconnected for _, transport in connections] == [False, False, True]
    connections[0][0].connectionLost()
    connection, transport = bench.connect()
    connection.dataReceived(b"GET")
    assert not transport.disconnected
    bench.share.close()
    assert transport.disconnected


def test_last_bytes_that_are_not_taken_do_not_hold_a_connection_for_ever() -> None:
    bench = Bench()
    connection, near = bench.connect()
    connection.dataReceived(b"GET")
    far = bench.endpoint.reach()
    far.protocol = bench.endpoint.factories[-1].buildProtocol(None)
    far.protocol.connectionLost()
    assert near.disconnecting
    assert not near.disconnected
    bench.clock.advance(CLOSING)
    assert near.disconnected


def test_a_journal_that_cannot_be_written_is_told_and_changes_nothing(tmp_path: Path) -> None:
    bench = Bench(str(tmp_path / "nowhere"))
    connection, _ = bench.connect()
    with capturedLogs() as logged:
        connection.dataReceived(b"GET")
        assert bench.endpoint.reach().value() == b"GET"
    assert any("cannot write the journal" in event.get("problem", "") for event in logged)


# Over TCP


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def the_reactor() -> Any:
    from twisted.internet import reactor

    return reactor


async def over_tcp(
    client: Callable[[socket.socket], Any], server: Callable[[socket.socket], Any], journal: str | None = None
) -> tuple[Any, Any, RunRecorder]:
    """What a client of the shared port and the server behind it find, each in a thread with its connection."""
    recorder, reactor = RunRecorder(), the_reactor()
    with ExitStack() as stack:
        behind = stack.enter_context(open_tcp_listener("127.0.0.1"))
        behind.settimeout(20)
        share = PortShare(TCP4ClientEndpoint(reactor, *behind.getsockname()), "behind", reactor, journal)
        factory = SharedPortFactory(StreamLinkFactory(recorder, reactor), share, reactor)
        port: Any = listen_tcp(reactor, "", 0, factory)

        def serve() -> Any:
            connection, _ = behind.accept()
            connection.settimeout(20)
            with connection:
                return server(connection)

        def ask() -> Any:
            with socket.create_connection(("127.0.0.1", port.getHost().port), 20) as connection:
                return client(connection)

        served, asked = deferToThread(serve), deferToThread(ask)
        found = await asked, await served, recorder
        await port.stopListening()
        while share._ends:
            await deferToThread(time.sleep, 0.01)
        return found


def exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += connection.recv(size - len(data))
    return data


def everything(connection: socket.socket) -> bytes:
    data = b""
    while chunk := connection.recv(1 << 16):
        data += chunk
    return data


@in_reactor
async def test_the_end_of_a_stream_is_passed_on_in_either_direction() -> None:
    def client(connection: socket.socket) -> bytes:
        connection.sendall(b"question")
        connection.shutdown(socket.SHUT_WR)
        return everything(connection)

    def server(connection: socket.socket) -> bytes:
        question = everything(connection)
        connection.sendall(question.upper())
        return question

    assert (await over_tcp(client, server))[:2] == (b"QUESTION", b"question")


@in_reactor
async def test_a_server_behind_may_finish_before_it_has_heard_all() -> None:
    def client(connection: socket.socket) -> bytes:
        connection.sendall(b"GET")
        answer = everything(connection)
        connection.sendall(b"late")
        return answer

    def server(connection: socket.socket) -> bytes:
        assert exactly(connection, 3) == b"GET"
        connection.sendall(b"answer")
        connection.shutdown(socket.SHUT_WR)
        return everything(connection)

    assert (await over_tcp(client, server))[:2] == (b"answer", b"late")


@in_reactor
async def test_whoever_does_not_drain_holds_the_other_up_and_nothing_is_lost() -> None:
    payload = os.urandom(1 << 16) * 256

    def client(connection: socket.socket) -> int:
        connection.sendall(b"GET")
        connection.settimeout(0.5)
        sent = 0
        try:
            while sent < len(payload):
                sent += connection.send(payload[sent : sent + 65536])
        except TimeoutError:
            pass
        stalled_at = sent
        connection.settimeout(20)
        assert connection.recv(1, socket.MSG_PEEK) == b"."
        while sent < len(payload):
            sent += connection.send(payload[sent:])
        connection.shutdown(socket.SHUT_WR)
        everything(connection)
        return stalled_at

    def server(connection: socket.socket) -> bytes:
        time.sleep(1)
        connection.sendall(b".")
        return everything(connection)

    stalled_at, arrived, _ = await over_tcp(client, server)
    assert arrived == b"GET" + payload
    assert stalled_at < len(payload), "the relay has taken more than it could pass on"


@pytest.mark.shows("port-share")
@in_reactor
async def test_bytes_may_come_one_by_one_and_the_journal_names_the_client(tmp_path: Path) -> None:
    hello = b"\x16\x03\x01\x02\x00\x01"

    def client(connection: socket.socket) -> tuple[str, bytes]:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in hello:
            connection.sendall(bytes([byte]))
            time.sleep(0.005)
        name = "[AF_INET]{}:{}".format(*connection.getsockname())
        connection.shutdown(socket.SHUT_WR)
        return name, everything(connection)

    def server(connection: socket.socket) -> tuple[str, bytes]:
        said = exactly(connection, len(hello))
        entry = tmp_path / "[AF_INET]{}:{}".format(*connection.getpeername())
        assert entry.stat().st_mode & 0o777 == 0o640
        return entry.read_text(), said

    (name, _), (entry, said), recorder = await over_tcp(client, server, str(tmp_path))
    assert said == hello
    assert entry == name
    assert names(tmp_path) == []
    assert recorder.links == []


@in_reactor
async def test_a_vpn_client_on_the_shared_port() -> None:
    recorder, reactor = RunRecorder(), the_reactor()
    share = PortShare(cast("Any", Endpoint()), "behind", reactor)
    factory = SharedPortFactory(StreamLinkFactory(recorder, reactor), share, reactor)
    port = reactor.listenTCP(0, factory, interface="127.0.0.1")

    def ask() -> None:
        with socket.create_connection(("127.0.0.1", port.getHost().port), 20) as connection:
            connection.sendall(RESET_V2)
            connection.shutdown(socket.SHUT_WR)
            assert everything(connection) == b""

    await deferToThread(ask)
    assert recorder.batches[0][0][0] == single(RESET_V2[2:])
    assert recorder.batches[0][0][1][0] == "127.0.0.1"
    await port.stopListening()
    while not recorder.lost:
        await deferToThread(time.sleep, 0.01)
