"""A device without a host behind it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from zope.interface import implementer

from twistvpn.interfaces import ITun

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from twistvpn.interfaces import Frame, IFrameReceiver


@implementer(ITun)
class NullTun:
    """For applications that answer packets themselves: needs no privileges, reads nothing.

    What is written to it is counted in `drops` as 'null'.
    """

    def __init__(self, name: str = "null", mtu: int = 1500) -> None:
        self.name = name
        self.mtu = mtu
        self.offloads: Collection[int] = ()
        self.drops: Counter[str] = Counter()

    def start(self, receiver: IFrameReceiver) -> None:
        """Nothing will ever come."""

    def write_frames(self, frames: Sequence[Frame]) -> None:
        """Count and forget."""
        self.drops["null"] += len(frames)

    def poll(self) -> None:
        """Nothing will ever come."""

    def close(self) -> None:
        """Nothing is open."""
