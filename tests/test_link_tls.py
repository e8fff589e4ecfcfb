"""TLS around a server's links, met by clients that are not ours."""

from __future__ import annotations

import socket
import ssl
from time import monotonic
from typing import TYPE_CHECKING, Any, cast

import pytest
from twisted.internet.interfaces import IStreamServerEndpointStringParser
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.threads import deferToThread
from twisted.plugin import getPlugins

from tests.certificates import HOST, server_certificate
from tests.recorders import RunRecorder
from tests.running import in_reactor
from twistvpn.interfaces import NOTHING_ASKED
from twistvpn.link.haproxy import server_endpoint
from twistvpn.link.sharing import SharedPortFactory
from twistvpn.link.sockets import PreparedReactor
from twistvpn.link.strangers import Strangers
from twistvpn.link.stream import StreamLinkFactory

if TYPE_CHECKING:
    from pathlib import Path

    from twistvpn.link.sharing import PortShare


def _has_tls_endpoint() -> bool:
    return any(str(plugin.prefix) == "tls" for plugin in getPlugins(IStreamServerEndpointStringParser))


class Greeting(Protocol):
    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(b"hello")
        self.transport.loseConnection()


class Website:
    """What a port is shared with, without the relay."""

    def hand_on(self, transport: Any) -> Greeting:
        greeting = Greeting()
        greeting.makeConnection(transport)  # type: ignore[no-untyped-call]  # it is Twisted's
        return greeting


async def greeted(description: str, factory: Factory, offered: list[str]) -> tuple[str | None, bytes]:
    """The protocol agreed on and what a TLS client is told that offers `offered`, at 127.0.0.1."""
    from twisted.internet import reactor

    prepared = PreparedReactor(reactor, NOTHING_ASKED)
    port: Any = await server_endpoint(prepared, description, Strangers(monotonic)).listen(factory)

    def ask() -> tuple[str | None, bytes]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_alpn_protocols(offered)
        with (
            socket.create_connection(("127.0.0.1", port.getHost().port), 20) as raw,
            context.wrap_socket(raw, server_hostname=HOST) as connection,
        ):
            connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
            return connection.selected_alpn_protocol(), connection.recv(100)

    try:
        return await deferToThread(ask)
    finally:
        await port.stopListening()


def pem_file(folder: Path) -> Path:
    issued = server_certificate()
    path = folder / f"{HOST}.pem"
    path.write_text(issued.certificate_pem + issued.key_pem)
    return path


def shared_port() -> SharedPortFactory:
    from twisted.internet import reactor

    clock = cast("Any", reactor)
    return SharedPortFactory(StreamLinkFactory(RunRecorder(), clock), cast("PortShare", Website()), clock)


@pytest.mark.shows("port-share")
@pytest.mark.parametrize("offered", [["h2", "http/1.1"], ["h2"], ["openvpn"]])
@in_reactor
async def test_whatever_application_protocols_a_client_offers_it_is_served(offered: list[str], tmp_path: Path) -> None:
    pem = pem_file(tmp_path)
    description = f"ssl:0:interface=127.0.0.1:privateKey={pem}:certKey={pem}"
    assert await greeted(description, Factory.forProtocol(Greeting), offered) == (None, b"hello")
    assert await greeted(description, shared_port(), offered) == (None, b"hello")


@pytest.mark.skipif(not _has_tls_endpoint(), reason="this Twisted has no server endpoint tls:")
@pytest.mark.shows("port-share")
@in_reactor
async def test_browsers_are_served_where_their_name_for_us_chooses_the_certificate(tmp_path: Path) -> None:
    pem_file(tmp_path)
    description = f"tls:{tmp_path}:0:interface=127.0.0.1"
    assert await greeted(description, shared_port(), ["h2", "http/1.1"]) == ("http/1.1", b"hello")
