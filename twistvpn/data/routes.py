"""Which peer a packet is for, and which peer it may come from.

Host routes, which are nearly all of a server's, are one dictionary look-up.  Networks are one dictionary a
prefix length, tried from the longest: the cost depends on how many lengths there are, never on
how many routes.
"""

from __future__ import annotations

from collections import Counter
from ipaddress import IPv4Network, IPv6Network
from typing import TYPE_CHECKING, Generic, TypeVar

from twistvpn.data import kernel
from twistvpn.interfaces import Frame

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from ipaddress import IPv4Address, IPv6Address

    from twistvpn.interfaces import Buffer

P = TypeVar("P")

NO_ROUTE = "no-route"
MALFORMED = "malformed"
MULTICAST = "multicast"
SOURCE_ADDRESS = "source-address"
LINK_LOCAL = "link-local"
"""The reasons that `RouteTable.drops` counts under."""

_NETWORKS = (IPv4Network, IPv6Network)
_IPV4_BITS = 32
_IPV6_BITS = 128
_IPV4_MULTICAST = 0xE
_IPV4_BROADCAST = b"\xff\xff\xff\xff"
_UNSPECIFIED = bytes(16)


class _Family(Generic[P]):
    """The routes of one IP version."""

    __slots__ = ("bits", "by_length", "hosts")

    def __init__(self, bits: int) -> None:
        self.bits = bits
        self.hosts: dict[int, P | None] = {}
        self.by_length: list[tuple[int, dict[int, P | None]]] = []
        """(host bits, networks without their host bits), the longest prefix first."""

    def networks(self, prefix_length: int) -> dict[int, P | None]:
        """Return the table of one prefix length, made if need be."""
        host_bits = self.bits - prefix_length
        for known, table in self.by_length:
            if known == host_bits:
                return table
        table = {}
        self.by_length.append((host_bits, table))
        self.by_length.sort(key=lambda entry: entry[0])
        return table

    def lookup(self, address: int) -> P | None:
        if address in self.hosts:
            return self.hosts[address]
        for host_bits, table in self.by_length:
            key = address >> host_bits
            if key in table:
                return table[key]
        return None


class RouteTable(Generic[P]):
    """Maps inner addresses to peers, longest prefix first.

    A network whose peer is None is our own host's: what goes there is for the tun even where a shorter
    prefix leads to a peer.
    """

    __slots__ = ("_ipv4", "_ipv6", "drops")

    def __init__(self) -> None:
        self._ipv4: _Family[P] = _Family(_IPV4_BITS)
        self._ipv6: _Family[P] = _Family(_IPV6_BITS)
        self.drops: Counter[str] = Counter()
        """Packets dropped, by reason."""

    def add(self, network: IPv4Network | IPv6Network | IPv4Address | IPv6Address, peer: P | None) -> None:
        """Route `network`, or the one address, to `peer`; a route for the same network is replaced."""
        family, prefix_length, address = self._place(network)
        if prefix_length == family.bits:
            family.hosts[address] = peer
        else:
            family.networks(prefix_length)[address >> family.bits - prefix_length] = peer

    def remove(self, network: IPv4Network | IPv6Network | IPv4Address | IPv6Address, peer: P | None) -> None:
        """Take the route back; nothing happens where there is none or it has become another peer's."""
        family, prefix_length, address = self._place(network)
        is_host = prefix_length == family.bits
        host_bits = family.bits - prefix_length
        table = family.hosts if is_host else family.networks(prefix_length)
        key = address >> host_bits
        if key in table and table[key] is peer:
            del table[key]
        family.by_length[:] = [entry for entry in family.by_length if entry[1]]

    def join(
        self, peer: P, networks: Iterable[IPv4Network | IPv6Network | IPv4Address | IPv6Address], _port: object = None
    ) -> None:
        """Route all of `networks` to `peer`."""
        for network in networks:
            self.add(network, peer)

    def leave(self, peer: P, networks: Iterable[IPv4Network | IPv6Network | IPv4Address | IPv6Address]) -> None:
        """Take the routes to `peer` back."""
        for network in networks:
            self.remove(network, peer)

    def _place(self, network: IPv4Network | IPv6Network | IPv4Address | IPv6Address) -> tuple[_Family[P], int, int]:
        family = self._ipv4 if network.version == 4 else self._ipv6
        if isinstance(network, _NETWORKS):
            return family, network.prefixlen, int(network.network_address)
        return family, network.max_prefixlen, int(network)

    def _owner(self, address: bytes) -> P | None:
        return (self._ipv4 if len(address) == 4 else self._ipv6).lookup(int.from_bytes(address, "big"))

    def _route(self, destination: bytes) -> P | None:
        return None if _is_multicast(destination) else self._owner(destination)

    def split_by_peer(self, frames: Iterable[Frame]) -> list[tuple[P, list[Frame]]]:
        """Sort the frames of one batch by the peer they go to, each peer's in their order.

        There is one look-up for each run of neighbours.  What cannot be sent is counted in `drops`.
        """
        by_peer: dict[P, list[Frame]] = {}
        for destination, batch in kernel.by_destination(frames):
            peer = self._route(destination) if destination else None
            if peer is not None:
                by_peer.setdefault(peer, []).extend(batch)
            elif destination:
                self.drops[MULTICAST if _is_multicast(destination) else NO_ROUTE] += len(batch)
            else:
                self.drops[MALFORMED] += len(batch)
        return list(by_peer.items())

    def check_sources(self, peer: P, packets: Sequence[Buffer]) -> list[Buffer]:
        """Return those of `packets` whose inner source address is `peer`'s own or in one of its networks.

        The others are counted in `drops`; link-local and unspecified IPv6 sources, which every host sends by
        itself (RFC 4861 section 4), under a reason of their own.
        """
        allowed: list[Buffer] = []
        for source, batch in kernel.by_source(packets):
            if source and self._owner(source) is peer:
                allowed += batch
            elif source:
                self.drops[LINK_LOCAL if _is_link_local(source) else SOURCE_ADDRESS] += len(batch)
            else:
                self.drops[MALFORMED] += len(batch)
        return allowed

    def split_client_to_client(self, packets: Sequence[Buffer]) -> tuple[list[tuple[P, list[Frame]]], list[Buffer]]:
        """Part what a peer sent into the frames for other peers and the packets for the tun.

        `packets` have passed `check_sources`.  Packets for nobody's address, multicast too, are the tun's.
        """
        by_peer: dict[P, list[Frame]] = {}
        for_tun: list[Buffer] = []
        for destination, batch in kernel.by_destination(kernel.coalesce(packets, 0)):
            peer = self._route(destination) if destination else None
            if peer is None:
                for_tun += [frame[0] for frame in batch]
            else:
                by_peer.setdefault(peer, []).extend(batch)
        return list(by_peer.items()), for_tun

    def for_device(self, packets: list[Buffer]) -> list[Buffer]:
        """Return what of `packets`, which no peer has got, the tun gets: all."""
        return packets


def _is_multicast(destination: bytes) -> bool:
    if len(destination) == 4:
        return destination[0] >> 4 == _IPV4_MULTICAST or destination == _IPV4_BROADCAST
    return destination[0] == 0xFF


def _is_link_local(source: Buffer) -> bool:
    """Whether an IPv6 source is in fe80::/10 or is the unspecified address."""
    if len(source) != 16:
        return False
    return source == _UNSPECIFIED or (source[0] == 0xFE and source[1] & 0xC0 == 0x80)
