"""What lies around and beside the VPN's stream: a website on its port, TLS, proxies."""

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
from tests.interop.test_links import aim, not_stock, relay
from tests.interop.tunnel import DEVICE, Tunnel, block
from tests.interop.website import PAGE, READY

if TYPE_CHECKING:
    from pathlib import Path

    from tests.interop.conftest import MakeLab
    from tests.interop.netns import Namespace
    from tests.interop.peers import Client, Lab

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
    context.set_alpn_protocols(["h2", "http/1.1"])  # as browsers do
    context.check_hostname = False  # the lab's certificates have names in their subject alone
    raw = host.open_socket(socket.AF_INET, socket.SOCK_STREAM)
    raw.connect((address, PORT))
    connection = http.client.HTTPSConnection("www.example", context=context)
    connection.sock = context.wrap_socket(raw)
    connection.request("GET", "/")
    page = connection.getresponse().read()
    connection.close()
    return page


@pytest.mark.shows("port-share", "tcp-nodelay")
@pytest.mark.parametrize("wrapping", ["plain", "tls-crypt"])
def test_a_website_and_a_vpn_on_one_port_at_the_same_time(make_lab: MakeLab, wrapping: str) -> None:
    lab = make_lab(Tunnel("tcp", wrapping=wrapping))
    site = website(lab, web_identity(lab))
    journal = lab.directory / "journal"
    journal.mkdir()
    lab.server(OURS, "tcp-nodelay", f"port-share 127.0.0.1 8443 {journal}").start()
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
    assert clients[0].process.lines("PUSH: .*socket-flags TCP_NODELAY")
    assert len(site.lines("GET from 127.0.0.1")) == 5


@not_stock
def test_a_journal_that_the_user_of_the_server_cannot_write_is_refused(make_lab: MakeLab) -> None:
    lab = make_lab(Tunnel("tcp"))
    server = lab.server(OURS, "user nobody", "group nogroup", f"port-share 127.0.0.1 8443 {lab.directory}")
    server.process.start()
    assert server.process.wait() == 1
    assert server.process.lines("port-share: user nobody, group nogroup cannot write in /")


def tls_client(lab: Lab, *extra: str) -> Client:
    """A client of ours whose link is in TLS, which somebody with the certificate of www.example ends."""
    outer = ["outer-name www.example", *block("outer-ca", lab.authority.cert)]
    return aim(lab.client(OURS, "client", *outer, *extra), f"remote 10.99.1.1 {PORT} tls")


def tls_endpoint(port: int, pem: Path) -> str:
    return f"ssl:{port}:privateKey={pem}:certKey={pem}"


@pytest.mark.shows("outer-ca", "outer-name")
@not_stock
def test_tls_around_the_link_between_our_own_ends_and_a_website_in_it(make_lab: MakeLab) -> None:
    lab = make_lab(Tunnel("tcp"))
    pem = web_identity(lab)
    website(lab, None)
    server = lab.ini_server(tls_endpoint(PORT, pem))
    text = server.config.read_text().replace("keepalive", "port-share = 127.0.0.1 8443\nkeepalive")
    server.config.write_text(text)
    server.start()
    client = tls_client(lab)
    client.start()
    lab.exchange(client, 5_000_000)
    assert get(lab, client.namespace, "10.99.1.1") == PAGE
    lab.exchange(client, 1_000_000)


@not_stock
def test_tls_around_the_link_to_a_stock_server_behind_what_ends_it(make_lab: MakeLab) -> None:
    lab = make_lab(Tunnel("tcp"))
    server = lab.server(STOCK, "port 1195")
    server.process.start()
    server.process.wait_for_line("Initialization Sequence Completed")
    client = tls_client(lab)
    relay(lab.server_host, lab, tls_endpoint(PORT, web_identity(lab)), "tcp:127.0.0.1:1195")
    client.start()
    lab.exchange(client, 5_000_000)


@not_stock
def test_who_ends_the_tls_around_the_link_must_have_the_right_certificate(make_lab: MakeLab) -> None:
    lab = make_lab(Tunnel("tcp"))
    server = lab.ini_server(tls_endpoint(PORT, web_identity(lab)))
    server.start()
    client = tls_client(lab)
    text = client.config.read_text()
    client.config.write_text(text.replace("outer-name www.example", "outer-name other.example"))
    client.process.start()
    client.process.wait_for_line("TLS around the link: the certificate is for another host")
    assert not client.process.lines("no answer from")
    client.process.stop()
    own, rest = text.split("<outer-ca>")[0], text.split("</outer-ca>")[1]
    client.config.write_text(own + rest)
    client.process.start()
    client.process.wait_for_line("TLS around the link: .*certificate verify failed; outer-ca names")
    assert not client.process.lines("no answer from")
    assert not server.process.lines("connected, address")


HTTP_PROXY = """http-proxy 10.99.1.1 3128 auto
http-proxy-option AGENT interop
<http-proxy-user-pass>
joe
sesame
</http-proxy-user-pass>"""


def proxying(lab: Lab, *relay: str) -> Process:
    """The proxy, on the server's host; `relay` is where datagrams go if not to its own address."""
    command = [sys.executable, "-m", "tests.interop.proxy", "joe:sesame", *relay]
    proxy = Process("proxy", lab.server_host, command, lab.directory)
    lab.also(proxy)
    proxy.start()
    proxy.wait_for_line("proxying")
    return proxy


@pytest.mark.shows("http-proxy", "http-proxy-option", "http-proxy-user-pass", "socks-proxy")
@pytest.mark.parametrize("kind", [OURS, STOCK])
@pytest.mark.parametrize("option", [HTTP_PROXY, "socks-proxy 10.99.1.1 1080 {login}"], ids=["http", "socks"])
def test_a_client_behind_a_proxy(make_lab: MakeLab, kind: str, option: str) -> None:
    lab = make_lab(Tunnel("tcp"))
    lab.server(STOCK if kind == OURS else OURS, "local 127.0.0.1").start()
    login = lab.directory / "login"
    login.write_text("joe\nsesame\n")
    client = aim(lab.client(kind, "client", option.format(login=login)), f"remote localhost {PORT} tcp-client")
    proxy = proxying(lab)
    client.start()
    lab.exchange(client, 2_000_000)
    assert proxy.lines(f"to localhost:{PORT}")
    assert proxy.lines("interop") or "socks" in option


@pytest.mark.shows("socks-proxy")
@pytest.mark.parametrize("kind", [OURS, STOCK])
def test_a_client_over_udp_behind_a_socks_proxy(make_lab: MakeLab, kind: str) -> None:
    lab = make_lab(Tunnel("udp"))
    lab.server(STOCK if kind == OURS else OURS, "local 127.0.0.1").start()
    login = lab.directory / "login"
    login.write_text("joe\nsesame\n")
    option = f"socks-proxy 10.99.1.1 1080 {login}"
    client = aim(lab.client(kind, "client", option), f"remote localhost {PORT} udp4")
    proxy = proxying(lab)
    client.start()
    lab.exchange(client, 1_000_000)
    assert proxy.lines(f"datagram to 127.0.0.1:{PORT}")
    if kind == OURS:
        proxy.close()
        client.process.wait_for_line("the connection closed .*trying again")
    client.process.stop()


@pytest.mark.shows("socks-proxy", "redirect-gateway")
def test_a_relay_elsewhere_than_its_proxy_stays_outside_the_tunnel(make_lab: MakeLab) -> None:
    lab = make_lab(Tunnel("udp"))
    for address in ("203.0.113.7", "203.0.113.9"):
        lab.server_host.ip("addr", "add", address, "dev", "lo")
    lab.server(STOCK, "local 127.0.0.1").start()
    login = lab.directory / "login"
    login.write_text("joe\nsesame\n")
    client = lab.client(OURS, "client", f"socks-proxy 10.99.1.1 1080 {login}", "redirect-gateway def1")
    aim(client, f"remote localhost {PORT} udp4")
    client.namespace.ip("route", "add", "default", "via", "10.99.1.1")
    before = client.namespace.ip_json("route")
    proxying(lab, "203.0.113.7")
    client.start()
    assert client.namespace.ip_json("route", "get", "203.0.113.7")[0]["dev"] == "outside"
    assert client.namespace.ip_json("route", "get", "203.0.113.9")[0]["dev"] == DEVICE
    assert client.namespace.answers("203.0.113.9")
    assert len(client.process.lines("connected to")) == 1
    client.process.stop()
    assert client.namespace.ip_json("route") == before
