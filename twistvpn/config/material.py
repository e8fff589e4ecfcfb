"""Files that options name: read when the configuration is, and checked to be what they should be."""

from __future__ import annotations

import base64
import binascii
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.hazmat.primitives.serialization.pkcs12 import load_pkcs12

from twistvpn.config.settings import Material
from twistvpn.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

    from twistvpn.config.directive import Directive, Directives

_UNUSABLE = (ValueError, TypeError, UnsupportedAlgorithm)


def read_file(directives: Directives, directive: Directive) -> bytes:
    """What the file holds that the option's first argument names."""
    path = directives.path(directive.args[0])
    try:
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:
        why = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
        raise directive.error(f"cannot read {path}: {why}") from None


def read_material(directives: Directives, directive: Directive) -> Material:
    """The option's inline block, or the file it names."""
    data = directive.args[0].encode() if directive.inline else read_file(directives, directive)
    return Material(data, directive.origin)


def read_certificates(directives: Directives, name: str) -> Material | None:
    """The PEM certificates of option `name`; at least one must be there and all must parse."""
    directive = directives.last(name)
    if directive is None:
        return None
    material = read_material(directives, directive)
    try:
        x509.load_pem_x509_certificates(material.data)
    except _UNUSABLE as error:
        raise directive.error(f"{_whence(directive)} has no certificate in PEM format ({_why(error)})") from None
    return material


def read_private_key(directives: Directives, directive: Directive) -> Material:
    """The PEM private key; an encrypted one is decrypted with the password in the `askpass` file."""
    material = read_material(directives, directive)
    password = _password(directives)
    try:
        key = load_pem_private_key(material.data, password if b"ENCRYPTED" in material.data else None)
    except TypeError:
        raise directive.error(
            f"{_whence(directive)} is encrypted; put its password into a file and name that with askpass FILE"
        ) from None
    except _UNUSABLE as error:
        if password is not None and b"ENCRYPTED" in material.data:
            raise directive.error(f"{_whence(directive)} does not open with the password of askpass") from None
        raise directive.error(f"{_whence(directive)} has no private key in PEM format ({_why(error)})") from None
    return Material(_pem(key), directive.origin)


def check_pair(cert: Material, key: Material) -> None:
    """Raise `ConfigError` where the private key is not that of the (first) certificate."""
    certificate = x509.load_pem_x509_certificates(cert.data)[0]
    private = load_pem_private_key(key.data, None)
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    try:
        matches = certificate.public_key().public_bytes(*form) == private.public_key().public_bytes(*form)
    except _UNUSABLE:
        matches = False
    if not matches:
        origin, other = key.origin, cert.origin
        raise ConfigError(
            f"the private key is not that of the certificate in {other.option} (line {other.line}); "
            "give the two that were made together",
            file=origin.file,
            line=origin.line,
            option=origin.option,
        )


def read_pkcs12(directives: Directives, directive: Directive) -> tuple[Material, Material, Material | None]:
    """Certificate, private key and the other certificates (None without any) of a PKCS #12 file or base64 block."""
    try:
        data = base64.b64decode(directive.args[0]) if directive.inline else read_file(directives, directive)
        bundle = load_pkcs12(data, _password(directives))
    except (*_UNUSABLE, binascii.Error):
        raise directive.error(
            f"{_whence(directive)} does not open as PKCS #12; if it has a password, name a file that holds it "
            "with askpass FILE"
        ) from None
    if bundle.cert is None or bundle.key is None:
        raise directive.error(f"{_whence(directive)} lacks the certificate or its private key")
    others = b"".join(other.certificate.public_bytes(Encoding.PEM) for other in bundle.additional_certs)
    cert = bundle.cert.certificate.public_bytes(Encoding.PEM)
    origin = directive.origin
    return (
        Material(cert, origin),
        Material(_pem(bundle.key), origin),
        Material(others, origin) if others else None,
    )


def read_crl(directives: Directives) -> str | Material | None:
    """The path of `crl-verify`'s file, or its inline block; either must parse now."""
    directive = directives.last("crl-verify")
    if directive is None:
        return None
    if len(directive.args) > 1:
        raise directive.error("a directory of serial numbers is not read; give one CRL in PEM format")
    material = read_material(directives, directive)
    try:
        x509.load_pem_x509_crl(material.data)
    except _UNUSABLE as error:
        raise directive.error(f"{_whence(directive)} has no CRL in PEM format ({_why(error)})") from None
    return material if directive.inline else directives.path(directive.args[0])


def read_control_key(directives: Directives, directive: Directive, parse: Callable[[bytes], object]) -> Material:
    """A key of the control channel, which must be one that `parse` takes."""
    material = read_material(directives, directive)
    try:
        parse(material.data)
    except ConfigError as error:
        raise directive.error(f"{_whence(directive)}: {error.message}") from None
    return material


def read_credentials(directives: Directives, directive: Directive) -> tuple[str, str | None]:
    """Username and password: the first two lines of the file or the inline block; None for a password to be asked."""
    lines = _text(directive, read_material(directives, directive).data).splitlines()
    if not lines or not lines[0]:
        raise directive.error(f"{_whence(directive)} must have the username on line 1 and the password on line 2")
    return lines[0], (lines[1] or None) if lines[1:] else None


def _password(directives: Directives) -> bytes | None:
    directive = directives.last("askpass")
    if directive is None:
        return None
    if not directive.args:
        raise directive.error("nobody is there to be asked; put the password into a file and name it here")
    lines = read_file(directives, directive).splitlines()
    if not lines or not lines[0]:
        raise directive.error(f"{_whence(directive)} must have the password on line 1")
    return lines[0]


def _text(directive: Directive, data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise directive.error(f"{_whence(directive)} is not UTF-8 text") from None


def _pem(key: PrivateKeyTypes) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _whence(directive: Directive) -> str:
    return "the inline block" if directive.inline else directive.args[0]


def _why(error: Exception) -> str:
    """The first sentence of what cryptography says, on one line."""
    return " ".join(str(error).split()).split(". ", 1)[0].rstrip(".") or type(error).__name__
