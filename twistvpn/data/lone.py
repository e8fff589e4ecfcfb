"""The table of peers in point-to-point mode: everything is for the one other end, and may come from it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from twistvpn.data.bridge import PortSettings
    from twistvpn.interfaces import Buffer, Frame

P = TypeVar("P")

NOBODY = "no-route"
"""The reason that `LoneTable.drops` counts under: there is no other end, or it is another by now."""


class LoneTable(Generic[P]):
    """Stands in the place of `data.routes.RouteTable` and `data.bridge.MacTable`; addresses mean nothing to it."""

    def __init__(self) -> None:
        self.drops: Counter[str] = Counter()
        """Packets dropped, by reason."""
        self._peer: P | None = None

    def join(self, peer: P, _networks: Iterable[Any], _port: PortSettings, /) -> None:
        """From now on `peer` is the other end."""
        self._peer = peer

    def leave(self, peer: P, _networks: Iterable[Any]) -> None:
        """There is no such peer any more."""
        if self._peer is peer:
            self._peer = None

    def split_by_peer(self, frames: Iterable[Frame]) -> list[tuple[P, list[Frame]]]:
        """Give the other end everything."""
        batch = list(frames)
        if self._peer is None:
            self.drops[NOBODY] += len(batch)
            return []
        return [(self._peer, batch)]

    def check_sources(self, peer: P, packets: Sequence[Buffer]) -> list[Buffer]:
        """Return all of `packets` where `peer` is the other end."""
        if peer is self._peer:
            return list(packets)
        self.drops[NOBODY] += len(packets)
        return []

    def split_client_to_client(self, packets: Sequence[Buffer]) -> tuple[list[tuple[P, list[Frame]]], list[Buffer]]:
        """Leave everything to the device: nobody else is there."""
        return [], list(packets)

    def for_device(self, packets: list[Buffer]) -> list[Buffer]:
        """Return `packets` as they are."""
        return packets
