"""Compression's framing and `fragment`, in both syntaxes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.config_files import CLIENT_OVPN, SERVER_INI, SERVER_OVPN, make_files
from twistvpn.config.settings import FragmentLimit
from twistvpn.wire.compression import Compression

if TYPE_CHECKING:
    from pathlib import Path

    from tests.config_files import ConfigFiles

C = Compression


@pytest.fixture
def files(tmp_path: Path) -> ConfigFiles:
    return make_files(tmp_path)


def both(lines: str) -> list[str]:
    """A server with these options, in either syntax."""
    ini = "".join(
        f"{name} = {value or 'stub'}\n" for name, _, value in (line.partition(" ") for line in lines.split("\n"))
    )
    return [SERVER_OVPN + lines + "\n", f"{SERVER_INI}[data]\n{ini}"]


@pytest.mark.parametrize(
    ("lines", "compression", "allow"),
    [
        ("verb 3", C.NONE, "no"),
        ("comp-lzo no", C.STUB, "no"),
        ("comp-lzo yes", C.LZO, "asym"),
        ("comp-lzo adaptive", C.LZO, "asym"),
        ("compress", C.STUB_SWAP, "asym"),
        ("compress stub", C.STUB_SWAP, "asym"),
        ("compress stub-v2", C.STUB_V2, "asym"),
        ("compress migrate", C.NONE, "asym"),
        ("compress lzo", C.LZO, "asym"),
        ("compress lz4", C.LZ4, "asym"),
        ("compress lz4-v2", C.LZ4_V2, "asym"),
        ("allow-compression asym", C.NONE, "asym"),
        ("allow-compression yes\ncompress lz4", C.LZ4, "yes"),
        ("compress stub\nallow-compression no", C.STUB_SWAP, "no"),
        ("comp-lzo yes\ncompress lz4", C.LZ4, "asym"),
        ("compress lz4\ncomp-lzo no", C.STUB, "no"),
    ],
)
def test_compression(files: ConfigFiles, lines: str, compression: Compression, allow: str) -> None:
    for text in both(lines) if "verb" not in lines else [SERVER_OVPN]:
        data = files.parse(text).data
        assert (data.compression, data.allow_compression) == (compression, allow)


@pytest.mark.shows("push")
@pytest.mark.parametrize(
    ("option", "pushed"),
    [("compress", "compress stub"), ("compress stub-v2", "compress stub-v2"), ("comp-lzo no", "comp-lzo no")],
)
def test_every_client_understands_what_is_pushed(files: ConfigFiles, option: str, pushed: str) -> None:
    server = files.parse(f'{SERVER_OVPN}push "{option}"\n').server
    assert server is not None
    assert server.push == (pushed,)


def test_comp_lzo_alone_is_adaptive(files: ConfigFiles) -> None:
    data = files.parse(f"{CLIENT_OVPN}comp-lzo\ncomp-noadapt\n").data
    assert (data.compression, data.allow_compression) == (C.LZO, "asym")


def test_what_is_pushed_lets_compressed_packets_in_as_well(files: ConfigFiles) -> None:
    for option, allow in (("compress lz4", "asym"), ("comp-lzo", "asym"), ("comp-lzo no", "no"), ("compress", "no")):
        assert files.parse(f'{SERVER_OVPN}push "{option}"\n').data.allow_compression == allow


def test_nothing_is_compressed_whatever_is_allowed(files: ConfigFiles) -> None:
    notes = files.parse(f"{SERVER_OVPN}allow-compression yes\n").notes
    assert "test.conf:9: allow-compression: means asym here" in notes[-1]


@pytest.mark.parametrize(("words", "limit"), [("1300", FragmentLimit(1300)), ("1300 mtu", FragmentLimit(1300, "mtu"))])
def test_fragment(files: ConfigFiles, words: str, limit: FragmentLimit) -> None:
    for text in both(f"fragment {words}"):
        assert files.parse(text).data.fragment == limit


@pytest.mark.parametrize(
    ("lines", "answer"),
    [
        ("comp-lzo maybe", "comp-lzo: 'maybe' is not one of no, yes, adaptive"),
        ("compress snappy", "compress: 'snappy' is not one of stub, stub-v2, migrate, lzo, lz4, lz4-v2"),
        ('push "compress snappy"', "push: 'snappy' is not one of"),
        ("allow-compression maybe", "allow-compression: 'maybe' is not one of no, asym, yes"),
        ("allow-compression no\ncomp-lzo yes", "comp-lzo: contradicts allow-compression (line 9); keep one of them"),
        ("allow-compression no\npush comp-lzo", "push: contradicts allow-compression (line 9); keep one of them"),
        ("fragment 67", "fragment: '67' is not a whole number from 68 to 65535"),
        ("fragment 1300 bytes", "fragment: 'bytes' is not one of mtu"),
        ("proto tcp\nfragment 1300", "fragment: works over UDP alone, and a TCP link needs none; remove it"),
    ],
)
def test_mistakes(files: ConfigFiles, lines: str, answer: str) -> None:
    number = 8 + len(lines.split("\n"))
    assert files.line(f"{SERVER_OVPN}{lines}\n").startswith(f"test.conf:{number}: {answer}")


def test_a_connection_over_tcp_needs_no_fragment(files: ConfigFiles) -> None:
    udp = "<connection>\nremote a 1194 udp\nfragment 1300\nexplicit-exit-notify\n</connection>\n"
    tcp = "<connection>\nremote a 443 tcp\n</connection>\n"
    for blocks in (udp + tcp, tcp + udp, tcp + udp + udp):
        read = files.parse(CLIENT_OVPN + blocks)
        assert read.data.fragment == FragmentLimit(1300)
        assert read.client is not None
        assert read.client.explicit_exit_notify == 1
    other = udp.replace("fragment 1300\n", "")
    assert "fragment: must be the same in every <connection>" in files.line(CLIENT_OVPN + udp + other)
    assert "fragment: works over UDP alone" in files.line(CLIENT_OVPN + tcp.replace("</", "fragment 1300\n</"))
