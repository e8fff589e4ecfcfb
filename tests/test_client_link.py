"""Finding the server's addresses and opening a link to one of them."""

from __future__ import annotations

import socket
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure

from tests.recorders import RunRecorder
from twistvpn.client.link import NAMES_KEPT, RESOLVER_PATIENCE, LinkOpener, NameNotFound
from twistvpn.config.settings import ClientSettings, OuterTls, Proxy, ProxyKind, Remote
from twistvpn.errors import EnvironmentRefusal

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from twisted.internet.interfaces import IAddress, IResolutionReceiver


class Resolver:
    """Knows the names it is given."""

    def __init__(self) -> None:
        self.names: dict[str, list[IAddress]] = {}
        self.types: Sequence[type] = ()
        self.is_silent = False

    def resolveHostName(
        self, receiver: IResolutionReceiver, name: str, port: int = 0, types: Sequence[type] = (), semantics: str = ""
    ) -> None:
        self.types = types
        receiver.resolutionBegan(self)  # type: ignore[arg-type]  # nobody looks at it
        for address in self.names.get(name, []):
            receiver.addressResolved(address)
        if not self.is_silent:
            receiver.resolutionComplete()


def opener(**settings: Any) -> tuple[LinkOpener, MemoryReactorClock, Resolver]:
    reactor: Any = MemoryReactorClock()
    resolver = Resolver()
    reactor.nameResolver = resolver
    return LinkOpener(reactor, ClientSettings((), **settings)), reactor, resolver


def result(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """What it returns, at once; raises what it raises."""
    results: list[Any] = []
    ensureDeferred(coroutine).addBoth(results.append)
    (value,) = results
    if isinstance(value, Failure):
        value.raiseException()
    return value


REMOTE = Remote("vpn.example.org", 1194, "udp")


def test_addresses_are_in_the_resolvers_order_and_once_each() -> None:
    subject, _, resolver = opener()
    resolver.names["vpn.example.org"] = [
        IPv6Address("TCP", "2001:db8::1", 1194),
        IPv4Address("TCP", "192.0.2.1", 1194),
        IPv6Address("TCP", "2001:db8::1", 1194),
    ]
    assert result(subject.addresses(REMOTE)) == ["2001:db8::1", "192.0.2.1"]
    assert resolver.types == (IPv4Address, IPv6Address)


@pytest.mark.parametrize(("family", "kind"), [(socket.AF_INET, IPv4Address), (socket.AF_INET6, IPv6Address)])
def test_a_remote_of_one_family_asks_for_it_alone(family: int, kind: type) -> None:
    subject, _, resolver = opener()
    with pytest.raises(NameNotFound, match=r"vpn\.example\.org does not resolve"):
        result(subject.addresses(Remote("vpn.example.org", 1194, "udp", family)))
    assert resolver.types == (kind,)


def test_addresses_known_from_before_serve_while_the_resolver_is_out_of_reach() -> None:
    subject, _, resolver = opener()
    resolver.names["vpn.example.org"] = [IPv4Address("TCP", "192.0.2.1", 1194)]
    result(subject.addresses(REMOTE))
    resolver.names.clear()
    assert result(subject.addresses(REMOTE)) == ["192.0.2.1"]


def test_a_resolver_that_says_nothing_is_out_of_reach_after_a_while() -> None:
    subject, reactor, resolver = opener()
    resolver.names["vpn.example.org"] = [IPv4Address("TCP", "192.0.2.1", 1194)]
    result(subject.addresses(REMOTE))
    resolver.names.clear()
    resolver.is_silent = True
    results: list[Any] = []
    for host in ("vpn.example.org", "other.example.org"):
        ensureDeferred(subject.addresses(replace(REMOTE, host=host))).addBoth(results.append)
    reactor.advance(RESOLVER_PATIENCE - 1)
    assert results == []
    reactor.advance(1)
    known, unknown = results
    assert known == ["192.0.2.1"]
    assert unknown.check(NameNotFound)
    assert reactor.getDelayedCalls() == []


def test_addresses_known_of_one_family_are_not_those_of_another() -> None:
    subject, _, resolver = opener()
    resolver.names["vpn.example.org"] = [IPv6Address("TCP", "2001:db8::1", 1194)]
    result(subject.addresses(REMOTE))
    resolver.names.clear()
    with pytest.raises(NameNotFound):
        result(subject.addresses(replace(REMOTE, family=socket.AF_INET)))
    assert result(subject.addresses(REMOTE)) == ["2001:db8::1"]


def test_only_so_many_names_are_remembered() -> None:
    subject, _, resolver = opener()
    resolver.names = {
        name: [IPv4Address("TCP", "192.0.2.1", 1194)]
        for name in ("vpn.example.org", *map("n{}".format, range(NAMES_KEPT)))
    }
    for name in resolver.names:
        result(subject.addresses(replace(REMOTE, host=name)))
    last = f"n{NAMES_KEPT - 1}"
    resolver.names.clear()
    assert result(subject.addresses(REMOTE)) == ["192.0.2.1"]
    with pytest.raises(NameNotFound):
        result(subject.addresses(replace(REMOTE, host=last)))


def test_a_udp_link_has_a_socket_of_its_own() -> None:
    subject, reactor, _ = opener(local="127.0.0.1")
    link, address = result(subject.open(REMOTE, "127.0.0.1", RunRecorder()))
    assert address == ("127.0.0.1", 1194)
    assert link.local.startswith("udp:127.0.0.1:")
    assert reactor.getReaders() == [link]
    link.close()
    assert reactor.getReaders() == []


def test_an_ipv6_address_may_have_a_scope() -> None:
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    subject, _, _ = opener()
    try:
        link, address = result(subject.open(REMOTE, "fe80::1%lo", RunRecorder()))
    except EnvironmentRefusal:
        pytest.skip("no IPv6 here")
    assert address == ("fe80::1", 1194, 0, socket.if_nametoindex("lo"))
    link.close()


def test_a_local_port_that_is_taken_is_a_refusal() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        subject, _, _ = opener(local="127.0.0.1", local_port=taken.getsockname()[1])
        with pytest.raises(EnvironmentRefusal):
            result(subject.open(REMOTE, "127.0.0.1", RunRecorder()))


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1"])
def test_tcp_goes_through_an_endpoint(host: str) -> None:
    subject, reactor, _ = opener(connect_timeout=7)
    opened: Deferred[Any] = ensureDeferred(subject.open(Remote("x", 443, "tcp"), host, RunRecorder()))
    clients: list[Any] = reactor.tcpClients
    to, port, factory, timeout, bind = clients[0]
    assert (to, port, timeout, bind) == (host, 443, 7, None)
    failures: list[Failure] = []
    opened.addErrback(failures.append)
    factory.clientConnectionFailed(None, Failure(Refused()))
    assert failures[0].check(Refused)


def test_any_client_endpoint_carries_a_stream() -> None:
    subject, reactor, _ = opener()
    remote = Remote("proxy", 0, "tcp", endpoint="tcp:host=192.0.2.9:port=8443")
    ensureDeferred(subject.open(remote, "proxy", RunRecorder()))
    assert reactor.tcpClients[0][:2] == ("192.0.2.9", 8443)


HTTP = Proxy(ProxyKind.HTTP, "proxy.example.org", 3128)


def test_with_a_proxy_it_is_the_proxy_that_is_looked_up() -> None:
    subject, _, resolver = opener()
    resolver.names["proxy.example.org"] = [IPv4Address("TCP", "192.0.2.7", 3128)]
    assert result(subject.addresses(replace(REMOTE, proto="tcp", proxy=HTTP))) == ["192.0.2.7"]
    literal = replace(REMOTE, proto="tcp", proxy=replace(HTTP, host="2001:db8::7"))
    assert result(subject.addresses(literal)) == ["2001:db8::7"]


@pytest.mark.parametrize(
    ("proxy", "begin"),
    [
        (HTTP, b"CONNECT vpn.example.org:443 HTTP/1.0\r\n"),
        (Proxy(ProxyKind.SOCKS, "proxy.example.org", 3128), b"\5\1\0"),
    ],
)
def test_a_proxy_is_asked_for_the_server(proxy: Proxy, begin: bytes) -> None:
    subject, reactor, _ = opener()
    remote = Remote("vpn.example.org", 443, "tcp", proxy=proxy, outer=OuterTls("vpn.example.org"))
    ensureDeferred(subject.open(remote, "192.0.2.7", RunRecorder()))
    clients: list[Any] = reactor.tcpClients
    host, port, factory, _, _ = clients[0]
    assert (host, port) == ("192.0.2.7", 3128)
    transport = StringTransport()
    protocol = factory.buildProtocol(None)
    protocol.makeConnection(transport)
    assert transport.value().startswith(begin)


def hello_of(outer: OuterTls) -> bytes:
    """What a client says first where TLS is around its link."""
    subject, reactor, _ = opener()
    ensureDeferred(subject.open(Remote("x", 443, "tcp", outer=outer), "192.0.2.7", RunRecorder()))
    clients: list[Any] = reactor.tcpClients
    transport = StringTransport()
    clients[0][2].buildProtocol(None).makeConnection(transport)
    return bytes(transport.value())


def test_tls_around_the_link_asks_for_its_name_and_no_other() -> None:
    hello = hello_of(OuterTls("www.example.org"))
    assert hello[0] == 0x16
    assert b"www.example.org" in hello
    assert b"192.0.2.1" not in hello_of(OuterTls("192.0.2.1"))
