"""Reaching a server through an HTTP or a SOCKS proxy: what is said before the connection is ours.

Sources: RFC 9110 section 9.3.6 (CONNECT), RFC 7617 (Basic), RFC 1928 and 1929 (SOCKS 5).
"""

from __future__ import annotations

import base64
import re
from ipaddress import IPv4Address, ip_address
from typing import TYPE_CHECKING, Any, cast
from typing import Protocol as TypingProtocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Protocol, connectionDone
from zope.interface import implementer

from twistvpn.link.addresses import canonical_host
from twistvpn.link.connections import abort, cancel
from twistvpn.link.single import SingleFactory

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from twisted.internet.interfaces import IDelayedCall, IProtocol, IProtocolFactory, IReactorTime
    from twisted.python.failure import Failure

    from twistvpn.interfaces import Address, Buffer

MAX_HEADER = 8192
"""Bytes of a proxy's HTTP header."""

_STATUS = re.compile(rb"HTTP/1\.[0-9] ([0-9]{3})(?: ([^\r\n]*))?", re.ASCII)
_CHALLENGE = re.compile(rb"^proxy-authenticate:[ \t]*([!-~]+)", re.ASCII | re.IGNORECASE | re.MULTILINE)

_SOCKS = 5
CONNECT, UDP_ASSOCIATE = 1, 3
"""What a SOCKS proxy may be asked for: a connection, or to relay datagrams."""
_NO_AUTHENTICATION, _PASSWORD, _NO_METHOD = 0, 2, 0xFF
_IPV4, _NAME, _IPV6 = 1, 3, 4
_ADDRESS_SIZES = {_IPV4: 4, _IPV6: 16}
_SOCKS_REPLIES = {
    1: "general failure",
    2: "not allowed by its rules",
    3: "the network is unreachable",
    4: "the host is unreachable",
    5: "the connection was refused",
    6: "the TTL has expired",
    7: "it does not connect",
    8: "it does not know this kind of address",
}


class ProxyRefusal(OSError):
    """A proxy does not give us the connection, or what it says is not its protocol."""


class Dialogue(TypingProtocol):
    """What is said to one proxy for one connection."""

    rest: bytes | None
    """None while the proxy has not agreed; then what has come behind its agreement."""

    def begin(self) -> bytes:
        """What to send first."""

    def hear(self, data: bytes) -> bytes:
        """Take what the proxy says; returns what to send.  Raises `ProxyRefusal`."""


class HttpConnect:
    """Asks an HTTP proxy for a tunnel to `host` (a name or an address) and `port`."""

    def __init__(
        self,
        host: str,
        port: int,
        credentials: tuple[str, str] | None = None,
        version: str = "1.0",
        headers: Sequence[tuple[str, str]] = (),
    ) -> None:
        self.rest: bytes | None = None
        self._target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._credentials = credentials
        self._version = version
        self._headers = headers
        self._heard = b""

    def begin(self) -> bytes:
        """See `Dialogue`."""
        lines = [f"CONNECT {self._target} HTTP/{self._version}", f"Host: {self._target}"]
        if self._credentials is not None:
            told = base64.b64encode(":".join(self._credentials).encode()).decode()
            lines.append(f"Proxy-Authorization: Basic {told}")
        lines += [f"{name}: {value}" for name, value in self._headers]
        return "\r\n".join([*lines, "", ""]).encode()

    def hear(self, data: bytes) -> bytes:
        """See `Dialogue`."""
        self._heard += data
        while True:
            header, end, behind = self._heard.partition(b"\r\n\r\n")
            if not end:
                if len(self._heard) > MAX_HEADER:
                    raise ProxyRefusal("the proxy's answer has no end")
                return b""
            status = _STATUS.match(header)
            if status is None:
                raise ProxyRefusal("the proxy does not speak HTTP")
            self._heard = behind
            code = int(status[1])
            if code >= 200:
                self._decide(code, _words(status[2] or b""), header)
                return b""

    def _decide(self, code: int, reason: str, header: bytes) -> None:
        if 200 <= code < 300:
            self.rest = self._heard
            return
        if code not in {401, 407}:
            raise ProxyRefusal(f"the proxy says {code} {reason}".rstrip())
        schemes = sorted({scheme.decode().lower() for scheme in _CHALLENGE.findall(header)})
        if "basic" in schemes or not schemes:
            what = "needs a name and a password" if self._credentials is None else "refuses our name and password"
            raise ProxyRefusal(f"the proxy {what}")
        raise ProxyRefusal(f"the proxy wants authentication by {', '.join(schemes)}, not Basic")


class Socks5:
    """Asks a SOCKS 5 proxy for a connection to `host` (a name or an address) and `port`, or for another `command`."""

    def __init__(
        self, host: str, port: int, credentials: tuple[str, str] | None = None, command: int = CONNECT
    ) -> None:
        self.rest: bytes | None = None
        self.bound: tuple[str, int] = ("", 0)
        """Once the proxy has agreed, its end towards the server, or where it takes datagrams: address or name, port."""
        self._command = command
        self._target = socks_address(host, port)
        self._credentials = credentials
        self._heard = b""
        self._next: Callable[[], bytes | None] = self._method

    def begin(self) -> bytes:
        """See `Dialogue`."""
        methods = [_NO_AUTHENTICATION] if self._credentials is None else [_NO_AUTHENTICATION, _PASSWORD]
        return bytes([_SOCKS, len(methods), *methods])

    def hear(self, data: bytes) -> bytes:
        """See `Dialogue`."""
        self._heard += data
        answer = b""
        while self.rest is None:
            said = self._next()
            if said is None:
                break
            answer += said
        return answer

    def _take(self, size: int) -> bytes | None:
        """The next `size` bytes, None while they are not there."""
        if len(self._heard) < size:
            return None
        taken, self._heard = self._heard[:size], self._heard[size:]
        return taken

    def _method(self) -> bytes | None:
        said = self._take(2)
        if said is None:
            return None
        version, method = said
        if version != _SOCKS:
            raise ProxyRefusal("the proxy does not speak SOCKS 5")
        if method == _NO_AUTHENTICATION:
            return self._ask()
        if method == _PASSWORD and self._credentials is not None:
            self._next = self._logged_in
            name, password = (text.encode()[:255] for text in self._credentials)
            return bytes([1, len(name)]) + name + bytes([len(password)]) + password
        raise ProxyRefusal("the proxy needs an authentication that we do not have")

    def _logged_in(self) -> bytes | None:
        said = self._take(2)
        if said is None:
            return None
        if said[1]:
            raise ProxyRefusal("the proxy refuses our name and password")
        return self._ask()

    def _ask(self) -> bytes:
        self._next = self._reply
        return bytes([_SOCKS, self._command, 0]) + self._target

    def _reply(self) -> bytes | None:
        head = self._heard[:5]
        if len(head) < 5:
            return None
        version, code, _, kind, first = head
        if version != _SOCKS:
            raise ProxyRefusal("the proxy does not speak SOCKS 5")
        if code:
            raise ProxyRefusal(f"the proxy says: {_SOCKS_REPLIES.get(code, f'error {code}')}")
        size = 1 + first if kind == _NAME else _ADDRESS_SIZES.get(kind)
        if size is None:
            raise ProxyRefusal("the proxy does not speak SOCKS 5")
        reply = self._take(4 + size + 2)
        if reply is None:
            return None
        self.bound = _bound(kind, reply[4:])
        self.rest = self._heard
        return b""


def socks_address(host: str, port: int) -> bytes:
    """An address or a name, and a port, as SOCKS writes them."""
    number = port.to_bytes(2, "big")
    try:
        address = ip_address(host)
    except ValueError:
        name = host.encode("idna") if not host.isascii() else host.encode()
        return bytes([_NAME, len(name)]) + name + number
    return bytes([_IPV4 if isinstance(address, IPv4Address) else _IPV6]) + address.packed + number


def _bound(kind: int, text: bytes) -> tuple[str, int]:
    host = _words(text[1:-2]) if kind == _NAME else canonical_host(str(ip_address(text[:-2])))
    return host, int.from_bytes(text[-2:], "big")


def read_socks_address(datagram: Buffer, at: int) -> tuple[Address | None, int] | None:
    """The address that stands at `at`, and where it ends; None in its place for a name, None where there is none."""
    kind = datagram[at] if at < len(datagram) else 0
    size = _ADDRESS_SIZES.get(kind)
    if kind == _NAME and at + 1 < len(datagram):
        size = 1 + datagram[at + 1]
    if size is None or len(datagram) < at + 1 + size + 2:
        return None
    end = at + 1 + size + 2
    return (None if kind == _NAME else _bound(kind, bytes(datagram[at + 1 : end]))), end


def _words(text: bytes) -> str:
    return "".join(character for character in text.decode("ascii", "replace") if character.isprintable())[:100]


@implementer(IStreamClientEndpoint)
class ProxiedEndpoint:
    """Connects by `endpoint`, which reaches a proxy, with whatever a dialogue of `begin` has asked that proxy for.

    Fails with `ProxyRefusal` where the proxy refuses, or says nothing for `timeout` seconds.
    """

    def __init__(
        self, endpoint: IStreamClientEndpoint, begin: Callable[[], Dialogue], clock: IReactorTime, timeout: float
    ) -> None:
        self._endpoint = endpoint
        self._begin = begin
        self._clock = clock
        self._timeout = timeout

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """See `IStreamClientEndpoint`."""
        asking = _Asking(self._begin(), protocolFactory, self._clock, self._timeout)
        attempt = self._endpoint.connect(SingleFactory(asking))

        def connected(_: object) -> Deferred[IProtocol]:
            return asking.done

        return attempt.addCallback(connected)


class _Asking(Protocol):
    """A connection to a proxy, which becomes that of another protocol once the proxy agrees."""

    def __init__(self, dialogue: Dialogue, factory: IProtocolFactory, clock: IReactorTime, timeout: float) -> None:
        self.done: Deferred[IProtocol] = Deferred(lambda _: self._abort())
        self._dialogue = dialogue
        self._factory = factory
        self._clock = clock
        self._timeout = timeout
        self._timer: IDelayedCall | None = None
        self._heir: Any = None

    def connectionMade(self) -> None:
        assert self.transport is not None
        self._timer = self._clock.callLater(self._timeout, self._refused, ProxyRefusal("the proxy does not answer"))
        self.transport.write(self._dialogue.begin())

    def dataReceived(self, data: bytes) -> None:
        if self._heir is not None:
            self._heir.dataReceived(data)
            return
        assert self.transport is not None
        try:
            answer = self._dialogue.hear(data)
        except ProxyRefusal as refusal:
            self._refused(refusal)
            return
        if answer:
            self.transport.write(answer)
        if self._dialogue.rest is not None:
            self._hand_over(self._dialogue.rest)

    def _hand_over(self, rest: bytes) -> None:
        self._stop_timer()
        transport: Any = self.transport
        self._heir = cast("Any", self._factory.buildProtocol(transport.getPeer()))
        self._heir.makeConnection(transport)
        self.done.callback(self._heir)
        if rest:
            self._heir.dataReceived(rest)

    def _refused(self, refusal: ProxyRefusal) -> None:
        if not self.done.called:
            self.done.errback(refusal)
        self._abort()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._stop_timer()
        if self._heir is not None:
            self._heir.connectionLost(reason)
        elif not self.done.called:
            self.done.errback(ProxyRefusal(f"the proxy has closed the connection ({reason.getErrorMessage()})"))

    def _abort(self) -> None:
        self._stop_timer()
        abort(self.transport)

    def _stop_timer(self) -> None:
        timer, self._timer = self._timer, None
        cancel(timer)
