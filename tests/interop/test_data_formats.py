"""Data packets in every format that the stock peer has: old ciphers, negotiated or not, and keys by epochs."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from tests.interop.old_peers import forget
from tests.interop.peers import GATEWAY6, OURS, STOCK
from tests.interop.releases import stock_is_since, stock_since
from tests.interop.tunnel import Tunnel

if TYPE_CHECKING:
    from tests.interop.conftest import MakeLab
    from tests.interop.peers import Client, Lab, Server

pytestmark = pytest.mark.interop

ROLES = [pytest.param(OURS, STOCK, id="our-server"), pytest.param(STOCK, OURS, id="our-client")]
MEGABYTE = 1_000_000
# 2.4 clients have a list of ciphers, servers do not look for one.
LISTS = stock_is_since("2.5")
LISTS_ANNOUNCED = [b"IV_CIPHERS=%s\n" if LISTS else b"IV_CIPHERS=%s\0"]
LISTS_LOOKED_FOR = [b"IV_CIPHERS=\0"] if LISTS else []


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
    common = [f"auth {auth}", f"cipher {cipher}"]
    server, client = lab.server(server_kind, *common), lab.client(client_kind, "client", *common)
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
        forget(client, b"IV_NCP=2\n", *LISTS_ANNOUNCED)
    else:
        server, client = lab.server(STOCK, *theirs), lab.client(OURS, "client", *ours)
        forget(server, b"IV_NCP=\0", *LISTS_LOOKED_FOR)
    show_traffic(lab, server, client, "AES-256-CBC with SHA256")


@pytest.mark.shows("compat-mode")
@pytest.mark.parametrize(("server_kind", "client_kind"), ROLES)
def test_what_old_configurations_offered_by_themselves(make_lab: MakeLab, server_kind: str, client_kind: str) -> None:
    lab = make_lab(Tunnel(cipher="AES-256-CBC"))
    ours = ["data-ciphers AES-256-GCM", "cipher AES-256-CBC", "compat-mode 2.4.0"]
    theirs = ["cipher AES-256-CBC"]
    server = lab.server(server_kind, *(ours if server_kind == OURS else theirs))
    client = lab.client(client_kind, "client", *(ours if client_kind == OURS else theirs))
    show_traffic(lab, server, client, "AES-256-CBC with SHA1")


@stock_since("2.7", "keys by epochs")
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
