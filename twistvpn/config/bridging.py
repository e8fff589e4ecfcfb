"""`server-bridge`: a tap that the admin has made a port of a bridge."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twistvpn.config.settings import BridgeSettings
from twistvpn.config.values import ipv4, ipv4_network
from twistvpn.interfaces import DeviceType

if TYPE_CHECKING:
    from twistvpn.config.directive import Directive, Directives

_FORMS = "GATEWAY NETMASK FIRST LAST, nogw, or dhcp"


def read_bridge(directives: Directives, dev_type: DeviceType) -> BridgeSettings | None:
    """The option in each of its forms; `dhcp` is our word for the form without arguments.

    Raises `ConfigError` for anything else, and beside what makes a network of the tunnel's own.
    """
    directive = directives.last("server-bridge")
    if directive is None:
        return None
    if dev_type is not DeviceType.TAP:
        raise directive.error("only a tap can be a port of a bridge; use dev tap")
    other = directives.last_of("server", "ifconfig", "ifconfig-pool", "network", "pool")
    if other is not None:
        raise other.contradiction(directive)
    words = directive.args
    if words in {(), ("dhcp",)}:
        return BridgeSettings(gateway="dhcp")
    if words == ("nogw",):
        return BridgeSettings()
    if len(words) != 4:
        raise directive.error(f"is written {_FORMS}")
    return _with_pool(directive)


def _with_pool(directive: Directive) -> BridgeSettings:
    gateway, netmask, first, last = (ipv4(directive, word) for word in directive.args)
    network = ipv4_network(directive, str(type(gateway)(int(gateway) & int(netmask))), str(netmask))
    if last < first:
        raise directive.error(f"the pool ends ({last}) before it begins ({first})")
    for address in (gateway, first, last):
        if address not in network or address in (network.network_address, network.broadcast_address):
            raise directive.error(f"{address} is not the address of a host in {network}")
    if first == last == gateway:
        raise directive.error(f"the pool has no address but the gateway's ({gateway})")
    return BridgeSettings(str(gateway), (first, last), netmask)
