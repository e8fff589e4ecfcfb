"""Where datagrams and streams leave from and arrive at: addresses, devices, marks, and proxies in front."""

from __future__ import annotations

import socket
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from tests.interop.netns import run
from tests.interop.peers import GATEWAY, OURS, PORT, STOCK
from tests.interop.process import Process
from tests.interop.relay import READY
from tests.interop.tunnel import Tunnel
from tests.interop.waiting import wait_until

if TYPE_CHECKING:
    from tests.interop.conftest import MakeLab
    from tests.interop.netns import Namespace
    from tests.interop.peers import Client, Lab

pytestmark = pytest.mark.interop

ETH_P_ALL = 3
EXPEDITED = 0xB8
"""A TOS byte: the DSCP EF (RFC 3246)."""

not_stock = pytest.mark.skipif(OURS == STOCK, reason="this is ours alone")


def aim(client: Client, line: str) -> Client:
    """Send the client to another remote, or by another protocol, than the lab has given it."""
    lines = client.config.read_text().splitlines()
    kept = [line if old.startswith("remote ") else old for old in lines if not old.startswith("proto ")]
    client.config.write_text("\n".join(kept) + "\n")
    return client


def second_address(lab: Lab, number: int) -> str:
    """Another address of the server's on the device towards the `number`th host."""
    address, bits = (f"fd99:{number}::65", 64) if lab.tunnel.family == 6 else (f"10.99.{number}.101", 24)
    nodad = ["nodad"] if lab.tunnel.family == 6 else []
    lab.server_host.ip("addr", "add", f"{address}/{bits}", "dev", f"outside{number}", *nodad)
    return address


def relay(host: Namespace, lab: Lab, listen: str, target: str, header: str = "") -> Process:
    """A relay on `host` that runs until the lab is taken down."""
    command = [sys.executable, "-m", "tests.interop.relay", listen, target, header]
    process = Process("relay", host, command, lab.directory)
    lab.also(process)
    process.start()
    process.wait_for_line(READY)
    return process


@pytest.mark.shows("multihome")
@pytest.mark.parametrize("family", [4, 6])
def test_multihome_answers_from_the_address_that_was_asked(make_lab: MakeLab, family: int) -> None:
    lab = make_lab(Tunnel(family=family))
    lab.server(OURS, "multihome").start()
    for number, kind in enumerate((STOCK, OURS), 1):
        client = lab.client(kind, f"client{number}")
        other = second_address(lab, number)
        client.start()
        client.process.stop()
        aim(client, f"remote {other} {PORT} udp{family}").start()
        lab.exchange(client, 1_000_000)


@pytest.mark.shows("float")
@pytest.mark.parametrize(("server_kind", "client_kind"), [(OURS, STOCK), (STOCK, OURS)])
def test_a_client_with_float_follows_a_server_without_multihome(lab: Lab, server_kind: str, client_kind: str) -> None:
    lab.server(server_kind).start()
    client = lab.client(client_kind, "client", "float")
    aim(client, f"remote {second_address(lab, 1)} {PORT}").start()
    lab.exchange(client, 1_000_000)


@pytest.mark.shows("local")
@not_stock
def test_one_server_at_several_local_ends(lab: Lab) -> None:
    first, second = lab.client(STOCK, "first"), lab.client(STOCK, "second")
    other = second_address(lab, 2)
    lab.server(OURS, "local 10.99.1.1", f"local {other} 1195 tcp", f"local {other} 1196").start()
    first.start()
    aim(second, f"remote {other} 1195 tcp-client").start()
    assert second.process.lines(f"Peer Connection Initiated with .*{other}:1195")


@pytest.mark.shows("lport")
def test_a_client_comes_again_and_again_from_its_port(make_lab: MakeLab) -> None:
    lab = make_lab(Tunnel("tcp"))
    server = lab.server(STOCK)
    server.start()
    client = lab.client(OURS)
    client.config.write_text(client.config.read_text().replace("nobind", "lport 5000"))
    for _ in range(2):
        client.start()
        client.process.stop()
    assert len(server.process.lines(r"Peer Connection Initiated with .*10\.99\.1\.2:5000")) == 2


@pytest.mark.shows("sndbuf", "rcvbuf")
@not_stock
@pytest.mark.parametrize("proto", ["udp", "tcp"])
def test_buffers_are_as_large_as_the_admin_wants(make_lab: MakeLab, proto: str) -> None:
    lab = make_lab(Tunnel(proto))
    lab.server(OURS, "sndbuf 100000", "rcvbuf 120000").start()
    (ours,) = [
        line for line in run(*lab.server_host.command("ss", "-HlnmO", f"--{proto}")).splitlines() if f":{PORT} " in line
    ]
    assert "rb240000" in ours  # the kernel doubles them for its own bookkeeping
    assert "tb200000" in ours
    lab.client(STOCK).start()


@pytest.mark.shows("bind")
@pytest.mark.parametrize("proto", ["udp", "tcp"])
def test_a_server_for_ipv6_alone_leaves_ipv4_alone(make_lab: MakeLab, proto: str) -> None:
    lab = make_lab(Tunnel(proto, family=6))
    lab.server(OURS, "bind ipv6only").start()
    client = lab.client(STOCK)
    client.start()
    client.process.stop()
    aim(client, f"remote 10.99.1.1 {PORT} {'udp4' if proto == 'udp' else 'tcp4-client'}")
    client.process.start()
    client.process.wait_for_line("refused|poll timeout")


@not_stock
def test_a_unix_socket_between_our_own_ends(make_lab: MakeLab) -> None:
    lab = make_lab(Tunnel("tcp"))
    path = lab.directory / "link"
    lab.ini_server(f"tcp:{PORT}", f"unix:{path}").start()
    client = lab.ini_client()
    client.config.write_text(client.config.read_text().replace(f"tcp:10.99.1.1:{PORT}", f"unix:{path}"))
    client.start()
    lab.exchange(client, 1_000_000)


# The shell of systemd: a listening socket as descriptor 3, which the environment tells about.
ACTIVATE = f"""
import os, socket, sys
listening = socket.create_server(("", {PORT}))
os.dup2(listening.fileno(), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES="vpn")
os.execv(sys.argv[1], sys.argv[1:])
"""


@not_stock
def test_a_socket_that_systemd_has_opened(make_lab: MakeLab) -> None:
    lab = make_lab(Tunnel("tcp"))
    server = lab.ini_server("systemd:domain=INET:index=0")
    server.process.command[:0] = [sys.executable, "-c", ACTIVATE]
    server.start()
    client = lab.client(STOCK)
    client.start()
    lab.exchange(client, 1_000_000)


@pytest.mark.shows("bind-dev")
@pytest.mark.parametrize("proto", ["udp", "tcp"])
def test_a_server_on_one_device_is_not_heard_on_another(make_lab: MakeLab, proto: str) -> None:
    lab = make_lab(Tunnel(proto))
    inside, outside = lab.client(STOCK, "inside"), lab.client(STOCK, "outside")
    lab.server(OURS, "bind-dev outside1").start()
    outside.process.start()
    outside.process.wait_for_line("refused|poll timeout")
    inside.start()


@pytest.mark.shows("bind-dev", "mark")
@pytest.mark.parametrize("proto", ["udp", "tcp"])
@pytest.mark.parametrize("option", ["bind-dev outside", "mark 77"])
def test_a_client_reaches_its_server_by_the_device_or_the_mark_alone(
    make_lab: MakeLab, proto: str, option: str
) -> None:
    lab = make_lab(Tunnel(proto))
    lab.server(STOCK).start()
    client = lab.client(OURS, "client", option)
    host = client.namespace
    # Who asks for neither is sent to where nobody is.
    host.ip("link", "add", "nowhere", "type", "veth", "peer", "name", "nobody")
    for device in "nowhere", "nobody":
        host.ip("link", "set", device, "up")
    host.ip("route", "add", "10.99.1.1/32", "dev", "nowhere", "table", "99")
    host.ip("rule", "add", "not", "fwmark", "77", "table", "99", "pref", "99")
    assert not host.answers("10.99.1.1", timeout=0.2)
    client.start()


@pytest.mark.shows("mark")
@pytest.mark.parametrize("proto", ["udp", "tcp"])
def test_what_a_server_sends_has_its_mark(make_lab: MakeLab, proto: str) -> None:
    lab = make_lab(Tunnel(proto))
    client = lab.client(STOCK)
    lab.server_host.ip("route", "add", "unreachable", "10.99.1.2/32", "table", "99")
    lab.server_host.ip("rule", "add", "not", "fwmark", "77", "table", "99", "pref", "99")
    assert not lab.server_host.answers("10.99.1.2", timeout=0.2)
    lab.server(OURS, "mark 77").start()
    client.start()


@not_stock
@pytest.mark.parametrize("header", ["v1", "v2"])
def test_behind_a_proxy_logs_and_status_name_the_client(make_lab: MakeLab, header: str) -> None:
    lab = make_lab(Tunnel("tcp"))
    server = lab.ini_server(f"haproxy:tcp:{PORT}")
    status = lab.directory / "status"
    server.config.write_text(f"{server.config.read_text()}[log]\nverb = 4\nstatus = {status} 1\n")
    server.start()
    client = lab.client(STOCK)
    relay(lab.server_host, lab, "tcp:1195", f"tcp:127.0.0.1:{PORT}", header)
    aim(client, "remote 10.99.1.1 1195 tcp-client").start()
    wait_until(lambda: status.exists() and "client,10.99.1.2:" in status.read_text(), "the client's address in status")
    client.process.stop()
    server.process.wait_for_line("left: ")
    assert server.process.lines(r"client/tcp:10\.99\.1\.2:\d+: left: ")
    assert not server.process.lines(r"127\.0\.0\.1")


@pytest.mark.shows("passtos")
@pytest.mark.parametrize("kind", [OURS, STOCK])
@pytest.mark.parametrize("proto", ["udp", "tcp"])
def test_datagrams_have_the_type_of_service_of_what_is_inside(make_lab: MakeLab, kind: str, proto: str) -> None:
    lab = make_lab(Tunnel(proto))
    lab.server(kind, "passtos").start()
    client = lab.client(kind, "client", "passtos")
    client.start()
    with lab.server_host.open_socket(socket.AF_PACKET, socket.SOCK_DGRAM) as wire:
        wire.bind(("outside1", ETH_P_ALL))
        run(*client.namespace.command("ping", "-n", "-c", "2", "-i", "0.2", "-Q", "0xb8", GATEWAY))
        wire.settimeout(0.2)
        seen: set[int] = set()
        with suppress(TimeoutError):
            while len(seen) < 2:
                packet, address = wire.recvfrom(2048)
                if packet[:1] == b"\x45" and packet[1] == EXPEDITED:
                    seen.add(address[2])
    assert seen == {socket.PACKET_HOST, socket.PACKET_OUTGOING}, "both ways"
