"""Both ends as `nobody`, once they have opened what needs root."""

from __future__ import annotations

import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.interop.peers import GATEWAY, OURS, STOCK
from tests.interop.waiting import wait_until

if TYPE_CHECKING:
    from tests.interop.peers import Lab

pytestmark = [pytest.mark.interop, pytest.mark.skipif(OURS == STOCK, reason="stock openvpn does it with libcap-ng")]

ENDED = {0, -signal.SIGTERM}
PRIVILEGES = ("user nobody", "group nogroup")


def test_a_client_as_nobody_cleans_up(lab: Lab) -> None:
    pushed = ['push "route 192.168.77.0 255.255.255.0"', 'push "redirect-gateway def1"']
    server = lab.server(STOCK, *pushed)
    server.start()
    client = lab.client(OURS, "client", *PRIVILEGES)
    before = client.namespace.footprint()
    client.start()
    assert client.namespace.footprint() != before
    status = Path(f"/proc/{client.process.pid}/status").read_text()
    assert "\nUid:\t65534\t65534\t65534\t65534\n" in status
    assert "\nCapEff:\t0000000000001000\n" in status
    assert client.process.stop() in ENDED
    assert client.namespace.footprint() == before
    assert "Traceback" not in client.process.log()
    assert not client.process.lines("cannot|warn")


def test_a_client_as_nobody_connects_again(lab: Lab) -> None:
    server = lab.server(STOCK)
    server.start()
    client = lab.client(OURS, "client", *PRIVILEGES)
    client.start()
    server.process.stop()
    client.process.wait_for_line("trying again")
    server.start()
    client.process.wait_for_line("connected to", count=2)
    client.wait_connected()


@pytest.mark.shows("user", "group", "status", "ifconfig-pool-persist")
def test_a_server_as_nobody_serves_and_cleans_up(lab: Lab) -> None:
    with tempfile.TemporaryDirectory(prefix="twistvpn-status-") as folder:
        Path(folder).chmod(0o755)
        _serve_as_nobody(lab, Path(folder) / "status", Path(folder) / "leases")


def _serve_as_nobody(lab: Lab, status: Path, leases: Path) -> None:
    files = [f"status {status} 1", f"ifconfig-pool-persist {leases} 1"]
    server = lab.server(OURS, *PRIVILEGES, "route 192.168.78.0 255.255.255.0", *files)
    client = lab.client(STOCK)
    before = server.namespace.footprint()
    server.start()
    client.start()
    assert client.namespace.answers(GATEWAY)
    wait_until(lambda: "client,10.99.1.2" in status.read_text(), "the client in the status file")
    wait_until(
        lambda: leases.read_text() == "client,10.8.0.2,fd08:8::1000\n", "the client's address in the file of leases"
    )
    server.process.send(signal.SIGUSR2)
    server.process.wait_for_line("client,10.99.1.2")
    assert server.process.stop() in ENDED
    assert server.namespace.footprint() == before
    assert "Traceback" not in server.process.log()


def test_a_crl_that_nobody_can_read_is_refused(lab: Lab) -> None:
    crl = lab.directory / "crl.pem"
    lab.authority.write_crl(crl)
    crl.chmod(0o600)
    server = lab.server(OURS, *PRIVILEGES, f"crl-verify {crl}")
    server.process.start()
    assert server.process.wait() == 1
    assert server.process.lines("crl-verify: user nobody, group nogroup cannot read .*crl.pem: Permission denied")
    assert "Traceback" not in server.process.log()


def test_a_status_file_that_nobody_can_write_is_refused(lab: Lab) -> None:
    server = lab.server(OURS, *PRIVILEGES, f"status {lab.directory}/status")
    server.process.start()
    assert server.process.wait() == 1
    assert server.process.lines("status: user nobody, group nogroup cannot write .*status: Permission denied")
    assert "Traceback" not in server.process.log()


def test_an_unknown_user_is_one_line(lab: Lab) -> None:
    server = lab.server(OURS, "user nobdy")
    server.process.start()
    assert server.process.wait() == 1
    assert len(server.process.lines("this host has no user 'nobdy'")) == 1
    assert "Traceback" not in server.process.log()


def test_a_client_connects_anew_at_sighup(lab: Lab) -> None:
    server = lab.server(STOCK)
    server.start()
    client = lab.client(OURS, "client", *PRIVILEGES)
    client.start()
    client.process.send(signal.SIGHUP)
    client.process.wait_for_line("we were told to connect anew")
    client.process.wait_for_line("connected to", count=2)
    client.process.send(signal.SIGUSR2)
    client.process.wait_for_line("State,CONNECTED")
