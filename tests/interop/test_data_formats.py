"""Data packets in every format that the stock peer has: old ciphers, negotiated or not, and keys by epochs."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.interop.old_peers import forget
from tests.interop.peers import GATEWAY6, OURS, STOCK, STOCK_BINARY
from tests.interop.tunnel import Tunnel

if TYPE_CHECKING:
    from tests.interop.conftest import MakeLab
    from tests.interop.peers import Client, Lab, Server

pytestmark = pytest.mark.interop

RELEASE = subprocess.run([STOCK_BINARY, "--version"], capture_output=True, text=True, check=False).stdout.split()[1:2]
"""The stock peer's, such as '2.6.14'."""
ROLES = [pytest.param(OURS, STOCK, id="our-server"), pytest.param(STOCK, OURS, id="our-client")]
MEGABYTE = 1_000_000


def show_traffic(lab: Lab, server: Server, client: Client, protection: str) -> None:
    """Connect, and move data both ways; neither end has anything against the other's options or packets."""
    server.start()
    client.start()
    assert client.namespace.answers(GATEWAY6)
    lab.exchange(client, MEGABYTE)
    for peer in (server, client):
        assert peer.kind == STOCK or peer.process.lines(f"data {protection}")
        assert not peer.process.lines("WARNING: '|packet error|decryption failed|Options error")


@pytest.mark.shows("data-ciphers", "auth")
@pytest.mark.parametrize(("server_kind", "client_kind"), ROLES)
@pytest.mark.parametrize(
    ("cipher", "auth", "proto"),
    [("AES-256-CBC", "SHA256", "udp"), ("AES-128-CBC", "SHA512", "tcp"), ("AES-192-CBC", "SHA1", "udp")],
)
def test_an_old_cipher(
    make_lab: MakeLab, cipher: str, auth: str, proto: str, server_kind: str, client_kind: str
) -> None:
    lab = make_lab(Tunnel(proto, cipher=cipher))
    server, client = lab.server(server_kind, f"auth {auth}"), lab.client(client_kind, "client", f"auth {auth}")
    show_traffic(lab, server, client, f"{cipher} with {auth}")


@pytest.mark.shows("cipher", "data-ciphers-fallback", "auth")
@pytest.mark.parametrize("option", ["cipher", "data-ciphers-fallback"])
@pytest.mark.parametrize("old", ["client", "server"])
def test_a_peer_that_negotiates_nothing(make_lab: MakeLab, old: str, option: str) -> None:
    lab = make_lab(Tunnel(cipher="AES-256-CBC"))
    ours = ["auth SHA256", "data-ciphers AES-256-GCM", f"{option} AES-256-CBC"]
    theirs = ["auth SHA256", "cipher AES-256-CBC"]
    if old == "client":
        server, client = lab.server(OURS, *ours), lab.client(STOCK, "client", *theirs)
        forget(client, b"IV_NCP=2\n", b"IV_CIPHERS=%s\n")
    else:
        server, client = lab.server(STOCK, *theirs), lab.client(OURS, "client", *ours)
        forget(server, b"IV_NCP=\0", b"IV_CIPHERS=\0")
    show_traffic(lab, server, client, "AES-256-CBC with SHA256")


@pytest.mark.shows("compat-mode")
@pytest.mark.parametrize(("server_kind", "client_kind"), ROLES)
def test_what_old_configurations_offered_by_themselves(make_lab: MakeLab, server_kind: str, client_kind: str) -> None:
    lab = make_lab(Tunnel(cipher="AES-256-CBC"))
    ours = ["data-ciphers AES-256-GCM", "cipher AES-256-CBC", "compat-mode 2.4.0"]
    server = lab.server(server_kind, *(ours if server_kind == OURS else []))
    client = lab.client(client_kind, "client", *(ours if client_kind == OURS else []))
    show_traffic(lab, server, client, "AES-256-CBC with SHA1")


@pytest.mark.skipif(RELEASE < ["2.7"], reason="stock peers have it from 2.7 on")
@pytest.mark.parametrize("proto", ["udp", "tcp"])
@pytest.mark.parametrize("ours", ["server", "client"])
def test_keys_change_by_epochs(make_lab: MakeLab, ours: str, proto: str) -> None:
    """Ours is run with a limit that a transfer reaches many times; the stock peer follows, and goes on itself."""
    lab = make_lab(Tunnel(proto))
    server = lab.server(OURS if ours == "server" else STOCK, *(["verb 7"] if ours == "client" else []))
    client = lab.client(OURS if ours == "client" else STOCK, "client", *(["verb 7"] if ours == "server" else []))
    own, stock = (server, client) if ours == "server" else (client, server)
    program, *arguments = own.process.command
    run = f"import sys; sys.argv = {[program, *arguments]}; from twisted.scripts.twistd import run; run()"
    limited = "from twistvpn.data import limits; limits.GCM_LIMIT = 200_000; "
    own.process.command = [sys.executable, "-c", limited + run]
    show_traffic(lab, server, client, "AES-256-GCM by epochs")
    lab.exchange(client, 5 * MEGABYTE)
    assert stock.process.lines("protocol-flags.* aead-epoch")
    assert len(stock.process.lines("Received data packet with new epoch")) > 2
    assert not stock.process.lines("AEAD Decrypt error")
