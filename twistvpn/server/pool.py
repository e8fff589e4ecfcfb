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
    from collections.abc import Mapping

    from twistvpn.config.settings import ServerSettings

IPV6_POOL_OFFSET = 0x1000
"""The first client's place in the IPv6 network, where stock servers begin too."""

_IPV6_ONLY_SIZE = 0x10000


@dataclass(frozen=True)
class PoolRange:
    """A run of addresses; place n of the IPv4 run and place n of the IPv6 run go to one client together."""

    size: int
    first4: IPv4Address | None
    first6: IPv6Address | None

    def at(self, place: int) -> Lease:
        """The addresses at `place`, counted from 0."""
        return Lease(
            None if self.first4 is None else self.first4 + place,
            None if self.first6 is None else self.first6 + place,
        )


def pool_range(settings: ServerSettings) -> PoolRange:
    """The range that `network`, `network6` and `pool` leave for clients."""
    first6 = None if settings.network6 is None else settings.network6.network_address + IPV6_POOL_OFFSET
    if settings.bridge is not None and settings.bridge.pool is not None:
        first, last = settings.bridge.pool
    elif settings.network is None:
        return PoolRange(_IPV6_ONLY_SIZE, None, first6)
    elif settings.pool is not None:
        first, last = settings.pool
    else:
        first, last = settings.network.network_address + 1, settings.network.broadcast_address - 1
    return PoolRange(int(last) - int(first) + 1, first, first6)


@implementer(IPool)
class AddressPool:
    """Leases each client the place it had before if that is free, else one nobody has had, else the one free longest.

    `taken` are addresses that are never handed out (the server's own); `fixed` are those kept for one
    identity each.  Memory grows with the places in use or once used, not with the network.
    """

    def __init__(
        self,
        places: PoolRange,
        taken: frozenset[IPv4Address | IPv6Address],
        fixed: Mapping[str, Lease] | None = None,
    ) -> None:
        self._places = places
        self._fixed = dict(fixed or {})
        self._taken = taken.union(
            *({address for address in lease if address is not None} for lease in self._fixed.values())
        )
        self._fixed_in_use: set[str] = set()
        self._next = 0
        self._in_use: dict[Lease, tuple[int, str]] = {}
        self._free: OrderedDict[int, str] = OrderedDict()
        self._last_place: dict[str, int] = {}

    def lease(self, identity: str) -> Lease:
        """See `IPool`."""
        fixed = self._fixed.get(identity)
        if fixed is not None:
            return self._lease_fixed(identity, fixed)
        place = self._choose(identity)
        lease = self._places.at(place)
        self._in_use[lease] = (place, identity)
        self._last_place[identity] = place
        return lease

    def _lease_fixed(self, identity: str, lease: Lease) -> Lease:
        if identity in self._fixed_in_use:
            wanted = lease.ipv4 or lease.ipv6
            raise PoolExhausted(f"the address kept for {identity}, {wanted}, is in use by another client of that name")
        self._fixed_in_use.add(identity)
        return lease

    def _choose(self, identity: str) -> int:
        before = self._last_place.get(identity)
        if before is not None and before in self._free:
            del self._free[before]
            return before
        while self._next < self._places.size:
            place = self._next
            self._next += 1
            if self._taken.isdisjoint(self._places.at(place)):
                return place
        if not self._free:
            raise PoolExhausted(f"all {len(self._in_use)} addresses of the pool are taken")
        place, former = self._free.popitem(last=False)
        if self._last_place.get(former) == place:
            del self._last_place[former]
        return place

    def release(self, lease: Lease) -> None:
        """See `IPool`."""
        entry = self._in_use.pop(lease, None)
        if entry is not None:
            place, identity = entry
            self._free[place] = identity
            return
        self._fixed_in_use.difference_update([identity for identity, fixed in self._fixed.items() if fixed == lease])


@implementer(IPool)
class NoAddresses:
    """For clients that get theirs from somebody else: a DHCP server on the network that a tap is bridged to."""

    def lease(self, _identity: str) -> Lease:
        """See `IPool`."""
        return Lease(None, None)

    def release(self, lease: Lease) -> None:
        """Nothing was taken."""
