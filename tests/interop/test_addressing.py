"""Addresses, topologies, and what is different for single clients, with a stock peer at the other end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.interop.netns import run
from tests.interop.peers import GATEWAY, GATEWAY6, OURS, STOCK
from tests.interop.tunnel import DEVICE
from tests.interop.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.interop.netns import Namespace
    from tests.interop.peers import Lab

pytestmark = pytest.mark.interop

ROLES = [pytest.param(OURS, STOCK, id="our-server"), pytest.param(STOCK, OURS, id="our-client")]
CLIENTS = [pytest.param(STOCK, id="stock-client"), pytest.param(OURS, id="our-client")]

only_ours = pytest.mark.skipif(OURS == STOCK, reason="stock servers do otherwise")


def ccd(lab: Lab, **files: str) -> list[str]:
    """Write a file for each client; the option that names their folder."""
    folder = lab.directory / "ccd"
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    return [f"client-config-dir {folder}"]


def routes(namespace: Namespace) -> set[str]:
    """The destinations that lie behind the tunnel."""
    entries = namespace.ip_json("route") + namespace.ip_json("-6", "route")
    return {entry["dst"] for entry in entries if entry.get("dev") == DEVICE}


@pytest.mark.shows("topology", "server", "ifconfig-push")
@pytest.mark.parametrize(("topology", "addresses"), [("net30", (6, 10)), ("p2p", (4, 5))])
@pytest.mark.parametrize(("server_kind", "client_kind"), ROLES)
def test_point_to_point_topologies(
    lab: Lab, topology: str, addresses: tuple[int, int], server_kind: str, client_kind: str
) -> None:
    other_end = {"net30": "10.8.0.21", "p2p": GATEWAY}[topology]
    options = ccd(lab, third=f"ifconfig-push 10.8.0.22 {other_end}\n")
    lab.server(server_kind, f"topology {topology}", "client-to-client", *options).start()
    clients = [lab.client(client_kind, name) for name in ("first", "second", "third")]
    for client, number in zip(clients, (*addresses, 22), strict=True):
        client.start()
        assert client.address == f"10.8.0.{number}"
    first, second, third = clients
    assert third.namespace.answers(first.address)
    assert lab.server_host.answers(first.address)
    assert first.namespace.answers(second.address)
    assert first.namespace.answers(GATEWAY6)
    lab.exchange(first, 1_000_000)
    found = {entry["dst"]: entry["dev"] for entry in lab.server_host.ip_json("route")}
    assert found["10.8.0.0/24"] == found["10.8.0.2"] == DEVICE


@pytest.mark.shows("ifconfig", "ifconfig-pool", "ifconfig-ipv6", "ifconfig-ipv6-pool", "mode", "tls-server")
@pytest.mark.parametrize("server_kind", [OURS, pytest.param(STOCK, id="as-stock-does")])
def test_a_pool_outside_of_the_servers_network(lab: Lab, server_kind: str) -> None:
    written_out = [
        *("mode server", "tls-server", f"ifconfig {GATEWAY} 255.255.255.0"),
        *("ifconfig-pool 10.9.0.10 10.9.0.20 255.0.0.0", "route 10.9.0.0 255.255.0.0 10.8.0.2"),
        *("ifconfig-ipv6 fd08:8::1/64 fd08:8::2", "ifconfig-ipv6-pool fd08:8::7000/64"),
        'push "topology subnet"',
    ]
    server = lab.server(server_kind, network=written_out)
    server.addresses_wanted = 2
    server.start()
    client = lab.client(STOCK)
    client.start()
    assert client.addresses() == ["10.9.0.10", "fd08:8::7000"]
    assert lab.server_host.answers(client.address)


@pytest.mark.shows("client-config-dir", "ifconfig-push", "ifconfig-ipv6-push", "push", "push-remove", "push-reset")
@pytest.mark.parametrize("client_kind", CLIENTS)
def test_files_for_single_clients(lab: Lab, client_kind: str) -> None:
    options = ccd(
        lab,
        special="ifconfig-push 10.8.0.77 255.255.255.0\nifconfig-ipv6-push fd08:8::77/64\n"
        'push-remove "route 172.20.1"\npush "route 172.20.3.0 255.255.255.0"\n',
        reset="push-reset\npush-remove ifconfig-ipv6\n"
        'push "topology subnet"\npush "route-gateway 10.8.0.1"\npush "ping 1"\npush "ping-restart 4"\n',
        DEFAULT='push "route 172.20.9.0 255.255.255.0"\n',
    )
    pushed = [f'push "route 172.20.{number}.0 255.255.255.0"' for number in (1, 2)]
    lab.server(OURS, *options, *pushed).start()
    special, reset, ordinary = (lab.client(client_kind, name) for name in ("special", "reset", "ordinary"))
    for client in (special, reset, ordinary):
        client.start()
    networks = {f"172.20.{number}.0/24" for number in range(10)}
    wait_until(lambda: "172.20.3.0/24" in routes(special.namespace), "the route of one client")
    wait_until(lambda: "172.20.9.0/24" in routes(ordinary.namespace), "the route of all others")
    assert special.addresses() == ["10.8.0.77", "fd08:8::77"]
    assert lab.server_host.answers("fd08:8::77")
    assert routes(special.namespace) & networks == {"172.20.2.0/24", "172.20.3.0/24"}
    assert len(reset.addresses()) == 1
    assert not routes(reset.namespace) & networks
    assert routes(ordinary.namespace) & networks == {"172.20.1.0/24", "172.20.2.0/24", "172.20.9.0/24"}


@only_ours
@pytest.mark.shows("disable", "ccd-exclusive", "client-config-dir")
def test_clients_that_their_files_refuse(lab: Lab) -> None:
    options = ccd(lab, stolen="disable\n", broken="\nifconfig-push nonsense\n", honest="")
    server = lab.server(OURS, *options, "ccd-exclusive")
    server.start()
    refused = {
        "stolen": r"refused: this client is disabled .*certificate of stolen",
        "broken": rf"{lab.directory}/ccd/broken:2: ifconfig-push: 'nonsense' is not an IPv4 address",
        "stranger": r"refused: this client has no file of its own .*certificate of stranger",
    }
    for name, line in refused.items():
        client = lab.client(STOCK, name)
        client.process.start()
        client.process.wait_for_line("AUTH_FAILED")
        server.process.wait_for_line(line)
    lab.client(STOCK, "honest").start()
    # Read anew when the client comes.
    ccd(lab, stolen="ifconfig-push 10.8.0.99 255.255.255.0\n")
    found = lab.client(STOCK, "found", identity=lab.authority.issue("stolen", "client"))
    found.start()
    assert found.address == "10.8.0.99"
    assert "Traceback" not in server.process.log()


@only_ours
@pytest.mark.shows("ifconfig-push", "push", "disable")
def test_sections_for_single_clients_in_our_own_syntax(lab: Lab) -> None:
    server = lab.ini_server()
    sections = (
        "[client special]\nifconfig-push = 10.8.0.77\nifconfig-ipv6-push = fd08:8::77\n"
        "push = route 172.20.3.0 255.255.255.0\n[client DEFAULT]\ndisable = yes\n"
    )
    server.config.write_text(f"{server.config.read_text()}\n{sections}")
    server.start()
    special, stranger = lab.client(STOCK, "special"), lab.client(STOCK, "stranger")
    stranger.process.start()
    special.start()
    assert special.addresses() == ["10.8.0.77", "fd08:8::77"]
    wait_until(lambda: "172.20.3.0/24" in routes(special.namespace), "the route of one client")
    stranger.process.wait_for_line("AUTH_FAILED")


@pytest.mark.shows("iroute", "iroute-ipv6", "route", "route-ipv6", "client-config-dir", "client-to-client")
@pytest.mark.parametrize(
    ("server_kind", "client_kind", "extra"),
    [(OURS, STOCK, ["client-to-client"]), (OURS, STOCK, []), (STOCK, OURS, ["client-to-client"])],
    ids=["our-server", "our-server-through-the-host", "our-client"],
)
def test_a_network_behind_a_client(lab: Lab, server_kind: str, client_kind: str, extra: list[str]) -> None:
    for switch in ("net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"):
        run(*lab.server_host.command("sh", "-c", f"echo 1 > /proc/sys/{switch}"))
    behind = ["192.168.77.1", "fd77::1"]
    lines = ["route 192.168.77.0 255.255.255.0", "route-ipv6 fd77::/64"]
    options = ccd(lab, branch="iroute 192.168.77.0 255.255.255.0\niroute-ipv6 fd77::/64\n")
    lab.server(server_kind, *options, *extra, *lines, *(f'push "{line}"' for line in lines)).start()
    branch, other = lab.client(client_kind, "branch"), lab.client(client_kind, "other")
    for address in behind:
        branch.namespace.ip("addr", "add", address, "dev", "lo")
    branch.start()
    other.start()
    for namespace in (lab.server_host, other.namespace):
        wait_until(lambda: all(map(namespace.answers, behind)), "the network behind the client answers")  # noqa: B023
    # The client itself is not told to send its own network into the tunnel; stock servers up to 2.5 do it for IPv6.
    assert not routes(branch.namespace) & (
        {"192.168.77.0/24", "fd77::/64"} if server_kind == OURS else {"192.168.77.0/24"}
    )
    assert {"192.168.77.0/24", "fd77::/64"} <= routes(other.namespace)


def persist(lab: Lab, seconds: str = "1") -> tuple[Path, str]:
    path = lab.directory / "leases"
    return path, f"ifconfig-pool-persist {path} {seconds}"


@pytest.mark.shows("ifconfig-pool-persist")
@pytest.mark.parametrize(
    ("topology", "kinds"),
    [("subnet", (OURS, STOCK)), ("subnet", (STOCK, OURS)), ("net30", (OURS, STOCK)), ("net30", (STOCK, OURS))],
    ids=str,
)
def test_addresses_outlive_the_server(lab: Lab, topology: str, kinds: tuple[str, str]) -> None:
    path, option = persist(lab)
    server = lab.server(kinds[0], f"topology {topology}", option)
    server.start()
    clients = {name: lab.client(STOCK, name) for name in ("first", "second")}
    for client in clients.values():
        client.start()
    wanted = clients["second"].addresses()
    wait_until(lambda: path.exists() and "second," in path.read_text(), "the file is written")
    for client in clients.values():
        client.process.stop()
    server.process.stop()
    lab.server(kinds[1], f"topology {topology}", option).start()
    clients["second"].start()
    assert clients["second"].addresses() == wanted


@pytest.mark.shows("ifconfig-pool-persist")
@pytest.mark.parametrize("server_kind", [OURS, pytest.param(STOCK, id="as-stock-does")])
def test_a_file_of_addresses_that_is_only_read(lab: Lab, server_kind: str) -> None:
    path, option = persist(lab, "0")
    path.write_text("kept,10.8.0.2,\nlate,10.8.0.9\n")
    lab.server(server_kind, option).start()
    clients = {name: lab.client(STOCK, name) for name in ("other", "late")}
    for client in clients.values():
        client.start()
    assert clients["other"].address == "10.8.0.3"
    assert clients["late"].address == "10.8.0.9"
    assert path.read_text() == "kept,10.8.0.2,\nlate,10.8.0.9\n"
