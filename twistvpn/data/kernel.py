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


class AnySealer(Protocol):
    """See `batches.BatchSealer`."""

    packet_id: int
    blocks: int

    def largest_text(self, datagram_size: int, /) -> int:
        """Return the size of the largest packet for a datagram."""

    def seal(self, frames: Sequence[Frame], largest_mss: int = 0, /) -> tuple[list[Run], int]:
        """Return runs of data packets and the number of malformed frames."""


class AnyEpochSealer(AnySealer, Protocol):
    """See `epoch.EpochSealer`."""

    @property
    def epoch(self) -> int:
        """The present epoch."""

    def advance(self, epoch: int, /) -> None:
        """Go on to a later epoch."""


class AnyOpener(Protocol):
    """See `batches.BatchOpener`."""

    blocks: int
    failures: int

    @property
    def shortest(self) -> int:
        """Bytes of the shortest datagram, without its prefix."""

    @property
    def highest_packet_id(self) -> int:
        """The highest packet id that was authentic, 0 before the first."""

    def open(self, data: Buffer, size: int, prefix_size: int, now: float, largest_mss: int = 0, /) -> Opened:
        """Return the plaintexts of one run."""

    def open_unsorted(self, data: Buffer, size: int, prefix_size: int, now: float, /) -> Opened:
        """Return them as they are, all among the packets."""


class AnyEpochOpener(AnyOpener, Protocol):
    """See `epoch.EpochOpener`."""

    @property
    def epoch(self) -> int:
        """The peer's present epoch."""


class Kernel(Protocol):
    """What either module has."""

    @property
    def NAME(self) -> str:
        """For logs."""

    def Sealer(self, cipher: str, key: bytes, implicit_iv: bytes, prefix: bytes) -> AnySealer:
        """See `aead.Sealer`."""

    def Opener(self, cipher: str, key: bytes, implicit_iv: bytes, replay_window: int, replay_time: float) -> AnyOpener:
        """See `aead.Opener`."""

    def EpochSealer(self, cipher: str, key: bytes, prefix: bytes) -> AnyEpochSealer:
        """See `epoch.EpochSealer`."""

    def EpochOpener(self, cipher: str, key: bytes, replay_window: int, replay_time: float) -> AnyEpochOpener:
        """See `epoch.EpochOpener`."""

    def CbcSealer(self, cipher: str, key: bytes, digest: str, hmac_key: bytes, prefix: bytes) -> AnySealer:
        """See `cbc.CbcSealer`."""

    def CbcOpener(
        self, cipher: str, key: bytes, digest: str, hmac_key: bytes, replay_window: int, replay_time: float
    ) -> AnyOpener:
        """See `cbc.CbcOpener`."""

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

    def segment_ethernet(self, frames: Iterable[Frame], largest_mss: int, /) -> tuple[list[Buffer], int]:
        """See `ethernet.segment_ethernet`."""

    def sort_ethernet(self, texts: Iterable[Buffer], largest_mss: int, /) -> tuple[list[Buffer], list[Buffer]]:
        """See `ethernet.sort_ethernet`."""

    def coalesce_ethernet(self, packets: Sequence[Buffer], offloads: int, /) -> list[Frame]:
        """See `ethernet.coalesce_ethernet`."""


_chosen = cast("Kernel", wanted("twistvpn.data._kernel") or pure)

NAME = _chosen.NAME
"""Which one runs, for people to read."""
Sealer = _chosen.Sealer
Opener = _chosen.Opener
EpochSealer = _chosen.EpochSealer
EpochOpener = _chosen.EpochOpener
CbcSealer = _chosen.CbcSealer
CbcOpener = _chosen.CbcOpener
segment = _chosen.segment
coalesce = _chosen.coalesce
clamp_mss = _chosen.clamp_mss
by_source = _chosen.by_source
by_destination = _chosen.by_destination
by_ethernet_source = _chosen.by_ethernet_source
by_stations = _chosen.by_stations
segment_ethernet = _chosen.segment_ethernet
sort_ethernet = _chosen.sort_ethernet
coalesce_ethernet = _chosen.coalesce_ethernet
