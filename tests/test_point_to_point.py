"""Two ends without a server: each comes to the same accord by itself, and packets go nowhere else."""

from __future__ import annotations

from ipaddress import IPv4Address
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from tests.config_files import SERVER_INI, ConfigFiles, make_files
from twistvpn.config.settings import DataSettings, PointToPoint
from twistvpn.consistency import local_occ_string
from twistvpn.control.session import KeyDerivation
from twistvpn.crypto.ciphers import SUPPORTED
from twistvpn.data.bridge import PortSettings
from twistvpn.data.formats import PacketFormat
from twistvpn.data.lone import LoneTable
from twistvpn.errors import ConfigError, NegotiationError
from twistvpn.interfaces import Frame
from twistvpn.keying import DataTerms
from twistvpn.memory import MemoryNetwork
from twistvpn.point_to_point import COMMON_PEER_ID, Accord, come_to_terms, is_for_many, peer_info
from twistvpn.server.connection import Stage
from twistvpn.server.point_to_point import PointToPointConnection, comes_from
from twistvpn.wire.options import IvProto
from twistvpn.wire.roles import Role

END = "ifconfig 10.9.0.1 10.9.0.2\nifconfig-ipv6 fd09::1/64 fd09::2\nca ca.crt\ncert {0}.crt\nkey {0}.key\n"
CIPHERS = st.lists(st.sampled_from(SUPPORTED), min_size=1, unique=True).map(tuple)
ENDS = st.builds(DataSettings, ciphers=CIPHERS, epochs=st.booleans())
EXPORTED = b"\1\2\3"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> ConfigFiles:
    return make_files(tmp_path_factory.mktemp("config"))


def export(_label: bytes, length: int) -> bytes:
    assert length == len(EXPORTED)
    return EXPORTED


@pytest.mark.parametrize(
    ("ifconfig", "told"),
    [
        ("192.168.8.1 192.168.8.2", "192.168.8.2 192.168.8.1"),
        ("10.9.0.1 10.9.0.2", "10.9.0.2 10.9.0.1"),
        ("10.9.0.1 255.255.255.0", "10.9.0.0 255.255.255.0"),
    ],
)
def test_addresses_are_told_for_comparison(files: ConfigFiles, ifconfig: str, told: str) -> None:
    text = "dev tun\ntls-server\ntopology subnet\n" if "255" in ifconfig else "dev tun\ntls-server\n"
    settings = files.parse(text + END.format("server").replace("10.9.0.1 10.9.0.2", ifconfig))
    link = MemoryNetwork(Clock()).link(None, ("192.0.2.1", 1194))  # type: ignore[arg-type]  # nothing is received
    assert f",ifconfig {told}," in local_occ_string(settings, link)


@given(ENDS, ENDS)
def test_both_ends_come_to_the_same_accord(server: DataSettings, client: DataSettings) -> None:
    common = [cipher for cipher in server.ciphers if cipher in client.ciphers]
    results = []
    for role, ours, theirs in ((Role.SERVER, server, client), (Role.CLIENT, client, server)):
        try:
            results.append(come_to_terms(role, ours, peer_info(theirs), "", export))
        except NegotiationError:
            assert not common
    if common:
        assert results[0] == results[1]
        assert results[0].terms.cipher == common[0], "the TLS server's list decides"
        assert results[0].terms.peer_id == int.from_bytes(EXPORTED, "big")
        assert results[0].flags >= {"cc-exit", "tls-ekm", "dyn-tls-crypt"}


@pytest.mark.parametrize(
    ("can", "peer_id", "derivation"),
    [
        (IvProto(0), None, KeyDerivation.PRF),
        (IvProto.DATA_V2 | IvProto.TLS_KEY_EXPORT, None, KeyDerivation.PRF),  # it negotiates nothing
        (IvProto.NCP_P2P, None, KeyDerivation.PRF),
        (IvProto.NCP_P2P | IvProto.DATA_V2, COMMON_PEER_ID, KeyDerivation.PRF),
        (IvProto.NCP_P2P | IvProto.DATA_V2 | IvProto.TLS_KEY_EXPORT, 0x010203, KeyDerivation.EXPORTER),
        (IvProto.NCP_P2P | IvProto.TLS_KEY_EXPORT, None, KeyDerivation.EXPORTER),
    ],
)
def test_what_an_old_end_cannot_is_left_out(can: IvProto, peer_id: int | None, derivation: KeyDerivation) -> None:
    info = {"IV_PROTO": str(int(can)), "IV_CIPHERS": "AES-256-GCM"}
    accord = come_to_terms(Role.CLIENT, DataSettings(), info, "V4,cipher AES-256-GCM", export)
    assert accord.terms == ("AES-256-GCM", derivation, peer_id, PacketFormat.CLASSIC, False)
    assert accord.flags == ({"tls-ekm"} if derivation is KeyDerivation.EXPORTER else set())


def test_without_negotiation_the_fallback_counts_then_what_the_other_end_names() -> None:
    fallback = DataSettings(ciphers_fallback="AES-128-GCM")
    assert come_to_terms(Role.SERVER, fallback, {}, "V4,cipher AES-256-GCM", export).terms.cipher == "AES-128-GCM"
    assert come_to_terms(Role.SERVER, DataSettings(), {}, "V4,cipher AES-256-GCM", export).terms.cipher == "AES-256-GCM"
    with pytest.raises(NegotiationError, match="data-ciphers-fallback"):
        come_to_terms(Role.SERVER, DataSettings(), {}, "V4,cipher BF-CBC", export)


@pytest.mark.parametrize(
    ("info", "occ", "many"),
    [
        ({}, "V4,dev-type tun,cipher AES-256-GCM,tls-server", True),
        ({}, "V4,dev-type tun,ifconfig 10.9.0.1 10.9.0.2,tls-server", False),  # an end before 2.6
        ({}, "", False),
        (peer_info(DataSettings()), "V4,dev-type tun,tls-server", False),
    ],
)
def test_a_server_for_many_is_known_by_its_silence(info: dict[str, str], occ: str, *, many: bool) -> None:
    assert is_for_many(info, occ) is many


def test_the_lone_table_gives_everything_to_the_other_end() -> None:
    table: LoneTable[str] = LoneTable()
    frames = [Frame(b"any"), Frame(b"thing")]
    assert table.split_by_peer(frames) == []
    table.join("first", (), PortSettings())
    assert table.split_by_peer(frames) == [("first", frames)]
    table.join("second", (), PortSettings())
    table.leave("first", ())
    assert table.check_sources("second", [b"any"]) == [b"any"]
    assert table.check_sources("first", [b"any"]) == []
    assert table.split_client_to_client([b"any"]) == ([], [b"any"])
    assert table.for_device([b"any"]) == [b"any"]
    table.leave("second", ())
    assert table.split_by_peer(frames) == []
    assert table.drops == {"no-route": 5}


def test_only_the_named_other_end_may_come() -> None:
    allowed = frozenset({IPv4Address("192.0.2.7")})
    assert comes_from(("192.0.2.7", 5), allowed)
    assert comes_from(("::ffff:192.0.2.7", 5, 0, 0), allowed)
    assert not comes_from(("192.0.2.8", 5), allowed)
    assert not comes_from(("fe80::1%eth0", 5, 0, 2), allowed)
    assert not comes_from(("unix", 0), allowed)
    assert comes_from(("192.0.2.8", 5), frozenset())


@pytest.mark.parametrize("end", ["tls-server\n", "tls-client\nremote 192.0.2.1\nremote-cert-tls server\n"])
def test_both_syntaxes_say_the_same(files: ConfigFiles, end: str) -> None:
    name = "server" if end.startswith("tls-server") else "client"
    read = files.parse(f"dev tun\nkeepalive 10 60\n{end}{END.format(name)}")
    section = "[server]\nlisten = udp:1194" if read.server else "[client]\nremote = udp:192.0.2.1:1194"
    addresses = "ifconfig = 10.9.0.1 10.9.0.2\nifconfig-ipv6 = fd09::1/64 fd09::2"
    ini = f"{section}\n{addresses}\nkeepalive = 10 60\n[tls]\nca = ca.crt\ncert = {name}.crt\nkey = {name}.key\n"
    assert read.point_to_point == PointToPoint(
        ("topology p2p", "ifconfig 10.9.0.1 10.9.0.2", "ifconfig-ipv6 fd09::1/64 fd09::2")
    )
    assert files.parse(ini, "x.ini").point_to_point == read.point_to_point
    assert (read.data.ping, read.data.ping_restart) == (10, 60)


def test_a_server_of_many_has_its_addresses_otherwise(files: ConfigFiles) -> None:
    with pytest.raises(ConfigError, match=r"ifconfig: is point-to-point mode's; .* address and address6"):
        files.parse(SERVER_INI.replace("[tls]", "ifconfig = 10.8.0.1 10.8.0.2\n[tls]"), "x.ini")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('push "route 10.0.0.0"', "push: has no meaning in point-to-point mode"),
        ("client-to-client", "client-to-client: has no meaning in point-to-point mode"),
        ("nobind", "nobind: has no meaning in point-to-point mode"),
    ],
)
def test_what_needs_clients_is_refused(files: ConfigFiles, line: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        files.parse(f"tls-server\n{END.format('server')}{line}\n")


@pytest.mark.parametrize("line", ["pool = 10.9.0.8-10.9.0.9", "address = 10.9.0.1", "auth = plain:users"])
def test_what_needs_clients_is_refused_in_our_own_syntax_too(files: ConfigFiles, line: str) -> None:
    tls = "[tls]\nca = ca.crt\ncert = server.crt\nkey = server.key\n"
    with pytest.raises(ConfigError, match=r"has no meaning in point-to-point mode, where there are no clients"):
        files.parse(f"[server]\nlisten = udp:1194\nifconfig = 10.9.0.1 10.9.0.2\n{line}\n{tls}", "x.ini")


class Leaving:
    """A peer of which only the last words count."""

    is_open = True

    def __init__(self) -> None:
        self.said: list[str] = []

    def send_message(self, text: str) -> None:
        self.said.append(text)

    def say_goodbye(self) -> None:
        self.said.append("in data")

    def linger(self, _reason: str) -> None:
        self.said.append("end")


@pytest.mark.shows("explicit-exit-notify")
@pytest.mark.parametrize(
    ("flags", "tries", "said"),
    [({"cc-exit"}, 0, ["EXIT", "end"]), (set(), 1, ["in data", "end"]), (set(), 0, ["end"])],
)
def test_an_older_end_hears_goodbye_where_the_admin_wants_it(
    files: ConfigFiles, flags: set[str], tries: int, said: list[str]
) -> None:
    text = f"dev tun\ntls-server\nexplicit-exit-notify {tries}\n{END.format('server')}"
    host: Any = SimpleNamespace(settings=files.parse(text))
    connection = PointToPointConnection(host, Clock(), "udp:192.0.2.7:1194")
    peer: Any = Leaving()
    connection.attach(peer)
    connection.stage = Stage.CONNECTED
    connection._accord = Accord(
        DataTerms("AES-256-GCM", KeyDerivation.PRF, None, PacketFormat.CLASSIC), frozenset(flags)
    )
    connection.disconnect("the server is stopping")
    assert peer.said == said
