"""What a client says of itself in its key exchange (IV_* and UV_*).

Source: openvpn(8), `push-peer-info`; wire-protocol draft, "Peer info".
"""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from typing import TYPE_CHECKING

from twistvpn.version import __version__
from twistvpn.wire.compression import compression_info
from twistvpn.wire.options import IvProto, negotiates_with_2_4

if TYPE_CHECKING:
    from collections.abc import Collection

    from twistvpn.config.settings import Settings

LARGEST_PUSHED_MTU = 1600
"""What IV_MTU announces: packets of this size still fit the link's buffers."""

MAX_INFO = 1400
"""Characters of it that are sent: stock peers take 1536 bytes."""

CAPABILITIES = (
    IvProto.DATA_V2
    | IvProto.REQUEST_PUSH
    | IvProto.TLS_KEY_EXPORT
    | IvProto.AUTH_PENDING_KW
    | IvProto.CC_EXIT
    | IvProto.AUTH_FAIL_TEMP
    | IvProto.DYN_TLS_CRYPT
    | IvProto.DNS_V2
    | IvProto.PUSH_UPDATE
)


def peer_info(settings: Settings, methods: Collection[str], hardware_address: str | None) -> dict[str, str]:
    """Everything the server is told; `methods` is what the user can be shown (IV_SSO).

    `hardware_address` (MAC) is told with `push-peer-info` only, as are the UV_ values of `setenv`.
    """
    client = settings.client
    assert client is not None
    data = settings.data
    info = {
        "IV_VER": __version__,
        "IV_PLAT": "linux",
        "IV_TCPNL": "1",
        "IV_MTU": str(max(LARGEST_PUSHED_MTU, settings.device.mtu)),
        **({"IV_NCP": "2"} if negotiates_with_2_4(data.ciphers) else {}),
        "IV_CIPHERS": ":".join(data.ciphers),
        "IV_PROTO": str(int(CAPABILITIES | IvProto.EPOCH if data.epochs else CAPABILITIES)),
        **compression_info(data.compression, data.allow_compression),
    }
    if methods:
        info["IV_SSO"] = ",".join(sorted(methods))
    everything = client.push_peer_info
    if everything:
        if hardware_address is not None:
            info["IV_HWADDR"] = hardware_address
        info["IV_SSL"] = ssl.OPENSSL_VERSION
        info["IV_PLAT_VER"] = os.uname().release
    size = sum(len(name) + len(value) + 2 for name, value in info.items())
    for name, value in client.peer_info.items():
        if name in _ALWAYS or everything:
            size += len(name) + len(value) + 2
            if size > MAX_INFO:
                break
            info[name] = value
    return info


_ALWAYS = frozenset({"IV_GUI_VER", "IV_SSO"})
"""Values of `setenv` that are told without `push-peer-info`."""


def hardware_address(ifname: str | None) -> str | None:
    """The MAC address of an interface of this host; None where it has none."""
    if ifname is None:
        return None
    try:
        address = Path(f"/sys/class/net/{ifname}/address").read_text().strip()
    except (OSError, ValueError):
        return None
    return address if address.replace(":", "").strip("0") else None
