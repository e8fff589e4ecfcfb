"""Clients that come, meet, leave and come back, and servers that do."""

from __future__ import annotations

import signal
import socket
from typing import TYPE_CHECKING

import pytest

from tests.interop.netns import run
from tests.interop.peers import GATEWAY, NETWORK, OURS, STOCK
from tests.interop.transfer import transfer
from tests.interop.tunnel import Tunnel

if TYPE_CHECKING:
    from tests.interop.conftest import MakeLab
    from tests.interop.peers import Lab

pytestmark = pytest.mark.interop

ROLES = [pytest.param(OURS, STOCK, id="our-server"), pytest.param(STOCK, OURS, id="our-client")]
BOTH_OURS = [*ROLES, pytest.param(OURS, OURS, id="both-ours")]
CLIENTS = [pytest.param(STOCK, id="stock-client"), pytest.param(OURS, id="our-client")]
MEGABYTE = 1_000_000

only_ours = pytest.mark.skipif(OURS == STOCK, reason="stock servers do otherwise")


def pool_of(last: int) -> tuple[str, ...]:
    """The options of an IPv4 network whose pool goes from .2 to .`last`."""
    return (f"{NETWORK} nopool", f"ifconfig-pool 10.8.0.2 10.8.0.{last} 255.255.255.0")


@pytest.mark.shows("client-to-client")
@pytest.mark.parametrize("extra", [["client-to-client"], []], ids=["client-to-client", "through-the-host"])
def test_two_clients_reach_each_other(lab: Lab, extra: list[str]) -> None:
    for switch in ("net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"):
        run(*lab.server_host.command("sh", "-c", f"echo 1 > /proc/sys/{switch}"))
    lab.server(OURS, *extra).start()
    stock = lab.client(STOCK, "stock")
    ours = lab.client(OURS, "ours")
    stock.start()
    ours.start()
    assert not set(stock.addresses()) & set(ours.addresses())
    assert stock.namespace.answers(ours.address)
    assert stock.namespace.answers(ours.address6)
    transfer(stock.namespace, ours.namespace, ours.address, MEGABYTE)
    transfer(ours.namespace, stock.namespace, stock.address6, MEGABYTE)


@only_ours
@pytest.mark.parametrize("proto", ["udp", "tcp"])
@pytest.mark.parametrize("client_kind", CLIENTS)
def test_an_address_is_reused_when_its_client_leaves(make_lab: MakeLab, proto: str, client_kind: str) -> None:
    lab = make_lab(Tunnel(proto))
    lab.server(OURS, network=pool_of(2)).start()
    goodbye = ["explicit-exit-notify 1"] if proto == "udp" else []
    first = lab.client(client_kind, "first", *goodbye)
    second = lab.client(client_kind, "second", *goodbye)
    first.start()
    addresses = first.addresses()
    first.process.stop()
    second.start()
    assert second.addresses() == addresses


@only_ours
@pytest.mark.parametrize("client_kind", CLIENTS)
def test_the_address_of_a_client_that_vanished_is_reused(lab: Lab, client_kind: str) -> None:
    server = lab.server(OURS, network=pool_of(2))
    server.start()
    first = lab.client(client_kind, "first")
    second = lab.client(client_kind, "second")
    first.start()
    first.process.stop(signal.SIGKILL)
    server.process.wait_for_line(r"first.*nothing heard for \d+ s")
    second.start()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["SIGTERM", "SIGKILL"])
@pytest.mark.parametrize("proto", ["udp", "tcp"])
@pytest.mark.parametrize(("server_kind", "client_kind"), BOTH_OURS)
def test_clients_come_back_to_a_server_that_does(
    make_lab: MakeLab, number: signal.Signals, proto: str, server_kind: str, client_kind: str
) -> None:
    lab = make_lab(Tunnel(proto))
    server = lab.server(server_kind)
    server.start()
    client = lab.client(client_kind)
    client.start()
    server.process.stop(number)
    assert not client.namespace.answers(GATEWAY)
    server.start()
    client.wait_connected()
    lab.exchange(client, MEGABYTE)


@pytest.mark.shows("ifconfig-pool")
@only_ours
@pytest.mark.parametrize("client_kind", CLIENTS)
def test_a_full_pool_refuses_the_third_client(lab: Lab, client_kind: str) -> None:
    server = lab.server(OURS, network=pool_of(3))
    server.start()
    for name in ("first", "second"):
        lab.client(client_kind, name).start()
    third = lab.client(client_kind, "third")
    third.process.start()
    third.process.wait_for_line("AUTH_FAILED")
    server.process.wait_for_line("third.*: refused: .*pool")
    assert len(server.process.lines("third.*[0-9]: refused: .*pool")) == 1
    assert "Traceback" not in server.process.log()
    assert third.addresses() == []


@only_ours
@pytest.mark.parametrize("client_kind", CLIENTS)
def test_one_name_twice_gives_the_newer_client_the_place(lab: Lab, client_kind: str) -> None:
    server = lab.server(OURS, network=pool_of(2))
    server.start()
    identity = lab.authority.issue("twin", "client")
    older = lab.client(client_kind, "older", identity=identity)
    newer = lab.client(client_kind, "newer", identity=identity)
    older.start()
    addresses = older.addresses()
    older.process.send(signal.SIGSTOP)
    newer.start()
    assert newer.addresses() == addresses
    assert "Traceback" not in server.process.log()


@pytest.mark.shows("duplicate-cn")
@pytest.mark.parametrize("client_kind", CLIENTS)
def test_duplicate_cn_gives_one_name_two_addresses(lab: Lab, client_kind: str) -> None:
    lab.server(OURS, "duplicate-cn").start()
    identity = lab.authority.issue("twin", "client")
    twins = [lab.client(client_kind, name, identity=identity) for name in ("older", "newer")]
    for twin in twins:
        twin.start()
    assert len({twin.address for twin in twins}) == 2
    assert all(twin.namespace.answers(GATEWAY) for twin in twins)


@pytest.mark.parametrize("client_kind", CLIENTS)
def test_a_foreign_source_address_does_not_pass(lab: Lab, client_kind: str) -> None:
    lab.server(OURS).start()
    honest, forger = lab.client(client_kind, "honest"), lab.client(STOCK, "forger")
    honest.start()
    forger.start()
    forger.namespace.ip("addr", "add", f"{honest.address}/32", "dev", "lo")
    with lab.server_host.open_socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind((GATEWAY, 0))
        for source, text in ((honest.address, b"forged"), (forger.address, b"genuine")):
            with forger.namespace.open_socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                sender.bind((source, 0))
                sender.sendto(text, listener.getsockname())
        assert listener.recvfrom(100)[0] == b"genuine"
