"""Which peer an Ethernet frame is for, and which peer it may come from: a learning bridge (IEEE 802.1D, section 7).

Its ports are the peers and the tap.  An address is learned from the frames that come from it, moves with them, and is
forgotten once it has been silent for long; a frame for an address that nobody is known to have goes to every port.
It stands in the place of `data.routes.RouteTable` where the device is a tap.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from twistvpn.data import kernel
from twistvpn.interfaces import Frame

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence
    from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

    from twistvpn.interfaces import Buffer

P = TypeVar("P")

MALFORMED = "malformed"
SOURCE_ADDRESS = "source-address"
TOO_MANY_ADDRESSES = "too-many-addresses"
SAME_PORT = "same-port"
"""The reasons that `MacTable.drops` counts under."""

AGING = 300.0
"""Seconds of silence after which an address is forgotten (IEEE 802.1D, table 7-5)."""
MOST_PER_PEER = 256
"""Addresses behind one peer, as stock's `max-routes-per-client`."""
MOST = 65536
"""Addresses in all; once so many are known, the ports with the most have to give."""

_GROUP = 1
"""The bit of an address's first byte that makes it a group's: multicast or broadcast."""
_NOBODY = bytes(6)


class PortSettings(NamedTuple):
    """What a peer is to the bridge."""

    most: int = MOST_PER_PEER
    """Addresses behind it at most."""
    vlan: int | None = None
    """The VLAN that it is in (`vlan-pvid`); None: that of the tap."""


COMMON_PORT = PortSettings()


class _Port(Generic[P]):
    """One side of the bridge; no peer is the tap's."""

    __slots__ = ("last_seen", "most", "peer")

    def __init__(self, peer: P | None, most: int) -> None:
        self.peer = peer
        self.most = most
        self.last_seen: OrderedDict[bytes, float] = OrderedDict()
        """The addresses learned here, with the second of their last frame, the longest silent first."""


class MacTable(Generic[P]):
    """Learns which addresses are behind which peer, and sorts frames by it.

    No peer can be learned to have a group's address or one of `own`, the host's at the tap.  Neither can one fill the
    table: it has `PortSettings.most` addresses at most, and while all ports together have `most` none can push out
    another's unless that one has more.  `seconds` tells the time.
    """

    def __init__(
        self,
        seconds: Callable[[], float],
        *,
        aging: float = AGING,
        most: int = MOST,
    ) -> None:
        self.drops: Counter[str] = Counter()
        """Frames dropped, by reason."""
        self.own: Collection[bytes] = frozenset()
        self._seconds = seconds
        self._aging = aging
        self._most = most
        self._tap: _Port[P] = _Port(None, most)
        self._ports: dict[P, _Port[P]] = {}
        self._owners: dict[bytes, _Port[P]] = {}

    def __len__(self) -> int:
        """Addresses that are known."""
        return len(self._owners)

    def join(
        self,
        peer: P,
        networks: Iterable[IPv4Network | IPv6Network | IPv4Address | IPv6Address] = (),
        port: PortSettings = COMMON_PORT,
    ) -> None:
        """Make `peer` a port; its IP networks mean nothing here."""
        self._ports.setdefault(peer, _Port(peer, port.most))

    def leave(self, peer: P, networks: Iterable[IPv4Network | IPv6Network | IPv4Address | IPv6Address] = ()) -> None:
        """Forget `peer` and what was learned of it."""
        port = self._ports.pop(peer, None)
        if port is not None:
            for address in port.last_seen:
                del self._owners[address]

    def behind(self, peer: P, vlan: int = 0) -> list[tuple[str, float]]:
        """Return the addresses that `peer` has, as ADDRESS@VLAN for people, each with the second of its last frame."""
        port = self._ports.get(peer)
        if port is None:
            return []
        return [(f"{address.hex(':')}@{vlan}", seen) for address, seen in port.last_seen.items()]

    def _port_of(self, address: bytes, now: float) -> _Port[P] | None:
        if address in self.own:
            return self._tap
        port = self._owners.get(address)
        if port is None or now - port.last_seen[address] > self._aging:
            return None
        return port

    # Learning

    def _learn(self, port: _Port[P], address: bytes, now: float) -> str | None:
        """Note that `address` is behind `port`; returns the reason where it cannot be."""
        owner = self._owners.get(address)
        if owner is not port:
            if address[0] & _GROUP or address == _NOBODY or address in self.own:
                return SOURCE_ADDRESS
            if not self._make_room(port, now, 0 if owner is None else 1):
                return TOO_MANY_ADDRESSES
            if owner is not None:
                # Looked up once more: the room may have been made with this very address.
                owner.last_seen.pop(address, None)
            self._owners[address] = port
        port.last_seen[address] = now
        port.last_seen.move_to_end(address)
        return None

    def _make_room(self, port: _Port[P], now: float, freed: int) -> bool:
        """See to it that `port` may have one address more; `freed` are given up by another in exchange."""
        if len(port.last_seen) >= port.most:
            self._forget_silent(port, now)
            if len(port.last_seen) >= port.most:
                return False
        if len(self._owners) - freed < self._most:
            return True
        largest = max((self._tap, *self._ports.values()), key=lambda other: len(other.last_seen))
        self._forget_silent(largest, now)
        if len(self._owners) - freed < self._most:
            return True
        if len(largest.last_seen) <= len(port.last_seen) + 1:
            return False
        longest_silent, _ = largest.last_seen.popitem(last=False)
        del self._owners[longest_silent]
        return True

    def _forget_silent(self, port: _Port[P], now: float) -> None:
        last_seen = port.last_seen
        while last_seen:
            address = next(iter(last_seen))
            if now - last_seen[address] <= self._aging:
                return
            del last_seen[address]
            del self._owners[address]

    # Batches

    def split_by_peer(self, frames: Iterable[Frame]) -> list[tuple[P, list[Frame]]]:
        """Sort the frames of one batch from the tap by the peers they go to, each peer's in their order."""
        now = self._seconds()
        by_peer: dict[P, list[Frame]] = {}
        for stations, batch in kernel.by_stations(frames):
            if not stations:
                self.drops[MALFORMED] += len(batch)
                continue
            self._learn(self._tap, stations[6:], now)
            port = None if stations[0] & _GROUP else self._port_of(stations[:6], now)
            if port is self._tap:
                self.drops[SAME_PORT] += len(batch)
            else:
                self._deliver(batch, self._tap, port, by_peer)
        return list(by_peer.items())

    def check_sources(self, peer: P, packets: Sequence[Buffer]) -> list[Buffer]:
        """Learn where the frames of `peer` come from, and return those whose source address it may have.

        The others are counted in `drops`.
        """
        port = self._ports[peer]
        now = self._seconds()
        allowed: list[Buffer] = []
        for source, batch in kernel.by_ethernet_source(packets):
            reason = self._learn(port, source, now) if source else MALFORMED
            if reason is None:
                allowed += batch
            else:
                self.drops[reason] += len(batch)
        return allowed

    def split_client_to_client(self, packets: Sequence[Buffer]) -> tuple[list[tuple[P, list[Frame]]], list[Buffer]]:
        """Part what a peer sent into the frames for other peers and the frames for the tap.

        `packets` have passed `check_sources`, by which it is known whose they are.  What is for everybody, or for
        somebody unknown, is in both parts.
        """
        now = self._seconds()
        by_peer: dict[P, list[Frame]] = {}
        for_tap: list[Buffer] = []
        for stations, batch in kernel.by_stations(kernel.coalesce(packets, 0)):
            if not stations:
                self.drops[MALFORMED] += len(batch)
                continue
            sender = self._port_of(stations[6:], now)
            port = None if stations[0] & _GROUP else self._port_of(stations[:6], now)
            if port is not None and port is sender:
                self.drops[SAME_PORT] += len(batch)
                continue
            if port is None or port is self._tap:
                for_tap += [frame[0] for frame in batch]
            if port is not self._tap:
                self._deliver(batch, sender, port, by_peer)
        return list(by_peer.items()), for_tap

    def for_device(self, packets: list[Buffer]) -> list[Buffer]:
        """Return what of `packets`, which no peer has got alone, the tap gets: all."""
        return packets

    def _deliver(
        self, batch: list[Frame], sender: _Port[P] | None, receiver: _Port[P] | None, by_peer: dict[P, list[Frame]]
    ) -> None:
        """Give `batch` to the peer of `receiver`, or, without one, to every peer but the sender."""
        for port in self._ports.values() if receiver is None else (receiver,):
            if port is not sender and port.peer is not None:
                by_peer.setdefault(port.peer, []).extend(batch)
