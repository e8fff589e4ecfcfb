"""A plot as SVG: how many times better than stock, one row for each figure and one dot for each pair."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from bench.plan import (
    BY_KEY,
    COLUMNS,
    COMPILED,
    EVERY_LINK,
    MEASURES,
    OUR_CLIENT,
    OUR_SERVER,
    OUR_SIDE,
    PURE,
    REFERENCE,
    TCP,
    TLS,
)
from bench.results import Key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.results import Results

COLOURS = {
    COMPILED.key: "#0b7a3b",
    PURE.key: "#e08a00",
    OUR_SERVER.key: "#1f5fbf",
    OUR_CLIENT.key: "#8a3fa0",
    OUR_SIDE.key: "#444444",
}
LEFT, WIDTH, RIGHT, TOP, ROW = 320, 560, 40, 70, 22
TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50)


def plotted(results: Results) -> list[tuple[str, str]]:
    """(measure, link) of every row that has something to compare."""
    return [
        (measure.key, link)
        for link in EVERY_LINK
        for measure in MEASURES
        if any(results.advantage(Key(measure.key, link, pair)) for pair in COLOURS)
    ]


def svg(results: Results) -> str:
    """The plot; better is to the right, on a logarithmic scale, with a line from the worst to the best run."""
    rows = plotted(results)
    height = TOP + ROW * len(rows) + 40
    body = [*_legend(), *_grid(height - 40)]
    for position, (measure, link) in enumerate(rows):
        y = TOP + ROW * position + ROW / 2
        body.append(_text(LEFT - 12, y + 4, f"{BY_KEY[measure].label} ({link})", "end"))
        for pair, colour in COLOURS.items():
            body += _dot(results, Key(measure, link, pair), colour, y)
    width = LEFT + WIDTH + RIGHT
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif">',
            f'<rect width="{width}" height="{height}" fill="white"/>',
            _text(LEFT, 22, "times better than stock openvpn at both ends", "start", 14),
            *body,
            "</svg>",
            "",
        ]
    )


def _x(advantage: float) -> float:
    low, high = math.log(TICKS[0]), math.log(TICKS[-1])
    share = (math.log(advantage) - low) / (high - low)
    return LEFT + WIDTH * min(1.0, max(0.0, share))


def _text(x: float, y: float, text: str, anchor: str, size: int = 12) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}">{escape(text)}</text>'


def _legend() -> Iterator[str]:
    x = LEFT - 120.0
    for pair in COLUMNS:
        if pair.key in COLOURS:
            yield f'<circle cx="{x + 4:.1f}" cy="38" r="4" fill="{COLOURS[pair.key]}"/>'
            yield _text(x + 12, 42, pair.label, "start", 11)
            x += 24 + 6 * len(pair.label)


def _grid(bottom: float) -> Iterator[str]:
    for tick in TICKS:
        colour, line = ("#333", 1.5) if tick == 1 else ("#ddd", 1.0)
        x = _x(tick)
        yield f'<line x1="{x:.1f}" y1="{TOP - 8}" x2="{x:.1f}" y2="{bottom}" stroke="{colour}" stroke-width="{line}"/>'
        yield _text(x, TOP - 12, f"{tick:g}", "middle", 10)


def _dot(results: Results, key: Key, colour: str, y: float) -> Iterator[str]:
    advantage, summary = results.advantage(key), results.summary(key)
    reference = results.summary(Key(key.measure, TCP if key.link == TLS else key.link, REFERENCE.key))
    if not advantage or summary is None or reference is None:
        return
    ends = [value / summary.median for value in (summary.least, summary.most) if value > 0]
    inverted = results.ratio(key) != advantage
    first, last = (_x(advantage / end if inverted else advantage * end) for end in (ends[0], ends[-1]))
    title = f"{_times(advantage)} {escape(BY_KEY[key.measure].label)}, {key.link}, {key.pair}"
    yield f'<line x1="{first:.1f}" y1="{y:.1f}" x2="{last:.1f}" y2="{y:.1f}" stroke="{colour}" stroke-width="1.5"/>'
    yield f'<circle cx="{_x(advantage):.1f}" cy="{y:.1f}" r="4" fill="{colour}"><title>{title}</title></circle>'


def _times(advantage: float) -> str:
    return f"{advantage:.2g} times better:"
