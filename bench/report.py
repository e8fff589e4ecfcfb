"""Writes what was measured: JSON, a plot, and a page of documentation."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from bench.plot import svg
from bench.table import text

if TYPE_CHECKING:
    from pathlib import Path

    from bench.results import Results

_HEAD = """\
# Benchmarks

`python -m bench` compares twistvpn with Debian's openvpn on one machine in one run and writes this page, \
[benchmarks.json](benchmarks.json) with every sample, and the plot.  Two network namespaces joined by a veth pair \
are the two hosts; iperf3 and ping run inside the tunnel, on the same cores as both ends of it.

![times better than stock openvpn](benchmarks.svg)

- A cell is the median of all runs (least to most), then its ratio to stock openvpn at both ends over the same link.
- Runs are interleaved: each round measures every pair once, one after the other, in an order that \
rotates, so that what else the machine does meets all alike.  Ratios say more than rates, and CPU seconds per GB are \
the steadiest.
- Server CPU is user and system time of the server's process over a transfer, for each GB of payload that arrived; \
iperf3's own is not in it.
- UDP floods are unthrottled; the rate is what arrived, with the size of a datagram's payload given.
- Handshakes are complete ones, up to the pushed options, sixteen at a time; the clients are ours in a process \
of their own, whichever server it is, all with X25519 and P-256, and the rate is bounded by theirs too.
- Memory is the growth of the server's resident memory for each client that is connected and idle.
- Routing is the look-up by destination and the check of the source, for packets to clients all over the table.
"""


def page(results: Results) -> str:
    """The page of documentation, Markdown."""
    machine = "\n".join(f"- {name}: {value}" for name, value in results.machine.items())
    return f"{_HEAD}\n## Where\n\n{machine}\n\n## Figures\n\n{text(results)}"


def write(results: Results, folder: Path) -> list[Path]:
    """Write benchmarks.json, .svg and .md into `folder`; the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    contents = {
        "benchmarks.json": json.dumps(results.to_json(), indent=1) + "\n",
        "benchmarks.svg": svg(results),
        "benchmarks.md": page(results),
    }
    for name, content in contents.items():
        (folder / name).write_text(content)
    return [folder / name for name in contents]
