"""Two ends that neither serve clients nor pull options: `tls-server` and `tls-client` with `ifconfig`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.interop.netns import run
from tests.interop.peers import OURS, PORT, STOCK, Client, Server
from tests.interop.releases import stock_is_since, stock_since
from tests.interop.transfer import transfer
from tests.interop.tunnel import Tunnel, credentials
from tests.interop.waiting import wait_until

if TYPE_CHECKING:
    from tests.interop.conftest import MakeLab
    from tests.interop.peers import Lab

pytestmark = [pytest.mark.interop, pytest.mark.shows("tls-server", "tls-client", "ifconfig", "ifconfig-ipv6", "mode")]

HERE, THERE = "10.9.0.1", "10.9.0.2"
HERE6, THERE6 = "fd09::1", "fd09::2"
KINDS = [pytest.param(OURS, STOCK, id="our-server"), pytest.param(STOCK, OURS, id="our-client")]
LINKS = [Tunnel("udp"), Tunnel("tcp", wrapping="tls-auth")]


def ends(
    lab: Lab, server_kind: str, client_kind: str, *common: str, here: str = f"{HERE} {THERE}"
) -> list[Server | Client]:
    """Both ends, not started; `common` are options of both, `here` is the server's `ifconfig`."""
    host, remote = lab.host("client")
    tunnel, (own, other) = lab.tunnel, here.split()
    there = f"{other} {own}" if other == THERE else f"{THERE} {other}"
    shared = [
        *tunnel.options(),
        "mode p2p",
        f"data-ciphers-fallback {tunnel.cipher}",
        "ping 1",
        "ping-restart 5",
        *common,
    ]
    stream = ("-server", "-client") if tunnel.proto == "tcp" else ("", "")
    made: list[Server | Client] = []
    for kind, role, options, namespace in (
        (server_kind, "server", [f"ifconfig {here}", f"ifconfig-ipv6 {HERE6}/64 {THERE6}"], lab.server_host),
        (client_kind, "client", [f"ifconfig {there}", f"ifconfig-ipv6 {THERE6}/64 {HERE6}", f"remote {remote}"], host),
    ):
        identity = lab.authority.issue(f"{role}.example", role)
        lines = [
            f"tls-{role}",
            f"proto {tunnel.proto}{stream[role == 'client']}",
            f"port {PORT}",
            *shared,
            *options,
            *tunnel.wrapping_options(lab.static_key, int(role == "client")),
            *(["setenv opt disable-dco"] if kind == STOCK else []),
            *(["dh none"] if kind == STOCK and role == "server" else []),
            *(["connect-retry 1 1"] if role == "client" else []),
            *credentials(lab.authority, identity),
        ]
        peer = (Server if role == "server" else Client)(kind, role, namespace, lines, lab.directory)
        lab.peers.append(peer)
        made.append(peer)
    return made


def start(made: list[Server | Client]) -> None:
    """Start both and wait until a ping gets through."""
    for peer in made:
        peer.process.start()
    client = made[1]
    wait_until(
        lambda: all(peer.alive() for peer in made) and client.namespace.answers(HERE, timeout=0.3),
        "the ends are joined",
    )


@pytest.mark.parametrize("tunnel", LINKS, ids=str)
@pytest.mark.parametrize(("server_kind", "client_kind"), [*KINDS, pytest.param(OURS, OURS, id="both-ours")])
def test_two_ends_with_addresses_of_their_own(
    make_lab: MakeLab, tunnel: Tunnel, server_kind: str, client_kind: str
) -> None:
    lab = make_lab(tunnel)
    made = ends(lab, server_kind, client_kind, "route 192.168.77.0 255.255.255.0")
    start(made)
    server, client = made
    assert client.namespace.answers(HERE6)
    assert server.namespace.answers(THERE6)
    transfer(client.namespace, server.namespace, HERE, 1_000_000)
    transfer(server.namespace, client.namespace, THERE, 1_000_000)
    for stock in (peer for peer in made if peer.kind == STOCK):
        assert not stock.process.lines(r"WARNING: '(?!.*(cipher|auth|keysize|link-mtu|proto|tls-))")
        assert stock.process.lines("Control Channel")
    assert not any(peer.process.lines("a server for many") for peer in made)


@pytest.mark.parametrize("kind", [OURS, STOCK])
def test_an_end_that_should_have_asked_a_server_for_its_options_says_so(lab: Lab, kind: str) -> None:
    lab.server(kind).start()
    client = lab.client(OURS)
    text = client.config.read_text()
    client.config.write_text(text.replace("client\n", f"tls-client\nifconfig {THERE} {HERE}\n", 1))
    client.process.start()
    client.process.wait_for_line("seems to be a server for many.* write client in the place of tls-client")


@stock_since("2.6", "negotiation between two such ends")
@pytest.mark.parametrize(("server_kind", "client_kind"), KINDS)
def test_the_ends_agree_on_all_that_both_can(lab: Lab, server_kind: str, client_kind: str) -> None:
    made = ends(lab, server_kind, client_kind, "verb 6", "data-ciphers CHACHA20-POLY1305:AES-256-GCM")
    start(made)
    stock = next(peer for peer in made if peer.kind == STOCK)
    told = stock.process.wait_for_line("P2P mode NCP negotiation result")
    assert "TLS_export=1, DATA_v2=1" in told
    assert "cipher=CHACHA20-POLY1305" in told


@pytest.mark.shows("topology", "dev-type")
@pytest.mark.parametrize(("server_kind", "client_kind"), KINDS)
@pytest.mark.parametrize("option", ["topology subnet", "dev-type tap"])
def test_a_network_of_two(lab: Lab, server_kind: str, client_kind: str, option: str) -> None:
    start(ends(lab, server_kind, client_kind, option, here=f"{HERE} 255.255.255.0"))


@pytest.mark.shows("explicit-exit-notify", "reneg-sec")
@pytest.mark.parametrize(("server_kind", "client_kind"), KINDS)
def test_an_end_that_restarts_is_found_again(lab: Lab, server_kind: str, client_kind: str) -> None:
    # Up to 2.5 an end whose other end says goodbye says it as well, and ends.
    goodbye = ["explicit-exit-notify 1"] if stock_is_since("2.6") else []
    made = ends(lab, server_kind, client_kind, *goodbye, "reneg-sec 2")
    start(made)
    client = made[1]
    ping = client.namespace.command("ping", "-n", "-c", "20", "-i", "0.2", "-W", "2", HERE)
    assert " 0% packet loss" in run(*ping), "keys change under it"
    for peer in made:
        peer.process.stop()
        peer.process.start()
        wait_until(lambda: client.namespace.answers(HERE, timeout=0.3), f"the {peer.label} is back")


@pytest.mark.shows("remote")
def test_a_server_that_names_its_other_end_takes_nobody_else(lab: Lab) -> None:
    server, client = ends(lab, OURS, STOCK)
    text = server.config.read_text()
    server.config.write_text(f"remote 192.0.2.77\n{text}")
    server.process.start()
    client.process.start()
    server.process.wait_for_line("listening on")
    client.process.wait_for_line("Inactivity timeout")
    server.process.stop()
    server.config.write_text(f"remote 10.99.1.2\n{text}")
    server.process.start()
    wait_until(lambda: client.namespace.answers(HERE, timeout=0.3), "now it is the one")
