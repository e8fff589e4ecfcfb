from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.config_files import (
    CLIENT_INI,
    CLIENT_OVPN,
    PASSWORD,
    SERVER_INI,
    SERVER_OVPN,
    ConfigFiles,
    make_files,
)
from twistvpn.config.directive import Directive
from twistvpn.config.ini_options import ONE_CLIENT, SECTIONS
from twistvpn.config.judge import judge
from twistvpn.config.load import load, parse
from twistvpn.config.options import ALIASES, OPTIONS, Treatment
from twistvpn.config.settings import LoginSettings, Material, Origin
from twistvpn.errors import ConfigError
from twistvpn.wire.roles import Role

EXAMPLES = Path(__file__).parent.parent / "etc"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> ConfigFiles:
    return make_files(tmp_path_factory.mktemp("config"))


@pytest.mark.parametrize(
    ("text", "role"),
    [(SERVER_OVPN, Role.SERVER), (CLIENT_OVPN, Role.CLIENT), (SERVER_INI, Role.SERVER), (CLIENT_INI, Role.CLIENT)],
)
def test_the_syntax_is_chosen_by_content_whatever_the_file_is_called(files: ConfigFiles, text: str, role: Role) -> None:
    for name in ("a.ini", "a.conf", "a.ovpn"):
        (files.path / name).write_text("\ufeff\n# a comment\n; another\n" + text)
        read = load(str(files.path / name))
        assert read.role is role
        assert (read.server is not None, read.client is not None) == (role is Role.SERVER, role is Role.CLIENT)


def test_both_syntaxes_say_the_same(files: ConfigFiles) -> None:
    ini, ovpn = files.parse(SERVER_INI), files.parse(SERVER_OVPN)
    assert ini.server is not None
    assert ovpn.server is not None
    assert ini.server.network == ovpn.server.network
    assert [(end.proto, end.host, end.port) for end in ini.server.listen] == [
        (end.proto, end.host, end.port) for end in ovpn.server.listen
    ]
    assert (ini.data, ini.control, ini.device) == (ovpn.data, ovpn.control, ovpn.device)


def test_a_missing_configuration_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.ini: cannot read the configuration: No such file or directory$"):
        load(str(tmp_path / "none.ini"))


def test_a_configuration_that_is_not_text_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "bad").write_bytes(b"\xff\xfe\x00client\n")
    with pytest.raises(ConfigError, match="is not UTF-8 text"):
        load(str(tmp_path / "bad"))


def test_relative_paths_are_taken_from_the_files_folder(files: ConfigFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    (files.path / "relative.ini").write_text(SERVER_INI + "crl-verify = crl.pem\n[log]\nstatus = status.log 5\n")
    monkeypatch.chdir(files.path.parent)
    read = load(f"{files.path.name}/relative.ini")
    assert read.tls.crl == str(files.path / "crl.pem")
    assert (read.status, read.status_interval) == (str(files.path / "status.log"), 5.0)
    assert read.tls.key is not None
    assert read.tls.key.data == files.text("server.key").encode()


@pytest.mark.parametrize("name", ["server.ini", "client.ini"])
def test_the_examples_are_working_configurations(files: ConfigFiles, name: str) -> None:
    text = (EXAMPLES / name).read_text()
    read = files.parse(text)
    assert read.role.value == name.removesuffix(".ini")
    assert read.notes == ()


@pytest.mark.parametrize("name", ["server.ini", "client.ini"])
def test_the_examples_mention_every_option_they_may_have(name: str) -> None:
    text = (EXAMPLES / name).read_text()
    mentioned = set(re.findall(r"^;?([a-z0-9-]+) =", text, re.MULTILINE))
    role = name.removesuffix(".ini")
    known = {
        option for section, options in SECTIONS.items() if section in {role, "tls", "control"} for option in options
    }
    assert mentioned <= {option for options in (*SECTIONS.values(), ONE_CLIENT) for option in options}
    if role == "server":
        assert known - mentioned <= {
            "ping", "ping-restart", "ping-exit", "pkcs12", "verify-x509-name", "tls-groups", "tls-cert-profile",
        }  # fmt: skip


@pytest.mark.parametrize("text", [SERVER_INI, SERVER_OVPN, CLIENT_INI, CLIENT_OVPN])
@pytest.mark.parametrize("option", ["ca", "cert", "key"])
def test_a_file_that_is_not_there_is_named_with_its_line(files: ConfigFiles, text: str, option: str) -> None:
    name = re.search(rf"^{option}[ =]+(\S+)", text, re.MULTILINE)
    assert name is not None
    number = text[: name.start()].count("\n") + 1
    line = files.line(text.replace(name[1], "missing.pem"))
    assert line == f"test.conf:{number}: {option}: cannot read {files.path}/missing.pem: No such file or directory"


def test_a_folder_in_place_of_a_file_is_one_line(files: ConfigFiles) -> None:
    line = files.line(SERVER_OVPN.replace("ca ca.crt", "ca ."))
    assert line == f"test.conf:4: ca: cannot read {files.path}: Is a directory"


@pytest.mark.parametrize("text", [SERVER_INI, SERVER_OVPN])
def test_a_key_of_another_certificate_is_refused(files: ConfigFiles, text: str) -> None:
    line = files.line(text.replace("server.key", "client.key"))
    assert ": key: the private key is not that of the certificate in cert (line " in line


@pytest.mark.parametrize(("option", "file"), [("ca", "ca.crt"), ("cert", "server.crt"), ("key", "server.key")])
def test_a_file_that_is_something_else_is_refused(files: ConfigFiles, option: str, file: str) -> None:
    for wrong in ("empty", "ta.key", "login.txt"):
        line = files.line(SERVER_OVPN.replace(file, wrong))
        kind = "private key" if option == "key" else "certificate"
        assert f": {option}: {wrong} has no {kind} in PEM format" in line


@pytest.mark.parametrize("text", [SERVER_INI, SERVER_OVPN])
@pytest.mark.parametrize("option", ["ca", "cert", "key"])
def test_a_server_needs_its_certificates(files: ConfigFiles, text: str, option: str) -> None:
    line = files.line(re.sub(rf"^{option}\b.*\n", "", text, flags=re.MULTILINE))
    assert f": {'cert' if option == 'cert' and 'there is a key' not in line else ''}" in line
    assert option in line
    assert line.startswith("test.conf")


@pytest.mark.parametrize("text", [CLIENT_INI, CLIENT_OVPN])
def test_a_client_needs_a_certificate_or_a_password(files: ConfigFiles, text: str) -> None:
    bare = re.sub(r"^(cert|key)\b.*\n", "", text, flags=re.MULTILINE)
    assert files.line(bare) == (
        "test.conf: cert: is missing; a client needs cert and key, or auth-user-pass FILE, or both"
    )


def test_a_client_with_a_password_alone(files: ConfigFiles) -> None:
    bare = re.sub(r"^(cert|key)\b.*\n", "", CLIENT_OVPN, flags=re.MULTILINE)
    client = files.parse(bare + "auth-user-pass login.txt\n").client
    assert client is not None
    assert client.login == LoginSettings("alice", "secret password")
    assert "secret" not in repr(client)


def test_a_login_file_without_a_name_is_refused(files: ConfigFiles) -> None:
    line = files.line(CLIENT_OVPN + "auth-user-pass empty\n")
    assert line == ("test.conf:8: auth-user-pass: empty must have the username on line 1 and the password on line 2")


def test_an_encrypted_key_needs_askpass(files: ConfigFiles) -> None:
    text = CLIENT_OVPN.replace("client.key", "encrypted.key")
    assert files.line(text) == (
        "test.conf:6: key: encrypted.key is encrypted; put its password into a file and name that with askpass FILE"
    )
    assert files.line(text + "askpass wrong-password\n") == (
        "test.conf:6: key: encrypted.key does not open with the password of askpass"
    )
    assert "askpass: nobody is there to be asked" in files.line(text + "askpass\n")
    key = files.parse(text + "askpass password\n").tls.key
    assert key is not None
    assert key.data == files.text("client.key").encode()


def test_pkcs12_has_everything(files: ConfigFiles) -> None:
    text = re.sub(r"^(ca|cert|key)\b.*\n", "", CLIENT_OVPN, flags=re.MULTILINE) + "pkcs12 client.p12\n"
    tls = files.parse(text + "askpass password\n").tls
    assert (tls.ca, tls.cert, tls.key) == tuple(
        Material(files.text(name).encode(), Origin("test.conf", 5, "pkcs12"))
        for name in ("ca.crt", "client.crt", "client.key")
    )
    assert "client.p12 does not open as PKCS #12" in files.line(text)
    assert "contradicts cert (line 7)" in files.line(text + "askpass password\ncert client.crt\n")


def test_no_secret_is_in_a_repr(files: ConfigFiles) -> None:
    text = CLIENT_OVPN.replace("client.key", "encrypted.key")
    read = files.parse(text + "askpass password\nauth-user-pass login.txt\ntls-crypt tls-crypt.key\n")
    shown = repr(read)
    for secret in (PASSWORD, "alice", "secret", "PRIVATE", "Static key"):
        assert secret not in shown


@pytest.mark.parametrize("wrong", ["empty", "ca.crt", "server.key"])
def test_a_static_key_that_is_none_is_refused(files: ConfigFiles, wrong: str) -> None:
    assert files.line(SERVER_OVPN + f"tls-crypt {wrong}\n").startswith(f"test.conf:9: tls-crypt: {wrong}: ")


def test_a_crl_that_is_none_is_refused(files: ConfigFiles) -> None:
    assert "crl-verify: ca.crt has no CRL in PEM format" in files.line(SERVER_OVPN + "crl-verify ca.crt\n")


def test_a_client_without_any_check_of_the_server_is_warned(files: ConfigFiles) -> None:
    notes = files.parse(CLIENT_OVPN.replace("remote-cert-tls server\n", "")).notes
    assert len(notes) == 1
    assert "any client of the same ca can pose as the server" in notes[0]


@pytest.mark.parametrize("name", ["server.key", "ca.crt", "tls-crypt.key", "tls-crypt-v2.key"])
def test_a_key_is_no_configuration(files: ConfigFiles, name: str) -> None:
    assert files.line(files.text(name), name) == (
        f"{name}: is a key or a certificate, no configuration; name the file that names it"
    )


@pytest.mark.parametrize("text", ["", "\n \n", "# server.ini\n; nothing\n", "\ufeff"])
def test_a_file_without_options_is_told_so(files: ConfigFiles, text: str) -> None:
    assert files.line(text, "empty.ini").startswith("empty.ini: has no options; twistvpn init makes")


def test_a_clients_certificate_on_a_server_is_noted(files: ConfigFiles) -> None:
    text = SERVER_OVPN.replace("server.crt", "client.crt").replace("server.key ", "client.key ")
    (note,) = [note for note in files.parse(text).notes if ": cert: " in note]
    assert "the certificate is not a server's (its extendedKeyUsage has no serverAuth)" in note


def test_every_judged_option_has_a_judge() -> None:
    for option in OPTIONS.values():
        if option.treatment is Treatment.JUDGED:
            item = Directive(option.name, ("no such value",), Origin("f", 1, option.name))
            try:
                assert judge(item)
            except ConfigError as error:
                assert error.line == 1  # noqa: PT017 - some judges accept any value


def test_every_option_without_effect_and_every_refused_one_says_why() -> None:
    for option in OPTIONS.values():
        assert bool(option.reason) is (option.treatment is not Treatment.READ), option.name


@pytest.mark.skipif(shutil.which("openvpn") is None, reason="needs stock openvpn to ask for its options")
def test_the_table_has_every_option_of_stock_openvpn() -> None:
    answer = subprocess.run(["openvpn", "--help"], capture_output=True, text=True, check=False)
    stock = set(re.findall(r"^--([a-z0-9-]+)", answer.stdout, re.MULTILINE))
    assert len(stock) > 200
    assert stock - OPTIONS.keys() - ALIASES.keys() == set()


_ARGUMENTS = ["0", "1", "-1", "10.8.0.0", "255.255.255.0", "fd00::/64", "ca.crt", "udp", "[inline]", '""', "x" * 300]
_BLOCKS = ["<ca>", "</ca>", "<connection>", "</connection>", "remote x"]
_LINES = st.lists(
    st.one_of(
        st.builds(
            lambda name, args: " ".join([name, *args]),
            st.sampled_from(sorted(OPTIONS)),
            st.lists(st.sampled_from(_ARGUMENTS), max_size=4),
        ),
        st.sampled_from([*SERVER_OVPN.splitlines(), *CLIENT_OVPN.splitlines(), *_BLOCKS]),
        st.text(max_size=40),
    ),
    max_size=12,
).map("\n".join)

_VALUES = [
    "0",
    "yes",
    "udp:1194",
    "10.8.0.0/24",
    "10.8.0.9-10.8.0.2",
    "::/64",
    "ca.crt",
    '"',
    "[",
    "\\",
    "",
    "1 2",
    "a b c",
]
_INI_LINES = st.lists(
    st.one_of(
        st.sampled_from([f"[{section}]" for section in SECTIONS]),
        st.builds(
            lambda name, value: f"{name} = {value}",
            st.sampled_from(sorted({name for names in SECTIONS.values() for name in names})),
            st.sampled_from(_VALUES),
        ),
        st.sampled_from([*SERVER_INI.splitlines(), *CLIENT_INI.splitlines(), "    udp:1", "    x"]),
        st.text(max_size=40),
    ),
    max_size=12,
).map(lambda lines: "\n".join(["[server]", *lines]))


@settings(max_examples=400)
@given(st.one_of(st.text(), _LINES, _INI_LINES))
def test_any_text_is_settings_or_one_line(files: ConfigFiles, text: str) -> None:
    try:
        parse(text, "fuzz.conf", str(files.path))
    except ConfigError as error:
        assert str(error).startswith(("fuzz.conf", f"{files.path}"))  # noqa: PT017 - any text may be fine
        assert "\n" not in str(error)  # noqa: PT017
