"""Point-to-point mode: two ends whose admins have given them their addresses (`ifconfig`), and nothing is pushed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twistvpn.config.options import OPTIONS
from twistvpn.config.settings import PointToPoint
from twistvpn.config.subnet import TOPOLOGIES, Subnet, with_ifconfig, with_ifconfig_ipv6
from twistvpn.config.values import choice
from twistvpn.interfaces import DeviceType
from twistvpn.wire.roles import Role

if TYPE_CHECKING:
    from twistvpn.config.directive import Directive, Directives
    from twistvpn.config.settings import Remote

_WITH_MANY_CLIENTS = frozenset({"server", "server-ipv6", "server-bridge", "network", "network6"})
_PULLING = frozenset({"client", "pull"})
_ENDS = frozenset({"tls-server", "tls-client"})

_AT_EITHER_END = frozenset({"ifconfig", "ifconfig-ipv6", "remote", "rport", "verify-client-cert", "float"})
"""What one of the two ends has in the other modes, and both may have in this one."""
_FOR_CLIENTS = frozenset({"pool", "pool6", "address", "address6", "fixed-address", "authenticators"})
"""What of a server's is known to our own syntax alone."""
_NOTHING_PULLED = frozenset(
    {"allow-pull-fqdn", "auth-retry", "auth-user-pass", "pull-filter", "route-nopull", "static-challenge"}
)


def is_point_to_point(directives: Directives) -> bool:
    """Whether the options describe one of two ends that neither serve clients nor pull options."""
    mode = directives.last("mode")
    if mode is not None and choice(mode, mode.args[0], "server", "p2p") == "server":
        return False
    names = {item.name for item in directives.items}
    if names & (_WITH_MANY_CLIENTS | _PULLING):
        return False
    return bool(names & (_ENDS | {"ifconfig", "ifconfig-ipv6"})) or mode is not None


def role_of_end(directives: Directives) -> Role:
    """Which end of TLS this is; raises `ConfigError` where that is not said, or said twice."""
    server, client = directives.last("tls-server"), directives.last("tls-client")
    if server is not None and client is not None:
        raise client.contradiction(server)
    if server is not None:
        return Role.SERVER
    if client is None:
        mode = directives.last("mode") or directives.last_of("ifconfig", "ifconfig-ipv6")
        assert mode is not None
        raise mode.error("says point-to-point mode, which needs tls-server at one end and tls-client at the other")
    return Role.CLIENT


def check_option(item: Directive, role: Role) -> None:
    """Raise `ConfigError` for an option that means nothing to an end that is `role` in TLS."""
    if item.name in _FOR_CLIENTS:
        raise item.error("has no meaning in point-to-point mode, where there are no clients; remove it")
    option = OPTIONS.get(item.name)
    if option is None or item.name in _AT_EITHER_END:
        return
    if option.role not in {None, role} or option.role is Role.SERVER or item.name in _NOTHING_PULLED:
        raise item.error("has no meaning in point-to-point mode, where nothing is pushed; remove it")


def own_subnet(directives: Directives, dev_type: DeviceType) -> Subnet:
    """Our own addresses and, in a topology that has one, the other end's.

    Raises `ConfigError` where there are none, but for a tap, which may be a port of a bridge.
    """
    topology, own, own6 = (directives.last(name) for name in ("topology", "ifconfig", "ifconfig-ipv6"))
    chosen = "p2p" if topology is None else choice(topology, topology.args[0], *TOPOLOGIES)
    subnet = Subnet(topology=chosen if dev_type is DeviceType.TUN else "subnet")
    if own is None and own6 is None and dev_type is DeviceType.TUN:
        end = directives.last_of("tls-server", "tls-client")
        hint = "server NETWORK NETMASK" if end is None or end.name == "tls-server" else "client"
        raise directives.missing("ifconfig", f"is missing; write ifconfig LOCAL REMOTE, or {hint} for another mode")
    if own is not None:
        subnet = with_ifconfig(subnet, own)
    return subnet if own6 is None else with_ifconfig_ipv6(subnet, own6)


def read_point_to_point(directives: Directives, dev_type: DeviceType, remotes: tuple[Remote, ...] = ()) -> PointToPoint:
    """What this mode alone has; `remotes` are those that a TLS server listens to, nobody else where there are some."""
    subnet = own_subnet(directives, dev_type)
    lines = [f"topology {subnet.topology}"]
    for name in ("ifconfig", "ifconfig-ipv6", "route-gateway"):
        directive = directives.last(name)
        if directive is not None:
            lines.append(" ".join((name, *directive.args)))
    return PointToPoint(tuple(lines), () if "float" in directives else remotes)
