"""The TLS context, and whether the peer's certificate is one we accept.

OpenSSL checks the chain, the dates and the CRL; on top of it come OpenVPN's own conditions
(`remote-cert-tls`, `verify-x509-name`).  The first refusal is kept in words, for the log.
"""

from __future__ import annotations

import ipaddress
import os
from typing import TYPE_CHECKING, Protocol

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from OpenSSL import SSL, crypto
from service_identity.cryptography import verify_certificate_hostname, verify_certificate_ip_address
from service_identity.exceptions import CertificateError, VerificationError
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator, IOpenSSLServerConnectionCreator
from zope.interface import implementer

from twistvpn.config.settings import Material
from twistvpn.crypto.groups import set_groups
from twistvpn.errors import ConfigError
from twistvpn.wire.options import printable
from twistvpn.wire.roles import Role

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from twisted.protocols.tls import TLSMemoryBIOProtocol

    from twistvpn.config.settings import TlsSettings

_VERSIONS = {"1.0": SSL.TLS1_VERSION, "1.1": SSL.TLS1_1_VERSION, "1.2": SSL.TLS1_2_VERSION, "1.3": SSL.TLS1_3_VERSION}

_SSL_MODE_RELEASE_BUFFERS = 0x10
"""openssl/ssl.h: an idle connection keeps no record buffers.  pyOpenSSL has no name for it."""

_VERIFY_ERRORS = {
    2: "its issuer's certificate is missing",
    3: "there is no CRL of its issuer",
    7: "its signature is wrong",
    9: "the certificate is not yet valid",
    10: "the certificate has expired",
    11: "the CRL is not yet valid",
    12: "the CRL has expired",
    18: "the certificate is self-signed",
    19: "the chain ends in a certificate that our ca does not have",
    20: "its issuer is not among our ca",
    21: "its issuer is not among our ca",
    22: "the certificate chain is too long",
    23: "the certificate is revoked",
    24: "its issuer's certificate is not that of an authority",
    26: "the certificate is not made for this purpose",
}
"""X509_V_ERR_* (openssl/x509_vfy.h) in an admin's words."""

_REQUIRED_USAGE = {"server": ExtendedKeyUsageOID.SERVER_AUTH, "client": ExtendedKeyUsageOID.CLIENT_AUTH}


class VerificationListener(Protocol):
    """The protocol above TLS, told what became of the peer's certificate."""

    def certificate_verified(self, certificate: x509.Certificate) -> None:
        """The peer's certificate is accepted."""

    def certificate_refused(self, why: str) -> None:
        """The peer's certificate is not accepted; the handshake is about to fail."""


def common_name(certificate: x509.Certificate) -> str | None:
    """The subject's last CN, or None."""
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[-1].value) if names else None


def describe(certificate: x509.Certificate) -> str:
    """A certificate in the words of a log line: subject, serial number and when it is valid."""
    subject = printable(certificate.subject.rfc4514_string())
    return (
        f"{subject or 'no subject'} (serial {certificate.serial_number:x}, valid "
        f"{certificate.not_valid_before_utc:%Y-%m-%d %H:%M} to {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC)"
    )


def validity_problem(certificate: x509.Certificate | None, now: float) -> str | None:
    """What is wrong with a certificate's dates at `now` (seconds since the epoch), in one line; None if nothing.

    A peer that refuses our certificate does not always get to tell us why.
    """
    if certificate is None:
        return None
    if certificate.not_valid_after_utc.timestamp() < now:
        return f"our own certificate has expired: {describe(certificate)}"
    if certificate.not_valid_before_utc.timestamp() > now:
        return f"our own certificate is not yet valid: {describe(certificate)}"
    return None


@implementer(IOpenSSLClientConnectionCreator, IOpenSSLServerConnectionCreator)
class TlsContexts:
    """Makes TLS connections for one configuration; reads the CRL anew when its file has changed.

    Raises `ConfigError` where the certificates cannot be used.
    """

    def __init__(self, settings: TlsSettings, role: Role) -> None:
        self._settings = settings
        self._role = role
        self._crl_stamp = self._stamp_crl()
        self._crl_numbers: frozenset[int] = frozenset()
        self.crl_problem: str | None = None
        self._context = self._build()
        self.own_certificate = _load_chain(settings.cert)[0] if settings.cert else None

    def clientConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """A connection that will send the ClientHello."""
        return self._connection(tlsProtocol)

    def serverConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """A connection that awaits the ClientHello."""
        return self._connection(tlsProtocol)

    def _connection(self, tls: TLSMemoryBIOProtocol) -> SSL.Connection:
        self.refresh()
        connection = SSL.Connection(self._context, None)
        connection.set_app_data(tls)
        return connection

    def refresh(self) -> bool:
        """Build a new context if the CRL file has changed; true if it has.

        A CRL that cannot be read now leaves the one read before in force; `crl_problem` tells why.
        """
        stamp = self._stamp_crl()
        if stamp == self._crl_stamp:
            self.crl_problem = None
            return False
        try:
            self._context = self._build()
        except ConfigError as error:
            self.crl_problem = str(error)
            return False
        self._crl_stamp, self.crl_problem = stamp, None
        return True

    def revoked(self, serial_number: int) -> bool:
        """Whether the CRL in force names this certificate."""
        return serial_number in self._crl_numbers

    def _stamp_crl(self) -> tuple[int, int, int] | None:
        if not isinstance(self._settings.crl, str):
            return None
        try:
            status = os.stat(self._settings.crl)  # noqa: PTH116 - a stat a handshake, without an object around it
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino

    def _build(self) -> SSL.Context:
        settings = self._settings
        context = SSL.Context(SSL.TLS_METHOD)
        context.set_min_proto_version(_VERSIONS[settings.version_min])
        if settings.version_max is not None:
            context.set_max_proto_version(_VERSIONS[settings.version_max])
        context.set_options(SSL.OP_NO_TICKET | SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION)
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        context.set_mode(_SSL_MODE_RELEASE_BUFFERS)
        if settings.cipher_list is not None:
            _configure("tls-cipher", lambda: context.set_cipher_list(str(settings.cipher_list).encode()))
        if settings.ciphersuites is not None:
            _configure("tls-ciphersuites", lambda: context.set_tls13_ciphersuites(str(settings.ciphersuites).encode()))
        if settings.groups is not None:
            set_groups(context, settings.groups)
        self._load_identity(context)
        self._load_trust(context)
        context.set_verify(self._verify_mode(), self._verify)
        return context

    def _load_identity(self, context: SSL.Context) -> None:
        settings = self._settings
        if settings.cert is None or settings.key is None:
            return
        chain = [*_load_chain(settings.cert), *(_load_chain(settings.extra_certs) if settings.extra_certs else ())]
        origin = settings.key.origin
        try:
            context.use_certificate(chain[0])
            for intermediate in chain[1:]:
                context.add_extra_chain_cert(intermediate)
            key = load_pem_private_key(settings.key.data, None)
            context.use_privatekey(key)  # type: ignore[arg-type]
            context.check_privatekey()
        except (SSL.Error, ValueError, TypeError) as error:
            message = f"cannot be used with the certificate ({_ssl_words(error)}); is it the key of this certificate?"
            raise ConfigError(message, file=origin.file, line=origin.line, option=origin.option) from error

    def _load_trust(self, context: SSL.Context) -> None:
        settings = self._settings
        store = context.get_cert_store()
        if settings.ca is None or store is None:
            return
        for authority in _load_chain(settings.ca):
            store.add_cert(crypto.X509.from_cryptography(authority))
        crl = self._load_crl()
        if crl is not None:
            store.add_crl(crl)
            store.set_flags(crypto.X509StoreFlags.CRL_CHECK)
            self._crl_numbers = frozenset(revoked.serial_number for revoked in crl)

    def _load_crl(self) -> x509.CertificateRevocationList | None:
        crl = self._settings.crl
        if crl is None:
            return None
        try:
            if isinstance(crl, Material):
                return x509.load_pem_x509_crl(crl.data)
            with open(crl, "rb") as file:  # noqa: PTH123 - a path as the admin wrote it
                return x509.load_pem_x509_crl(file.read())
        except (OSError, ValueError) as error:
            raise ConfigError(f"cannot read the CRL {crl}: {error}", option="crl-verify") from error

    def _verify_mode(self) -> int:
        if self._role is Role.CLIENT or self._settings.verify_client_cert == "require":
            return SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT
        if self._settings.verify_client_cert == "optional":
            return SSL.VERIFY_PEER
        return SSL.VERIFY_NONE

    def _verify(self, connection: SSL.Connection, cert: crypto.X509, error: int, depth: int, chain_ok: int) -> bool:
        if chain_ok and depth:
            return True
        listener: VerificationListener = connection.get_app_data().wrappedProtocol
        try:
            certificate = cert.to_cryptography()
            why = self._verdict(certificate, error, chain_ok)
        except Exception as broken:  # noqa: BLE001  whatever a stranger's certificate holds, it is refused
            why = f"the certificate cannot be read ({broken})"
        else:
            if why is None:
                listener.certificate_verified(certificate)
                return True
        listener.certificate_refused(why)
        return False

    def _verdict(self, certificate: x509.Certificate, error: int, chain_ok: int) -> str | None:
        why = self._refusal(certificate) if chain_ok else _VERIFY_ERRORS.get(error, f"verification error {error}")
        return None if why is None else f"{why}: {describe(certificate)}"

    def _refusal(self, certificate: x509.Certificate) -> str | None:
        """What OpenVPN's own conditions have against the peer's certificate; None if nothing."""
        settings = self._settings
        if settings.remote_cert_tls is not None and not _has_usage(certificate, settings.remote_cert_tls):
            return (
                f"remote-cert-tls {settings.remote_cert_tls}: the key usage is not that of a {settings.remote_cert_tls}"
            )
        if settings.verify_x509_name is not None and not _has_name(certificate, *settings.verify_x509_name):
            name, kind = settings.verify_x509_name
            return f"verify-x509-name: the {'host name' if kind == 'host' else kind} is not {name!r}"
        return None


def _has_usage(certificate: x509.Certificate, peer: str) -> bool:
    extensions = certificate.extensions
    try:
        extended = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except (x509.ExtensionNotFound, ValueError):
        return False
    if _REQUIRED_USAGE[peer] not in extended:
        return False
    try:
        usage = extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return True
    return usage.digital_signature or usage.key_encipherment or usage.key_agreement


def _has_name(certificate: x509.Certificate, name: str, kind: str) -> bool:
    if kind == "host":
        return _has_host_name(certificate, name)
    if kind == "subject":
        return openvpn_subject(certificate) == name
    cn = common_name(certificate)
    if cn is None:
        return False
    return cn.startswith(name) if kind == "name-prefix" else cn == name


def _has_host_name(certificate: x509.Certificate, name: str) -> bool:
    try:
        try:
            ipaddress.ip_address(name)
        except ValueError:
            verify_certificate_hostname(certificate, name)
        else:
            verify_certificate_ip_address(certificate, name)
    except (CertificateError, VerificationError):
        return False
    return True


def openvpn_subject(certificate: x509.Certificate) -> str:
    """The subject as OpenVPN prints it: 'C=KG, ST=NA, O=OpenVPN, CN=Server-1', in the certificate's order."""
    return ", ".join(f"{part.rfc4514_attribute_name}={part.value!s}" for part in certificate.subject)


def _load_chain(material: Material | None) -> Sequence[x509.Certificate]:
    if material is None:
        return ()
    try:
        return x509.load_pem_x509_certificates(material.data)
    except ValueError as error:
        origin = material.origin
        raise ConfigError(
            f"holds no certificate that can be read ({error})",
            file=origin.file,
            line=origin.line,
            option=origin.option,
        ) from error


def _configure(option: str, call: Callable[[], None]) -> None:
    try:
        call()
    except SSL.Error as error:
        raise ConfigError(f"OpenSSL does not know any of these ({_ssl_words(error)})", option=option) from error


def _ssl_words(error: Exception) -> str:
    parts = error.args[0] if error.args and isinstance(error.args[0], list) else None
    return "; ".join(str(part[-1]) for part in parts) if parts else str(error) or type(error).__name__


def tls_failure_words(error: BaseException, own: x509.Certificate | None) -> str:
    """Why a handshake failed, in one line.

    An alert about a certificate is about ours, so `own` is named with it.
    """
    if not isinstance(error, SSL.Error):
        return str(error) or type(error).__name__
    words = _ssl_words(error) or "the TLS connection broke"
    if own is not None and "alert unknown ca" in words:
        return f"the peer does not know who signed our certificate ({words}): {describe(own)}"
    if own is not None and "alert" in words and "certificate" in words:
        return f"the peer refuses our certificate ({words}): {describe(own)}"
    return words
