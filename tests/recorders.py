"""Receivers that keep what they are given."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zope.interface import implementer

from twistvpn.interfaces import Address, Frame, IFrameReceiver, ILink, ILinkReceiver, Run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twisted.python.failure import Failure


@implementer(IFrameReceiver)
class FrameRecorder:
    """Keeps each batch of frames."""

    def __init__(self) -> None:
        self.batches: list[list[Frame]] = []

    def frames_received(self, frames: Sequence[Frame]) -> None:
        self.batches.append(list(frames))

    @property
    def packets(self) -> list[bytes]:
        return [bytes(frame.packet) for batch in self.batches for frame in batch]


@implementer(ILinkReceiver)
class RunRecorder:
    """Keeps each batch of runs, the links they came by and the reasons those were lost for."""

    def __init__(self) -> None:
        self.batches: list[list[tuple[Run, Address]]] = []
        self.links: list[ILink] = []
        self.lost: list[Failure] = []

    def runs_received(self, link: ILink, batch: Sequence[tuple[Run, Address]]) -> None:
        self.links.append(link)
        self.batches.append(list(batch))

    def link_lost(self, link: ILink, reason: Failure) -> None:
        self.links.append(link)
        self.lost.append(reason)

    @property
    def runs(self) -> list[Run]:
        return [run for batch in self.batches for run, _ in batch]

    @property
    def datagrams(self) -> list[bytes]:
        return [bytes(datagram) for run in self.runs for datagram in run.datagrams()]
