"""What is sent through a tunnel, and the figures of it."""

from __future__ import annotations

import json
import re
import subprocess
from functools import partial
from typing import TYPE_CHECKING, Any

from bench.process_stats import cpu_seconds
from bench.tunnels import listens
from tests.interop.netns import run
from tests.interop.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.plan import Plan
    from bench.tunnels import Tunnel
    from tests.interop.process import Process

Figures = dict[str, float]
"""Values by the keys of `plan.MEASURES`."""

IPERF_PORT = 5201
OVERTIME = 15.0
"""Seconds that a transfer may take beyond its own; a flooded tunnel ends late."""
PING_INTERVAL = 0.005


def _listen(tunnel: Tunnel) -> Process:
    """An iperf3 server for one transfer."""
    hosts = tunnel.hosts
    command = ["iperf3", "--server", "--one-off", "--bind", tunnel.target]
    process = hosts.process("iperf3", hosts.server, command, tunnel.directory)
    process.start()
    wait_until(lambda: listens(process, "tcp", IPERF_PORT), "iperf3 listens", 5.0)
    return process


def _iperf(tunnel: Tunnel, seconds: int, *options: str) -> dict[str, Any]:
    """iperf3's report of one transfer."""
    listener = _listen(tunnel)
    command = ["iperf3", "--client", tunnel.target, "--json", "--time", str(seconds), *options]
    try:
        text = run(*tunnel.hosts.client.command(*command), timeout=seconds + OVERTIME)
    finally:
        listener.close()
    report: dict[str, Any] = json.loads(text)
    return report


def _transfer(tunnel: Tunnel, plan: Plan, key: str, *options: str) -> Figures:
    """The rate received, and what CPU each GB that arrived has cost the server."""
    server = tunnel.server
    before = cpu_seconds(server.pid) if server is not None else 0.0
    received = _iperf(tunnel, plan.seconds, *options)["end"]["sum_received"]
    figures = {key: received["bits_per_second"] / 1e9}
    if server is not None and received["bytes"]:
        figures[f"{key}-cpu"] = (cpu_seconds(server.pid) - before) / (received["bytes"] / 1e9)
    return figures


def tcp(plan: Plan, streams: int, way: str, tunnel: Tunnel) -> Figures:
    """TCP streams 'up' to the server or 'down' from it."""
    reverse = ["--reverse"] if way == "down" else []
    return _transfer(tunnel, plan, f"tcp-{streams}-{way}", "--parallel", str(streams), *reverse)


def udp(plan: Plan, size: int, tunnel: Tunnel) -> Figures:
    """A flood of datagrams with `size` bytes of payload to the server."""
    return _transfer(tunnel, plan, f"udp-{size}", "--udp", "--bitrate", "0", "--length", str(size))


def percentile(values: list[float], share: float) -> float:
    """The value that `share` of all are not above (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _ping(tunnel: Tunnel, count: int, prefix: str) -> Figures:
    command = ["ping", "-n", "-i", str(PING_INTERVAL), "-c", str(count), "-W", "1", tunnel.target]
    text = run(*tunnel.hosts.client.command(*command), timeout=count * PING_INTERVAL + OVERTIME)
    times = [float(found) for found in re.findall(r"time=([\d.]+) ms", text)]
    if not times:
        raise AssertionError("no ping was answered")
    return {f"{prefix}-p50": percentile(times, 0.5), f"{prefix}-p99": percentile(times, 0.99)}


def idle_ping(plan: Plan, tunnel: Tunnel) -> Figures:
    """Round trips with nothing else going on, in ms."""
    return _ping(tunnel, plan.pings, "ping")


def loaded_ping(plan: Plan, tunnel: Tunnel) -> Figures:
    """Round trips beside one TCP stream to the server, in ms."""
    listener = _listen(tunnel)
    seconds = int(plan.pings * PING_INTERVAL) + 30
    command = ["iperf3", "--client", tunnel.target, "--time", str(seconds)]
    load = subprocess.Popen(tunnel.hosts.client.command(*command), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        figures = _ping(tunnel, plan.pings, "loaded-ping")
        if load.poll() is not None:
            raise AssertionError("the load ended before the pings did")
    finally:
        load.kill()
        load.wait()
        listener.close()
    return figures


def probes(plan: Plan) -> Iterator[tuple[str, Callable[[Tunnel], Figures]]]:
    """The (name, function) of everything that is sent through a tunnel."""
    if "tcp" in plan.rows:
        for streams in (1, 8):
            for way in ("up", "down"):
                yield f"tcp-{streams}-{way}", partial(tcp, plan, streams, way)
    if "udp" in plan.rows:
        for size in (1400, 512, 64):
            yield f"udp-{size}", partial(udp, plan, size)
    if "ping" in plan.rows:
        yield "ping", partial(idle_ping, plan)
        yield "loaded-ping", partial(loaded_ping, plan)
