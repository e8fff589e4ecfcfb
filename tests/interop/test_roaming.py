"""Clients that move to another address, and clients of which there are too many."""

from __future__ import annotations

import shutil
import signal
from typing import TYPE_CHECKING

import pytest

from tests.interop.netns import run
from tests.interop.peers import GATEWAY, OURS, STOCK
from tests.interop.waiting import wait_until

if TYPE_CHECKING:
    from tests.interop.peers import Client, Lab

pytestmark = pytest.mark.interop

CLIENTS = [pytest.param(STOCK, id="stock-client"), pytest.param(OURS, id="our-client")]
only_ours = pytest.mark.skipif(OURS == STOCK, reason="stock servers do otherwise")
MEGABYTE = 1_000_000


def move(client: Client, old: str, new: str) -> None:
    """Give the client's host another address outside, as another network does."""
    client.namespace.ip("addr", "del", old, "dev", "outside")
    client.namespace.ip("addr", "add", new, "dev", "outside")


def translate(client: Client) -> None:
    """Let packets to the server leave from port 50001, as a NAT does."""
    nft = client.namespace.command("nft")
    run(*nft, "add table ip nat")
    run(*nft, "add chain ip nat out { type nat hook postrouting priority srcnat; }")
    run(*nft, "add rule ip nat out udp dport 1194 snat to 10.99.1.2:50001")


@pytest.mark.parametrize("client_kind", CLIENTS)
@pytest.mark.shows("float")
def test_a_client_that_moves_stays_connected(lab: Lab, client_kind: str) -> None:
    server = lab.server(OURS, "keepalive 2 20")
    server.start()
    client = lab.client(client_kind)
    client.start()
    for old, new in (("10.99.1.2/24", "10.99.1.77/24"), ("10.99.1.77/24", "10.99.1.78/24")):
        move(client, old, new)
        wait_until(lambda: client.namespace.answers(GATEWAY), "the gateway answers at the new address")
        lab.exchange(client, MEGABYTE)
    assert len(server.process.lines(": connected, ")) == 1
    assert not server.process.lines(": left: ")


@pytest.mark.skipif(shutil.which("nft") is None, reason="a NAT needs nft")
@pytest.mark.parametrize("client_kind", CLIENTS)
@pytest.mark.shows("float")
def test_a_client_whose_nat_gives_it_another_port_stays_connected(lab: Lab, client_kind: str) -> None:
    server = lab.server(OURS, "keepalive 2 20")
    server.start()
    client = lab.client(client_kind)
    translate(client)
    client.start()
    assert server.process.lines(r"client/udp:10.99.1.2:50001: connected")
    run(*client.namespace.command("nft", "delete table ip nat"))
    wait_until(lambda: client.namespace.answers(GATEWAY), "the gateway answers at the new port")
    lab.exchange(client, MEGABYTE)
    assert len(server.process.lines(": connected, ")) == 1


@only_ours
@pytest.mark.shows("max-clients")
def test_more_than_max_clients_wait_until_there_is_room(lab: Lab) -> None:
    server = lab.server(OURS, "max-clients 1")
    server.start()
    first, second = lab.client(STOCK, "first", "explicit-exit-notify 1"), lab.client(STOCK, "second")
    first.start()
    second.process.start()
    server.process.wait_for_line(r"max-clients \(1\) reached")
    assert first.namespace.answers(GATEWAY)
    assert not second.addresses()
    first.process.stop()
    second.wait_connected()


@only_ours
@pytest.mark.shows("connect-freq", "connect-freq-initial")
def test_sessions_and_first_packets_are_bounded_in_a_while(lab: Lab) -> None:
    server = lab.server(OURS, "connect-freq 1 5", "connect-freq-initial 100 10")
    server.start()
    first, second = lab.client(STOCK, "first"), lab.client(STOCK, "second")
    first.start()
    second.process.start()
    server.process.wait_for_line(r"connect-freq \(1 in 5 s\) exceeded")
    assert not second.addresses()
    second.wait_connected()
    assert not server.process.lines("connect-freq-initial")


@pytest.mark.parametrize("client_kind", CLIENTS)
@pytest.mark.shows("inactive", "session-timeout")
def test_a_client_ends_where_the_server_pushes_it(lab: Lab, client_kind: str) -> None:
    lab.server(OURS, 'push "inactive 2 1000000"', 'push "session-timeout 100"').start()
    client = lab.client(client_kind)
    client.start()
    client.process.wait()
    assert client.process.lines("(?i)inactiv")


@only_ours
@pytest.mark.shows("session-timeout")
def test_a_server_sends_a_client_away_that_comes_again(lab: Lab) -> None:
    server = lab.server(OURS, "session-timeout 2")
    server.start()
    client = lab.client(STOCK)
    client.start()
    server.process.wait_for_line(": left: .*session-timeout")
    server.process.wait_for_line(": connected, ", count=2)
    client.wait_connected()


@only_ours
@pytest.mark.parametrize("option", ["", "single-session"])
@pytest.mark.shows("single-session")
def test_a_client_that_comes_anew_from_its_old_address(lab: Lab, option: str) -> None:
    server = lab.server(OURS, "keepalive 1 2", *([option] if option else []))
    server.start()
    client = lab.client(STOCK)
    client.config.write_text(client.config.read_text().replace("nobind", "lport 5000"))
    client.start()
    client.process.stop(signal.SIGKILL)
    client.process.start()
    client.wait_connected()
    (left,) = server.process.lines(": left: ")
    assert ("nothing heard" in left) is bool(option)
