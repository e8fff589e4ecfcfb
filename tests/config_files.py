"""A folder of certificates and keys for configurations to name, and the shortest configurations of each kind."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from cryptography.hazmat.primitives.serialization.pkcs12 import serialize_key_and_certificates

from twistvpn.config.load import parse
from twistvpn.crypto.clientkey import ServerKey, timestamp_metadata
from twistvpn.crypto.statickey import StaticKey
from twistvpn.errors import ConfigError
from twistvpn.pki.authority import Authority

if TYPE_CHECKING:
    from pathlib import Path

    from twistvpn.config.settings import Settings

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)
PASSWORD = "open sesame"

SERVER_OVPN = """\
port 1194
proto udp
dev tun
ca ca.crt
cert server.crt
key server.key  # this file should be kept secret
dh dh2048.pem
server 10.8.0.0 255.255.255.0
"""
CLIENT_OVPN = """\
client
dev tun
remote vpn.example.org
ca ca.crt
cert client.crt
key client.key
remote-cert-tls server
"""
SERVER_INI = """\
[server]
listen = udp:1194
network = 10.8.0.0/24
[tls]
ca = ca.crt
cert = server.crt
key = server.key
"""
CLIENT_INI = """\
[client]
remote = udp:vpn.example.org:1194
[tls]
ca = ca.crt
cert = client.crt
key = client.key
remote-cert-tls = server
"""


@dataclass(frozen=True)
class ConfigFiles:
    """The folder; `parse` reads a text as if it were a file in it."""

    path: Path

    def parse(self, text: str, name: str = "test.conf") -> Settings:
        return parse(text, name, str(self.path))

    def text(self, name: str) -> str:
        return (self.path / name).read_text()

    def line(self, text: str, name: str = "test.conf") -> str:
        """The one line that a configuration with a mistake is answered with."""
        try:
            self.parse(text, name)
        except ConfigError as error:
            line = str(error)
            assert "\n" not in line
            return line
        raise AssertionError("there was no mistake in it")


def make_files(path: Path) -> ConfigFiles:
    authority = Authority.create("Test CA", NOW)
    server = authority.issue_server("server", ["vpn.example.org"], NOW)
    client = authority.issue_client("client", NOW)
    encryption = BestAvailableEncryption(PASSWORD.encode())
    bundle = serialize_key_and_certificates(b"me", client.key, client.certificate, [authority.certificate], encryption)
    server_key = ServerKey.generate()
    files = {
        "ca.crt": authority.certificate_pem,
        "server.crt": server.certificate_pem,
        "server.key": server.key_pem,
        "client.crt": client.certificate_pem,
        "client.key": client.key_pem,
        "encrypted.key": client.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption).decode(),
        "crl.pem": authority.crl({}, NOW),
        "tls-crypt.key": StaticKey.generate().to_text(),
        "tls-crypt-v2.key": server_key.to_text(),
        "client-v2.key": server_key.new_client_key(timestamp_metadata(NOW.timestamp())).to_text(),
        "ta.key": StaticKey.generate().to_text(),
        "password": PASSWORD + "\n",
        "wrong-password": "something else\n",
        "login.txt": "alice\nsecret password\n",
        "empty": "",
    }
    for name, text in files.items():
        (path / name).write_text(text)
    (path / "client.p12").write_bytes(bundle)
    return ConfigFiles(path)
