"""From nothing to a tunnel with the `twistvpn` command: its profiles work in a stock client and in ours."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.interop.peers import OURS, STOCK, Client, Server
from tests.interop.process import environment
from tests.interop.releases import stock_since
from tests.interop.waiting import stays

if TYPE_CHECKING:
    from tests.interop.peers import Lab

pytestmark = [pytest.mark.interop, pytest.mark.skipif(OURS == STOCK, reason="stock has no such command")]


def twistvpn(lab: Lab, *arguments: str) -> str:
    """The output of the `twistvpn` command on the server's host, in the lab's directory."""
    command = lab.server_host.command(sys.executable, "-m", "twistvpn.cli.main", *arguments)
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=lab.directory, env=environment(), timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def new_server(lab: Lab) -> Server:
    """A server on what `twistvpn init` makes, with the networks of every test."""
    networks = ["--network", "10.8.0.0/24", "--network6", "fd08:8::/64"]
    twistvpn(lab, "init", "state", "--host", "vpn.example", *networks)
    server = Server(OURS, "server", lab.server_host, [], lab.directory)
    server.config = lab.directory / "state" / "server.ini"
    server.process.command = server.command()
    lab.peers.append(server)
    return server


def new_client(lab: Lab, kind: str, name: str) -> Client:
    """A client that runs on the profile that `twistvpn client add` prints."""
    namespace, remote = lab.host(name)
    profile = twistvpn(lab, "--dir", "state", "client", "add", name, "--host", remote)
    client = Client(kind, name, namespace, profile.splitlines(), lab.directory)
    lab.peers.append(client)
    return client


@stock_since("2.5", "tls-crypt-v2")
def test_profiles_work_until_they_are_revoked(lab: Lab) -> None:
    server = new_server(lab)
    server.start()
    clients = [new_client(lab, kind, f"{kind}-laptop") for kind in (STOCK, OURS)]
    for client in clients:
        client.start()
        lab.exchange(client, 1_000_000)
        client.process.stop()
    for number, client in enumerate(clients, 1):
        twistvpn(lab, "--dir", "state", "client", "revoke", client.label)
        client.process.start()
        server.process.wait_for_line(f"(?i)certificate.*revoked.*{client.label}", count=1)
        stays(lambda: client.addresses() == [], f"revoked client {number} got an address", 1.0)  # noqa: B023  in turn
        client.process.stop()
    new_client(lab, STOCK, "another").start()
