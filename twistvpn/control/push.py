"""What a server pushes and what a client makes of it.

Pushed options have OpenVPN's own syntax.  See the wire-protocol draft, section "PUSH_REPLY", and
openvpn(8) for each option.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_address,
)
from typing import TYPE_CHECKING

from twistvpn.config.settings import EndRoute, FragmentLimit
from twistvpn.errors import MalformedPacket, NegotiationError, PushRejected
from twistvpn.interfaces import DeviceType
from twistvpn.wire.challenges import decode_base64
from twistvpn.wire.compression import Compression, read_compression
from twistvpn.wire.dns import read_dns
from twistvpn.wire.options import printable, split_words

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

VPN_GATEWAY = "vpn_gateway"
NET_GATEWAY = "net_gateway"
REMOTE_HOST = "remote_host"

_ENDS = (VPN_GATEWAY, NET_GATEWAY, REMOTE_HOST)
_HOST_NAME = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+\.?", re.ASCII)

MAX_PUSHED = 64 * 1024
"""Characters of pushed options that are collected before the server counts as broken."""

_LONGEST = 0x7FFFFFFF
"""Seconds of the longest duration that stock peers can hold."""


@dataclass(frozen=True)
class PushedRoute:
    """A network to reach through the tunnel; `gateway` as pushed: an address, a keyword or None."""

    network: IPv4Network | IPv6Network
    gateway: str | None = None
    metric: int | None = None


@dataclass(frozen=True)
class PushedOptions:
    """What a PUSH_REPLY has told a client.  Durations in seconds; None where the server said nothing."""

    ipv4: IPv4Interface | None = None
    ipv6: IPv6Interface | None = None
    peer_address: IPv4Address | None = None
    """The other end's address where the topology is point to point (net30, p2p)."""
    peer_address6: IPv6Address | None = None
    gateway: IPv4Address | None = None
    gateway_by_dhcp: bool = False
    """The gateway is the one that a DHCP server inside the tunnel names; the addresses too."""
    topology: str = "net30"
    routes: tuple[PushedRoute, ...] = ()
    end_routes: tuple[EndRoute, ...] = ()
    redirect_gateway: frozenset[str] | None = None
    ping: float | None = None
    ping_restart: float | None = None
    ping_exit: float | None = None
    """What ends the client when the server is silent for so long; of the two the later one holds, the other is None."""
    inactive: tuple[float, int] | None = None
    """Seconds and bytes."""
    session_timeout: float | None = None
    peer_id: int | None = None
    cipher: str | None = None
    exporter_keys: bool = False
    tun_mtu: int | None = None
    explicit_exit_notify: int | None = None
    compression: Compression | None = None
    """What shall frame packets (`compress`, `comp-lzo`)."""
    fragment: FragmentLimit | None = None
    protocol_flags: frozenset[str] = frozenset()
    dns: tuple[str, ...] = ()
    """`dhcp-option` and `dns` options, as pushed; `dns.read_dns` reads them."""
    gateway6: IPv6Address | None = None
    """`route-ipv6-gateway`."""
    route_metric: int | None = None
    """The metric of routes that have none of their own."""
    block_ipv6: bool = False
    """IPv6 packets for the tunnel are answered with an error."""
    auth_token: str | None = field(default=None, repr=False)
    auth_token_user: str | None = None
    """The name that belongs to `auth_token`."""
    unknown: tuple[str, ...] = ()
    """Options that change nothing here, as pushed."""

    @property
    def vpn_gateway(self) -> IPv4Address | None:
        """What a route without a gateway goes through."""
        return self.gateway or self.peer_address


def filter_pushed(options: Sequence[str], filters: Sequence[tuple[str, str]]) -> list[str]:
    """Leave out the options that the client does not want (`pull-filter`).

    Each filter is 'accept', 'ignore' or 'reject' and the beginning of options; the first that fits decides.  An option
    is looked at as it was pushed and as it is read: quotation marks and spaces hide none.  Raises `PushRejected` for an
    option that is rejected.
    """
    if not filters:
        return list(options)
    kept: list[str] = []
    for option in options:
        raw, text = option.lstrip(), _as_read(option)
        action = next((action for action, beginning in filters if _begins(beginning, raw, text)), "accept")
        if action == "reject":
            shown = "auth-token" if text.startswith("auth-token ") else printable(option)
            raise PushRejected(f"the server pushes {shown!r}, which pull-filter rejects")
        if action == "accept":
            kept.append(option)
    return kept


def _as_read(option: str) -> str:
    try:
        return " ".join(split_words(option))
    except MalformedPacket:
        return option


def _begins(beginning: str, *texts: str) -> bool:
    return any(text.startswith(beginning) for text in texts)


def parse_pushed(options: Sequence[str], device: DeviceType = DeviceType.TUN, topology: str = "net30") -> PushedOptions:
    """Read the options of a whole PUSH_REPLY, its continuations joined; `topology` holds unless another is pushed.

    Raises `NegotiationError`, naming the option, where one does not parse: running on with half a
    configuration would send traffic where the server's admin did not want it.
    """
    pushed = PushedOptions(topology=topology)
    for option in options:
        try:
            pushed = _read(pushed, option)
        except (ValueError, IndexError, MalformedPacket) as error:
            if "auth-token" in option:
                raise NegotiationError("the server pushed 'auth-token', which does not parse") from None
            raise NegotiationError(f"the server pushed {option!r}, which cannot be used: {error}") from error
    return _with_prefix(pushed, device)


def _read(pushed: PushedOptions, option: str) -> PushedOptions:
    words = split_words(option)
    reader = _READERS.get(words[0]) if words else None
    if reader is None:
        return replace(pushed, unknown=(*pushed.unknown, option))
    return reader(pushed, words[1:])


def _with_prefix(pushed: PushedOptions, device: DeviceType) -> PushedOptions:
    """In topology subnet and on a tap the second word of `ifconfig` is a netmask, elsewhere the other end's address."""
    is_pair = device is DeviceType.TUN and pushed.topology != "subnet"
    if pushed.ipv4 is None or pushed.peer_address is None:
        return pushed
    if is_pair:
        _check_host(pushed.peer_address)
        return pushed
    try:
        ipv4 = IPv4Interface(f"{pushed.ipv4.ip}/{pushed.peer_address}")
    except ValueError as error:
        raise NegotiationError(f"the server pushed a netmask that is none: {pushed.peer_address}") from error
    network = ipv4.network
    if network.prefixlen < 31 and ipv4.ip in {network.network_address, network.broadcast_address}:
        raise NegotiationError(
            f"the server pushed the address {ipv4.with_prefixlen}, which is the network's, no host's"
        )
    return replace(pushed, ipv4=ipv4, peer_address=None)


def _check_host(address: IPv4Address | IPv6Address) -> None:
    """Raise `NegotiationError` for an address that no device can have."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    is_broadcast = address == IPv4Address("255.255.255.255")
    if address.is_unspecified or address.is_multicast or address.is_loopback or is_broadcast or mapped is not None:
        raise NegotiationError(f"the server pushed the address {address}, which no host has on a network")


def _ifconfig(pushed: PushedOptions, words: Sequence[str]) -> PushedOptions:
    ipv4 = IPv4Interface(words[0])
    _check_host(ipv4.ip)
    return replace(pushed, ipv4=ipv4, peer_address=IPv4Address(words[1]))


def _ifconfig_ipv6(pushed: PushedOptions, words: Sequence[str]) -> PushedOptions:
    peer = IPv6Address(words[1]) if len(words) > 1 else None
    ipv6 = IPv6Interface(words[0])
    _check_host(ipv6.ip)
    return replace(pushed, ipv6=ipv6, peer_address6=peer)


def _gateway_word(words: Sequence[str], index: int) -> str | None:
    if len(words) <= index or words[index] in {"default", VPN_GATEWAY}:
        return None
    if words[index] != NET_GATEWAY:
        ip_address(words[index])
    return words[index]


def _metric_word(words: Sequence[str], index: int) -> int | None:
    if len(words) <= index or words[index] == "default":
        return None
    return _integer(words[index], 0, 0xFFFFFFFF)


def _integer(word: str, least: int, most: int) -> int:
    value = int(word)
    if not least <= value <= most:
        raise ValueError(f"not from {least} to {most}")
    return value


def _route(pushed: PushedOptions, words: Sequence[str]) -> PushedOptions:
    if words[0] in _ENDS:
        end = EndRoute(words[0], _gateway_word(words, 2), _metric_word(words, 3))
        return replace(pushed, end_routes=(*pushed.end_routes, end))
    if _HOST_NAME.fullmatch(words[0]):
        # Those that allow-pull-fqdn lets a server push have their addresses by now; stock leaves such a route out too.
        return replace(pushed, unknown=(*pushed.unknown, " ".join(["route", *words])))
    netmask = words[1] if len(words) > 1 and words[1] != "default" else "255.255.255.255"
    network = IPv4Network(f"{words[0]}/{netmask}", strict=False)
    route = PushedRoute(network, _gateway_word(words, 2), _metric_word(words, 3))
    return replace(pushed, routes=(*pushed.routes, route))


def _route_gateway(pushed: PushedOptions, words: Sequence[str]) -> PushedOptions:
    if words[0] == "dhcp":
        return replace(pushed, gateway=None, gateway_by_dhcp=True)
    return replace(pushed, gateway=IPv4Address(words[0]), gateway_by_dhcp=False)


def _route_ipv6(pushed: PushedOptions, words: Sequence[str]) -> PushedOptions:
    network = IPv6Network(words[0], strict=False)
    route = PushedRoute(network, _gateway_word(words, 1), _metric_word(words, 2))
    return replace(pushed, routes=(*pushed.routes, route))


def _redirect(*more: str) -> Callable[[PushedOptions, Sequence[str]], PushedOptions]:
    def read(pushed: PushedOptions, words: Sequence[str]) -> PushedOptions:
        before = pushed.redirect_gateway or frozenset()
        return replace(pushed, redirect_gateway=before.union(words, more))

    return read


def _seconds(name: str) -> Callable[[PushedOptions, Sequence[str]], PushedOptions]:
    def read(pushed: PushedOptions, words: Sequence[str]) -> PushedOptions:
        value = _integer(words[0], 0, _LONGEST)
        return replace(pushed, **{name: float(value)})  # type: ignore[arg-type]

    return read


def _silence(name: str, other: str) -> Callable[[PushedOptions, Sequence[str]], PushedOptions]:
    """`ping-restart` and `ping-exit` are one timer, as in stock: the later option says when and what for."""
    read_seconds = _seconds(name)

    def read(pushed: PushedOptions, words: Sequence[str]) -> PushedOptions:
        return replace(read_seconds(pushed, words), **{other: None})  # type: ignore[arg-type]

    return read


def _inactive(pushed: PushedOptions, words: Sequence[str]) -> PushedOptions:
    least = _integer(words[1], 0, 2**63 - 1) if len(words) > 1 else 0
    return replace(pushed, inactive=(float(_integer(words[0], 0, _LONGEST)), least))


def _peer_id(pushed: PushedOptions, words: Sequence[str]) -> PushedOptions:
    return replace(pushed, peer_id=_integer(words[0], 0, 0xFFFFFF))


def _tun_mtu(pushed: PushedOptions, words: Sequence[str]) -> PushedOptions:
    return replace(pushed, tun_mtu=_integer(words[0], 68, 65535))


def _topology(pushed: PushedOptions, words: Sequence[str]) -> PushedOptions:
    if words[0] not in {"subnet", "net30", "p2p"}:
        raise ValueError("not a topology")
    return replace(pushed, topology=words[0])


def _key_derivation(pushed: PushedOptions, words: Sequence[str]) -> PushedOptions:
    if words[0] != "tls-ekm":
        raise ValueError("not a key derivation we know")
    return replace(pushed, exporter_keys=True)


def _protocol_flags(pushed: PushedOptions, words: Sequence[str]) -> PushedOptions:
    flags = frozenset(words)
    return replace(pushed, protocol_flags=flags, exporter_keys=pushed.exporter_keys or "tls-ekm" in flags)


def _dns(keyword: str) -> Callable[[PushedOptions, Sequence[str]], PushedOptions]:
    def read(pushed: PushedOptions, words: Sequence[str]) -> PushedOptions:
        option = " ".join([keyword, *words])
        try:
            read_dns([option])
        except (ValueError, MalformedPacket):
            # Whoever resolves names does it without this one; no traffic goes another way for it.
            return replace(pushed, unknown=(*pushed.unknown, option))
        return replace(pushed, dns=(*pushed.dns, option))

    return read


def _compression(name: str) -> Callable[[PushedOptions, Sequence[str]], PushedOptions]:
    def read(pushed: PushedOptions, words: Sequence[str]) -> PushedOptions:
        return replace(pushed, compression=read_compression([name, *words]))

    return read


def _fragment(pushed: PushedOptions, words: Sequence[str]) -> PushedOptions:
    """Stock servers cannot push it; one that does surely has it."""
    if words[1:] not in ([], ["mtu"]):
        raise ValueError("not a limit of fragments")
    return replace(pushed, fragment=FragmentLimit(_integer(words[0], 68, 65535), "mtu" if words[1:] else "payload"))


def _auth_token_user(pushed: PushedOptions, words: Sequence[str]) -> PushedOptions:
    username = decode_base64(words[0])
    if username is None:
        raise ValueError("not base64")
    return replace(pushed, auth_token_user=username)


_READERS: dict[str, Callable[[PushedOptions, Sequence[str]], PushedOptions]] = {
    "ifconfig": _ifconfig,
    "ifconfig-ipv6": _ifconfig_ipv6,
    "route": _route,
    "route-ipv6": _route_ipv6,
    "route-gateway": _route_gateway,
    "topology": _topology,
    "redirect-gateway": _redirect(),
    # All that redirect-gateway does but for the default route itself.
    "redirect-private": _redirect("!ipv4"),
    "route-ipv6-gateway": lambda pushed, words: replace(pushed, gateway6=IPv6Address(words[0])),
    "route-metric": lambda pushed, words: replace(pushed, route_metric=_integer(words[0], 0, 0xFFFFFFFF)),
    "block-ipv6": lambda pushed, _words: replace(pushed, block_ipv6=True),
    "ping": _seconds("ping"),
    "ping-restart": _silence("ping_restart", "ping_exit"),
    "ping-exit": _silence("ping_exit", "ping_restart"),
    "inactive": _inactive,
    "session-timeout": _seconds("session_timeout"),
    "peer-id": _peer_id,
    "cipher": lambda pushed, words: replace(pushed, cipher=words[0]),
    "key-derivation": _key_derivation,
    "protocol-flags": _protocol_flags,
    "tun-mtu": _tun_mtu,
    "explicit-exit-notify": lambda pushed, words: replace(pushed, explicit_exit_notify=int([*words, "1"][0])),
    "dhcp-option": _dns("dhcp-option"),
    "dns": _dns("dns"),
    "compress": _compression("compress"),
    "comp-lzo": _compression("comp-lzo"),
    "fragment": _fragment,
    "auth-token": lambda pushed, words: replace(pushed, auth_token=words[0]),
    "auth-token-user": _auth_token_user,
}
