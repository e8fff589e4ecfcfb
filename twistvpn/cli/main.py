"""The `twistvpn` command."""

from __future__ import annotations

from datetime import timedelta
from importlib import metadata

import click

from twistvpn.cli.client import client
from twistvpn.cli.common import OneLineErrors, days_option, folder_option, now, open_folder
from twistvpn.cli.init import init
from twistvpn.data import kernel
from twistvpn.pki.authority import general_name
from twistvpn.pki.folder import CONTROL_KEYS


def _version() -> str:
    try:
        return metadata.version("twistvpn")
    except metadata.PackageNotFoundError:
        return "unknown (not installed)"


@click.group(cls=OneLineErrors, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(_version(), prog_name="twistvpn", message=f"%(prog)s %(version)s, data path: {kernel.NAME}")
@folder_option(envvar="TWISTVPN_DIR")
def main() -> None:
    """Set up an OpenVPN server and its clients.

    The server itself runs with: twistd --nodaemon vpn --config DIR/server.ini
    """


@main.command()
@click.argument("config")
def check(config: str) -> None:
    """Read the configuration CONFIG, in either syntax, and say whether it is in order."""
    from cryptography.x509 import load_pem_x509_certificate

    from twistvpn.config.client_config import check_clients
    from twistvpn.config.load import load
    from twistvpn.config.reread import files_read_again
    from twistvpn.control.verify import validity_problem
    from twistvpn.errors import ConfigError
    from twistvpn.privileges import find_identity, open_error_as, unreadable

    settings = load(config)
    doubts = check_clients(settings)
    identity = find_identity(settings.user, settings.group, settings.user_origin, settings.group_origin)
    for option, path in files_read_again(settings):
        if identity is not None and (error := open_error_as(identity, path)):
            raise ConfigError(unreadable(identity, path, error), file=config, option=option)
    for note in (*settings.notes, *doubts):
        click.echo(note)
    if settings.tls.cert is not None:
        problem = validity_problem(load_pem_x509_certificate(settings.tls.cert.data), now().timestamp())
        if problem is not None:
            click.echo(f"warning: {problem}")
    click.echo(f"{config}: OK")


@main.group()
@folder_option()
def server() -> None:
    """Look after the server's own certificate and keys."""


@server.command()
@click.option("--host", metavar="NAME", help="Name or address new profiles connect to.  [default: as before]")
@days_option("certificate")
@folder_option()
@click.pass_context
def renew(ctx: click.Context, host: str | None, days: int) -> None:
    """Make a new certificate for the server's key; clients' profiles stay good."""
    if host is not None:
        general_name(host)
    state = open_folder(ctx)
    issued = state.renew_server(now(), timedelta(days=days), host)
    click.echo(
        f"Renewed {state.path / 'server.crt'} until {issued.certificate.not_valid_after_utc:%Y-%m-%d}; "
        f"new profiles connect to {state.host}.  Restart the server to use it."
    )


@server.command("add-key")
@click.argument("kind", type=click.Choice(list(CONTROL_KEYS)))
@folder_option()
@click.pass_context
def add_key(ctx: click.Context, kind: str) -> None:
    """Make another key for the control channel.

    With tls-crypt-v2 each new profile gets a key of its own; tls-crypt is one key for all clients, for those before
    OpenVPN 2.5.  A server may have both.
    """
    state = open_folder(ctx)
    path = state.add_control_key(kind)
    click.echo(
        f"Made {path}.  To use it, add this line under [control] in {state.config} and restart the server:\n"
        f"  {kind} = {path.name}"
    )


main.add_command(init)
main.add_command(client)

if __name__ == "__main__":
    main()
