"""What is different for single clients: files of `client-config-dir`, and sections [client NAME] of our own syntax."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from pathlib import Path
from typing import TYPE_CHECKING

from zope.interface import implementer

from twistvpn.config.bridging import VLANS
from twistvpn.config.directive import Directives
from twistvpn.config.framing import check_compression, refuse_compression
from twistvpn.config.include import expand
from twistvpn.config.lexer import lex
from twistvpn.config.options import OPTIONS, Treatment, nearest
from twistvpn.config.pushed import pushed_option
from twistvpn.config.screen import check_arguments
from twistvpn.config.settings import own_addresses
from twistvpn.config.values import (
    any_network,
    inactivity,
    integer,
    ipv4,
    ipv4_network,
    ipv6,
    ipv6_interface,
    ipv6_network,
    is_netmask,
    seconds,
)
from twistvpn.errors import AuthenticationRejected, ConfigError
from twistvpn.overrides import ALIKE, IClientSettings, Ifconfig, Ifconfig6

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
    from ipaddress import IPv6Network

    from twistvpn.config.directive import Directive
    from twistvpn.config.settings import ServerSettings, Settings
    from twistvpn.overrides import ClientOverrides

DEFAULT = "DEFAULT"
"""The name of the file and the section for all clients that have none of their own."""


def read_overrides(items: Iterable[Directive], server: ServerSettings) -> ClientOverrides:
    """The options of one client in their order, in which `push-reset` and `push-remove` undo what stands before them.

    Raises `ConfigError` for what cannot be an option of one client.
    """
    overrides = ALIKE
    for item in items:
        option = OPTIONS.get(item.name)
        if option is None:
            if item.optional:
                continue
            raise item.error(f"unknown option{nearest(item.name, _READERS) or '; remove it'}")
        if item.name not in _READERS:
            if option.treatment is Treatment.NO_EFFECT:
                continue
            raise item.error("is not an option of one client; remove it")
        check_arguments(item)
        overrides = _READERS[item.name](overrides, item, server)
    return overrides


def _ifconfig(overrides: ClientOverrides, item: Directive, server: ServerSettings) -> ClientOverrides:
    address = ipv4(item, item.args[0])
    second = ipv4(item, item.args[1]) if len(item.args) > 1 else _second_of(item, address, server)
    if is_netmask(second) is not (server.topology == "subnet"):
        wanted = "the netmask" if server.topology == "subnet" else "the other end's address"
        raise item.error(f"the second argument must be {wanted}, as topology {server.topology} has it")
    _check_own(item, address, server)
    if server.topology == "subnet":
        network = IPv4Network(f"{address}/{second}", strict=False)
        if network.prefixlen < 31 and address in {network.network_address, network.broadcast_address}:
            raise item.error(f"{address} is not the address of a host in {network}")
    if server.push_constraint is not None and address not in server.push_constraint:
        raise item.error(f"{address} is not in {server.push_constraint} (ifconfig-push-constraint)")
    alias = ipv4(item, item.args[2]) if len(item.args) > 2 else None
    return replace(overrides, ifconfig=Ifconfig(address, second, alias))


def _second_of(item: Directive, address: IPv4Address, server: ServerSettings) -> IPv4Address:
    """What goes with an address of the server's own network."""
    network = server.network
    if network is None or address not in network:
        outside = "" if network is None else f"{address} is not in {network}: "
        raise item.error(f"{outside}needs the netmask behind the address, or in topologies net30 and p2p the other end")
    if server.topology == "subnet":
        return network.netmask
    if server.topology == "p2p":
        own, _ = own_addresses(server)
        assert own is not None
        return own
    if int(address) % 4 != 2:
        raise item.error(f"{address} is not the third of four addresses, as a client in topology net30 has it")
    return address - 1


def _check_own(item: Directive, address: IPv4Address | IPv6Address, server: ServerSettings) -> None:
    if address in own_addresses(server):
        raise item.error(f"{address} is the server's own address")


def _ifconfig6(overrides: ClientOverrides, item: Directive, server: ServerSettings) -> ClientOverrides:
    if "/" in item.args[0]:
        interface = ipv6_interface(item, item.args[0])
    elif server.network6 is not None:
        interface = ipv6_interface(item, f"{ipv6(item, item.args[0])}/{server.network6.prefixlen}")
    else:
        raise item.error("needs the prefix length of the network behind the address, as in fd00:1:2:3::7/64")
    gateway = ipv6(item, item.args[1]) if len(item.args) > 1 else None
    if gateway is None and server.network6 is None:
        raise item.error("needs the other end's address: the server has no IPv6 address of its own")
    _check_own(item, interface.ip, server)
    removed = tuple(text for text in overrides.push_remove if text != "ifconfig-ipv6")
    return replace(overrides, ifconfig6=Ifconfig6(interface, gateway), push_remove=removed)


def _iroute(overrides: ClientOverrides, item: Directive, server: ServerSettings) -> ClientOverrides:
    if len(item.args) == 1 and "/" in item.args[0]:
        network = any_network(item, item.args[0])
    else:
        network = ipv4_network(item, item.args[0], item.args[1] if len(item.args) > 1 else "255.255.255.255")
    return replace(overrides, iroutes=(*overrides.iroutes, network))


def _iroute6(overrides: ClientOverrides, item: Directive, server: ServerSettings) -> ClientOverrides:
    return replace(overrides, iroutes=(*overrides.iroutes, ipv6_network(item, item.args[0])))


def _push(overrides: ClientOverrides, item: Directive, server: ServerSettings) -> ClientOverrides:
    return replace(overrides, push=(*overrides.push, pushed_option(item, server.topology)))


def _push_remove(overrides: ClientOverrides, item: Directive, server: ServerSettings) -> ClientOverrides:
    beginning = item.args[0]
    if not beginning:
        raise item.error("has no option; use push-reset to remove all of them")
    kept = tuple(option for option in overrides.push if not option.startswith(beginning))
    return replace(overrides, push=kept, push_remove=(*overrides.push_remove, beginning))


def _push_reset(overrides: ClientOverrides, item: Directive, server: ServerSettings) -> ClientOverrides:
    return replace(overrides, is_push_reset=True, push=())


def _disable(overrides: ClientOverrides, item: Directive, server: ServerSettings) -> ClientOverrides:
    return replace(overrides, is_disabled=True)


def _max_routes(overrides: ClientOverrides, item: Directive, server: ServerSettings) -> ClientOverrides:
    return replace(overrides, max_routes=integer(item, item.args[0], 1))


def _vlan_pvid(overrides: ClientOverrides, item: Directive, server: ServerSettings) -> ClientOverrides:
    if server.vlan is None:
        raise item.error("needs vlan-tagging in the server's configuration")
    return replace(overrides, vlan_pvid=integer(item, item.args[0], *VLANS))


def _ping(overrides: ClientOverrides, item: Directive, server: ServerSettings) -> ClientOverrides:
    return replace(overrides, ping=seconds(item, item.args[0]))


def _ping_restart(overrides: ClientOverrides, item: Directive, server: ServerSettings) -> ClientOverrides:
    return replace(overrides, ping_restart=seconds(item, item.args[0]))


def _inactive(overrides: ClientOverrides, item: Directive, server: ServerSettings) -> ClientOverrides:
    return replace(overrides, inactive=inactivity(item))


def _session_timeout(overrides: ClientOverrides, item: Directive, server: ServerSettings) -> ClientOverrides:
    return replace(overrides, session_timeout=seconds(item, item.args[0]))


def _framing(overrides: ClientOverrides, item: Directive, server: ServerSettings) -> ClientOverrides:
    words = (item.name, *item.args)
    check_compression(item, words)
    return replace(overrides, framing=" ".join(words))


_READERS: dict[str, Callable[[ClientOverrides, Directive, ServerSettings], ClientOverrides]] = {
    "ifconfig-push": _ifconfig,
    "ifconfig-ipv6-push": _ifconfig6,
    "iroute": _iroute,
    "iroute-ipv6": _iroute6,
    "push": _push,
    "push-remove": _push_remove,
    "push-reset": _push_reset,
    "disable": _disable,
    "max-routes-per-client": _max_routes,
    "vlan-pvid": _vlan_pvid,
    "ping": _ping,
    "ping-restart": _ping_restart,
    # Of one client it is the same: it is the client's session that ends.
    "ping-exit": _ping_restart,
    "inactive": _inactive,
    "session-timeout": _session_timeout,
    "compress": _framing,
    "comp-lzo": _framing,
}


@implementer(IClientSettings)
class ClientSections:
    """The settings that the configuration itself has for single clients."""

    def __init__(self, server: ServerSettings) -> None:
        self._clients: Mapping[str, ClientOverrides] = server.clients
        self._is_exclusive = server.ccd_exclusive

    def overrides(self, identity: str) -> ClientOverrides:
        """See `IClientSettings`."""
        own = None if identity == DEFAULT else self._clients.get(identity)
        if own is None and self._is_exclusive:
            raise AuthenticationRejected("this client has no section of its own (ccd-exclusive)")
        return own or self._clients.get(DEFAULT, ALIKE)

    def kept_addresses(self) -> Collection[IPv4Address | IPv6Address]:
        """See `IClientSettings`."""
        return [address for overrides in self._clients.values() for address in overrides.addresses]


@implementer(IClientSettings)
class ClientConfigFolder:
    """The files of `client-config-dir`, each read when its client connects."""

    def __init__(self, server: ServerSettings, folder: str, allow_compression: str) -> None:
        self._server = server
        self._folder = Path(folder)
        self._allow_compression = allow_compression

    def overrides(self, identity: str) -> ClientOverrides:
        """See `IClientSettings`."""
        own = None if identity == DEFAULT else self._read(file_name(identity))
        if own is None and self._server.ccd_exclusive:
            raise AuthenticationRejected("this client has no file of its own (ccd-exclusive)")
        return own or self._read(DEFAULT) or ALIKE

    def _read(self, name: str) -> ClientOverrides | None:
        """What the file says, None where there is none.  Raises `ConfigError`."""
        if name in {"", ".", ".."}:
            return None
        path = str(self._folder / name)
        try:
            text = Path(path).read_text(encoding="utf-8-sig")
        except FileNotFoundError:
            return None
        except OSError as error:
            # A file that is there has a meaning, perhaps `disable`.
            raise ConfigError(f"cannot read it: {error.strerror}", file=path) from None
        except ValueError:
            raise ConfigError("is not UTF-8 text", file=path) from None
        directives = Directives((), file=path, directory=str(self._folder))
        items = list(expand(lex(text, path), directives))
        overrides = read_overrides(items, self._server)
        refuse_compression(items, self._allow_compression)
        return overrides

    def read_all(self) -> dict[str, ClientOverrides]:
        """What every file says; raises `ConfigError` for a mistake, which else is told about when its client comes."""
        return {str(self._folder / name): self._read(name) or ALIKE for name in self._names()}

    def kept_addresses(self) -> Collection[IPv4Address | IPv6Address]:
        """See `IClientSettings`; a file that cannot be read is told about when its client comes."""
        kept: list[IPv4Address | IPv6Address] = []
        for name in self._names():
            try:
                overrides = self._read(name)
            except ConfigError:
                continue
            kept += (overrides or ALIKE).addresses
        return kept

    def _names(self) -> list[str]:
        """The files that are there, but those that no client's name leads to."""
        try:
            return sorted(path.name for path in self._folder.iterdir() if path.is_file())
        except OSError:
            return []


def file_name(identity: str) -> str:
    """The name of a client's file: as in stock, every byte that is not printable ASCII, and every `/`, is an `_`."""
    name = identity.encode("utf-8", "surrogateescape")
    return "".join(chr(byte) if 0x20 <= byte < 0x7F and byte != ord("/") else "_" for byte in name)


def configured_client_settings(settings: Settings) -> IClientSettings:
    """The settings for single clients that a server's configuration describes."""
    server = settings.server
    assert server is not None
    if server.client_config_dir is not None:
        return ClientConfigFolder(server, server.client_config_dir, settings.data.allow_compression)
    return ClientSections(server)


def check_clients(settings: Settings) -> list[str]:
    """What is odd in what is said about single clients, what can be read later only, too.  Raises `ConfigError`."""
    server = settings.server
    if server is None:
        return []
    told = {f"{settings.file}: [client {name}]": overrides for name, overrides in server.clients.items()}
    if server.client_config_dir is not None:
        folder = ClientConfigFolder(server, server.client_config_dir, settings.data.allow_compression)
        told |= folder.read_all()
    return [f"{place}: {doubt}" for place, overrides in told.items() for doubt in _doubts(overrides, server)]


def _doubts(overrides: ClientOverrides, server: ServerSettings) -> Iterator[str]:
    """Networks behind a client to which our own host has no way."""
    if server.client_to_client:
        return
    ways = [route.network for route in server.routes]
    ways += [network for network in (server.network, server.network6) if network is not None]
    for network in overrides.iroutes:
        if not any(_contains(way, network) for way in ways):
            yield f"iroute: no route of the server's leads {network} into the tunnel; add one to its configuration"


def _contains(way: IPv4Network | IPv6Network, network: IPv4Network | IPv6Network) -> bool:
    return way.version == network.version and network.network_address in way and network.prefixlen >= way.prefixlen


def read_constraint(directives: Directives) -> IPv4Network | None:
    """`ifconfig-push-constraint NETWORK NETMASK`."""
    directive = directives.last("ifconfig-push-constraint")
    return None if directive is None else ipv4_network(directive, directive.args[0], directive.args[1])
