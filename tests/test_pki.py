from __future__ import annotations

import os
import re
import select
import shutil
import socket
import stat
import subprocess
import time
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta, timezone
from ipaddress import IPv4Network, IPv6Network, ip_address
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.x509 import verification
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st

from twistvpn.crypto.clientkey import ServerKey, timestamp_metadata
from twistvpn.crypto.statickey import StaticKey
from twistvpn.errors import ConfigError
from twistvpn.pki import files
from twistvpn.pki.authority import Authority, check_name, common_name
from twistvpn.pki.folder import ALL_FILES, StateFolder
from twistvpn.pki.index import Entry, Kind, Status, format_index, parse_index
from twistvpn.pki.profile import ControlBlock, RemoteEntry, client_profile

if TYPE_CHECKING:
    from collections.abc import Iterator

    from twistvpn.pki.authority import Issued

NOW = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
DAY = timedelta(days=1)
NETWORK = IPv4Network("10.77.3.0/24")
NETWORK6 = IPv6Network("fd12:3456:789a:1::/64")
CIPHERS = ("AES-256-GCM", "AES-128-GCM", "CHACHA20-POLY1305")

needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
needs_openvpn = pytest.mark.skipif(shutil.which("openvpn") is None, reason="openvpn is not installed")


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.create("test CA", NOW)


@pytest.fixture
def folder(tmp_path: Path) -> StateFolder:
    return make_folder(tmp_path / "state")


def make_folder(path: Path, now: datetime = NOW, host: str = "vpn.example.org") -> StateFolder:
    return StateFolder.create(path, host=host, network=NETWORK, network6=NETWORK6, now=now)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def openssl_verify(
    tmp_path: Path, authority: Authority, issued: Issued, *options: str
) -> subprocess.CompletedProcess[str]:
    (tmp_path / "ca.pem").write_text(authority.certificate_pem)
    (tmp_path / "leaf.pem").write_text(issued.certificate_pem)
    at = str(int((NOW + DAY).timestamp()))
    command = ["openssl", "verify", "-x509_strict", "-attime", at, "-CAfile", "ca.pem", *options, "leaf.pem"]
    return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)


def revoked_serials(pem: str | bytes) -> set[int]:
    data = pem.encode() if isinstance(pem, str) else pem
    return {entry.serial_number for entry in x509.load_pem_x509_crl(data)}


# -- the authority


@pytest.mark.parametrize("host", ["vpn.example.org", "192.0.2.7", "2001:db8::7"])
def test_a_server_certificate_verifies_for_its_host(authority: Authority, host: str) -> None:
    issued = authority.issue_server(host, [host], NOW)
    try:
        subject: x509.GeneralName = x509.IPAddress(ip_address(host))
    except ValueError:
        subject = x509.DNSName(host)
    assert isinstance(subject, (x509.DNSName, x509.IPAddress))
    store = verification.Store([authority.certificate])
    verifier = verification.PolicyBuilder().store(store).time(NOW + DAY).build_server_verifier(subject)
    chain = verifier.verify(issued.certificate, [])
    assert chain == [issued.certificate, authority.certificate]


def test_a_server_certificate_has_the_key_usage_that_openvpn_3_wants(authority: Authority) -> None:
    certificate = authority.issue_server("a", ["a"], NOW).certificate
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    assert (usage.digital_signature, usage.key_agreement, usage.key_encipherment) == (True, True, False)
    extended = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(extended) == [ExtendedKeyUsageOID.SERVER_AUTH]


@needs_openssl
def test_openssl_accepts_each_certificate_for_its_purpose_only(tmp_path: Path, authority: Authority) -> None:
    server = authority.issue_server("vpn.example.org", ["vpn.example.org"], NOW)
    client = authority.issue_client("alice", NOW)
    assert openssl_verify(tmp_path, authority, server, "-purpose", "sslserver").returncode == 0
    assert openssl_verify(tmp_path, authority, client, "-purpose", "sslclient").returncode == 0
    assert openssl_verify(tmp_path, authority, server, "-purpose", "sslclient").returncode != 0
    assert openssl_verify(tmp_path, authority, client, "-purpose", "sslserver").returncode != 0


@needs_openssl
def test_openssl_refuses_what_the_crl_names(tmp_path: Path, authority: Authority) -> None:
    alice, bob = (authority.issue_client(name, NOW) for name in ("alice", "bob"))
    (tmp_path / "crl.pem").write_text(authority.crl({alice.serial: NOW}, NOW))
    check = ("-crl_check", "-CRLfile", "crl.pem")
    refused = openssl_verify(tmp_path, authority, alice, *check)
    assert refused.returncode != 0
    assert "revoked" in refused.stderr
    assert openssl_verify(tmp_path, authority, bob, *check).returncode == 0


@needs_openssl
def test_a_certificate_is_as_old_as_it_is_asked_to_be(tmp_path: Path, authority: Authority) -> None:
    expired = authority.issue_client("late", NOW - 10 * DAY, NOW - DAY)
    assert expired.certificate.not_valid_after_utc == NOW - DAY
    assert "expired" in openssl_verify(tmp_path, authority, expired).stderr


def test_no_certificate_outlives_its_ca_by_itself() -> None:
    authority = Authority.create("short", NOW, NOW + 30 * DAY)
    assert authority.issue_client("alice", NOW).certificate.not_valid_after_utc == NOW + 30 * DAY


def test_a_crl_is_good_for_ten_years(authority: Authority) -> None:
    crl = x509.load_pem_x509_crl(authority.crl({}, NOW).encode())
    assert crl.is_signature_valid(authority.certificate.public_key())  # type: ignore[arg-type]  # of all key types
    assert crl.next_update_utc is not None
    assert crl.next_update_utc > NOW + 3650 * DAY


def test_an_authority_survives_pem(authority: Authority) -> None:
    again = Authority.from_pem(authority.certificate_pem.encode(), authority.key_pem.encode())
    again.issue_client("alice", NOW).certificate.verify_directly_issued_by(authority.certificate)


def test_a_strangers_key_is_refused(authority: Authority) -> None:
    other = Authority.create("other", NOW)
    with pytest.raises(ConfigError, match="does not belong"):
        Authority.from_pem(authority.certificate_pem.encode(), other.key_pem.encode())


@given(st.binary(max_size=200))
def test_garbage_is_no_pem(data: bytes) -> None:
    with pytest.raises(ConfigError):
        Authority.from_pem(data, data)


def test_no_key_shows_in_a_repr(authority: Authority) -> None:
    issued = authority.issue_client("alice", NOW)
    assert "PrivateKey" not in repr(issued)
    assert "PRIVATE" not in repr(issued) + repr(authority)


@pytest.mark.parametrize(
    "name", ["", " ", " a", "a/b", "a\nb", "a\tb", "a\x00", "a\u2028b", "..", ".", "x" * 65, "\u00e9" * 33]
)
def test_names_that_cannot_be(name: str) -> None:
    with pytest.raises(ConfigError):
        check_name(name)


@pytest.mark.parametrize("name", ["alice", "Alice's phone", "j\u00fcrgen@example.org", "x" * 64, "-n"])
def test_names_that_can_be(authority: Authority, name: str) -> None:
    assert common_name(authority.issue_client(name, NOW).certificate) == name


@given(st.text())
def test_any_name_is_issued_or_refused(name: str) -> None:
    try:
        check_name(name)
    except ConfigError:
        return
    entry = Entry(1, Kind.CLIENT, name, NOW)
    assert parse_index(format_index([entry]), "index.txt") == [entry]
    x509.NameAttribute(x509.NameOID.COMMON_NAME, name)


@pytest.mark.parametrize("host", ["", "a b", "-a", "a..b", "b\u00fccher.example", "x" * 64, "udp:1194", "a/b"])
def test_hosts_that_cannot_be(authority: Authority, host: str) -> None:
    with pytest.raises(ConfigError):
        authority.issue_server("server", [host], NOW)


# -- the index


def test_the_index_tells_where_it_is_damaged() -> None:
    text = format_index([Entry(1, Kind.CLIENT, "alice", NOW)]) + "what is this\n"
    with pytest.raises(ConfigError) as caught:
        parse_index(text, "index.txt")
    assert str(caught.value).startswith("index.txt:3: ")


@given(st.text())
def test_any_text_is_an_index_or_our_error(text: str) -> None:
    with suppress(ConfigError):
        parse_index(text, "index.txt")


# -- the state folder


def test_a_new_folder_holds_all_files_for_its_owner_only(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        folder = make_folder(tmp_path / "a" / "state")
    finally:
        os.umask(old)
    assert mode(folder.path) == 0o700
    assert {path.name: mode(path) for path in folder.path.iterdir()} == dict.fromkeys(ALL_FILES, 0o600)
    assert ServerKey.from_text((folder.path / "tls-crypt-v2.key").read_text())


def test_files_are_born_with_their_mode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    born: dict[str, int] = {}
    real = os.open

    def watched(path: str | Path, flags: int, permissions: int = 0o777, **rest: int | None) -> int:
        if flags & os.O_CREAT:
            assert flags & os.O_EXCL
            born[Path(path).name] = permissions
        return real(path, flags, permissions, **rest)

    monkeypatch.setattr(os, "open", watched)
    make_folder(tmp_path / "state")
    assert born == dict.fromkeys(ALL_FILES, 0o600)


def test_an_empty_folder_is_closed_to_others_and_a_full_one_left(tmp_path: Path) -> None:
    for name in ("empty", "full"):
        (tmp_path / name).mkdir()
        (tmp_path / name).chmod(0o755)
    (tmp_path / "full" / "notes").touch()
    assert mode(make_folder(tmp_path / "empty").path) == 0o700
    assert mode(make_folder(tmp_path / "full").path) == 0o755


@pytest.mark.parametrize("name", ALL_FILES)
def test_no_file_is_ever_overwritten(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("precious")
    with pytest.raises(ConfigError, match=re.escape(name)):
        make_folder(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "precious"


def test_a_folder_that_cannot_be_finished_is_left_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.fsync
    calls = iter(range(100))

    def full(handle: int) -> None:
        if next(calls) == 3:
            raise OSError(28, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        make_folder(tmp_path / "state")
    assert not list((tmp_path / "state").iterdir())


def test_a_long_host_name_is_no_common_name(tmp_path: Path) -> None:
    host = ".".join(["x" * 30] * 3) + ".example.org"
    folder = make_folder(tmp_path, host=host)
    assert folder.host == host
    assert folder.server_name == "twistvpn server"


def test_a_client_comes_and_goes(folder: StateFolder) -> None:
    issued = folder.add_client("alice", NOW)
    assert [(entry.name, entry.serial, entry.status(NOW)) for entry in folder.clients()] == [
        ("alice", issued.serial, Status.ACTIVE)
    ]
    issued.certificate.verify_directly_issued_by(folder.authority().certificate)
    with pytest.raises(ConfigError, match="already"):
        folder.add_client("alice", NOW)
    folder.revoke_client("alice", NOW + DAY)
    assert revoked_serials((folder.path / "crl.pem").read_bytes()) == {issued.serial}
    assert folder.clients()[0].revoked == NOW + DAY
    with pytest.raises(ConfigError, match="revoked already"):
        folder.revoke_client("alice", NOW + DAY)
    again = folder.add_client("alice", NOW + DAY)
    assert [entry.status(NOW + DAY) for entry in folder.clients()] == [Status.REVOKED, Status.ACTIVE]
    folder.revoke_client("alice", NOW + 2 * DAY)
    assert revoked_serials((folder.path / "crl.pem").read_bytes()) == {issued.serial, again.serial}


def test_a_client_whose_certificate_expired_is_added_again(folder: StateFolder) -> None:
    folder.add_client("alice", NOW, DAY)
    later = NOW + 2 * DAY
    assert folder.clients()[0].status(later) is Status.EXPIRED
    folder.add_client("alice", later)


def test_crl_numbers_grow(folder: StateFolder) -> None:
    numbers = []
    for name in ("a", "b"):
        folder.add_client(name, NOW)
        folder.revoke_client(name, NOW)
        crl = x509.load_pem_x509_crl((folder.path / "crl.pem").read_bytes())
        numbers.append(crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number)
    assert numbers == [2, 3]


def test_a_new_crl_keeps_the_mode_of_the_old(folder: StateFolder) -> None:
    crl = folder.path / "crl.pem"
    crl.chmod(0o640)
    folder.add_client("alice", NOW)
    folder.revoke_client("alice", NOW)
    assert mode(crl) == 0o640
    assert mode(folder.path / "index.txt") == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_new_crl_keeps_the_owner_of_the_old(folder: StateFolder) -> None:
    crl = folder.path / "crl.pem"
    os.chown(crl, 12345, 23456)
    folder.add_client("alice", NOW)
    folder.revoke_client("alice", NOW)
    assert (crl.stat().st_uid, crl.stat().st_gid) == (12345, 23456)


def test_a_reader_never_sees_half_a_file(folder: StateFolder) -> None:
    crl = folder.path / "crl.pem"
    folder.add_client("alice", NOW)
    with crl.open("rb") as reader:
        folder.revoke_client("alice", NOW)
        assert revoked_serials(reader.read()) == set()
    assert len(revoked_serials(crl.read_bytes())) == 1


def test_a_file_that_cannot_be_replaced_stays(folder: StateFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.add_client("alice", NOW)
    before = {path.name: path.read_bytes() for path in folder.path.iterdir()}

    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        folder.revoke_client("alice", NOW)
    assert {path.name: path.read_bytes() for path in folder.path.iterdir()} == before


def test_a_revocation_that_stopped_half_way_is_given_again(
    folder: StateFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    issued = folder.add_client("alice", NOW)
    real = files.replace_file

    def fails_at_the_index(path: Path, text: str) -> None:
        if path.name == "index.txt":
            raise OSError(28, "No space left on device")
        real(path, text)

    with monkeypatch.context() as patch:
        patch.setattr(files, "replace_file", fails_at_the_index)
        with pytest.raises(OSError, match="No space"):
            folder.revoke_client("alice", NOW)
    assert revoked_serials((folder.path / "crl.pem").read_bytes()) == {issued.serial}
    assert [entry.serial for entry in folder.revoke_client("alice", NOW)] == [issued.serial]


def test_a_renewed_server_keeps_key_and_name(folder: StateFolder) -> None:
    old = x509.load_pem_x509_certificate((folder.path / "server.crt").read_bytes())
    folder.renew_server(NOW + 800 * DAY, host="new.example.org")
    new = x509.load_pem_x509_certificate((folder.path / "server.crt").read_bytes())
    assert new.public_key() == old.public_key()
    assert common_name(new) == common_name(old) == folder.server_name
    assert new.not_valid_after_utc > old.not_valid_after_utc
    assert folder.host == "new.example.org"


def test_a_damaged_file_is_named(folder: StateFolder) -> None:
    (folder.path / "ca.key").write_bytes(b"\xff\x00")
    with pytest.raises(ConfigError, match=re.escape(str(folder.path / "ca.key"))):
        folder.add_client("alice", NOW)
    assert folder.clients() == []


# -- profiles


def own_key(folder: StateFolder) -> str:
    server_key = ServerKey.from_text((folder.path / "tls-crypt-v2.key").read_text())
    return server_key.new_client_key(timestamp_metadata(NOW.timestamp())).to_text()


def profile_for(folder: StateFolder, *remotes: RemoteEntry, now: datetime = NOW) -> str:
    return client_profile(
        folder.add_client("alice", now),
        remotes=remotes,
        ca=folder.ca_pem,
        server_name=folder.server_name,
        control=ControlBlock("tls-crypt-v2", own_key(folder)),
        ciphers=CIPHERS,
    )


def test_a_profile_says_goodbye_over_udp_only(folder: StateFolder) -> None:
    udp, tcp = RemoteEntry("h", 1, "udp"), RemoteEntry("h", 1, "tcp")
    assert "explicit-exit-notify" in profile_for(folder, udp)
    folder.revoke_client("alice", NOW)
    assert "explicit-exit-notify" not in profile_for(folder, udp, tcp)


def test_a_tls_auth_profile_has_the_other_direction(folder: StateFolder) -> None:
    text = client_profile(
        folder.add_client("alice", NOW),
        remotes=[RemoteEntry("h", 1, "udp")],
        ca=folder.ca_pem,
        server_name='odd "name"',
        control=ControlBlock("tls-auth", StaticKey.generate().to_text(), 1, "SHA256"),
        ciphers=["CHACHA20-POLY1305"],
    )
    assert "\nkey-direction 1\n" in text
    assert "\nauth SHA256\n" in text
    assert "<tls-auth>\n" in text
    assert '\nverify-x509-name "odd \\"name\\"" name\n' in text
    assert "\ncipher " not in text


class Lines:
    """The output of a process, line by line, with a bound on every wait."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        self._stdout = process.stdout
        self._seen = ""

    def wait_for(self, pattern: str, seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while not re.search(pattern, self._seen):
            ready, _, _ = select.select([self._stdout], [], [], max(0, end - time.monotonic()))
            data = os.read(self._stdout.fileno(), 65536) if ready else b""
            assert data, f"no {pattern!r} in:\n{self._seen}"
            self._seen += data.decode()


@contextmanager
def openvpn(cwd: Path, *arguments: str) -> Iterator[Lines]:
    command = ["openvpn", *arguments, "--dev", "null", "--verb", "4"]
    with subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        try:
            yield Lines(process)
        finally:
            process.terminate()


@needs_openvpn
def test_openvpn_starts_on_a_profile(tmp_path: Path, folder: StateFolder) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(60)
        port = server.getsockname()[1]
        remotes = (RemoteEntry("127.0.0.1", port, "udp"), RemoteEntry("127.0.0.1", port, "tcp"))
        (tmp_path / "alice.ovpn").write_text(profile_for(folder, *remotes))
        with openvpn(tmp_path, "--config", "alice.ovpn"):
            first = server.recv(2048)
    assert first[0] >> 3 == 10  # P_CONTROL_HARD_RESET_CLIENT_V3


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def peer_of(folder: StateFolder, port: int) -> list[str]:
    files_of = {"ca": "ca.crt", "cert": "server.crt", "key": "server.key"}
    files_of |= {"tls-crypt-v2": "tls-crypt-v2.key", "crl-verify": "crl.pem"}
    options = [part for option, name in files_of.items() for part in (f"--{option}", str(folder.path / name))]
    return [*options, "--tls-server", "--dh", "none", "--local", "127.0.0.1", "--port", str(port)]


@needs_openvpn
def test_two_openvpns_shake_hands_until_the_client_is_revoked(tmp_path: Path) -> None:
    now = datetime.now(timezone.utc)
    folder = make_folder(tmp_path / "state", now, host="127.0.0.1")
    port = free_port()
    profile = tmp_path / "alice.ovpn"
    profile.write_text(profile_for(folder, RemoteEntry("127.0.0.1", port, "udp"), now=now))
    with openvpn(tmp_path, *peer_of(folder, port)) as server:
        server.wait_for(r"UDPv4 link local \(bound\)")
        with openvpn(tmp_path, "--config", "alice.ovpn") as client:
            client.wait_for(r"VERIFY X509NAME OK: CN=127\.0\.0\.1")
            client.wait_for("Peer Connection Initiated")
            server.wait_for(r"\[alice\] Peer Connection Initiated")
    folder.revoke_client("alice", now)
    with openvpn(tmp_path, *peer_of(folder, port)) as server:
        server.wait_for(r"UDPv4 link local \(bound\)")
        with openvpn(tmp_path, "--config", "alice.ovpn"):
            server.wait_for("certificate revoked")
