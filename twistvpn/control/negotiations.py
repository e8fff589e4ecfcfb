"""The keys of a session: the one in use, the one that it has replaced, and the one that is being negotiated."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twistvpn.control.negotiation import State
from twistvpn.errors import KeyGone

if TYPE_CHECKING:
    from collections.abc import Iterator

    from twistvpn.control.exchange import KeyExchange
    from twistvpn.control.negotiation import Negotiation

_KEY_IDS = 8


class Negotiations:
    """Negotiations by key id, the latest last.  `current` is the key that messages go under."""

    def __init__(self) -> None:
        self.current: Negotiation | None = None
        self._by_id: dict[int, Negotiation] = {}

    def __iter__(self) -> Iterator[Negotiation]:
        return iter(self._by_id.values())

    def get(self, key_id: int) -> Negotiation | None:
        """The negotiation of a key id, None where there is none."""
        return self._by_id.get(key_id)

    def established(self, key_id: int) -> Negotiation:
        """The same where both ends' key material is there; raises `KeyGone` where it is not."""
        negotiation = self._by_id.get(key_id)
        if negotiation is None or negotiation.exchange.remote is None:
            raise KeyGone(f"key {key_id} is gone")
        return negotiation

    def of(self, exchange: KeyExchange) -> Negotiation | None:
        """The negotiation that an exchange is part of."""
        return next((negotiation for negotiation in self if negotiation.exchange is exchange), None)

    @property
    def next_key_id(self) -> int:
        """The id of the key after the current one: 0 is the first key's alone."""
        assert self.current is not None
        return self.current.key_id % (_KEY_IDS - 1) + 1

    @property
    def has_key_in_use(self) -> bool:
        """Whether data keys were made of the current key."""
        return self.current is not None and self.current.state is State.IN_USE

    @property
    def is_renegotiating(self) -> bool:
        """Whether another key is about to replace the current one."""
        return self.current is not None and any(negotiation.is_unfinished for negotiation in self)

    @property
    def settled(self) -> bool:
        """True when the peer has acknowledged everything."""
        return all(negotiation.reliable.settled for negotiation in self)

    def add(self, negotiation: Negotiation) -> None:
        """Begin with another key; whatever had its id is over."""
        stale = self._by_id.pop(negotiation.key_id, None)
        if stale is not None:
            stale.drop()
        for before in self:
            # Stock peers that have come to this key take them for an error.
            before.reliable.silence_echoes()
        self._by_id[negotiation.key_id] = negotiation

    def promote(self, negotiation: Negotiation, retire_at: float) -> None:
        """Make a key the current one.

        The one before stays until `retire_at` for what is still on its way, and none beside it: key ids come round
        again.
        """
        replaced, self.current = self.current, negotiation
        if replaced is None:
            return
        replaced.retire_at = retire_at
        self._let_go([old for old in self if old.retire_at is not None and old is not replaced])

    def silence_old(self) -> None:
        """Say no more under any key but the latest."""
        *old, _latest = self
        for negotiation in old:
            negotiation.reliable.abandon()

    def _let_go(self, negotiations: list[Negotiation]) -> None:
        for negotiation in negotiations:
            del self._by_id[negotiation.key_id]
            negotiation.drop()

    # Time

    def deadline(self) -> float | None:
        """When something is to be sent again, given up or let go; None for never."""
        times: list[float] = []
        for negotiation in self:
            due = negotiation.reliable.deadline()
            if due is not None:
                times.append(due)
            if negotiation.is_unfinished:
                times.append(negotiation.give_up_at)
            elif negotiation.retire_at is not None:
                times.append(negotiation.retire_at)
        return min(times, default=None)

    def overdue(self, now: float) -> list[Negotiation]:
        """Let go of keys whose time to retire has come; returns those whose negotiation has taken too long."""
        self._let_go([old for old in self if old.retire_at is not None and old.retire_at <= now])
        return [negotiation for negotiation in self if negotiation.is_unfinished and negotiation.give_up_at <= now]

    def close(self, now: float) -> None:
        """End every TLS session in silence."""
        for negotiation in self:
            negotiation.retire_at = now
            negotiation.drop()
