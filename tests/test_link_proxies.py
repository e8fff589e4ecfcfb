"""What is said to HTTP and SOCKS proxies, and what becomes of the connection."""

from __future__ import annotations

import base64
from itertools import pairwise
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.error import ConnectionLost
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import AccumulatingProtocol, StringTransport
from twisted.python.failure import Failure

from twistvpn.link.proxies import MAX_HEADER, HttpConnect, ProxiedEndpoint, ProxyRefusal, Socks5

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from twistvpn.link.proxies import Dialogue

LOGIN = ("joe", "sesame:open")


def converse(dialogue: Dialogue, *said: bytes) -> list[bytes]:
    """All that is answered, the beginning first."""
    return [dialogue.begin(), *(dialogue.hear(data) for data in said)]


def cut(data: bytes, cuts: Sequence[int]) -> list[bytes]:
    places = [0, *sorted(min(place, len(data)) for place in cuts), len(data)]
    return [data[start:end] for start, end in pairwise(places)]


def test_http_without_anything_special() -> None:
    dialogue = HttpConnect("vpn.example.org", 443)
    (asked, answer) = converse(dialogue, b"HTTP/1.0 200 Connection established\r\n\r\nand")
    assert asked == b"CONNECT vpn.example.org:443 HTTP/1.0\r\nHost: vpn.example.org:443\r\n\r\n"
    assert answer == b""
    assert dialogue.rest == b"and"


def test_http_with_everything() -> None:
    dialogue = HttpConnect("2001:db8::1", 443, LOGIN, "1.1", [("User-Agent", "ours"), ("X-Way", "out")])
    lines = dialogue.begin().decode().split("\r\n")
    assert lines == [
        "CONNECT [2001:db8::1]:443 HTTP/1.1",
        "Host: [2001:db8::1]:443",
        f"Proxy-Authorization: Basic {base64.b64encode(b'joe:sesame:open').decode()}",
        "User-Agent: ours",
        "X-Way: out",
        "",
        "",
    ]


ANSWER = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nVia: 1.1 proxy\r\n\r\n\0\x0e\x38"


@given(st.lists(st.integers(0, len(ANSWER)), max_size=6))
def test_an_http_proxys_answer_may_come_in_pieces(cuts: list[int]) -> None:
    dialogue = HttpConnect("a", 1)
    dialogue.begin()
    rest = b""
    for piece in cut(ANSWER, cuts):
        if dialogue.rest is None:
            dialogue.hear(piece)
            rest = dialogue.rest or b""
        else:
            rest += piece
    assert rest == b"\0\x0e\x38"


@pytest.mark.parametrize(
    ("login", "answer", "why"),
    [
        (None, b"HTTP/1.1 403 Forbid\x1bden\r\n\r\n", "the proxy says 403 Forbidden"),
        (None, b"HTTP/1.1 502\r\n\r\n", "the proxy says 502"),
        (None, b"SSH-2.0-OpenSSH\r\n\r\n", "does not speak HTTP"),
        (None, b"HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm=x\r\n\r\n", "needs a name and a password"),
        (LOGIN, b"HTTP/1.1 407 No\r\nproxy-authenticate: basic\r\n\r\n", "refuses our name and password"),
        (LOGIN, b"HTTP/1.1 407 No\r\n\r\n", "refuses our name and password"),
        (LOGIN, b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic\r\n\r\n", "refuses our name and password"),
        (None, b"HTTP/1.1 401 Unauthorized\r\n\r\n", "needs a name and a password"),
        (
            LOGIN,
            b"HTTP/1.1 407 No\r\nProxy-Authenticate: NTLM\r\nProxy-Authenticate: Digest realm=x\r\n\r\n",
            "by digest, ntlm, not Basic",
        ),
        (None, b"HTTP/1.1 200 OK\r\n" + b"x" * MAX_HEADER, "has no end"),
    ],
)
def test_an_http_proxy_that_refuses(login: tuple[str, str] | None, answer: bytes, why: str) -> None:
    dialogue = HttpConnect("a", 1, login)
    dialogue.begin()
    with pytest.raises(ProxyRefusal, match=why):
        dialogue.hear(answer)


@given(st.lists(st.binary(max_size=300), max_size=5), st.booleans())
def test_whatever_a_proxy_says_ends_in_an_agreement_a_refusal_or_silence(said: list[bytes], is_http: bool) -> None:  # noqa: FBT001
    dialogue: Dialogue = HttpConnect("a", 1, LOGIN) if is_http else Socks5("a", 1, LOGIN)
    dialogue.begin()
    try:
        for data in said:
            if dialogue.rest is None:
                dialogue.hear(data)
    except ProxyRefusal:
        pass


@pytest.mark.parametrize(
    ("host", "target"),
    [
        ("vpn.example.org", b"\x03\x0fvpn.example.org"),
        ("192.0.2.1", b"\x01\xc0\0\2\1"),
        ("2001:db8::1", b"\x04\x20\x01\x0d\xb8" + bytes(11) + b"\1"),
    ],
)
def test_socks_without_a_password(host: str, target: bytes) -> None:
    dialogue = Socks5(host, 443)
    said = converse(dialogue, b"\5\0", b"\5\0\0\1\xc0\0\2\2\x10\0and")
    assert said == [b"\5\1\0", b"\5\1\0" + target + b"\1\xbb", b""]
    assert dialogue.rest == b"and"


@pytest.mark.parametrize("bound", [b"\1\0\0\0\0\0\0", b"\3\4home\0\0", b"\4" + bytes(16) + b"\0\0"])
@given(st.lists(st.integers(0, 30), max_size=6))
def test_socks_with_a_password_in_pieces(bound: bytes, cuts: list[int]) -> None:
    dialogue = Socks5("a", 80, LOGIN)
    assert dialogue.begin() == b"\5\2\0\2"
    asked, rest = b"", b""
    for piece in cut(b"\5\2\1\0\5\0\0" + bound + b"more", cuts):
        if dialogue.rest is None:
            asked += dialogue.hear(piece)
            rest = dialogue.rest or b""
        else:
            rest += piece
    assert asked == b"\1\3joe\x0bsesame:open\5\1\0\3\1a\0\x50"
    assert rest == b"more"


@pytest.mark.parametrize(
    ("login", "answer", "why"),
    [
        (None, b"\4\0", "does not speak SOCKS 5"),
        (None, b"\5\xff", "an authentication that we do not have"),
        (None, b"\5\2", "an authentication that we do not have"),
        (LOGIN, b"\5\2\1\1", "refuses our name and password"),
        (None, b"\5\0\5\5\0\1\0", "the connection was refused"),
        (None, b"\5\0\5\x63\0\1\0", "error 99"),
        (None, b"\5\0\4\0\0\1\0", "does not speak SOCKS 5"),
        (None, b"\5\0\5\0\0\7\0", "does not speak SOCKS 5"),
    ],
)
def test_a_socks_proxy_that_refuses(login: tuple[str, str] | None, answer: bytes, why: str) -> None:
    dialogue = Socks5("a", 1, login)
    dialogue.begin()
    with pytest.raises(ProxyRefusal, match=why):
        dialogue.hear(answer)


# The endpoint


class Underneath:
    """Reaches the proxy at once."""

    def __init__(self) -> None:
        self.transport = StringTransport()
        self.protocol: Any = None

    def connect(self, factory: Any) -> Deferred[Any]:
        self.protocol = factory.buildProtocol(None)
        self.protocol.makeConnection(self.transport)
        return succeed(self.protocol)


class Fixture:
    def __init__(self) -> None:
        self.clock = Clock()
        self.underneath = Underneath()
        endpoint = ProxiedEndpoint(cast("Any", self.underneath), lambda: HttpConnect("a", 1), self.clock, 10)
        self.results: list[Any] = []
        factory = Factory.forProtocol(cast("type[Protocol]", Greeting))
        self.attempt = endpoint.connect(factory)
        self.attempt.addBoth(self.results.append)

    def say(self, data: bytes) -> None:
        self.underneath.protocol.dataReceived(data)

    def refusal(self) -> str:
        (failure,) = self.results
        assert isinstance(failure, Failure)
        return failure.getErrorMessage()


class Greeting(AccumulatingProtocol):
    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(b"hello")


def test_behind_a_proxy_a_protocol_is_as_without_one() -> None:
    fixture = Fixture()
    fixture.say(b"HTTP/1.0 200 OK\r\n\r")
    assert fixture.results == []
    fixture.say(b"\nfirst")
    (protocol,) = fixture.results
    fixture.say(b", second")
    assert protocol.data == b"first, second"
    assert fixture.underneath.transport.value().endswith(b"\r\n\r\nhello")
    fixture.underneath.protocol.connectionLost(Failure(ConnectionLost()))
    assert protocol.closed
    assert fixture.clock.getDelayedCalls() == []


@pytest.mark.parametrize(
    ("happens", "why"),
    [
        (lambda fixture: fixture.say(b"HTTP/1.0 403 Forbidden\r\n\r\n"), "the proxy says 403 Forbidden"),
        (lambda fixture: fixture.clock.advance(10), "the proxy does not answer"),
        (
            lambda fixture: fixture.underneath.protocol.connectionLost(Failure(ConnectionLost("gone"))),
            "the proxy has closed the connection",
        ),
        (lambda fixture: fixture.attempt.cancel(), ""),
    ],
)
def test_a_proxy_that_does_not_lead_anywhere(happens: Callable[[Fixture], Any], why: str) -> None:
    fixture = Fixture()
    happens(fixture)
    assert why in fixture.refusal()
    transport = fixture.underneath.transport
    assert transport.disconnected or "closed" in why
    fixture.underneath.protocol.connectionLost(Failure(ConnectionLost()))
    assert fixture.clock.getDelayedCalls() == []
    assert fixture.results[0].check(ProxyRefusal, CancelledError)
