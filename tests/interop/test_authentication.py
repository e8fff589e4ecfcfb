"""Names, passwords, questions and tokens between our and stock peers."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.interop.management import Management
from tests.interop.peers import GATEWAY, OURS, STOCK
from tests.interop.process import TWISTD
from tests.interop.releases import stock_is_since, stock_since
from tests.interop.waiting import wait_until
from twistvpn.crypto.authtoken import TokenSecret

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.interop.peers import Lab, Peer, Server

pytestmark = [pytest.mark.interop, pytest.mark.skipif(OURS == STOCK, reason="authenticators in Python")]

ASKING = Path(__file__).with_name("asking.py")
VERIFY = """#!/bin/sh
read -r name < "$1"
password=$(sed -n 2p "$1")
echo "$name $password $session_state" >> "$(dirname "$0")/asked"
test "$password" = "${PASSWORD:-secret}"
"""


def application(peer: Peer) -> None:
    """Let a peer of ours be the application of asking.py."""
    start = [*TWISTD, "--nodaemon", "--pidfile=", "--python", str(ASKING)]
    peer.process.command[:] = ["env", f"ASKING_CONFIG={peer.config}", *start]


def asking_server(lab: Lab, *extra: str) -> Server:
    """A server of ours that asks in Python."""
    server = lab.server(OURS, *extra)
    application(server)
    server.start()
    return server


def login(lab: Lab, name: str, password: str = "secret") -> list[str]:
    """The options of a client that shows a name and a password, from a file, as every release can."""
    path = lab.directory / f"login-{name}"
    path.write_text(f"{name}\n{password}\n")
    return [f"auth-user-pass {path}"]


def verifying_server(lab: Lab, *extra: str, password: str = "secret") -> Server:
    """A stock server with a script that looks at passwords."""
    script = lab.directory / "verify"
    script.write_text(VERIFY.replace("${PASSWORD:-secret}", password))
    script.chmod(0o755)
    server = lab.server(STOCK, "script-security 3", f"auth-user-pass-verify {script} via-file", *extra)
    server.start()
    return server


def asked(lab: Lab) -> list[str]:
    """What the script of a stock server was asked."""
    path = lab.directory / "asked"
    return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def management(lab: Lab) -> Iterator[Management]:
    made = Management(lab.directory / "management")
    yield made
    made.close()


# Stock clients, our server


@pytest.mark.shows("auth-user-pass-optional")
@pytest.mark.parametrize(("password", "words"), [("secret", None), ("wrong", "AUTH_FAILED,wrong username or password")])
def test_our_server_checks_a_stock_clients_password(lab: Lab, password: str, words: str | None) -> None:
    passwords = lab.directory / "passwords"
    passwords.write_text("alice:secret\n")
    server = lab.ini_server()
    text = server.config.read_text()
    server.config.write_text(
        text.replace("[device]", f"auth = file:{passwords}\nauth-user-pass-optional = yes\n[device]")
    )
    server.start()
    client = lab.client(STOCK, "laptop", *login(lab, "alice", password))
    client.process.start()
    if words is None:
        client.wait_connected()
        lab.client(STOCK, "printer").start()
    else:
        client.process.wait_for_line(words)
        client.process.wait_for_line("process exiting")


@pytest.mark.shows("verify-client-cert", "username-as-common-name")
def test_a_stock_client_with_a_password_and_no_certificate(lab: Lab) -> None:
    passwords = lab.directory / "passwords"
    passwords.write_text("alice:secret\n")
    server = lab.ini_server()
    text = server.config.read_text().rstrip("\n")
    asked = f"auth = file:{passwords}\nusername-as-common-name = yes\n[device]"
    server.config.write_text(text.replace("[device]", asked) + "\nverify-client-cert = none\n")
    server.start()
    client = lab.client(STOCK, "laptop", *login(lab, "alice"))
    own = client.config.read_text()
    client.config.write_text(own[: own.index("<cert>")])
    client.start()
    server.process.wait_for_line("alice/udp.*connected.*no certificate, user 'alice'")


def test_a_stock_client_comes_back_after_the_time_it_is_told(lab: Lab) -> None:
    asking_server(lab)
    # Up to 2.5 it is refused like everybody else.
    stubborn = [] if stock_is_since("2.6") else ["auth-retry nointeract"]
    client = lab.client(STOCK, "client", *login(lab, "busy"), "connect-retry 1 10", *stubborn)
    client.start()
    if stock_is_since("2.6"):
        client.process.wait_for_line("AUTH_FAILED,TEMP.backoff 3,advance no.:lunch break")
        client.process.wait_for_line("Restart pause, 3 second")
    else:
        client.process.wait_for_line("AUTH_FAILED,lunch break")


@stock_since("2.5", "pending authentication")
def test_a_stock_client_waits_for_a_decision(lab: Lab) -> None:
    asking_server(lab)
    client = lab.client(STOCK, "client", *login(lab, "slow"), "setenv IV_SSO openurl,crtext")
    client.start()
    if stock_is_since("2.6"):
        client.process.wait_for_line("AUTH_PENDING received, extending handshake timeout from 10s to 30s")
    client.process.wait_for_line("OPEN_URL:https://sso.example/.session=1")


@stock_since("2.5", "pending authentication")
def test_a_stock_clients_user_answers_a_question(lab: Lab, management: Management) -> None:
    asking_server(lab)
    client = lab.client(STOCK, "client", *login(lab, "asked"), "setenv IV_SSO crtext", *management.options)
    client.process.start()
    management.connect()
    management.wait_for(r"^>INFOMSG:CR_TEXT:R,E:Your code")
    management.say(f"cr-response {base64.b64encode(b'42').decode()}")
    client.wait_connected()


@pytest.mark.parametrize("name", ["static", "dynamic"])
def test_a_stock_clients_user_answers_a_challenge(lab: Lab, management: Management, name: str) -> None:
    asking_server(lab)
    extra = ['static-challenge "Your code" 1'] if name == "static" else []
    options = ["auth-user-pass", "management-query-passwords", "auth-retry interact", *management.options, *extra]
    client = lab.client(STOCK, "client", *options)
    client.process.start()
    management.connect()
    encoded = [base64.b64encode(text).decode() for text in (b"secret", b"42")]
    first = f"SCRV1:{':'.join(encoded)}" if name == "static" else "secret"
    asked = "SC:1,Your code" if name == "static" else ""
    management.wait_for(f"^>PASSWORD:Need 'Auth' username/password ?{asked}")
    management.say(f'username "Auth" {name}', f'password "Auth" {first}')
    if name == "dynamic":
        management.wait_for(r"^>PASSWORD:Verification Failed: 'Auth' \['CRV1:R,E:s1:ZHluYW1pYw==:Your code'\]")
        management.wait_for("^>PASSWORD:Need 'Auth' username/password")
        management.say('username "Auth" dynamic', 'password "Auth" CRV1::s1::42')
    client.wait_connected()


@pytest.mark.shows("auth-gen-token", "auth-gen-token-secret")
def test_a_stock_client_shows_our_token(lab: Lab) -> None:
    secret = lab.directory / "tokens.key"
    secret.write_text(TokenSecret.generate().to_text())
    options = ["auth-gen-token 0 60", f"auth-gen-token-secret {secret}", "reneg-sec 3"]
    server = asking_server(lab, *options)
    client = lab.client(STOCK, "client", *login(lab, "alice"), "reneg-sec 0")
    client.start()
    server.process.wait_for_line("renegotiated, key", count=2)
    assert client.namespace.answers(GATEWAY)
    server.process.stop()
    server.start()
    client.wait_connected()
    assert len(server.process.lines("asked about alice")) == 1


@pytest.mark.parametrize("client_kind", [STOCK, OURS])
def test_a_client_is_told_restarted_and_halted(lab: Lab, client_kind: str) -> None:
    asking_server(lab)
    client = lab.client(client_kind, "client", *login(lab, "sent"))
    client.process.start()
    for words in ("maintenance at noon", "moving house", "your contract has ended"):
        client.process.wait_for_line(words)
    client.process.wait()
    assert len(client.process.lines("maintenance at noon")) == 2


@pytest.mark.shows("push-peer-info")
def test_our_server_is_told_what_a_stock_client_is(lab: Lab) -> None:
    server = lab.server(OURS, "verb 4")
    server.start()
    lab.client(STOCK, "client", "push-peer-info", "setenv UV_SITE lab").start()
    line = server.process.wait_for_line("client/.*peer info:")
    told = ["IV_VER", "IV_PROTO", "IV_SSL"]
    told += ["IV_CIPHERS"] if stock_is_since("2.5") else ["IV_NCP"]
    told += ["IV_PLAT_VER"] if stock_is_since("2.6") else []
    assert all(f"{name}=" in line for name in told)
    assert "UV_SITE=lab" in line


# Our client, stock servers


@pytest.mark.shows("auth-user-pass")
@pytest.mark.parametrize("password", ["secret", "wrong"])
def test_a_stock_server_checks_our_password(lab: Lab, password: str) -> None:
    verifying_server(lab)
    client = lab.client(OURS, "client", *login(lab, "alice", password))
    client.process.start()
    if password == "secret":
        client.wait_connected()
    else:
        client.process.wait_for_line(r"the server refuses us \(AUTH_FAILED\)")
        assert client.process.wait() == 1
    assert asked(lab)[0].startswith(f"alice {password}")


@pytest.mark.shows("auth-retry", "auth-nocache", "push-peer-info", "setenv")
def test_our_client_tries_again_with_what_its_file_has_then(lab: Lab) -> None:
    server = verifying_server(lab)
    options = ["auth-retry nointeract", "auth-nocache", "push-peer-info", "setenv UV_SITE lab"]
    client = lab.client(OURS, "client", *login(lab, "alice", "wrong"), *options)
    client.namespace.ip("route", "add", "default", "via", "10.99.1.1")
    client.process.start()
    client.process.wait_for_line("AUTH_FAILED.*trying again")
    login(lab, "alice", "secret")
    client.wait_connected()
    for told in ("IV_HWADDR=..:..:..:", "IV_PLAT_VER=", "IV_SSL=OpenSSL", "UV_SITE=lab"):
        server.process.wait_for_line(f"peer info: {told}")


@pytest.mark.shows("static-challenge")
@pytest.mark.parametrize("scheme", ["scrv1", "concat"])
def test_our_user_answers_a_static_challenge(lab: Lab, scheme: str) -> None:
    wanted = "SCRV1:c2VjcmV0:NDI=" if scheme == "scrv1" else "secret42"
    verifying_server(lab, password=wanted)
    client = lab.client(OURS, "client", "auth-user-pass", f'static-challenge "Your code" 1 {scheme}')
    application(client)
    client.start()


def test_our_client_shows_a_stock_servers_token(lab: Lab) -> None:
    server = verifying_server(lab, "auth-gen-token 0 60", "reneg-sec 3")
    client = lab.client(OURS, "client", *login(lab, "alice"), "reneg-sec 0")
    client.start()
    server.process.wait_for_line("Control Channel: TLSv1", count=3)
    assert len(asked(lab)) == 1


@stock_since("2.5", "pending authentication")
def test_our_clients_user_is_asked_by_a_stock_server(lab: Lab, management: Management) -> None:
    server = lab.server(STOCK, "management-client-auth", "auth-user-pass-optional", *management.options)
    server.process.start()
    management.connect()
    server.wait_ready()
    client = lab.client(OURS, "client", *login(lab, "alice"))
    application(client)
    client.process.start()
    cid, kid = management.wait_for(r"^>CLIENT:CONNECT,(\d+),(\d+)").groups()
    assert "IV_SSO=crtext,openurl,webauth" in management.wait_for(r"^>CLIENT:ENV,IV_SSO=\S+")[0]
    which, time = (f"{cid} {kid}", " 60") if stock_is_since("2.6") else (cid, "")
    management.say(f'client-pending-auth {which} "CR_TEXT:R,E:Your code"{time}')
    management.wait_for(rf"^>CLIENT:CR_RESPONSE,{cid},{kid},NDI=")
    client.process.wait_for_line(f"the server takes its time to decide{',' if time else ''}{time}")
    management.say(f"client-auth-nt {cid} {kid}")
    client.wait_connected()
    management.say(f'client-kill {cid} "RESTART,[P]"')
    client.process.wait_for_line("the server asks for a restart")
    wait_until(lambda: management.wait_for(r"^>CLIENT:CONNECT,\d+,\d+"), "it comes back")


def test_our_client_comes_back_after_the_time_a_stock_server_says(lab: Lab, management: Management) -> None:
    server = lab.server(STOCK, "management-client-auth", *management.options)
    server.process.start()
    management.connect()
    server.wait_ready()
    client = lab.client(OURS, "client", *login(lab, "alice"), "connect-retry 1 10")
    client.process.start()
    cid, kid = management.wait_for(r"^>CLIENT:CONNECT,(\d+),(\d+)").groups()
    management.say(f'client-deny {cid} {kid} "busy" "TEMP[backoff 3,advance no]:lunch break"')
    client.process.wait_for_line("lunch break; trying again in 3 s")
    cid, kid = management.wait_for(r"^>CLIENT:CONNECT,(\d+),(\d+)").groups()
    management.say(f"client-auth-nt {cid} {kid}")
    client.wait_connected()
