"""The folder that a server's keys, certificates and configuration live in.

Files: ca.key and ca.crt, server.key and server.crt, tls-crypt-v2.key, crl.pem, index.txt (certificates issued,
see `twistvpn.pki.index`), server.ini; perhaps tls-crypt.key.  Clients' keys are not among them, neither the private
one nor that of tls-crypt-v2: they leave with the profile and are kept nowhere else.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from twistvpn.crypto.clientkey import ServerKey
from twistvpn.crypto.statickey import StaticKey
from twistvpn.errors import ConfigError
from twistvpn.pki import files
from twistvpn.pki.authority import (
    CERTIFICATE_LIFETIME,
    Authority,
    Issued,
    alternative_hosts,
    certificate_from_pem,
    check_name,
    common_name,
    general_name,
    key_from_pem,
)
from twistvpn.pki.index import Entry, Kind, Status, format_index, parse_index
from twistvpn.pki.server_ini import server_ini

if TYPE_CHECKING:
    from collections.abc import Sequence
    from ipaddress import IPv4Network, IPv6Network

T = TypeVar("T")

CA_KEY = "ca.key"
CA_CERTIFICATE = "ca.crt"
SERVER_KEY = "server.key"
SERVER_CERTIFICATE = "server.crt"
CONTROL_KEYS: dict[str, tuple[str, Callable[[], str]]] = {
    "tls-crypt-v2": ("tls-crypt-v2.key", lambda: ServerKey.generate().to_text()),
    "tls-crypt": ("tls-crypt.key", lambda: StaticKey.generate().to_text()),
}
"""Kinds of keys of the control channel: the file's name, and what makes its text."""
CRL = "crl.pem"
INDEX = "index.txt"
SERVER_INI = "server.ini"

_NEW_CONTROL_KEY, _make_control_key = CONTROL_KEYS["tls-crypt-v2"]
ALL_FILES = (CA_KEY, CA_CERTIFICATE, SERVER_KEY, SERVER_CERTIFICATE, _NEW_CONTROL_KEY, CRL, INDEX, SERVER_INI)

DEFAULT_LISTEN = (("udp", 1194), ("tcp", 1194))

CLOCK_SKEW = timedelta(hours=1)
"""How far before its making a certificate begins to be valid: peers' clocks are not exact."""


class StateFolder:
    """A state folder on disk.  Methods that change it keep other processes out meanwhile."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(
        cls,
        path: Path,
        *,
        host: str,
        network: IPv4Network,
        network6: IPv6Network | None,
        now: datetime,
        listen: Sequence[tuple[str, int]] = DEFAULT_LISTEN,
        lifetime: timedelta = CERTIFICATE_LIFETIME,
    ) -> StateFolder:
        """Make everything a server needs, in a new or empty folder or beside other files.

        `host` is the DNS name or address that clients will connect to, `lifetime` that of the
        server's certificate.  Raises `ConfigError` if any of the files is there already (none is ever
        overwritten), `OSError` where the system refuses.
        """
        general_name(host)
        files.make_folder(path)
        present = [name for name in ALL_FILES if (path / name).exists() or (path / name).is_symlink()]
        if present:
            raise _already_there(path, present[0])
        # A common name takes 64 characters, a DNS name 253.
        name = host if len(host) <= 64 else "twistvpn server"
        not_before = now - CLOCK_SKEW
        authority = Authority.create("twistvpn CA", not_before)
        server = authority.issue_server(name, [host], not_before, _end(authority, now, lifetime))
        texts = {
            CA_KEY: authority.key_pem,
            CA_CERTIFICATE: authority.certificate_pem,
            SERVER_KEY: server.key_pem,
            SERVER_CERTIFICATE: server.certificate_pem,
            _NEW_CONTROL_KEY: _make_control_key(),
            CRL: authority.crl({}, now),
            INDEX: format_index([_entry(server, Kind.SERVER, name)]),
            SERVER_INI: server_ini(listen=listen, network=network, network6=network6),
        }
        try:
            files.create_files(path, texts)
        except FileExistsError as error:  # another process was faster
            raise _already_there(path, Path(str(error.filename)).name) from error
        return cls(path)

    @classmethod
    def open(cls, path: Path) -> StateFolder:
        """Find a state in `path`; raises `ConfigError` if there is none."""
        if not holds_state(path):
            raise ConfigError(
                f"{path} holds no twistvpn state; make one with: twistvpn init DIR, or name its folder with --dir"
            )
        return cls(path)

    @property
    def config(self) -> Path:
        """Path of server.ini."""
        return self.path / SERVER_INI

    @property
    def ca_pem(self) -> str:
        """The CA's certificate."""
        return self._read(CA_CERTIFICATE, bytes.decode)

    @property
    def server_name(self) -> str:
        """The common name of the server's certificate."""
        return self._read(SERVER_CERTIFICATE, lambda data: common_name(certificate_from_pem(data)))

    @property
    def host(self) -> str:
        """Where clients find the server: the first subjectAltName of its certificate, or else its common name."""
        hosts = self._read(SERVER_CERTIFICATE, lambda data: alternative_hosts(certificate_from_pem(data)))
        return hosts[0] if hosts else self.server_name

    def entries(self) -> list[Entry]:
        """List every certificate that was issued, the oldest first."""
        path = self.path / INDEX
        return self._read(INDEX, lambda data: parse_index(data.decode(), str(path)))

    def clients(self) -> list[Entry]:
        """List the clients' certificates, the oldest first."""
        return [entry for entry in self.entries() if entry.kind is Kind.CLIENT]

    def add_client(self, name: str, now: datetime, lifetime: timedelta = CERTIFICATE_LIFETIME) -> Issued:
        """Issue a certificate for a client; its key is in the answer only.

        The certificate ends with the CA's at the latest.  Raises `ConfigError` for a name that cannot be
        one, or that has a certificate in force.
        """
        check_name(name)
        with files.locked(self.path):
            entries = self.entries()
            if any(_is_client(entry, name) and entry.status(now) is Status.ACTIVE for entry in entries):
                raise ConfigError(f"client {name!r} has a certificate already; revoke it before you add the name again")
            authority = self.authority()
            issued = authority.issue_client(name, now - CLOCK_SKEW, _end(authority, now, lifetime))
            # On record before it leaves: a certificate nobody knows of could not be revoked.
            self._write_index([*entries, _entry(issued, Kind.CLIENT, name)])
        return issued

    def revoke_client(self, name: str, now: datetime) -> list[Entry]:
        """Revoke every certificate of a client and put the new CRL in place; gives the entries back.

        Raises `ConfigError` if the name has none that is not revoked yet.
        """
        with files.locked(self.path):
            entries = self.entries()
            if not any(_is_client(entry, name) and entry.revoked is None for entry in entries):
                raise ConfigError(_nothing_to_revoke(name, entries))
            changed = [_revoke(entry, now) if _is_client(entry, name) else entry for entry in entries]
            # The CRL first: should the index not get written, the command can be given again.
            files.replace_file(self.path / CRL, self._crl(changed, now))
            self._write_index(changed)
        return [new for old, new in zip(entries, changed, strict=True) if old is not new]

    def renew_server(
        self, now: datetime, lifetime: timedelta = CERTIFICATE_LIFETIME, host: str | None = None
    ) -> Issued:
        """Issue a new certificate for the server's key, under the same common name, and put it in place.

        Profiles stay good.  `host` replaces the subjectAltNames, and with them what new profiles connect to.
        """
        with files.locked(self.path):
            old = self._read(SERVER_CERTIFICATE, certificate_from_pem)
            name = common_name(old)
            authority = self.authority()
            issued = authority.renew_server(
                self._read(SERVER_KEY, key_from_pem),
                name,
                alternative_hosts(old) if host is None else [host],
                now - CLOCK_SKEW,
                _end(authority, now, lifetime),
            )
            self._write_index([*self.entries(), _entry(issued, Kind.SERVER, name)])
            files.replace_file(self.path / SERVER_CERTIFICATE, issued.certificate_pem)
        return issued

    def add_control_key(self, kind: str) -> Path:
        """Make a key of one of the `CONTROL_KEYS`; server.ini is left to the admin.

        Raises `ConfigError` if there is one already.
        """
        name, make = CONTROL_KEYS[kind]
        with files.locked(self.path):
            try:
                files.create_files(self.path, {name: make()})
            except FileExistsError as error:
                raise ConfigError(f"{self.path / name} is there already; nothing was changed") from error
        return self.path / name

    def authority(self) -> Authority:
        """Read the CA with its key."""
        certificate = self._read(CA_CERTIFICATE, certificate_from_pem)
        try:
            return Authority(certificate, self._read(CA_KEY, key_from_pem))
        except ConfigError as error:
            raise ConfigError(error.message, file=str(self.path / CA_KEY)) from error

    def _crl(self, entries: Sequence[Entry], now: datetime) -> str:
        revoked = {entry.serial: entry.revoked for entry in entries if entry.revoked is not None}
        # Grows by one or more with every revocation, as a CRL number has to; the empty one has 1.
        return self.authority().crl(revoked, now, number=len(revoked) + 1)

    def _write_index(self, entries: Sequence[Entry]) -> None:
        files.replace_file(self.path / INDEX, format_index(entries))

    def _read(self, name: str, parse: Callable[[bytes], T]) -> T:
        path = self.path / name
        try:
            return parse(path.read_bytes())
        except UnicodeDecodeError as error:
            raise ConfigError("not a text file", file=str(path)) from error
        except ConfigError as error:
            if error.file is not None:
                raise
            raise ConfigError(error.message, file=str(path)) from error


def holds_state(path: Path) -> bool:
    """Tell whether `path` is a state folder; raises `OSError` if it may not be looked into."""
    try:
        (path / CA_CERTIFICATE).stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _already_there(path: Path, name: str) -> ConfigError:
    return ConfigError(f"{path} holds a state already ({name} is there); nothing was changed")


def _end(authority: Authority, now: datetime, lifetime: timedelta) -> datetime:
    return min(now + lifetime, authority.certificate.not_valid_after_utc)


def _entry(issued: Issued, kind: Kind, name: str) -> Entry:
    return Entry(issued.serial, kind, name, issued.certificate.not_valid_after_utc)


def _is_client(entry: Entry, name: str) -> bool:
    return entry.kind is Kind.CLIENT and entry.name == name


def _revoke(entry: Entry, now: datetime) -> Entry:
    return entry if entry.revoked is not None else replace(entry, revoked=now)


def _nothing_to_revoke(name: str, entries: Sequence[Entry]) -> str:
    if any(_is_client(entry, name) for entry in entries):
        return f"client {name!r} is revoked already"
    known = {entry.name for entry in entries if entry.kind is Kind.CLIENT}
    near = difflib.get_close_matches(name, known, n=1)
    return f"there is no client {name!r}" + (f"; did you mean {near[0]!r}?" if near else "")
