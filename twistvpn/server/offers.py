"""What a server offers a client: the cipher they have in common, where keys come from, and what is pushed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import TYPE_CHECKING

from twistvpn.control.session import KeyDerivation
from twistvpn.data.formats import PacketFormat, agreed_format
from twistvpn.errors import NegotiationError
from twistvpn.interfaces import DeviceType
from twistvpn.keying import DataTerms
from twistvpn.link.addresses import written
from twistvpn.wire.options import NCP_2_CIPHERS, IvProto, iv_proto, parse_occ

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from ipaddress import IPv4Address, IPv6Address
    from typing import Literal

    from twistvpn.config.settings import DataSettings, DeviceSettings, ServerSettings
    from twistvpn.interfaces import Lease
    from twistvpn.overrides import ClientOverrides

_NUMBER = re.compile(r"[0-9]{1,9}")

_ADDRESS_OPTIONS = frozenset({"ifconfig", "ifconfig-ipv6"})
"""What `push-remove` takes away that is not among the options for all."""


@dataclass(frozen=True)
class Agreement:
    """How data packets to one client look."""

    terms: DataTerms
    pushed: tuple[str, ...]
    """The options that tell the client so."""


def negotiates(info: Mapping[str, str]) -> bool:
    """Whether a client takes the cipher that it is pushed; others use the one that they are configured for."""
    version = _NUMBER.match(info.get("IV_NCP", ""))
    return "IV_CIPHERS" in info or (version is not None and int(version[0]) >= 2)


def choose_cipher(wanted: Sequence[str], fallback: str | None, info: Mapping[str, str], occ: str) -> str:
    """The first of `wanted` that the client has, by its IV_CIPHERS, its IV_NCP, or the cipher in its OCC string.

    Raises `NegotiationError` where there is none; its text is for the client.
    """
    announced = info.get("IV_CIPHERS")
    own = parse_occ(occ).get("cipher", "").upper()
    if announced is not None:
        offered = [name.upper() for name in announced.split(":")]
    elif negotiates(info):
        offered = [*NCP_2_CIPHERS, own]
    else:
        # Without negotiation the client uses the one it names, or what its admin and ours have agreed on.
        offered = [own or fallback or ""]
        wanted = [*wanted, fallback] if fallback else wanted
    for name in wanted:
        if name in offered:
            return name
    raise NegotiationError("Data channel cipher negotiation failed (no shared cipher)")


def agree(data: DataSettings, info: Mapping[str, str], occ: str, peer_id: int) -> Agreement:
    """Settle the data channel with a client from its peer-info and OCC string.

    Raises `NegotiationError` where there is no common cipher.
    """
    can = iv_proto(info)
    cipher = choose_cipher(data.ciphers, data.ciphers_fallback, info, occ)
    pushed = []
    if IvProto.DATA_V2 in can:
        pushed.append(f"peer-id {peer_id}")
    if negotiates(info):
        # Others take it for a mistake.
        pushed.append(f"cipher {cipher}")
    derivation = KeyDerivation.EXPORTER if IvProto.TLS_KEY_EXPORT in can else KeyDerivation.PRF
    if derivation is KeyDerivation.EXPORTER and IvProto.CC_EXIT not in can:
        pushed.append("key-derivation tls-ekm")
    terms = DataTerms(
        cipher,
        derivation,
        peer_id if IvProto.DATA_V2 in can else None,
        agreed_format(data, can, cipher),
        IvProto.DYN_TLS_CRYPT in can,
    )
    flags = _protocol_flags(terms, can)
    if flags:
        pushed.append(f"protocol-flags {' '.join(flags)}")
    return Agreement(terms, tuple(pushed))


def _protocol_flags(terms: DataTerms, can: IvProto) -> list[str]:
    flags = []
    if IvProto.CC_EXIT in can:
        flags.append("cc-exit")
        if terms.derivation is KeyDerivation.EXPORTER:
            flags.append("tls-ekm")
    if terms.dynamic_tls_crypt:
        flags.append("dyn-tls-crypt")
    if terms.packet_format is PacketFormat.EPOCH:
        flags.append("aead-epoch")
    return flags


class NetworkOffer:
    """The options that make the clients of one kind of link part of the network.

    Where the admin pushes an option of the server's own, the admin's is the one.
    """

    def __init__(
        self,
        server: ServerSettings,
        device: DeviceSettings,
        own4: IPv4Address | None,
        own6: IPv6Address | None,
        proto: Literal["udp", "tcp"],
    ) -> None:
        self._server = server
        self._own4, self._own6 = own4, own6
        self._pushed = {option.split(maxsplit=1)[0] for option in server.push}
        self._tun_mtu = f"tun-mtu {device.mtu}"
        self._for_neighbours, self._for_others = (
            self._for_all(_general(server, device, own4, gateway, proto)) for gateway in (own4, None)
        )

    def _for_all(self, ours: Sequence[str]) -> list[str]:
        kept = [option for option in ours if option.split(" ", 1)[0] not in self._pushed]
        return [*self._server.push, *kept, *_ways_in(self._server, self._own4)]

    def options(self, lease: Lease, overrides: ClientOverrides, info: Mapping[str, str]) -> list[str]:
        """What one client is pushed: what all are told as it holds for this one, and its addresses."""
        server = self._server
        options = self._for_neighbours if _is_neighbour(server, lease) else self._for_others
        options = _without_iroutes(_for_one(options, overrides), overrides.iroutes)
        options += _addresses(server, lease, overrides, self._own4, self._own6)
        if "IV_MTU" in info and "tun-mtu" not in self._pushed:
            options.append(self._tun_mtu)
        return options


def _general(
    server: ServerSettings,
    device: DeviceSettings,
    own4: IPv4Address | None,
    gateway: IPv4Address | None,
    proto: str,
) -> list[str]:
    """What the server tells every client by itself; `gateway` is for those that are neighbours in its network."""
    options = []
    if proto == "udp":
        # Nothing else tells us over UDP that a client has gone; its address is wanted back.
        options.append("explicit-exit-notify 1")
    if server.bridge is not None:
        options += [] if server.bridge.gateway is None else [f"route-gateway {server.bridge.gateway}"]
    elif own4 is not None:
        if server.topology == "subnet" and gateway is not None:
            options.append(f"route-gateway {gateway}")
        if device.dev_type is DeviceType.TUN:
            options.append(f"topology {server.topology}")
    if server.push_ping:
        options.append(f"ping {server.push_ping:g}")
    if server.push_ping_restart:
        options.append(f"ping-restart {server.push_ping_restart:g}")
    return options


def _is_neighbour(server: ServerSettings, lease: Lease) -> bool:
    """Whether the client is in the network that the server's device is in."""
    return server.network is not None and lease.ipv4 is not None and lease.ipv4 in server.network


def _ways_in(server: ServerSettings, own4: IPv4Address | None) -> list[str]:
    """In point-to-point topologies clients need a route to the server, or to each other."""
    if server.topology == "subnet" or server.network is None:
        return []
    if server.client_to_client:
        return [f"route {server.network.network_address} {server.network.netmask}"]
    return [f"route {own4}"] if server.topology == "net30" else []


def _for_one(options: Sequence[str], overrides: ClientOverrides) -> list[str]:
    """`push-reset`, `push-remove` and `push` of one client."""
    removed = tuple(text for text in overrides.push_remove if text not in _ADDRESS_OPTIONS)
    kept = [] if overrides.is_push_reset else [option for option in options if not option.startswith(removed)]
    return [*kept, *overrides.push]


def _without_iroutes(options: Sequence[str], iroutes: Sequence[IPv4Network | IPv6Network]) -> list[str]:
    """Without routes into the tunnel to what lies behind the client itself."""
    behind = set(iroutes)
    return [option for option in options if _plain_route(option) not in behind] if behind else list(options)


def _plain_route(option: str) -> IPv4Network | IPv6Network | None:
    """The network of a pushed route without gateway or metric, None for anything else."""
    try:
        match option.split():
            case ["route", address]:
                return IPv4Network(address)
            case ["route", address, netmask]:
                return IPv4Network(f"{address}/{netmask}")
            case ["route-ipv6", network]:
                return IPv6Network(network, strict=False)
    except ValueError:
        pass
    return None


def _addresses(
    server: ServerSettings,
    lease: Lease,
    overrides: ClientOverrides,
    own4: IPv4Address | None,
    own6: IPv6Address | None,
) -> list[str]:
    options = []
    ifconfig = overrides.ifconfig
    if lease.ipv4 is not None and "ifconfig" not in overrides.push_remove:
        address = lease.ipv4 if ifconfig is None else ifconfig.alias or ifconfig.address
        second = _second(server, lease, own4) if ifconfig is None else ifconfig.second
        options.append(f"ifconfig {written(address)} {second}")
    if lease.ipv6 is not None and "ifconfig-ipv6" not in overrides.push_remove:
        own = overrides.ifconfig6
        gateway = own6 if own is None else own.gateway or own6
        bits = own.interface.network.prefixlen if own is not None else _prefix_length6(server)
        options.append(
            f"ifconfig-ipv6 {written(lease.ipv6)}/{bits}" + ("" if gateway is None else f" {written(gateway)}")
        )
    return options


def _second(server: ServerSettings, lease: Lease, own4: IPv4Address | None) -> IPv4Address | None:
    """What follows a client's address in `ifconfig`: the netmask, or the other end's address."""
    if server.topology != "subnet":
        return lease.peer4 or own4
    if server.bridge is not None:
        return server.bridge.netmask
    if server.pool_netmask is not None or server.network is None:
        return server.pool_netmask
    return server.network.netmask


def _prefix_length6(server: ServerSettings) -> int:
    return 64 if server.network6 is None else server.network6.prefixlen
