"""What both syntaxes say about the sockets that carry the tunnel."""

from __future__ import annotations

import pytest

from tests.config_files import CLIENT_INI, CLIENT_OVPN, SERVER_INI, SERVER_OVPN, ConfigFiles, make_files
from twistvpn.config.settings import PortSharing
from twistvpn.interfaces import NOTHING_ASKED, Multihome, SocketOptions


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> ConfigFiles:
    return make_files(tmp_path_factory.mktemp("config"))


OPTIONS = [
    ("mark 77", SocketOptions(mark=77)),
    ("bind-dev eth0", SocketOptions(device="eth0")),
    ("sndbuf 0", SocketOptions(send_buffer=0)),
    ("rcvbuf 393216", SocketOptions(receive_buffer=393216)),
    ("mtu-disc no", SocketOptions(mtu_discover=0)),
    ("mtu-disc maybe", SocketOptions(mtu_discover=1)),
    ("mtu-disc yes", SocketOptions(mtu_discover=2)),
]
FOR_SERVERS = [
    ("multihome", SocketOptions(multihome=Multihome.ADDRESS)),
    ("multihome same-interface", SocketOptions(multihome=Multihome.INTERFACE)),
]


@pytest.mark.shows("sndbuf", "rcvbuf", "mtu-disc")
@pytest.mark.parametrize(("line", "options"), [("", NOTHING_ASKED), *OPTIONS, *FOR_SERVERS])
def test_a_server(files: ConfigFiles, line: str, options: SocketOptions) -> None:
    assert files.parse(SERVER_OVPN + line).sockets == options
    name, _, value = line.partition(" ")
    ini = f"{name} = {value or 'yes'}\n[tls]" if line else "[tls]"
    assert files.parse(SERVER_INI.replace("[tls]", ini)).sockets == options


@pytest.mark.parametrize(("line", "options"), [("", NOTHING_ASKED), *OPTIONS])
def test_a_client(files: ConfigFiles, line: str, options: SocketOptions) -> None:
    assert files.parse(CLIENT_OVPN + line).sockets == options
    ini = f"{line.replace(' ', ' = ')}\n[tls]"
    assert files.parse(CLIENT_INI.replace("[tls]", ini)).sockets == options


def test_a_client_has_no_use_for_multihome(files: ConfigFiles) -> None:
    settings = files.parse(CLIENT_OVPN + "multihome\n")
    assert settings.sockets == NOTHING_ASKED
    assert "multihome: changes nothing here" in settings.notes[-1]
    assert files.parse(SERVER_INI.replace("[tls]", "multihome = no\n[tls]")).sockets == NOTHING_ASKED


@pytest.mark.shows("tcp-nodelay")
def test_tcp_nodelay_is_pushed(files: ConfigFiles) -> None:
    server = files.parse(SERVER_OVPN + "tcp-nodelay\n").server
    assert server is not None
    assert server.push == ("socket-flags TCP_NODELAY",)
    assert "socket-flags: changes nothing here" in files.parse(SERVER_OVPN + "socket-flags TCP_NODELAY\n").notes[-1]


def test_float_is_the_clients(files: ConfigFiles) -> None:
    for text in (CLIENT_OVPN + "float\n", CLIENT_INI.replace("[tls]", "float = yes\n[tls]")):
        client = files.parse(text).client
        assert client is not None
        assert client.floats
    assert "float: changes nothing here" in files.parse(SERVER_OVPN + "float\n").notes[-1]


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("mark x", "mark: 'x' is not a whole number from 0 to 4294967295"),
        ("bind-dev a/b", "bind-dev: 'a/b' is not a name for an interface"),
        ("sndbuf -1", "sndbuf: '-1' is not a whole number from 0 to 1073741824"),
        ("mtu-disc sometimes", "mtu-disc: 'sometimes' is not one of no, maybe, yes"),
        ("multihome other", "multihome: 'other' is not one of same-interface"),
        ("socket-flags TCP_NODELAY OTHER", "socket-flags: the only flag is TCP_NODELAY"),
    ],
)
def test_mistakes(files: ConfigFiles, line: str, answer: str) -> None:
    assert answer in files.line(SERVER_OVPN + line + "\n", "server.conf")


def test_port_share(files: ConfigFiles) -> None:
    server = files.parse(SERVER_OVPN.replace("proto udp", "proto tcp") + "port-share 127.0.0.1 8443 .\n").server
    assert server is not None
    assert server.port_share == PortSharing("127.0.0.1", 8443, str(files.path))
    ini = SERVER_INI.replace("udp:1194", "haproxy:tcp:443").replace("[tls]", "port-share = web 80\n[tls]")
    server = files.parse(ini).server
    assert server is not None
    assert server.port_share == PortSharing("web", 80)


@pytest.mark.parametrize(
    ("lines", "answer"),
    [
        ("port-share a 443", "port-share: UDP has no connections to share; it needs TCP"),
        ("local 127.0.0.1 443 tcp\nport-share a https", "port-share: 'https' is not a whole number"),
        ("local 127.0.0.1 443 tcp\nport-share a 443 /dev/null", "port-share: /dev/null is no directory"),
        ("port-share a", "port-share: takes 2 to 3 arguments"),
    ],
)
def test_a_port_that_cannot_be_shared(files: ConfigFiles, lines: str, answer: str) -> None:
    assert answer in files.line(SERVER_OVPN + lines + "\n", "server.conf")
