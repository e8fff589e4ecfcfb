"""How large a packet may be that a peer shall get whole: what sealing, framing, the link and the admin leave of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twistvpn.data.inet import IPV4_HEADER_SIZE, IPV6_HEADER_SIZE
from twistvpn.data.mss import ETHERNET_MTU, link_overhead, max_mss, mssfix_bound
from twistvpn.wire.framing import PREFIX_SIZE

if TYPE_CHECKING:
    from twistvpn.config.settings import DataSettings
    from twistvpn.data.channel import Channel
    from twistvpn.interfaces import Address, ILink


def largest_packet(channel: Channel, link: ILink, address: Address, tun_mtu: int, now: float) -> int | None:
    """The largest IP packet, in bytes, that reaches the peer whole; None where `tun_mtu` is no more than that."""
    framing = channel.framing
    if link.is_stream or (framing is not None and framing.fragment_limit is not None):
        return None
    largest = channel.largest_packet(ETHERNET_MTU - _link_overhead(link, address), now)
    return largest if largest < tun_mtu else None


def fit_link(data: DataSettings, channel: Channel, link: ILink, address: Address, now: float) -> None:
    """Bound what goes into the tunnel by what leaves whole (`mssfix`, `fragment`)."""
    fragment = None
    if channel.framing is not None:
        fragment = channel.framing.fragment_limit
        if fragment is not None:
            channel.framing.fit(channel.largest_text(fragment.size - _around(fragment.mode, link, address), now))
    outer, mode = mssfix_bound(data, fragment)
    packet = outer if mode == "fixed" else channel.largest_packet(outer - _around(mode, link, address), now)
    channel.max_mss = max_mss(packet) if outer else 0


def _around(mode: str, link: ILink, address: Address) -> int:
    """Bytes of what an option with this mode bounds, around the sealed datagram."""
    if mode == "mtu":
        return _link_overhead(link, address)
    return PREFIX_SIZE if link.is_stream else 0


def _link_overhead(link: ILink, address: Address) -> int:
    host = link.relay or address[0]
    is_ipv6 = ":" in host and not host.startswith("::ffff:")
    ip_header_size = IPV6_HEADER_SIZE if is_ipv6 else IPV4_HEADER_SIZE
    return link_overhead(ip_header_size, is_stream=link.is_stream) + link.header_size
