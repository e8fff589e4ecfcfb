from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from twistvpn.cli.machine import choose_network, choose_network6, local_networks, overlapping
from twistvpn.cli.main import main
from twistvpn.config.load import load
from twistvpn.config.settings import ControlWrapping
from twistvpn.crypto.clientkey import ClientKey, ServerKey
from twistvpn.errors import EnvironmentRefusal
from twistvpn.wire.roles import Role

if TYPE_CHECKING:
    from click.testing import Result

ROOT = Path(__file__).resolve().parent.parent


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def ok(*arguments: str | Path) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def refused(*arguments: str | Path) -> str:
    result = run(*arguments)
    assert result.exit_code == 1, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


@pytest.fixture
def state(tmp_path: Path) -> Path:
    ok("init", tmp_path / "state", "--host", "vpn.example.org")
    return tmp_path / "state"


# -- init


def test_init_makes_a_configuration_that_loads(state: Path) -> None:
    settings = load(str(state / "server.ini"))
    assert settings.role is Role.SERVER
    assert settings.control.wrapping is ControlWrapping.NONE
    assert settings.control.crypt_v2 is not None
    server = settings.server
    assert server is not None
    assert [(entry.proto, entry.port) for entry in server.listen] == [("udp", 1194), ("tcp", 1194)]
    assert server.network is not None
    assert server.network.is_private
    assert server.network6 is not None
    assert server.network6.subnet_of(IPv6Network("fd00::/8"))
    assert settings.tls.crl == str(state / "crl.pem")


def test_init_takes_ports_and_networks(tmp_path: Path) -> None:
    networks = ("--network", "10.200.0.0/16", "--network6", "fd00:1:2:3::/64")
    ok("init", tmp_path, "--host", "h", "--port", "443", "--proto", "tcp", *networks)
    server = load(str(tmp_path / "server.ini")).server
    assert server is not None
    assert [(entry.proto, entry.port) for entry in server.listen] == [("tcp", 443)]
    assert (server.network, server.network6) == (ip_network("10.200.0.0/16"), ip_network("fd00:1:2:3::/64"))


def test_everything_that_the_new_server_ini_suggests_is_in_order(state: Path) -> None:
    text = (state / "server.ini").read_text()
    # A suggestion is a line '# option = value' with indented lines after it; prose has no '='.
    suggestions = re.sub(r"^# (?=[a-z0-9-]+ =|    \w)", "", text.split("[server]", 1)[1], flags=re.MULTILINE)
    ok("-d", state, "server", "add-key", "tls-crypt")
    (state / "all.ini").write_text("[server]" + suggestions)
    settings = load(str(state / "all.ini"))
    assert settings.server is not None
    assert settings.server.client_to_client
    assert settings.server.push == ("redirect-gateway def1 ipv6", "dhcp-option DNS 9.9.9.9")
    assert settings.status is not None


def test_init_tells_the_address_it_found(tmp_path: Path) -> None:
    told = ok("init", tmp_path)
    host = re.search(r"connect to (\S+) \(this machine's", told)
    assert host is not None
    assert f"remote {host[1]} 1194 udp\n" in ok("-d", tmp_path, "client", "add", "alice")


def test_init_without_a_default_route_takes_the_host_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("twistvpn.cli.init.own_address", lambda: None)
    monkeypatch.setattr("socket.gethostname", lambda: "box")
    assert "connect to box (this machine's host name" in ok("init", tmp_path)


def test_init_twice_is_refused_and_changes_nothing(state: Path) -> None:
    before = {path.name: path.read_bytes() for path in state.iterdir()}
    assert "holds a state already" in refused("init", state)
    assert {path.name: path.read_bytes() for path in state.iterdir()} == before


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--network", "10.8.0.1/24"),
        ("--network", "fd00::/64"),
        ("--network", "10.8.0.0/30"),
        ("--network", "nonsense"),
        ("--network6", "10.8.0.0/24"),
        ("--network6", "fd00::/126"),
        ("--network", "127.0.0.0/8"),
        ("--host", "no such/host"),
    ],
)
def test_init_refuses_what_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str, value: str) -> None:
    monkeypatch.setattr("twistvpn.cli.init.local_networks", lambda: [IPv4Network("127.0.0.0/8")])
    refused("init", tmp_path / "state", option, value)
    assert not (tmp_path / "state").exists()


def test_init_where_a_file_is_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert str(tmp_path / "file") in refused("init", tmp_path / "file")
    assert str(tmp_path / "file") in refused("init", tmp_path / "file" / "state")


# -- clients


def test_a_printed_profile_is_a_configuration_of_ours(state: Path, tmp_path: Path) -> None:
    text = ok("--dir", state, "client", "add", "alice")
    (tmp_path / "alice.ovpn").write_text(text)
    settings = load(str(tmp_path / "alice.ovpn"))
    client = settings.client
    assert client is not None
    assert [(remote.host, remote.port, remote.proto) for remote in client.remotes] == [
        ("vpn.example.org", 1194, "udp"),
        ("vpn.example.org", 1194, "tcp"),
    ]
    assert settings.tls.remote_cert_tls == "server"
    assert settings.tls.verify_x509_name == ("vpn.example.org", "name")
    server = load(str(state / "server.ini"))
    assert server.control.crypt_v2 is not None
    assert settings.control.crypt_v2 is not None
    _, metadata = ServerKey.from_text(server.control.crypt_v2.data).unwrap(
        ClientKey.from_text(settings.control.crypt_v2.data).wrapped
    )
    assert metadata.made == pytest.approx(time.time(), abs=60)
    assert settings.data.ciphers == server.data.ciphers
    assert "alice.ovpn: OK" in ok("check", tmp_path / "alice.ovpn")


def test_a_written_profile_is_its_owners_only(state: Path, tmp_path: Path) -> None:
    output = tmp_path / "alice.ovpn"
    old = os.umask(0)
    try:
        told = ok("-d", state, "client", "add", "alice", "--output", output)
    finally:
        os.umask(old)
    assert stat.S_IMODE(output.stat().st_mode) == 0o600
    assert "PRIVATE KEY" in output.read_text()
    assert "PRIVATE KEY" not in told


def test_a_profile_is_never_written_over_another_file(state: Path, tmp_path: Path) -> None:
    output = tmp_path / "alice.ovpn"
    output.write_text("precious")
    assert str(output) in refused("-d", state, "client", "add", "alice", "-o", output)
    assert output.read_text() == "precious"
    assert "alice" not in ok("-d", state, "client", "list")


def test_a_refused_name_leaves_no_file(state: Path, tmp_path: Path) -> None:
    refused("-d", state, "client", "add", "a/b", "-o", tmp_path / "new.ovpn")
    assert not (tmp_path / "new.ovpn").exists()


def test_an_active_name_is_refused_and_a_revoked_one_is_not(state: Path) -> None:
    ok("-d", state, "client", "add", "alice")
    assert "already" in refused("-d", state, "client", "add", "alice")
    assert "alice" in ok("-d", state, "client", "revoke", "alice")
    ok("-d", state, "client", "add", "alice")


def test_list_shows_what_became_of_each(state: Path) -> None:
    for name in ("alice", "bob"):
        ok("-d", state, "client", "add", name, "--days", "30")
    ok("-d", state, "client", "revoke", "alice")
    head, *rows = ok("-d", state, "client", "list").splitlines()
    assert head.split() == ["NAME", "SERIAL", "EXPIRES", "STATUS"]
    assert [(row.split()[0], row.split()[-1]) for row in rows] == [("alice", "revoked"), ("bob", "active")]
    crl = x509.load_pem_x509_crl((state / "crl.pem").read_bytes())
    assert [f"{entry.serial_number:x}" for entry in crl] == [rows[0].split()[1]]


def test_revoking_an_unknown_name_suggests_the_nearest(state: Path) -> None:
    ok("-d", state, "client", "add", "alice")
    assert "did you mean 'alice'?" in refused("-d", state, "client", "revoke", "alcie")


def test_profiles_follow_server_ini(state: Path) -> None:
    ini = state / "server.ini"
    text = ini.read_text().replace("    udp:1194\n    tcp:1194\n", "    tcp:443\n")
    ok("-d", state, "server", "add-key", "tls-crypt")
    text = text.replace("tls-crypt-v2 = tls-crypt-v2.key", "tls-auth = tls-crypt.key 0\nauth = SHA256")
    ini.write_text(text)
    profile = ok("-d", state, "client", "add", "alice", "--host", "2001:db8::1")
    assert re.findall(r"^remote .*", profile, re.MULTILINE) == ["remote 2001:db8::1 443 tcp"]
    assert "\nkey-direction 1\n" in profile
    assert "<tls-auth>" in profile


def test_profiles_ask_for_a_password_where_the_server_does(state: Path, tmp_path: Path) -> None:
    config = state / "server.ini"
    assert "auth-user-pass" not in ok("--dir", state, "client", "add", "before")
    (state / "names").write_text("alice:secret\n")
    text = config.read_text().replace("[server]\n", "[server]\nauth = file:names\n")
    config.write_text(text)
    assert "\nauth-user-pass\n" in ok("--dir", state, "client", "add", "after")
    config.write_text(text.replace("[server]\n", "[server]\nauth-user-pass-optional = yes\n"))
    assert "auth-user-pass" not in ok("--dir", state, "client", "add", "optional")
    config.write_text(text)
    message = refused("--dir", state, "client", "add", "all", "--no-certificate")
    assert "it needs verify-client-cert = none under [tls]" in message
    config.write_text(text.replace("[tls]\n", "[tls]\nverify-client-cert = none\n"))
    profile = tmp_path / "all.ovpn"
    ok("--dir", state, "client", "add", "all", "--no-certificate", "--output", profile)
    settings = load(str(profile))
    assert settings.tls.cert is None
    assert settings.client is not None
    assert settings.client.login is not None
    assert "all " not in ok("--dir", state, "client", "list")


def test_two_profiles_share_no_key(state: Path) -> None:
    keys = set()
    for name in ("alice", "bob"):
        profile = ok("-d", state, "client", "add", name)
        keys.add(re.findall(r"<tls-crypt-v2>.*</tls-crypt-v2>", profile, re.DOTALL)[0])
    assert len(keys) == 2
    assert all(key.splitlines()[2] not in (state / "index.txt").read_text() for key in keys)


def test_a_state_with_a_shared_key_goes_on_and_takes_keys_of_clients_own_beside_it(state: Path) -> None:
    """As states were made before there were keys of clients' own."""
    (state / "tls-crypt-v2.key").unlink()
    told = ok("-d", state, "server", "add-key", "tls-crypt")
    assert told.endswith("  tls-crypt = tls-crypt.key\n")
    ini = state / "server.ini"
    text = ini.read_text().replace("tls-crypt-v2 = tls-crypt-v2.key", "tls-crypt = tls-crypt.key")
    ini.write_text(text)
    assert "<tls-crypt>" in ok("-d", state, "client", "add", "old")
    assert "add-key tls-crypt-v2" in refused("-d", state, "client", "add", "new", "--key", "tls-crypt-v2")
    told = ok("-d", state, "server", "add-key", "tls-crypt-v2")
    why = refused("-d", state, "client", "add", "new", "--key", "tls-crypt-v2")
    assert "add the line tls-crypt-v2 = tls-crypt-v2.key under [control]" in why
    line = told.splitlines()[-1].strip()
    ini.write_text(text.replace("\ntls-crypt = tls-crypt.key", f"\ntls-crypt = tls-crypt.key\n{line}"))
    assert "<tls-crypt-v2>" in ok("-d", state, "client", "add", "new")
    assert "<tls-crypt>" in ok("-d", state, "client", "add", "before-2.5", "--key", "tls-crypt")
    assert "the server has no tls-auth key\n" in refused("-d", state, "client", "add", "x", "--key", "tls-auth")
    assert "is there already" in refused("-d", state, "server", "add-key", "tls-crypt-v2")
    assert (state / "tls-crypt.key").stat().st_mode & 0o777 == 0o600


def test_a_broken_server_ini_issues_nothing(state: Path) -> None:
    with (state / "server.ini").open("a") as ini:
        ini.write("\n[nonsense]\nx = y\n")
    assert "server.ini:" in refused("-d", state, "client", "add", "alice")
    assert "alice" not in ok("-d", state, "client", "list")


# -- where the state is


def test_the_folder_is_named_by_option_environment_or_place(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ok("client", "--dir", state, "add", "a")
    ok("client", "add", "--dir", state, "b")
    monkeypatch.setenv("TWISTVPN_DIR", str(state))
    ok("client", "add", "c")
    monkeypatch.delenv("TWISTVPN_DIR")
    monkeypatch.chdir(state)
    assert len(ok("client", "list").splitlines()) == 4


def test_a_folder_without_a_state_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert str(tmp_path) in refused("-d", tmp_path, "client", "list")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("twistvpn.cli.common.SYSTEM_FOLDER", tmp_path / "nowhere")
    assert "nowhere" in refused("client", "list")


# -- the server's certificate, check, version


def test_renew_moves_new_profiles_to_the_new_host(state: Path) -> None:
    ok("-d", state, "server", "renew", "--host", "new.example.org")
    profile = ok("-d", state, "client", "add", "alice")
    assert "remote new.example.org 1194 udp" in profile
    assert 'verify-x509-name "vpn.example.org" name' in profile
    ok("check", state / "server.ini")


def test_check_says_ok_or_the_mistake(state: Path, tmp_path: Path) -> None:
    config = state / "server.ini"
    assert ok("check", config).endswith(f"{config}: OK\n")
    config.write_text(config.read_text().replace("keepalive", "keepalife"))
    assert "keepalive" in refused("check", config)
    assert "no.ini" in refused("check", tmp_path / "no.ini")


def test_a_profile_is_for_the_kind_of_device_that_the_server_has(state: Path) -> None:
    config = state / "server.ini"
    assert "\ndev tun\n" in ok("client", "--dir", state, "add", "one")
    config.write_text(config.read_text().replace("\ndev = tun\n", "\ndev = lan\ndev-type = tap\n"))
    assert "\ndev tap\n" in ok("client", "--dir", state, "add", "two")


TLS_PORT = "ssl:port=443:privateKey=server.key:certKey=server.crt"


def listening_also_on(state: Path, *endpoints: str) -> Path:
    config = state / "server.ini"
    config.write_text(config.read_text().replace("    udp:1194\n", "".join(f"    {end}\n" for end in endpoints)))
    return config


def test_what_a_profile_leaves_out_is_said(state: Path, tmp_path: Path) -> None:
    listening_also_on(state, "udp:1194", TLS_PORT, "haproxy:tcp:1195")
    result = run("client", "--dir", state, "add", "phone", "--output", tmp_path / "phone.ovpn")
    assert result.exit_code == 0
    assert [line for line in (tmp_path / "phone.ovpn").read_text().splitlines() if line.startswith("remote ")] == [
        *("remote vpn.example.org 1194 udp", "remote vpn.example.org 1194 tcp")
    ]
    assert result.stderr.splitlines() == [
        (
            "Not in the profile: ssl:port=443, which stock clients cannot dial; "
            'for twistvpn\'s own client add "remote vpn.example.org 443 tls".'
        ),
        "Not in the profile: haproxy:tcp; add a remote line with the address that clients reach it by.",
    ]


def test_where_all_is_inside_of_tls_the_profile_is_for_our_own_client(state: Path, tmp_path: Path) -> None:
    config = listening_also_on(state, TLS_PORT)
    config.write_text(config.read_text().replace("    tcp:1194\n", ""))
    path = tmp_path / "phone.ovpn"
    result = run("client", "--dir", state, "add", "phone", "--output", path)
    assert "only twistvpn's own client can use this profile" in result.stderr
    client = load(str(path)).client
    assert client is not None
    (remote,) = client.remotes
    assert (remote.host, remote.port, remote.outer is not None) == ("vpn.example.org", 443, True)


def test_check_looks_at_users_and_at_the_files_of_clients(state: Path) -> None:
    config = state / "server.ini"
    text = config.read_text()
    config.write_text(text.replace("[server]\n", "[server]\nuser = nobdy\n"))
    number = config.read_text().splitlines().index("user = nobdy") + 1
    assert f"server.ini:{number}: user: this host has no user 'nobdy'" in refused("check", config)
    (state / "ccd").mkdir()
    (state / "ccd" / "alice").write_text("ping 1\ncompress lz4\n")
    config.write_text(text.replace("[server]\n", "[server]\nclient-config-dir = ccd\n"))
    assert "ccd/alice:2: compress: compressed packets are not let in" in refused("check", config)
    (state / "ccd" / "alice").write_text("ping 1\n")
    ok("check", config)


def test_check_looks_for_the_way_to_networks_behind_clients(state: Path) -> None:
    config = state / "server.ini"
    text = config.read_text() + "[client branch]\niroute =\n    192.168.7.0/24\n    fd00:7::/64\n"
    config.write_text(text)
    told = ok("check", config)
    assert (
        f"{config}: [client branch]: iroute: no route of the server's leads 192.168.7.0/24 into the tunnel; "
        "add one to its configuration\n"
    ) in told
    assert "leads fd00:7::/64 into" in told
    config.write_text(text.replace("[server]\n", "[server]\nroute =\n    192.168.0.0/16\n    fd00:7::/64\n", 1))
    assert ok("check", config) == f"{config}: OK\n"
    config.write_text(text.replace("[server]\n", "[server]\nclient-to-client = yes\n", 1))
    assert ok("check", config) == f"{config}: OK\n"
    (state / "ccd").mkdir()
    (state / "ccd" / "alice").write_text("iroute 192.168.9.0 255.255.255.0\n")
    config.write_text(
        config.read_text().partition("[client")[0].replace("client-to-client = yes", "client-config-dir = ccd")
    )
    assert f"{state / 'ccd' / 'alice'}: iroute: no route of the server's leads 192.168.9.0/24" in ok("check", config)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_check_looks_whether_the_user_can_read_what_is_read_again() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        state = Path(folder) / "state"
        ok("init", state, "--host", "vpn.example.org")
        config, crl = state / "server.ini", state / "crl.pem"
        config.write_text(config.read_text().replace("[server]\n", "[server]\nuser = nobody\n"))
        line = refused("check", config)
        assert f"crl-verify: user nobody cannot read {crl}: Permission denied; let its group: chgrp " in line
        subprocess.run(line.rstrip().partition("let its group: ")[2], shell=True, check=True)
        ok("check", config)


def command(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "twistvpn.cli.main", *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(line, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def test_the_process_ends_with_the_status_it_should(tmp_path: Path) -> None:
    assert command("--version", cwd=tmp_path).stdout.startswith("twistvpn ")
    assert command("init", "vpn", "--host", "h", cwd=tmp_path).returncode == 0
    again = command("init", "vpn", "--host", "h", cwd=tmp_path)
    assert (again.returncode, again.stdout, again.stderr.count("\n")) == (1, "", 1)
    assert command("check", "vpn/server.ini", cwd=tmp_path).returncode == 0
    assert command("client", "list", cwd=tmp_path / "vpn").returncode == 0
    assert command("no-such-command", cwd=tmp_path).returncode == 2


@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("setpriv") is None, reason="needs root, and setpriv to stop being it"
)
def test_a_folder_of_another_user_is_one_line() -> None:
    line = ["setpriv", "--reuid", "12345", "--clear-groups", "--regid", "12345", sys.executable]
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from twistvpn.cli.main import main; main()"
    # Not tmp_path: the folders above it are closed to the other user too.
    with tempfile.TemporaryDirectory() as parent:
        Path(parent).chmod(0o755)
        state = Path(parent) / "state"
        ok("init", state, "--host", "h")
        arguments = ["-c", code, "-d", str(state), "client", "list"]
        result = subprocess.run([*line, *arguments], cwd="/", capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stderr.startswith(f"Error: {state}")
    assert result.stderr.endswith("Permission denied\n")
    assert result.stderr.count("\n") == 1


# -- the machine


def test_routes_are_read_from_proc(tmp_path: Path) -> None:
    little = sys.byteorder == "little"

    def word(address: str) -> str:
        octets = bytes(map(int, address.split(".")))
        return (octets[::-1] if little else octets).hex().upper()

    def row(destination: str, mask: str) -> str:
        return f"eth0\t{word(destination)}\t{word('0.0.0.0')}\t0001\t0\t0\t0\t{word(mask)}\t0\t0\t0\n"

    rows = [row("0.0.0.0", "0.0.0.0"), row("128.0.0.0", "128.0.0.0"), row("10.8.4.0", "255.255.252.0")]
    (tmp_path / "route").write_text("Iface\tDestination\n" + "".join(rows))
    zero = "0" * 32
    lines = [f"{zero} 00 {zero} 00 {zero} 1 1 0 1 lo", f"fd{'0' * 30} 40 {zero} 00 {zero} 100 1 0 1 eth0"]
    (tmp_path / "ipv6_route").write_text("\n".join(lines) + "\n")
    assert local_networks(tmp_path) == [ip_network("10.8.4.0/22"), ip_network("fd00::/64")]


def test_a_machine_without_proc_has_no_networks(tmp_path: Path) -> None:
    assert local_networks(tmp_path) == []


networks4 = st.builds(
    lambda address, length: IPv4Network((address, length), strict=False),
    st.integers(0x0A000000, 0x0AFFFFFF),
    st.integers(9, 32),
)


@given(st.lists(networks4, max_size=20), st.randoms(use_true_random=False))
def test_the_chosen_network_is_free(taken: list[IPv4Network], random: Random) -> None:
    network = choose_network(taken, random)
    assert network.prefixlen == 24
    assert network.is_private
    assert overlapping(network, taken) is None


def test_the_next_private_block_is_used_when_one_is_full() -> None:
    random = Random(1)
    assert choose_network([], random).subnet_of(IPv4Network("10.0.0.0/8"))
    assert choose_network([IPv4Network("10.0.0.0/8")], random).subnet_of(IPv4Network("172.16.0.0/12"))
    with pytest.raises(EnvironmentRefusal):
        choose_network([IPv4Network("0.0.0.0/0")], random)


def test_the_chosen_ipv6_network_is_random_and_local() -> None:
    random = Random(1)
    chosen = {choose_network6([], random) for _ in range(20)}
    assert len(chosen) == 20
    assert all(network.subnet_of(IPv6Network("fd00::/8")) and network.prefixlen == 64 for network in chosen)
    with pytest.raises(EnvironmentRefusal):
        choose_network6([IPv6Network("fc00::/7")], random)
