"""`twistvpn init`: everything a new server needs."""

from __future__ import annotations

import shlex
import socket
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from random import SystemRandom
from typing import TYPE_CHECKING

import click

from twistvpn.cli.common import days_option, now
from twistvpn.cli.machine import choose_network, choose_network6, has_ipv6, local_networks, overlapping, own_address
from twistvpn.errors import ConfigError
from twistvpn.pki.folder import StateFolder

if TYPE_CHECKING:
    from twistvpn.cli.machine import Network


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, readable=False))
@click.option("--host", metavar="NAME", help="Name or address clients connect to.  [default: this machine's address]")
@click.option("--port", type=click.IntRange(1, 65535), default=1194, show_default=True, help="Port to listen on.")
@click.option(
    "--proto",
    "protos",
    type=click.Choice(["udp", "tcp"]),
    multiple=True,
    default=("udp", "tcp"),
    show_default=True,
    help="What to listen on; may be given twice, and clients try the first one first.",
)
@click.option("--network", metavar="NETWORK", help="IPv4 network in the tunnel.  [default: a free one]")
@click.option("--network6", metavar="NETWORK", help="IPv6 network in the tunnel.  [default: a random fd../64]")
@days_option("server's certificate")
def init(
    *,
    folder: Path,
    host: str | None,
    port: int,
    protos: tuple[str, ...],
    network: str | None,
    network6: str | None,
    days: int,
) -> None:
    """Make a CA, a server certificate, a tls-crypt-v2 key and server.ini in the folder DIR.

    Nothing is asked and nothing is overwritten.
    """
    taken = local_networks()
    random = SystemRandom()
    state = StateFolder.create(
        folder,
        host=host or _default_host(),
        network=choose_network(taken, random) if network is None else _parse_network4(network, taken),
        network6=_choose_network6(taken, random) if network6 is None else _parse_network6(network6, taken),
        now=now(),
        listen=[(proto, port) for proto in dict.fromkeys(protos)],
        lifetime=timedelta(days=days),
    )
    click.echo(f"Made {state.config} with a CA, a server certificate and a tls-crypt-v2 key.")
    click.echo(f"Clients will connect to {state.host}{'' if host else _where_from(state.host)}.")
    click.echo(_next_steps(state))


def _default_host() -> str:
    return own_address() or socket.gethostname()


def _where_from(host: str) -> str:
    try:
        kind = "address on a private network" if ip_address(host).is_private else "address"
    except ValueError:
        kind = "host name"
    return f" (this machine's {kind}; change it with: twistvpn server renew --host NAME)"


def _next_steps(state: StateFolder) -> str:
    folder, config = shlex.quote(str(state.path)), shlex.quote(str(state.config))
    return (
        "Next:\n"
        f"  a client's profile:  twistvpn --dir {folder} client add NAME --output NAME.ovpn\n"
        f"  run the server:      twistd --nodaemon vpn --config {config}"
    )


def _parse_network4(text: str, taken: list[Network]) -> IPv4Network:
    network = _parse_network(text, "--network", taken)
    if not isinstance(network, IPv4Network):
        raise ConfigError(f"{text} is not an IPv4 network", option="--network")
    return network


def _choose_network6(taken: list[Network], random: SystemRandom) -> IPv6Network | None:
    """None where this machine could not take an address of it."""
    return choose_network6(taken, random) if has_ipv6() else None


def _parse_network6(text: str, taken: list[Network]) -> IPv6Network:
    network = _parse_network(text, "--network6", taken)
    if not isinstance(network, IPv6Network):
        raise ConfigError(f"{text} is not an IPv6 network", option="--network6")
    return network


def _parse_network(text: str, option: str, taken: list[Network]) -> Network:
    try:
        network = ip_network(text)
    except ValueError as error:
        raise ConfigError(str(error), option=option) from error
    if network.num_addresses < 8:
        raise ConfigError(f"{network} is too small to hold a server and its clients", option=option)
    other = overlapping(network, taken)
    if other is not None:
        raise ConfigError(f"{network} overlaps {other}, which this machine has a route to", option=option)
    return network
