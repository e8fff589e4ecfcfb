"""A server and a client in memory whose packets lie in a framing, by their configurations and by what is pushed."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import pytest
from twisted.logger import capturedLogs, formatEvent

from tests.inner_packets import SYN, tcp
from tests.scripted_client import MODERN, ScriptedClient, serving
from tests.test_end_to_end_memory import assert_joined
from tests.test_peer import peers
from twistvpn.config.settings import DataSettings, FragmentLimit
from twistvpn.errors import NegotiationError
from twistvpn.overrides import ALIKE, ClientOverrides
from twistvpn.server.framing import choose_framing
from twistvpn.testing import pair, transfer, udp_packet
from twistvpn.wire.compression import Compression, read_compression
from twistvpn.wire.options import parse_occ

if TYPE_CHECKING:
    from pathlib import Path

    from twistvpn.data.framing import Framing
    from twistvpn.interfaces import Address
    from twistvpn.testing import Pair

C = Compression


def framings(vpn: Pair) -> tuple[Framing | None, Framing | None]:
    """The server's and the client's."""
    (peer,) = vpn.server.factory.connections
    assert vpn.client.service.peer is not None
    return peer.channel.framing, vpn.client.service.peer.channel.framing


def compressions(vpn: Pair) -> tuple[Compression, Compression]:
    ours, theirs = framings(vpn)
    return C.NONE if ours is None else ours.compression, C.NONE if theirs is None else theirs.compression


@pytest.mark.shows("compress", "comp-lzo")
@pytest.mark.parametrize(
    "option", ["comp-lzo no", "comp-lzo", "compress", "compress stub-v2", "compress lz4", "compress lz4-v2"]
)
@pytest.mark.parametrize("proto", ["udp", "tcp"])
def test_both_ends_have_a_framing(option: str, proto: Literal["udp", "tcp"]) -> None:
    vpn = pair(server=option, client=option, proto=proto)
    ours, theirs = compressions(vpn)
    assert ours is theirs is not C.NONE
    assert_joined(vpn)


@pytest.mark.parametrize("proto", ["udp", "tcp"])
def test_without_such_options_there_is_no_framing(proto: Literal["udp", "tcp"]) -> None:
    assert framings(pair(proto=proto)) == (None, None)


@pytest.mark.shows("compress", "comp-lzo")
@pytest.mark.parametrize("option", ["comp-lzo no", "compress", "compress stub-v2"])
def test_a_framing_is_pushed(option: str) -> None:
    vpn = pair(server=f'push "{option}"')
    ours, theirs = compressions(vpn)
    assert ours is theirs is not C.NONE
    assert_joined(vpn)


@pytest.mark.shows("compress")
@pytest.mark.parametrize("option", ["comp-lzo no", "comp-lzo", "compress", "compress lz4"])
@pytest.mark.parametrize("server", ["", "compress migrate"])
def test_a_client_with_a_framing_of_its_own_is_brought_to_the_cheapest(option: str, server: str) -> None:
    vpn = pair(client=option, server=server)
    assert compressions(vpn) == (C.STUB_V2, C.STUB_V2)
    assert_joined(vpn)


def test_a_pushed_framing_with_compression_has_to_be_allowed() -> None:
    for option in ("comp-lzo", "compress lz4"):
        vpn = pair(server=f'push "{option}"', connect=False)
        vpn.server.start()
        vpn.client.start()
        vpn.advance(5)
        assert vpn.client.fatal is not None
        assert "allow-compression is no" in vpn.client.fatal
        assert_joined(pair(server=f'push "{option}"', client="allow-compression asym"))


COMP_LZO = "V4,dev-type tun,comp-lzo,cipher AES-256-GCM"


@pytest.mark.parametrize(
    ("configured", "pushed", "info", "occ", "wanted"),
    [
        (C.NONE, [], MODERN, "V4,dev-type tun", (C.NONE, [])),
        (C.NONE, ["route 10.0.0.0"], {"IV_COMP_STUBv2": "1"}, COMP_LZO, (C.STUB_V2, ["compress stub-v2"])),
        (C.NONE, [], {"IV_LZO": "1"}, COMP_LZO, (C.STUB, ["comp-lzo no"])),
        (C.NONE, [], {}, COMP_LZO, (C.STUB, ["comp-lzo no"])),
        (C.LZ4, [], {"IV_COMP_STUBv2": "1"}, COMP_LZO, (C.LZ4, [])),
        (C.LZ4, ["comp-lzo no", "compress"], {}, COMP_LZO, (C.STUB_SWAP, [])),
        (C.NONE, ["compress lz4-v2"], {}, "", (C.LZ4_V2, [])),
        (C.STUB, ["compress migrate"], {}, "", (C.NONE, [])),
    ],
)
def test_what_a_server_chooses(
    configured: Compression, pushed: list[str], info: dict[str, str], occ: str, wanted: tuple[Compression, list[str]]
) -> None:
    data = DataSettings(compression=configured, allow_compression="asym")
    assert choose_framing(data, ALIKE, pushed, info, occ) == wanted
    if configured is not C.NONE:
        override = ClientOverrides(framing=configured.value)
        assert choose_framing(replace(data, compression=C.NONE), override, pushed, info, occ) == wanted
    if wanted[0].compresses:
        with pytest.raises(NegotiationError, match="is not allowed here"):
            choose_framing(replace(data, allow_compression="no"), ALIKE, pushed, info, occ)


@pytest.mark.shows("compress", "comp-lzo", "client-config-dir")
@pytest.mark.parametrize("option", ["comp-lzo no", "compress stub"])
def test_one_client_may_have_a_framing_of_its_own(option: str, tmp_path: Path) -> None:
    (tmp_path / "old").write_text(f"{option}\n")
    vpn = pair("old", "new", client=option, server=f"client-config-dir {tmp_path}", connect=False)
    vpn.server.start()
    for name, framing in (("old", read_compression(option.split())), ("new", C.STUB_V2)):
        vpn.clients[name].start()
        vpn.advance(5)
        peer = vpn.clients[name].service.peer
        assert peer is not None
        assert peer.channel.framing is not None
        assert peer.channel.framing.compression is framing
    assert_joined(vpn)


def test_a_client_is_refused_whose_own_framing_lets_compressed_packets_in(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("comp-lzo\n")
    vpn = pair("old", client="comp-lzo", server=f"client-config-dir {tmp_path}", connect=False)
    vpn.server.start()
    vpn.clients["old"].start()
    vpn.advance(5)
    assert vpn.clients["old"].times_connected == 0
    (tmp_path / "old").write_text("comp-lzo no\n")
    vpn.wait_until(lambda: vpn.clients["old"].times_connected)


def test_a_client_is_refused_whose_framing_by_a_program_lets_compressed_packets_in() -> None:
    with pytest.raises(NegotiationError, match="comp-lzo is not allowed here"):
        choose_framing(DataSettings(), ClientOverrides(framing="comp-lzo"), [], {}, "")


def test_a_client_with_a_framing_is_answered_as_one_with_it() -> None:
    plain = 1549
    for client, own in (("comp-lzo", True), ("compress stub-v2", True), ("", False)):
        vpn = pair(client=client, server="data-ciphers-fallback AES-256-GCM")
        connection = vpn.client.service._connection
        assert connection is not None
        items = parse_occ(connection._server_occ)
        assert ("comp-lzo" in items) is own
        assert int(items["link-mtu"]) == plain + own


def test_a_client_announces_what_it_can_have() -> None:
    vpn = pair(client="compress lz4")
    (connection,) = vpn.server.factory.connections.values()
    names = {name for name in connection.peer_info if "LZ" in name or "COMP" in name}
    assert names == {"IV_LZO", "IV_LZ4", "IV_LZ4v2", "IV_COMP_STUB", "IV_COMP_STUBv2"}


@pytest.mark.shows("fragment")
@pytest.mark.parametrize("limit", ["600", "600 mtu"])
@pytest.mark.parametrize("compression", ["", "comp-lzo no"])
def test_large_packets_leave_in_parts(limit: str, compression: str) -> None:
    lines = f"fragment {limit}\n{compression}"
    vpn = pair(server=lines, client=lines)
    sizes: list[int] = []

    def note(datagram: bytes, source: Address, destination: Address) -> bool:
        sizes.append(len(datagram))
        return True

    vpn.network.keep = note
    for source, destination in ((vpn.client, vpn.server), (vpn.server, vpn.client)):
        packets = [udp_packet(source.address, destination.address, os.urandom(size)) for size in (10, 600, 1472)]
        assert transfer(source, destination, *packets) == packets
    assert 500 < max(sizes) <= (572 if "mtu" in limit else 600)
    assert all(framing is not None and framing.fragment_limit is not None for framing in framings(vpn))


@pytest.mark.shows("fragment")
def test_parts_may_be_lost_and_change_places() -> None:
    vpn = pair(server="fragment 500", client="fragment 500")
    packets = [udp_packet(vpn.client.address, vpn.server.address, os.urandom(1400)) for _ in range(200)]
    vpn.network.loss, vpn.network.reordering, vpn.network.duplication = 0.05, 0.3, 0.1
    arrived = [packet for sent in packets for packet in transfer(vpn.client, vpn.server, sent)]
    assert 100 < len(arrived) < len(packets)
    assert set(arrived) < set(packets)
    at_server, _ = peers(vpn)
    assert at_server.channel.drops["incomplete"] > 0


def test_a_stream_needs_no_fragments() -> None:
    vpn = pair(server='push "fragment 600"', proto="tcp")
    assert framings(vpn) == (None, None)


@pytest.mark.parametrize(
    ("server", "client", "warned"),
    [
        ("fragment 600", "", True),
        ('fragment 600\npush "fragment 600"', "", False),
        ("fragment 600", "fragment 600", False),
        ("fragment 600", "disable-occ", False),
        ("", "", False),
    ],
)
def test_fragment_at_the_server_alone_is_warned_of(server: str, client: str, *, warned: bool) -> None:
    with capturedLogs() as events:
        pair(server=server, client=client)
    assert any("fragment is set at the server alone" in formatEvent(event) for event in events) is warned


def test_a_pushed_fragment_is_obeyed() -> None:
    vpn = pair(server='fragment 600\npush "fragment 600"')
    _, theirs = framings(vpn)
    assert theirs is not None
    assert theirs.fragment_limit == FragmentLimit(600)
    assert_joined(vpn)


@pytest.mark.shows("mssfix", "fragment")
@pytest.mark.parametrize(
    ("lines", "mss"),
    [
        ("", 1492 - 28 - 28 - 40),
        ("comp-lzo no", 1492 - 28 - 28 - 1 - 40),
        ("compress stub-v2", 1492 - 28 - 28 - 40),
        ("fragment 1000", 1000 - 28 - 4 - 40),
        ("fragment 1000 mtu", 1000 - 28 - 28 - 4 - 40),
        ("fragment 1000\nmssfix", 1000 - 28 - 4 - 40),
        ("fragment 1000\ncomp-lzo no", 1000 - 28 - 5 - 40),
        ("fragment 1000\nmssfix 900", 900 - 28 - 4 - 40),
        ("fragment 1000\nmssfix 800 fixed", 760),
        ("fragment 1000\nmssfix 0", 1460),
    ],
)
def test_segments_leave_room_for_the_framing(lines: str, mss: int) -> None:
    vpn = pair(server=lines, client=lines)
    for source, destination in ((vpn.client, vpn.server), (vpn.server, vpn.client)):
        syn = tcp(str(source.address), str(destination.address), b"", flags=SYN, options=bytes.fromhex("020405b4"))
        (packet,) = transfer(source, destination, syn)
        assert int.from_bytes(packet[42:44], "big") == mss


def test_the_path_bounds_packets_that_leave_whole() -> None:
    for lines, mtu in (("", 1444), ("comp-lzo no", 1443), ("fragment 1000", None)):
        _, at_client = peers(pair(server=lines, client=lines))
        assert at_client.path_mtu(1500) == mtu


def test_an_old_client_is_told_to_frame_without_compressing() -> None:
    vpn = serving()
    client = ScriptedClient(vpn, {"IV_VER": "2.3.18", "IV_LZO": "1"}, cipher="AES-256-GCM,comp-lzo")
    assert "comp-lzo no" in client.say("PUSH_REQUEST")[0].split(",")
    (connection,) = vpn.server.factory.connections.values()
    framing = connection.peer.channel.framing
    assert framing is not None
    assert framing.compression is C.STUB
