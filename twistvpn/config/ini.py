"""Our own syntax: sections of `name = value`, where [server] or [client] says which end this is."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network
from typing import TYPE_CHECKING, TypeVar

from twisted.cred.strcred import InvalidAuthType, findCheckerFactories, findCheckerFactory

from twistvpn.config.assemble import assemble, read_client, read_device, read_server
from twistvpn.config.client_config import read_overrides
from twistvpn.config.directive import Directives
from twistvpn.config.endpoints import ini_listen, ini_remote
from twistvpn.config.fixed import with_fixed_addresses
from twistvpn.config.framing import refuse_compression
from twistvpn.config.ini_lexer import lex_ini
from twistvpn.config.networks import ini_route
from twistvpn.config.options import nearest
from twistvpn.config.outside import check_outer
from twistvpn.config.point_to_point import check_option, is_point_to_point, own_subnet, read_point_to_point
from twistvpn.config.screen import check_roles
from twistvpn.config.subnet import (
    Subnet,
    check_address,
    check_address6,
    check_network,
    check_network6,
    check_pool,
    topology_of,
    with_own_peer,
    with_whole_pool,
    with_whole_pool6,
)
from twistvpn.config.values import host, ipv4, ipv4_network, ipv6, ipv6_interface, ipv6_network, port
from twistvpn.errors import ConfigError
from twistvpn.wire.roles import Role

if TYPE_CHECKING:
    from collections.abc import Iterable

    from twistvpn.config.directive import Directive
    from twistvpn.config.ini_lexer import IniText
    from twistvpn.config.settings import ClientSettings, Listen, Remote, ServerSettings, Settings


def read_ini(text: str, file: str, directory: str) -> Settings:
    """The settings in an INI text; relative paths are taken from `directory`.  Raises `ConfigError`."""
    read = lex_ini(text, file)
    role = _role(file, read.lines)
    directives = Directives(read.items, file=file, directory=directory)
    is_alone = is_point_to_point(directives)
    if role is Role.CLIENT or is_alone:
        _refuse_clients(read, file, "a client" if role is Role.CLIENT else "point-to-point mode")
    if is_alone:
        return _point_to_point(directives, role)
    check_roles(directives, role)
    if role is Role.SERVER:
        settings = assemble(directives, role, server=_server(directives))
        return replace(settings, server=_with_clients(directives, settings, read))
    return assemble(directives, role, client=_client(directives))


def _refuse_clients(read: IniText, file: str, where: str) -> None:
    for name in read.clients:
        section = f"client {name}"
        message = f"has no meaning for {where}; remove the section"
        raise ConfigError(message, file=file, line=read.lines[section], option=f"[{section}]")


def _point_to_point(directives: Directives, role: Role) -> Settings:
    for item in directives.items:
        check_option(item, role)
    mode = read_point_to_point(directives, read_device(directives).dev_type)
    if role is Role.CLIENT:
        return assemble(directives, role, client=_client(directives), point_to_point=mode)
    return assemble(directives, role, server=_server(directives), point_to_point=mode)


def _role(file: str, sections: dict[str, int]) -> Role:
    if "server" in sections and "client" in sections:
        raise ConfigError(
            f"contradicts [server] (line {sections['server']}); keep one of them",
            file=file,
            line=sections["client"],
            option="[client]",
        )
    if "server" in sections:
        return Role.SERVER
    if "client" in sections:
        return Role.CLIENT
    raise ConfigError("has neither a [server] nor a [client] section; one of them says what this end is", file=file)


def _server(directives: Directives) -> ServerSettings:
    listen = tuple(ini_listen(item, directives) for item in directives.every("listen"))
    if not listen:
        raise directives.missing("listen", "is missing in [server]; write listen = udp:1194")
    _check_distinct(directives.every("listen"), [_key(item) for item in listen])
    for item in directives.every("authenticators"):
        _check_authenticator(item)
    subnet = _subnet(directives)
    return read_server(directives, listen, subnet, tuple(ini_route(item) for item in directives.every("route")))


def _with_clients(directives: Directives, settings: Settings, read: IniText) -> ServerSettings:
    """The server with what is different for single clients: sections, and `fixed-address` for addresses alone."""
    server = settings.server
    assert server is not None
    folder, exclusive = directives.last("client-config-dir"), directives.last("ccd-exclusive")
    fixed = directives.every("fixed-address")
    for name in read.clients:
        if folder is not None:
            raise folder.error(f"contradicts [client {name}] (line {read.lines[f'client {name}']}); keep one of them")
    if folder is not None and fixed:
        raise folder.contradiction(fixed[0])
    if exclusive is not None and folder is None and not read.clients and not fixed:
        raise exclusive.error("there are no settings for single clients, so nobody could come in")
    clients = {name: read_overrides(items, server) for name, items in read.clients.items()}
    for items in read.clients.values():
        refuse_compression(items, settings.data.allow_compression)
    return replace(server, clients=with_fixed_addresses(fixed, server, read.clients, clients))


def _key(item: Listen | Remote) -> str:
    return f"{item.proto}:{item.host}:{item.port}:{item.endpoint}" if item.port or item.endpoint else repr(item)


def _check_distinct(directives: Iterable[Directive], keys: Iterable[str]) -> None:
    seen: dict[str, Directive] = {}
    for directive, key in zip(directives, keys, strict=True):
        if key in seen:
            raise directive.error(f"is the same as line {seen[key].origin.line}; remove one")
        seen[key] = directive


def _check_authenticator(directive: Directive) -> None:
    """Raise `ConfigError` where no cred plugin has the description's type; the description itself may hold secrets."""
    kind = directive.args[0].partition(":")[0]
    try:
        findCheckerFactory(kind)
    except InvalidAuthType:
        known = [factory.authType for factory in findCheckerFactories()]
        hint = nearest(kind, known) or f"; there are {', '.join(sorted(known))}"
        raise directive.error(f"unknown kind of authenticator {kind!r}{hint}") from None


def _subnet(directives: Directives) -> Subnet:
    if is_point_to_point(directives):
        return own_subnet(directives, read_device(directives).dev_type)
    network_option, network6_option = directives.last("network"), directives.last("network6")
    if network_option is None and network6_option is None and "server-bridge" not in directives:
        raise directives.missing("network", "is missing in [server]; write network = 10.8.0.0/24")
    for own in (directives.last("ifconfig"), directives.last("ifconfig-ipv6")):
        if own is not None:
            raise own.error("is point-to-point mode's; the server's own addresses are address and address6")
    subnet = Subnet(topology=topology_of(directives, read_device(directives).dev_type))
    if network_option is not None:
        network = check_network(network_option, _network4(network_option), subnet.topology)
        subnet = with_own_peer(replace(subnet, network=network))
    if network6_option is not None:
        network6 = check_network6(network6_option, ipv6_network(network6_option, network6_option.args[0]))
        subnet = replace(subnet, network6=network6)
    return _with_pools(directives, _with_own_addresses(directives, subnet))


def _with_own_addresses(directives: Directives, subnet: Subnet) -> Subnet:
    own, own6 = directives.last("address"), directives.last("address6")
    if own is not None:
        if subnet.peer_address is not None:
            raise own.error(f"in topology {subnet.topology} it is the network's first one; remove it")
        network = _needed(own, subnet.network, "network")
        subnet = replace(subnet, address=check_address(own, ipv4(own, own.args[0]), network))
    if own6 is not None:
        network6 = _needed(own6, subnet.network6, "network6")
        subnet = replace(subnet, address6=check_address6(own6, ipv6(own6, own6.args[0]), network6))
    return subnet


def _with_pools(directives: Directives, subnet: Subnet) -> Subnet:
    pool, pool6 = directives.last("pool"), directives.last("pool6")
    if pool is None:
        subnet = with_whole_pool(subnet)
    else:
        _needed(pool, subnet.network, "network")
        first, dash, last = pool.args[0].partition("-")
        if not dash:
            raise pool.error("a pool is written FIRST-LAST, as 10.8.0.10-10.8.0.99")
        ends = ipv4(pool, first.strip()), ipv4(pool, last.strip())
        subnet = replace(subnet, pool=check_pool(pool, ends, subnet))
    if pool6 is None:
        return with_whole_pool6(subnet)
    _needed(pool6, subnet.network6, "network6")
    interface = ipv6_interface(pool6, pool6.args[0])
    check_network6(pool6, interface.network)
    return replace(subnet, pool6=interface)


def _network4(directive: Directive) -> IPv4Network:
    address, slash, mask = directive.args[0].partition("/")
    if not slash:
        raise directive.error(f"{address!r} has no size; write it as 10.8.0.0/24")
    return ipv4_network(directive, address.strip(), mask.strip())


_N = TypeVar("_N", IPv4Network, IPv6Network)


def _needed(directive: Directive, network: _N | None, name: str) -> _N:
    if network is None:
        raise directive.error(f"needs {name}, which is missing")
    return network


def _client(directives: Directives) -> ClientSettings:
    remotes = tuple(ini_remote(item, directives) for item in directives.every("remote"))
    if not remotes:
        raise directives.missing("remote", "is missing in [client]; write remote = udp:vpn.example.org:1194")
    check_outer(directives, remotes)
    local, lport = directives.last("local"), directives.last("lport")
    address = host(local, local.args[0]) if local is not None else None
    return read_client(
        directives,
        remotes,
        tuple(ini_route(item) for item in directives.every("route")),
        local=(address, port(lport, lport.args[0]) if lport is not None else 0),
    )
