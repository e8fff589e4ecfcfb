"""`vlan-tagging`: clients are access ports of VLANs, and the tap may be a trunk of several (IEEE 802.1Q).

Inside the server every frame of a client carries the tag of the client's VLAN.  Clients neither send nor get one: what
they send with the tag of a VLAN is dropped.  Frames for the tap lose the tag of the tap's own VLAN, as `vlan-accept`
says.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Generic, TypeVar

from twistvpn.data.bridge import COMMON_PORT, MALFORMED, MacTable
from twistvpn.data.ethernet import ETHERTYPE_AT, VLAN, VLAN_TAG_SIZE
from twistvpn.data.inet import ETHERNET_HEADER_SIZE
from twistvpn.data.offload import GSO_NONE, NEEDS_CSUM, VnetHeader
from twistvpn.interfaces import NO_OFFLOAD, Frame

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence
    from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

    from twistvpn.config.settings import VlanSettings
    from twistvpn.data.bridge import PortSettings
    from twistvpn.interfaces import Buffer

P = TypeVar("P")

WRONG_VLAN = "vlan"
"""The reason that `VlanTable.drops` counts under, beside those of `MacTable`."""

MOST_PER_VLAN = 8192
"""Addresses in one VLAN."""

_VID = 0x0FFF


def vlan_of(frame: Buffer) -> int:
    """Return the VLAN that a frame's tag names; 0 for a frame without a tag, and for one that only has a priority."""
    if len(frame) < ETHERNET_HEADER_SIZE + VLAN_TAG_SIZE or frame[ETHERTYPE_AT : ETHERTYPE_AT + 2] != VLAN:
        return 0
    return (frame[ETHERTYPE_AT + 2] << 8 | frame[ETHERTYPE_AT + 3]) & _VID


def names_vlan(frame: Buffer) -> bool:
    """Whether a frame names a VLAN in its tag, or in one behind tags that have only a priority."""
    at = ETHERTYPE_AT
    while frame[at : at + 2] == VLAN and at + VLAN_TAG_SIZE <= len(frame):
        if (frame[at + 2] << 8 | frame[at + 3]) & _VID:
            return True
        at += VLAN_TAG_SIZE
    return False


def tagged(frame: Buffer, vlan: int) -> bytes:
    """Return a frame that names no VLAN with the tag of `vlan`; a priority that it has stays."""
    if frame[ETHERTYPE_AT : ETHERTYPE_AT + 2] == VLAN and len(frame) >= ETHERTYPE_AT + VLAN_TAG_SIZE:
        priority = (frame[ETHERTYPE_AT + 2] << 8) & ~_VID
        return b"".join((frame[: ETHERTYPE_AT + 2], (priority | vlan).to_bytes(2, "big"), frame[ETHERTYPE_AT + 4 :]))
    return b"".join((frame[:ETHERTYPE_AT], VLAN, vlan.to_bytes(2, "big"), frame[ETHERTYPE_AT:]))


def untagged(frame: Buffer) -> bytes:
    """Return a frame without its tag, or, where that has a priority, naming no VLAN."""
    priority = (frame[ETHERTYPE_AT + 2] << 8) & ~_VID
    if priority:
        return b"".join((frame[: ETHERTYPE_AT + 2], priority.to_bytes(2, "big"), frame[ETHERTYPE_AT + 4 :]))
    return b"".join((frame[:ETHERTYPE_AT], frame[ETHERTYPE_AT + VLAN_TAG_SIZE :]))


def _untagged_frame(frame: Frame) -> Frame:
    """The same for a super-packet, whose virtio-net header counts from the frame's beginning."""
    packet, raw = frame
    bare = bytes(packet[:ETHERTYPE_AT]) + bytes(packet[ETHERTYPE_AT + VLAN_TAG_SIZE :])
    if raw == NO_OFFLOAD or len(raw) != len(NO_OFFLOAD):
        return Frame(bare, raw)
    vnet = VnetHeader.decode(raw)
    if vnet.gso_type != GSO_NONE or vnet.flags & NEEDS_CSUM:
        vnet = vnet._replace(
            hdr_len=max(0, vnet.hdr_len - VLAN_TAG_SIZE), csum_start=max(0, vnet.csum_start - VLAN_TAG_SIZE)
        )
    return Frame(bare, vnet.encode())


class VlanTable(Generic[P]):
    """Has a `MacTable` for each VLAN that a peer is in, and stands in the place of one."""

    def __init__(self, settings: VlanSettings, seconds: Callable[[], float], *, aging: float) -> None:
        self.drops: Counter[str] = Counter()
        """Frames dropped, by reason."""
        self._settings = settings
        self._seconds = seconds
        self._aging = aging
        self._own: Collection[bytes] = frozenset()
        self._vlans: dict[int, MacTable[P]] = {}
        self._vlan_of: dict[P, int] = {}

    @property
    def own(self) -> Collection[bytes]:
        """The host's own addresses, which no peer can have, in whatever VLAN."""
        return self._own

    @own.setter
    def own(self, addresses: Collection[bytes]) -> None:
        self._own = addresses
        for table in self._vlans.values():
            table.own = addresses

    def join(
        self,
        peer: P,
        networks: Iterable[IPv4Network | IPv6Network | IPv4Address | IPv6Address] = (),
        port: PortSettings = COMMON_PORT,
    ) -> None:
        """Make `peer` a port of its VLAN, or of the tap's own if it has none."""
        vlan = self._settings.pvid if port.vlan is None else port.vlan
        if vlan not in self._vlans:
            table: MacTable[P] = MacTable(self._seconds, aging=self._aging, most=MOST_PER_VLAN)
            table.own, table.drops = self._own, self.drops
            self._vlans[vlan] = table
        self._vlan_of[peer] = vlan
        self._vlans[vlan].join(peer, networks, port)

    def leave(self, peer: P, networks: Iterable[IPv4Network | IPv6Network | IPv4Address | IPv6Address] = ()) -> None:
        """Forget `peer`, and its VLAN when it was the last one there."""
        vlan = self._vlan_of.pop(peer, None)
        if vlan is not None:
            self._vlans[vlan].leave(peer, networks)
            if vlan not in self._vlan_of.values():
                del self._vlans[vlan]

    def behind(self, peer: P) -> list[tuple[str, float]]:
        """See `MacTable.behind`."""
        vlan = self._vlan_of.get(peer)
        return [] if vlan is None else self._vlans[vlan].behind(peer, vlan)

    def split_by_peer(self, frames: Iterable[Frame]) -> list[tuple[P, list[Frame]]]:
        """Sort the frames of one batch from the tap by the peers of their VLAN that they go to, tags taken off."""
        by_vlan: dict[int, list[Frame]] = {}
        for frame in frames:
            vlan = vlan_of(frame[0])
            if vlan:
                frame = _untagged_frame(frame)  # noqa: PLW2901  the same frame
            is_admitted = self._settings.accept in {"all", "tagged" if vlan else "untagged"}
            vlan = vlan or self._settings.pvid
            if is_admitted and vlan in self._vlans:
                by_vlan.setdefault(vlan, []).append(frame)
            else:
                self.drops[WRONG_VLAN] += 1
        return [pair for vlan, batch in by_vlan.items() for pair in self._vlans[vlan].split_by_peer(batch)]

    def check_sources(self, peer: P, packets: Sequence[Buffer]) -> list[Buffer]:
        """Return those frames of `peer` that it may send, with the tag of its VLAN."""
        vlan = self._vlan_of[peer]
        bare = [packet for packet in packets if not names_vlan(packet)]
        if len(bare) != len(packets):
            self.drops[WRONG_VLAN] += len(packets) - len(bare)
        return [tagged(packet, vlan) for packet in self._vlans[vlan].check_sources(peer, bare)]

    def split_client_to_client(self, packets: Sequence[Buffer]) -> tuple[list[tuple[P, list[Frame]]], list[Buffer]]:
        """Part what a peer sent into the frames for other peers, without their tag, and the frames for the tap."""
        by_vlan: dict[int, list[Buffer]] = {}
        for packet in packets:
            vlan = vlan_of(packet)
            if vlan in self._vlans:
                by_vlan.setdefault(vlan, []).append(untagged(packet))
            else:
                self.drops[WRONG_VLAN if len(packet) >= ETHERNET_HEADER_SIZE else MALFORMED] += 1
        for_peers: list[tuple[P, list[Frame]]] = []
        for_tap: list[Buffer] = []
        for vlan, batch in by_vlan.items():
            frames, rest = self._vlans[vlan].split_client_to_client(batch)
            for_peers += frames
            for_tap += [tagged(packet, vlan) for packet in rest]
        return for_peers, for_tap

    def for_device(self, packets: Sequence[Buffer]) -> list[Buffer]:
        """Return what of `packets`, tagged, the tap gets: with the tag, or without that of its own VLAN."""
        accept, pvid = self._settings.accept, self._settings.pvid
        if accept == "tagged":
            return list(packets)
        if accept == "all":
            return [untagged(packet) if vlan_of(packet) == pvid else packet for packet in packets]
        own: list[Buffer] = [untagged(packet) for packet in packets if vlan_of(packet) == pvid]
        if len(own) != len(packets):
            self.drops[WRONG_VLAN] += len(packets) - len(own)
        return own
