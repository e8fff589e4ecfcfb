"""Peers that must not be let in, and what is said about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.interop.material import static_key
from tests.interop.peers import OURS, STOCK
from tests.interop.releases import stock_is_since
from tests.interop.waiting import stays, wait_until

if TYPE_CHECKING:
    from tests.interop.peers import Lab

pytestmark = pytest.mark.interop

ROLES = [pytest.param(OURS, STOCK, id="our-server"), pytest.param(STOCK, OURS, id="our-client")]
BOTH_OURS = [*ROLES, pytest.param(OURS, OURS, id="both-ours")]
EXPIRED = r"(?i)certificate[ _](has[ _])?expired"


@pytest.mark.shows("crl-verify")
@pytest.mark.parametrize(("server_kind", "client_kind"), BOTH_OURS)
def test_a_certificate_revoked_under_a_running_server(lab: Lab, server_kind: str, client_kind: str) -> None:
    crl = lab.directory / "crl.pem"
    lab.authority.write_crl(crl)
    server = lab.server(server_kind, f"crl-verify {crl}")
    server.start()
    identity, other = lab.authority.issue("leaver", "client"), lab.authority.issue("stayer", "client")
    client = lab.client(client_kind, "leaver", identity=identity)
    client.start()
    client.process.stop()
    lab.authority.write_crl(crl, identity)
    client.process.start()
    server.process.wait_for_line("(?i)revoked")
    stays(lambda: client.addresses() == [], "a revoked client got an address", 1.0)
    lab.client(client_kind, "stayer", identity=other).start()


def test_a_wrong_tls_crypt_key_is_ignored_in_silence(lab: Lab) -> None:
    server = lab.server(OURS)
    server.start()
    stranger = lab.client(STOCK, "stranger", static_key=static_key())
    heard, said = server.process.udp_datagrams()
    stranger.process.start()
    wait_until(lambda: server.process.udp_datagrams()[0] >= heard + 3, "three datagrams from the stranger")
    assert server.process.udp_datagrams()[1] == said
    assert "Traceback" not in server.process.log()
    lab.client(STOCK, "friend").start()


def test_our_client_keeps_trying_under_a_wrong_tls_crypt_key(lab: Lab) -> None:
    server = lab.server(STOCK)
    server.start()
    client = lab.client(OURS, static_key=static_key())
    client.process.start()
    server.process.wait_for_line("tls-crypt unwrap error", count=3)
    assert client.alive()
    assert client.addresses() == []


@pytest.mark.parametrize(("server_kind", "client_kind"), BOTH_OURS)
def test_an_expired_client_certificate_is_named_on_both_sides(lab: Lab, server_kind: str, client_kind: str) -> None:
    server = lab.server(server_kind)
    server.start()
    client = lab.client(client_kind, identity=lab.authority.issue("stale", "client", days=-2))
    client.process.start()
    server.process.wait_for_line(EXPIRED)
    client.process.wait_for_line(EXPIRED)
    assert client.addresses() == []


@pytest.mark.parametrize(("server_kind", "client_kind"), BOTH_OURS)
def test_an_expired_server_certificate_is_named_on_both_sides(lab: Lab, server_kind: str, client_kind: str) -> None:
    server = lab.server(server_kind, identity=lab.authority.issue("stale.example", "server", days=-2))
    server.start()
    client = lab.client(client_kind)
    client.process.start()
    client.process.wait_for_line(EXPIRED)
    server.process.wait_for_line(EXPIRED)
    assert client.addresses() == []


@pytest.mark.shows("remote-cert-tls")
@pytest.mark.parametrize("client_kind", [STOCK, OURS], ids=["stock-client", "our-client"])
def test_a_client_certificate_is_no_server_certificate(lab: Lab, client_kind: str) -> None:
    lab.server(OURS, identity=lab.authority.issue("impostor", "client")).start()
    client = lab.client(client_kind)
    client.process.start()
    client.process.wait_for_line("VERIFY EKU ERROR|certificate verify failed|not made for this purpose")
    assert client.addresses() == []


@pytest.mark.parametrize(("server_kind", "client_kind"), ROLES)
def test_no_common_cipher_is_told(lab: Lab, server_kind: str, client_kind: str) -> None:
    server = lab.server(server_kind, "data-ciphers AES-128-GCM")
    server.start()
    client = lab.client(client_kind, "client", "data-ciphers AES-192-GCM")
    client.process.start()
    if server_kind == OURS or stock_is_since("2.5"):
        client.process.wait_for_line("(?i)cipher negotiation failed")
        server.process.wait_for_line("(?i)no (common|shared) cipher")
    else:
        client.process.wait_for_line("the server's cipher is AES-128-GCM; add it to data-ciphers")
    assert client.addresses() == []
