"""Our own syntax: sections of `name = value`, where [server] or [client] says which end this is."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network
from typing import TYPE_CHECKING, TypeVar

from twisted.cred.strcred import InvalidAuthType, findCheckerFactories, findCheckerFactory

from twistvpn.config.assemble import assemble, read_client, read_server
from twistvpn.config.directive import Directives
from twistvpn.config.endpoints import ini_listen, ini_remote
from twistvpn.config.fixed import read_fixed_addresses
from twistvpn.config.ini_lexer import lex_ini
from twistvpn.config.networks import (
    Subnet,
    check_address,
    check_address6,
    check_network,
    check_network6,
    check_pool,
    check_pool_without_server,
    ini_route,
)
from twistvpn.config.options import OPTIONS, nearest
from twistvpn.config.values import ipv4, ipv4_network, ipv6, ipv6_network, port, text_of
from twistvpn.errors import ConfigError
from twistvpn.wire.roles import Role

if TYPE_CHECKING:
    from collections.abc import Iterable

    from twistvpn.config.directive import Directive
    from twistvpn.config.settings import ClientSettings, Listen, Remote, ServerSettings, Settings


def read_ini(text: str, file: str, directory: str) -> Settings:
    """The settings in an INI text; relative paths are taken from `directory`.  Raises `ConfigError`."""
    items, sections = lex_ini(text, file)
    role = _role(file, sections)
    directives = Directives(items, file=file, directory=directory)
    _check_roles(directives, role)
    if role is Role.SERVER:
        return assemble(directives, role, server=_server(directives))
    return assemble(directives, role, client=_client(directives))


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


def _check_roles(directives: Directives, role: Role) -> None:
    for item in directives.items:
        known = OPTIONS.get(item.name)
        if known is not None and known.role not in {None, role}:
            raise item.error(f"has no meaning for a {role.value}; remove it")


def _server(directives: Directives) -> ServerSettings:
    listen = tuple(ini_listen(item) for item in directives.every("listen"))
    if not listen:
        raise directives.missing("listen", "is missing in [server]; write listen = udp:1194")
    _check_distinct(directives.every("listen"), [_key(item) for item in listen])
    for item in directives.every("authenticators"):
        _check_authenticator(item)
    subnet = _subnet(directives)
    routes = tuple(ini_route(item) for item in directives.every("route"))
    fixed = read_fixed_addresses(directives.every("fixed-address"), subnet)
    return replace(read_server(directives, listen, subnet, routes), fixed_addresses=fixed)


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
    network_option, network6_option = directives.last("network"), directives.last("network6")
    if network_option is None and network6_option is None and "server-bridge" not in directives:
        raise directives.missing("network", "is missing in [server]; write network = 10.8.0.0/24")
    network = network6 = address = address6 = pool = None
    if network_option is not None:
        network = check_network(network_option, _network4(network_option))
    if network6_option is not None:
        network6 = check_network6(network6_option, ipv6_network(network6_option, network6_option.args[0]))
    own, own6, pool_option = (directives.last(name) for name in ("address", "address6", "pool"))
    if own is not None:
        address = check_address(own, ipv4(own, own.args[0]), _needed(own, network, "network"))
    if own6 is not None:
        address6 = check_address6(own6, ipv6(own6, own6.args[0]), _needed(own6, network6, "network6"))
    if pool_option is not None:
        first, dash, last = pool_option.args[0].partition("-")
        if not dash:
            raise pool_option.error("a pool is written FIRST-LAST, as 10.8.0.10-10.8.0.99")
        ends = ipv4(pool_option, first.strip()), ipv4(pool_option, last.strip())
        pool = check_pool(pool_option, ends, _needed(pool_option, network, "network"))
    subnet = Subnet(network, network6, address, address6, pool)
    if pool_option is not None:
        check_pool_without_server(pool_option, subnet)
    return subnet


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
    remotes = tuple(ini_remote(item) for item in directives.every("remote"))
    if not remotes:
        raise directives.missing("remote", "is missing in [client]; write remote = udp:vpn.example.org:1194")
    lport = directives.last("lport")
    return read_client(
        directives,
        remotes,
        tuple(ini_route(item) for item in directives.every("route")),
        local=(text_of(directives, "local"), port(lport, lport.args[0]) if lport is not None else 0),
    )
