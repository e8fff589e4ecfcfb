"""tls-crypt-v2, alone and beside shared keys, and dynamic tls-crypt, with stock peers in both roles."""

from __future__ import annotations

import base64
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.interop.netns import run
from tests.interop.peers import GATEWAY, OURS, STOCK
from tests.interop.releases import STOCK_BINARY, stock_is_since, stock_since
from tests.interop.tunnel import Tunnel, block

if TYPE_CHECKING:
    from pathlib import Path

    from tests.interop.conftest import MakeLab
    from tests.interop.peers import Client, Lab, Server

pytestmark = [pytest.mark.interop, pytest.mark.shows("tls-crypt-v2")]

ROLES = [pytest.param(OURS, STOCK, id="our-server"), pytest.param(STOCK, OURS, id="our-client")]
MEGABYTE = 1_000_000
DYNAMIC = "dyn-tls-crypt"
STOCK_IS_NEW = stock_is_since("2.6")
"""From 2.6 on stock knows dynamic tls-crypt, and shows its own key as often as it is asked to."""

with_own_keys = stock_since("2.5", "tls-crypt-v2, and a command that makes its keys,")
only_ours = pytest.mark.skipif(OURS == STOCK, reason="about our log")


class Keys:
    """A tls-crypt-v2 server key and clients' keys, all made by stock openvpn."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "tls-crypt-v2.key"
        self._generate("--genkey", "tls-crypt-v2-server", str(self._path))

    def _generate(self, *arguments: str) -> None:
        subprocess.run([STOCK_BINARY, *arguments], check=True, capture_output=True, timeout=30)

    @property
    def server(self) -> list[str]:
        """The server's option."""
        return [f"tls-crypt-v2 {self._path}"]

    def client(self, metadata: str = "") -> list[str]:
        """A client's option with a new key; without `metadata` it tells the time."""
        path = self._path.with_name("client.key")
        words = [base64.b64encode(metadata.encode()).decode()] if metadata else []
        self._generate("--tls-crypt-v2", str(self._path), "--genkey", "tls-crypt-v2-client", str(path), *words)
        return block("tls-crypt-v2", path.read_text())


def renegotiate_thrice(lab: Lab, server: Server, client: Client) -> None:
    """See that traffic flows, that no ping is lost while keys change, and that stock knows of the dynamic key."""
    server.start()
    client.start()
    lab.exchange(client, MEGABYTE)
    stock = server if server.kind == STOCK else client
    ping = client.namespace.command("ping", "-n", "-c", "20", "-i", "0.2", "-W", "2", GATEWAY)
    if STOCK_IS_NEW:
        stock.process.wait_for_line(DYNAMIC)
    assert " 0% packet loss" in run(*ping)
    stock.process.wait_for_line("Control Channel: TLSv1", count=3)


@with_own_keys
@pytest.mark.parametrize("proto", ["udp", "tcp"])
@pytest.mark.parametrize(("server_kind", "client_kind"), ROLES)
def test_a_client_with_a_key_of_its_own(
    make_lab: MakeLab, tmp_path: Path, proto: str, server_kind: str, client_kind: str
) -> None:
    lab, keys = make_lab(Tunnel(proto, wrapping="plain")), Keys(tmp_path)
    server = lab.server(server_kind, *keys.server, "reneg-sec 2")
    client = lab.client(client_kind, "client", *keys.client(), "reneg-sec 0")
    renegotiate_thrice(lab, server, client)


@pytest.mark.shows("tls-auth", "key-direction")
@pytest.mark.parametrize("wrapping", ["plain", "tls-auth"])
@pytest.mark.parametrize(("server_kind", "client_kind"), ROLES)
def test_renegotiations_are_encrypted_whatever_came_before(
    make_lab: MakeLab, wrapping: str, server_kind: str, client_kind: str
) -> None:
    lab = make_lab(Tunnel(wrapping=wrapping))
    renegotiate_thrice(lab, lab.server(server_kind, "reneg-sec 2"), lab.client(client_kind, "client", "reneg-sec 0"))


@with_own_keys
@pytest.mark.shows("tls-crypt", "tls-auth")
@pytest.mark.parametrize("shared", ["tls-crypt", "tls-auth"])
def test_clients_with_and_without_one_on_one_server(make_lab: MakeLab, tmp_path: Path, shared: str) -> None:
    lab, keys = make_lab(Tunnel(wrapping=shared)), Keys(tmp_path)
    lab.server(OURS, *keys.server).start()
    clients = [lab.client(kind, f"shared-{kind}") for kind in (STOCK, OURS)]
    lab.tunnel = Tunnel(wrapping="plain")
    own = [*keys.client(), *(["auth SHA256"] if shared == "tls-auth" else [])]
    clients += [lab.client(kind, f"own-{kind}", *own) for kind in (STOCK, OURS)]
    for client in clients:
        client.start()


@only_ours
@with_own_keys
@pytest.mark.shows("tls-crypt-v2-max-age")
def test_a_key_without_a_time_is_refused_where_ages_count(make_lab: MakeLab, tmp_path: Path) -> None:
    lab, keys = make_lab(Tunnel(wrapping="plain")), Keys(tmp_path)
    cookies = "force-cookie" if STOCK_IS_NEW else "allow-noncookie"
    server = lab.server(OURS, f"{keys.server[0]} {cookies}", "tls-crypt-v2-max-age 1")
    server.start()
    lab.client(STOCK, "old", *keys.client("serial 4711")).process.start()
    server.process.wait_for_line("refused: its tls-crypt-v2 key does not tell when it was made")
    lab.client(STOCK, "new", *keys.client()).start()
    assert "Traceback" not in server.process.log()
