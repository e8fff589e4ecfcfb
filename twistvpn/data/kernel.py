"""The inner loops of the data path, chosen in one place: compiled where that could be built, else in pure Python.

Both take and give whole batches and behave the same to the byte; `twistvpn.data.pure` says where the names are
explained.  Call them as attributes of this module, so that whoever replaces one here replaces it everywhere.

The environment may ask for one: see `twistvpn.compiled`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, cast

from twistvpn.compiled import wanted
from twistvpn.data import pure
from twistvpn.data.coalesce import ALL_OFFLOADS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from twistvpn.data.opened import Opened
    from twistvpn.interfaces import Buffer, Frame, Run

__all__ = [
    "NAME",
    "Opener",
    "Sealer",
    "by_destination",
    "by_ethernet_source",
    "by_source",
    "by_stations",
    "clamp_mss",
    "coalesce",
    "segment",
]


class AnySealer(Protocol):
    """See `aead.Sealer`."""

    packet_id: int
    blocks: int

    @property
    def overhead(self) -> int:
        """Bytes that sealing adds to a packet."""

    def seal(self, frames: Sequence[Frame], largest_mss: int = 0, /) -> tuple[list[Run], int]:
        """Return runs of data packets and the number of malformed frames."""


class AnyOpener(Protocol):
    """See `aead.Opener`."""

    blocks: int
    failures: int

    @property
    def highest_packet_id(self) -> int:
        """The highest packet id that was authentic, 0 before the first."""

    def open(self, data: Buffer, size: int, prefix_size: int, now: float, largest_mss: int = 0, /) -> Opened:
        """Return the plaintexts of one run."""

    def open_unsorted(self, data: Buffer, size: int, prefix_size: int, now: float, /) -> Opened:
        """Return them as they are, all among the packets."""


class Kernel(Protocol):
    """What either module has."""

    @property
    def NAME(self) -> str:
        """For logs."""

    def Sealer(self, cipher: str, key: bytes, implicit_iv: bytes, prefix: bytes) -> AnySealer:
        """See `aead.Sealer`."""

    def Opener(self, cipher: str, key: bytes, implicit_iv: bytes, replay_window: int, replay_time: float) -> AnyOpener:
        """See `aead.Opener`."""

    def segment(self, frame: Frame, /) -> list[Buffer]:
        """See `offload.segment`."""

    def coalesce(self, packets: Sequence[Buffer], offloads: int = ALL_OFFLOADS, /) -> list[Frame]:
        """See `coalesce.coalesce`."""

    def clamp_mss(self, packets: list[Buffer], largest: int, /) -> None:
        """See `mss.clamp_mss`."""

    def by_source(self, packets: Iterable[Buffer], /) -> list[tuple[bytes, list[Buffer]]]:
        """See `grouping.by_source`."""

    def by_destination(self, frames: Iterable[Frame], /) -> list[tuple[bytes, list[Frame]]]:
        """See `grouping.by_destination`."""

    def by_ethernet_source(self, packets: Iterable[Buffer], /) -> list[tuple[bytes, list[Buffer]]]:
        """See `grouping.by_ethernet_source`."""

    def by_stations(self, frames: Iterable[Frame], /) -> list[tuple[bytes, list[Frame]]]:
        """See `grouping.by_stations`."""


_chosen = cast("Kernel", wanted("twistvpn.data._kernel") or pure)

NAME = _chosen.NAME
"""Which one runs, for people to read."""
Sealer = _chosen.Sealer
Opener = _chosen.Opener
segment = _chosen.segment
coalesce = _chosen.coalesce
clamp_mss = _chosen.clamp_mss
by_source = _chosen.by_source
by_destination = _chosen.by_destination
by_ethernet_source = _chosen.by_ethernet_source
by_stations = _chosen.by_stations
