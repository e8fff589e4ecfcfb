"""`python -m bench`: twistvpn and Debian's openvpn side by side, on this machine, in one run.

Needs root, /dev/net/tun, and the programs openvpn, ip, iperf3 and ping.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import click

from bench.plan import LINKS, PAIRS, QUICK, ROWS, Plan
from bench.report import write
from bench.runner import Runner
from bench.table import text

PROGRAMS = ("openvpn", "ip", "iperf3", "ping")
QUICK_FOLDER = Path("build/bench")


def _terminated(*_: object) -> NoReturn:
    raise KeyboardInterrupt("terminated")


def _require_machine() -> None:
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if os.geteuid() != 0 or missing:
        raise click.ClickException(f"needs root{' and ' if missing else ''}{', '.join(missing)}")


@click.command(help=__doc__)
@click.option("--quick", is_flag=True, help="One short run of each, in under five minutes.")
@click.option("--rows", "-r", multiple=True, type=click.Choice(ROWS), help="Only these rows; may be repeated.")
@click.option("--links", "-l", multiple=True, type=click.Choice(LINKS), help="Only over these links.")
@click.option(
    "--pairs", "-p", multiple=True, type=click.Choice([pair.key for pair in PAIRS]), help="Only these pairs of ends."
)
@click.option("--rounds", type=click.IntRange(1), help="Runs of each; 5 without --quick.")
@click.option("--seconds", type=click.IntRange(1), help="Length of each transfer.")
@click.option("--limit", type=click.FloatRange(0), help="Seconds after which nothing more is started.")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help=f"Folder for benchmarks.md, .json and .svg; docs, or {QUICK_FOLDER} with --quick.",
)
def main(
    *,
    quick: bool,
    rows: tuple[str, ...],
    links: tuple[str, ...],
    pairs: tuple[str, ...],
    rounds: int | None,
    seconds: int | None,
    limit: float | None,
    output: Path | None,
) -> None:
    """Measure, and show and write what was found, also when interrupted."""
    _require_machine()
    plan = QUICK if quick else Plan()
    plan = replace(
        plan,
        rows=rows or plan.rows,
        links=links or plan.links,
        pairs=tuple(pair for pair in PAIRS if pair.key in pairs) or plan.pairs,
        rounds=rounds or plan.rounds,
        seconds=seconds or plan.seconds,
        limit=limit or plan.limit,
    )
    signal.signal(signal.SIGTERM, _terminated)
    runner = Runner(plan)
    try:
        runner.run()
    except KeyboardInterrupt as error:
        runner.results.fail("the rest", error)
    print(text(runner.results))
    for path in write(runner.results, output or (QUICK_FOLDER if quick else Path("docs"))):
        print(f"wrote {path}", file=sys.stderr)


main()
