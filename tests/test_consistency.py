"""What two ends tell each other of their options."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from twisted.logger import LogLevel, capturedLogs

from tests.config_files import CLIENT_OVPN, SERVER_OVPN, make_files
from twistvpn.consistency import fragment_difference, local_occ_string, option_differences
from twistvpn.testing import MemoryNetwork, pair

if TYPE_CHECKING:
    from pathlib import Path

    from tests.config_files import ConfigFiles
    from twistvpn.interfaces import ILink


@pytest.fixture
def files(tmp_path: Path) -> ConfigFiles:
    return make_files(tmp_path)


@pytest.fixture
def link() -> ILink:
    from twisted.internet.task import Clock

    return MemoryNetwork(Clock()).link(None, ("192.0.2.1", 1194))  # type: ignore[arg-type]  # nothing is received


def differences(files: ConfigFiles, link: ILink, ours: str, theirs: str) -> list[str]:
    client, server = files.parse(f"{CLIENT_OVPN}{ours}\n"), files.parse(f"{SERVER_OVPN}{theirs}\n")
    return option_differences(client, link, local_occ_string(server, link))


@pytest.mark.parametrize("lines", ["", "tun-mtu 1400", "tls-auth ta.key\nauth SHA256", "tls-crypt tls-crypt.key"])
def test_ends_that_fit_together_do_not_differ(files: ConfigFiles, link: ILink, lines: str) -> None:
    assert differences(files, link, lines, lines) == []


@pytest.mark.shows("disable-occ")
def test_what_differs_is_told_unless_nobody_wants_to_know(files: ConfigFiles, link: ILink) -> None:
    assert differences(files, link, "", "tun-mtu 1400") == ["tun-mtu is '1500' here and '1400' there"]
    assert differences(files, link, "disable-occ", "tun-mtu 1400") == []


@pytest.mark.parametrize(
    ("theirs", "words"),
    [
        ("V4,dev-type tap", "dev-type is 'tun' here and 'tap' there"),
        ("V4,comp-lzo", "comp-lzo is not set here and set there"),
        ("V4", "tun-mtu is '1500' here and not set there"),
    ],
)
def test_any_peers_string_is_compared(files: ConfigFiles, link: ILink, theirs: str, words: str) -> None:
    assert words in option_differences(files.parse(CLIENT_OVPN), link, theirs)


def test_a_peer_that_tells_nothing_does_not_differ(files: ConfigFiles, link: ILink) -> None:
    assert option_differences(files.parse(CLIENT_OVPN), link, "") == []


def test_both_ends_log_what_differs() -> None:
    with capturedLogs() as logged:
        pair(server="tun-mtu 1400")
    told = [event["difference"] for event in logged if "difference" in event]
    assert sorted(told) == ["tun-mtu is '1400' here and '1500' there", "tun-mtu is '1500' here and '1400' there"]
    assert all(event["log_level"] is LogLevel.debug for event in logged if "difference" in event)


@pytest.mark.parametrize(
    ("ours", "theirs", "is_useless"),
    [("fragment 1300", "", True), ("", "fragment 1300", False), ("fragment 1300", "fragment 1200", False)],
)
def test_fragment_at_the_client_alone_is_warned_of(
    files: ConfigFiles, link: ILink, ours: str, theirs: str, *, is_useless: bool
) -> None:
    client, server = files.parse(f"{CLIENT_OVPN}{ours}\n"), files.parse(f"{SERVER_OVPN}{theirs}\n")
    assert (fragment_difference(client, link, local_occ_string(server, link)) is not None) is is_useless
    assert (fragment_difference(server, link, local_occ_string(client, link)) is not None) is is_useless
    quiet = files.parse(f"{CLIENT_OVPN}{ours}\ndisable-occ\n")
    assert fragment_difference(quiet, link, local_occ_string(server, link)) is None
    assert fragment_difference(client, link, "") is None
