from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Interface, ip_network

import pytest

from tests.config_files import CLIENT_INI, SERVER_INI, ConfigFiles, make_files
from twistvpn.config.settings import (
    ClientSettings,
    ControlWrapping,
    Listen,
    LoginSettings,
    Remote,
    Route,
    ServerSettings,
)
from twistvpn.overrides import ClientOverrides, Ifconfig, Ifconfig6


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> ConfigFiles:
    return make_files(tmp_path_factory.mktemp("config"))


def server(files: ConfigFiles, lines: str = "") -> ServerSettings:
    read = files.parse(SERVER_INI.replace("[tls]", f"{lines}\n[tls]")).server
    assert read is not None
    return read


def client(files: ConfigFiles, lines: str = "") -> ClientSettings:
    read = files.parse(CLIENT_INI.replace("[tls]", f"{lines}\n[tls]")).client
    assert read is not None
    return read


def server_mistake(files: ConfigFiles, lines: str) -> str:
    """What a [server] with these lines from line 4 on is answered."""
    return files.line(SERVER_INI.replace("[tls]", f"{lines}\n[tls]"), "server.ini")


def listen(files: ConfigFiles, text: str) -> Listen:
    read = files.parse(SERVER_INI.replace("udp:1194", text)).server
    assert read is not None
    (end,) = read.listen
    return end


def remote(files: ConfigFiles, text: str) -> Remote:
    read = files.parse(CLIENT_INI.replace("udp:vpn.example.org:1194", text)).client
    assert read is not None
    (end,) = read.remotes
    return end


def test_a_whole_server(files: ConfigFiles) -> None:
    text = """\
# comment
[server]
listen =                 ; one a line
    udp:1194
    # between them
    tcp:1194             # after white space

    haproxy:tcp:1195
network = 10.8.0.0/24
network6 = fd00:1:2:3::/64
address = 10.8.0.254
address6 = fd00:1:2:3::ff
pool = 10.8.0.10-10.8.0.99
fixed-address =
    printer 10.8.0.200 fd00:1:2:3::200
    "the boss" 10.8.0.7
push =
    route 192.168.1.0 255.255.255.0
    dhcp-option DNS 10.8.0.254
route =
    192.168.7.0/24
    192.168.8.0/24 via 10.8.0.10 metric 7
    fd00:8::/64 via fd00:1:2:3::10
keepalive = 10 60
client-to-client = yes
duplicate-cn = no
max-clients = 20
auth =
    memory:alice:secret
username-as-common-name = on
explicit-exit-notify = 1
user = nobody
group = nogroup

[tls]
ca = ca.crt
cert = "server.crt"
key = server.key
crl-verify = crl.pem
remote-cert-tls = client
verify-client-cert = optional
verify-x509-name = "client one" name-prefix
tls-version-min = 1.3
tls-ciphersuites = TLS_AES_256_GCM_SHA384
[control]
tls-auth = ta.key 0
auth = SHA256
hand-window = 30
tran-window = 600
tls-timeout = 0.5
reneg-sec = 600 500
reneg-bytes = 64000000
reneg-pkts = 9000000000
[data]
data-ciphers = chacha20-poly1305:AES-256-GCM
data-ciphers-fallback = AES-128-GCM
replay-window = 128 30
mssfix = 1400 mtu
[device]
dev = tun7
tun-mtu = 1400
txqueuelen = 500
offload = no
[log]
verb = 4
status = status.log 10
"""
    settings = files.parse(text)
    read = settings.server
    assert read is not None
    assert [(end.proto, end.port, end.endpoint) for end in read.listen] == [
        ("udp", 1194, None),
        ("tcp", 1194, None),
        ("tcp", 0, "haproxy:tcp:1195"),
    ]
    assert [end.origin.line for end in read.listen if end.origin] == [4, 6, 8]
    assert (read.network, read.network6) == (ip_network("10.8.0.0/24"), ip_network("fd00:1:2:3::/64"))
    assert (read.address, read.address6) == (IPv4Address("10.8.0.254"), IPv6Address("fd00:1:2:3::ff"))
    assert read.pool == (IPv4Address("10.8.0.10"), IPv4Address("10.8.0.99"))
    netmask = IPv4Address("255.255.255.0")
    assert read.clients == {
        "printer": ClientOverrides(
            ifconfig=Ifconfig(IPv4Address("10.8.0.200"), netmask),
            ifconfig6=Ifconfig6(IPv6Interface("fd00:1:2:3::200/64")),
        ),
        "the boss": ClientOverrides(ifconfig=Ifconfig(IPv4Address("10.8.0.7"), netmask)),
    }
    assert read.push == ("route 192.168.1.0 255.255.255.0", "dhcp-option DNS 10.8.0.254")
    assert read.routes == (
        Route(ip_network("192.168.7.0/24")),
        Route(ip_network("192.168.8.0/24"), "10.8.0.10", 7),
        Route(ip_network("fd00:8::/64"), "fd00:1:2:3::10"),
    )
    assert (read.client_to_client, read.duplicate_cn, read.max_clients) == (True, False, 20)
    assert (read.authenticators, read.username_as_common_name) == (("memory:alice:secret",), True)
    assert "secret" not in repr(settings)
    assert (read.push_ping, read.push_ping_restart, read.explicit_exit_notify) == (10.0, 60.0, 1)
    assert (settings.user, settings.group, settings.verb) == ("nobody", "nogroup", 4)
    assert (settings.status, settings.status_interval) == (str(files.path / "status.log"), 10.0)
    tls = settings.tls
    assert (tls.remote_cert_tls, tls.verify_client_cert) == ("client", "optional")
    assert tls.verify_x509_name == ("client one", "name-prefix")
    assert (tls.version_min, tls.version_max, tls.ciphersuites) == ("1.3", None, "TLS_AES_256_GCM_SHA384")
    control = settings.control
    assert (control.wrapping, control.key_direction, control.auth) == (ControlWrapping.TLS_AUTH, 0, "SHA256")
    assert (control.hand_window, control.tran_window) == (30.0, 600.0)
    assert (control.tls_timeout, control.reneg_sec, control.reneg_jitter) == (0.5, 600.0, 100.0)
    assert (control.reneg_bytes, control.reneg_pkts) == (64_000_000, 9_000_000_000)
    data = settings.data
    assert (data.ciphers, data.ciphers_fallback) == (("CHACHA20-POLY1305", "AES-256-GCM"), "AES-128-GCM")
    assert (data.replay_window, data.replay_time) == (128, 30.0)
    assert (data.mssfix, data.mssfix_mode) == (1400, "mtu")
    assert (data.ping, data.ping_restart) == (10.0, 120.0)
    device = settings.device
    assert (device.dev, device.mtu, device.txqueuelen, device.offload) == ("tun7", 1400, 500, False)


def test_a_whole_client(files: ConfigFiles) -> None:
    read = client(
        files,
        """\
remote-random = yes
connect-timeout = 7
connect-retry = 2 30
connect-retry-max = 5
auth-user-pass = login.txt
auth-retry = nointeract
route-nopull = yes
route = 192.168.1.0/24
redirect-gateway = def1 ipv6
explicit-exit-notify = 3
local = 192.0.2.1
lport = 1234
keepalive = 5 20
""",
    )
    assert (read.remote_random, read.connect_timeout, read.connect_retry) == (True, 7.0, (2.0, 30.0))
    assert (read.connect_retry_max, read.login) == (5, LoginSettings("alice", "secret password"))
    assert (read.auth_retry, read.route_nopull) == ("nointeract", True)
    assert read.routes == (Route(ip_network("192.168.1.0/24")),)
    assert read.redirect_gateway == ("def1", "ipv6")
    assert (read.explicit_exit_notify, read.local, read.local_port) == (3, "192.0.2.1", 1234)


@pytest.mark.parametrize(
    ("text", "proto", "host", "port"),
    [
        ("udp:1194", "udp", "", 1194),
        ("tcp:0", "tcp", "", 0),
        ("udp4:1194", "udp", "0.0.0.0", 1194),
        ("tcp6:1194", "tcp", "::", 1194),
        ("udp:10.0.0.1:1194", "udp", "10.0.0.1", 1194),
        ("udp:[::1]:1194", "udp", "::1", 1194),
        ("tcp:vpn.example.org:443", "tcp", "vpn.example.org", 443),
    ],
)
def test_listen(files: ConfigFiles, text: str, proto: str, host: str, port: int) -> None:
    end = listen(files, text)
    assert (end.proto, end.host, end.port, end.endpoint) == (proto, host, port, None)


@pytest.mark.parametrize(
    "text",
    [
        "tcp:1194:interface=127.0.0.1",
        "systemd:domain=INET:index=0",
        "unix:/run/x",
        "haproxy:tcp:1194",
    ],
)
def test_listen_takes_any_server_endpoint(files: ConfigFiles, text: str) -> None:
    end = listen(files, text)
    assert (end.proto, end.endpoint) == ("tcp", text)


@pytest.mark.parametrize(
    ("text", "host", "port", "proto"),
    [
        ("udp:vpn.example.org:1194", "vpn.example.org", 1194, "udp"),
        ("tcp:192.0.2.1:443", "192.0.2.1", 443, "tcp"),
        ("udp6:[2001:db8::1]:1194", "2001:db8::1", 1194, "udp"),
    ],
)
def test_remote(files: ConfigFiles, text: str, host: str, port: int, proto: str) -> None:
    end = remote(files, text)
    assert (end.host, end.port, end.proto, end.endpoint) == (host, port, proto, None)


def test_remote_takes_any_client_endpoint(files: ConfigFiles) -> None:
    end = remote(files, "tls:h:443:timeout=5")
    assert (end.host, end.port, end.proto, end.endpoint) == ("h", 443, "tcp", "tls:h:443:timeout=5")
    end = remote(files, "tcp:port=443:host=h:timeout=5")
    assert (end.host, end.port, end.endpoint) == ("h", 443, "tcp:port=443:host=h:timeout=5")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("udpp:1194", "'udpp:1194' is no endpoint; did you mean udp?"),
        ("1194", "'1194' is no endpoint"),
        ("haproxy:ssl:443", "a proxy's header comes before TLS"),
        ("udp:host", "'udp:host' is not udp:PORT or udp:HOST:PORT"),
        ("udp:70000", "'70000' is not a whole number from 0 to 65535"),
    ],
)
def test_a_listen_that_is_none(files: ConfigFiles, text: str, message: str) -> None:
    assert message in files.line(SERVER_INI.replace("udp:1194", text))


@pytest.mark.parametrize(
    ("lines", "answer"),
    [
        ("netwrok6 = ::/64", "server.ini:4: netwrok6: unknown option in [server]; did you mean network6?"),
        ("ca = ca.crt", "server.ini:4: ca: unknown option in [server]; it belongs in [tls]"),
        ("port = 1194", "server.ini:4: port: unknown option in [server]; write listen = udp:PORT"),
        ("server = 10.8.0.0 255.255.255.0", "unknown option in [server]; write network = 10.8.0.0/24"),
        ("cipher = AES-256-CBC", "server.ini:4: cipher: unknown option in [server]; write data-ciphers"),
        ("management = localhost 7505", "management: is not supported: there is no management interface; remove it"),
        ("up = /bin/true", "server.ini:4: up: is not supported: no script is run"),
        ("dh = dh.pem", "server.ini:4: dh: changes nothing here: keys are agreed on elliptic curves"),
        ("push = route 10.1.0.0/16", "push: '10.1.0.0/16' is not read by clients; write route 10.1.0.0 255.255.0.0"),
        ("push = route lan/16", "server.ini:4: push: 'lan/16' is not an IPv4 address"),
        ("auth = file:", "server.ini:4: auth: names no file; write file:PATH"),
        ("auth = file:missing", "server.ini:4: auth: cannot read "),
        ("auth = file:.", "is no file"),
        ("push route", "server.ini:4: push route: has no value; write it as NAME = VALUE"),
        ("push =", "server.ini:4: push: has no value"),
        ("\nnetwork = 10.9.0.0/24", "server.ini:5: network: is there already (line 3); keep one of them"),
        ("client-to-client = maybe", "server.ini:4: client-to-client: 'maybe' is neither yes nor no"),
        ("max-clients = 5\n   6", "server.ini:5: max-clients: takes one value on one line"),
        ("max-clients = 0", "server.ini:4: max-clients: '0' is not a whole number from 1 to 16777214"),
        ("keepalive = 10", "server.ini:4: keepalive: takes 2 words, this has 1"),
        ("keepalive = 10 15", "must be at least twice the first"),
        (
            "push = a\npush = b",
            "server.ini:5: push: is there already (line 4); put both under that one, each on a line",
        ),
        ("ping = 10\nkeepalive = 10 60", "server.ini:4: ping: contradicts keepalive (line 5); keep one of them"),
        ("pool = 10.8.0.9-10.8.0.2", "server.ini:4: pool: the pool ends (10.8.0.2) before it begins (10.8.0.9)"),
        (
            "pool = 10.8.0.9-10.8.0.255",
            "server.ini:4: pool: the pool's 10.8.0.255 is not the address of a host in",
        ),
        ("pool = 10.8.0.1-10.8.0.1", "server.ini:4: pool: the pool has no address but the server's own (10.8.0.1)"),
        ("pool = 10.8.0.9", "server.ini:4: pool: a pool is written FIRST-LAST"),
        ("address = 10.9.0.1", "server.ini:4: address: 10.9.0.1 is not the address of a host in 10.8.0.0/24"),
        ("address6 = fd00::1", "server.ini:4: address6: needs network6, which is missing"),
        ("network6 = fd00::/48", "server.ini:4: network6: fd00::/48 must be between /64 and /124"),
        (
            "fixed-address =\n a 10.8.0.7\n b 10.8.0.7",
            "server.ini:6: fixed-address: b and a want one address, 10.8.0.7",
        ),
        ("fixed-address = a 10.8.0.1", "server.ini:4: fixed-address: 10.8.0.1 is the server's own address"),
        ("fixed-address =\n a 10.8.0.7\n a 10.8.0.8", "server.ini:6: fixed-address: a has an address already"),
        (
            "fixed-address = a 10.9.0.1",
            "server.ini:4: fixed-address: 10.9.0.1 is not the address of a host in 10.8.0.0",
        ),
        (
            "fixed-address = a fd00::1",
            "server.ini:4: fixed-address: fd00::1 has no network of its family left to be in",
        ),
        ("fixed-address = a", "server.ini:4: fixed-address: is written NAME ADDRESS [ADDRESS6]"),
        ("push = route 1.2.3.4,evil", "has a comma or a control character"),
        ("push = topology net30", "server.ini:4: push: the server's topology is subnet; remove it"),
        ("push = " + "x" * 256, "server.ini:4: push: the option is longer than 255 bytes"),
        ("route = 192.168.1.0/24 over 10.8.0.2", "a route is written NETWORK/BITS [via ADDRESS] [metric N]"),
        ("route = 192.168.1.1/24", "is an address inside a network; the network is 192.168.1.0/24"),
        ("auth = fiel:/etc/passwords", "server.ini:4: auth: unknown kind of authenticator 'fiel'; did you mean file?"),
        ("username-as-common-name = yes", "there are no usernames without an authenticator"),
        ("[tls]\nca = ca.crt", "server.ini:6: [tls]: the section is there already (line 4); join them"),
        ("[sever]", "server.ini:4: [sever]: unknown section; did you mean server?"),
        ("[server", "server.ini:4: [server: the section's closing bracket is missing"),
        ("[client]", "server.ini:4: [client]: contradicts [server] (line 1); keep one of them"),
        ("[control]\ntls-auth = ta.key\ntls-crypt = tls-crypt.key", "tls-crypt: contradicts tls-auth (line 5)"),
        ("[control]\ntls-auth = ta.key 2", "server.ini:5: tls-auth: '2' is not one of 0, 1"),
        ("[control]\nauth = SHA265", "there is no digest 'SHA265'"),
        ("[data]\ndata-ciphers = AES-265-GCM", "server.ini:5: data-ciphers: there is no cipher 'AES-265-GCM'"),
        ("[data]\ndata-ciphers = AES-256-CFB", "server.ini:5: data-ciphers: none of these is offered"),
        ("[data]\ndata-ciphers = none", "server.ini:5: data-ciphers: data is never sent in the clear"),
        ("[data]\nmssfix = 1400 mss", "server.ini:5: mssfix: 'mss' is not one of mtu, fixed"),
        ("[device]\nlladdr = 02:00:00:00:00:01", "server.ini:5: lladdr: only a tap has an Ethernet address"),
        ("[device]\ndev = tun-with-a-long-name", "is not a name for an interface"),
        ("[device]\ntun-mtu = lots", "server.ini:5: tun-mtu: 'lots' is not a whole number"),
        ("[log]\nstatus = status.log 0", "server.ini:5: status: must be more than 0 seconds"),
        ("tls-server = yes", "tls-server: unknown option in [server]; the section says it: [server] or [client]"),
        (
            "ifconfig-push = 10.8.0.9",
            "ifconfig-push: unknown option in [server]; it belongs in a section [client NAME]",
        ),
    ],
)
def test_a_mistake_is_one_line_with_its_place(files: ConfigFiles, lines: str, answer: str) -> None:
    line = server_mistake(files, lines)
    assert line.startswith("server.ini:")
    assert answer in line


@pytest.mark.parametrize(
    ("old", "new", "answer"),
    [
        ("10.8.0.0/24", "10.8.0.0/31", "10.8.0.0/31 has no room for the server and a client"),
        ("10.8.0.0/24", "10.8.0.1/24", "'10.8.0.1/24' is an address inside a network; the network is 10.8.0.0/24"),
        ("10.8.0.0/24", "10.8.0.0", "'10.8.0.0' has no size; write it as 10.8.0.0/24"),
        ("network = 10.8.0.0/24\n", "", "test.conf: network: is missing in [server]"),
        ("listen = udp:1194\n", "", "test.conf: listen: is missing in [server]; write listen = udp:1194"),
        (
            "listen = udp:1194\n",
            "listen =\n  udp:1\n  udp:1\n",
            "test.conf:4: listen: is the same as line 3; remove one",
        ),
        ("udp:1194", "udp:300.1.2.3:1194", "test.conf:2: listen: '300.1.2.3' is neither an IP address nor the name"),
        ("udp:1194", "tcp:foo bar/:1194", "test.conf:2: listen: 'foo bar/' is neither an IP address nor the name"),
        ("[tls]", "[tls]\nverify-client-cert = none", "none lets anyone in without an authenticator"),
        ("[server]\n", "[log]\n", "test.conf:2: listen: unknown option in [log]; it belongs in [server]"),
    ],
)
def test_a_mistake_in_what_a_server_must_have(files: ConfigFiles, old: str, new: str, answer: str) -> None:
    assert answer in files.line(SERVER_INI.replace(old, new))


def test_a_client_has_no_servers_options(files: ConfigFiles) -> None:
    line = files.line(CLIENT_INI.replace("[tls]", "[tls]\nverify-client-cert = none"))
    assert line == "test.conf:4: verify-client-cert: has no meaning for a client; remove it"


@pytest.mark.parametrize("line", ["connect-retry = 0 30", "connect-timeout = 0"])
def test_a_client_does_not_try_without_a_pause(files: ConfigFiles, line: str) -> None:
    answer = files.line(CLIENT_INI.replace("[tls]", f"{line}\n[tls]"))
    assert answer == f"test.conf:3: {line.partition(' ')[0]}: must be more than 0 seconds"


def test_without_server_or_client_the_role_is_unknown(files: ConfigFiles) -> None:
    assert files.line("[tls]\nca = ca.crt\n") == (
        "test.conf: has neither a [server] nor a [client] section; one of them says what this end is"
    )


def test_a_header_may_have_spaces_in_it(files: ConfigFiles) -> None:
    assert files.line("[ server ]\n") == "test.conf: listen: is missing in [server]; write listen = udp:1194"


def test_a_server_without_ipv4(files: ConfigFiles) -> None:
    read = files.parse(SERVER_INI.replace("network = 10.8.0.0/24", "network6 = fd00::/64")).server
    assert read is not None
    assert (read.network, read.network6) == (None, ip_network("fd00::/64"))


def test_a_netmask_in_words_of_old(files: ConfigFiles) -> None:
    read = files.parse(SERVER_INI.replace("10.8.0.0/24", "10.8.0.0/255.255.255.0")).server
    assert read is not None
    assert read.network == ip_network("10.8.0.0/24")


def test_quotes_keep_what_would_be_a_comment(files: ConfigFiles) -> None:
    read = server(files, 'push = "echo a # b"   # comment')
    assert read.push == ("echo a # b",)


def test_options_may_be_indented(files: ConfigFiles) -> None:
    text = "\n".join(f"  {line}" if "=" in line else line for line in SERVER_INI.splitlines())
    assert files.parse(text) == files.parse(SERVER_INI)


def test_windows_line_ends(files: ConfigFiles) -> None:
    assert files.parse(SERVER_INI.replace("\n", "\r\n")) == files.parse(SERVER_INI)


def test_keepalive_on_a_client_is_taken_as_it_is(files: ConfigFiles) -> None:
    data = files.parse(CLIENT_INI.replace("[tls]", "keepalive = 10 60\n[tls]")).data
    assert (data.ping, data.ping_restart) == (10.0, 60.0)


def test_a_client_without_keepalive_waits_for_what_is_pushed(files: ConfigFiles) -> None:
    data = files.parse(CLIENT_INI).data
    assert (data.ping, data.ping_restart) == (0.0, 120.0)


def test_a_host_name_to_be_verified(files: ConfigFiles) -> None:
    tls = files.parse(CLIENT_INI + "verify-x509-name = vpn.example.org host\n").tls
    assert tls.verify_x509_name == ("vpn.example.org", "host")


def test_what_a_client_makes_of_what_is_pushed(files: ConfigFiles) -> None:
    lines = """\
pull-filter =
    accept "route 10.1"
    ignore "route "
redirect-gateway = def1
redirect-private = block-local
dns =
    server 1 address 10.8.0.1
    search-domains a b
block-ipv6 = yes
route-noexec = no
"""
    settings = files.parse(CLIENT_INI.replace("[tls]", f"{lines}[tls]"))
    assert settings.client is not None
    assert settings.client.pull_filters == (("accept", "route 10.1"), ("ignore", "route "))
    assert settings.client.redirect_gateway == ("def1", "block-local")
    assert settings.client.dns == ("dns server 1 address 10.8.0.1", "dns search-domains a b")
    assert (settings.device.block_ipv6, settings.device.route_noexec) == (True, False)
    line = files.line(CLIENT_INI.replace("[tls]", "pull-filter = accept\n[tls]"))
    assert "pull-filter: is written accept, ignore or reject" in line


def test_options_before_the_first_section_are_told_so(files: ConfigFiles) -> None:
    assert files.line(f"verb = 3\n{SERVER_INI}").endswith(":1: verb: stands before the first section")


def test_a_file_of_passwords_is_taken_from_the_configurations_folder(files: ConfigFiles) -> None:
    (files.path / "passwords").write_text("alice:secret\n")
    server = files.parse(SERVER_INI.replace("[tls]", "auth = file:passwords\n[tls]")).server
    assert server is not None
    assert server.authenticators == (f"file:{files.path}/passwords",)


def test_what_no_client_knows_is_pushed_with_a_note(files: ConfigFiles) -> None:
    settings = files.parse(SERVER_INI.replace("[tls]", "push = rout 10.1.0.0 255.255.0.0\n[tls]"))
    assert settings.server is not None
    assert settings.server.push == ("rout 10.1.0.0 255.255.0.0",)
    assert [note.partition(": push: ")[2] for note in settings.notes] == [
        "rout is unknown, clients may pass it over; did you mean route?"
    ]
    assert files.parse(SERVER_INI.replace("[tls]", "push = tun-ipv6\n[tls]")).notes == ()


def test_a_pushed_route_to_an_address_inside_its_network_is_noted(files: ConfigFiles) -> None:
    (note,) = files.parse(SERVER_INI.replace("[tls]", "push = route 10.1.2.3 255.255.0.0\n[tls]")).notes
    assert note.endswith(
        "push: 10.1.2.3 is an address inside a network, clients may refuse it; the network is 10.1.0.0"
    )
    assert files.parse(SERVER_INI.replace("[tls]", "push = route 10.1.2.3\n[tls]")).notes == ()
