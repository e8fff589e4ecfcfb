"""What both syntaxes say in the same words, put together into `Settings`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from twistvpn.config.bridging import read_aging, read_bridge, read_vlan
from twistvpn.config.channels import read_control, read_data, read_keepalive
from twistvpn.config.client_config import read_constraint
from twistvpn.config.framing import check_fragment
from twistvpn.config.login import (
    ADD_AUTHENTICATOR,
    authenticator,
    read_auth_retry,
    read_auth_tokens,
    read_environment,
    read_login,
)
from twistvpn.config.networks import openvpn_end_routes, read_own_options
from twistvpn.config.point_to_point import is_point_to_point
from twistvpn.config.pulling import read_own_dns, read_pull_filters, read_redirect
from twistvpn.config.pushed import pushed_doubt, pushed_option
from twistvpn.config.settings import (
    ClientSettings,
    DeviceSettings,
    PointToPoint,
    Route,
    ServerSettings,
    Settings,
)
from twistvpn.config.sockets import read_port_share, read_sockets
from twistvpn.config.subnet import TOPOLOGIES, read_pool_persist
from twistvpn.config.tls import read_tls
from twistvpn.config.values import (
    choice,
    integer,
    integer_of,
    interface,
    positive,
    positive_of,
    seconds,
    text_of,
)
from twistvpn.interfaces import DeviceType
from twistvpn.wire.roles import Role

if TYPE_CHECKING:
    from twistvpn.config.directive import Directive, Directives
    from twistvpn.config.settings import Listen, Origin, Remote
    from twistvpn.config.subnet import Subnet

_LARGEST_MTU = {DeviceType.TUN: 65535, DeviceType.TAP: 65535 - 14}
"""Bytes; what the kernel lets a device have, an Ethernet header taken off."""

_LLADDR = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}", re.ASCII | re.IGNORECASE)

_MAX_PEERS = 2**24 - 2
"""Peer ids have 24 bits, and the last one means none."""


def assemble(
    directives: Directives,
    role: Role,
    server: ServerSettings | None = None,
    client: ClientSettings | None = None,
    point_to_point: PointToPoint | None = None,
) -> Settings:
    """The whole configuration, from the half that is the role's and all that is not."""
    status, status_interval = _status(directives)
    tls = read_tls(directives, role)
    control = read_control(directives, role)
    data = read_data(directives, read_keepalive(directives, role))
    sockets = read_sockets(directives, role)
    return Settings(
        file=directives.file,
        role=role,
        device=read_device(directives),
        tls=tls,
        control=control,
        data=data,
        server=server,
        client=client,
        point_to_point=point_to_point,
        sockets=sockets,
        verb=integer_of(directives, "verb", Settings.verb, 0, 11),
        user=text_of(directives, "user"),
        group=text_of(directives, "group"),
        user_origin=_origin(directives, "user"),
        group_origin=_origin(directives, "group"),
        status=status,
        status_interval=status_interval,
        notes=tuple(directives.notes),
    )


def _origin(directives: Directives, name: str) -> Origin | None:
    directive = directives.last(name)
    return None if directive is None else directive.origin


def read_device(directives: Directives) -> DeviceSettings:
    """The tun or tap device."""
    directive, kind = directives.last("dev"), directives.last("dev-type")
    dev_type = DeviceType.TUN
    if kind is not None:
        dev_type = DeviceType(choice(kind, kind.args[0], *(known.value for known in DeviceType)))
    elif directive is not None:
        dev_type = _type_of_name(directive)
    name = directive.args[0] if directive is not None else dev_type.value
    if directive is not None:
        interface(directive, name)
    return DeviceSettings(
        dev=name,
        dev_type=dev_type,
        lladdr=_lladdr(directives, dev_type),
        mtu=integer_of(directives, "tun-mtu", DeviceSettings.mtu, 576, _LARGEST_MTU[dev_type]),
        offload="no-offload" not in directives,
        txqueuelen=integer_of(directives, "txqueuelen", DeviceSettings.txqueuelen, 1),
        ifconfig_noexec="ifconfig-noexec" in directives,
        route_noexec="route-noexec" in directives,
        block_ipv6="block-ipv6" in directives,
    )


def _type_of_name(directive: Directive) -> DeviceType:
    name = directive.args[0]
    for kind in DeviceType:
        if name.startswith(kind.value):
            return kind
    if name.startswith("null"):
        raise directive.error("there are tun and tap devices, no null; use dev tun")
    raise directive.error("the name begins with neither tun nor tap; add dev-type tun or dev-type tap")


def _lladdr(directives: Directives, dev_type: DeviceType) -> str | None:
    directive = directives.last("lladdr")
    if directive is None:
        return None
    if dev_type is not DeviceType.TAP:
        raise directive.error("only a tap has an Ethernet address; remove it, or use dev tap")
    address = directive.args[0]
    if not _LLADDR.fullmatch(address):
        raise directive.error(f"{address!r} is not an Ethernet address; write it as 02:00:5e:10:00:01")
    if int(address[:2], 16) & 1:
        raise directive.error(f"{address} is the address of a group; the first byte must be even")
    return address.lower()


def _pushed(directives: Directives, item: Directive, topology: str) -> str:
    option = pushed_option(item, topology)
    doubt = pushed_doubt(option)
    if doubt is not None:
        directives.note(item, doubt)
    return option


def read_server(
    directives: Directives, listen: tuple[Listen, ...], subnet: Subnet, routes: tuple[Route, ...]
) -> ServerSettings:
    """The server's half."""
    check_fragment(directives, listen)
    keepalive = read_keepalive(directives, Role.SERVER)
    read_environment(directives)  # for its notes alone
    authenticators = tuple(authenticator(directives, item) for item in directives.every("authenticators"))
    rename, floats = directives.last("username-as-common-name"), directives.last("float")
    is_alone = is_point_to_point(directives)
    if floats is not None and not is_alone:
        directives.note(floats, "changes nothing here: a client that authenticates may change its address anyway")
    if rename is not None and not authenticators:
        raise rename.error(f"there are no usernames without an authenticator; {ADD_AUTHENTICATOR}")
    folder = directives.last("client-config-dir")
    dev_type = read_device(directives).dev_type
    for item in (*directives.every("dns"), *directives.every("dhcp-option")):
        where = "changes nothing at this end" if is_alone else "changes nothing at a server; push it to clients"
        directives.note(item, where)
    push = tuple(_pushed(directives, item, subnet.topology) for item in directives.every("push"))
    return ServerSettings(
        listen=listen,
        network=subnet.network,
        network6=subnet.network6,
        topology=subnet.topology,
        address=subnet.address,
        address6=subnet.address6,
        peer_address=subnet.peer_address,
        pool=subnet.pool,
        pool_netmask=subnet.pool_netmask,
        pool6=subnet.pool6,
        pool_persist=read_pool_persist(directives, subnet),
        bridge=read_bridge(directives, dev_type),
        vlan=read_vlan(directives, dev_type),
        address_aging=read_aging(directives, dev_type),
        push=(*push, *_nodelay(directives)),
        routes=(*_own_routes(subnet), *routes),
        client_to_client="client-to-client" in directives,
        duplicate_cn="duplicate-cn" in directives,
        max_clients=integer_of(directives, "max-clients", ServerSettings.max_clients, 1, _MAX_PEERS),
        connect_freq=_frequency(directives, "connect-freq"),
        connect_freq_initial=_frequency(directives, "connect-freq-initial") or ServerSettings.connect_freq_initial,
        single_session="single-session" in directives,
        authenticators=authenticators,
        username_as_common_name=rename is not None,
        password_optional="auth-user-pass-optional" in directives,
        auth_tokens=read_auth_tokens(directives),
        client_config_dir=_folder(directives, folder) if folder is not None else None,
        ccd_exclusive="ccd-exclusive" in directives,
        push_constraint=read_constraint(directives),
        max_routes_per_client=integer_of(directives, "max-routes-per-client", ServerSettings.max_routes_per_client, 1),
        push_ping=keepalive.push_ping,
        push_ping_restart=keepalive.push_ping_restart,
        port_share=read_port_share(directives, listen),
        explicit_exit_notify=_exit_notify(directives, most=2),
    )


def _nodelay(directives: Directives) -> tuple[str, ...]:
    """What `tcp-nodelay` has clients do; our own sockets do it anyway."""
    return ("socket-flags TCP_NODELAY",) if "tcp-nodelay" in directives else ()


def _folder(directives: Directives, directive: Directive) -> str:
    path = directives.path(directive.args[0])
    if not Path(path).is_dir():
        raise directive.error(f"there is no folder {path}")
    return path


def _own_routes(subnet: Subnet) -> tuple[Route, ...]:
    """In point-to-point topologies the device does not have the way to the clients with its address."""
    if subnet.network is None or subnet.peer_address is None:
        return ()
    return (Route(subnet.network),)


def _frequency(directives: Directives, name: str) -> tuple[int, float] | None:
    directive = directives.last(name)
    if directive is None:
        return None
    most, period = (integer(directive, text, 1) for text in directive.args)
    return most, float(period)


def read_client(
    directives: Directives, remotes: tuple[Remote, ...], routes: tuple[Route, ...], local: tuple[str | None, int]
) -> ClientSettings:
    """The client's half; `local` is the address and the port its link is bound to."""
    check_fragment(directives, remotes)
    retries, metric = integer_of(directives, "connect-retry-max", 0), directives.last("route-metric")
    return ClientSettings(
        remotes=remotes,
        remote_random="remote-random" in directives,
        connect_timeout=positive_of(directives, "server-poll-timeout", ClientSettings.connect_timeout),
        connect_retry=_connect_retry(directives),
        connect_retry_max=retries or None,
        login=read_login(directives),
        push_peer_info="push-peer-info" in directives,
        peer_info=read_environment(directives),
        topology=_topology(directives),
        pull_filters=read_pull_filters(directives),
        allow_pull_fqdn="allow-pull-fqdn" in directives,
        route_nopull="route-nopull" in directives,
        route_metric=integer(metric, metric.args[0]) if metric is not None else None,
        dns=read_own_dns(directives),
        routes=routes,
        end_routes=openvpn_end_routes(directives),
        explicit_exit_notify=_exit_notify(directives, most=100),
        local=local[0],
        local_port=local[1],
        floats="float" in directives,
        own_options=read_own_options(directives),
        redirect_gateway=read_redirect(directives),
        tls_exit="tls-exit" in directives,
        auth_retry=read_auth_retry(directives),
    )


def _topology(directives: Directives) -> str:
    directive = directives.last("topology")
    return ClientSettings.topology if directive is None else choice(directive, directive.args[0], *TOPOLOGIES)


def _connect_retry(directives: Directives) -> tuple[float, float]:
    directive = directives.last("connect-retry")
    first, longest = ClientSettings.connect_retry
    if directive is not None:
        first = positive(directive, directive.args[0])
        longest = seconds(directive, directive.args[1]) if len(directive.args) > 1 else longest
    return first, max(first, longest)


def _exit_notify(directives: Directives, most: int) -> int:
    directive = directives.last("explicit-exit-notify")
    if directive is None:
        return 0
    return integer(directive, directive.args[0], 0, most) if directive.args else 1


def _status(directives: Directives) -> tuple[str | None, float]:
    directive = directives.last("status")
    if directive is None:
        return None, Settings.status_interval
    interval = positive(directive, directive.args[1]) if len(directive.args) > 1 else Settings.status_interval
    path = directives.path(directive.args[0])
    if not Path(path).parent.is_dir():
        raise directive.error(f"there is no folder {Path(path).parent}; make it")
    return path, interval
