"""What was measured: samples by (measure, link, pair), and what failed."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

from bench.plan import BY_KEY, COLUMNS, EVERY_LINK, REFERENCE, TCP, TLS, Better

if TYPE_CHECKING:
    from collections.abc import Mapping


class Summary(NamedTuple):
    """Of several runs."""

    median: float
    least: float
    most: float
    runs: int


class Key(NamedTuple):
    """What a sample is of; `link` and `pair` by their keys in `plan`."""

    measure: str
    link: str
    pair: str


@dataclass
class Results:
    """All samples of one run; `machine` says where it ran."""

    machine: dict[str, str] = field(default_factory=dict)
    samples: dict[Key, list[float]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def add(self, link: str, pair: str, figures: Mapping[str, float]) -> None:
        """Keep the figures of one run."""
        for measure, value in figures.items():
            self.samples.setdefault(Key(measure, link, pair), []).append(value)

    def fail(self, what: str, error: BaseException) -> None:
        """Keep why there is no figure, in one line."""
        first = str(error).strip().splitlines()[:1] or [type(error).__name__]
        self.failures.append(f"{what}: {first[0][:300]}")

    def summary(self, key: Key) -> Summary | None:
        """Median, least and most; None where nothing was measured."""
        values = self.samples.get(key)
        return Summary(median(values), min(values), max(values), len(values)) if values else None

    def ratio(self, key: Key) -> float | None:
        """The median over that of the reference; None where either is missing.

        Stock has no TLS link: what runs over one is compared with stock over TCP.
        """
        link = TCP if key.link == TLS else key.link
        mine = self.summary(key)
        reference = self.summary(Key(key.measure, link, REFERENCE.key))
        return mine.median / reference.median if mine and reference and reference.median else None

    def advantage(self, key: Key) -> float | None:
        """How many times better than the reference, whichever way better is."""
        ratio = self.ratio(key)
        if not ratio:
            return None
        return ratio if BY_KEY[key.measure].better is Better.HIGHER else 1 / ratio

    def links(self) -> list[str]:
        """The links something was measured over."""
        found = {key.link for key in self.samples}
        return [link for link in EVERY_LINK if link in found]

    def to_json(self) -> dict[str, Any]:
        """Everything, for other programs; `samples` in the order of the rounds."""
        rows = []
        for key, values in sorted(self.samples.items(), key=lambda item: _order(item[0])):
            summary = self.summary(key)
            assert summary is not None
            row = {**key._asdict(), "unit": BY_KEY[key.measure].unit, "better": BY_KEY[key.measure].better.value}
            rows.append({**row, **summary._asdict(), "ratio": self.ratio(key), "samples": values})
        return {"machine": self.machine, "rows": rows, "failures": self.failures}


def _order(key: Key) -> tuple[int, int, int]:
    links, pairs = EVERY_LINK, [pair.key for pair in COLUMNS]
    return links.index(key.link), list(BY_KEY).index(key.measure), pairs.index(key.pair)
