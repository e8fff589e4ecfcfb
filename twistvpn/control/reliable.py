"""Reliability: control messages arrive once and in order, or are sent again.

Message ids start at 0 and have no gaps; every key has its own.  Nothing here knows what a message
means.  See the wire-protocol draft, section "Reliability layer".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from twistvpn.wire.packets import MAX_ACKS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from twistvpn.control.round_trips import RoundTrips
    from twistvpn.wire.opcodes import Opcode

SEND_WINDOW = 6
"""Messages in flight; the oldest peers in use accept 8 ahead of what they wait for."""

RECEIVE_WINDOW = 12
"""How far ahead of the next expected message one is kept."""

ACKS_WITH_MESSAGE = 4
"""Acknowledgements at most that ride on a message, as stock peers send them."""

MAX_TIMEOUT = 8.0
"""Seconds at most between two tries, so that a lossy path gets several within a hand-window."""

_OVERTAKEN_RESEND = 3
"""A message is sent again at once when this many later ones were acknowledged."""


class Message(NamedTuple):
    """One control message: what a control packet carries behind its acknowledgements."""

    message_id: int
    opcode: Opcode
    payload: bytes


@dataclass(slots=True)
class _InFlight:
    message: Message
    sent: float | None
    """When it left; None once it was sent again, as its acknowledgement then tells nothing of round trips."""
    due: float
    timeout: float
    overtaken: int = 0


class Reliable:
    """The reliability layer of one key.  Times are seconds on any one clock.

    `round_trips` says how long to wait for acknowledgements, and is told what they take.  `echoes` is how often
    acknowledgements that travel alone are repeated.  `first_outgoing` and `first_incoming` are the next message ids of
    the two directions; they are not 0 where the first messages were exchanged statelessly.
    """

    __slots__ = (
        "_ack_history",
        "_acks",
        "_arrived",
        "_backlog",
        "_echo_at",
        "_echo_wait",
        "_echoes",
        "_echoes_left",
        "_expected",
        "_in_flight",
        "_next_id",
        "_trips",
    )

    def __init__(
        self, round_trips: RoundTrips, *, echoes: int = 0, first_outgoing: int = 0, first_incoming: int = 0
    ) -> None:
        self._trips = round_trips
        self._next_id = first_outgoing
        self._expected = first_incoming
        self._backlog: list[tuple[Opcode, bytes]] = []
        self._in_flight: dict[int, _InFlight] = {}
        self._arrived: dict[int, Message] = {}
        self._acks: list[int] = []
        self._ack_history: list[int] = list(range(first_incoming))
        self._echo_at: float | None = None
        self._echo_wait = 0.0
        self._echoes = echoes
        self._echoes_left = 0

    # Sending

    def enqueue(self, opcode: Opcode, payload: bytes) -> None:
        """Send a message as soon as the window lets it go."""
        self._backlog.append((opcode, payload))

    def due(self, now: float) -> list[Message]:
        """The messages to put on the wire at `now`, new ones and repeated ones, oldest first."""
        out: list[Message] = []
        for entry in self._in_flight.values():
            if entry.due <= now:
                entry.timeout = min(entry.timeout * 2, max(MAX_TIMEOUT, self._trips.longest))
                entry.due = now + entry.timeout
                entry.overtaken = 0
                entry.sent = None
                out.append(entry.message)
        while self._backlog and self._window_open():
            opcode, payload = self._backlog.pop(0)
            message = Message(self._next_id, opcode, payload)
            timeout = self._trips.timeout
            self._in_flight[self._next_id] = _InFlight(message, now, now + timeout, timeout)
            self._next_id += 1
            out.append(message)
        return out

    def _window_open(self) -> bool:
        oldest = next(iter(self._in_flight), self._next_id)
        return self._next_id - oldest < SEND_WINDOW

    def acknowledged(self, message_ids: Iterable[int], now: float) -> None:
        """The peer has these.  Ids that are not in flight are ignored: peers repeat themselves."""
        for message_id in message_ids:
            arrived = self._in_flight.pop(message_id, None)
            if arrived is None:
                continue
            if arrived.sent is not None:
                self._trips.took(now - arrived.sent)
            for entry in self._in_flight.values():
                if entry.message.message_id > message_id:
                    break
                entry.overtaken += 1
                if entry.overtaken >= _OVERTAKEN_RESEND:
                    entry.due = now

    def take_for_arrived(self, message_id: int) -> None:
        """Send a message no more: what the peer says shows that it has it, acknowledged or not."""
        self._in_flight.pop(message_id, None)

    def deadline(self) -> float | None:
        """When `due` or `acks_due` will next have something to send if nothing arrives; None for never."""
        if self._backlog and self._window_open():
            return 0.0
        times = [entry.due for entry in self._in_flight.values()]
        if self._echo_at is not None:
            times.append(self._echo_at)
        return min(times, default=None)

    def abandon(self) -> None:
        """Send nothing more of what is queued, in flight or owed: the peer takes nothing of it."""
        self._backlog.clear()
        self._in_flight.clear()
        self._acks.clear()
        self.silence_echoes()

    @property
    def backlog(self) -> int:
        """How many messages wait for the window to open."""
        return len(self._backlog)

    @property
    def settled(self) -> bool:
        """True when everything that was sent has been acknowledged."""
        return not self._in_flight and not self._backlog

    # Receiving

    def receive(self, message: Message) -> list[Message]:
        """Take a message; returns those that are now next in order, perhaps none.

        A duplicate is acknowledged once more; one too far ahead is not, so that it comes again.
        """
        message_id = message.message_id
        if message_id >= self._expected + RECEIVE_WINDOW:
            return []
        self._owe(message_id)
        if message_id < self._expected or message_id in self._arrived:
            return []
        self._arrived[message_id] = message
        ready: list[Message] = []
        while self._expected in self._arrived:
            ready.append(self._arrived.pop(self._expected))
            self._expected += 1
        return ready

    def _owe(self, message_id: int) -> None:
        if message_id not in self._acks:
            self._acks.append(message_id)

    def acks_due(self, now: float) -> bool:
        """Whether acknowledgements are to travel alone: something arrived that no packet has acknowledged yet.

        Or some have travelled alone, and may have been lost.
        """
        return bool(self._acks) or (self._echo_at is not None and self._echo_at <= now)

    def take_lone_acks(self, now: float) -> tuple[int, ...]:
        """Acknowledgements for a packet of nothing else, where `acks_due`; see `take_acks`."""
        if self._acks:
            self._echoes_left, self._echo_wait = self._echoes, self._trips.timeout
        else:
            self._echoes_left -= 1
            self._echo_wait *= 2
        self._echo_at = now + self._echo_wait if self._echoes_left else None
        return self.take_acks(MAX_ACKS)

    def silence_echoes(self) -> None:
        """Repeat no acknowledgements by themselves."""
        self._echo_at = None

    def take_acks(self, limit: int) -> tuple[int, ...]:
        """Acknowledgements for the next packet: owed ones first, then old ones again in case they were lost.

        At most `limit` of them.
        """
        fresh, self._acks = self._acks[:limit], self._acks[limit:]
        older = [message_id for message_id in self._ack_history if message_id not in fresh]
        repeated = older[: limit - len(fresh)]
        self._ack_history = (fresh + older)[:MAX_ACKS]
        return (*fresh, *repeated)
