"""OpenVPN's own syntax, read into `Settings`."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from twistvpn.config.assemble import assemble, read_client, read_device, read_server
from twistvpn.config.connections import read_connections
from twistvpn.config.directive import Directive, Directives
from twistvpn.config.endpoints import ANY_HOST, DEFAULT_PORT, protocol
from twistvpn.config.include import expand
from twistvpn.config.lexer import lex
from twistvpn.config.networks import openvpn_routes, refuse_end_routes
from twistvpn.config.point_to_point import (
    check_option,
    is_point_to_point,
    own_subnet,
    read_point_to_point,
    role_of_end,
)
from twistvpn.config.screen import check_roles, screen, tolerated
from twistvpn.config.settings import Listen
from twistvpn.config.subnet import openvpn_subnet
from twistvpn.config.values import choice, host, port
from twistvpn.wire.roles import Role

if TYPE_CHECKING:
    from twistvpn.config.settings import ClientSettings, ServerSettings, Settings


def read_ovpn(text: str, file: str, directory: str) -> Settings:
    """The settings in a text of OpenVPN's syntax; relative paths are taken from `directory`.  Raises `ConfigError`."""
    directives = Directives((), file=file, directory=directory)
    everything = list(expand(lex(text.removeprefix("\ufeff"), file), directives))
    directives.items = list(screen(everything, directives, tolerated(everything)))
    if is_point_to_point(directives):
        return _point_to_point(directives)
    role = _role(directives)
    check_roles(directives, role)
    if role is Role.SERVER:
        return assemble(directives, role, server=_server(directives))
    return assemble(directives, role, client=_client(directives))


def _role(directives: Directives) -> Role:
    """The end that the options describe; both ends, neither, or one without its TLS role are mistakes."""
    server, client = directives.last_of("server", "server-ipv6", "server-bridge"), directives.last("client")
    mode, tls_server, tls_client = (directives.last(name) for name in ("mode", "tls-server", "tls-client"))
    server = server or (mode if mode is not None and mode.args[0] == "server" else None)
    client = client or directives.last("pull") or tls_client
    if server is not None and client is not None:
        raise client.contradiction(server)
    if client is not None and tls_server is not None:
        raise client.contradiction(tls_server)
    if client is not None and client.name == "pull" and tls_client is None:
        raise client.error("needs tls-client beside it; write client instead of both")
    if server is not None:
        if server is mode and tls_server is None:
            raise server.error("needs tls-server beside it")
        return Role.SERVER
    if client is None:
        raise directives.missing("client", "is missing; a configuration has client, or server NETWORK NETMASK")
    return Role.CLIENT


def _point_to_point(directives: Directives) -> Settings:
    role = role_of_end(directives)
    for item in directives.items:
        check_option(item, role)
    dev_type = read_device(directives).dev_type
    if role is Role.CLIENT:
        mode = read_point_to_point(directives, dev_type)
        return assemble(directives, role, client=_client(directives), point_to_point=mode)
    remotes = read_connections(directives) if "remote" in directives else ()
    server = read_server(directives, _listen(directives), own_subnet(directives, dev_type), openvpn_routes(directives))
    mode = read_point_to_point(directives, dev_type, remotes)
    return assemble(directives, role, server=server, point_to_point=mode)


def _server(directives: Directives) -> ServerSettings:
    refuse_end_routes(directives)
    exclusive = directives.last("ccd-exclusive")
    if exclusive is not None and "client-config-dir" not in directives:
        raise exclusive.error("needs client-config-dir: nobody could come in")
    return read_server(
        directives,
        _listen(directives),
        openvpn_subnet(directives, read_device(directives).dev_type),
        openvpn_routes(directives),
    )


def _listen(directives: Directives) -> tuple[Listen, ...]:
    """One local end for each `local` (stock 2.7 has several), or the one on every address."""
    proto_option, port_option = directives.last("proto"), directives.last_of("lport", "port")
    number = port(port_option, port_option.args[0]) if port_option is not None else DEFAULT_PORT
    proto, family = protocol(proto_option, proto_option.args[0], "server") if proto_option is not None else ("udp", 0)
    anyone = ANY_HOST[family] if family == socket.AF_INET or _ipv6_only(directives) else ""
    locals_ = directives.every("local")
    if not locals_:
        option = proto_option or port_option
        return (Listen(proto, anyone, number, origin=option.origin if option is not None else None),)
    return tuple(_local(item, Listen(proto, anyone, number)) for item in locals_)


def _local(item: Directive, default: Listen) -> Listen:
    address, number, proto = (*item.args, "", "")[:3]
    return Listen(
        protocol(item, proto, "server")[0] if proto else default.proto,
        default.host if address == "*" else host(item, address),
        port(item, number) if number else default.port,
        origin=item.origin,
    )


def _ipv6_only(directives: Directives) -> bool:
    directive = directives.last("bind")
    return directive is not None and bool(directive.args) and choice(directive, directive.args[0], "ipv6only") != ""


def _client(directives: Directives) -> ClientSettings:
    remotes = read_connections(directives)
    return read_client(directives, remotes, openvpn_routes(directives), _local_end(directives))


def _local_end(directives: Directives) -> tuple[str | None, int]:
    """Where the client's link is bound: a client that pulls binds only when an option asks for it.

    In point-to-point mode the other end may want to know the port, so that it is bound where nothing forbids it.
    """
    nobind, bind = directives.last("nobind"), directives.last("bind")
    local, lport = directives.last("local"), directives.last("lport")
    asked = local or lport or bind
    if nobind is not None and asked is not None:
        raise asked.contradiction(nobind)
    if asked is None and (nobind is not None or not is_point_to_point(directives)):
        return None, 0
    option = lport or directives.last("port")
    number = port(option, option.args[0]) if option is not None else DEFAULT_PORT
    if local is None or local.args[0] == "*":
        return None, number
    return host(local, local.args[0]), port(local, local.args[1]) if len(local.args) > 1 else number
