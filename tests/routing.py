"""Asking a table of peers."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from tests.inner_packets import udp
from twistvpn.interfaces import Frame

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address

    from twistvpn.data.layers import PeerTable

P = TypeVar("P")


def peer_at(table: PeerTable[P], address: IPv4Address | IPv6Address | str) -> P | None:
    """The peer that gets a packet for `address` from the device."""
    destination = str(address)
    packet = udp("fd00::99" if ":" in destination else "192.0.2.1", destination)
    to_peers = table.split_by_peer([Frame(packet)])
    return to_peers[0][0] if to_peers else None
