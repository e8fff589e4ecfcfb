"""Keys that change under traffic: begun by either end, by time, bytes and packets, and not a datagram lost."""

from __future__ import annotations

import shutil
import signal
import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.interop.netns import run
from tests.interop.peers import GATEWAY, OURS, STOCK
from tests.interop.releases import stock_is_since
from tests.interop.tunnel import Tunnel
from tests.interop.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.interop.conftest import MakeLab
    from tests.interop.netns import Namespace
    from tests.interop.peers import Client, Lab, Peer, Server

pytestmark = pytest.mark.interop

ROLES = [pytest.param(OURS, STOCK, id="our-server"), pytest.param(STOCK, OURS, id="our-client")]
NEW_KEY = "Control Channel: TLSv1"
MEGABYTE = 1_000_000
HAND_WINDOW = "hand-window 2" if stock_is_since("2.5") else "hand-window 8"
"""As short as one may be within which a client has its options."""


class Flow:
    """Numbered datagrams from one host to an address of another, at a modest rate, until it is stopped."""

    def __init__(self, sender: Namespace, receiver: Namespace, address: str, interval: float = 0.004) -> None:
        self.sent = 0
        self.arrived: set[int] = set()
        self._interval = interval
        self._sink = receiver.open_socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sink.bind((address, 0))
        self._source = sender.open_socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._source.connect(self._sink.getsockname())
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._send), threading.Thread(target=self._receive)]
        for thread in self._threads:
            thread.start()

    def _send(self) -> None:
        while not self._stopping.wait(self._interval):
            self._source.send(self.sent.to_bytes(4, "big") + bytes(400))
            self.sent += 1
        self._source.send(b"end")

    def _receive(self) -> None:
        self._sink.settimeout(10.0)
        while (datagram := self._sink.recv(2048)) != b"end":
            self.arrived.add(int.from_bytes(datagram[:4], "big"))

    def stop(self) -> list[int]:
        """End the flow; the numbers that have not arrived."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        self._sink.close()
        self._source.close()
        return sorted(set(range(self.sent)) - self.arrived)


@contextmanager
def flood(sender: Namespace, address: str) -> Iterator[None]:
    """Some thousands of datagrams a second to a host, of which as many may arrive as can."""
    stopping = threading.Event()
    with sender.open_socket(socket.AF_INET, socket.SOCK_DGRAM) as source:

        def send() -> None:
            while not stopping.wait(0.0005):
                source.sendto(bytes(400), (address, 9))

        thread = threading.Thread(target=send)
        thread.start()
        try:
            yield
        finally:
            stopping.set()
            thread.join()


def start(
    lab: Lab, server_kind: str, client_kind: str, at_server: list[str], at_client: list[str]
) -> tuple[Server, Client]:
    server = lab.server(server_kind, *at_server)
    server.start()
    client = lab.client(client_kind, "client", *at_client)
    client.start()
    return server, client


def both_ways(lab: Lab, client: Client) -> list[Flow]:
    return [
        Flow(client.namespace, lab.server_host, GATEWAY),
        Flow(lab.server_host, client.namespace, client.address),
    ]


@pytest.mark.parametrize(("counts", "proto"), [("server", "udp"), ("client", "tcp")])
@pytest.mark.parametrize(("server_kind", "client_kind"), ROLES)
@pytest.mark.shows("reneg-pkts")
def test_not_a_datagram_is_lost_while_key_ids_go_round(
    make_lab: MakeLab, counts: str, server_kind: str, client_kind: str, proto: str
) -> None:
    lab = make_lab(Tunnel(proto))
    limit = {counts: ["reneg-pkts 100"]}
    server, client = start(lab, server_kind, client_kind, limit.get("server", []), limit.get("client", []))
    flows = both_ways(lab, client)
    stock = server if server_kind == STOCK else client
    stock.process.wait_for_line(NEW_KEY, count=10)
    assert [flow.stop() for flow in flows] == [[], []]
    assert_in_step(server, client)


@pytest.mark.parametrize(("server_kind", "client_kind"), ROLES)
@pytest.mark.shows("reneg-sec")
def test_both_ends_begin_at_once(lab: Lab, server_kind: str, client_kind: str) -> None:
    # 2.4 asks for its options after a second, and must have them before.
    often = "reneg-sec 1 1" if stock_is_since("2.5") else "reneg-sec 3 3"
    server, client = start(lab, server_kind, client_kind, [often], [often])
    flows = both_ways(lab, client)
    stock = server if server_kind == STOCK else client
    stock.process.wait_for_line(NEW_KEY, count=4)
    assert [flow.stop() for flow in flows] == [[], []]
    assert_in_step(server, client)


@pytest.mark.parametrize("proto", ["udp", "tcp"])
@pytest.mark.parametrize(("server_kind", "client_kind"), ROLES)
@pytest.mark.shows("reneg-bytes", "hand-window")
def test_keys_wear_out_under_load(make_lab: MakeLab, server_kind: str, client_kind: str, proto: str) -> None:
    """From the first moment on.  Over UDP control packets are lost with the data that a stock peer has no room for."""
    lab = make_lab(Tunnel(proto))
    server, client = start(lab, server_kind, client_kind, ["reneg-bytes 2000000"], ["reneg-bytes 2000000"])
    stock = server if server_kind == STOCK else client

    def worn_out() -> bool:
        lab.exchange(client, 8 * MEGABYTE)
        return len(stock.process.lines(NEW_KEY)) > 4

    wait_until(worn_out, "four renegotiations")
    assert_in_step(server, client)


@pytest.mark.parametrize(("server_kind", "client_kind"), ROLES)
@pytest.mark.shows("reneg-bytes", "hand-window")
def test_control_packets_find_room_in_a_socket_that_is_always_full(
    lab: Lab, server_kind: str, client_kind: str
) -> None:
    """More wants out of our end than the way out takes: data is lost at our own socket, new keys are not."""
    ours_has = ["reneg-bytes 100000", "sndbuf 20000"]
    at_server, at_client = (ours_has, []) if server_kind == OURS else ([], ours_has)
    server, client = start(lab, server_kind, client_kind, at_server, at_client)
    ours, stock, way_out = (server, client, "outside1") if server_kind == OURS else (client, server, "outside")
    slow = ("root", "tbf", "rate", "1mbit", "burst", "20k", "latency", "10s")
    run(*ours.namespace.command("tc", "qdisc", "add", "dev", way_out, *slow))
    with flood(ours.namespace, stock.addresses()[0]):
        stock.process.wait_for_line(NEW_KEY, count=3)
    assert_in_step(server, client)
    assert ours.process.lines("Dropped full,")


@pytest.mark.skipif(shutil.which("nft") is None, reason="nft loses control packets")
@pytest.mark.parametrize(("server_kind", "client_kind"), ROLES)
@pytest.mark.shows("tran-window", "hand-window")
def test_the_old_key_lives_on_after_a_renegotiation_that_failed(lab: Lab, server_kind: str, client_kind: str) -> None:
    ours_begins = [HAND_WINDOW, "reneg-sec 3 3"]
    server, client = start(
        lab,
        server_kind,
        client_kind,
        ours_begins if server_kind == OURS else [HAND_WINDOW, "reneg-sec 0"],
        ours_begins if client_kind == OURS else [HAND_WINDOW, "reneg-sec 0"],
    )
    ours, mended = (server, "renegotiated, key 1") if server_kind == OURS else (client, "key 0 established")
    nft = client.namespace.command("nft")
    run(*nft, "add table inet lossy")
    for hook, end in (("output", "dport"), ("input", "sport")):
        run(*nft, f"add chain inet lossy {hook} {{ type filter hook {hook} priority 0; }}")
        run(*nft, f"add rule inet lossy {hook} udp {end} 1194 @th,64,5 != 9 drop")
    ours.process.wait_for_line("renegotiation failed")
    flows = both_ways(lab, client)
    wait_until(lambda: all(len(flow.arrived) > 100 for flow in flows), "datagrams both ways under the old key")
    assert [flow.stop() for flow in flows] == [[], []]
    run(*nft, "delete table inet lossy")
    ours.process.wait_for_line(mended, count=1 if server_kind == OURS else 2)
    client.wait_connected()
    lab.exchange(client, MEGABYTE)


def assert_in_step(*peers: Peer) -> None:
    """Nobody has had a data packet under a key that it does not have, any more or yet."""
    for peer in peers:
        if peer.kind == OURS:
            peer.process.send(signal.SIGUSR2)
            peer.process.wait_for_line(r"\bEND$")
        assert not peer.process.lines("Traceback|out of sync|not initialized|not authorized|stale session|unknown-key")
