"""Results as Markdown tables, which a terminal shows well enough too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.bars import judged
from bench.plan import BY_KEY, COLUMNS, CROWD, MEASURES, NO_LINK, REFERENCE, TCP, TLS, UDP
from bench.results import Key

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bench.results import Results

LINK_TITLES = {
    UDP: "UDP link",
    TCP: "TCP link",
    TLS: "TLS link (ratios to stock over TCP)",
    CROWD: "Many clients on one server",
    NO_LINK: "Without a link",
}


def markdown(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of one table; the first row is its head."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [_line(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return [lines[0], _line("-" * width for width in widths), *lines[1:]]


def _line(cells: Iterator[str]) -> str:
    return f"| {' | '.join(cells)} |"


def number(value: float) -> str:
    """Three significant digits, without an exponent."""
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3
    return f"{value:.{digits}f}"


def cell(results: Results, key: Key) -> str:
    """Median, least to most, and the ratio to the reference."""
    summary = results.summary(key)
    if summary is None:
        return "-"
    text = number(summary.median)
    if summary.runs > 1:
        text += f" ({number(summary.least)} to {number(summary.most)})"
    ratio = results.ratio(key)
    return text if ratio is None or key.pair == REFERENCE.key else f"{text} **{number(ratio)}x**"


def link_table(results: Results, link: str) -> list[str]:
    """Every figure over one link, a column for each pair."""
    there = {(key.measure, key.pair) for key in results.samples if key.link == link}
    pairs = [pair for pair in COLUMNS if any(pair.key == found for _, found in there)]
    rows = [["", "unit", *(pair.label for pair in pairs)]]
    for measure in MEASURES:
        if any(measure.key == found for found, _ in there):
            cells = [cell(results, Key(measure.key, link, pair.key)) for pair in pairs]
            rows.append([measure.label, measure.unit, *cells])
    return markdown(rows)


def bar_table(results: Results) -> list[str]:
    """The bars that were measured; [] if none was."""
    rows = [
        [
            BY_KEY[bar.measure].label,
            LINK_TITLES[bar.link],
            bar.pair.label,
            str(bar),
            number(ratio),
            "yes" if bar.holds(ratio) else "NO",
        ]
        for bar, ratio in judged(results)
    ]
    return markdown([["what", "over", "who", "wanted", "ratio", "reached"], *rows]) if rows else []


def text(results: Results) -> str:
    """All tables and what failed."""
    sections: list[list[str]] = []
    bars = bar_table(results)
    if bars:
        sections.append(["### Ratios that count", "", *bars])
    sections += [[f"### {LINK_TITLES[link]}", "", *link_table(results, link)] for link in results.links()]
    if results.failures:
        sections.append(["### Failed", "", *(f"- {failure}" for failure in results.failures)])
    return "\n\n".join("\n".join(section) for section in sections) + "\n"
