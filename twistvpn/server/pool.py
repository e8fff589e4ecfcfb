"""The addresses that a server hands out."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING

from zope.interface import implementer

from twistvpn.errors import PoolExhausted
from twistvpn.interfaces import IPool, Lease

if TYPE_CHECKING:
    from collections.abc import Iterator

    from twistvpn.config.settings import ServerSettings

_BLOCK = 4
"""Addresses in the /30 that a client has to itself in topology net30: network, the other end's, its own, broadcast."""


@dataclass(frozen=True)
class PoolRange:
    """A run of places; place n of the IPv4 run and place n of the IPv6 run go to one client together."""

    size: int
    first4: IPv4Address | None
    first6: IPv6Address | None
    is_net30: bool = False
    """Whether a place is a /30 block of IPv4 addresses, which `first4` is the first of, instead of one address."""

    def at(self, place: int) -> Lease:
        """The addresses at `place`, counted from 0."""
        ipv4, ipv6 = self.base(place)
        if ipv4 is None or not self.is_net30:
            return Lease(ipv4, ipv6)
        return Lease(ipv4 + 2, ipv6, ipv4 + 1)

    def base(self, place: int) -> tuple[IPv4Address | None, IPv6Address | None]:
        """The first addresses of a place, which name it."""
        return (
            None if self.first4 is None else self.first4 + place * (_BLOCK if self.is_net30 else 1),
            None if self.first6 is None else self.first6 + place,
        )

    def place_of(self, address: IPv4Address | IPv6Address) -> int | None:
        """The place that `address` belongs to, None where it is outside."""
        first = self.first4 if isinstance(address, IPv4Address) else self.first6
        if first is None:
            return None
        place = int(address) - int(first)
        if self.is_net30 and isinstance(address, IPv4Address):
            place //= _BLOCK
        return place if 0 <= place < self.size else None


def pool_range(settings: ServerSettings) -> PoolRange | None:
    """The range that `pool` and `pool6` make, or None where there is no pool at all."""
    is_net30 = settings.topology == "net30"
    sizes: list[int] = []
    first4: IPv4Address | None = None
    first6: IPv6Address | None = None
    pool = settings.pool if settings.bridge is None else settings.bridge.pool
    if pool is not None:
        first4, last = pool
        if is_net30:
            first4 = IPv4Address(int(first4) - int(first4) % _BLOCK)
        sizes.append((int(last) - int(first4)) // (_BLOCK if is_net30 else 1) + 1)
    if settings.pool6 is not None:
        network = settings.pool6.network
        # A network's first address is for its routers (RFC 4291 section 2.6.1).
        first6 = max(settings.pool6.ip, network.network_address + 1)
        sizes.append(int(network.broadcast_address) - int(first6) + 1)
    return PoolRange(min(sizes), first4, first6, is_net30) if sizes else None


@implementer(IPool)
class AddressPool:
    """Leases each client the place it had before if that is free, else one nobody has had, else the one free longest.

    `taken` are addresses that are never handed out (the server's own, and those kept for single clients).  Memory grows
    with the places in use or once used, not with the network.
    """

    def __init__(self, places: PoolRange, taken: frozenset[IPv4Address | IPv6Address]) -> None:
        self.places = places
        self._taken = {places.place_of(address) for address in taken}
        """Places that hold one of them."""
        self._next = 0
        self._in_use: set[int] = set()
        self._free: OrderedDict[int, None] = OrderedDict()
        """Places that were used once, the one free longest first."""
        self._kept: set[int] = set()
        """Places that nobody else is given, free or not."""
        self._owners: dict[int, str] = {}
        """Who has a place, or had it last."""
        self._places_of: dict[str, int] = {}

    def lease(self, identity: str) -> Lease:
        """See `IPool`."""
        place = self._choose(identity)
        lease = self.places.at(place)
        self._in_use.add(place)
        self._set_owner(place, identity)
        return lease

    def _choose(self, identity: str) -> int:
        before = self._places_of.get(identity)
        if before is not None and self._is_free(before):
            self._free.pop(before, None)
            return before
        while self._next < self.places.size:
            place = self._next
            self._next += 1
            if place not in self._owners and self._may_use(place):
                return place
        if not self._free:
            places = len(self._in_use) + len(self._kept)
            words = "the one address of the pool is" if places == 1 else f"all {places} addresses of the pool are"
            raise PoolExhausted(f"{words} taken")
        return self._free.popitem(last=False)[0]

    def _is_free(self, place: int) -> bool:
        return place in self._free or (place in self._kept and place not in self._in_use)

    def _may_use(self, place: int) -> bool:
        return place not in self._taken

    def _set_owner(self, place: int, identity: str) -> None:
        former = self._owners.get(place)
        if former is not None and self._places_of.get(former) == place:
            del self._places_of[former]
        self._owners[place] = identity
        self._places_of[identity] = place

    def release(self, lease: Lease) -> None:
        """See `IPool`."""
        place = self.places.place_of(lease.addresses[0]) if lease.addresses else None
        if place is None or place not in self._in_use or self.places.at(place) != lease:
            return
        self._in_use.remove(place)
        if place not in self._kept:
            self._free[place] = None

    # What outlives the process

    def remember(self, identity: str, place: int) -> bool:
        """Give `place` to `identity` when it comes, as if it had had it before; False where the place is not free."""
        if not self._may_use(place) or place in self._in_use:
            return False
        self._set_owner(place, identity)
        self._free[place] = None
        return True

    def keep(self, identity: str, place: int) -> bool:
        """The same, and give it to nobody else."""
        if not self.remember(identity, place):
            return False
        del self._free[place]
        self._kept.add(place)
        return True

    def remembered(self) -> Iterator[tuple[str, int]]:
        """Who has each place or had it last, in the order of the places."""
        return ((identity, place) for place, identity in sorted(self._owners.items()))
