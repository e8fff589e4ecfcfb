"""Certificates and keys for the tests, made apart from the code under test."""

from __future__ import annotations

import datetime as dt
import os
import secrets
from typing import TYPE_CHECKING, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

if TYPE_CHECKING:
    from pathlib import Path

_DAY = dt.timedelta(days=1)


class Identity(NamedTuple):
    """A certificate and its key, both PEM text."""

    name: str
    cert: str
    key: str
    serial: int


def static_key() -> str:
    """A new static key file for tls-auth and tls-crypt."""
    text = secrets.token_hex(256)
    rows = "\n".join(text[start : start + 32] for start in range(0, len(text), 32))
    return f"-----BEGIN OpenVPN Static key V1-----\n{rows}\n-----END OpenVPN Static key V1-----\n"


def _pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


class Authority:
    """A certificate authority on P-256."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name("interop CA")
        now = dt.datetime.now(dt.timezone.utc)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(self._name)
            .issuer_name(self._name)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - 60 * _DAY)
            .not_valid_after(now + 60 * _DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage("key_cert_sign", "crl_sign"), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        self.cert = certificate.public_bytes(serialization.Encoding.PEM).decode()

    def issue(self, name: str, role: str, *, days: int = 30) -> Identity:
        """A certificate for `role` 'server' or 'client'; a negative `days` is one that expired so long ago."""
        key = ec.generate_private_key(ec.SECP256R1())
        serial = x509.random_serial_number()
        usage = {"server": ExtendedKeyUsageOID.SERVER_AUTH, "client": ExtendedKeyUsageOID.CLIENT_AUTH}[role]
        now = dt.datetime.now(dt.timezone.utc)
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        certificate = (
            x509.CertificateBuilder()
            .subject_name(_name(name))
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(serial)
            .not_valid_before(now - 40 * _DAY)
            .not_valid_after(now + days * _DAY)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage("digital_signature"), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
            .add_extension(authority, critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return Identity(name, certificate.public_bytes(serialization.Encoding.PEM).decode(), _pem(key), serial)

    def write_crl(self, path: Path, *revoked: Identity) -> None:
        """Put a CRL naming `revoked` at `path` in one step, so that a reader sees the old one or the new."""
        now = dt.datetime.now(dt.timezone.utc)
        builder = x509.CertificateRevocationListBuilder(self._name, now - _DAY, now + 30 * _DAY)
        for identity in revoked:
            entry = x509.RevokedCertificateBuilder(identity.serial, now - dt.timedelta(hours=1)).build()
            builder = builder.add_revoked_certificate(entry)
        new = path.with_suffix(".new")
        new.write_bytes(builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        os.replace(new, path)  # noqa: PTH105  the rename that replaces


def _key_usage(*granted: str) -> x509.KeyUsage:
    every = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    )
    return x509.KeyUsage(**{name: name in granted for name in every})
