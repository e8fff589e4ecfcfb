from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address, IPv6Interface, ip_network

import pytest

from tests.config_files import CLIENT_OVPN, SERVER_OVPN, ConfigFiles, make_files
from twistvpn.config.lexer import lex, split_words
from twistvpn.config.settings import (
    ClientSettings,
    ControlWrapping,
    EndRoute,
    LoginSettings,
    Material,
    PoolPersistence,
    Route,
    ServerSettings,
    Settings,
)
from twistvpn.errors import ConfigError

DEFAULT = ("AES-256-GCM", "AES-128-GCM", "CHACHA20-POLY1305")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> ConfigFiles:
    return make_files(tmp_path_factory.mktemp("config"))


def server(files: ConfigFiles, lines: str = "") -> ServerSettings:
    read = files.parse(SERVER_OVPN + lines).server
    assert read is not None
    return read


def client(files: ConfigFiles, lines: str = "", text: str = CLIENT_OVPN) -> ClientSettings:
    read = files.parse(text + lines).client
    assert read is not None
    return read


def read_either(files: ConfigFiles, lines: str) -> Settings:
    return files.parse(SERVER_OVPN + lines)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("remote a 1194 udp", ["remote", "a", "1194", "udp"]),
        ("\tverb  3\t# comment", ["verb", "3"]),
        ("verb 3;comment", ["verb", "3;comment"]),
        ("verb 3 ;comment", ["verb", "3"]),
        ("", []),
        ("# all of it", []),
        ('push "route 10.0.0.0 255.0.0.0"', ["push", "route 10.0.0.0 255.0.0.0"]),
        ("push 'a \"b\" \\c'", ["push", 'a "b" \\c']),
        (r'ca "c:\\certs\\my \"ca\".crt"', ["ca", 'c:\\certs\\my "ca".crt']),
        (r"ca my\ ca.crt", ["ca", "my ca.crt"]),
        ("name o'neil", ["name", "o'neil"]),
        ('empty "" end', ["empty", "", "end"]),
        ('"a"b', ["a", "b"]),
    ],
)
def test_words_are_split_as_openvpn_splits_them(line: str, words: list[str]) -> None:
    assert split_words(line) == words


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (r"ca c:\certs", "a backslash escapes only"),
        ("ca c:\\", "a backslash escapes only"),
        ('ca "x', 'the closing quote (") is missing'),
        ("ca 'x", "the closing quote (') is missing"),
    ],
)
def test_words_that_do_not_end(line: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        list(lex(f"client\n--{line}\n", "f"))
    assert str(caught.value).startswith(f"f:2: ca: {message}")


def test_blocks_keep_their_text_and_their_line() -> None:
    text = "<ca>\n  a\r\n#b\n  </ca>\n--verb 3\n"
    block, verb = lex(text, "f")
    assert (block.name, block.args, block.inline, block.origin.line) == ("ca", ("  a\n#b\n",), True, 1)
    assert (verb.name, verb.args, verb.inline, verb.origin.line) == ("verb", ("3",), False, 5)


def test_a_block_that_does_not_end(files: ConfigFiles) -> None:
    assert files.line("client\n<ca>\nx\n") == "test.conf:2: ca: the block is not closed; </ca> is missing"


def test_the_sample_server_of_stock(files: ConfigFiles) -> None:
    settings = files.parse(
        SERVER_OVPN + "topology subnet\nifconfig-pool-persist ipp.txt\nkeepalive 10 120\n;client-to-client\n"
        "tls-auth ta.key 0 # the server's\ncipher AES-256-CBC\npersist-key\npersist-tun\nuser nobody\n"
        "status openvpn-status.log\nverb 4\nexplicit-exit-notify 1\n"
        'push "redirect-gateway def1 bypass-dhcp"\npush "dhcp-option DNS 10.8.0.1"\n'
    )
    read = settings.server
    assert read is not None
    assert (read.network, read.client_to_client) == (ip_network("10.8.0.0/24"), False)
    assert read.pool == (IPv4Address("10.8.0.2"), IPv4Address("10.8.0.254"))
    assert read.pool_persist == PoolPersistence(str(files.path / "ipp.txt"), 600.0)
    assert (read.push_ping, read.push_ping_restart, read.explicit_exit_notify) == (10.0, 120.0, 1)
    assert (settings.data.ping, settings.data.ping_restart) == (10.0, 240.0)
    assert read.push == ("redirect-gateway def1 bypass-dhcp", "dhcp-option DNS 10.8.0.1")
    assert (settings.control.wrapping, settings.control.key_direction) == (ControlWrapping.TLS_AUTH, 0)
    assert (settings.user, settings.verb) == ("nobody", 4)
    assert settings.status == str(files.path / "openvpn-status.log")
    assert settings.data.ciphers_fallback == "AES-256-CBC"
    noted = [note.split(": ")[:2] for note in settings.notes]
    assert noted == [
        ["test.conf:7", "dh"],
        ["test.conf:15", "persist-key"],
        ["test.conf:16", "persist-tun"],
    ]


def test_a_profile_with_everything_inside(files: ConfigFiles) -> None:
    def block(name: str, text: str) -> str:
        return f"<{name}>\n{text}</{name}>\n"

    text = (
        "client\ndev tun\nproto tcp\nremote vpn.example.org 443\nnobind\nkey-direction 1\nauth SHA512\n"
        + block("ca", files.text("ca.crt"))
        + block("cert", "Certificate:\n    Data: ...\n" + files.text("client.crt"))
        + block("key", files.text("client.key"))
        + block("tls-auth", files.text("ta.key"))
        + block("crl-verify", files.text("crl.pem"))
        + block("auth-user-pass", "alice\nsecret\n")
        + "verify-x509-name server name\n"
    )
    settings = files.parse(text)
    read = settings.client
    assert read is not None
    assert [(end.host, end.port, end.proto, end.family) for end in read.remotes] == [("vpn.example.org", 443, "tcp", 0)]
    assert read.login == LoginSettings("alice", "secret")
    assert settings.control.key is not None
    assert settings.control.key.data.decode() == files.text("ta.key")
    assert (settings.control.key_direction, settings.control.auth) == (1, "SHA512")
    assert isinstance(settings.tls.crl, Material)
    assert settings.tls.verify_x509_name == ("server", "name")
    assert settings.tls.ca is not None
    assert settings.tls.ca.origin.line == 8
    assert settings.notes == ()


@pytest.mark.parametrize(
    ("lines", "ends"),
    [
        ("", [("udp", "", 1194)]),
        ("port 443\nproto tcp\n", [("tcp", "", 443)]),
        ("proto tcp-server\nlport 5\n", [("tcp", "", 5)]),
        ("proto udp4\n", [("udp", "0.0.0.0", 1194)]),
        ("proto udp6\n", [("udp", "", 1194)]),
        ("proto tcp6-server\nbind ipv6only\n", [("tcp", "::", 1194)]),
        ("local 192.0.2.1\n", [("udp", "192.0.2.1", 1194)]),
        ("local vpn.example.org\n", [("udp", "vpn.example.org", 1194)]),
        ("local * 1195\nlocal 192.0.2.1 443 tcp\n", [("udp", "", 1195), ("tcp", "192.0.2.1", 443)]),
    ],
)
def test_where_a_server_listens(files: ConfigFiles, lines: str, ends: list[tuple[str, str, int]]) -> None:
    assert [(end.proto, end.host, end.port) for end in server(files, lines).listen] == ends


def test_a_server_written_out(files: ConfigFiles) -> None:
    text = SERVER_OVPN.replace("server 10.8.0.0 255.255.255.0\n", "") + (
        "mode server\ntls-server\ntopology subnet\nifconfig 10.9.0.5 255.255.0.0\n"
        "ifconfig-pool 10.9.1.0 10.9.1.255 255.255.0.0\n"
        "ifconfig-ipv6 fd00::5/64 fd00::6\nifconfig-ipv6-pool fd00::1000/64\n"
        "route 192.168.1.0 255.255.255.0\nroute 192.168.2.0 255.255.255.0 10.9.1.7 5\nroute-ipv6 fd01::/64\n"
    )
    read = files.parse(text).server
    assert read is not None
    assert (read.network, read.address) == (ip_network("10.9.0.0/16"), IPv4Address("10.9.0.5"))
    assert read.pool == (IPv4Address("10.9.1.0"), IPv4Address("10.9.1.255"))
    assert (read.network6, read.address6) == (ip_network("fd00::/64"), IPv6Address("fd00::5"))
    assert (read.pool_netmask, read.pool6) == (IPv4Address("255.255.0.0"), IPv6Interface("fd00::1000/64"))
    assert read.routes == (
        Route(ip_network("192.168.1.0/24")),
        Route(ip_network("192.168.2.0/24"), "10.9.1.7", 5),
        Route(ip_network("fd01::/64")),
    )


@pytest.mark.parametrize(
    ("topology", "pool", "routes"),
    [
        ("net30", ("172.16.8.4", "172.16.8.251"), ["172.16.8.0/24"]),
        ("p2p", ("172.16.8.4", "172.16.8.251"), ["172.16.8.0/24"]),
        ("subnet", ("172.16.8.2", "172.16.8.254"), []),
    ],
)
def test_what_server_stands_for_in_each_topology(
    files: ConfigFiles, topology: str, pool: tuple[str, str], routes: list[str]
) -> None:
    read = files.parse(SERVER_OVPN.replace("10.8.0.0", "172.16.8.0") + f"topology {topology}\n").server
    assert read is not None
    assert read.pool is not None
    assert tuple(map(str, read.pool)) == pool
    assert [str(route.network) for route in read.routes] == routes
    assert (read.peer_address is None) is (topology == "subnet")


def test_a_point_to_point_server_written_out(files: ConfigFiles) -> None:
    text = SERVER_OVPN.replace("server 10.8.0.0 255.255.255.0\n", "mode server\ntls-server\ntopology net30\n")
    read = files.parse(text + "ifconfig 192.168.8.1 192.168.8.2\nifconfig-pool 192.168.8.4 192.168.8.99\n").server
    assert read is not None
    assert (read.network, str(read.address), str(read.peer_address)) == (None, "192.168.8.1", "192.168.8.2")
    assert "must be the other end's address, as topology net30" in files.line(text + "ifconfig 10.8.0.1 255.255.0.0\n")
    assert "there is no netmask in topology net30" in files.line(
        text + "ifconfig 10.8.0.1 10.8.0.2\nifconfig-pool 10.8.0.4 10.8.0.9 255.255.255.0\n"
    )


def test_name_servers_are_nothing_to_a_server_itself(files: ConfigFiles) -> None:
    (note, *_) = [note for note in files.parse(SERVER_OVPN + "dhcp-option DNS 10.8.0.1\n").notes if "dhcp" in note]
    assert note.endswith("dhcp-option: changes nothing at a server; push it to clients")


def test_a_server_with_its_own_pool(files: ConfigFiles) -> None:
    text = SERVER_OVPN.replace("255.255.255.0", "255.255.255.0 nopool")
    read = files.parse(text + "ifconfig-pool 10.8.0.100 10.8.0.200\nserver-ipv6 fd00:1::/112\n").server
    assert read is not None
    assert read.pool == (IPv4Address("10.8.0.100"), IPv4Address("10.8.0.200"))
    assert read.network6 == ip_network("fd00:1::/112")
    assert "nopool leaves clients without addresses" in files.line(text)


def test_remotes_take_what_they_lack_from_the_other_options(files: ConfigFiles) -> None:
    read = client(files, "remote b 443 tcp\nremote 192.0.2.1 1 udp4\nremote c\nport 7\nrport 8\nproto tcp6-client\n")
    assert [(end.host, end.port, end.proto, end.family) for end in read.remotes] == [
        ("vpn.example.org", 8, "tcp", socket.AF_INET6),
        ("b", 443, "tcp", 0),
        ("192.0.2.1", 1, "udp", socket.AF_INET),
        ("c", 8, "tcp", socket.AF_INET6),
    ]


def test_connection_blocks(files: ConfigFiles) -> None:
    read = files.parse(
        CLIENT_OVPN + "port 1195\n<connection>\nremote a\nproto udp\nnobind\nconnect-timeout 5\n</connection>\n"
        "<connection>\nremote b 443 tcp\nnobind\nserver-poll-timeout 5\n</connection>\n"
    )
    assert read.client is not None
    assert [(end.host, end.port, end.proto) for end in read.client.remotes] == [("a", 1195, "udp"), ("b", 443, "tcp")]
    assert [end.origin.line for end in read.client.remotes if end.origin] == [10, 16]
    assert read.client.connect_timeout == 5.0
    assert len(read.notes) == 1
    assert read.notes[0].startswith("test.conf:3: remote: changes nothing here: the <connection> blocks replace it")


@pytest.mark.parametrize(
    ("block", "answer"),
    [
        ("proto udp\n", "test.conf:8: connection: a <connection> block has exactly one remote"),
        ("remote a\nremtoe b\n", "test.conf:10: remtoe: unknown option; did you mean remote?"),
        ("remote a\nhttp-proxy p\n", "test.conf:10: http-proxy: takes 2 to 4 arguments, this has 1"),
    ],
)
def test_a_mistake_in_a_connection_block(files: ConfigFiles, block: str, answer: str) -> None:
    assert files.line(f"{CLIENT_OVPN}<connection>\n{block}</connection>\n").startswith(answer)


@pytest.mark.parametrize(
    ("line", "place"),
    [
        ("local fe80::1::2", ":8: local: 'fe80::1::2'"),
        ("remote 1.2.3.4.5", ":8: remote: '1.2.3.4.5'"),
        ("remote http://vpn.example.org", ":8: remote: 'http://vpn.example.org'"),
        (f"remote {'a' * 64}.example.org", ":8: remote: 'aaaa"),
        ("remote a..b", ":8: remote: 'a..b'"),
        ("proto tcp\nhttp-proxy http://p 80", ":9: http-proxy: 'http://p'"),
        ("socks-proxy 10.0.0.256", ":8: socks-proxy: '10.0.0.256'"),
    ],
)
def test_what_is_no_host(files: ConfigFiles, line: str, place: str) -> None:
    told = files.line(CLIENT_OVPN + line + "\n")
    assert f"{place}" in told
    assert told.endswith("is neither an IP address nor the name of a host")


@pytest.mark.parametrize(
    "name", ["a", "a.b.", "xn--bcher-kva.example", "bücher.example", "fe80::1%eth0", "127.1", "_a-b"]
)
def test_what_may_be_a_host(files: ConfigFiles, name: str) -> None:
    read = files.parse(f"{CLIENT_OVPN}remote {name}\nlocal {name}\n").client
    assert read is not None
    assert (read.remotes[-1].host, read.local) == (name, name)


def test_connections_that_differ_in_what_is_one_for_all(files: ConfigFiles) -> None:
    blocks = "<connection>\nremote a\nconnect-timeout 5\n</connection>\n<connection>\nremote b\n</connection>\n"
    assert "test.conf:10: connect-timeout: must be the same in every <connection>" in files.line(CLIENT_OVPN + blocks)


@pytest.mark.parametrize(
    ("lines", "local", "port"),
    [
        ("", None, 0),
        ("nobind\n", None, 0),
        ("port 1195\n", None, 0),
        ("bind\n", None, 1194),
        ("lport 0\n", None, 0),
        ("lport 5\n", None, 5),
        ("local 192.0.2.1\nport 1195\n", "192.0.2.1", 1195),
    ],
)
def test_where_a_client_is_bound(files: ConfigFiles, lines: str, local: str | None, port: int) -> None:
    read = client(files, lines)
    assert (read.local, read.local_port) == (local, port)


def test_a_clients_other_options(files: ConfigFiles) -> None:
    read = client(
        files,
        "remote-random\nconnect-retry 5 20\nconnect-retry-max 3\nserver-poll-timeout 4\nroute-nopull\n"
        "route 192.168.1.0 255.255.255.0 vpn_gateway 9\nroute 192.0.2.1 default net_gateway\nroute-metric 50\n"
        "route 10.1.0.0 255.255.0.0\nroute-ipv6 fd00::/8\n"
        "redirect-gateway def1 ipv6\nexplicit-exit-notify\nauth-retry nointeract\nproto-force udp\n",
    )
    assert (read.remote_random, read.connect_retry, read.connect_retry_max) == (True, (5.0, 20.0), 3)
    assert (read.connect_timeout, read.route_nopull) == (4.0, True)
    assert read.routes == (
        Route(ip_network("192.168.1.0/24"), "vpn_gateway", 9),
        Route(ip_network("192.0.2.1/32"), "net_gateway", 50),
        Route(ip_network("10.1.0.0/16"), None, 50),
        Route(ip_network("fd00::/8"), None, 50),
    )
    assert read.redirect_gateway == ("def1", "ipv6")
    assert (read.explicit_exit_notify, read.auth_retry) == (1, "nointeract")


@pytest.mark.parametrize(
    ("line", "at_server", "at_client"),
    [
        ("", (3600, 360), (3600, 0)),
        ("reneg-sec 0", (0, 0), (0, 0)),
        ("reneg-sec 600", (600, 60), (600, 0)),
        ("reneg-sec 600 450", (600, 150), (600, 150)),
    ],
)
def test_servers_renegotiate_a_little_earlier_each_time_as_stock_does(
    files: ConfigFiles, line: str, at_server: tuple[float, float], at_client: tuple[float, float]
) -> None:
    for text, wanted in ((SERVER_OVPN, at_server), (CLIENT_OVPN, at_client)):
        control = files.parse(text + line).control
        assert (control.reneg_sec, control.reneg_jitter) == wanted


@pytest.mark.parametrize(
    ("lines", "ping", "restart", "leave"),
    [
        ("", 0, 0, 0),
        ("ping 5\nping-restart 30\n", 5, 30, 0),
        ("ping-restart 30\nping-exit 40\n", 0, 0, 40),
        ("ping-exit 40\nping-restart 30\n", 0, 30, 0),
        ("keepalive 10 60\n", 10, 120, 0),
    ],
)
def test_keepalive(files: ConfigFiles, lines: str, ping: float, restart: float, leave: float) -> None:
    data = read_either(files, lines).data
    assert (data.ping, data.ping_restart, data.ping_exit) == (ping, restart, leave)


@pytest.mark.shows("compat-mode")
@pytest.mark.parametrize(
    ("lines", "ciphers", "fallback"),
    [
        ("", DEFAULT, None),
        ("cipher aes-192-gcm\n", DEFAULT, "AES-192-GCM"),
        ("ncp-ciphers AES-128-GCM:AES-256-CFB8\n", ("AES-128-GCM",), None),
        ("data-ciphers DEFAULT:AES-256-CBC:?aes-128-cbc\n", (*DEFAULT, "AES-256-CBC", "AES-128-CBC"), None),
        ("cipher AES-192-CBC\nauth SHA512\n", DEFAULT, "AES-192-CBC"),
        ("cipher bf-cbc\n", DEFAULT, "BF-CBC"),
        ("cipher CAMELLIA-128-CBC\n", DEFAULT, None),
        ("compat-mode 2.5.0\ncipher AES-256-CBC\n", DEFAULT, "AES-256-CBC"),
        ("compat-mode 2.4.12\ncipher AES-256-CBC\n", (*DEFAULT, "AES-256-CBC"), "AES-256-CBC"),
        ("compat-mode 2.4.12\n", DEFAULT, None),
        ("compat-mode 2.3.6\n", (*DEFAULT, "BF-CBC"), "BF-CBC"),
        ("data-ciphers ?CHACHA21:AES-192-GCM\n", ("AES-192-GCM",), None),
        ("data-ciphers AES-192-GCM:DEFAULT\n", ("AES-192-GCM", *DEFAULT), None),
        ("data-ciphers-fallback AES-256-CBC\ncipher AES-128-GCM\n", DEFAULT, "AES-256-CBC"),
    ],
)
def test_ciphers(files: ConfigFiles, lines: str, ciphers: tuple[str, ...], fallback: str | None) -> None:
    data = read_either(files, lines).data
    assert (data.ciphers, data.ciphers_fallback) == (ciphers, fallback)


def test_tls_options(files: ConfigFiles) -> None:
    tls = files.parse(
        CLIENT_OVPN + "tls-version-min 1.4 or-highest\ntls-groups X25519:secp384r1\nextra-certs ca.crt\n"
        "tls-cipher TLS-ECDHE-ECDSA-WITH-AES-256-GCM-SHA384:TLS-ECDHE-RSA-WITH-CHACHA20-POLY1305-SHA256\n"
        "tls-ciphersuites TLS_AES_256_GCM_SHA384\ntls-cert-profile preferred\n"
        'remote-cert-eku "TLS Web Server Authentication"\n'
    ).tls
    assert (tls.version_min, tls.groups, tls.remote_cert_tls) == ("1.3", "X25519:secp384r1", "server")
    assert tls.cipher_list == (
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384:TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256:@SECLEVEL=2"
    )
    assert tls.ciphersuites == "TLS_AES_256_GCM_SHA384"
    assert tls.extra_certs is not None


def test_old_tls_versions_are_raised_with_a_note(files: ConfigFiles) -> None:
    read = read_either(files, "tls-version-min 1.0\n")
    assert read.tls.version_min == "1.2"
    assert "test.conf:9: tls-version-min: changes nothing here: TLS below 1.2 is not spoken" in read.notes


@pytest.mark.shows("ignore-unknown-option")
def test_unknown_options_may_be_allowed(files: ConfigFiles) -> None:
    read = read_either(files, "ignore-unknown-option novel --newer\nnovel 1\nnewer\nsetenv opt newest x\n")
    assert [note.split(": ", 1)[1] for note in read.notes[1:]] == [
        "novel: is unknown, and was allowed to be",
        "newer: is unknown, and was allowed to be",
        "newest: is unknown, and was allowed to be",
    ]
    assert len(read_either(files, "anything\nsetenv FORWARD_COMPATIBLE 1\n").notes) == 3


def test_setenv_opt_says_an_option_that_is_known(files: ConfigFiles) -> None:
    assert read_either(files, "setenv opt verb 5\n").verb == 5


def test_names_of_old(files: ConfigFiles) -> None:
    assert client(files, "setenv SERVER_POLL_TIMEOUT 9\n").connect_timeout == 9.0
    text = CLIENT_OVPN.replace("ca ca.crt", "ca [inline]") + f"tls-auth [inline] 1\n<ca>\n{files.text('ca.crt')}</ca>\n"
    control = files.parse(text + f"<tls-auth>\n{files.text('ta.key')}</tls-auth>\n").control
    assert (control.wrapping, control.key_direction) == (ControlWrapping.TLS_AUTH, 1)


def test_included_files_stand_where_they_are_named(files: ConfigFiles) -> None:
    (files.path / "common.conf").write_text("verb 5\nca missing.crt\n")
    (files.path / "endless.conf").write_text("config endless.conf\n")
    assert read_either(files, "config common.conf\nverb 4\nca ca.crt\n").verb == 4
    common = files.path / "common.conf"
    assert files.line(SERVER_OVPN + "config common.conf\n").startswith(f"{common}:2: ca: cannot read")
    assert files.line("config endless.conf\n").endswith("config: files include each other without end")
    assert files.line("config none.conf\n") == (
        f"test.conf:1: config: cannot read {files.path}/none.conf: No such file or directory"
    )


def test_cd_moves_relative_paths(files: ConfigFiles) -> None:
    (files.path / "keys").mkdir()
    (files.path / "keys" / "moved.key").write_text(files.text("tls-crypt.key"))
    text = SERVER_OVPN.replace(" ca.crt", " ../ca.crt").replace(" server.", " ../server.")
    control = files.parse(text + "tls-crypt moved.key\ncd keys\n").control
    assert control.wrapping is ControlWrapping.TLS_CRYPT


@pytest.mark.parametrize(
    ("lines", "answer"),
    [
        ("kepalive 10 60", "kepalive: unknown option; did you mean keepalive?"),
        ("qqqqqq", "qqqqqq: unknown option; remove it"),
        ("keepalive 10", "keepalive: takes 2 arguments, this has 1"),
        ("topology", "topology: takes 1 argument, this has 0"),
        ("<verb>\n3\n</verb>", "verb: cannot be an inline block; write it on one line"),
        ("topology ring", "topology: 'ring' is not one of subnet, net30, p2p"),
        ("dev null", "dev: there are tun and tap devices, no null; use dev tun"),
        ("dev vpn0", "dev: the name begins with neither tun nor tap; add dev-type tun or dev-type tap"),
        ("dev vpn0\ndev-type null", "dev-type: 'null' is not one of tun, tap"),
        ("lladdr 02:00:00:00:00:01", "lladdr: only a tap has an Ethernet address; remove it, or use dev tap"),
        ("dev tap\nlladdr 02:00:00:00:01", "lladdr: '02:00:00:00:01' is not an Ethernet address"),
        ("dev tap\ntun-mtu 65522", "tun-mtu: '65522' is not a whole number from 576 to 65521"),
        ("dev tap\nlladdr 03:00:00:00:00:01", "lladdr: 03:00:00:00:00:01 is the address of a group"),
        ("vlan-tagging", "vlan-tagging: only a tap has VLANs; remove it, or use dev tap"),
        ("dev tap\nvlan-pvid 5", "vlan-pvid: needs vlan-tagging beside it"),
        ("secret static.key", "secret: is not supported: static key mode has no TLS"),
        ("mtu-dynamic 1300", "mtu-dynamic: is not supported: stock OpenVPN has replaced it by fragment"),
        ("management localhost 7505", "management: is not supported: there is no management interface"),
        ("plugin x.so", "plugin: is not supported: no script is run"),
        ("up /bin/true", "up: is not supported: no script is run"),
        ("client-connect /bin/true", "client-connect: is not supported"),
        ("chroot /var/empty", "chroot: is not supported: use twistd --chroot"),
        ("ns-cert-type client", "ns-cert-type: is not supported: it looks at an obsolete extension; use"),
        ("no-replay", "no-replay: is not supported"),
        ("reneg-bytes -1", "reneg-bytes: '-1' is not a whole number of at least 0"),
        ("reneg-sec 60 70", "reneg-sec: the second number is the smaller one; use reneg-sec 3600 3000"),
        ("cipher none", "cipher: data is never sent in the clear"),
        ("cipher AES-256-GMC", "cipher: there is no cipher 'AES-256-GMC'; near: AES-256-GCM"),
        ("compat-mode 2.4", "compat-mode: '2.4' is not a version; write it as 2.4.0"),
        ("data-ciphers DEFAULT:none", "data-ciphers: data is never sent in the clear"),
        ("auth none\ncipher AES-256-CBC", "auth: AES-256-CBC needs a digest"),
        ("auth none\ntls-auth ta.key", "auth: tls-auth needs a digest; use SHA256"),
        ("tls-auth ta.key\ntls-crypt tls-crypt.key", "tls-crypt: contradicts tls-auth (line 9); keep one of them"),
        ("tls-auth ta.key 1\nkey-direction 0", "key-direction: contradicts tls-auth (line 9)"),
        ("client", "client: contradicts server (line 8); keep one of them"),
        ("tls-client", "tls-client: contradicts server (line 8)"),
        ("remote a", "remote: has no meaning for a server; remove it"),
        ("auth-user-pass login.txt", "auth-user-pass: has no meaning for a server"),
        ("proto tcp-client", "proto: tcp-client is for the other end; write tcp"),
        ("local 300.1.2.3", "local: '300.1.2.3' is neither an IP address nor the name of a host"),
        ("local bar/", "local: 'bar/' is neither an IP address nor the name of a host"),
        ("local foo bar/", "local: 'bar/' is not a whole number from 0 to 65535"),
        ('local ""', "local: '' is neither an IP address nor the name of a host"),
        ("proto sctp", "proto: unknown protocol 'sctp'; use udp or tcp"),
        ("port http", "port: 'http' is not a whole number from 0 to 65535"),
        ("ifconfig 10.8.0.1 10.8.0.2", "ifconfig: contradicts server (line 8)"),
        ("ifconfig-pool 10.8.0.4 10.8.0.9", "ifconfig-pool: contradicts server (line 8), which makes the pool"),
        ("server 10.8.0.0 255.255.255.254", "server: 10.8.0.0/31 has no room for the server and a client"),
        ("server 10.8.0.1 255.255.255.0", "the network is 10.8.0.0/24"),
        ("server 10.8.0.0 255.255.0.255", "is not a network"),
        ("server-ipv6 fd00::/48", "server-ipv6: fd00::/48 must be between /64 and /124"),
        ("verify-client-cert none", "verify-client-cert: none lets anyone in without an authenticator"),
        ("client-cert-not-required", "client-cert-not-required: none lets anyone in without an authenticator"),
        ("crl-verify crls dir", "crl-verify: a directory of serial numbers is not read"),
        ("tls-version-max 1.1", "tls-version-max: TLS below 1.2 is not spoken"),
        ("tls-version-min 1.3\ntls-version-max 1.2", "tls-version-max: is below tls-version-min (1.3)"),
        ("tls-cipher TLS-NONSENSE", "tls-cipher: OpenSSL knows no cipher of this list"),
        ("tls-ciphersuites TLS_NONSENSE", "tls-ciphersuites: OpenSSL does not know these"),
        ("ecdh-curve secp257r1", "ecdh-curve: OpenSSL does not know all of 'secp257r1'"),
        ("tls-cert-profile insecure", "tls-cert-profile: is not offered; use preferred"),
        ("remote-cert-eku 1.2.3", "remote-cert-eku: only server and client authentication are looked for"),
        ("setenv GENERIC_CONFIG", "setenv: this is a generic profile"),
        ("route nowhere", "route: 'nowhere' is not an IPv4 address"),
        ("route remote_host", "route: remote_host is different for each client; write the network's address"),
        ('push "route 1.2.3.1 255.255.0.255"', "push: 255.255.0.255 is not a netmask; write one as 255.255.255.0"),
        ("status nowhere/status.log", "status: there is no folder "),
        ('push "route 10.0.0.0 255.0.0.0,x"', "push: 'route 10.0.0.0 255.0.0.0,x' has a comma"),
        ("max-clients 99999999", "max-clients: '99999999' is not a whole number from 1 to 16777214"),
        ("replay-window 65537", "replay-window: '65537' is not a whole number from 0 to 65536"),
        ("connect-freq 0 10", "connect-freq: '0' is not a whole number of at least 1"),
        ("connect-freq-initial 10", "connect-freq-initial: takes 2 arguments, this has 1"),
        ("inactive -1", "inactive: '-1' is not a number of seconds"),
        ("show-tls", "show-tls: is not supported: this is a command"),
        ("x509-username-field OU", "x509-username-field: only the common name (CN) names a client"),
    ],
)
def test_a_mistake_is_one_line_with_its_place(files: ConfigFiles, lines: str, answer: str) -> None:
    line = files.line(SERVER_OVPN + lines + "\n", "server.conf")
    place, _, rest = line.partition(": ")
    assert place in {"server.conf:8", "server.conf:9", "server.conf:10"}
    assert answer in rest


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("dev tun\n", "test.conf: client: is missing; a configuration has client, or server NETWORK NETMASK"),
        ("verb 3\n", "test.conf: client: is missing"),
        ("tls-server\n", "test.conf: ifconfig: is missing; write ifconfig LOCAL REMOTE, or server NETWORK NETMASK"),
        ("tls-client\n", "test.conf: ifconfig: is missing; write ifconfig LOCAL REMOTE, or client for another mode"),
        ("mode p2p\n", "test.conf:1: mode: says point-to-point mode, which needs tls-server at one end and"),
        ("tls-server\ntls-client\n", "test.conf:2: tls-client: contradicts"),
        ("pull\n", "test.conf:1: pull: needs tls-client beside it"),
        ("mode server\n", "test.conf:1: mode: needs tls-server beside it"),
        ("mode server\ntls-server\n", "test.conf: server: is missing; write server NETWORK NETMASK"),
        ("client\n", "test.conf: remote: is missing; write remote HOST [PORT [udp|tcp]]"),
        ("client\nremote a\n", "test.conf: ca: is missing"),
        ("client\nremote a\nnobind\nlport 5\n", "test.conf:4: lport: contradicts nobind (line 3)"),
        ("client\nremote a 1 sctp\n", "test.conf:2: remote: unknown protocol 'sctp'"),
        ("client\nremote a\nproto-force tcp\n", "test.conf:3: proto-force: no remote is left; none of them is tcp"),
        ("client\nremote a\nduplicate-cn\n", "test.conf:3: duplicate-cn: has no meaning for a client; remove it"),
        ("client\nremote a\nauth-retry often\n", "test.conf:3: auth-retry: 'often' is not one of"),
        ("client\nremote a\nredirect-gateway def2\n", "test.conf:3: redirect-gateway: 'def2' is not one of"),
    ],
)
def test_a_configuration_that_says_too_little_or_the_wrong_thing(files: ConfigFiles, text: str, answer: str) -> None:
    assert files.line(text).startswith(answer)


@pytest.mark.parametrize(
    "lines",
    [
        "key-method 2",
        "comp-noadapt",
        "setenv X y",
        "tun-ipv6",
        "mute 20",
        "script-security 2",
        "x509-username-field CN",
    ],
)
def test_what_changes_nothing_is_noted(files: ConfigFiles, lines: str) -> None:
    notes = read_either(files, lines + "\n").notes
    assert len(notes) == 2
    assert notes[1].startswith(f"test.conf:9: {lines.split(maxsplit=1)[0]}: changes nothing here: ")


@pytest.mark.shows(
    "pull-filter", "redirect-private", "route-noexec", "ifconfig-noexec", "block-ipv6", "route-ipv6-gateway"
)
def test_what_a_client_makes_of_what_is_pushed(files: ConfigFiles) -> None:
    settings = files.parse(
        CLIENT_OVPN + 'pull-filter ignore "route 10.1"\npull-filter reject dhcp-option\nredirect-private def1 ipv6\n'
        "route-noexec\nifconfig-noexec\nblock-ipv6\ntopology subnet\nroute-metric 7\ndhcp-option DNS 10.8.0.1\n"
        "dns server 1 address fd00::1\nroute-ipv6-gateway fd00::9\nroute-ipv6 fd01::/64\n"
    )
    read, device = settings.client, settings.device
    assert read is not None
    assert read.pull_filters == (("ignore", "route 10.1"), ("reject", "dhcp-option"))
    assert read.redirect_gateway == ("def1", "ipv6", "!ipv4")
    assert (device.route_noexec, device.ifconfig_noexec, device.block_ipv6) == (True, True, True)
    assert (read.topology, read.route_metric) == ("subnet", 7)
    assert read.dns == ("dhcp-option DNS 10.8.0.1", "dns server 1 address fd00::1")
    assert read.routes == (Route(ip_network("fd01::/64"), "fd00::9", 7),)
    assert settings.notes == ()


def test_a_clients_routes_to_the_ends_of_the_tunnel(files: ConfigFiles) -> None:
    ends = "route remote_host 255.255.255.255 net_gateway\nroute vpn_gateway default default 5\n"
    read = client(files, ends + "route 10.0.0.0\n")
    assert read.end_routes == (EndRoute("remote_host", "net_gateway"), EndRoute("vpn_gateway", None, 5))
    assert read.routes == (Route(ip_network("10.0.0.0/32")),)


@pytest.mark.parametrize(
    ("option", "answer"),
    [
        ("pull-filter drop x", "pull-filter: 'drop' is not one of accept, ignore, reject"),
        ("pull-filter accept", "pull-filter: takes 2 arguments, this has 1"),
        ("redirect-private sideways", "redirect-private: 'sideways' is not one of local"),
        ("dhcp-option DNS somewhere", "dhcp-option: 'somewhere' does not appear to be an IPv4 or IPv6 address"),
        ("dhcp-option DNS", "dhcp-option: has too few words"),
        ("dns server 1 colour red", "dns: a dns server has no colour red"),
        ("topology ring", "topology: 'ring' is not one of subnet, net30, p2p"),
    ],
)
def test_a_clients_mistake(files: ConfigFiles, option: str, answer: str) -> None:
    assert answer in files.line(CLIENT_OVPN + option + "\n")
