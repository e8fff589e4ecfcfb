"""`twistvpn client`: add, revoke and list clients."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from twistvpn.cli.common import days_option, folder_option, now, open_folder
from twistvpn.config.settings import ControlWrapping, Settings
from twistvpn.crypto.clientkey import ServerKey, timestamp_metadata
from twistvpn.errors import ConfigError
from twistvpn.pki.authority import general_name
from twistvpn.pki.files import new_file
from twistvpn.pki.folder import CONTROL_KEYS
from twistvpn.pki.profile import ControlBlock, RemoteEntry, client_profile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twistvpn.pki.authority import Issued
    from twistvpn.pki.folder import StateFolder


@click.group()
@folder_option()
def client() -> None:
    """Add, revoke and list clients."""


@client.command()
@click.argument("name")
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    type=click.Path(path_type=Path, readable=False),
    help="A new file for the profile.  [default: print]",
)
@click.option("--host", metavar="NAME", help="Name or address to connect to.  [default: the one given to init]")
@days_option("certificate")
@click.option(
    "--key",
    type=click.Choice(["tls-crypt-v2", "tls-crypt", "tls-auth"]),
    help="Which key of the server's control channel to use.  [default: one of the client's own where the server has"
    " tls-crypt-v2]",
)
@click.option(
    "--no-certificate",
    is_flag=True,
    help="Make no certificate: name and password are all that is asked for.  The server needs verify-client-cert = none"
    " or optional.",
)
@folder_option()
@click.pass_context
def add(
    ctx: click.Context,
    *,
    name: str,
    output: Path | None,
    host: str | None,
    days: int,
    key: str | None,
    no_certificate: bool,
) -> None:
    """Make a certificate for NAME and give its profile, a whole .ovpn file.

    The profile holds the private key and the client's own key of the control channel, which are kept nowhere else.
    Where the server asks for names and passwords the profile has auth-user-pass.
    """
    state = open_folder(ctx)
    profile = _Profile(state, host, key)
    make = profile.make_without_certificate if no_certificate else partial(profile.make, name, timedelta(days=days))
    if output is None:
        click.echo(make(), nl=False)
        _tell(profile.notes)
        return
    with new_file(output) as stream:
        stream.write(make())
    click.echo(f"Wrote {output}.")
    _tell(profile.notes)


def _tell(notes: Sequence[str]) -> None:
    # Standard output may be the profile.
    for note in notes:
        click.echo(note, err=True)


@client.command()
@click.argument("name")
@folder_option()
@click.pass_context
def revoke(ctx: click.Context, name: str) -> None:
    """Shut NAME out: revoke its certificates and rewrite the CRL.

    A running server reads the CRL again by itself.
    """
    entries = open_folder(ctx).revoke_client(name, now())
    serials = ", ".join(f"{entry.serial:x}" for entry in entries)
    click.echo(f"Revoked {name} (serial {serials}).")


@client.command("list")
@folder_option()
@click.pass_context
def list_clients(ctx: click.Context) -> None:
    """Show every client certificate: name, serial number, expiry (UTC) and status."""
    at = now()
    rows = [("NAME", "SERIAL", "EXPIRES", "STATUS")]
    rows += [
        (entry.name, f"{entry.serial:x}", f"{entry.expires:%Y-%m-%d}", entry.status(at).value)
        for entry in open_folder(ctx).clients()
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


class _Profile:
    """All that a profile takes from the server's side, read before a certificate is issued."""

    def __init__(self, state: StateFolder, host: str | None, key: str | None) -> None:
        from twistvpn.config.load import load

        if host is not None:
            general_name(host)
        self._settings = settings = load(str(state.config))
        self._state = state
        self._ca = state.ca_pem
        self._server_name = state.server_name
        self._ciphers = settings.data.ciphers
        self._remotes = _remotes(settings, host or state.host)
        self.notes = _left_out(settings, self._remotes)
        """What the admin may miss in the profile."""
        self._control = _control(settings, key)

    def make(self, name: str, lifetime: timedelta) -> str:
        """Issue the client's certificate and write its profile."""
        return self._write(self._state.add_client(name, now(), lifetime))

    def make_without_certificate(self) -> str:
        """Write the profile of a client that shows name and password alone."""
        settings = self._settings
        if settings.tls.verify_client_cert == "require":
            message = "the server lets nobody in without a certificate; it needs verify-client-cert = none under [tls]"
            raise ConfigError(message, file=settings.file, option="--no-certificate")
        return self._write(None)

    def _write(self, issued: Issued | None) -> str:
        server = self._settings.server
        asks = issued is None or (server is not None and server.authenticators and not server.password_optional)
        return client_profile(
            issued,
            remotes=self._remotes,
            ca=self._ca,
            server_name=self._server_name,
            control=self._control,
            ciphers=self._ciphers,
            login=["auth-user-pass"] if asks else [],
            dev=self._settings.device.dev_type.value,
        )


def _remotes(settings: Settings, host: str) -> list[RemoteEntry]:
    # What listens on another endpoint (TLS, a unix socket) is nothing that a stock client could dial.
    listen = () if settings.server is None else settings.server.listen
    ends = dict.fromkeys((entry.port, entry.proto) for entry in listen if entry.endpoint is None)
    if not ends:
        ends = dict.fromkeys((port, "tls") for entry in listen if (port := _tls_port(entry.endpoint)) is not None)
    if not ends:
        message = "no udp:PORT, tcp:PORT or ssl:PORT for a profile to name"
        raise ConfigError(message, file=settings.file, option="listen")
    return [RemoteEntry(host, port, proto) for port, proto in ends]


def _tls_port(endpoint: str | None) -> int | None:
    """The port of an endpoint that ends TLS around the link; None for any other endpoint."""
    kind, port, *_ = (*(endpoint or "").split(":"), "", "")
    port = port.removeprefix("port=")
    return int(port) if kind == "ssl" and port.isascii() and port.isdecimal() else None


def _left_out(settings: Settings, remotes: Sequence[RemoteEntry]) -> list[str]:
    """A line for each end that the server listens on and the profile does not name; or for what only we can dial."""
    if any(remote.proto == "tls" for remote in remotes):
        return ["The server listens inside of TLS alone: only twistvpn's own client can use this profile."]
    listen = () if settings.server is None else settings.server.listen
    notes = []
    for entry in listen:
        port, name = _tls_port(entry.endpoint), ":".join((entry.endpoint or "").split(":")[:2])
        if port is not None:
            mend = f'for twistvpn\'s own client add "remote {remotes[0].host} {port} tls"'
            notes.append(f"Not in the profile: {name}, which stock clients cannot dial; {mend}.")
        elif entry.endpoint is not None:
            notes.append(f"Not in the profile: {name}; add a remote line with the address that clients reach it by.")
    return notes


def _mend(settings: Settings, kind: str | None) -> str:
    """How the server comes by a key of that kind."""
    if kind not in CONTROL_KEYS:
        return ""
    name = CONTROL_KEYS[kind][0]
    if Path(settings.file).with_name(name).exists():
        return f"; {name} is there already: add the line {kind} = {name} under [control]"
    return f"; make one with: twistvpn server add-key {kind}"


def _control(settings: Settings, wanted: str | None) -> ControlBlock | None:
    control = settings.control
    if control.crypt_v2 is not None and wanted in {None, "tls-crypt-v2"}:
        own = ServerKey.from_text(control.crypt_v2.data).new_client_key(timestamp_metadata(now().timestamp()))
        return ControlBlock("tls-crypt-v2", own.to_text())
    if wanted not in {None, control.wrapping.value}:
        raise ConfigError(
            f"the server has no {wanted} key{_mend(settings, wanted)}", file=settings.file, option="--key"
        )
    if control.wrapping is ControlWrapping.NONE or control.key is None:
        return None
    key = control.key.data.decode()
    if control.wrapping is ControlWrapping.TLS_CRYPT:
        return ControlBlock("tls-crypt", key)
    direction = None if control.key_direction is None else 1 - control.key_direction
    return ControlBlock("tls-auth", key, direction, control.auth)
