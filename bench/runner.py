"""Runs a plan: rounds of everything, interleaved, and nothing left behind."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from bench import crowds, micro
from bench.configs import Trust
from bench.machine import describe, kernel_name
from bench.plan import CROWD, NO_LINK, OUR_SIDE, OURS, REFERENCE, Pair, Plan
from bench.results import Results
from bench.traffic import probes
from bench.tunnels import Tunnel
from tests.interop.material import Authority, static_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.traffic import Figures

T = TypeVar("T")

FAILURES = (AssertionError, OSError, subprocess.SubprocessError, ValueError, KeyError)
"""What makes one figure fail and lets the rest go on."""


class Runner:
    """One run.  `results` grow as it goes."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.results = Results(describe())
        self._trust = Trust(Authority(), static_key())
        self._ends = time.monotonic() + plan.limit
        self._pairs = [pair for pair in plan.pairs if self._can_run(pair)]

    def _can_run(self, pair: Pair) -> bool:
        """Whether our ends can have their kernel, whose own name is kept."""
        if OURS not in {pair.server, pair.client}:
            return True
        try:
            self.results.machine[pair.label] = kernel_name(pair.kernel)
        except LookupError as error:
            self.results.fail(pair.label, error)
            return False
        return True

    def run(self) -> None:
        """Measure; returns early when the plan's time is over."""
        base = Path(tempfile.mkdtemp(prefix="twistvpn-bench-"))
        try:
            with ExitStack() as stack:
                tunnels = self._open_tunnels(stack, base)
                for turn in range(self.plan.rounds):
                    self._round(turn, tunnels, base)
        except TimeoutError as error:
            self.results.fail("the rest", error)
        finally:
            shutil.rmtree(base, ignore_errors=True)

    def _open_tunnels(self, stack: ExitStack, base: Path) -> list[Tunnel]:
        tunnels: list[Tunnel] = []
        if not any(True for _ in probes(self.plan)):
            return tunnels
        for link in (NO_LINK, *self.plan.links):
            for pair in self._pairs:
                if pair.runs_over(link):
                    tunnel = Tunnel(pair, link, self._trust, _folder(base))
                    if self._attempt(f"{tunnel}", partial(stack.enter_context, tunnel)):
                        tunnels.append(tunnel)
        return tunnels

    def _round(self, turn: int, tunnels: list[Tunnel], base: Path) -> None:
        if "routes" in self.plan.rows:
            self._sample(turn, "routes", NO_LINK, OUR_SIDE.key, micro.routes)
        for name, figures_of in (("handshakes", crowds.handshakes), ("memory", crowds.memory)):
            if name in self.plan.rows:
                for pair in _rotated(self._servers(), turn):
                    take = partial(figures_of, pair, self.plan, self._trust, _folder(base))
                    self._sample(turn, name, CROWD, pair.key, take)
        for name, probe in probes(self.plan):
            for tunnel in _rotated([tunnel for tunnel in tunnels if tunnel.pair.only in {"", name}], turn):
                self._probe(turn, name, tunnel, probe)

    def _servers(self) -> list[Pair]:
        """Stock and ours, as far as chosen."""
        ours = [OUR_SIDE] if any(pair.server == OURS for pair in self._pairs) else []
        return [*(pair for pair in self._pairs if pair is REFERENCE), *ours]

    def _probe(self, turn: int, name: str, tunnel: Tunnel, probe: Callable[[Tunnel], Figures]) -> None:
        done = self._sample(turn, name, tunnel.link, tunnel.pair.key, partial(probe, tunnel))
        if not done:
            self._attempt(f"{tunnel}, started anew", tunnel.mend)

    def _sample(self, turn: int, name: str, link: str, pair: str, take: Callable[[], Figures]) -> bool:
        """Take one run's figures; false where there are none."""
        if time.monotonic() > self._ends:
            raise TimeoutError(f"not within {self.plan.limit:g} s")

        def keep() -> None:
            figures = take()
            self.results.add(link, pair, figures)
            shown = "  ".join(f"{key} {value:.3g}" for key, value in figures.items())
            _say(f"round {turn + 1}/{self.plan.rounds}  {link:4} {pair:10} {shown}")

        return self._attempt(f"{link} {pair} {name}", keep)

    def _attempt(self, what: str, action: Callable[[], object]) -> bool:
        """Whether it worked; if not, why is among the failures."""
        try:
            action()
        except FAILURES as error:
            self.results.fail(what, error)
            _say(f"failed: {self.results.failures[-1]}")
            return False
        return True


def _rotated(items: list[T], turn: int) -> list[T]:
    start = turn % len(items) if items else 0
    return items[start:] + items[:start]


def _folder(base: Path) -> Path:
    return Path(tempfile.mkdtemp(dir=base))


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
