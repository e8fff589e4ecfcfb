"""Sockets with what an admin asks of them."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from time import monotonic
from typing import TYPE_CHECKING, Any, cast

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, clientFromString
from twisted.internet.protocol import ClientFactory, Factory, Protocol
from twisted.internet.testing import MemoryReactor

from tests.certificates import server_certificate
from tests.netns import needs_tun
from tests.running import in_reactor
from twistvpn.errors import EnvironmentRefusal
from twistvpn.interfaces import NOTHING_ASKED, Multihome, SocketOptions
from twistvpn.link.haproxy import server_endpoint
from twistvpn.link.multihome import IPV6_PKTINFO, reply_pktinfo
from twistvpn.link.sockets import (
    IP_MTU_DISCOVER,
    SO_MARK,
    PreparedReactor,
    apply_options,
    open_tcp_listener,
    open_udp_socket,
)
from twistvpn.link.strangers import Strangers

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

OPENERS = [
    pytest.param(lambda options: open_udp_socket("127.0.0.1", options=options), id="udp"),
    pytest.param(lambda options: open_tcp_listener("127.0.0.1", options=options), id="tcp"),
]


def option(sock: socket.socket, number: int, level: int = socket.SOL_SOCKET) -> int:
    return sock.getsockopt(level, number)


@needs_tun
@pytest.mark.parametrize("opened", OPENERS)
def test_mark_and_device(opened: Callable[[SocketOptions], socket.socket]) -> None:
    with opened(SocketOptions(mark=77, device="lo")) as sock:
        assert option(sock, SO_MARK) == 77
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16).rstrip(b"\0") == b"lo"


@pytest.mark.parametrize("opened", OPENERS)
def test_a_device_that_is_not_there_is_a_refusal(opened: Callable[[SocketOptions], socket.socket]) -> None:
    with pytest.raises(EnvironmentRefusal, match="cannot bind to the device nosuch0"):
        opened(SocketOptions(device="nosuch0"))


def test_a_mark_that_is_not_permitted_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Guarded(socket.socket):
        def setsockopt(self, *arguments: Any) -> None:
            if arguments[1] == SO_MARK:
                raise PermissionError(1, "Operation not permitted")
            super().setsockopt(*arguments)

    with Guarded(socket.AF_INET, socket.SOCK_DGRAM) as sock, pytest.raises(EnvironmentRefusal, match="CAP_NET_ADMIN"):
        apply_options(sock, SocketOptions(mark=1))


@pytest.mark.parametrize("opened", OPENERS)
@pytest.mark.parametrize(("number", "name"), [(socket.SO_SNDBUF, "send_buffer"), (socket.SO_RCVBUF, "receive_buffer")])
def test_buffers(opened: Callable[[SocketOptions], socket.socket], number: int, name: str) -> None:
    wanted: Any = {name: 50_000}
    with opened(SocketOptions(**wanted)) as sock:
        assert option(sock, number) == 100_000  # the kernel doubles it for its own bookkeeping
    wanted = {name: 0}
    with opened(SocketOptions(**wanted)) as sock, socket.socket(sock.family, sock.type) as plain:
        assert option(sock, number) == option(plain, number) or sock.type == socket.SOCK_STREAM


@pytest.mark.parametrize("opened", OPENERS)
@pytest.mark.parametrize("mode", [0, 1, 2])
def test_fragmentation(opened: Callable[[SocketOptions], socket.socket], mode: int) -> None:
    with opened(SocketOptions(mtu_discover=mode)) as sock:
        assert option(sock, IP_MTU_DISCOVER, socket.IPPROTO_IP) == mode


def test_tcp_on_one_version_alone_leaves_the_port_to_the_other() -> None:
    with ExitStack() as stack:
        try:
            six = stack.enter_context(open_tcp_listener("::"))
        except EnvironmentRefusal:
            pytest.skip("no IPv6 here")
        stack.enter_context(open_tcp_listener("0.0.0.0", six.getsockname()[1]))


def test_what_the_kernel_does_not_say_is_no_home() -> None:
    short = (socket.IPPROTO_IPV6, IPV6_PKTINFO, b"short")
    assert reply_pktinfo([short], Multihome.ADDRESS) is None


@in_reactor
async def test_connections_have_their_options_before_they_connect() -> None:
    from twisted.internet import reactor

    with open_tcp_listener("127.0.0.1") as listener:
        connections = PreparedReactor(reactor, SocketOptions(mtu_discover=2))
        endpoint = TCP4ClientEndpoint(connections, *listener.getsockname())
        protocol: Any = await endpoint.connect(Factory.forProtocol(Protocol))
        transport = protocol.transport
        assert option(transport.socket, IP_MTU_DISCOVER, socket.IPPROTO_IP) == 2
        lost: Deferred[None] = Deferred()
        protocol.connectionLost = lambda *_: lost.callback(None)
        transport.abortConnection()
        await lost


@in_reactor
async def test_a_connection_that_cannot_have_its_options_is_a_refusal() -> None:
    from twisted.internet import reactor

    connections = PreparedReactor(reactor, SocketOptions(device="nosuch0"))
    with pytest.raises(EnvironmentRefusal, match="nosuch0"):
        await TCP4ClientEndpoint(connections, "127.0.0.1", 9).connect(Factory.forProtocol(Protocol))


def test_without_options_connections_are_the_reactors() -> None:
    reactor = MemoryReactor()
    PreparedReactor(reactor, NOTHING_ASKED).connectTCP("192.0.2.1", 443, ClientFactory())
    assert reactor.tcpClients[0][:2] == ("192.0.2.1", 443)


@pytest.mark.parametrize("kind", ["tcp", "haproxy:tcp", "ssl"])
@in_reactor
async def test_the_sockets_of_endpoints_have_their_options(kind: str, tmp_path: Path) -> None:
    from twisted.internet import reactor

    certificate = pem_file(tmp_path)
    more = f":privateKey={certificate}:certKey={certificate}" if kind == "ssl" else ""
    prepared = PreparedReactor(reactor, SocketOptions(mtu_discover=2))
    endpoint = server_endpoint(prepared, f"{kind}:0:interface=127.0.0.1{more}", Strangers(monotonic))
    port: Any = await endpoint.listen(Factory.forProtocol(Protocol))
    assert option(port.socket, IP_MTU_DISCOVER, socket.IPPROTO_IP) == 2
    connected = await clientFromString(prepared, f"tcp:127.0.0.1:{port.getHost().port}").connect(
        Factory.forProtocol(Protocol)
    )
    transport: Any = cast("Any", connected).transport
    assert option(transport.socket, IP_MTU_DISCOVER, socket.IPPROTO_IP) == 2
    lost: Deferred[None] = Deferred()
    cast("Any", connected).connectionLost = lambda *_: lost.callback(None)
    transport.abortConnection()
    await lost
    await port.stopListening()


def pem_file(folder: Path) -> Path:
    issued = server_certificate()
    path = folder / "web.pem"
    path.write_text(issued.certificate_pem + issued.key_pem)
    return path
