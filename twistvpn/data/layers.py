"""What the packets of a tunnel are, IP packets or Ethernet frames, and what the data path does differently with them.

Chosen once for a server or client by its device; everything goes by the batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

from twistvpn.data import kernel
from twistvpn.data.bridge import MacTable
from twistvpn.data.inet import ETHERNET_HEADER_SIZE
from twistvpn.data.offload import segment_all
from twistvpn.data.opened import Opened, sort_out
from twistvpn.data.routes import RouteTable
from twistvpn.data.vlan import VlanTable
from twistvpn.interfaces import DeviceType, Frame

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterable, Sequence
    from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
    from typing import TypeAlias

    from twistvpn.config.settings import ServerSettings
    from twistvpn.data.bridge import PortSettings
    from twistvpn.data.kernel import AnyOpener, AnySealer
    from twistvpn.interfaces import Buffer, Run

    Inner: TypeAlias = IPv4Network | IPv6Network | IPv4Address | IPv6Address

P = TypeVar("P")


class PeerTable(Protocol[P]):
    """Which peer a packet is for, and which peer it may come from."""

    drops: Counter[str]
    """Packets dropped, by reason."""

    def join(self, peer: P, networks: Iterable[Inner], port: PortSettings, /) -> None:
        """From now on there is `peer`, with these addresses and networks inside the tunnel."""

    def leave(self, peer: P, networks: Iterable[Inner]) -> None:
        """There is no such peer any more."""

    def split_by_peer(self, frames: Iterable[Frame]) -> list[tuple[P, list[Frame]]]:
        """Sort the frames of one batch from the device by the peers they go to, each peer's in their order."""

    def check_sources(self, peer: P, packets: Sequence[Buffer]) -> list[Buffer]:
        """Return those of `packets` that `peer` may send."""

    def split_client_to_client(self, packets: Sequence[Buffer]) -> tuple[list[tuple[P, list[Frame]]], list[Buffer]]:
        """Part what a peer sent, `check_sources` passed, into the frames for other peers and the device's packets."""

    def for_device(self, packets: list[Buffer]) -> list[Buffer]:
        """Return what the device gets of packets from peers that are no other peer's alone."""


class Layer(Protocol):
    """One kind of packets."""

    @property
    def header_size(self) -> int:
        """Bytes of a packet around the IP packet inside it."""

    def seal(self, sealer: AnySealer, frames: Sequence[Frame], largest_mss: int) -> tuple[list[Run], int]:
        """Segment, clamp and seal frames; see `aead.Sealer.seal`."""

    def open(
        self, opener: AnyOpener, data: Buffer, size: int, prefix_size: int, now: float, largest_mss: int
    ) -> Opened:
        """Open a run, and part packets from messages; see `aead.Opener.open`."""

    def segment(self, frames: Sequence[Frame], largest_mss: int) -> tuple[list[Buffer], int]:
        """Return the packets that `frames` stand for, clamped, and how many frames are malformed."""

    def sort_out(self, texts: Sequence[Buffer], largest_mss: int) -> tuple[list[Buffer], list[Buffer]]:
        """Part opened plaintexts into packets, clamped, and messages."""

    def coalesce(self, packets: Sequence[Buffer], offloads: int) -> list[Frame]:
        """Merge packets into frames for a device with these offloads; see `coalesce.coalesce`."""

    def make_table(self, server: ServerSettings, seconds: Callable[[], float]) -> PeerTable[P]:
        """Return an empty table of the peers of a server."""


class _IpLayer:
    """IP packets, as the kernels know them."""

    header_size = 0

    def seal(self, sealer: AnySealer, frames: Sequence[Frame], largest_mss: int) -> tuple[list[Run], int]:
        return sealer.seal(frames, largest_mss)

    def open(
        self, opener: AnyOpener, data: Buffer, size: int, prefix_size: int, now: float, largest_mss: int
    ) -> Opened:
        return opener.open(data, size, prefix_size, now, largest_mss)

    def segment(self, frames: Sequence[Frame], largest_mss: int) -> tuple[list[Buffer], int]:
        packets, malformed = segment_all(frames, kernel.segment)
        if largest_mss:
            kernel.clamp_mss(packets, largest_mss)
        return packets, malformed

    def sort_out(self, texts: Sequence[Buffer], largest_mss: int) -> tuple[list[Buffer], list[Buffer]]:
        packets, messages = sort_out(texts)
        if largest_mss:
            kernel.clamp_mss(packets, largest_mss)
        return packets, messages

    def coalesce(self, packets: Sequence[Buffer], offloads: int) -> list[Frame]:
        return kernel.coalesce(packets, offloads)

    def make_table(self, _server: ServerSettings, _seconds: Callable[[], float]) -> RouteTable[P]:
        return RouteTable()


class _EthernetLayer:
    """Ethernet frames.  Sealers and openers take them as they are: what is inside is looked at before and after."""

    header_size = ETHERNET_HEADER_SIZE

    def seal(self, sealer: AnySealer, frames: Sequence[Frame], largest_mss: int) -> tuple[list[Run], int]:
        packets, malformed = kernel.segment_ethernet(frames, largest_mss)
        runs, _ = sealer.seal(kernel.coalesce(packets, 0))
        return runs, malformed

    def open(
        self, opener: AnyOpener, data: Buffer, size: int, prefix_size: int, now: float, largest_mss: int
    ) -> Opened:
        opened = opener.open_unsorted(data, size, prefix_size, now)
        packets, messages = kernel.sort_ethernet(opened.packets, largest_mss)
        return opened._replace(packets=packets, messages=messages)

    def segment(self, frames: Sequence[Frame], largest_mss: int) -> tuple[list[Buffer], int]:
        return kernel.segment_ethernet(frames, largest_mss)

    def sort_out(self, texts: Sequence[Buffer], largest_mss: int) -> tuple[list[Buffer], list[Buffer]]:
        return kernel.sort_ethernet(texts, largest_mss)

    def coalesce(self, packets: Sequence[Buffer], offloads: int) -> list[Frame]:
        return kernel.coalesce_ethernet(packets, offloads)

    def make_table(self, server: ServerSettings, seconds: Callable[[], float]) -> MacTable[P] | VlanTable[P]:
        if server.vlan is None:
            return MacTable(seconds, aging=server.address_aging)
        return VlanTable(server.vlan, seconds, aging=server.address_aging)


IP: Layer = _IpLayer()
ETHERNET: Layer = _EthernetLayer()

LAYERS = {DeviceType.TUN: IP, DeviceType.TAP: ETHERNET}
