"""What two ends tell each other of their options, to be compared ("occ"), and what they ask about it in data packets.

Source: the reference's occ.h and the behaviour of stock peers; openvpn(8), `mtu-test` and `disable-occ`.
"""

from __future__ import annotations

import os
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

from twistvpn.crypto.digests import digest_size
from twistvpn.data.messages import OCC_MAGIC, OccKind
from twistvpn.interfaces import DeviceType
from twistvpn.wire.options import negotiates_with_2_4, occ_string, parse_occ
from twistvpn.wire.roles import Role

if TYPE_CHECKING:
    from collections.abc import Mapping

    from twistvpn.config.settings import Settings
    from twistvpn.interfaces import Buffer, ILink

_NOT_COMPARED = frozenset(
    {"V4", "key-method", "keydir", "proto", "tls-auth", "tun-ipv6", "cipher", "link-mtu", "tls-client", "tls-server"}
    | {"keysize"}
)
"""Items that stock peers do not compare either, as they are negotiated or differ by nature; and those that follow."""
_NO_DIGEST = "[null-digest]"
"""What one counts with whose own cipher authenticates, negotiated or not: it says nothing of `auth`."""

_OTHER = {Role.CLIENT: Role.SERVER, Role.SERVER: Role.CLIENT}
_HEADER = len(OCC_MAGIC) + 1
_ALL_ONES = 0xFFFFFFFF


def local_occ_string(settings: Settings, link: ILink) -> str:
    """What we tell the peer of our options for comparison; differences make stock peers warn."""
    return _occ_string(settings, link, settings.role)


def _occ_string(settings: Settings, link: ILink, role: Role) -> str:
    control, data = settings.control, settings.data
    return occ_string(
        role,
        "tcp" if link.is_stream else "udp",
        cipher=data.ciphers_fallback,
        wanted=None if negotiates_with_2_4(data.ciphers) else data.ciphers[0],
        auth=control.auth,
        auth_size=digest_size(control.auth),
        dev_type=settings.device.dev_type,
        tun_mtu=settings.device.mtu,
        wrapping=control.wrapping.value,
        key_direction=control.key_direction,
        compression=data.compression,
        fragment=None if data.fragment is None or link.is_stream else data.fragment.size,
        ifconfig=_ifconfig(settings, role),
    )


def _ifconfig(settings: Settings, role: Role) -> str | None:
    """The addresses as the end of that role tells them: the other end's, then its own; or the network both are in."""
    mode = settings.point_to_point
    words = next((line.split()[1:] for line in mode.options if line.startswith("ifconfig ")), None) if mode else None
    if words is None:
        return None
    own, second = map(IPv4Address, words)
    if _is_netmask(second):
        return f"{IPv4Address(int(own) & int(second))} {second}"
    return f"{second} {own}" if role is settings.role else f"{own} {second}"


def _is_netmask(address: IPv4Address) -> bool:
    zeros = ~int(address) & _ALL_ONES
    return zeros < _ALL_ONES and not zeros & (zeros + 1)


def option_differences(settings: Settings, link: ILink, theirs: str) -> list[str]:
    """What the peer's options have other than ours, in words for the log; none with `disable-occ`."""
    if settings.control.disable_occ or not theirs:
        return []
    wanted = parse_occ(_occ_string(settings, link, _OTHER[settings.role]))
    found = parse_occ(theirs)
    left_out = _NOT_COMPARED
    if settings.device.dev_type is DeviceType.TAP and found.get("tun-mtu") == str(settings.device.mtu):
        # Peers from 2.6 on do not count the Ethernet header.
        left_out |= {"tun-mtu"}
    names = [name for name in (*wanted, *(name for name in found if name not in wanted)) if name not in left_out]
    return [
        f"{name} is {_shown(wanted, name)} here and {_shown(found, name)} there"
        for name in names
        if wanted.get(name) != found.get(name) and _NO_DIGEST not in {wanted.get(name), found.get(name)}
    ]


def useless_difference(settings: Settings, link: ILink, theirs: str) -> str | None:
    """What of the options that the peer has told makes a connection useless; None where nothing does."""
    return device_difference(settings, theirs) or fragment_difference(settings, link, theirs)


def device_difference(settings: Settings, theirs: str) -> str | None:
    """What makes a connection useless, a device of the other kind there; None where it is not, or nothing is said."""
    kind = parse_occ(theirs).get("dev-type")
    own = settings.device.dev_type.value
    if kind in {None, own} or settings.control.disable_occ:
        return None
    return f"dev-type is {kind} there and {own} here: what one end sends is no packet to the other"


def fragment_difference(settings: Settings, link: ILink, theirs: str) -> str | None:
    """What makes a connection useless, `fragment` at the client alone; None where it is not, or nothing is said.

    The other way round the server has clients that can take it up.
    """
    if link.is_stream or not theirs or settings.control.disable_occ:
        return None
    own, other = settings.data.fragment is not None, "mtu-dynamic" in parse_occ(theirs)
    at_client, at_server = (own, other) if settings.role is Role.CLIENT else (other, own)
    if at_server or not at_client:
        return None
    return "fragment is set at the client alone: what one end sends is no packet to the other"


def lone_fragment(settings: Settings, link: ILink, theirs: str) -> str | None:
    """What makes a client useless that was pushed no `fragment` and has none, at a server that has; else None."""
    if link.is_stream or settings.control.disable_occ or "mtu-dynamic" not in parse_occ(theirs):
        return None
    return "fragment is set at the server alone: what one end sends is no packet to the other; set it here as well"


def _shown(items: Mapping[str, str], name: str) -> str:
    if name not in items:
        return "not set"
    return repr(items[name]) if items[name] else "set"


class OccAnswers:
    """Answers what a peer asks on the data channel: our options, and datagrams of many sizes that measure the path."""

    __slots__ = ("_largest", "_received", "_sent")

    def __init__(self, largest: int) -> None:
        self._largest = largest
        """Bytes of the largest packet inside a datagram that we make."""
        self._received = self._sent = 0
        """Bytes of the largest datagrams of the measurement in each direction."""

    def answer(self, kind: int, rest: Buffer, overhead: int, options: str) -> bytes | None:
        """What to say to a message of that kind, or None.

        `rest` is what stood behind the kind, `overhead` what sealing adds, `options` our string for comparison.
        """
        self._received = max(self._received, _HEADER + len(rest) + overhead)
        if kind == OccKind.REQUEST:
            return bytes((OccKind.REPLY,)) + options.encode() + b"\0"
        if kind == OccKind.MTU_LOAD_REQUEST and len(rest) >= 2:
            return self._load(int.from_bytes(rest[:2], "big"), overhead)
        if kind == OccKind.MTU_REQUEST:
            sizes = (min(size, 0xFFFF).to_bytes(2, "big") for size in (self._received, self._sent))
            return bytes((OccKind.MTU_REPLY,)) + b"".join(sizes)
        return None

    def _load(self, size: int, overhead: int) -> bytes:
        """Something that makes a datagram of `size` bytes, or of the most that we make."""
        filling = max(0, min(size - overhead, self._largest) - _HEADER)
        self._sent = max(self._sent, _HEADER + filling + overhead)
        return bytes((OccKind.MTU_LOAD,)) + os.urandom(filling)
