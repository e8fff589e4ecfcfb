"""Control packets ahead of data: how those of one peer get room where its socket is full.

A batch of data leaves as many datagrams in the peer's socket as there was room for: in a stock peer's about a hundred.
Under full load the rest is lost, and whatever comes right behind it.  While the next batch is made ready the peer reads
some.  So a control packet that would come right behind data waits for the head of the next batch, or for a pause.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twistvpn.interfaces import Address, ILink

PAUSE = 0.002
"""Seconds in which a peer that has the time reads what its socket holds; then control packets leave without data."""


class Precedence:
    """The control packets of one peer that wait for the head of data; times are seconds of one clock."""

    __slots__ = ("_waiting", "until")

    def __init__(self) -> None:
        self._waiting: list[bytes] = []
        self.until: float | None = None
        """When they leave without data; None while none waits."""

    def put(self, datagrams: Sequence[bytes], now: float) -> None:
        """Let control packets wait, behind those that do already."""
        if not datagrams:
            return
        self._waiting += datagrams
        if self.until is None:
            self.until = now + PAUSE

    def leave(self, link: ILink, address: Address) -> None:
        """Send all that waits."""
        waiting, self._waiting = self._waiting, []
        self.until = None
        for datagram in waiting:
            link.send_control(datagram, address)
