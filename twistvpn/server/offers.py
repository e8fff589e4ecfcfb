"""What a server offers a client: the cipher they have in common, where keys come from, and what is pushed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from twistvpn.control.session import KeyDerivation
from twistvpn.errors import NegotiationError
from twistvpn.interfaces import DeviceType
from twistvpn.wire.options import IvProto, iv_proto, parse_occ

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from ipaddress import IPv4Address, IPv6Address
    from typing import Literal

    from twistvpn.config.settings import BridgeSettings, DataSettings, DeviceSettings, ServerSettings
    from twistvpn.interfaces import Lease

_NCP_2_CIPHERS = ("AES-256-GCM", "AES-128-GCM")
"""What IV_NCP=2 without IV_CIPHERS stands for (2.4)."""
_NUMBER = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True)
class Agreement:
    """How data packets to one client look."""

    cipher: str
    derivation: KeyDerivation
    peer_id: int | None
    """None for clients that only know P_DATA_V1."""
    dynamic_tls_crypt: bool
    """Whether renegotiations are wrapped under a key of the session's own."""
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
        offered = [*_NCP_2_CIPHERS, own]
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
    pushed.append(f"cipher {cipher}")
    if "comp-lzo" in parse_occ(occ) and info.get("IV_COMP_STUBv2") == "1":
        # As stock's `compress migrate`: with this framing IP packets look the same as with none.
        pushed.append("compress stub-v2")
    derivation = KeyDerivation.EXPORTER if IvProto.TLS_KEY_EXPORT in can else KeyDerivation.PRF
    flags = []
    if IvProto.CC_EXIT in can:
        flags += ["cc-exit", *(["tls-ekm"] if derivation is KeyDerivation.EXPORTER else [])]
    elif derivation is KeyDerivation.EXPORTER:
        pushed.append("key-derivation tls-ekm")
    dynamic = IvProto.DYN_TLS_CRYPT in can
    if dynamic:
        flags.append("dyn-tls-crypt")
    if flags:
        pushed.append(f"protocol-flags {' '.join(flags)}")
    return Agreement(cipher, derivation, peer_id if IvProto.DATA_V2 in can else None, dynamic, tuple(pushed))


def network_options(
    server: ServerSettings,
    device: DeviceSettings,
    lease: Lease,
    own4: IPv4Address | None,
    own6: IPv6Address | None,
    info: Mapping[str, str],
    proto: Literal["udp", "tcp"],
) -> list[str]:
    """The options that make a client part of the network: gateway, addresses, keepalive, and the admin's own."""
    options = list(server.push)
    if proto == "udp" and not any(option.startswith("explicit-exit-notify") for option in options):
        # Nothing else tells us over UDP that a client has gone; its address is wanted back.
        options.append("explicit-exit-notify 1")
    if server.bridge is not None:
        options += _bridge_options(server.bridge, lease)
    elif device.dev_type is DeviceType.TAP and server.network is not None and lease.ipv4 is not None:
        options += [f"route-gateway {own4}", f"ifconfig {lease.ipv4} {server.network.netmask}"]
    elif server.network is not None and lease.ipv4 is not None:
        options += [
            f"route-gateway {own4}",
            "topology subnet",
            f"ifconfig {lease.ipv4} {server.network.netmask}",
        ]
    if server.network6 is not None and lease.ipv6 is not None:
        options.append(f"ifconfig-ipv6 {lease.ipv6}/{server.network6.prefixlen} {own6}")
    if server.push_ping:
        options.append(f"ping {server.push_ping:g}")
    if server.push_ping_restart:
        options.append(f"ping-restart {server.push_ping_restart:g}")
    if "IV_MTU" in info:
        options.append(f"tun-mtu {device.mtu}")
    return options


def _bridge_options(bridge: BridgeSettings, lease: Lease) -> list[str]:
    options = [] if bridge.gateway is None else [f"route-gateway {bridge.gateway}"]
    if lease.ipv4 is not None:
        options.append(f"ifconfig {lease.ipv4} {bridge.netmask}")
    return options
