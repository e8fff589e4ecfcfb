"""OpenVPN 3 as a client of our server: its core is what OpenVPN Connect has on every system."""

from __future__ import annotations

import shutil
import signal
from typing import TYPE_CHECKING

import pytest

from tests.interop.netns import run
from tests.interop.openvpn3 import BINARY, openvpn3
from tests.interop.peers import GATEWAY, GATEWAY6, OURS, STOCK
from tests.interop.releases import stock_since
from tests.interop.test_authentication import asking_server
from tests.interop.test_control_keys import Keys
from tests.interop.test_framing import show_traffic
from tests.interop.test_push import routes
from tests.interop.test_renegotiation import both_ways
from tests.interop.test_roaming import translate
from tests.interop.tunnel import Tunnel
from tests.interop.waiting import wait_until
from twistvpn.crypto.authtoken import TokenSecret

if TYPE_CHECKING:
    from pathlib import Path

    from tests.interop.conftest import MakeLab
    from tests.interop.peers import Client, Lab, Server

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(not BINARY, reason="INTEROP_OVPN3 names no ovpncli of OpenVPN 3"),
    pytest.mark.skipif(OURS == STOCK, reason="authenticators in Python"),
]

LOGIN = "auth-user-pass"
PROMPT = 'push "become-primary 1"'
"""It sends under a new key after a second, and not after `hand-window`, which it has at ten seconds at least."""

MEGABYTE = 1_000_000
TUNNELS = [
    Tunnel("udp", 4, "tls-crypt", "AES-256-GCM", "1.3"),
    Tunnel("udp", 6, "tls-auth", "CHACHA20-POLY1305", "1.2"),
    Tunnel("tcp", 4, "tls-crypt", "AES-192-GCM", "1.2"),
    Tunnel("tcp", 6, "tls-auth", "AES-128-GCM", "1.3"),
    Tunnel("udp", 4, "plain", "AES-256-CBC", "1.3"),
    Tunnel("tcp", 4, "plain", "AES-128-CBC", "1.3"),
]


def connect(lab: Lab, *extra: str, server: tuple[str, ...] = (), words: tuple[str, ...] = ()) -> tuple[Server, Client]:
    """A server of ours and its client, connected."""
    ours, client = lab.server(OURS, *server), openvpn3(lab, *extra, words=words)
    ours.start()
    client.start()
    return ours, client


def pushing(lab: Lab, *options: str) -> Client:
    """A client, connected, to which these options are pushed."""
    _, client = connect(lab, server=tuple(f'push "{option}"' for option in options))
    return client


def user(name: str, password: str = "secret") -> tuple[str, ...]:
    """The words of its command line that log in."""
    return ("--username", name, "--password", password)


@pytest.mark.parametrize("tunnel", TUNNELS, ids=str)
def test_tunnel(make_lab: MakeLab, tunnel: Tunnel) -> None:
    lab = make_lab(tunnel)
    server, client = connect(lab, words=("--non-preferred-algorithms",))
    assert client.namespace.answers(GATEWAY6)
    lab.exchange(client, 5 * MEGABYTE)
    lab.exchange(client, MEGABYTE, GATEWAY6, client.address6)
    assert server.process.lines(f"data {tunnel.cipher}")


@stock_since("2.5", "what makes keys for tls-crypt-v2")
@pytest.mark.parametrize("proto", ["udp", "tcp"])
def test_a_key_of_its_own(make_lab: MakeLab, tmp_path: Path, proto: str) -> None:
    lab, keys = make_lab(Tunnel(proto, wrapping="plain")), Keys(tmp_path)
    server, client = connect(lab, *keys.client(), server=(*keys.server, PROMPT, "reneg-sec 3 3"))
    server.process.wait_for_line("renegotiated, key .* in dynamic tls-crypt", count=2)
    lab.exchange(client, MEGABYTE)


@pytest.mark.parametrize(("counts", "proto"), [("server", "udp"), ("server", "tcp"), ("client", "udp")])
def test_not_a_datagram_is_lost_while_key_ids_go_round(make_lab: MakeLab, counts: str, proto: str) -> None:
    lab = make_lab(Tunnel(proto))
    at_server, at_client = (("reneg-sec 2 2",), ()) if counts == "server" else ((), ("reneg-sec 10",))
    server, client = connect(lab, *at_client, server=(PROMPT, *at_server))
    flows = both_ways(lab, client)
    server.process.wait_for_line("renegotiated, key", count=9 if counts == "server" else 2)
    assert [flow.stop() for flow in flows] == [[], []]
    assert len(client.process.lines("EVENT: CONNECTED")) == 1


def test_keys_wear_out_under_load(lab: Lab) -> None:
    server, client = connect(lab, server=(PROMPT, "hand-window 2", "reneg-bytes 20000000"))

    def worn_out() -> bool:
        lab.exchange(client, 8 * MEGABYTE)
        return len(server.process.lines("renegotiated, key")) > 1

    wait_until(worn_out, "two renegotiations")


def test_routes_that_are_pushed_in_several_parts(lab: Lab) -> None:
    wanted = {f"172.20.{number}.0/24" for number in range(70)}
    v4 = [f"route 172.20.{number}.0 255.255.255.0" for number in range(70)]
    client = pushing(lab, *v4, "route-ipv6 fd77::/64", "something-of-the-future 1 2 3")
    wait_until(lambda: wanted <= routes(client.namespace.ip_json("route")), "all the pushed routes")
    wait_until(lambda: "fd77::/64" in routes(client.namespace.ip_json("-6", "route")), "the IPv6 route")


@pytest.mark.parametrize(
    "options",
    [
        ("dhcp-option DNS 10.8.0.1", "dhcp-option DOMAIN vpn.example"),
        ("dns server 1 address 10.8.0.1", "dns search-domains vpn.example"),
    ],
    ids=["dhcp-option", "dns"],
)
def test_names_are_resolved_as_is_pushed(lab: Lab, options: tuple[str, ...]) -> None:
    client = pushing(lab, *options, "block-ipv6")
    captured = client.process.log().partition("CAPTURED OPTIONS")[2]
    assert "DNS Servers:\n  10.8.0.1\n" in captured
    assert "vpn.example" in captured
    assert "Block IPv6: yes" in captured


def test_its_name_and_password(lab: Lab) -> None:
    passwords = lab.directory / "passwords"
    passwords.write_text("alice:secret\n")
    server = lab.ini_server()
    server.config.write_text(server.config.read_text().replace("[device]", f"auth = file:{passwords}\n[device]"))
    server.start()
    openvpn3(lab, LOGIN, name="right", words=user("alice")).start()
    wrong = openvpn3(lab, LOGIN, name="wrong", words=user("alice", "wrong"))
    wrong.process.start()
    wrong.process.wait_for_line("EVENT: AUTH_FAILED wrong username or password")
    wrong.process.wait()


@pytest.mark.parametrize("name", ["static", "dynamic", "asked"])
def test_its_user_is_asked(lab: Lab, name: str) -> None:
    asking_server(lab)
    extra = ['static-challenge "Your code" 1'] if name == "static" else []
    words = {"static": ("--response", "42"), "dynamic": (), "asked": ("--sso-methods", "crtext")}[name]
    client = openvpn3(lab, LOGIN, *extra, words=(*user(name), *words), answer="42")
    client.start()
    assert name == "static" or "Your code" in client.process.log()


def test_it_waits_for_a_decision(lab: Lab) -> None:
    asking_server(lab)
    client = openvpn3(lab, LOGIN, words=(*user("slow"), "--sso-methods", "openurl,crtext"))
    client.start()
    client.process.wait_for_line("EVENT: AUTH_PENDING timeout 30")
    client.process.wait_for_line("EVENT: INFO OPEN_URL:https://sso.example/.session=1")


def test_it_comes_back_after_the_time_it_is_told(lab: Lab) -> None:
    asking_server(lab)
    client = openvpn3(lab, LOGIN, words=user("busy"))
    client.start()
    client.process.wait_for_line("AUTH_FAILED_TEMP:lunch break")


@pytest.mark.shows("auth-gen-token", "auth-gen-token-secret", "explicit-exit-notify")
def test_it_shows_our_token(lab: Lab) -> None:
    secret = lab.directory / "tokens.key"
    secret.write_text(TokenSecret.generate().to_text())
    tokens = ["auth-gen-token 0 60", f"auth-gen-token-secret {secret}"]
    server = asking_server(lab, *tokens, PROMPT, "reneg-sec 3 3", "explicit-exit-notify 1")
    client = openvpn3(lab, LOGIN, words=user("alice"))
    client.start()
    server.process.wait_for_line("renegotiated, key", count=2)
    server.process.stop()
    client.process.wait_for_line("EVENT: CLIENT_RESTART")
    server.start()
    client.wait_connected()
    assert len(server.process.lines("asked about alice")) == 1


def test_it_is_sent_away_and_sent_away_for_good(lab: Lab) -> None:
    asking_server(lab)
    client = openvpn3(lab, LOGIN, words=user("sent"))
    client.process.start()
    client.process.wait()
    for words in ("CLIENT_RESTART moving house", "CLIENT_HALT your contract has ended"):
        assert client.process.lines(f"EVENT: {words}")


def test_it_is_not_told_to_move(lab: Lab) -> None:
    server = asking_server(lab)
    client = openvpn3(lab, LOGIN, words=user("moved"))
    client.start()
    server.process.wait_for_line("told to move: False")
    assert client.namespace.answers(GATEWAY)


@pytest.mark.parametrize(
    ("line", "where"),
    [
        *(("comp-lzo no", where) for where in ("profile", "both", "pushed")),
        *(("comp-lzo", "profile"), ("compress", "profile"), ("compress", "pushed")),
        *(("compress lz4-v2", "both"), ("compress stub-v2", "pushed")),
    ],
)
def test_compressions_framing(lab: Lab, line: str, where: str) -> None:
    at_server = {"profile": (), "both": (line,), "pushed": (line, f'push "{line}"')}[where]
    _, client = connect(lab, *([] if where == "pushed" else [line]), server=at_server, words=("--compress", "asym"))
    show_traffic(lab, client)


def test_both_say_goodbye(lab: Lab) -> None:
    server, client = connect(lab, server=("explicit-exit-notify 1",))
    server.process.stop()
    client.process.wait_for_line("EVENT: CLIENT_RESTART")
    server.start()
    client.wait_connected()
    client.process.stop()
    server.process.wait_for_line(": left: the client has said goodbye")


@pytest.mark.skipif(shutil.which("nft") is None, reason="a NAT needs nft")
def test_its_nat_gives_it_another_port(lab: Lab) -> None:
    server, client = lab.server(OURS, "keepalive 2 20"), openvpn3(lab)
    server.start()
    translate(client)
    client.start()
    run(*client.namespace.command("nft", "delete table ip nat"))
    wait_until(lambda: client.namespace.answers(GATEWAY), "the gateway answers at the new port")
    lab.exchange(client, MEGABYTE)
    assert len(server.process.lines(": connected, ")) == 1


@pytest.mark.parametrize("proto", ["udp", "tcp"])
def test_it_comes_back_to_a_server_that_does(make_lab: MakeLab, proto: str) -> None:
    lab = make_lab(Tunnel(proto))
    server, client = connect(lab)
    server.process.stop(signal.SIGKILL)
    server.start()
    client.wait_connected()
    lab.exchange(client, MEGABYTE)


def test_it_hears_why_it_is_refused(lab: Lab) -> None:
    lab.server(OURS, "data-ciphers AES-128-CBC").start()
    client = openvpn3(lab)
    client.process.start()
    client.process.wait_for_line("EVENT: AUTH_FAILED Data channel cipher negotiation failed .no shared cipher.")
