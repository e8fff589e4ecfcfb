"""Opening the sockets that carry the tunnel, with what the admin asks of them (`interfaces.SocketOptions`).

Sources: socket(7), ip(7), ipv6(7), linux/in.h, linux/in6.h.
"""

from __future__ import annotations

import errno
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from OpenSSL import SSL
from twisted.internet.tcp import Client, Connector
from twisted.protocols.tls import TLSMemoryBIOFactory
from zope.interface import directlyProvides, providedBy

from twistvpn.errors import EnvironmentRefusal
from twistvpn.interfaces import NOTHING_ASKED, Multihome, SocketOptions
from twistvpn.link.addresses import readable
from twistvpn.link.multihome import tell_destinations

if TYPE_CHECKING:
    from twisted.internet.interfaces import IConnector, IListeningPort
    from twisted.internet.protocol import ClientFactory, Factory

SO_SNDBUFFORCE = 32
SO_RCVBUFFORCE = 33
SO_MARK = 36
IP_MTU_DISCOVER = 10
IPV6_MTU_DISCOVER = 23

SOCKET_BUFFER = 4 * 1024 * 1024
"""Bytes asked for each direction of a UDP socket: about 10 ms at 3 Gbit/s."""
BACKLOG = 256
"""Connections that may wait to be accepted."""


def open_udp_socket(
    host: str = "", port: int = 0, family: int = socket.AF_UNSPEC, options: SocketOptions = NOTHING_ASKED
) -> socket.socket:
    """Bind a non-blocking UDP socket with large buffers.

    `host` is an address of this machine or a name of it.  '' is every address: one socket for IPv6 and IPv4 where
    the host has IPv6, else IPv4; with `family` AF_INET or AF_INET6 that version alone.  '::' is IPv6 alone.  `port`
    0 takes a free one.

    Raises `twistvpn.errors.EnvironmentRefusal` where the port is taken, reserved, the address is not ours, or an
    option cannot be had.
    """
    return _open("udp", host, port, family, options)


def open_tcp_listener(host: str = "", port: int = 0, options: SocketOptions = NOTHING_ASKED) -> socket.socket:
    """Bind a non-blocking TCP socket and let connections come; `host`, `port` and errors as in `open_udp_socket`."""
    return _open("tcp", host, port, socket.AF_UNSPEC, options)


def listen_tcp(
    reactor: Any, host: str, port: int, factory: Factory, options: SocketOptions = NOTHING_ASKED
) -> IListeningPort:
    """Listen in `reactor`; `host`, `port` and errors as in `open_udp_socket`."""
    with open_tcp_listener(host, port, options) as sock:
        # The port has a descriptor of its own for the same socket.
        return reactor.adoptStreamPort(sock.fileno(), sock.family, factory)  # type: ignore[no-any-return]


def _open(proto: str, host: str, port: int, family: int, options: SocketOptions) -> socket.socket:
    kind = socket.SOCK_DGRAM if proto == "udp" else socket.SOCK_STREAM
    if not host and family == socket.AF_UNSPEC and _has_ipv6():
        return _bind(proto, socket.AF_INET6, ("::", port), options, both_versions=1)
    if not host:
        every = ("::", port) if family == socket.AF_INET6 else ("0.0.0.0", port)  # noqa: S104  asked for
        return _bind(proto, socket.AF_INET6 if family == socket.AF_INET6 else socket.AF_INET, every, options)
    try:
        found = socket.getaddrinfo(host, port, family, kind, 0, socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError) as error:
        raise EnvironmentRefusal(f"cannot listen on {proto} {host}:{port}: no address of that name: {error}") from error
    version, _, _, _, address = found[0]
    return _bind(proto, version, address, options)


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::", 0))
    except OSError:
        return False
    return True


def _bind(
    proto: str, family: int, address: tuple[Any, ...], options: SocketOptions, both_versions: int = 0
) -> socket.socket:
    kind = socket.SOCK_DGRAM if proto == "udp" else socket.SOCK_STREAM
    sock = socket.socket(family, kind | socket.SOCK_NONBLOCK)
    try:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1 - both_versions)
        apply_options(sock, options)
        if kind == socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        elif options.multihome is not Multihome.NO:
            tell_destinations(sock)
        sock.bind(address)
        if kind == socket.SOCK_STREAM:
            sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise bind_refusal(proto, address, error) from error
    except EnvironmentRefusal:
        sock.close()
        raise
    return sock


def apply_options(sock: socket.socket, options: SocketOptions) -> None:
    """Set what does not depend on the address, before the socket is bound or connected.

    What a listening socket has, its connections inherit.  Raises `EnvironmentRefusal`.
    """
    is_udp = sock.type == socket.SOCK_DGRAM
    _set_buffer(sock, options.receive_buffer, SO_RCVBUFFORCE, socket.SO_RCVBUF, is_udp=is_udp)
    _set_buffer(sock, options.send_buffer, SO_SNDBUFFORCE, socket.SO_SNDBUF, is_udp=is_udp)
    if options.mtu_discover is not None:
        _set_mtu_discover(sock, options.mtu_discover)
    try:
        if options.mark:
            sock.setsockopt(socket.SOL_SOCKET, SO_MARK, options.mark)
    except OSError as error:
        raise EnvironmentRefusal(
            f"cannot set the mark {options.mark}: {error.strerror}; it needs CAP_NET_ADMIN"
        ) from error
    try:
        if options.device:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, options.device.encode())
    except OSError as error:
        mend = "no such interface" if error.errno == errno.ENODEV else "older kernels want CAP_NET_RAW for it"
        raise EnvironmentRefusal(f"cannot bind to the device {options.device}: {error.strerror}; {mend}") from error


def _set_buffer(sock: socket.socket, size: int | None, force: int, ask: int, *, is_udp: bool) -> None:
    """Set a buffer's size past the host's limit (net.core.rmem_max, wmem_max) where we may, else up to it.

    TCP sizes its buffers itself unless it is told.
    """
    wanted = (SOCKET_BUFFER if is_udp else 0) if size is None else size
    if not wanted:
        return
    try:
        sock.setsockopt(socket.SOL_SOCKET, force, wanted)
    except OSError:
        sock.setsockopt(socket.SOL_SOCKET, ask, wanted)


def _set_mtu_discover(sock: socket.socket, mode: int) -> None:
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, mode)
    with suppress(OSError):  # an IPv6 socket has the IPv4 option for mapped peers, unless it is IPv6 alone
        sock.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, mode)


def set_tos(sock: socket.socket, tos: int) -> None:
    """Send with this type of service; what the kernel does not let us have (IP_TOS of ip(7)) is passed over."""
    with suppress(OSError):
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, tos)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, tos)


def bind_refusal(proto: str, address: tuple[Any, ...], error: OSError) -> EnvironmentRefusal:
    """Say in one line why a 'udp' or 'tcp' socket cannot be bound to `address`, and what to do."""
    host, port = str(address[0]), int(address[1])
    if error.errno == errno.EADDRINUSE:
        mend = f"another program has port {port} ('ss -lpn sport = :{port}' names it): stop it or choose another port"
    elif error.errno in {errno.EACCES, errno.EPERM}:
        mend = "ports below 1024 need root or CAP_NET_BIND_SERVICE" if port < 1024 else "not permitted on this host"
    elif error.errno == errno.EADDRNOTAVAIL:
        mend = "no interface of this machine has that address"
    else:
        mend = "is this IP version enabled on this host?"
    return EnvironmentRefusal(f"cannot listen on {proto} {readable((host, port))}: {error.strerror}; {mend}")


class _PreparedClient(Client):
    def createInternetSocket(self) -> socket.socket:
        sock: socket.socket = super().createInternetSocket()  # type: ignore[no-untyped-call]
        try:
            apply_options(sock, self.connector.options)
        except EnvironmentRefusal:
            sock.close()
            raise
        # A port of ours that a connection of a minute ago has had may be had again.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return sock


class _PreparedConnector(Connector):
    options: SocketOptions

    def _makeTransport(self) -> Client:
        return _PreparedClient(self.host, self.port, self.bindAddress, self, self.reactor)  # type: ignore[no-untyped-call]


class PreparedReactor:
    """What an endpoint takes for the reactor, its TCP sockets with `options` before they are bound or connect."""

    def __init__(self, reactor: Any, options: SocketOptions) -> None:
        self._reactor = reactor
        self._options = options
        directlyProvides(self, providedBy(reactor))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def connectTCP(
        self,
        host: str,
        port: int,
        factory: ClientFactory,
        timeout: float = 30,
        bindAddress: tuple[str, int] | None = None,
    ) -> IConnector:
        """See `IReactorTCP.connectTCP`; raises `EnvironmentRefusal` where an option cannot be had."""
        if self._options == NOTHING_ASKED and not bindAddress:
            return self._reactor.connectTCP(host, port, factory, timeout, bindAddress)  # type: ignore[no-any-return]
        connector = _PreparedConnector(host, port, factory, timeout, bindAddress, self._reactor)
        connector.options = self._options
        connector.connect()
        return connector

    def listenTCP(self, port: int, factory: Any, backlog: int = BACKLOG, interface: str = "") -> IListeningPort:
        """See `IReactorTCP.listenTCP`; without an interface, as with '::', it is for IPv6 and IPv4.

        Raises `EnvironmentRefusal`, also where the port is taken.
        """
        host = "" if interface == "::" else interface
        return listen_tcp(self._reactor, host, port, factory, self._options)

    def listenSSL(
        self, port: int, factory: Any, contextFactory: Any, backlog: int = BACKLOG, interface: str = ""
    ) -> IListeningPort:
        """See `IReactorSSL.listenSSL`; errors as of `listenTCP`."""
        contextFactory.getContext().set_alpn_select_callback(_choose_no_protocol)
        return self.listenTCP(port, TLSMemoryBIOFactory(contextFactory, False, factory), backlog, interface)


def _choose_no_protocol(_connection: SSL.Connection, _offered: list[bytes]) -> Any:
    """Go on without ALPN, as servers do that do not know it: browsers speak HTTP/1.1 then.

    Twisted's own choice would be an empty name, which OpenSSL takes for a fault of ours.
    """
    return SSL.NO_OVERLAPPING_PROTOCOLS
