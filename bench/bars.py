"""How much better than openvpn we mean to be, and whether we are."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from bench.plan import COMPILED, CROWD, OUR_SERVER, OUR_SIDE, PURE, TCP, UDP
from bench.results import Key

if TYPE_CHECKING:
    from bench.plan import Pair
    from bench.results import Results


class Bar(NamedTuple):
    """A bound on the ratio to the reference."""

    measure: str
    link: str
    pair: Pair
    least: float | None = None
    most: float | None = None

    def __str__(self) -> str:
        return f"at least {self.least:.2g}" if self.least is not None else f"at most {self.most:.2g}"

    @property
    def key(self) -> Key:
        """The figure it is about."""
        return Key(self.measure, self.link, self.pair.key)

    def holds(self, ratio: float) -> bool:
        """Whether `ratio` is within."""
        return (self.least is None or ratio >= self.least) and (self.most is None or ratio <= self.most)


BARS = (
    Bar("tcp-1-up", UDP, COMPILED, least=6),
    Bar("tcp-1-down", UDP, COMPILED, least=6),
    Bar("tcp-1-up", UDP, PURE, least=1.8),
    Bar("tcp-1-down", UDP, PURE, least=1.8),
    Bar("udp-1400", UDP, COMPILED, least=2),
    Bar("udp-64", UDP, COMPILED, least=1.2),
    Bar("tcp-1-up-cpu", UDP, COMPILED, most=0.2),
    Bar("tcp-1-down-cpu", UDP, COMPILED, most=0.2),
    Bar("tcp-1-up-cpu", UDP, OUR_SERVER, most=1 / 3),
    Bar("tcp-1-down-cpu", UDP, OUR_SERVER, most=1 / 3),
    Bar("tcp-1-up", TCP, COMPILED, least=4),
    Bar("tcp-1-down", TCP, COMPILED, least=4),
    Bar("handshake-cpu", CROWD, OUR_SIDE, most=1),
    Bar("memory-100", CROWD, OUR_SIDE, most=1),
    Bar("memory-1000", CROWD, OUR_SIDE, most=1),
    Bar("ping-p50", UDP, COMPILED, most=1.3),
)


def judged(results: Results) -> list[tuple[Bar, float]]:
    """(bar, ratio) of all that were measured."""
    found = [(bar, results.ratio(bar.key)) for bar in BARS]
    return [(bar, ratio) for bar, ratio in found if ratio is not None]
