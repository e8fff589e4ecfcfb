"""Our program as a process: signals, daemon, and what it leaves behind."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.interop.peers import OURS, STOCK
from tests.interop.process import TWISTD, Process
from tests.interop.tunnel import Tunnel
from tests.interop.waiting import wait_until

if TYPE_CHECKING:
    from tests.interop.conftest import MakeLab
    from tests.interop.peers import Lab

pytestmark = pytest.mark.interop


def ended_by(number: signal.Signals) -> set[int]:
    """The exit statuses of a clean end: twistd cleans up and then dies of the signal, openvpn exits."""
    return {0, -number}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
@pytest.mark.parametrize("proto", ["udp", "tcp"])
def test_our_client_leaves_nothing_behind(make_lab: MakeLab, proto: str, number: signal.Signals) -> None:
    lab = make_lab(Tunnel(proto))
    pushed = ['push "route 192.168.77.0 255.255.255.0"', 'push "route-ipv6 fd77::/64"']
    server = lab.server(STOCK, *pushed)
    server.start()
    client = lab.client(OURS, "client", "route 192.168.78.0 255.255.255.0", "explicit-exit-notify 1")
    before = client.namespace.footprint()
    client.start()
    assert client.namespace.footprint() != before
    assert client.process.stop(number) in ended_by(number)
    assert client.namespace.footprint() == before
    assert "Traceback" not in client.process.log()


@pytest.mark.shows("explicit-exit-notify")
def test_our_client_says_goodbye(lab: Lab) -> None:
    server = lab.server(STOCK)
    server.start()
    client = lab.client(OURS, "client", "explicit-exit-notify 1")
    client.start()
    client.process.stop()
    server.process.wait_for_line("remote-exit|Delayed exit", timeout=3.0)


def test_our_server_leaves_nothing_behind(lab: Lab) -> None:
    server = lab.server(OURS, "route 192.168.78.0 255.255.255.0")
    client = lab.client(STOCK)
    before = server.namespace.footprint()
    server.start()
    client.start()
    assert server.process.stop() in ended_by(signal.SIGTERM)
    assert server.namespace.footprint() == before
    assert "Traceback" not in server.process.log()


@pytest.mark.parametrize("proto", ["udp", "tcp"])
def test_a_stock_client_finds_our_restarted_server_at_once(make_lab: MakeLab, proto: str) -> None:
    lab = make_lab(Tunnel(proto))
    server = lab.server(OURS)
    server.start()
    clients = {name: lab.client(STOCK, name) for name in ("frozen", "awake")}
    for client in clients.values():
        client.start()
    # Who does not acknowledge the goodbye makes the server wait, while others come back already.
    clients["frozen"].process.send(signal.SIGSTOP)
    assert server.process.stop() in ended_by(signal.SIGTERM)
    server.start()
    clients["awake"].process.wait_for_line("Initialization Sequence Completed", timeout=30.0, count=2)


def test_our_client_ends_while_its_server_is_away(lab: Lab) -> None:
    client = lab.client(OURS)
    before = client.namespace.footprint()
    client.process.start()
    client.process.wait_for_line(r"10\.99\.1\.1")
    assert client.process.stop() in ended_by(signal.SIGTERM)
    assert client.namespace.footprint() == before
    assert "Traceback" not in client.process.log()


@pytest.mark.skipif(OURS == STOCK, reason="this is twistd's way")
def test_the_server_as_a_daemon(lab: Lab) -> None:
    server = lab.server(OURS)
    pidfile, logfile = lab.directory / "vpn.pid", lab.directory / "vpn.log"
    command = [*TWISTD, f"--pidfile={pidfile}", f"--logfile={logfile}", "vpn", "--config", str(server.config)]
    launcher = Process("launcher", server.namespace, command, lab.directory)
    launcher.start()
    try:
        assert launcher.wait() == 0, launcher.log()
        pid = wait_until(lambda: pidfile.exists() and pidfile.read_text(), "the pid file")
        lab.client(STOCK).start()
        os.kill(int(pid), signal.SIGTERM)
        wait_until(lambda: not Path(f"/proc/{pid}").exists(), "the end of the daemon")
        assert not pidfile.exists()
        assert server.addresses() == []
    finally:
        if pidfile.exists():
            os.kill(int(pidfile.read_text()), signal.SIGKILL)
