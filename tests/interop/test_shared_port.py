"""One TCP port for a VPN and a website, and TLS around the VPN's stream."""

from __future__ import annotations

import http.client
import socket
import ssl
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from tests.interop.peers import OURS, PORT, STOCK
from tests.interop.process import Process
from tests.interop.tunnel import Tunnel
from tests.interop.website import PAGE, READY

if TYPE_CHECKING:
    from pathlib import Path

    from tests.interop.conftest import MakeLab
    from tests.interop.netns import Namespace
    from tests.interop.peers import Lab

pytestmark = pytest.mark.interop


def website(lab: Lab, pem: Path | None) -> Process:
    """A website beside the server, at 127.0.0.1:8443."""
    command = [sys.executable, "-m", "tests.interop.website", "127.0.0.1", "8443", str(pem or "")]
    process = Process("website", lab.server_host, command, lab.directory)
    lab.also(process)
    process.start()
    process.wait_for_line(READY)
    return process


def web_identity(lab: Lab) -> Path:
    """Certificate and key of a website called www.example."""
    identity = lab.authority.issue("www.example", "server")
    path = lab.directory / "web.pem"
    path.write_text(identity.cert + identity.key)
    return path


def get(lab: Lab, host: Namespace, address: str) -> bytes:
    """The page at https://www.example, which is at `address`."""
    context = ssl.create_default_context(cadata=lab.authority.cert)
    context.check_hostname = False  # the lab's certificates have names in their subject alone
    raw = host.open_socket(socket.AF_INET, socket.SOCK_STREAM)
    raw.connect((address, PORT))
    connection = http.client.HTTPSConnection("www.example", context=context)
    connection.sock = context.wrap_socket(raw)
    connection.request("GET", "/")
    page = connection.getresponse().read()
    connection.close()
    return page


@pytest.mark.shows("port-share")
@pytest.mark.parametrize("wrapping", ["plain", "tls-crypt"])
def test_a_website_and_a_vpn_on_one_port_at_the_same_time(make_lab: MakeLab, wrapping: str) -> None:
    lab = make_lab(Tunnel("tcp", wrapping=wrapping))
    site = website(lab, web_identity(lab))
    journal = lab.directory / "journal"
    journal.mkdir()
    lab.server(OURS, f"port-share 127.0.0.1 8443 {journal}").start()
    clients = [lab.client(kind, kind + str(number)) for number, kind in enumerate((STOCK, OURS))]
    for client in clients:
        client.start()
    pages: list[bytes] = []
    visitor = clients[0].namespace

    def visit() -> None:
        pages.extend(get(lab, visitor, "10.99.1.1") for _ in range(5))

    visiting = threading.Thread(target=visit)
    visiting.start()
    for client in clients:
        lab.exchange(client, 2_000_000)
    visiting.join()
    assert pages == [PAGE] * 5
    assert len(site.lines("GET from 127.0.0.1")) == 5
