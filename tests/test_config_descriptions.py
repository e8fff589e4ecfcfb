"""Paths in the endpoints of Twisted that a configuration names."""

from __future__ import annotations

import pytest

from tests.config_files import CLIENT_INI, SERVER_INI, ConfigFiles, make_files


@pytest.fixture(scope="module", params=["config", "with:colon=and\\more"])
def files(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ConfigFiles:
    folder = tmp_path_factory.mktemp("parent") / request.param
    folder.mkdir()
    made = make_files(folder)
    (folder / "web:1.pem").write_text("anything")
    (folder / "trusted").mkdir()
    return made


def in_folder(files: ConfigFiles, text: str) -> str:
    """The text with @ for the configuration's folder, as Twisted has it quoted."""
    folder = str(files.path).replace("\\", "\\\\").replace(":", "\\:").replace("=", "\\=")
    return text.replace("@", folder)


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("ssl:443:privateKey=server.key:certKey=server.crt", "ssl:443:privateKey=@/server.key:certKey=@/server.crt"),
        ("ssl:443:server.key:server.crt", "ssl:443:@/server.key:@/server.crt"),
        (
            "ssl:port=443:extraCertChain=./ca.crt:privateKey=server.key:backlog=5",
            "ssl:port=443:extraCertChain=@/ca.crt:privateKey=@/server.key:backlog=5",
        ),
        (r"ssl:443:privateKey=web\:1.pem", r"ssl:443:privateKey=@/web\:1.pem"),
        ("tls:trusted:443", "tls:@/trusted:443"),
        ("unix:link:lockfile=0", "unix:@/link:lockfile=0"),
        ("haproxy:unix:address=link", "haproxy:unix:address=@/link"),
        ("unix:/run/link", "unix:/run/link"),
        (r"tcp:1194:interface=\:\:1", r"tcp:1194:interface=\:\:1"),
    ],
)
def test_a_listen_takes_its_files_from_the_configurations_folder(files: ConfigFiles, text: str, endpoint: str) -> None:
    server = files.parse(SERVER_INI.replace("udp:1194", text)).server
    assert server is not None
    assert server.listen[0].endpoint == in_folder(files, endpoint)


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        (
            "ssl:host=h:port=443:caCertsDir=trusted:certKey=client.crt",
            "ssl:host=h:port=443:caCertsDir=@/trusted:certKey=@/client.crt",
        ),
        ("tls:h:443:trustRoots=trusted:timeout=5", "tls:h:443:trustRoots=@/trusted:timeout=5"),
        ("unix:path=link", "unix:path=@/link"),
        ("unix:link", "unix:@/link"),
    ],
)
def test_a_remote_takes_its_files_from_the_configurations_folder(files: ConfigFiles, text: str, endpoint: str) -> None:
    client = files.parse(CLIENT_INI.replace("udp:vpn.example.org:1194", text)).client
    assert client is not None
    assert client.remotes[0].endpoint == in_folder(files, endpoint)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ssl:443:privateKey=missing.pem", "cannot read {folder}/missing.pem: No such file or directory"),
        ("ssl:443:server.key:missing.crt", "cannot read {folder}/missing.crt: No such file or directory"),
        ("ssl:443", "TLS needs a certificate; write ssl:443:privateKey=FILE:certKey=FILE"),
        ("ssl:443:interface=10.0.0.1", "TLS needs a certificate; write ssl:443:privateKey=FILE:certKey=FILE"),
        ("tls:443", "TLS at a server is written ssl:443:privateKey=FILE:certKey=FILE"),
        ("tls6:443", "TLS at a server is written ssl:443:privateKey=FILE:certKey=FILE"),
        ("tls4:192.0.2.1:443", "TLS at a server is written ssl:443:privateKey=FILE:certKey=FILE"),
        ("tls:192.0.2.1:443", "there is no folder {folder}/192.0.2.1; TLS with one certificate is ssl:PORT:"),
        ("haproxy:tls:trusted", "a proxy's header comes before TLS"),
    ],
)
def test_a_listen_whose_files_are_not_there(files: ConfigFiles, text: str, message: str) -> None:
    line = files.line(SERVER_INI.replace("udp:1194", text))
    assert f"test.conf:2: listen: {message.format(folder=files.path)}" in line


def test_a_remote_whose_files_are_not_there(files: ConfigFiles) -> None:
    text = CLIENT_INI.replace("udp:vpn.example.org:1194", "ssl:host=h:port=443:caCertsDir=missing")
    assert f"remote: there is no folder {files.path}/missing" in files.line(text)
