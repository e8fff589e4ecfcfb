"""Certificates made for one test run, and the TLS settings of the two ends."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from typing import TYPE_CHECKING

from twistvpn.config.settings import Material, Origin, TlsSettings
from twistvpn.pki.authority import Authority

if TYPE_CHECKING:
    from twistvpn.pki.authority import Issued

NOW = datetime.now(timezone.utc)
YESTERDAY = NOW - timedelta(days=1)
HOST = "vpn.example.org"


def material(text: str, option: str = "ca") -> Material:
    return Material(text.encode(), Origin("test", 1, option))


@lru_cache(maxsize=1)
def authority() -> Authority:
    return Authority.create("Test CA", YESTERDAY)


@lru_cache(maxsize=1)
def server_certificate() -> Issued:
    return authority().issue_server("server", [HOST, "192.0.2.1"], YESTERDAY)


@lru_cache(maxsize=8)
def client_certificate(name: str = "client") -> Issued:
    return authority().issue_client(name, YESTERDAY)


def tls_settings(issued: Issued | None, ca: Authority | None = None) -> TlsSettings:
    settings = TlsSettings(ca=material((ca or authority()).certificate_pem))
    if issued is None:
        return settings
    return replace(settings, cert=material(issued.certificate_pem, "cert"), key=material(issued.key_pem, "key"))


def server_tls() -> TlsSettings:
    return tls_settings(server_certificate())


def client_tls() -> TlsSettings:
    return tls_settings(client_certificate())
