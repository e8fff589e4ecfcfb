"""What a client says of itself."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.config_files import CLIENT_OVPN, make_files
from twistvpn.client.peer_info import MAX_INFO, hardware_address, peer_info
from twistvpn.testing import pair
from twistvpn.version import __version__
from twistvpn.wire.options import IvProto, format_peer_info, iv_proto

if TYPE_CHECKING:
    from tests.config_files import ConfigFiles

MAC = "02:00:5e:00:53:01"


@pytest.fixture
def files(tmp_path: Path) -> ConfigFiles:
    return make_files(tmp_path)


def told(files: ConfigFiles, lines: str, *methods: str) -> dict[str, str]:
    return peer_info(files.parse(f"{CLIENT_OVPN}{lines}\n"), methods, MAC)


def test_what_every_server_is_told(files: ConfigFiles) -> None:
    info = told(files, "setenv UV_SITE lab")
    assert info["IV_VER"] == __version__
    assert (info["IV_PLAT"], info["IV_TCPNL"], info["IV_NCP"]) == ("linux", "1", "2")
    assert info["IV_CIPHERS"].startswith("AES-256-GCM")
    assert iv_proto(info) & (IvProto.AUTH_PENDING_KW | IvProto.AUTH_FAIL_TEMP | IvProto.CC_EXIT)
    assert not {"IV_HWADDR", "IV_SSL", "IV_PLAT_VER", "IV_SSO", "UV_SITE"} & set(info)


@pytest.mark.parametrize(
    ("ciphers", "speaks"), [("DEFAULT", True), ("AES-256-CBC:AES-256-GCM", True), ("AES-128-GCM", False)]
)
def test_servers_of_2_4_are_told_to_negotiate_only_what_they_would(
    files: ConfigFiles,
    ciphers: str,
    speaks: bool,  # noqa: FBT001
) -> None:
    info = told(files, f"data-ciphers {ciphers}")
    assert ("IV_NCP" in info) is speaks
    assert info["IV_CIPHERS"].startswith("AES-")


def test_epochs_are_told_of_unless_the_embedder_has_switched_them_off(files: ConfigFiles) -> None:
    settings = files.parse(CLIENT_OVPN)
    assert IvProto.EPOCH in iv_proto(peer_info(settings, (), None))
    without = replace(settings, data=replace(settings.data, epochs=False))
    assert IvProto.EPOCH not in iv_proto(peer_info(without, (), None))


@pytest.mark.shows("push-peer-info", "setenv")
def test_what_is_told_where_the_admin_wants_it(files: ConfigFiles) -> None:
    info = told(files, "push-peer-info\nsetenv UV_SITE lab\nsetenv IV_GUI_VER 'gui 1'")
    assert (info["IV_HWADDR"], info["UV_SITE"], info["IV_GUI_VER"]) == (MAC, "lab", "gui 1")
    assert "OpenSSL" in info["IV_SSL"]
    assert info["IV_PLAT_VER"] == os.uname().release


def test_what_the_user_can_be_shown(files: ConfigFiles) -> None:
    assert told(files, "", "openurl", "crtext")["IV_SSO"] == "crtext,openurl"
    assert told(files, "setenv IV_SSO webauth", "openurl", "crtext")["IV_SSO"] == "webauth"


def test_it_stays_within_what_peers_take(files: ConfigFiles) -> None:
    lines = "\n".join(f"setenv UV_{number} {'x' * 100}" for number in range(30))
    info = told(files, f"push-peer-info\n{lines}")
    assert len(format_peer_info(info)) <= MAX_INFO
    assert "UV_5" in info


def test_the_server_keeps_what_it_is_told() -> None:
    vpn = pair(client="push-peer-info\nsetenv UV_SITE lab")
    (protocol,) = vpn.server.factory.clients
    assert protocol.transport.getPeer().peer_info["UV_SITE"] == "lab"


def test_hardware_addresses() -> None:
    names = [path.name for path in Path("/sys/class/net").iterdir()]
    assert all(hardware_address(name) is None or ":" in str(hardware_address(name)) for name in names)
    assert hardware_address("lo") is hardware_address("no such device") is hardware_address(None) is None
