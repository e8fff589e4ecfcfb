"""The bridge in a server with a tap, and the bridge of the admin's that the tap may be a port of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twistvpn.config.settings import BridgeSettings, ServerSettings, VlanSettings
from twistvpn.config.subnet import check_address
from twistvpn.config.values import choice, integer, integer_of, ipv4, ipv4_network, seconds
from twistvpn.interfaces import DeviceType

if TYPE_CHECKING:
    from twistvpn.config.directive import Directive, Directives

_FORMS = "GATEWAY NETMASK FIRST LAST, nogw, or dhcp"

VLANS = (1, 4094)
"""The first and the last VLAN that IEEE 802.1Q knows."""


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
        check_address(directive, address, network)
    if first == last == gateway:
        raise directive.error(f"the pool has no address but the gateway's ({gateway})")
    return BridgeSettings(str(gateway), (first, last), netmask)


def read_vlan(directives: Directives, dev_type: DeviceType) -> VlanSettings | None:
    """`vlan-tagging`, `vlan-accept` and `vlan-pvid`; None where VLAN tags pass through as they are."""
    tagging = directives.last("vlan-tagging")
    accept, pvid = directives.last("vlan-accept"), directives.last("vlan-pvid")
    if tagging is None:
        alone = accept or pvid
        if alone is not None:
            raise alone.error("needs vlan-tagging beside it")
        return None
    if dev_type is not DeviceType.TAP:
        raise tagging.error("only a tap has VLANs; remove it, or use dev tap")
    return VlanSettings(
        VlanSettings.accept if accept is None else choice(accept, accept.args[0], "all", "tagged", "untagged"),
        integer_of(directives, "vlan-pvid", VlanSettings.pvid, *VLANS),
    )


def read_aging(directives: Directives, dev_type: DeviceType) -> float:
    """`stale-routes-check SECONDS [INTERVAL]`; forgotten addresses are told by their time alone."""
    directive = directives.last("stale-routes-check")
    if directive is None:
        return ServerSettings.address_aging
    for text in directive.args:
        integer(directive, text, 1)
    if dev_type is not DeviceType.TAP:
        directives.note(directive, "changes nothing here: routes to clients stay as long as the clients")
    return seconds(directive, directive.args[0])
