"""Who has which address inside the tunnel: the pool's leases, and addresses that are some client's own."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Interface
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from twistvpn.errors import ConfigError, PoolExhausted
from twistvpn.interfaces import Lease

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twistvpn.control.push_update import Change
    from twistvpn.interfaces import IPool
    from twistvpn.overrides import ClientOverrides

H = TypeVar("H")


class _Holding(NamedTuple):
    lease: Lease
    drawn: Lease | None
    """What of it is the pool's."""


class AddressBook(Generic[H]):
    """Gives each holder (a connected client) its addresses and takes them back.

    An address that is one client's own wins over a lease of the pool: the pool's is passed over while the other is in
    use, and `in_the_way` tells who has to leave when it is not free.
    """

    def __init__(self, pool: IPool | None) -> None:
        self._pool = pool
        self._holdings: dict[H, _Holding] = {}
        self._holders: dict[IPv4Address | IPv6Address, H] = {}

    def in_the_way(self, overrides: ClientOverrides) -> list[H]:
        """Those who have an address of the pool that is a client's own."""
        holders = (self._holders.get(address) for address in overrides.addresses)
        return [holder for holder in holders if holder is not None and not self._has_own(holder)]

    def _has_own(self, holder: H) -> bool:
        holding = self._holdings[holder]
        return holding.lease != holding.drawn

    def lease(self, holder: H, identity: str, overrides: ClientOverrides) -> Lease:
        """The holder's addresses: its own, or the pool's; none of a family that neither has.

        As in stock, a client with an IPv4 address of its own gets none of the pool's, and one that has only an IPv6
        address of its own gets its IPv4 address from the pool.  Raises `PoolExhausted`.
        """
        for address in overrides.addresses:
            other = self._holders.get(address)
            if other is not None and self._has_own(other):
                raise PoolExhausted(f"the address kept for {identity}, {address}, is in use by another client")
        drawn = self._draw(identity) if overrides.ifconfig is None else None
        ipv4, ipv6, peer4 = drawn or Lease(None, None)
        if overrides.ifconfig is not None:
            ipv4 = overrides.ifconfig.address
        if overrides.ifconfig6 is not None:
            ipv6 = overrides.ifconfig6.interface.ip
        lease = Lease(ipv4, ipv6, peer4)
        self._holdings[holder] = _Holding(lease, drawn)
        for address in lease.addresses:
            self._holders[address] = holder
        return lease

    def _draw(self, identity: str) -> Lease | None:
        if self._pool is None:
            return None
        aside: list[Lease] = []
        try:
            while True:
                lease = self._pool.lease(identity)
                if not any(address in self._holders for address in lease.addresses):
                    return lease
                if lease in aside:
                    raise PoolExhausted(f"the pool has nothing but addresses that are in use, as {lease.addresses[0]}")
                aside.append(lease)
        finally:
            for passed_over in aside:
                self._pool.release(passed_over)

    def change(self, holder: H, lease: Lease) -> None:
        """Give a holder other addresses than it has; what the pool has given it stays its own.

        Raises `PoolExhausted` where one of them is somebody else's.
        """
        for address in lease.addresses:
            if self._holders.get(address, holder) is not holder:
                raise PoolExhausted(f"{address} is in use by another client")
        before = self._holdings[holder]
        for address in before.lease.addresses:
            del self._holders[address]
        for address in lease.addresses:
            self._holders[address] = holder
        self._holdings[holder] = _Holding(lease, before.drawn)

    def release(self, holder: H) -> None:
        """Take the holder's addresses back; nothing happens where it has none."""
        holding = self._holdings.pop(holder, None)
        if holding is None:
            return
        for address in holding.lease.addresses:
            if self._holders.get(address) is holder:
                del self._holders[address]
        if holding.drawn is not None and self._pool is not None:
            self._pool.release(holding.drawn)


def changed_lease(lease: Lease, changes: Sequence[Change]) -> Lease:
    """The addresses of a client whose options are changed.  Raises `ConfigError` for one that is none."""
    for change in changes:
        if change.name not in {"ifconfig", "ifconfig-ipv6"}:
            continue
        try:
            if change.name == "ifconfig":
                lease = lease._replace(ipv4=None if change.removes else IPv4Address(change.words[1]))
            else:
                lease = lease._replace(ipv6=None if change.removes else IPv6Interface(change.words[1]).ip)
        except (ValueError, IndexError):
            raise ConfigError(f"{change.option!r} has no address", option="push-update") from None
    return lease
