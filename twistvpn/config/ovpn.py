"""OpenVPN's own syntax, read into `Settings`."""

from __future__ import annotations

import socket
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Interface
from pathlib import Path
from typing import TYPE_CHECKING

from twistvpn.config.assemble import assemble, read_client, read_server
from twistvpn.config.connections import read_connections
from twistvpn.config.directive import Directive, Directives
from twistvpn.config.endpoints import ANY_HOST, DEFAULT_PORT, protocol
from twistvpn.config.lexer import lex
from twistvpn.config.networks import (
    Subnet,
    check_address,
    check_address6,
    check_network,
    check_network6,
    check_pool,
    check_pool_without_server,
    openvpn_routes,
)
from twistvpn.config.options import OPTIONS
from twistvpn.config.screen import modern, screen, tolerated
from twistvpn.config.settings import Listen
from twistvpn.config.values import choice, ipv4, ipv4_network, ipv6, ipv6_network, port
from twistvpn.wire.roles import Role

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from ipaddress import IPv4Network

    from twistvpn.config.settings import ClientSettings, ServerSettings, Settings

_MAX_INCLUDES = 10


def read_ovpn(text: str, file: str, directory: str) -> Settings:
    """The settings in a text of OpenVPN's syntax; relative paths are taken from `directory`.  Raises `ConfigError`."""
    directives = Directives((), file=file, directory=directory)
    everything = list(_expand(lex(text.removeprefix("\ufeff"), file), directives, 1))
    directives.items = list(screen(everything, directives, tolerated(everything)))
    for item in directives.every("cd"):
        directives.directory = directives.path(item.args[0])
    role = _role(directives)
    _check_roles(directives, role)
    _check_topology(directives)
    if role is Role.SERVER:
        return assemble(directives, role, server=_server(directives))
    return assemble(directives, role, client=_client(directives))


def _expand(items: Iterable[Directive], directives: Directives, depth: int) -> Iterator[Directive]:
    """The options with present names, and those of the files that `config` includes in its place."""
    for item in items:
        directive = modern(item)
        if directive is None:
            continue
        if directive.name != "config":
            yield directive
            continue
        if depth >= _MAX_INCLUDES or len(directive.args) != 1:
            raise directive.error("files include each other without end" if directive.args else "takes a file's name")
        path = directives.path(directive.args[0])
        try:
            text = Path(path).read_text(encoding="utf-8-sig")
        except OSError as error:
            raise directive.error(f"cannot read {path}: {error.strerror}") from None
        except ValueError:
            raise directive.error(f"{path} is not UTF-8 text") from None
        yield from _expand(lex(text, path), directives, depth + 1)


def _role(directives: Directives) -> Role:
    """The end that the options describe; both ends, neither, or one without its TLS role are mistakes."""
    server, client = directives.last_of("server", "server-ipv6", "server-bridge"), directives.last("client")
    mode, tls_server, tls_client = (directives.last(name) for name in ("mode", "tls-server", "tls-client"))
    if mode is not None and choice(mode, mode.args[0], "server", "p2p") == "p2p":
        raise mode.error("point-to-point mode does not exist; use server at one end and client at the other")
    server = server or mode
    client = client or directives.last("pull") or tls_client
    if server is not None and client is not None:
        raise client.contradiction(server)
    if client is not None and tls_server is not None:
        raise client.contradiction(tls_server)
    if tls_client is not None and client is tls_client:
        raise tls_client.error("point-to-point mode does not exist; add pull, or write client instead")
    if client is not None and client.name == "pull" and tls_client is None:
        raise client.error("needs tls-client beside it; write client instead of both")
    if server is not None:
        if server is mode and tls_server is None:
            raise server.error("needs tls-server beside it")
        return Role.SERVER
    if tls_server is not None:
        raise tls_server.error("point-to-point mode does not exist; add server NETWORK NETMASK")
    if client is None:
        raise directives.missing("client", "is missing; a configuration has client, or server NETWORK NETMASK")
    return Role.CLIENT


def _check_roles(directives: Directives, role: Role) -> None:
    for item in directives.items:
        if OPTIONS[item.name].role not in {None, role}:
            raise item.error(f"has no meaning for a {role.value}; remove it")


def _check_topology(directives: Directives) -> None:
    directive = directives.last("topology")
    if directive is not None and choice(directive, directive.args[0], "subnet", "net30", "p2p") != "subnet":
        raise directive.error(f"only subnet exists, not {directive.args[0]}; write topology subnet on the server")


def _server(directives: Directives) -> ServerSettings:
    return read_server(directives, _listen(directives), _subnet(directives), openvpn_routes(directives))


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
    host, number, proto = (*item.args, "", "")[:3]
    return Listen(
        protocol(item, proto, "server")[0] if proto else default.proto,
        default.host if host == "*" else host,
        port(item, number) if number else default.port,
        origin=item.origin,
    )


def _ipv6_only(directives: Directives) -> bool:
    directive = directives.last("bind")
    return directive is not None and bool(directive.args) and choice(directive, directive.args[0], "ipv6only") != ""


def _subnet(directives: Directives) -> Subnet:
    """`server` and `server-ipv6`, or what they stand for written out (`ifconfig` and `ifconfig-pool`)."""
    short, short6 = directives.last("server"), directives.last("server-ipv6")
    long, long6 = directives.last("ifconfig"), directives.last("ifconfig-ipv6")
    for short_form, long_form in ((short, long), (short6, long6)):
        if short_form is not None and long_form is not None:
            raise long_form.contradiction(short_form)
    subnet = Subnet()
    if short is not None:
        subnet = replace(subnet, network=check_network(short, ipv4_network(short, *short.args[:2])))
    elif long is not None:
        network = check_network(long, _network_of(long))
        subnet = replace(subnet, network=network, address=check_address(long, ipv4(long, long.args[0]), network))
    if short6 is not None:
        subnet = replace(subnet, network6=check_network6(short6, ipv6_network(short6, short6.args[0])))
    elif long6 is not None:
        subnet = _with_ifconfig_ipv6(subnet, long6)
    if subnet.network is None and subnet.network6 is None and "server-bridge" not in directives:
        raise directives.missing("server", "is missing; write server NETWORK NETMASK")
    _check_pool6(directives, subnet)
    return _with_pool(directives, subnet, short)


def _network_of(directive: Directive) -> IPv4Network:
    address, netmask = directive.args
    mask = ipv4(directive, netmask)
    if int(mask) < int(IPv4Address("128.0.0.0")):
        raise directive.error("the second argument must be the netmask, as topology subnet has it")
    network = int(ipv4(directive, address)) & int(mask)
    return ipv4_network(directive, str(IPv4Address(network)), netmask)


def _with_ifconfig_ipv6(subnet: Subnet, directive: Directive) -> Subnet:
    try:
        interface = IPv6Interface(directive.args[0])
    except ValueError:
        raise directive.error(f"{directive.args[0]!r} is not an IPv6 address with its prefix length") from None
    network = check_network6(directive, interface.network)
    return replace(
        subnet, network6=network, address6=check_address6(directive, ipv6(directive, str(interface.ip)), network)
    )


def _with_pool(directives: Directives, subnet: Subnet, short: Directive | None) -> Subnet:
    pool = directives.last("ifconfig-pool")
    flags = short.args[2:] if short is not None else ()
    if short is not None and flags:
        choice(short, flags[0], "nopool")
    if pool is None:
        if short is not None and flags:
            raise short.error("nopool leaves clients without addresses; add ifconfig-pool, or remove nopool")
        return subnet
    if short is not None and not flags:
        raise pool.error(f"contradicts {short.place}, which makes the pool; add nopool there, or remove this")
    if subnet.network is None:
        raise pool.error("needs server, or ifconfig with a netmask")
    ends = ipv4(pool, pool.args[0]), ipv4(pool, pool.args[1])
    if len(pool.args) > 2 and ipv4(pool, pool.args[2]) != subnet.network.netmask:
        raise pool.error(f"the netmask is not that of the network ({subnet.network.netmask})")
    subnet = replace(subnet, pool=check_pool(pool, ends, subnet.network))
    check_pool_without_server(pool, subnet)
    return subnet


def _check_pool6(directives: Directives, subnet: Subnet) -> None:
    pool = directives.last("ifconfig-ipv6-pool")
    if pool is None:
        return
    base, _, bits = pool.args[0].partition("/")
    if subnet.network6 is None or ipv6(pool, base) not in subnet.network6 or bits != str(subnet.network6.prefixlen):
        raise pool.error("is not in the server's IPv6 network; write server-ipv6 NETWORK/BITS alone")
    directives.note(pool, "changes nothing here: clients get addresses anywhere in the server's IPv6 network")


def _client(directives: Directives) -> ClientSettings:
    remotes = read_connections(directives)
    return read_client(directives, remotes, openvpn_routes(directives), _local_end(directives))


def _local_end(directives: Directives) -> tuple[str | None, int]:
    """Where the client's link is bound: a client that pulls binds only when an option asks for it."""
    nobind, bind = directives.last("nobind"), directives.last("bind")
    host, lport = directives.last("local"), directives.last("lport")
    asked = host or lport or bind
    if nobind is not None and asked is not None:
        raise asked.contradiction(nobind)
    if asked is None:
        return None, 0
    option = lport or directives.last("port")
    number = port(option, option.args[0]) if option is not None else DEFAULT_PORT
    if host is None or host.args[0] == "*":
        return None, number
    return host.args[0], port(host, host.args[1]) if len(host.args) > 1 else number
