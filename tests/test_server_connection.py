"""One client of a server, from its first key exchange until it leaves."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import TYPE_CHECKING

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import capturedLogs, formatEvent
from zope.interface import implementer

from tests.certificates import YESTERDAY, authority
from tests.routing import peer_at
from tests.scripted_client import MODERN, OCC, ScriptedClient, serving
from twistvpn.config.settings import DataSettings
from twistvpn.control.session import KeyDerivation
from twistvpn.crypto.authtoken import TokenSecret
from twistvpn.data.formats import PacketFormat
from twistvpn.errors import AuthenticationRejected, NegotiationError
from twistvpn.interfaces import Credentials, IAuthenticator
from twistvpn.server.connection import PUSH_REPEAT_INTERVAL, Stage
from twistvpn.server.offers import agree, choose_cipher
from twistvpn.testing import pair, udp_packet
from twistvpn.wire.opcodes import Opcode
from twistvpn.wire.options import IvProto

if TYPE_CHECKING:
    from pathlib import Path

    from twistvpn.server.connection import ServerConnection
    from twistvpn.testing import Pair

OLD = {"IV_VER": "2.4.12", "IV_PROTO": "2", "IV_NCP": "2", "IV_LZO_STUB": "1"}
ANCIENT = {"IV_VER": "2.3.18"}


def connection_of(vpn: Pair) -> ServerConnection:
    (connection,) = vpn.server.factory.connections.values()
    return connection


# What is pushed


def test_a_modern_client_is_told_everything_without_asking() -> None:
    vpn = serving(server='push "route 192.168.7.0 255.255.255.0"')
    client = ScriptedClient(vpn)
    assert len(client.texts) == 1
    wanted = [
        "route 192.168.7.0 255.255.255.0",
        "route-gateway 10.8.0.1",
        "topology subnet",
        "ping 10",
        "ping-restart 60",
        "ifconfig 10.8.0.2 255.255.255.0",
        "ifconfig-ipv6 fd00:8::1000/64 fd00:8::1",
        "peer-id 0",
        "cipher AES-256-GCM",
        "protocol-flags cc-exit tls-ekm dyn-tls-crypt",
    ]
    assert [option for option in client.pushed if option in wanted] == wanted


def test_the_mtu_is_pushed_to_who_can_take_it() -> None:
    client = ScriptedClient(serving(server="tun-mtu 1400"), {**MODERN, "IV_MTU": "1600"})
    assert client.pushed_value("tun-mtu") == "1400"


def test_long_pushes_are_split() -> None:
    routes = "\n".join(f'push "route 10.{n}.0.0 255.255.0.0"' for n in range(100))
    client = ScriptedClient(serving(server=routes))
    assert len(client.texts) > 2
    assert all(text.endswith("push-continuation 2") for text in client.texts[:-1])
    assert client.texts[-1].endswith("push-continuation 1")
    assert all(len(text) < 1024 for text in client.texts)


def test_an_old_client_is_answered_when_it_asks_and_not_again_for_a_while() -> None:
    vpn = serving()
    client = ScriptedClient(vpn, OLD)
    assert client.texts == []
    assert len(client.say("PUSH_REQUEST")) == 1
    for _ in range(5):
        vpn.advance(4)
        assert client.say("PUSH_REQUEST") == []
    vpn.advance(PUSH_REPEAT_INTERVAL)
    assert client.say("PUSH_REQUEST") == client.texts[:1]


def test_a_request_that_comes_while_authentication_takes_its_time_is_answered_then() -> None:
    authenticator = Slow()
    vpn = serving(authenticator=authenticator)
    client = ScriptedClient(vpn, OLD)
    assert client.say("PUSH_REQUEST") == []
    authenticator.pending[0].callback("scripted")
    vpn.advance(1)
    assert len(client.texts) == 1


def test_who_is_accepted_after_the_goodbye_is_not_let_in() -> None:
    authenticator = Slow()
    vpn = serving(authenticator=authenticator)
    client = ScriptedClient(vpn)
    client.link.close()
    stopped = vpn.server.service.stopService()
    authenticator.pending[0].callback("scripted")
    assert not stopped.called
    assert connection_of(vpn).lease is None
    vpn.wait_for(stopped)


def test_who_waits_for_authentication_hears_that_the_server_stops() -> None:
    vpn = serving(authenticator=Slow())
    client = ScriptedClient(vpn)
    vpn.server.stop()
    assert client.texts == ["RESTART"]


# Old clients


@pytest.mark.parametrize(
    ("info", "opcode", "peer_id"), [(OLD, Opcode.P_DATA_V2, 0), ({"IV_NCP": "2"}, Opcode.P_DATA_V1, None)]
)
def test_clients_without_the_exporter_use_the_prf(info: dict[str, str], opcode: Opcode, peer_id: int | None) -> None:
    vpn = serving()
    client = ScriptedClient(vpn, info)
    client.say("PUSH_REQUEST")
    assert client.pushed_value("peer-id") == (None if peer_id is None else str(peer_id))
    assert client.pushed_value("key-derivation") is client.pushed_value("protocol-flags") is None
    client.open_data(KeyDerivation.PRF, peer_id)
    address = IPv4Address("10.8.0.2")
    up, down = udp_packet(address, vpn.server.address, b"up"), udp_packet(vpn.server.address, address, b"down")
    client.send_packet(up)
    assert vpn.server.tun.take() == [up]
    vpn.server.inject(down)
    vpn.advance(0.1)
    assert client.packets == [down]
    assert client.received[-1][0] >> 3 == opcode


def test_a_client_that_negotiates_nothing_uses_the_cipher_it_names() -> None:
    vpn = serving()
    client = ScriptedClient(vpn, ANCIENT, cipher="AES-128-GCM")
    client.say("PUSH_REQUEST")
    (connection,) = vpn.server.factory.connections.values()
    assert connection.peer._keying._terms.cipher == "AES-128-GCM"
    assert client.pushed_value("cipher") is None, "it would take it for a mistake"


@pytest.mark.parametrize("info", [{**MODERN, "IV_CIPHERS": "AES-256-CBC"}, ANCIENT])
def test_without_a_common_cipher_the_client_is_told_so(info: dict[str, str]) -> None:
    vpn = serving()
    client = ScriptedClient(vpn, info, cipher="BF-CBC")
    assert client.texts == ["AUTH_FAILED,Data channel cipher negotiation failed (no shared cipher)"]
    assert vpn.server.factory.connections == {}
    follower = ScriptedClient(vpn, port=5001)
    assert follower.pushed_value("ifconfig") == "10.8.0.2 255.255.255.0", "the address came back"


@pytest.mark.parametrize(
    ("info", "cipher", "fallback", "chosen"),
    [
        ({"IV_CIPHERS": "AES-128-GCM:AES-256-GCM"}, "", None, "AES-256-GCM"),
        ({"IV_CIPHERS": "aes-128-gcm"}, "", None, "AES-128-GCM"),
        ({"IV_NCP": "2"}, "", None, "AES-256-GCM"),
        ({"IV_NCP": "10"}, "AES-192-GCM", None, "AES-256-GCM"),
        ({"IV_NCP": "1"}, "AES-128-GCM", None, "AES-128-GCM"),
        ({"IV_NCP": "x"}, "AES-128-GCM", None, "AES-128-GCM"),
        ({}, "AES-128-GCM", None, "AES-128-GCM"),
        ({}, "AES-128-GCM", "AES-256-GCM", "AES-128-GCM"),
        ({}, "AES-192-GCM", "AES-192-GCM", "AES-192-GCM"),
        ({}, "", "AES-192-GCM", "AES-192-GCM"),
        ({}, "", None, None),
        ({}, "BF-CBC", "AES-256-GCM", None),
        ({"IV_CIPHERS": "AES-192-GCM"}, "AES-192-GCM", "AES-192-GCM", None),
        ({"IV_CIPHERS": ""}, "AES-256-GCM", None, None),
    ],
)
def test_the_cipher_is_the_first_of_ours_that_the_client_has(
    info: dict[str, str], cipher: str, fallback: str | None, chosen: str | None
) -> None:
    wanted = ("AES-256-GCM", "AES-128-GCM")
    occ = OCC.format(cipher=cipher) if cipher else ""
    if chosen is None:
        with pytest.raises(NegotiationError, match="no shared cipher"):
            choose_cipher(wanted, fallback, info, occ)
    else:
        assert choose_cipher(wanted, fallback, info, occ) == chosen


@pytest.mark.parametrize(
    ("can", "pushed", "derivation"),
    [
        (IvProto(0), (), KeyDerivation.PRF),
        (IvProto.TLS_KEY_EXPORT, ("key-derivation tls-ekm",), KeyDerivation.EXPORTER),
        (IvProto.CC_EXIT, ("protocol-flags cc-exit",), KeyDerivation.PRF),
        (IvProto.CC_EXIT | IvProto.TLS_KEY_EXPORT, ("protocol-flags cc-exit tls-ekm",), KeyDerivation.EXPORTER),
        (IvProto.DYN_TLS_CRYPT, ("protocol-flags dyn-tls-crypt",), KeyDerivation.PRF),
        (
            IvProto.DYN_TLS_CRYPT | IvProto.TLS_KEY_EXPORT,
            ("key-derivation tls-ekm", "protocol-flags dyn-tls-crypt"),
            KeyDerivation.EXPORTER,
        ),
    ],
)
def test_each_client_is_told_in_its_own_words(can: IvProto, pushed: tuple[str, ...], derivation: KeyDerivation) -> None:
    info = {"IV_PROTO": str(int(can)), "IV_CIPHERS": "AES-256-GCM"}
    agreement = agree(DataSettings(), info, "", 7)
    assert agreement.pushed == ("cipher AES-256-GCM", *pushed)
    assert agreement.terms.derivation is derivation
    assert agreement.terms.peer_id is None


@pytest.mark.parametrize(
    ("data", "can", "ciphers", "epochs"),
    [
        (DataSettings(), IvProto.EPOCH | IvProto.DATA_V2, "AES-256-GCM", True),
        (DataSettings(), IvProto.EPOCH | IvProto.DATA_V2, "CHACHA20-POLY1305", True),
        (DataSettings(), IvProto.EPOCH, "AES-256-GCM", False),
        (DataSettings(), IvProto.DATA_V2, "AES-256-GCM", False),
        (DataSettings(("AES-256-CBC",)), IvProto.EPOCH | IvProto.DATA_V2, "AES-256-CBC", False),
        (DataSettings(epochs=False), IvProto.EPOCH | IvProto.DATA_V2, "AES-256-GCM", False),
    ],
)
def test_keys_change_by_epochs_where_both_ends_and_the_cipher_can(
    data: DataSettings,
    can: IvProto,
    ciphers: str,
    epochs: bool,  # noqa: FBT001
) -> None:
    agreement = agree(data, {"IV_PROTO": str(int(can)), "IV_CIPHERS": ciphers}, "", 7)
    assert (agreement.terms.packet_format is PacketFormat.EPOCH) is epochs
    assert ("protocol-flags aead-epoch" in agreement.pushed) is epochs


# Authentication


@implementer(IAuthenticator)
class Slow:
    def __init__(self) -> None:
        self.pending: list[Deferred[str]] = []

    def authenticate(self, credentials: Credentials) -> Deferred[str]:
        self.pending.append(Deferred())
        return self.pending[-1]


@implementer(IAuthenticator)
class Answering:
    """Answers what it is told to, and remembers what it was shown."""

    def __init__(self, *answers: str | Exception) -> None:
        self.answers = list(answers)
        self.shown: list[Credentials] = []

    def authenticate(self, credentials: Credentials) -> Deferred[str]:
        self.shown.append(credentials)
        answer = self.answers.pop(0)
        return fail(answer) if isinstance(answer, Exception) else succeed(answer)


def test_an_authenticator_is_shown_everything() -> None:
    authenticator = Answering("alice@work")
    vpn = serving(authenticator=authenticator)
    ScriptedClient(vpn, name="laptop", login=("alice", "secret"))
    (shown,) = authenticator.shown
    assert (shown.common_name, shown.username, shown.password) == ("laptop", "alice", "secret")
    assert shown.address == ("203.0.113.1", 5000)
    assert shown.peer_info["IV_VER"] == "2.6.14"
    assert str(connection_of(vpn)) == "alice@work/udp:203.0.113.1:5000"


def test_a_refused_client_is_told_why_and_forgotten() -> None:
    vpn = serving(authenticator=Answering(AuthenticationRejected("wrong username or password")))
    client = ScriptedClient(vpn)
    assert client.texts == ["AUTH_FAILED,wrong username or password"]
    assert vpn.server.factory.connections == {}


@pytest.mark.parametrize(
    ("username", "shown"),
    [
        ("", "certificate of scripted, 2.6.14"),
        ("alice", "certificate of scripted, user 'alice', 2.6.14"),
        ("a\nb", "certificate of scripted, user 'a_b', 2.6.14"),
        ("x" * 200, f"certificate of scripted, user '{'x' * 64}', 2.6.14"),
    ],
)
def test_the_log_of_a_refusal_names_who_has_tried(username: str, shown: str) -> None:
    vpn = serving(authenticator=Answering(AuthenticationRejected("wrong username or password")))
    with capturedLogs() as events:
        ScriptedClient(vpn, login=(username, "sesame"))
    (line,) = [text for event in events if "5000: refused: " in (text := formatEvent(event) or "")]
    assert shown in line
    assert "sesame" not in line


def test_an_authenticator_that_breaks_refuses_without_telling_its_secrets() -> None:
    vpn = serving(authenticator=Answering(RuntimeError("the password was secret")))
    client = ScriptedClient(vpn)
    assert client.texts == ["AUTH_FAILED,internal error"]


def test_a_client_that_leaves_before_it_is_let_in_leaves_nothing() -> None:
    authenticator = Slow()
    vpn = serving(authenticator=authenticator)
    client = ScriptedClient(vpn)
    connection = connection_of(vpn)
    assert connection.stage is Stage.AUTHENTICATING
    client.say("EXIT")
    authenticator.pending[0].callback("scripted")
    assert vpn.server.factory.connections == {}
    assert connection.lease is None


def test_a_full_pool_is_told_and_the_others_stay() -> None:
    vpn = serving(server="server 10.8.0.0 255.255.255.252")
    first = ScriptedClient(vpn, name="first")
    second = ScriptedClient(vpn, name="second", port=5001)
    assert second.texts == ["AUTH_FAILED,TEMP:the one address of the pool is taken"]
    assert first.lost == []
    assert connection_of(vpn).identity == "first"


# Renegotiation


def test_a_renegotiation_is_authenticated_again() -> None:
    authenticator = Answering("scripted", "scripted")
    vpn = serving(authenticator=authenticator)
    client = ScriptedClient(vpn)
    client.renegotiate()
    assert client.keys == [0, 1]
    assert len(authenticator.shown) == 2
    assert connection_of(vpn).stage is Stage.CONNECTED


@pytest.mark.parametrize("answer", ["somebody else", AuthenticationRejected("expired")])
def test_a_renegotiation_as_somebody_else_is_the_end(answer: str | Exception) -> None:
    vpn = serving(authenticator=Answering("scripted", answer))
    client = ScriptedClient(vpn)
    client.renegotiate()
    assert client.texts[-1].startswith("AUTH_FAILED,")
    assert vpn.server.factory.connections == {}


# The end


@pytest.mark.parametrize("how", ["EXIT", "occ"])
def test_a_goodbye_of_either_kind_gives_the_address_back(how: str) -> None:
    vpn = serving()
    client = ScriptedClient(vpn)
    client.open_data(KeyDerivation.EXPORTER, 0)
    if how == "EXIT":
        client.say("EXIT")
        assert client.peer.session.settled, "the goodbye has been acknowledged"
    else:
        client.peer.say_goodbye()
        vpn.advance(1)
    assert vpn.server.factory.connections == {}
    assert peer_at(vpn.server.factory.routes, IPv4Address("10.8.0.2")) is None


def test_a_client_that_falls_silent_before_it_has_asked_does_not_keep_its_address() -> None:
    vpn = serving(server="keepalive 3600 7200")
    client = ScriptedClient(vpn, OLD)
    assert connection_of(vpn).stage is Stage.ADMITTED
    client.link.close()
    vpn.advance(60)
    assert vpn.server.factory.connections == {}


def test_a_client_that_cannot_be_understood_is_ignored() -> None:
    vpn = serving()
    client = ScriptedClient(vpn)
    assert client.say("MAKE_ME_A_SANDWICH,now") == []
    assert client.say("PUSH_REPLY,ifconfig 1.2.3.4 5.6.7.8") == []
    assert connection_of(vpn).stage is Stage.CONNECTED


def test_a_client_is_sent_away_with_a_restart_once() -> None:
    vpn = serving()
    client = ScriptedClient(vpn)
    connection = connection_of(vpn)
    vpn.network.loss = 1.0
    connection.disconnect("its place is wanted")
    connection.disconnect("its place is wanted")
    vpn.network.loss = 0.0
    vpn.advance(5)
    assert client.texts[1:] == ["RESTART"]
    assert vpn.server.factory.connections == {}


def test_an_application_may_talk_to_a_client_and_end_it() -> None:
    vpn = pair()
    (protocol,) = vpn.server.factory.clients
    with capturedLogs() as logged:
        protocol.transport.tell("maintenance at noon")
        vpn.advance(1)
    assert "maintenance at noon" in [event.get("text") for event in logged]
    protocol.transport.restart("[P]:moving")
    vpn.wait_until(lambda: vpn.client.times_connected == 2)
    (protocol,) = vpn.server.factory.clients
    protocol.transport.halt("your contract has ended")
    vpn.advance(1)
    assert vpn.client.fatal == "the server sends us away: your contract has ended"
    assert vpn.server.factory.connections == {}


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ("", "RESTART"),
        ("explicit-exit-notify 2", "RESTART,[N]:"),
        ("auth-gen-token", "RESTART"),
        ("auth-gen-token\nauth-gen-token-secret {secret}", "RESTART,[P]:"),
        ("auth-gen-token\nauth-gen-token-secret {secret}\nexplicit-exit-notify 2", "RESTART,[PN]:"),
    ],
)
def test_a_stopping_server_says_where_to_go_and_what_to_keep(tmp_path: Path, options: str, text: str) -> None:
    secret = tmp_path / "tokens.key"
    secret.write_text(TokenSecret.generate().to_text())
    vpn = serving(server=options.format(secret=secret))
    client = ScriptedClient(vpn)
    vpn.server.stop()
    assert client.texts[-1] == text


def test_a_revoked_client_is_sent_away_while_it_is_connected(tmp_path: Path) -> None:
    crl = tmp_path / "crl.pem"
    crl.write_text(authority().crl({}, YESTERDAY))
    vpn = pair("alice", "bob", server=f"crl-verify {crl}", connect=False)
    crl.write_text(vpn.authority.crl({}, vpn.valid_from))
    vpn.connect()
    connection = next(c for c in vpn.server.factory.connections.values() if c.identity == "alice")
    assert connection.certificate_serial is not None
    crl.write_text(vpn.authority.crl({connection.certificate_serial: vpn.valid_from}, vpn.valid_from, 2))
    vpn.advance(10)
    assert [c.identity for c in vpn.server.factory.connections.values()] == ["bob"]
    vpn.advance(60)
    assert not vpn.clients["alice"].is_connected
    assert vpn.clients["bob"].times_connected == 1
