"""What is different for single clients: files of client-config-dir, and sections of our own syntax."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Interface, ip_network
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zope.interface.verify import verifyObject

from tests.config_files import CLIENT_INI, SERVER_INI, SERVER_OVPN, ConfigFiles, make_files
from twistvpn.config.client_config import ClientConfigFolder, configured_client_settings, file_name
from twistvpn.errors import AuthenticationRejected, ConfigError
from twistvpn.overrides import ALIKE, ClientOverrides, IClientSettings, Ifconfig, Ifconfig6

if TYPE_CHECKING:
    from pathlib import Path

NETMASK = IPv4Address("255.255.255.0")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> ConfigFiles:
    return make_files(tmp_path_factory.mktemp("config"))


@pytest.fixture
def ccd(tmp_path: Path) -> Path:
    folder = tmp_path / "ccd"
    folder.mkdir()
    return folder


def folder(
    files: ConfigFiles, ccd: Path, options: str = "", network: str = "server-ipv6 fd00::/64\n"
) -> IClientSettings:
    settings = files.parse(SERVER_OVPN + network + f"client-config-dir {ccd}\n" + options)
    return configured_client_settings(settings)


def read(files: ConfigFiles, ccd: Path, text: str, options: str = "") -> ClientOverrides:
    (ccd / "alice").write_text(text)
    return folder(files, ccd, options).overrides("alice")


def test_it_provides_the_interface(files: ConfigFiles, ccd: Path) -> None:
    verifyObject(IClientSettings, folder(files, ccd))
    verifyObject(IClientSettings, configured_client_settings(files.parse(SERVER_OVPN)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ALIKE),
        ("# nothing\n;either\n", ALIKE),
        ("ifconfig-push 10.8.0.9 255.255.255.0", ClientOverrides(ifconfig=Ifconfig(IPv4Address("10.8.0.9"), NETMASK))),
        ("ifconfig-push 10.8.0.9", ClientOverrides(ifconfig=Ifconfig(IPv4Address("10.8.0.9"), NETMASK))),
        (
            "ifconfig-push 10.9.0.9 255.255.255.0 10.7.0.9",
            ClientOverrides(ifconfig=Ifconfig(IPv4Address("10.9.0.9"), NETMASK, IPv4Address("10.7.0.9"))),
        ),
        (
            "ifconfig-ipv6-push fd00::9/64 fd00::7",
            ClientOverrides(ifconfig6=Ifconfig6(IPv6Interface("fd00::9/64"), IPv6Address("fd00::7"))),
        ),
        ("ifconfig-ipv6-push fd00::9", ClientOverrides(ifconfig6=Ifconfig6(IPv6Interface("fd00::9/64")))),
        (
            "iroute 192.168.7.0 255.255.255.0\niroute 192.168.8.1\niroute-ipv6 fd07::/64\niroute 10.1.0.0/16",
            ClientOverrides(
                iroutes=tuple(
                    map(ip_network, ("192.168.7.0/24", "192.168.8.1/32", "fd07::/64", "10.1.0.0/16")),
                )
            ),
        ),
        ('push "route 1.2.3.4"\npush "x y"', ClientOverrides(push=("route 1.2.3.4", "x y"))),
        (
            'push "a"\npush-reset\npush "b"\npush-remove route\npush-remove "ifconfig-ipv6"',
            ClientOverrides(is_push_reset=True, push=("b",), push_remove=("route", "ifconfig-ipv6")),
        ),
        ('push "a 1"\npush "b"\npush-remove a\npush "a 2"', ClientOverrides(push=("b", "a 2"), push_remove=("a",))),
        ("disable", ClientOverrides(is_disabled=True)),
        ("max-routes-per-client 2\nping 3\nping-restart 7", ClientOverrides(max_routes=2, ping=3.0, ping_restart=7.0)),
        ("ping-restart 7\nping-exit 9", ClientOverrides(ping_restart=9.0)),
        ("inactive 60 9\nsession-timeout 600", ClientOverrides(inactive=(60.0, 9), session_timeout=600.0)),
        ("compress stub", ClientOverrides(framing="compress stub")),
        ("comp-lzo no", ClientOverrides(framing="comp-lzo no")),
        ("verb 5\nsetenv opt some-day 1", None),
    ],
)
def test_a_file(files: ConfigFiles, ccd: Path, text: str, expected: ClientOverrides | None) -> None:
    if expected is None:
        with pytest.raises(ConfigError, match=r"alice:1: verb: is not an option of one client"):
            read(files, ccd, text)
    else:
        assert read(files, ccd, text) == expected


@pytest.mark.shows("allow-compression")
@pytest.mark.parametrize("line", ["compress lz4", "comp-lzo", 'push "comp-lzo yes"'])
def test_compressed_packets_are_let_in_for_all_or_for_nobody(files: ConfigFiles, ccd: Path, line: str) -> None:
    with pytest.raises(ConfigError, match=r"alice:2: \w+(-lzo)?: compressed packets are not let in"):
        read(files, ccd, f"ping 1\n{line}")
    assert read(files, ccd, f"ping 1\n{line}", "allow-compression asym\n").ping == 1.0
    in_ini = "[client alice]\n" + line.replace(" ", " = ", 1).replace('"', "")
    if line != "comp-lzo":
        assert "test.conf:9: " in files.line(SERVER_INI + in_ini)
        files.parse(SERVER_INI + "[data]\nallow-compression = asym\n" + in_ini)


def test_what_has_no_effect_is_no_mistake(files: ConfigFiles, ccd: Path) -> None:
    assert read(files, ccd, "setenv opt some-day 1\necho x\n") == ALIKE


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("\n\nfrobnicate", "alice:3: frobnicate: unknown option; remove it"),
        ("irout 1.2.3.4", "alice:1: irout: unknown option; did you mean iroute?"),
        ("server 10.0.0.0 255.0.0.0", "alice:1: server: is not an option of one client; remove it"),
        ("ifconfig-push", "alice:1: ifconfig-push: takes 1 to 3 arguments, this has 0"),
        ("ifconfig-push 10.8.0.9 10.8.0.10", "the second argument must be the netmask, as topology subnet has it"),
        ("ifconfig-push 10.8.0.255", "10.8.0.255 is not the address of a host in 10.8.0.0/24"),
        ("ifconfig-push 10.9.0.0 255.255.255.0", "10.9.0.0 is not the address of a host in 10.9.0.0/24"),
        ("ifconfig-push 10.8.0.1", "10.8.0.1 is the server's own address"),
        ("ifconfig-push 10.9.0.9", "10.9.0.9 is not in 10.8.0.0/24: needs the netmask behind the address"),
        ("ifconfig-push somewhere 255.255.255.0", "'somewhere' is not an IPv4 address"),
        ("ifconfig-ipv6-push fd00::1/64", "fd00::1 is the server's own address"),
        ("ifconfig-ipv6-push fd00::/x", "is not an IPv6 address with its prefix length"),
        ("iroute 192.168.7.1 255.255.255.0", "alice:1: iroute"),
        ("iroute-ipv6 192.168.7.0/24", "alice:1: iroute-ipv6"),
        ('push "a,b"', "alice:1: push: 'a,b' has a comma"),
        ('push-remove ""', "alice:1: push-remove: has no option; use push-reset to remove all of them"),
        ("max-routes-per-client 0", "alice:1: max-routes-per-client"),
        ('push "a', "alice:1: push"),
        ('push "compress snappy"', "alice:1: push: 'snappy' is not one of"),
        ("compress snappy", "alice:1: compress: 'snappy' is not one of"),
        ("config missing", "alice:1: config: cannot read"),
    ],
)
def test_a_mistake_is_one_line_with_its_place(files: ConfigFiles, ccd: Path, text: str, line: str) -> None:
    with pytest.raises(ConfigError) as raised:
        read(files, ccd, text)
    assert line in str(raised.value)
    assert str(raised.value).startswith(f"{ccd}/alice:")
    assert "\n" not in str(raised.value)


def test_point_to_point_addresses(files: ConfigFiles, ccd: Path) -> None:
    assert read(files, ccd, "ifconfig-push 10.8.0.6", "topology net30\n").ifconfig == Ifconfig(
        IPv4Address("10.8.0.6"), IPv4Address("10.8.0.5")
    )
    assert read(files, ccd, "ifconfig-push 10.8.0.6", "topology p2p\n").ifconfig == Ifconfig(
        IPv4Address("10.8.0.6"), IPv4Address("10.8.0.1")
    )
    assert read(files, ccd, "ifconfig-push 192.168.8.6 192.168.8.5", "topology net30\n").ifconfig == Ifconfig(
        IPv4Address("192.168.8.6"), IPv4Address("192.168.8.5")
    )
    with pytest.raises(ConfigError, match="not the third of four"):
        read(files, ccd, "ifconfig-push 10.8.0.5", "topology net30\n")
    with pytest.raises(ConfigError, match="must be the other end's address, as topology net30"):
        read(files, ccd, "ifconfig-push 10.8.0.6 255.255.255.0", "topology net30\n")


@pytest.mark.shows("ifconfig-push-constraint")
def test_a_constraint(files: ConfigFiles, ccd: Path) -> None:
    constraint = "ifconfig-push-constraint 10.8.0.0 255.255.255.128\n"
    assert read(files, ccd, "ifconfig-push 10.8.0.9", constraint).ifconfig is not None
    with pytest.raises(ConfigError, match=r"10\.8\.0\.200 is not in 10\.8\.0\.0/25 \(ifconfig-push-constraint\)"):
        read(files, ccd, "ifconfig-push 10.8.0.200", constraint)


def test_a_file_may_include_another(files: ConfigFiles, ccd: Path) -> None:
    (ccd / "common").write_text("disable\n")
    assert read(files, ccd, "config common\n").is_disabled


def test_default_is_for_those_without_a_file_of_their_own(files: ConfigFiles, ccd: Path) -> None:
    subject = folder(files, ccd)
    assert subject.overrides("bob") == ALIKE
    (ccd / "DEFAULT").write_text("ping 5\n")
    (ccd / "alice").write_text("ping 6\n")
    assert [subject.overrides(name).ping for name in ("alice", "bob", "DEFAULT", "..", ".", "")] == [6, 5, 5, 5, 5, 5]
    (ccd / "alice").write_text("ping 7\n")
    assert subject.overrides("alice").ping == 7


def test_exclusive_folders(files: ConfigFiles, ccd: Path) -> None:
    subject = folder(files, ccd, "ccd-exclusive\n")
    (ccd / "DEFAULT").write_text("")
    (ccd / "alice").write_text("")
    assert subject.overrides("alice") == ALIKE
    for name in ("bob", "DEFAULT", ".."):
        with pytest.raises(AuthenticationRejected, match="ccd-exclusive"):
            subject.overrides(name)


def test_a_file_that_cannot_be_read_is_not_passed_over(files: ConfigFiles, ccd: Path) -> None:
    (ccd / "alice").mkdir()
    with pytest.raises(ConfigError, match=r"alice: cannot read it: Is a directory"):
        folder(files, ccd).overrides("alice")
    (ccd / "bob").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="not UTF-8"):
        folder(files, ccd).overrides("bob")


def test_addresses_that_are_kept(files: ConfigFiles, ccd: Path) -> None:
    (ccd / "alice").write_text("ifconfig-push 10.8.0.9\nifconfig-ipv6-push fd00::9\n")
    (ccd / "bob").write_text("nonsense\n")
    (ccd / "carol").write_text("ping 1\n")
    subject = folder(files, ccd)
    assert subject.kept_addresses() == [IPv4Address("10.8.0.9"), IPv6Address("fd00::9")]
    ccd.rename(ccd.parent / "elsewhere")
    assert subject.kept_addresses() == []


@given(st.text())
def test_no_name_leads_out_of_the_folder(name: str) -> None:
    assert "/" not in file_name(name)
    assert file_name(name).isascii()


def test_names_of_files_are_those_of_stock() -> None:
    assert [file_name(name) for name in ("a b", "a/b", "Jürg", "x\n", "\udcff")] == ["a b", "a_b", "J__rg", "x_", "_"]


def test_a_folder_that_is_not_there(files: ConfigFiles) -> None:
    assert "client-config-dir: there is no folder" in files.line(SERVER_OVPN + "client-config-dir nowhere\n")
    assert "ccd-exclusive: needs client-config-dir" in files.line(SERVER_OVPN + "ccd-exclusive\n")
    assert "iroute: is for one client" in files.line(SERVER_OVPN + "iroute 10.1.0.0 255.255.0.0\n")


SECTIONS = """
[client DEFAULT]
ping = 5
[client alice]
ifconfig-push = 10.8.0.9
iroute =
    192.168.7.0/24
    fd07::/64
push = route 1.2.3.4
push-remove =
    dhcp-option
    route 10.1
[client the boss]
push-reset = yes
disable = no
"""


def test_sections(files: ConfigFiles) -> None:
    subject = configured_client_settings(files.parse(SERVER_INI + SECTIONS))
    assert subject.overrides("alice") == ClientOverrides(
        ifconfig=Ifconfig(IPv4Address("10.8.0.9"), NETMASK),
        iroutes=(ip_network("192.168.7.0/24"), ip_network("fd07::/64")),
        push=("route 1.2.3.4",),
        push_remove=("dhcp-option", "route 10.1"),
    )
    assert subject.overrides("the boss") == ClientOverrides(is_push_reset=True)
    assert subject.overrides("bob") == subject.overrides("DEFAULT") == ClientOverrides(ping=5.0)
    assert subject.kept_addresses() == [IPv4Address("10.8.0.9")]


def test_fixed_addresses_go_with_sections(files: ConfigFiles) -> None:
    lines = "fixed-address =\n    bob 10.8.0.7\n    the boss 10.8.0.8\n".replace("the boss", '"the boss"')
    settings = files.parse(SERVER_INI.replace("[tls]", f"ccd-exclusive = yes\n{lines}[tls]") + SECTIONS)
    subject = configured_client_settings(settings)
    assert subject.overrides("bob") == ClientOverrides(ping=5.0, ifconfig=Ifconfig(IPv4Address("10.8.0.7"), NETMASK))
    assert subject.overrides("the boss").is_push_reset
    assert subject.overrides("the boss").addresses == [IPv4Address("10.8.0.8")]
    for name in ("carol", "DEFAULT"):
        with pytest.raises(AuthenticationRejected):
            subject.overrides(name)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[client a]\nfoo = 1", ":9: foo: unknown option in [client a]"),
        ("[client a]\nlisten = udp:1", ":9: listen: unknown option in [client a]; it belongs in [server]"),
        ("[client a]\n[client  a]", "[client  a]: the section is there already (line 8)"),
        ("[client a]\niroute = 10.1.0.0/33", ":9: iroute"),
        (
            "[client a]\nifconfig-push = 10.8.0.9\n[client b]\nifconfig-push = 10.8.0.9",
            ":11: ifconfig-push: b and a",
        ),
    ],
)
def test_a_mistake_in_a_section(files: ConfigFiles, text: str, line: str) -> None:
    assert line in files.line(SERVER_INI + text)


def test_sections_and_a_folder_contradict(files: ConfigFiles, ccd: Path) -> None:
    both = SERVER_INI.replace("[tls]", f"client-config-dir = {ccd}\n[tls]")
    assert files.parse(both).server is not None
    assert "client-config-dir: contradicts [client DEFAULT] (line 9)" in files.line(both + SECTIONS.lstrip())
    alone = SERVER_INI.replace("[tls]", "ccd-exclusive = yes\n[tls]")
    assert "ccd-exclusive: there are no settings for single clients" in files.line(alone)


def test_a_client_has_no_sections_for_clients(files: ConfigFiles) -> None:
    assert "[client a]: has no meaning for a client" in files.line(CLIENT_INI + "[client a]\nping = 1\n")


def test_the_folder_class_alone(files: ConfigFiles, ccd: Path) -> None:
    server = files.parse(SERVER_OVPN).server
    assert server is not None
    assert ClientConfigFolder(server, str(ccd), "no").overrides("x") == ALIKE
