"""Mistakes of the admin: one clear line each, and exit status 1."""

from __future__ import annotations

import re
import socket
from typing import TYPE_CHECKING

import pytest

from tests.interop.peers import OURS, PORT, STOCK
from tests.interop.process import Process
from tests.interop.tunnel import Tunnel, block

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.interop.conftest import MakeLab
    from tests.interop.peers import Lab, Peer

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(OURS == STOCK, reason="these are the messages of our own program"),
]


def refusal(process: Process, *words: str) -> str:
    """Run a program that must refuse to start: the one line with `words` in its output."""
    process.start()
    status = process.wait()
    log = process.log()
    assert status == 1, log
    assert "Traceback" not in log
    lines = [line for line in log.splitlines() if all(re.search(word, line) for word in words)]
    assert len(lines) == 1, log
    return lines[0]


def rewritten(peer: Peer, lines: Sequence[str]) -> Process:
    """The process of `peer` under another configuration."""
    peer.config.write_text("\n".join(lines) + "\n")
    return peer.process


def without(peer: Peer, name: str) -> list[str]:
    """The lines of the peer's configuration without the inline blocks that match `name`."""
    text = peer.config.read_text()
    return re.sub(rf"<({name})>.*?</\1>\n", "", text, flags=re.DOTALL).splitlines()


def test_neither_certificate_nor_password(lab: Lab) -> None:
    client = lab.client(OURS)
    refusal(rewritten(client, without(client, "cert|key")), r"client\.conf", "cert", "auth-user-pass")


@pytest.mark.parametrize("name", ["ca", "cert", "key", "tls-crypt"])
def test_a_missing_file(lab: Lab, name: str) -> None:
    server = lab.server(OURS)
    lines = [*without(server, name), f"{name} /nonexistent/file.pem"]
    refusal(rewritten(server, lines), rf"server\.conf:{len(lines)}\b", f"{name}", "/nonexistent/file.pem")


def test_a_configuration_that_is_not_there(lab: Lab) -> None:
    server = lab.server(OURS)
    server.config.unlink()
    refusal(server.process, r"server\.conf", "(?i)no such file")


def test_a_key_of_another_certificate(lab: Lab) -> None:
    server = lab.server(OURS)
    stranger = lab.authority.issue("stranger", "server")
    lines = [*without(server, "key"), *block("key", stranger.key)]
    refusal(rewritten(server, lines), r"server\.conf:\d+: key:", "private key", "cert")


def test_an_unknown_option_has_a_neighbour(lab: Lab) -> None:
    server = lab.server(OURS, "keepaliv 1 4")
    number = server.config.read_text().splitlines().index("keepaliv 1 4") + 1
    refusal(server.process, rf"server\.conf:{number}\b", "keepaliv", r"keepalive\b")


@pytest.mark.parametrize("role", ["server", "client"])
def test_no_permission_for_the_tun_device(lab: Lab, role: str) -> None:
    lab.server(STOCK).start()
    peer = lab.server(OURS) if role == "server" else lab.client(OURS)
    peer.config = peer.config.rename(peer.config.with_name("powerless.conf"))
    command = ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin", *peer.command()]
    refusal(Process("powerless", lab.host("powerless")[0], command, lab.directory), "(?i)tun", "(?i)permi")


@pytest.mark.parametrize("proto", ["udp", "tcp"])
def test_a_port_in_use(make_lab: MakeLab, proto: str) -> None:
    lab = make_lab(Tunnel(proto))
    server = lab.server(OURS)
    kind = socket.SOCK_DGRAM if proto == "udp" else socket.SOCK_STREAM
    with lab.server_host.open_socket(socket.AF_INET, kind) as other:
        other.bind(("", PORT))
        if proto == "tcp":
            other.listen(1)
        refusal(server.process, str(PORT), "(?i)in use")
    assert server.addresses() == []


def test_an_endpoint_that_cannot_open(lab: Lab) -> None:
    server = lab.ini_server(f"udp:{PORT}", f"tcp:{PORT}", "unix:/nonexistent/link")
    refusal(server.process, "twistvpn: cannot listen on unix:/nonexistent/link: ", "No such file or directory")
    assert server.addresses() == []


def test_a_network_that_overlaps_a_local_one(lab: Lab) -> None:
    lab.client(STOCK)
    server = lab.server(OURS, network=["server 10.99.1.0 255.255.255.0"])
    refusal(server.process, r"10\.99\.1\.0", "(?i)overlap", "outside1")
