"""The benchmark's figures as table, JSON, plot and page."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

import pytest

from bench.bars import BARS, judged
from bench.plan import COLUMNS, COMPILED, EVERY_LINK, MEASURES, REFERENCE, TCP, TLS, UDP
from bench.plot import plotted, svg
from bench.report import page, write
from bench.results import Key, Results
from bench.table import number, text
from bench.traffic import percentile

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def results() -> Results:
    """Three rounds in which ours is six times as fast over UDP, at a tenth of the CPU."""
    found = Results({"cpu": "2 x a <fast> one"})
    for rate in (0.5, 0.4, 0.6):
        found.add(UDP, REFERENCE.key, {"tcp-1-up": rate, "tcp-1-up-cpu": 10 * rate})
        found.add(UDP, COMPILED.key, {"tcp-1-up": 6 * rate, "tcp-1-up-cpu": rate})
        found.add(TCP, REFERENCE.key, {"tcp-1-up": rate})
        found.add(TLS, COMPILED.key, {"tcp-1-up": 3 * rate})
    found.fail("tcp pure", AssertionError("the server has ended: why\nand more"))
    return found


def test_summary_is_median_least_and_most(results: Results) -> None:
    assert results.summary(Key("tcp-1-up", UDP, REFERENCE.key)) == (0.5, 0.4, 0.6, 3)
    assert results.summary(Key("udp-64", UDP, REFERENCE.key)) is None


def test_ratios_are_to_stock_over_the_same_link_and_tls_to_stock_over_tcp(results: Results) -> None:
    assert results.ratio(Key("tcp-1-up", UDP, COMPILED.key)) == pytest.approx(6)
    assert results.ratio(Key("tcp-1-up", TLS, COMPILED.key)) == pytest.approx(3)
    assert results.ratio(Key("udp-64", UDP, COMPILED.key)) is None


def test_advantage_is_above_one_where_ours_is_better(results: Results) -> None:
    assert results.advantage(Key("tcp-1-up", UDP, COMPILED.key)) == pytest.approx(6)
    assert results.advantage(Key("tcp-1-up-cpu", UDP, COMPILED.key)) == pytest.approx(10)


def test_only_bars_that_were_measured_are_judged(results: Results) -> None:
    held = {bar.measure: bar.holds(ratio) for bar, ratio in judged(results)}
    assert held == {"tcp-1-up": True, "tcp-1-up-cpu": True}
    assert judged(Results()) == []


def test_every_bar_is_about_a_figure_there_is() -> None:
    measures = {measure.key for measure in MEASURES}
    assert all(bar.measure in measures and bar.pair in COLUMNS and bar.link in EVERY_LINK for bar in BARS)


def test_table_has_figures_ratios_and_failures(results: Results) -> None:
    table = text(results)
    assert "3.00 (2.40 to 3.60) **6.00x**" in table
    assert "0.500 (0.400 to 0.600) |" in table
    assert "- tcp pure: the server has ended: why\n" in table
    widths = {len(line) for line in table.split("### UDP link")[1].split("###")[0].splitlines() if line}
    assert len(widths) == 1


def test_number_keeps_three_digits() -> None:
    assert [number(value) for value in (0.1234, 1.234, 12.34, 1234.5)] == ["0.123", "1.23", "12.3", "1234"]


def test_json_has_every_sample(results: Results) -> None:
    found = json.loads(json.dumps(results.to_json()))
    row = next(row for row in found["rows"] if (row["link"], row["pair"]) == (UDP, COMPILED.key))
    assert row["samples"] == pytest.approx([3.0, 2.4, 3.6])
    assert (row["measure"], row["unit"], row["median"]) == ("tcp-1-up", "Gbit/s", 3.0)
    assert found["failures"] == ["tcp pure: the server has ended: why"]


def test_plot_is_xml_with_a_dot_for_each_comparison(results: Results) -> None:
    namespace = "{http://www.w3.org/2000/svg}"
    dots = [circle for circle in ET.fromstring(svg(results)).iter(f"{namespace}circle") if len(circle)]
    assert len(dots) == len(plotted(results)) == 3


def test_nothing_measured_is_no_error(tmp_path: Path) -> None:
    write(Results(), tmp_path)
    ET.parse(tmp_path / "benchmarks.svg")


def test_files_are_written(results: Results, tmp_path: Path) -> None:
    paths = write(results, tmp_path / "docs")
    assert sorted(path.name for path in paths) == ["benchmarks.json", "benchmarks.md", "benchmarks.svg"]
    assert (tmp_path / "docs" / "benchmarks.md").read_text() == page(results)
    assert "- cpu: 2 x a <fast> one" in page(results)


def test_percentile_is_a_value_that_was_there() -> None:
    values = [float(value) for value in range(100, 0, -1)]
    assert percentile(values, 0.5) == 51
    assert percentile(values, 0.99) == 100
    assert percentile([7.0], 0.99) == 7
