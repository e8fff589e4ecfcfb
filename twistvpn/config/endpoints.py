"""Where the link ends: `udp:1194`, `tls:vpn.example.org:443`, or any Twisted endpoint description."""

from __future__ import annotations

import re
import socket
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IStreamClientEndpointStringParserWithReactor, IStreamServerEndpointStringParser
from twisted.plugin import getPlugins

from twistvpn.config.descriptions import with_files
from twistvpn.config.options import nearest
from twistvpn.config.outside import read_outside
from twistvpn.config.settings import Listen, Remote
from twistvpn.config.values import host, port
from twistvpn.wire.roles import Role

if TYPE_CHECKING:
    from collections.abc import Iterable

    from twistvpn.config.directive import Directive, Directives

DEFAULT_PORT = 1194

ANY_HOST = {0: "", socket.AF_INET: "0.0.0.0", socket.AF_INET6: "::"}  # noqa: S104 - a server listens everywhere
"""What binds every address, by family."""

PROTOCOLS = {
    "udp": ("udp", 0),
    "udp4": ("udp", socket.AF_INET),
    "udp6": ("udp", socket.AF_INET6),
    "tcp": ("tcp", 0),
    "tcp4": ("tcp", socket.AF_INET),
    "tcp6": ("tcp", socket.AF_INET6),
    "tls": ("tls", 0),
    "tls4": ("tls", socket.AF_INET),
    "tls6": ("tls", socket.AF_INET6),
}
"""Protocol and address family behind each name."""

_LISTEN = re.compile(r"(udp|tcp)([46]?):(?:(\[[^\]]*\]|[^:=\[\]]*[^\d:=\[\]][^:=\[\]]*):)?(\d+)", re.ASCII)
_REMOTE = re.compile(r"(udp|tcp|tls)([46]?):(\[[^\]]*\]|[^:=\[\]]+):(\d+)", re.ASCII)
_BUILT_IN = ("tcp", "ssl", "unix")
"""What twisted.internet.endpoints parses by itself; the other types are plugins."""


def protocol(directive: Directive, text: str, role: str) -> tuple[str, int]:
    """'udp', 'tcp' or 'tls', and the address family, of such a name; `role` is 'server' or 'client'."""
    name, dash, end = text.lower().partition("-")
    if name not in PROTOCOLS or (dash and (name.startswith("udp") or end not in {"server", "client"})):
        raise directive.error(f"unknown protocol {text!r}{nearest(text, PROTOCOLS) or '; use udp or tcp'}")
    if dash and end != role:
        raise directive.error(f"{text} is for the other end; write {name}")
    if name.startswith("tls") and role == "server":
        raise directive.error("TLS around the link is a server's in INI syntax alone: listen = ssl:443:privateKey=...")
    return PROTOCOLS[name]


def ini_listen(directive: Directive, directives: Directives) -> Listen:
    """One line of INI's `listen`; paths in it are taken from the folder of `directives`."""
    text = directive.args[0]
    match = _LISTEN.fullmatch(text)
    if match is not None:
        proto, version, written, number = match.groups()
        where = host(directive, written.strip("[]")) if written else ANY_HOST[PROTOCOLS[proto + version][1]]
        return Listen(proto, where, port(directive, number), origin=directive.origin)
    _check_endpoint(directive, text, IStreamServerEndpointStringParser)
    if text.startswith(("haproxy:ssl:", "haproxy:tls:")):
        raise directive.error(
            "a proxy's header comes before TLS, not in it; let the proxy end TLS, and use haproxy:tcp"
        )
    endpoint = with_files(directives, directive, Role.SERVER)
    return Listen("tcp", "", 0, endpoint=endpoint, origin=directive.origin)


def ini_remote(directive: Directive, directives: Directives) -> Remote:
    """One line of INI's `remote`, with what `directives` put around it."""
    text = directive.args[0]
    match = _REMOTE.fullmatch(text)
    if match is not None:
        proto, version, written, number = match.groups()
        family = PROTOCOLS[proto + version][1]
        kind = "tcp" if proto == "tls" else proto
        server = host(directive, written.strip("[]"))
        remote = Remote(server, port(directive, number), kind, family, origin=directive.origin)
        return read_outside(remote, proto, directives, directives)
    _check_endpoint(directive, text, IStreamClientEndpointStringParserWithReactor)
    server, number = _host_and_port(text)
    endpoint = with_files(directives, directive, Role.CLIENT)
    return Remote(server, number, "tcp", endpoint=endpoint, origin=directive.origin)


def _check_endpoint(directive: Directive, text: str, interface: type) -> None:
    """Raise `ConfigError` unless `text` begins as an endpoint description that Twisted or a plugin of it parses."""
    kind, colon, rest = text.partition(":")
    plugins: Iterable[Any] = getPlugins(interface)
    known = {*_BUILT_IN, *(str(plugin.prefix) for plugin in plugins)}
    if kind in {"tls4", "tls6"} and interface is IStreamServerEndpointStringParser:
        return  # what it is to be is said with the other mistakes about TLS
    if kind in PROTOCOLS and kind not in {"tcp", "tls"}:
        raise directive.error(f"{text!r} is not {kind}:PORT or {kind}:HOST:PORT")
    if not colon or not rest or kind not in known:
        raise directive.error(
            f"{text!r} is no endpoint{nearest(kind, known | PROTOCOLS.keys())}; write it as udp:HOST:PORT"
        )


def _host_and_port(description: str) -> tuple[str, int]:
    """Host and port of a client endpoint description for logs and routes, '' and 0 where it has none."""
    server, number = "", 0
    for position, field in enumerate(re.split(r"(?<!\\):", description)[1:]):
        name, equals, value = field.replace("\\:", ":").partition("=")
        if not equals:
            name, value = ("host", "port")[position] if position < 2 else "", name
        if name == "host":
            server = value
        elif name == "port" and value.isdecimal():
            number = int(value)
    return server, number
