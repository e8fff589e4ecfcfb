"""A server and clients, each either Debian's openvpn or ours, on hosts of their own."""

from __future__ import annotations

import os
from ipaddress import ip_address
from typing import TYPE_CHECKING

from tests.interop.ini import client_ini, server_ini, write_material
from tests.interop.netns import Namespace, join
from tests.interop.process import TWISTD, Process
from tests.interop.releases import STOCK_BINARY, for_stock
from tests.interop.transfer import transfer
from tests.interop.tunnel import DEVICE, Tunnel, credentials
from tests.interop.waiting import PATIENCE, wait_until

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.interop.material import Authority, Identity

STOCK = "stock"
OURS = os.environ.get("INTEROP_OURS", "ours")
"""INTEROP_OURS=stock puts Debian's openvpn in our place in every case: a test of the tests."""

PORT = 1194
NETWORK = "server 10.8.0.0 255.255.255.0"
NETWORK6 = "server-ipv6 fd08:8::/64"
GATEWAY = "10.8.0.1"
GATEWAY6 = "fd08:8::1"


class Peer:
    """What a server and a client have in common: a namespace, a configuration file and a process."""

    def __init__(self, kind: str, label: str, namespace: Namespace, options: Sequence[str], directory: Path) -> None:
        self.kind = kind
        self.label = label
        self.namespace = namespace
        self.device = DEVICE
        self.config = directory / f"{label}.conf"
        self.config.write_text("\n".join(for_stock(options) if kind == STOCK else options) + "\n")
        self.process = Process(f"{label}-{kind}", namespace, self.command(), directory)

    def command(self) -> list[str]:
        """The command line that runs the peer in the foreground."""
        if self.kind == STOCK:
            return [STOCK_BINARY, "--config", str(self.config)]
        return [*TWISTD, "--nodaemon", "--pidfile=", "vpn", "--config", str(self.config)]

    def addresses(self) -> list[str]:
        """The peer's addresses in the tunnel, IPv4 first; empty while it has no device."""
        return sorted(self.namespace.addresses(self.device), key=lambda text: ip_address(text).version)

    def alive(self) -> bool:
        """Always true: AssertionError with the end of the log when the process has ended."""
        if not self.process.running():
            raise AssertionError(f"{self.process.label} has ended:\n{self.process.log()[-2000:]}")
        return True


class Server(Peer):
    """A server on the host that all clients reach."""

    proto = "udp"
    """Of the port that tells that it is ready."""
    addresses_wanted = 2
    """In the tunnel, once it is ready."""

    def start(self) -> None:
        """Start it and wait until it has its device and listens."""
        self.process.start()
        self.wait_ready()

    def wait_ready(self) -> None:
        """Wait until the server has its addresses and its port is open."""
        wait_until(
            lambda: self.alive() and PORT in self.process.ports(self.proto), f"{self.label}: port {PORT}/{self.proto}"
        )
        wait_until(
            lambda: self.alive() and len(self.addresses()) == self.addresses_wanted,
            f"{self.label}: its addresses on {self.device}",
        )


class Client(Peer):
    """A client on a host that reaches only the server's host."""

    def start(self) -> None:
        """Start it and wait until packets flow."""
        self.process.start()
        self.wait_connected()

    def wait_connected(self, timeout: float = PATIENCE) -> None:
        """Wait until the client has its addresses and the gateway answers a ping through the tunnel."""
        wait_until(
            lambda: self.alive() and self.addresses() and self.namespace.answers(GATEWAY, timeout=0.3),
            f"{self.label}: connected",
            timeout,
        )

    @property
    def address(self) -> str:
        """Its IPv4 address in the tunnel."""
        return self.addresses()[0]

    @property
    def address6(self) -> str:
        """Its IPv6 address in the tunnel."""
        return self.addresses()[-1]


class Lab:
    """One server and its clients, with everything removed again at the end."""

    def __init__(self, authority: Authority, static_key: str, directory: Path, tunnel: Tunnel | None = None) -> None:
        self.authority = authority
        self.static_key = static_key
        self.directory = directory
        self.tunnel = tunnel or Tunnel()
        self.server_host = Namespace("server")
        self._namespaces = [self.server_host]
        self.peers: list[Peer] = []
        self._others: list[Process] = []

    def also(self, process: Process) -> None:
        """End this process too when the lab is taken down."""
        self._others.append(process)

    def server(
        self, kind: str, *extra: str, identity: Identity | None = None, network: Sequence[str] = (NETWORK, NETWORK6)
    ) -> Server:
        """A server that is not started yet; `extra` are more options, `identity` its certificate."""
        identity = identity or self.authority.issue("server.example", "server")
        options = [*self.server_options(kind), *network, *extra, *credentials(self.authority, identity)]
        server = Server(kind, "server", self.server_host, options, self.directory)
        server.device = self.tunnel.dev
        server.proto = self.tunnel.proto
        server.addresses_wanted = sum(option.startswith("server") for option in network)
        self.peers.append(server)
        return server

    def ini_server(self, *listen: str) -> Server:
        """A server of ours, its configuration in our own syntax; `listen` is one end of the tunnel by default."""
        folder = self.directory / "server"
        ends = listen or (f"{self.tunnel.proto}{self.tunnel.family}:{PORT}",)
        identity = self.authority.issue("server.example", "server")
        write_material(folder, self.authority, identity, self.static_key)
        server = Server(OURS, "server", self.server_host, server_ini(folder, self.tunnel, ends), self.directory)
        server.proto = self.tunnel.proto
        self.peers.append(server)
        return server

    def ini_client(self, name: str = "client") -> Client:
        """A client of ours on a new host, its configuration in our own syntax."""
        namespace, remote = self.host(name)
        end = f"{self.tunnel.proto}:[{remote}]:{PORT}" if ":" in remote else f"{self.tunnel.proto}:{remote}:{PORT}"
        identity = self.authority.issue(name, "client")
        folder = self.directory / name
        write_material(folder, self.authority, identity, self.static_key)
        client = Client(OURS, name, namespace, client_ini(folder, self.tunnel, [end]), self.directory)
        self.peers.append(client)
        return client

    def server_options(self, kind: str) -> list[str]:
        """A server's options without its network and certificate."""
        stream = "-server" if self.tunnel.proto == "tcp" else ""
        lines = [
            f"proto {self.tunnel.proto}{self.tunnel.family}{stream}",
            f"port {PORT}",
            "topology subnet",
            "keepalive 1 4",
            *self.tunnel.options(),
            *self.tunnel.wrapping_options(self.static_key, 0),
        ]
        return [*lines, "dh none", "setenv opt disable-dco"] if kind == STOCK else lines

    def host(self, label: str) -> tuple[Namespace, str]:
        """A new host joined to the server's, and the server's outside address from there."""
        number = len(self._namespaces)
        namespace = Namespace(label)
        self._namespaces.append(namespace)
        subnets = [
            (f"10.99.{number}.1/24", f"10.99.{number}.2/24"),
            (f"fd99:{number}::1/64", f"fd99:{number}::2/64"),
        ]
        join((self.server_host, f"outside{number}"), (namespace, "outside"), subnets)
        address, _, _ = subnets[self.tunnel.family == 6][0].partition("/")
        return namespace, address

    def client(
        self, kind: str, name: str = "client", *extra: str, identity: Identity | None = None, static_key: str = ""
    ) -> Client:
        """A client on a new host, not started yet; `name` is its common name unless `identity` is given."""
        namespace, remote = self.host(name)
        identity = identity or self.authority.issue(name, "client")
        tunnel = self.tunnel
        stream = "-client" if tunnel.proto == "tcp" else ""
        options = [
            "client",
            f"proto {tunnel.proto}{tunnel.family}{stream}",
            f"remote {remote} {PORT}",
            "nobind",
            "remote-cert-tls server",
            "connect-retry 1 1",
            "connect-timeout 5",
            *tunnel.options(),
            *(["setenv opt disable-dco"] if kind == STOCK else []),
            *tunnel.wrapping_options(static_key or self.static_key, 1),
            *extra,
            *credentials(self.authority, identity),
        ]
        client = Client(kind, name, namespace, options, self.directory)
        client.device = tunnel.dev
        self.peers.append(client)
        return client

    def exchange(self, client: Client, size: int, address: str = GATEWAY, own_address: str = "") -> None:
        """Move `size` bytes from the client to the server's `address` and as many back."""
        transfer(client.namespace, self.server_host, address, size)
        transfer(self.server_host, client.namespace, own_address or client.address, size)

    def logs(self) -> list[tuple[str, str]]:
        """(label, log) of every peer."""
        return [(process.label, process.log()) for process in self._processes()]

    def _processes(self) -> list[Process]:
        return [*(peer.process for peer in self.peers), *self._others]

    def close(self) -> None:
        """End every process and remove every namespace, whatever fails."""
        for process in self._processes():
            process.close()
        for namespace in self._namespaces:
            namespace.close()
