"""What the packets of a tunnel are, IP packets or Ethernet frames, and what the data path does differently with them.

Chosen once for a server or client by its device; everything goes by the batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

from twistvpn.data import ethernet, kernel
from twistvpn.data.bridge import MacTable
from twistvpn.data.inet import ETHERNET_HEADER_SIZE
from twistvpn.data.messages import OCC_MAGIC, PING
from twistvpn.data.opened import Opened, sort_out
from twistvpn.data.routes import RouteTable
from twistvpn.interfaces import DeviceType, Frame

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterable, Sequence
    from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
    from typing import Any, TypeAlias

    from twistvpn.data.kernel import AnyOpener, AnySealer
    from twistvpn.interfaces import Buffer, Run

    Inner: TypeAlias = IPv4Network | IPv6Network | IPv4Address | IPv6Address

P = TypeVar("P")

_MESSAGES = (PING, OCC_MAGIC)


class PeerTable(Protocol[P]):
    """Which peer a packet is for, and which peer it may come from."""

    drops: Counter[str]
    """Packets dropped, by reason."""

    def join(self, peer: P, networks: Iterable[Inner]) -> None:
        """From now on there is `peer`, with these addresses and networks inside the tunnel."""

    def leave(self, peer: P, networks: Iterable[Inner]) -> None:
        """There is no such peer any more."""

    def lookup_address(self, address: Any) -> P | None:
        """Return the peer that has `address`: an IP address, or the bytes of an Ethernet address."""

    def split_by_peer(self, frames: Iterable[Frame]) -> list[tuple[P, list[Frame]]]:
        """Sort the frames of one batch from the device by the peers they go to, each peer's in their order."""

    def check_sources(self, peer: P, packets: Sequence[Buffer]) -> list[Buffer]:
        """Return those of `packets` that `peer` may send."""

    def split_client_to_client(self, packets: Sequence[Buffer]) -> tuple[list[tuple[P, list[Frame]]], list[Buffer]]:
        """Part what a peer sent, `check_sources` passed, into the frames for other peers and the device's packets."""


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

    def segment(self, frame: Frame) -> list[Buffer]:
        """Return the packets that `frame` stands for; see `offload.segment`."""

    def clamp_mss(self, packets: list[Buffer], largest: int) -> None:
        """Lower the MSS of TCP handshakes in the list's place; see `mss.clamp_mss`."""

    def sort_out(self, texts: Sequence[Buffer]) -> tuple[list[Buffer], list[Buffer]]:
        """Part opened plaintexts into packets and messages."""

    def coalesce(self, packets: Sequence[Buffer], offloads: int) -> list[Frame]:
        """Merge packets into frames for a device with these offloads; see `coalesce.coalesce`."""

    def make_table(self, seconds: Callable[[], float]) -> PeerTable[P]:
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

    def segment(self, frame: Frame) -> list[Buffer]:
        return kernel.segment(frame)

    def clamp_mss(self, packets: list[Buffer], largest: int) -> None:
        kernel.clamp_mss(packets, largest)

    def sort_out(self, texts: Sequence[Buffer]) -> tuple[list[Buffer], list[Buffer]]:
        return sort_out(texts)

    def coalesce(self, packets: Sequence[Buffer], offloads: int) -> list[Frame]:
        return kernel.coalesce(packets, offloads)

    def make_table(self, _seconds: Callable[[], float]) -> RouteTable[P]:
        return RouteTable()


class _EthernetLayer:
    """Ethernet frames, whole ones: a tap device gives and takes no super-packets."""

    header_size = ETHERNET_HEADER_SIZE

    def seal(self, sealer: AnySealer, frames: Sequence[Frame], largest_mss: int) -> tuple[list[Run], int]:
        if largest_mss:
            packets = [frame[0] for frame in frames]
            ethernet.clamp_mss(packets, largest_mss)
            frames = kernel.coalesce(packets, 0)
        return sealer.seal(frames)

    def open(
        self, opener: AnyOpener, data: Buffer, size: int, prefix_size: int, now: float, largest_mss: int
    ) -> Opened:
        opened = opener.open_unsorted(data, size, prefix_size, now)
        packets, messages = self.sort_out(opened.packets)
        if largest_mss:
            ethernet.clamp_mss(packets, largest_mss)
        return opened._replace(packets=packets, messages=messages)

    def segment(self, frame: Frame) -> list[Buffer]:
        return [frame[0]]

    def clamp_mss(self, packets: list[Buffer], largest: int) -> None:
        ethernet.clamp_mss(packets, largest)

    def sort_out(self, texts: Sequence[Buffer]) -> tuple[list[Buffer], list[Buffer]]:
        packets = [text for text in texts if text[:16] not in _MESSAGES]
        if len(packets) == len(texts):
            return packets, []
        return packets, [text for text in texts if text[:16] in _MESSAGES]

    def coalesce(self, packets: Sequence[Buffer], _offloads: int) -> list[Frame]:
        return kernel.coalesce(packets, 0)

    def make_table(self, seconds: Callable[[], float]) -> MacTable[P]:
        return MacTable(seconds)


IP: Layer = _IpLayer()
ETHERNET: Layer = _EthernetLayer()

LAYERS = {DeviceType.TUN: IP, DeviceType.TAP: ETHERNET}
