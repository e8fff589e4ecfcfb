"""A small certificate authority: one self-signed P-256 key that signs server and client certificates and a CRL.

Certificates follow RFC 5280; the names in them are what OpenVPN's `remote-cert-tls` and `verify-x509-name`
look at.  Nothing here reads a clock or a file: instants are aware datetimes given by the caller.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from ipaddress import ip_address
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from twistvpn.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

AUTHORITY_LIFETIME = timedelta(days=3652)
CERTIFICATE_LIFETIME = timedelta(days=825)

CRL_LIFETIME = timedelta(days=3652)
"""How far ahead nextUpdate lies.

OpenSSL refuses every client once nextUpdate has passed.  Here a CRL is not fetched from a
distribution point that an attacker could hold back: it is a local file, written the moment a certificate is
revoked, so a short life would add nothing but the day on which the server locks everybody out.
"""

MAX_NAME_SIZE = 64
"""Octets of a common name: ub-common-name of RFC 5280, appendix A."""

_UNPRINTABLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Unicode categories: control, format, surrogate, private, unassigned; line and paragraph separators."""


def check_name(name: str) -> str:
    """Give `name` back if it can be a client's name, else raise `ConfigError`.

    A name ends up in a common name, in logs, and as a file's name in folders of one file a client.
    """
    if not name.strip():
        raise ConfigError("the name is empty")
    if name != name.strip():
        raise ConfigError(f"the name {name!r} begins or ends with a space")
    if any(unicodedata.category(character) in _UNPRINTABLE for character in name):
        raise ConfigError(f"the name {name!r} has a control character in it")
    if "/" in name or name in {".", ".."}:
        raise ConfigError(f"the name {name!r} cannot be a file's name: leave out the '/' and the lone dots")
    if len(name.encode()) > MAX_NAME_SIZE:
        raise ConfigError(f"the name {name!r} is longer than {MAX_NAME_SIZE} bytes")
    return name


@dataclass(frozen=True)
class Issued:
    """A certificate with its private key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey = field(repr=False)

    @property
    def serial(self) -> int:
        """The certificate's serial number."""
        return self.certificate.serial_number

    @property
    def certificate_pem(self) -> str:
        """The certificate as PEM text."""
        return certificate_to_pem(self.certificate)

    @property
    def key_pem(self) -> str:
        """The private key as PEM text (PKCS #8, not encrypted)."""
        return key_to_pem(self.key)


class Authority:
    """A CA certificate and its key."""

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        if certificate.public_key() != key.public_key():
            raise ConfigError("the CA's key does not belong to its certificate")
        self.certificate = certificate
        self._key = key

    @classmethod
    def create(cls, common_name: str, not_before: datetime, not_after: datetime | None = None) -> Authority:
        """Make a new CA that is valid for ten years unless `not_after` says otherwise."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name(common_name)
        public = key.public_key()
        identifier = x509.SubjectKeyIdentifier.from_public_key(public)
        builder = (
            _builder(name, name, public, not_before, not_after or not_before + AUTHORITY_LIFETIME)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(key_cert_sign=True, crl_sign=True), critical=True)
            .add_extension(identifier, critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
        )
        return cls(builder.sign(key, SHA256()), key)

    @classmethod
    def from_pem(cls, certificate: bytes, key: bytes) -> Authority:
        """Read the CA back from PEM; raises `ConfigError` where the two are not a P-256 CA and its key."""
        return cls(certificate_from_pem(certificate), key_from_pem(key))

    @property
    def certificate_pem(self) -> str:
        """The CA's certificate as PEM text."""
        return certificate_to_pem(self.certificate)

    @property
    def key_pem(self) -> str:
        """The CA's private key as PEM text (PKCS #8, not encrypted)."""
        return key_to_pem(self._key)

    def issue_server(
        self, name: str, hosts: Sequence[str], not_before: datetime, not_after: datetime | None = None
    ) -> Issued:
        """Make a server's certificate and key: common name `name`, a subjectAltName for each of `hosts`.

        A host is a DNS name or an IP address.  `not_after` defaults to 825 days later, at most the CA's own end.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        return self.renew_server(key, name, hosts, not_before, not_after)

    def renew_server(
        self,
        key: ec.EllipticCurvePrivateKey,
        name: str,
        hosts: Sequence[str],
        not_before: datetime,
        not_after: datetime | None = None,
    ) -> Issued:
        """Like `issue_server`, for a key that exists already."""
        # keyAgreement beside digitalSignature: older peers and OpenVPN 3 read `remote-cert-tls server` as "a0 or 88".
        extensions: list[tuple[x509.ExtensionType, bool]] = [
            (_key_usage(digital_signature=True, key_agreement=True), True),
            (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
        ]
        if hosts:
            extensions.append((x509.SubjectAlternativeName([general_name(host) for host in hosts]), False))
        return self._issue(key, name, extensions, not_before, not_after)

    def issue_client(self, name: str, not_before: datetime, not_after: datetime | None = None) -> Issued:
        """Make a client's certificate and key with the common name `name`.

        `not_after` defaults to 825 days later, at most the CA's own end.  Raises `ConfigError` for a name
        that `check_name` refuses.
        """
        extensions: list[tuple[x509.ExtensionType, bool]] = [
            (_key_usage(digital_signature=True), True),
            (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False),
        ]
        key = ec.generate_private_key(ec.SECP256R1())
        return self._issue(key, check_name(name), extensions, not_before, not_after)

    def crl(self, revoked: Mapping[int, datetime], now: datetime, number: int = 1) -> str:
        """Sign a CRL as PEM text: serial number -> instant of revocation, perhaps empty.

        `number` is the CRL number (RFC 5280, 5.2.3), greater than that of the CRL before.
        """
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.certificate.subject)
            .last_update(now.replace(microsecond=0))
            .next_update(now.replace(microsecond=0) + CRL_LIFETIME)
            .add_extension(self._key_identifier(), critical=False)
            .add_extension(x509.CRLNumber(number), critical=False)
        )
        for serial, when in revoked.items():
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(when.replace(microsecond=0))
            builder = builder.add_revoked_certificate(entry.build())
        return builder.sign(self._key, SHA256()).public_bytes(Encoding.PEM).decode()

    def _issue(
        self,
        key: ec.EllipticCurvePrivateKey,
        name: str,
        extensions: Sequence[tuple[x509.ExtensionType, bool]],
        not_before: datetime,
        not_after: datetime | None,
    ) -> Issued:
        if not_after is None:
            not_after = min(not_before + CERTIFICATE_LIFETIME, self.certificate.not_valid_after_utc)
        public = key.public_key()
        builder = (
            _builder(_name(name), self.certificate.subject, public, not_before, not_after)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(self._key_identifier(), critical=False)
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical=critical)
        return Issued(builder.sign(self._key, SHA256()), key)

    def _key_identifier(self) -> x509.AuthorityKeyIdentifier:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())


def general_name(host: str) -> x509.GeneralName:
    """Turn a DNS name or an IP address into what stands in a subjectAltName; `ConfigError` if it is neither."""
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        pass
    labels = host.removesuffix(".").split(".")
    if not host.isascii() or len(host) > 253 or not all(map(_is_label, labels)):
        raise ConfigError(f"{host!r} is neither a host name (in ASCII, xn-- where it has to be) nor an address")
    return x509.DNSName(host)


def _is_label(label: str) -> bool:
    # Letters, digits and hyphens (RFC 1123, 2.1); the underscore because resolvers take it and machines have it.
    return 0 < len(label) <= 63 and label.replace("-", "").replace("_", "").isalnum() and label[0] != "-"


def alternative_hosts(certificate: x509.Certificate) -> list[str]:
    """List the DNS names and addresses of a certificate's subjectAltName, in order."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [str(name.value) for name in names if isinstance(name, (x509.DNSName, x509.IPAddress))]


def common_name(certificate: x509.Certificate) -> str:
    """Tell the certificate's common name; `ConfigError` if it has none."""
    attributes = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if not attributes:
        raise ConfigError("the certificate has no common name")
    value = attributes[-1].value
    return value if isinstance(value, str) else value.decode()


def certificate_to_pem(certificate: x509.Certificate) -> str:
    """Write a certificate as PEM text."""
    return certificate.public_bytes(Encoding.PEM).decode()


def certificate_from_pem(data: bytes) -> x509.Certificate:
    """Read the first certificate of a PEM file; `ConfigError` if there is none."""
    try:
        return x509.load_pem_x509_certificate(data)
    except ValueError as error:
        raise ConfigError("no PEM certificate in it") from error


def key_to_pem(key: ec.EllipticCurvePrivateKey) -> str:
    """Write a private key as PEM text (PKCS #8, not encrypted)."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def key_from_pem(data: bytes) -> ec.EllipticCurvePrivateKey:
    """Read an unencrypted elliptic-curve key from PEM; `ConfigError` if it is anything else."""
    try:
        key = load_pem_private_key(data, password=None)
    except (TypeError, ValueError) as error:  # TypeError is an encrypted key
        raise ConfigError("no unencrypted PEM private key in it") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ConfigError("the private key is not an elliptic-curve key")
    return key


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public: ec.EllipticCurvePublicKey,
    not_before: datetime,
    not_after: datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before.replace(microsecond=0))
        .not_valid_after(not_after.replace(microsecond=0))
    )


def _key_usage(
    *,
    digital_signature: bool = False,
    key_agreement: bool = False,
    key_cert_sign: bool = False,
    crl_sign: bool = False,
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=key_agreement,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )
