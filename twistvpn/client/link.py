"""Opening the link to a server: resolve its name, then a UDP socket or a stream, by a proxy and in TLS if asked."""

from __future__ import annotations

import encodings.idna  # noqa: F401  what looks names up would load it late, when it may no longer be readable
import socket
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Protocol

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint, clientFromString, wrapClientTLS
from twisted.internet.interfaces import IResolutionReceiver
from twisted.internet.ssl import (
    Certificate,
    TLSVersion,
    optionsForClientTLS,
    platformTrust,
    trustRootFromCertificates,
)
from zope.interface import implementer

from twistvpn.config.settings import ProxyKind
from twistvpn.errors import EnvironmentRefusal
from twistvpn.interfaces import NOTHING_ASKED, SocketOptions
from twistvpn.link.proxies import HttpConnect, ProxiedEndpoint, Socks5
from twistvpn.link.sockets import PreparedReactor, open_udp_socket
from twistvpn.link.socks_udp import SocksUdpLink, associate
from twistvpn.link.stream import MAX_FRAME, StreamLinkFactory
from twistvpn.link.udp import UdpLink

if TYPE_CHECKING:
    from typing import Any

    from twisted.internet.interfaces import IAddress, IHostResolution

    from twistvpn.config.settings import ClientSettings, OuterTls, Proxy, Remote
    from twistvpn.interfaces import Address, ILink, ILinkReceiver
    from twistvpn.link.proxies import Dialogue

NAMES_KEPT = 256
"""Names whose addresses are remembered, at most."""
RESOLVER_PATIENCE = 15.0
"""Seconds after which a resolver counts as out of reach; glibc's asks a name server twice within 10 by default."""

_ADDRESS_TYPES: dict[int, tuple[type, ...]] = {
    0: (IPv4Address, IPv6Address),
    socket.AF_INET: (IPv4Address,),
    socket.AF_INET6: (IPv6Address,),
}


class Links(Protocol):
    """Where a client's links come from: `LinkOpener`, or an application's own."""

    async def addresses(self, remote: Remote) -> list[str]:
        """The server's IP addresses, the first to try first; raises `OSError` where there are none."""

    async def open(self, remote: Remote, host: str, receiver: ILinkReceiver) -> tuple[ILink, Address]:
        """A link to `remote` at the address `host`, and the address that datagrams go to."""


class NameNotFound(OSError):
    """A server's name does not resolve."""


@implementer(IResolutionReceiver)
class _Resolution:
    def __init__(self, done: Deferred[list[str]]) -> None:
        self._done = done
        self._found: list[str] = []

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        pass

    def addressResolved(self, address: IAddress) -> None:
        if isinstance(address, (IPv4Address, IPv6Address)) and address.host not in self._found:
            self._found.append(address.host)

    def resolutionComplete(self) -> None:
        self._done.callback(self._found)


def _literal(remote: Remote) -> str | None:
    """The host if it is an address, as the kernel writes it; None for a name.

    Raises `NameNotFound` for what cannot be a name: the resolver would never say so.
    """
    try:
        found = socket.getaddrinfo(remote.host, remote.port, remote.family, socket.SOCK_DGRAM, 0, socket.AI_NUMERICHOST)
    except socket.gaierror:
        return None
    except UnicodeError as error:
        raise NameNotFound(f"{remote.host!r} is not a host name: {error}") from error
    return str(found[0][4][0])


class LinkOpener:
    """Opens links for one client.  Addresses a name had before serve again where it no longer resolves."""

    def __init__(
        self,
        reactor: Any,
        settings: ClientSettings,
        options: SocketOptions = NOTHING_ASKED,
        max_frame: int = MAX_FRAME,
    ) -> None:
        """`max_frame` is the bytes of a packet on a stream at most."""
        self._reactor = reactor
        self._settings = settings
        self._options = options
        self._max_frame = max_frame
        self._known: dict[tuple[str, int], list[str]] = {}
        """By name and family."""

    async def addresses(self, remote: Remote) -> list[str]:
        """The IP addresses of the server or of the proxy to it, in the resolver's order; raises `NameNotFound`.

        With all traffic in a tunnel that is down, the resolver may be out of reach.
        """
        if remote.proxy is not None:
            remote = replace(remote, host=remote.proxy.host, port=remote.proxy.port, family=0)
        literal = _literal(remote)
        if literal is not None:
            return [literal]
        done: Deferred[list[str]] = Deferred()
        self._reactor.nameResolver.resolveHostName(
            _Resolution(done), remote.host, remote.port, _ADDRESS_TYPES[remote.family]
        )
        asked = remote.host, remote.family
        done.addTimeout(RESOLVER_PATIENCE, self._reactor, lambda _failure, _seconds: [])
        found = await done or self._known.get(asked, [])
        if not found:
            raise NameNotFound(f"{remote.host} does not resolve")
        # Servers push names too.
        if asked in self._known or len(self._known) < NAMES_KEPT:
            self._known[asked] = found
        return found

    async def open(self, remote: Remote, host: str, receiver: ILinkReceiver) -> tuple[ILink, Address]:
        """A link to `remote` at the address `host`, and the address that datagrams go to.

        Raises `OSError`, `EnvironmentRefusal` or what the endpoint fails with.
        """
        if remote.endpoint is not None or remote.proto == "tcp":
            factory = StreamLinkFactory(receiver, self._reactor, max_frame=self._max_frame, idle=None)
            stream = await self._endpoint(remote, host).connect(factory)
            return stream, stream.address
        if remote.proxy is not None:
            relayed = await self._open_relayed(remote, remote.proxy, host, receiver)
            return relayed, relayed.address
        is_ipv6 = ":" in host
        link = UdpLink(self._reactor, self._open_socket(host), receiver)
        if not is_ipv6:
            return link, (host, remote.port)
        plain, _, scope = host.partition("%")
        return link, (plain, remote.port, 0, socket.if_nametoindex(scope) if scope else 0)

    def _open_socket(self, towards: str) -> socket.socket:
        family = socket.AF_INET6 if ":" in towards else socket.AF_INET
        return open_udp_socket(self._settings.local or "", self._settings.local_port, family, self._options)

    async def _open_relayed(self, remote: Remote, proxy: Proxy, host: str, receiver: ILinkReceiver) -> SocksUdpLink:
        """A link to `remote` by a SOCKS proxy whose address is `host`.

        As in stock we look the server's name up ourselves, IPv4 first; a name that we do not know may be the proxy's.
        """
        target = remote.host
        with suppress(NameNotFound):
            found = await self.addresses(replace(remote, proxy=None))
            target = next((address for address in found if ":" not in address), found[0])
        timeout = self._settings.connect_timeout
        association = await associate(self._tcp(host, proxy.port), host, proxy.credentials, self._reactor, timeout)
        try:
            sock = self._open_socket(association.relay[0])
        except EnvironmentRefusal:
            association.end()
            raise
        return SocksUdpLink(self._reactor, sock, association, (target, remote.port), receiver)

    def _endpoint(self, remote: Remote, host: str) -> Any:
        if remote.endpoint is not None:
            return clientFromString(PreparedReactor(self._reactor, self._options), remote.endpoint)
        proxy = remote.proxy
        endpoint: Any = self._tcp(host, remote.port if proxy is None else proxy.port)
        if proxy is not None:
            dialogue = partial(_dialogue, proxy, remote)
            endpoint = ProxiedEndpoint(endpoint, dialogue, self._reactor, self._settings.connect_timeout)
        return endpoint if remote.outer is None else wrapClientTLS(_outer_tls(remote.outer), endpoint)

    def _tcp(self, host: str, port: int) -> Any:
        kind = TCP6ClientEndpoint if ":" in host else TCP4ClientEndpoint
        settings = self._settings
        bind = (settings.local or "", settings.local_port) if settings.local or settings.local_port else None
        connections = PreparedReactor(self._reactor, self._options)
        return kind(connections, host, port, timeout=settings.connect_timeout, bindAddress=bind)


def _dialogue(proxy: Proxy, remote: Remote) -> Dialogue:
    if proxy.kind is ProxyKind.SOCKS:
        return Socks5(remote.host, remote.port, proxy.credentials)
    return HttpConnect(remote.host, remote.port, proxy.credentials, proxy.http_version, proxy.http_headers)


def _outer_tls(outer: OuterTls) -> Any:
    """What makes the TLS around a link: its certificate is verified by service-identity, as a browser does."""
    trust = platformTrust() if outer.ca is None else trustRootFromCertificates(_certificates(outer.ca.data))
    return optionsForClientTLS(
        outer.name, trustRoot=trust, extraCertificateOptions={"raiseMinimumTo": TLSVersion.TLSv1_2}
    )


def _certificates(pem: bytes) -> list[Certificate]:
    found = x509.load_pem_x509_certificates(pem)
    return [Certificate.loadPEM(certificate.public_bytes(Encoding.PEM)) for certificate in found]
