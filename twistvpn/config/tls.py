"""The TLS options of both syntaxes, read into `TlsSettings`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from OpenSSL import SSL

from twistvpn.config.login import ADD_AUTHENTICATOR
from twistvpn.config.material import check_pair, read_certificates, read_crl, read_pkcs12, read_private_key
from twistvpn.config.settings import Material, TlsSettings
from twistvpn.config.values import choice
from twistvpn.crypto.groups import set_groups
from twistvpn.errors import ConfigError
from twistvpn.wire.roles import Role

if TYPE_CHECKING:
    from twistvpn.config.directive import Directive, Directives

_VERSIONS = ("1.0", "1.1", "1.2", "1.3")
_USAGES = {
    "TLS Web Server Authentication": "server",
    "serverAuth": "server",
    "1.3.6.1.5.5.7.3.1": "server",
    "TLS Web Client Authentication": "client",
    "clientAuth": "client",
    "1.3.6.1.5.5.7.3.2": "client",
}


def read_tls(directives: Directives, role: Role) -> TlsSettings:
    """Certificates, keys and conditions; raises `ConfigError` where the role lacks what it needs."""
    ca, cert, key, extra_certs = _identity(directives)
    verify_client_cert = _verify_client_cert(directives)
    if ca is None:
        raise directives.missing("ca", "is missing; name the file with the certificate of your authority")
    if role is Role.SERVER and cert is None:
        raise directives.missing("cert", "is missing; a server needs cert and key (twistvpn init makes them)")
    if role is Role.CLIENT and cert is None and "auth-user-pass" not in directives:
        raise directives.missing("cert", "is missing; a client needs cert and key, or auth-user-pass FILE, or both")
    if role is Role.SERVER:
        _doubt_usage(directives, cert)
    version_min, version_max = _versions(directives)
    return TlsSettings(
        ca=ca,
        cert=cert,
        key=key,
        extra_certs=extra_certs,
        crl=read_crl(directives),
        verify_client_cert=verify_client_cert,
        remote_cert_tls=_remote_cert_tls(directives, role),
        verify_x509_name=_verify_x509_name(directives),
        version_min=version_min,
        version_max=version_max,
        cipher_list=_cipher_list(directives),
        ciphersuites=_ciphersuites(directives),
        groups=_groups(directives),
    )


def _identity(
    directives: Directives,
) -> tuple[Material | None, Material | None, Material | None, Material | None]:
    """What is given as ca, cert, key and extra-certs, `pkcs12` taken apart; cert and key are both there or neither."""
    ca = read_certificates(directives, "ca")
    extra_certs = read_certificates(directives, "extra-certs")
    bundle = directives.last("pkcs12")
    if bundle is not None:
        for name in ("cert", "key"):
            other = directives.last(name)
            if other is not None:
                raise bundle.contradiction(other)
        cert, key, authorities = read_pkcs12(directives, bundle)
        check_pair(cert, key)
        return ca or authorities, cert, key, extra_certs
    certificate = read_certificates(directives, "cert")
    key_option = directives.last("key")
    if certificate is None and key_option is not None:
        raise key_option.error("there is a key and no cert; give both")
    if certificate is None or key_option is None:
        if certificate is not None:
            raise directives.missing("key", f"there is a cert (line {certificate.origin.line}) and no key; give both")
        return ca, None, None, extra_certs
    private_key = read_private_key(directives, key_option)
    check_pair(certificate, private_key)
    return ca, certificate, private_key, extra_certs


def _doubt_usage(directives: Directives, cert: Material | None) -> None:
    """Leave a note where the server's certificate says that it is for something else."""
    directive = directives.last_of("cert", "pkcs12")
    if cert is None or directive is None:
        return
    try:
        certificate = x509.load_pem_x509_certificates(cert.data)[0]
        usages = set(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except (x509.ExtensionNotFound, ValueError):
        return
    if not usages & {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}:
        directives.note(
            directive,
            "the certificate is not a server's (its extendedKeyUsage has no serverAuth), so clients refuse it; use one "
            "that is made for a server",
        )


def _verify_client_cert(directives: Directives) -> str:
    directive = directives.last("verify-client-cert")
    if directive is None or not directive.args:
        return TlsSettings.verify_client_cert
    mode = choice(directive, directive.args[0], "require", "optional", "none")
    if mode != "require" and "authenticators" not in directives:
        raise directive.error(f"{mode} lets anyone in without an authenticator; {ADD_AUTHENTICATOR}")
    return mode


def _remote_cert_tls(directives: Directives, role: Role) -> str | None:
    usage = directives.last_of("remote-cert-tls", "remote-cert-eku")
    if usage is None:
        if role is Role.CLIENT and "verify-x509-name" not in directives:
            directives.notes.append(
                f"{directives.file}: remote-cert-tls: is missing; any client of the same ca can pose as the server, "
                "add remote-cert-tls server"
            )
        return None
    if usage.name == "remote-cert-tls":
        return choice(usage, usage.args[0], "server", "client")
    if usage.args[0] not in _USAGES:
        raise usage.error("only server and client authentication are looked for; use remote-cert-tls")
    return _USAGES[usage.args[0]]


def _verify_x509_name(directives: Directives) -> tuple[str, str] | None:
    directive = directives.last("verify-x509-name")
    if directive is None:
        return None
    name, *kinds = directive.args
    if not name:
        raise directive.error("the name is empty")
    kind = choice(directive, kinds[0], "subject", "name", "name-prefix", "host") if kinds else "subject"
    return name, kind


def _versions(directives: Directives) -> tuple[str, str | None]:
    """The least and the greatest TLS version; 1.2 is the least that is spoken."""
    low, high = directives.last("tls-version-min"), directives.last("tls-version-max")
    version_min, version_max = TlsSettings.version_min, TlsSettings.version_max
    if low is not None:
        version_min = _version_min(directives, low)
    if high is not None:
        version_max = choice(high, high.args[0], *_VERSIONS)
        if version_max < "1.2":
            raise high.error("TLS below 1.2 is not spoken; use 1.2 or 1.3")
        if version_max < version_min:
            raise high.error(f"is below tls-version-min ({version_min})")
    return version_min, version_max


def _version_min(directives: Directives, low: Directive) -> str:
    if low.args[0] not in _VERSIONS and low.args[1:] == ("or-highest",):
        return _VERSIONS[-1]
    version = choice(low, low.args[0], *_VERSIONS)
    if low.args[1:] not in ((), ("or-highest",)):
        raise low.error(f"{low.args[1]!r} is not or-highest")
    if version < "1.2":
        directives.note(low, "changes nothing here: TLS below 1.2 is not spoken")
        return "1.2"
    return version


def _cipher_list(directives: Directives) -> str | None:
    """`tls-cipher` in a spelling that OpenSSL takes, with the level that `tls-cert-profile` asks for."""
    directive, profile = directives.last("tls-cipher"), directives.last("tls-cert-profile")
    ciphers = None
    if directive is not None:
        ciphers = ":".join(_standard_name(name) for name in directive.args[0].split(":"))
        try:
            SSL.Context(SSL.TLS_METHOD).set_cipher_list(ciphers.encode())
        except SSL.Error:
            raise directive.error("OpenSSL knows no cipher of this list; see openssl ciphers -s -tls1_2") from None
    if profile is None:
        return ciphers
    if profile.args[0] == "preferred":
        return f"{ciphers or 'DEFAULT'}:@SECLEVEL=2"
    if profile.args[0] != "legacy":
        raise profile.error("is not offered; use preferred")
    directives.note(profile, "changes nothing here: legacy is the least that is accepted")
    return ciphers


def _standard_name(name: str) -> str:
    """OpenVPN's TLS-ECDHE-RSA-WITH-... is the IANA name with dashes, which OpenSSL takes with underscores."""
    return name.replace("-", "_") if name.startswith("TLS-") else name


def _ciphersuites(directives: Directives) -> str | None:
    directive = directives.last("tls-ciphersuites")
    if directive is None:
        return None
    suites = ":".join(name.replace("-", "_") for name in directive.args[0].split(":"))
    try:
        SSL.Context(SSL.TLS_METHOD).set_tls13_ciphersuites(suites.encode())
    except SSL.Error:
        raise directive.error(
            "OpenSSL does not know these; TLS 1.3 has TLS_AES_256_GCM_SHA384, TLS_AES_128_GCM_SHA256 and "
            "TLS_CHACHA20_POLY1305_SHA256"
        ) from None
    return suites


def _groups(directives: Directives) -> str | None:
    directive = directives.last("tls-groups")
    if directive is None:
        return None
    try:
        set_groups(SSL.Context(SSL.TLS_METHOD), directive.args[0])
    except ConfigError as error:
        raise directive.error(error.message) from None
    return directive.args[0]
