"""The configurations of both kinds: the same tunnel in OpenVPN's syntax for stock and in ours for us."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bench.plan import BARE, STOCK, TCP, TLS, UDP
from tests.interop.ini import write_material
from tests.interop.process import TWISTD
from tests.interop.tunnel import DEVICE, block, credentials

if TYPE_CHECKING:
    from tests.interop.material import Authority

PORT = 1194
OUTSIDE = "10.99.1.1"
"""Where the client finds the server."""
GATEWAY = "10.8.0.1"
"""The server's address inside."""
SERVER_NAME = "server.example"
MOST_CLIENTS = 4000
CIPHER = "AES-256-GCM"
_BARE = [sys.executable, str(Path(__file__).with_name("bare.py"))]


class Trust(NamedTuple):
    """What both ends of every tunnel share."""

    authority: Authority
    static_key: str


def server_command(kind: str, link: str, trust: Trust, directory: Path) -> list[str]:
    """Write a server's configuration into `directory`; the command line that runs it."""
    if kind == BARE:
        return [*_BARE, DEVICE, f"{GATEWAY}/24", str(PORT)]
    identity = trust.authority.issue(SERVER_NAME, "server")
    if kind == STOCK:
        lines = [
            f"proto {_stock_proto(link, 'server')}",
            f"port {PORT}",
            "topology subnet",
            "server 10.8.0.0 255.255.240.0",
            "keepalive 10 60",
            "duplicate-cn",
            f"max-clients {MOST_CLIENTS}",
            f"connect-freq-initial {MOST_CLIENTS} 1",
            "dh none",
            *_stock_common(trust.static_key),
            *credentials(trust.authority, identity),
        ]
        return _stock_command(directory / "server.conf", lines)
    folder = directory / "server"
    write_material(folder, trust.authority, identity, trust.static_key)
    ends = {
        UDP: f"udp4:{PORT}",
        TCP: f"tcp4:{PORT}",
        TLS: f"ssl:{PORT}:privateKey={folder}/key:certKey={folder}/cert",
    }
    lines = [
        "[server]",
        f"listen = {ends[link]}",
        "network = 10.8.0.0/20",
        "keepalive = 10 60",
        "duplicate-cn = yes",
        f"max-clients = {MOST_CLIENTS}",
        *_our_common(folder),
    ]
    return _our_command(directory / "server.ini", lines)


def client_command(kind: str, link: str, trust: Trust, directory: Path) -> list[str]:
    """The same for a client."""
    if kind == BARE:
        return [*_BARE, DEVICE, "10.8.0.2/24", str(PORT), OUTSIDE]
    identity = trust.authority.issue("client.example", "client")
    if kind == STOCK:
        lines = [
            "client",
            f"proto {_stock_proto(link, 'client')}",
            f"remote {OUTSIDE} {PORT}",
            "nobind",
            "remote-cert-tls server",
            *_stock_common(trust.static_key),
            *credentials(trust.authority, identity),
        ]
        return _stock_command(directory / "client.conf", lines)
    folder = directory / "client"
    write_material(folder, trust.authority, identity, trust.static_key)
    return _our_command(directory / "client.ini", our_client(folder, link))


def our_client(folder: Path, link: str) -> list[str]:
    """The configuration of a client of ours whose certificates are in `folder`."""
    roots = folder / "roots"
    roots.mkdir()
    shutil.copy(folder / "ca", roots / "ca.pem")
    ends = {
        UDP: f"udp4:{OUTSIDE}:{PORT}",
        TCP: f"tcp4:{OUTSIDE}:{PORT}",
        TLS: f"tls:{SERVER_NAME}:{PORT}:trustRoots={roots}:endpoint=tcp\\:{OUTSIDE}\\:{PORT}",
    }
    return ["[client]", f"remote = {ends[link]}", *_our_common(folder), "remote-cert-tls = server"]  # in [tls]


def _stock_proto(link: str, role: str) -> str:
    return "udp4" if link == UDP else f"tcp4-{role}"


def _stock_common(static_key: str) -> list[str]:
    return [
        f"dev {DEVICE}",
        "verb 3",
        f"data-ciphers {CIPHER}",
        "disable-dco",
        *block("tls-crypt", static_key),
    ]


def _our_common(folder: Path) -> list[str]:
    return [
        "[device]",
        f"dev = {DEVICE}",
        "[data]",
        f"data-ciphers = {CIPHER}",
        "[control]",
        f"tls-crypt = {folder}/static.key",
        "[tls]",
        *(f"{name} = {folder}/{name}" for name in ("ca", "cert", "key")),
    ]


def _stock_command(config: Path, lines: list[str]) -> list[str]:
    _write(config, lines)
    return [shutil.which("openvpn") or "/usr/sbin/openvpn", "--config", str(config)]


def _our_command(config: Path, lines: list[str]) -> list[str]:
    _write(config, lines)
    return [*TWISTD, "--nodaemon", "--pidfile=", "vpn", "--config", str(config)]


def _write(config: Path, lines: list[str]) -> None:
    config.write_text("\n".join(lines) + "\n")
