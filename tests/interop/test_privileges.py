"""Both ends as `nobody`, once they have opened what needs root."""

from __future__ import annotations

import re
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.interop.netns import run
from tests.interop.peers import GATEWAY, OURS, STOCK
from tests.interop.process import ROOT
from tests.interop.tunnel import Tunnel
from tests.interop.waiting import wait_until

if TYPE_CHECKING:
    from tests.interop.conftest import MakeLab
    from tests.interop.peers import Lab, Server

pytestmark = [pytest.mark.interop, pytest.mark.skipif(OURS == STOCK, reason="stock openvpn does it with libcap-ng")]

ENDED = {0, -signal.SIGTERM}
UNIT = ROOT / "etc/twistvpn.service"
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


def the_unit() -> dict[str, str]:
    return dict(line.split("=", 1) for line in UNIT.read_text().splitlines() if re.match("[A-Z]\\w+=", line))


def bounded(unit: dict[str, str]) -> list[str]:
    """What lets a command have no more capabilities than the unit leaves."""
    kept = ",".join(f"+{name.removeprefix('CAP_').lower()}" for name in unit["CapabilityBoundingSet"].split())
    return ["setpriv", "--bounding-set", f"-all,{kept}"]


def under_the_unit(server: Server) -> None:
    """Start it as etc/twistvpn.service does: with its capabilities and its umask."""
    unit = the_unit()
    server.process.command[:0] = ["sh", "-c", f'umask {unit["UMask"]}; exec "$@"', "sh", *bounded(unit)]


def reload(server: Server) -> None:
    """What `systemctl reload` does: a + before the command frees it of the unit's bounds."""
    unit = the_unit()
    command = unit["ExecReload"]
    words = command.removeprefix("+").replace("$MAINPID", str(server.process.pid)).split()
    run(*([] if command.startswith("+") else bounded(unit)), *words)
    server.process.wait_for_line("reading the CRL anew")


@pytest.mark.shows("user", "status", "ifconfig-pool-persist", "port-share")
def test_a_server_as_nobody_has_its_files_under_the_systemd_unit_each_time(make_lab: MakeLab) -> None:
    with tempfile.TemporaryDirectory(prefix="twistvpn-run-") as folder:
        Path(folder).chmod(0o755)
        files = [f"status {folder}/status 1", f"ifconfig-pool-persist {folder}/leases 1"]
        share = f"port-share 127.0.0.1 8443 {folder}/journal"
        server = make_lab(Tunnel("tcp")).server(OURS, *PRIVILEGES, share, *files)
        under_the_unit(server)
        for _ in range(2):
            server.start()
            assert "\nCapEff:\t0000000000001000\n" in Path(f"/proc/{server.process.pid}/status").read_text()
            wait_until(lambda: "CLIENT LIST" in (Path(folder) / "status").read_text(), "the status")
            reload(server)
            assert server.process.stop() in ENDED
        assert {Path(path).owner() for path in Path(folder).iterdir()} == {"nobody"}
        assert "Traceback" not in server.process.log()


def test_files_that_cannot_be_given_away_name_the_capability(lab: Lab) -> None:
    server = lab.server(OURS, *PRIVILEGES, f"status {lab.directory}/status")
    server.process.command[:0] = ["setpriv", "--bounding-set", "-chown"]
    server.process.start()
    assert server.process.wait() == 1
    assert server.process.lines("status: cannot write .*/status: it cannot be given .* CAP_CHOWN; under systemd")


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
