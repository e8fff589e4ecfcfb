"""Everyday options, each doing what it says with a stock peer at the other end."""

from __future__ import annotations

import socket
import stat
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
    pkcs12,
)

from tests.interop.peers import GATEWAY, GATEWAY6, OURS, PORT, STOCK
from tests.interop.releases import stock_is_since
from tests.interop.tunnel import DEVICE, Tunnel
from tests.interop.waiting import PATIENCE

if TYPE_CHECKING:
    from pathlib import Path

    from tests.interop.conftest import MakeLab
    from tests.interop.peers import Client, Lab

pytestmark = pytest.mark.interop

ROLES = [pytest.param(OURS, STOCK, id="our-server"), pytest.param(STOCK, OURS, id="our-client")]

TIMESTAMPS = 12
"""Bytes of a segment that TCP's options take."""
LONGER_EPOCH_HEADER = 4
"""Bytes that a packet under an epoch's key, which 2.7 wants, has more than one under another key."""

TLS = [
    "tls-cipher TLS-ECDHE-ECDSA-WITH-AES-256-GCM-SHA384",
    "tls-ciphersuites TLS_CHACHA20_POLY1305_SHA256",
    "tls-cert-profile preferred",
]


@pytest.mark.shows("tls-cipher", "tls-ciphersuites", "tls-groups", "tls-cert-profile", "tls-version-max")
@pytest.mark.parametrize("version", ["1.2", "1.3"])
@pytest.mark.parametrize(("server_kind", "client_kind"), ROLES)
def test_the_chosen_tls_is_what_runs(make_lab: MakeLab, server_kind: str, client_kind: str, version: str) -> None:
    lab = make_lab(Tunnel(tls=version))
    # In TLS 1.2 the groups are those of certificates too.
    chosen = [*TLS, "tls-groups secp384r1" if version == "1.3" else "tls-groups secp384r1:prime256v1"]
    ours = (chosen, []) if server_kind == OURS else ([], chosen)
    lab.server(server_kind, *ours[0]).start()
    lab.client(client_kind, "client", *ours[1]).start()
    suite = "TLS_CHACHA20_POLY1305_SHA256" if version == "1.3" else "ECDHE-ECDSA-AES256-GCM-SHA384"
    stock = next(peer for peer in lab.peers if peer.kind == STOCK)
    told = stock.process.wait_for_line(r"Control Channel: TLSv")
    assert suite in told
    if version == "1.3" and stock_is_since("2.6"):
        assert "secp384r1" in told


@pytest.mark.shows("ca", "cert", "key", "cd", "config", "remote-cert-eku", "verify-x509-name", "askpass", "extra-certs")
def test_material_in_files_of_a_folder_and_an_encrypted_key(lab: Lab, tmp_path: Path) -> None:
    lab.server(STOCK).start()
    client = lab.client(OURS)
    folder = _folder(lab, tmp_path)
    text = client.config.read_text()
    start = text.index("<ca>")
    (folder / "rest.conf").write_text("ca ca.pem\ncert cert.pem\nkey key.pem\naskpass word\nextra-certs ca.pem\n")
    checks = "remote-cert-eku serverAuth\nverify-x509-name server.example name\n"
    client.config.write_text(f"cd {folder}\n{text[:start]}\nconfig rest.conf\n{checks}")
    client.start()
    client.process.stop()
    client.config.write_text(client.config.read_text().replace("server.example name", "other.example name"))
    client.process.start()
    client.process.wait_for_line("the server's certificate is refused")


@pytest.mark.shows("pkcs12")
def test_a_pkcs12_file(lab: Lab, tmp_path: Path) -> None:
    lab.server(STOCK).start()
    client = lab.client(OURS)
    text = client.config.read_text()
    folder = _folder(lab, tmp_path)
    client.config.write_text(f"{text[: text.index('<ca>')]}\npkcs12 {folder}/all.p12\naskpass {folder}/word\n")
    client.start()


def _folder(lab: Lab, tmp_path: Path) -> Path:
    """A folder with a client's certificate in PEM, its key under a password, and both in PKCS 12."""
    folder = tmp_path / "material"
    folder.mkdir()
    identity = lab.authority.issue("client", "client")
    key = load_pem_private_key(identity.key.encode(), None)
    cert, ca = (x509.load_pem_x509_certificate(text.encode()) for text in (identity.cert, lab.authority.cert))
    password = BestAvailableEncryption(b"pass word")
    (folder / "ca.pem").write_text(lab.authority.cert)
    (folder / "cert.pem").write_text(identity.cert)
    (folder / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, password))
    (folder / "all.p12").write_bytes(pkcs12.serialize_key_and_certificates(b"client", key, cert, [ca], password))  # type: ignore[arg-type]  # an elliptic curve key is one
    (folder / "word").write_text("pass word\n")
    (folder / "word").chmod(stat.S_IRUSR)
    return folder


@pytest.mark.shows(
    "connection", "remote", "port", "rport", "proto", "proto-force", "server-poll-timeout", "connect-retry"
)
@pytest.mark.shows("remote-random", "nobind")
def test_the_remote_that_answers_is_found(lab: Lab) -> None:
    lab.server(STOCK).start()
    client = lab.client(OURS)
    remote = _remote(client)
    _replace_remote(
        client,
        *("remote-random", "rport 9", "server-poll-timeout 1", "proto-force udp"),
        *("<connection>", f"remote {remote} {PORT} tcp-client", "</connection>"),
        *("<connection>", f"remote {remote}", "</connection>"),
        *("<connection>", f"remote {remote} {PORT} udp", "</connection>"),
    )
    client.start()


@pytest.mark.shows("connect-retry-max", "server-poll-timeout")
def test_a_client_gives_up_after_the_rounds_it_was_given(lab: Lab) -> None:
    client = lab.client(OURS, "client", "connect-retry-max 2", "server-poll-timeout 1")
    client.process.start()
    assert client.process.wait() == 1
    assert "connect-retry-max reached" in client.process.log()


@pytest.mark.shows("local", "lport", "bind")
@pytest.mark.parametrize("proto", ["udp", "tcp"])
def test_a_client_leaves_from_the_address_and_port_it_was_given(make_lab: MakeLab, proto: str) -> None:
    lab = make_lab(Tunnel(proto))
    server = lab.server(STOCK)
    server.start()
    client = lab.client(OURS)
    own = next(entry for entry in sorted(client.namespace.addresses("outside")) if "." in entry)
    client.config.write_text(client.config.read_text().replace("nobind\n", f"bind\nlocal {own}\nlport 4321\n"))
    client.start()
    server.process.wait_for_line(rf"{own.replace('.', '[.]')}:4321")


@pytest.mark.shows("mode", "tls-server", "ifconfig", "ifconfig-pool", "ifconfig-ipv6", "ifconfig-ipv6-pool", "push")
@pytest.mark.shows(
    "route-gateway", "route", "route-ipv6", "route-metric", "topology", "ping", "ping-restart", "txqueuelen"
)
@pytest.mark.shows("dev", "dev-type", "client")
@pytest.mark.parametrize("kinds", [(OURS, STOCK), (STOCK, OURS)], ids=["our-server", "our-client"])
def test_a_server_spelt_out_without_its_macros(lab: Lab, kinds: tuple[str, str]) -> None:
    server = lab.server(
        kinds[0],
        *("mode server", "tls-server", "dev-type tun", "ifconfig 10.8.0.1 255.255.255.0"),
        *("ifconfig-pool 10.8.0.40 10.8.0.49 255.255.255.0", "ifconfig-ipv6 fd08:8::1/64 fd08:8::2"),
        *("ifconfig-ipv6-pool fd08:8::40/64", 'push "topology subnet"', 'push "route-gateway 10.8.0.1"'),
        *('push "route 172.31.7.0 255.255.255.0"', 'push "route-ipv6 fd31::/64"', 'push "route-metric 77"'),
        *("route 10.200.0.0 255.255.0.0 10.8.0.2", "txqueuelen 321", 'push "ping 1"', 'push "ping-restart 4"'),
        network=(),
    )
    server.addresses_wanted = 2
    server.start()
    client = lab.client(kinds[1])
    client.start()
    assert client.address in {f"10.8.0.{host}" for host in range(40, 50)}
    assert client.namespace.answers(GATEWAY6)
    metrics = {entry["dst"]: entry.get("metric") for entry in client.namespace.ip_json("route")}
    assert metrics["172.31.7.0/24"] == 77
    assert "fd31::/64" in {entry["dst"] for entry in client.namespace.ip_json("-6", "route")}
    assert "10.200.0.0/16" in {entry["dst"] for entry in lab.server_host.ip_json("route")}
    assert [link["txqlen"] for link in lab.server_host.ip_json("link") if link["ifname"] == DEVICE] == [321]


@pytest.mark.shows(
    "route", "route-ipv6", "route-metric", "route-gateway", "route-nopull", "ping-exit", "tls-client", "pull"
)
def test_a_client_with_routes_of_its_own_that_ends_when_the_server_is_silent(lab: Lab) -> None:
    server = lab.server(STOCK, 'push "route 172.31.7.0 255.255.255.0"')
    text = server.config.read_text().replace("keepalive 1 4", "ping 1")
    server.config.write_text(text)
    server.start()
    client = lab.client(
        OURS,
        "client",
        *(
            "tls-client",
            "pull",
            "route-nopull",
            "route-metric 5",
            "route 172.31.8.0 255.255.255.0",
            "route-ipv6 fd32::/64",
        ),
        *("route 172.31.9.0 255.255.255.0 net_gateway 9", "ping 1", "ping-exit 3"),
    )
    client.namespace.ip("route", "add", "default", "via", _remote(client))
    client.start()
    entries = {entry["dst"]: entry for entry in client.namespace.ip_json("route")}
    assert "172.31.7.0/24" not in entries
    assert (entries["172.31.8.0/24"]["dev"], entries["172.31.8.0/24"].get("metric")) == (DEVICE, 5)
    assert (entries["172.31.9.0/24"]["dev"], entries["172.31.9.0/24"].get("metric")) == ("outside", 9)
    server.process.close()
    assert client.process.wait() == 1
    client.process.wait_for_line("nothing heard for")


@pytest.mark.shows("redirect-gateway")
def test_all_traffic_through_the_tunnel_and_back_again(lab: Lab) -> None:
    lab.server_host.ip("addr", "add", "203.0.113.9", "dev", "lo")
    lab.server(STOCK).start()
    client = lab.client(OURS, "client", "redirect-gateway def1")
    client.namespace.ip("route", "add", "default", "via", _remote(client))
    before = client.namespace.ip_json("route")
    client.start()
    assert client.namespace.ip_json("route", "get", "203.0.113.9")[0]["dev"] == DEVICE
    assert client.namespace.answers("203.0.113.9")
    client.process.stop()
    assert client.namespace.ip_json("route") == before


@pytest.mark.shows("mssfix", "max-packet-size")
@pytest.mark.parametrize(("option", "largest"), [("mssfix 1100", 1036), ("max-packet-size 900", 808)])
@pytest.mark.parametrize(("server_kind", "client_kind"), ROLES)
def test_segments_are_as_small_as_asked(
    lab: Lab, server_kind: str, client_kind: str, option: str, largest: int
) -> None:
    lab.server(server_kind, *([option] if server_kind == OURS else [])).start()
    client = lab.client(client_kind, "client", *([option] if client_kind == OURS else []))
    client.start()
    with (
        lab.server_host.open_socket(socket.AF_INET, socket.SOCK_STREAM) as listener,
        client.namespace.open_socket(socket.AF_INET, socket.SOCK_STREAM) as caller,
    ):
        listener.bind((GATEWAY, 0))
        listener.listen()
        caller.settimeout(PATIENCE)
        caller.connect(listener.getsockname())
        segment = caller.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)
    largest -= LONGER_EPOCH_HEADER if stock_is_since("2.7") else 0
    assert largest - TIMESTAMPS <= segment <= largest


def _remote(client: Client) -> str:
    """The server's address outside, which the client's configuration names."""
    line = next(line for line in client.config.read_text().splitlines() if line.startswith("remote "))
    return line.split()[1]


def _replace_remote(client: Client, *lines: str) -> None:
    """Put `lines` in the place of the one remote."""
    text = client.config.read_text()
    client.config.write_text(text.replace(f"remote {_remote(client)} {PORT}", "\n".join(lines)))
