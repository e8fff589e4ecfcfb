"""Twins in memory of the device and the links, for trial suites of programs that embed twistvpn.

`MemoryTun` stands for a tun device.  A `MemoryNetwork` joins `MemoryLink`s on a
`twisted.internet.task.Clock`: nothing arrives until the test advances the clock, and what is lost,
repeated or reordered follows from the seed alone, so that a test that fails does so every time.

    clock = Clock()
    network = MemoryNetwork(clock, seed=7, loss=0.3, delay=0.01)
    server = network.link(server_receiver, ("192.0.2.1", 1194))
    client = network.link(client_receiver, ("198.51.100.2", 40000))
    client.send_control(packet, server.address)
    clock.advance(0.01)  # server_receiver.runs_received(server, [(Run, client.address)])
"""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING, TypeAlias

from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from twistvpn.interfaces import (
    Address,
    Buffer,
    Frame,
    IFrameReceiver,
    ILink,
    ILinkReceiver,
    ITun,
    Run,
    single,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from twisted.internet.interfaces import IReactorTime

_Arrival: TypeAlias = tuple[Run, Address]


@implementer(ITun)
class MemoryTun:
    """A tun device whose host is the test: it injects packets and looks at those that were written.

    `written` holds the packets handed to the host, in order, and `frames` the same with their
    virtio-net headers, for tests of offload.  `batches` counts the calls of `write_frames`.
    `offloads` are the TUN_F_* flags it claims; without them it is written plain packets only.
    """

    def __init__(self, name: str = "tun0", mtu: int = 1500, offloads: Collection[int] = ()) -> None:
        self.name = name
        self.mtu = mtu
        self.offloads = offloads
        self.written: list[bytes] = []
        self.frames: list[Frame] = []
        self.batches = 0
        self.drops: Counter[str] = Counter()
        self.closed = False
        self.answer: Callable[[bytes], bytes] | None = None
        """The host's answer to a packet, there as soon as it is polled for; without a poll it is never read."""
        self._receiver: IFrameReceiver | None = None
        self._waiting: list[Frame] = []
        self._answers: list[bytes] = []

    def start(self, receiver: IFrameReceiver) -> None:
        """Give every batch to `receiver`, at once the packets that were injected before."""
        self._receiver = receiver
        waiting, self._waiting = self._waiting, []
        if waiting:
            receiver.frames_received(waiting)

    def inject(self, *packets: Buffer | Frame) -> None:
        """Let the host send these IP packets into the tunnel, as one batch."""
        frames = [packet if isinstance(packet, Frame) else Frame(packet) for packet in packets]
        if self.closed:
            self.drops["closed"] += len(frames)
        elif self._receiver is None:
            self._waiting += frames
        else:
            self._receiver.frames_received(frames)

    def write_frames(self, frames: Sequence[Frame]) -> None:
        """Keep the packets in `written` and `frames`."""
        if self.closed:
            self.drops["closed"] += len(frames)
            return
        self.batches += 1
        self.frames += [Frame(bytes(packet), bytes(vnet)) for packet, vnet in frames]
        packets = [bytes(packet) for packet, _ in frames]
        self.written += packets
        if self.answer is not None:
            self._answers += map(self.answer, packets)

    def poll(self) -> None:
        """Hand over the host's answers, as one batch."""
        answers, self._answers = self._answers, []
        if answers:
            self.inject(*answers)

    def take(self) -> list[bytes]:
        """Return what was written since the last call, and forget it."""
        taken, self.written = self.written, []
        self.frames = []
        return taken

    def close(self) -> None:
        """Drop whatever comes from now on.  Calling it twice is harmless."""
        self.closed = True


class MemoryNetwork:
    """Carries datagrams between memory links, with the faults it is told to have.

    `loss`, `duplication` and `reordering` are probabilities for each datagram of an unreliable link, `delay`
    is seconds.  A reordered datagram takes up to `REORDER_DELAYS` times `delay` longer (or times 10 ms
    without a delay) and so arrives behind later ones.  All four may be changed while the network is in use: `loss = 1`
    cuts it.  `keep`, if set, is asked about every datagram (bytes, source, destination) first; one it returns False
    for is lost.

    `counts` has 'sent', 'lost', 'duplicated', 'reordered', 'unreachable' and 'delivered' datagrams.
    """

    REORDER_DELAYS = 3

    def __init__(
        self,
        clock: IReactorTime,
        *,
        seed: int = 0,
        loss: float = 0.0,
        duplication: float = 0.0,
        reordering: float = 0.0,
        delay: float = 0.0,
    ) -> None:
        self.clock = clock
        self.loss = loss
        self.duplication = duplication
        self.reordering = reordering
        self.delay = delay
        self.keep: Callable[[bytes, Address, Address], bool] | None = None
        self.counts: Counter[str] = Counter()
        self._random = random.Random(seed)  # noqa: S311  faults that can be repeated
        self._links: dict[Address, MemoryLink] = {}
        self._due: dict[tuple[float, MemoryLink], list[_Arrival]] = {}

    def link(self, receiver: ILinkReceiver, address: Address) -> MemoryLink:
        """Return an unreliable link, as a UDP socket is, bound to `address`."""
        if address in self._links:
            raise ValueError(f"{address} is in use")
        link = self._links[address] = MemoryLink(self, receiver, address)
        return link

    def stream(
        self, receiver: ILinkReceiver, address: Address, peer_receiver: ILinkReceiver, peer_address: Address
    ) -> tuple[MemoryLink, MemoryLink]:
        """Return the two ends of a connection that loses nothing and keeps the order, as TCP does."""
        one, other = MemoryLink(self, receiver, address), MemoryLink(self, peer_receiver, peer_address)
        one._peer, other._peer = other, one
        return one, other

    def move(self, link: MemoryLink, address: Address) -> None:
        """Give an unreliable link another address, as a NAT or another network does to a roaming client."""
        if address in self._links:
            raise ValueError(f"{address} is in use")
        self._forget(link)
        link.address = address
        self._links[address] = link

    def _forget(self, link: MemoryLink) -> None:
        if self._links.get(link.address) is link:
            del self._links[link.address]

    def _send(self, runs: Sequence[Run], source: Address, destination: Address) -> None:
        if not (self.loss or self.duplication or self.reordering or self.keep):
            self._carry_whole(runs, source, destination)
            return
        for run in runs:
            for datagram in run.datagrams():
                self._carry(bytes(datagram), source, destination)

    def _carry_whole(self, runs: Sequence[Run], source: Address, destination: Address) -> None:
        for run in runs:
            count = _datagrams(run)
            self.counts["sent"] += count
            target = self._links.get(destination)
            if target is None:
                self.counts["unreachable"] += count
            else:
                self._schedule(target, Run(bytes(run.data), run.size), source, self.delay)

    def _carry(self, datagram: bytes, source: Address, destination: Address) -> None:
        self.counts["sent"] += 1
        if self.keep is not None and not self.keep(datagram, source, destination):
            self.counts["lost"] += 1
            return
        if self._random.random() < self.loss:
            self.counts["lost"] += 1
            return
        target = self._links.get(destination)
        if target is None:
            self.counts["unreachable"] += 1
            return
        self._schedule(target, single(datagram), source, self._transit())
        if self._random.random() < self.duplication:
            self.counts["duplicated"] += 1
            self._schedule(target, single(datagram), source, self._transit())

    def _transit(self) -> float:
        if self._random.random() >= self.reordering:
            return self.delay
        self.counts["reordered"] += 1
        return self.delay + self._random.uniform(0, self.REORDER_DELAYS) * (self.delay or 0.01)

    def _schedule(self, target: MemoryLink, run: Run, source: Address, delay: float) -> None:
        """Put the run into one batch with all that reaches `target` at that moment, as a socket's wake-up does."""
        key = (self.clock.seconds() + delay, target)
        if key in self._due:
            self._due[key].append((run, source))
        else:
            self._due[key] = [(run, source)]
            self.clock.callLater(delay, self._deliver, key)

    def _deliver(self, key: tuple[float, MemoryLink]) -> None:
        batch = self._due.pop(key)
        _, target = key
        if not target.closed:
            self.counts["delivered"] += sum(_datagrams(run) for run, _ in batch)
            target._receive(batch)


@implementer(ILink)
class MemoryLink:
    """A link of a `MemoryNetwork`; `drops` counts what was sent after it was closed.

    `is_stream` tells whether it came from `MemoryNetwork.stream`; then the receivers of both ends are told `link_lost`
    once either end is closed.
    """

    header_size = 0
    relay = None

    def __init__(self, network: MemoryNetwork, receiver: ILinkReceiver, address: Address) -> None:
        self.address = address
        self.closed = False
        self.drops: Counter[str] = Counter()
        self._network = network
        self._receiver = receiver
        self._peer: MemoryLink | None = None
        self._last_arrival = 0.0
        self.tos: list[int] = []
        """What `set_tos` was called with."""

    @property
    def is_stream(self) -> bool:
        """Tell whether nothing is lost or reordered."""
        return self._peer is not None

    @property
    def local(self) -> str:
        """Return the local end for people to read."""
        return f"memory:{self.address[0]}:{self.address[1]}"

    def send_control(self, datagram: Buffer, address: Address) -> None:
        """Send one control packet."""
        self.send_runs([single(datagram)], address)

    def send_runs(self, runs: Sequence[Run], address: Address) -> None:
        """Send packets to the link that is bound to `address`, or to the other end of the stream."""
        if self.closed:
            self.drops["closed"] += sum(map(_datagrams, runs))
        elif self._peer is None:
            self._network._send(runs, self.address, address)
        else:
            delay = self._stream_delay()
            for datagram in [datagram for run in runs for datagram in run.datagrams()]:
                self._network.counts["sent"] += 1
                self._network._schedule(self._peer, single(bytes(datagram)), self.address, delay)

    def set_tos(self, tos: int) -> None:
        """Remember it."""
        self.tos.append(tos)

    def _stream_delay(self) -> float:
        """Return the network's delay, or more if what was sent before would be overtaken."""
        now = self._network.clock.seconds()
        self._last_arrival = max(self._last_arrival, now + self._network.delay)
        return self._last_arrival - now

    def close(self) -> None:
        """Receive nothing more.  Calling it twice is harmless."""
        if self.closed:
            return
        self.closed = True
        self._network._forget(self)
        if self._peer is not None:
            clock = self._network.clock
            clock.callLater(0, self._lose)
            clock.callLater(self._stream_delay(), self._peer._hang_up)

    def _hang_up(self) -> None:
        if not self.closed:
            self.closed = True
            self._lose()

    def _lose(self) -> None:
        self._receiver.link_lost(self, Failure(ConnectionDone()))

    def _receive(self, batch: Sequence[_Arrival]) -> None:
        self._receiver.runs_received(self, batch)


def _datagrams(run: Run) -> int:
    return -(-len(run.data) // run.size)
