"""Which certificates are accepted, and what is said about those that are not."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import NameOID
from OpenSSL import SSL, crypto

from tests.certificates import (
    HOST,
    NOW,
    YESTERDAY,
    authority,
    client_certificate,
    client_tls,
    material,
    server_certificate,
    server_tls,
    tls_settings,
)
from tests.control_ends import ControlPair
from twistvpn.config.settings import TlsSettings
from twistvpn.control.session import KeyEstablished, RenegotiationFailed, SessionFailed
from twistvpn.control.verify import TlsContexts, common_name, describe, openvpn_subject, tls_failure_words
from twistvpn.errors import ConfigError
from twistvpn.pki.authority import Authority
from twistvpn.wire.roles import Role

if TYPE_CHECKING:
    from pathlib import Path

DAY = timedelta(days=1)


def verdicts(server: TlsSettings | None = None, client: TlsSettings | None = None) -> tuple[str, str]:
    """What the server and the client have against each other's certificate; '' for nothing, which must mean success."""
    pair = ControlPair(server=server, client=client)
    pair.client.connect()
    pair.run(1)
    said = []
    for end in (pair.server, pair.client):
        failures = end.of(SessionFailed)
        refusals = [failure.refusal for failure in failures if failure.refusal is not None]
        said.append(refusals[0] if refusals else "")
    accepted = not any(said)
    assert accepted == bool(pair.server.of(KeyEstablished) and pair.client.of(KeyEstablished))
    assert accepted != bool(pair.server.of(SessionFailed) or pair.client.of(SessionFailed))
    return said[0], said[1]


def test_certificates_of_the_same_authority_are_accepted() -> None:
    assert verdicts() == ("", "")


def test_another_authoritys_client_is_refused_by_name() -> None:
    other = Authority.create("Another CA", YESTERDAY)
    stranger = replace(tls_settings(other.issue_client("mallory", YESTERDAY)), ca=client_tls().ca)
    at_server, at_client = verdicts(client=stranger)
    assert "its issuer" in at_server
    assert "CN=mallory" in at_server
    assert at_client == ""


def test_a_certificate_that_openssl_takes_and_nobody_else_can_read_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreadable(_: crypto.X509) -> x509.Certificate:
        raise ValueError("EncodedDefault")

    monkeypatch.setattr(crypto.X509, "to_cryptography", unreadable)
    assert verdicts() == ("", "the certificate cannot be read (EncodedDefault)")


def test_an_expired_certificate_is_refused_with_its_dates() -> None:
    expired = tls_settings(authority().issue_client("late", YESTERDAY, NOW - timedelta(hours=1)))
    at_server, _ = verdicts(client=expired)
    assert at_server.startswith("the certificate has expired: CN=late (serial ")
    assert "UTC)" in at_server


def test_a_certificate_that_is_not_yet_valid_is_refused() -> None:
    early = tls_settings(authority().issue_client("early", NOW + DAY))
    assert verdicts(client=early)[0].startswith("the certificate is not yet valid: CN=early")


def test_the_client_refuses_an_expired_server() -> None:
    expired = tls_settings(authority().issue_server("server", [HOST], YESTERDAY, NOW - timedelta(hours=1)))
    at_server, at_client = verdicts(server=expired)
    assert at_server == ""
    assert at_client.startswith("the certificate has expired: CN=server")


def test_a_self_signed_client_is_refused() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "self")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(YESTERDAY)
        .not_valid_after(NOW + DAY)
        .sign(key, SHA256())
    )
    issued = replace(client_certificate(), certificate=certificate, key=key)
    assert verdicts(client=tls_settings(issued))[0].startswith("the certificate is self-signed")


@pytest.mark.parametrize(("verify", "accepted"), [("require", False), ("optional", True), ("none", True)])
def test_verify_client_cert(verify: str, accepted: bool) -> None:  # noqa: FBT001  a table
    pair = ControlPair(server=replace(server_tls(), verify_client_cert=verify), client=tls_settings(None))
    pair.client.connect()
    pair.run(1)
    established = pair.server.of(KeyEstablished)
    assert bool(established) == accepted
    assert all(event.certificate is None for event in established)


def test_an_optional_certificate_must_still_be_good() -> None:
    other = Authority.create("Another CA", YESTERDAY)
    stranger = replace(tls_settings(other.issue_client("mallory", YESTERDAY)), ca=client_tls().ca)
    optional = replace(server_tls(), verify_client_cert="optional")
    assert "CN=mallory" in verdicts(server=optional, client=stranger)[0]


# remote-cert-tls


def test_remote_cert_tls_tells_servers_from_clients() -> None:
    wants_server = replace(client_tls(), remote_cert_tls="server")
    assert verdicts(client=wants_server) == ("", "")
    posing = tls_settings(client_certificate("posing as a server"))
    at_server, at_client = verdicts(server=posing, client=wants_server)
    # OpenSSL's own purpose check may come first.
    assert "server" in at_client or "purpose" in at_client
    wants_client = replace(server_tls(), remote_cert_tls="client")
    assert verdicts(server=wants_client) == ("", "")
    assert at_server == ""


# verify-x509-name


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("server", "name"),
        ("ser", "name-prefix"),
        ("server", "name-prefix"),
        ("CN=server", "subject"),
        (HOST, "host"),
        (HOST.upper(), "host"),
        ("192.0.2.1", "host"),
    ],
)
def test_verify_x509_name_accepts(name: str, kind: str) -> None:
    assert verdicts(client=replace(client_tls(), verify_x509_name=(name, kind))) == ("", "")


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("serve", "name", "the name is not 'serve'"),
        ("Server", "name", "the name is not 'Server'"),
        ("erver", "name-prefix", "the name-prefix is not 'erver'"),
        ("server", "subject", "the subject is not 'server'"),
        ("server", "host", "the host name is not 'server'"),
        ("evil.example.org", "host", "the host name is not 'evil.example.org'"),
        ("192.0.2.2", "host", "the host name is not '192.0.2.2'"),
    ],
)
def test_verify_x509_name_refuses(name: str, kind: str, words: str) -> None:
    _, at_client = verdicts(client=replace(client_tls(), verify_x509_name=(name, kind)))
    assert at_client.startswith(f"verify-x509-name: {words}")


def test_a_certificate_without_a_common_name_has_no_name() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Example")]))
        .issuer_name(authority().certificate.subject)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(YESTERDAY)
        .not_valid_after(NOW + DAY)
        .sign(authority()._key, SHA256())
    )
    nameless = replace(client_certificate(), certificate=certificate, key=key)
    assert common_name(certificate) is None
    assert "CN" not in describe(certificate)
    server = replace(server_tls(), verify_x509_name=("client", "name"))
    assert verdicts(server=server, client=tls_settings(nameless))[0].startswith("verify-x509-name")


def test_the_subject_is_in_the_certificates_order() -> None:
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "KG"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "OpenVPN"),
            x509.NameAttribute(NameOID.COMMON_NAME, "Server-1"),
        ]
    )
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(YESTERDAY)
        .not_valid_after(NOW + DAY)
        .sign(key, SHA256())
    )
    assert openvpn_subject(certificate) == "C=KG, O=OpenVPN, CN=Server-1"


# CRL


def with_crl(path: Path, *serials: int) -> TlsSettings:
    path.write_text(authority().crl(dict.fromkeys(serials, YESTERDAY), YESTERDAY))
    return replace(server_tls(), crl=str(path))


def test_a_revoked_client_is_refused_and_others_are_not(tmp_path: Path) -> None:
    crl = tmp_path / "crl.pem"
    assert verdicts(server=with_crl(crl)) == ("", "")
    assert verdicts(server=with_crl(crl, client_certificate("bob").serial)) == ("", "")
    at_server, _ = verdicts(server=with_crl(crl, client_certificate().serial))
    assert at_server.startswith("the certificate is revoked: CN=client")


def test_an_inline_crl_counts_too() -> None:
    crl = authority().crl({client_certificate().serial: YESTERDAY}, YESTERDAY)
    inline = replace(server_tls(), crl=material(crl, "crl-verify"))
    assert verdicts(server=inline)[0].startswith("the certificate is revoked")
    assert TlsContexts(inline, Role.SERVER).revoked(client_certificate().serial)


def touch(path: Path, text: str) -> None:
    """Write as another file, as one who replaces it does, with a time of its own."""
    path.write_text(text)
    stamp = path.stat().st_mtime_ns + 10**9
    os.utime(path, ns=(stamp, stamp))


def test_a_changed_crl_is_read_anew(tmp_path: Path) -> None:
    crl, serial = tmp_path / "crl.pem", client_certificate().serial
    contexts = TlsContexts(with_crl(crl), Role.SERVER)
    assert not contexts.refresh()
    assert not contexts.revoked(serial)
    touch(crl, authority().crl({serial: YESTERDAY}, YESTERDAY))
    assert contexts.refresh()
    assert contexts.revoked(serial)
    assert not contexts.refresh()


def test_a_running_server_honours_the_changed_crl_at_the_next_handshake(tmp_path: Path) -> None:
    crl = tmp_path / "crl.pem"
    pair = ControlPair(server=with_crl(crl))
    pair.client.connect()
    pair.run(1)
    assert len(pair.server.of(KeyEstablished)) == 1
    touch(crl, authority().crl({client_certificate().serial: YESTERDAY}, YESTERDAY))
    pair.client.renegotiate()
    pair.run(1)
    assert len(pair.server.of(KeyEstablished)) == 1
    assert pair.server.of(RenegotiationFailed)[0].refusal is not None


@pytest.mark.parametrize("damage", ["broken", "gone"])
def test_a_broken_crl_leaves_the_one_before_in_force(tmp_path: Path, damage: str) -> None:
    crl, serial = tmp_path / "crl.pem", client_certificate().serial
    contexts = TlsContexts(with_crl(crl, serial), Role.SERVER)
    if damage == "broken":
        touch(crl, "-----BEGIN X509 CRL-----\nhalf a file")
    else:
        crl.unlink()
    assert not contexts.refresh()
    assert contexts.revoked(serial)
    assert contexts.crl_problem is not None
    assert str(crl) in contexts.crl_problem
    touch(crl, authority().crl({}, YESTERDAY))
    assert contexts.refresh()
    assert not contexts.revoked(serial)
    assert contexts.crl_problem is None


def test_another_authoritys_crl_lets_nobody_in(tmp_path: Path) -> None:
    crl = tmp_path / "crl.pem"
    crl.write_text(Authority.create("Another CA", YESTERDAY).crl({}, YESTERDAY))
    assert verdicts(server=replace(server_tls(), crl=str(crl)))[0].startswith("there is no CRL of its issuer")


def test_a_crl_that_is_broken_from_the_start_is_a_mistake_of_the_admins(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="crl-verify: cannot read the CRL"):
        TlsContexts(replace(server_tls(), crl=str(tmp_path / "missing.pem")), Role.SERVER)


# The context


def test_a_key_of_another_certificate_is_named() -> None:
    mixed = replace(server_tls(), key=client_tls().key)
    with pytest.raises(ConfigError, match="is it the key of this certificate"):
        TlsContexts(mixed, Role.SERVER)


def test_what_is_no_certificate_is_named() -> None:
    with pytest.raises(ConfigError, match="test:1: ca: holds no certificate"):
        TlsContexts(replace(server_tls(), ca=material("nonsense")), Role.SERVER)


@pytest.mark.parametrize(
    ("changes", "option"),
    [({"cipher_list": "NO-SUCH"}, "tls-cipher"), ({"ciphersuites": "NO_SUCH"}, "tls-ciphersuites")],
)
def test_unknown_suites_are_named(changes: dict[str, str], option: str) -> None:
    with pytest.raises(ConfigError, match=option):
        TlsContexts(replace(server_tls(), **changes), Role.SERVER)  # type: ignore[arg-type]  # strings all


@pytest.mark.parametrize(("version", "described"), [("1.2", "TLSv1.2"), ("1.3", "TLSv1.3")])
def test_the_version_is_the_one_asked_for(version: str, described: str) -> None:
    pair = ControlPair(server=replace(server_tls(), version_max=version, version_min=version))
    pair.client.connect()
    pair.run(1)
    assert pair.server.of(KeyEstablished)[0].description.startswith(described)


def test_suites_are_the_ones_asked_for() -> None:
    server = replace(server_tls(), version_max="1.2", cipher_list="ECDHE-ECDSA-AES128-GCM-SHA256", groups="prime256v1")
    pair = ControlPair(server=server)
    pair.client.connect()
    pair.run(1)
    assert "ECDHE-ECDSA-AES128-GCM-SHA256" in pair.server.of(KeyEstablished)[0].description


def test_intermediates_are_sent_along() -> None:
    settings = replace(server_tls(), extra_certs=material(client_certificate("extra").certificate_pem))
    assert TlsContexts(settings, Role.SERVER).own_certificate == server_certificate().certificate
    assert verdicts(server=settings) == ("", "")


# Words


def test_an_alert_about_a_certificate_is_about_ours() -> None:
    alert = SSL.Error([("SSL routines", "", "sslv3 alert certificate expired")])
    own = client_certificate().certificate
    assert tls_failure_words(alert, own).startswith(
        "the peer refuses our certificate (sslv3 alert certificate expired)"
    )
    assert "CN=client" in tls_failure_words(alert, own)
    assert tls_failure_words(alert, None) == "sslv3 alert certificate expired"


def test_an_alert_about_who_signed_our_certificate_is_told_in_plain_words() -> None:
    own, alert = client_certificate().certificate, SSL.Error([("SSL routines", "", "tlsv1 alert unknown ca")])
    words = tls_failure_words(alert, own)
    assert words.startswith("the peer does not know who signed our certificate (tlsv1 alert unknown ca): CN=client")
    assert tls_failure_words(alert, None) == "tlsv1 alert unknown ca"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (SSL.Error(), "Error"),
        (SSL.Error([("SSL routines", "", "wrong version number")]), "wrong version number"),
        (TimeoutError("too late"), "too late"),
        (ConnectionError(), "ConnectionError"),
    ],
)
def test_every_failure_has_words(error: BaseException, words: str) -> None:
    assert tls_failure_words(error, client_certificate().certificate) == words
