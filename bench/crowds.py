"""Many clients on one server: what a handshake and an idle client cost it."""

from __future__ import annotations

import json
import selectors
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from bench.configs import our_client
from bench.plan import UDP
from bench.process_stats import cpu_seconds, resident_bytes
from bench.tunnels import Hosts, start_server
from tests.interop.ini import write_material
from tests.interop.process import ROOT, environment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from typing_extensions import Self

    from bench.configs import Trust
    from bench.plan import Pair, Plan
    from bench.traffic import Figures
    from tests.interop.netns import Namespace

FIRST_COMERS = 10
"""Clients before those that are measured: what a server allocates once is no client's."""
SETTLING = 3.0
"""Seconds after which a connected client counts as idle."""
PATIENCE = 120.0
GROUP = "X25519"
"""The key agreement of every handshake, so that all servers have the same work."""


class Generator:
    """The process that holds the clients (`bench.generator`)."""

    def __init__(self, host: Namespace, trust: Trust, directory: Path) -> None:
        folder = directory / "crowd"
        identity = trust.authority.issue("crowd.example", "client")
        write_material(folder, trust.authority, identity, trust.static_key)
        config = folder / "client.ini"
        # [tls] comes last.  Left to themselves, our OpenSSL and the distribution's agree on groups of different cost.
        config.write_text("\n".join([*our_client(folder, UDP), f"tls-groups = {GROUP}"]) + "\n")
        self._log = (directory / "crowd.log").open("wb")
        self._process = subprocess.Popen(
            host.command(sys.executable, "-m", "bench.generator", str(config)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            cwd=ROOT,
            env=environment(),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()
        self._log.close()

    def connect(self, count: int) -> float:
        """Connect so many more clients; the seconds it took."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"%d\n" % count)
        self._process.stdin.flush()
        answer = self._answer()
        if "error" in answer:
            raise AssertionError(f"the crowd: {answer['error']}")
        return float(answer["seconds"])

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            if not selector.select(PATIENCE):
                raise AssertionError(f"the crowd is not connected within {PATIENCE:g} s")
        line = self._process.stdout.readline()
        if not line:
            raise AssertionError("the crowd has ended")
        answer: dict[str, Any] = json.loads(line)
        return answer


@contextmanager
def _crowd(pair: Pair, trust: Trust, directory: Path) -> Iterator[tuple[Generator, int]]:
    """A generator and the process id of the server, which has seen its first clients."""
    with Hosts() as hosts:
        server = start_server(hosts, pair, UDP, trust, directory)
        with Generator(hosts.client, trust, directory) as generator:
            generator.connect(FIRST_COMERS)
            yield generator, server.pid


def handshakes(pair: Pair, plan: Plan, trust: Trust, directory: Path) -> Figures:
    """Handshakes a second, and the server's CPU for each in ms."""
    with _crowd(pair, trust, directory) as (generator, pid):
        before = cpu_seconds(pid)
        seconds = generator.connect(plan.handshakes)
        spent = cpu_seconds(pid) - before
    return {"handshakes": plan.handshakes / seconds, "handshake-cpu": spent / plan.handshakes * 1e3}


def memory(pair: Pair, plan: Plan, trust: Trust, directory: Path) -> Figures:
    """The growth of the server's resident memory for each idle client, in KB (1000 bytes)."""
    figures: Figures = {}
    with _crowd(pair, trust, directory) as (generator, pid):
        before, there = _settled_bytes(pid), 0
        for count in plan.crowds:
            generator.connect(count - there)
            there = count
            figures[f"memory-{count}"] = (_settled_bytes(pid) - before) / count / 1e3
    return figures


def _settled_bytes(pid: int) -> int:
    time.sleep(SETTLING)
    return resident_bytes(pid)
