"""The `server.ini` of a new state folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from ipaddress import IPv4Network, IPv6Network

_TEMPLATE = """\
# A twistvpn server.  Run it with:
#     twistd --nodaemon vpn --config server.ini
# Look for mistakes without running it:
#     twistvpn check server.ini
#
# Names are those of OpenVPN's options.  Paths are relative to the folder this file is in.  A '#' at the
# beginning of a line makes a comment; an option with several values has one a line, indented.

[server]
# Where clients connect, one end a line: udp:PORT or tcp:PORT on every address, IPv4 and IPv6.  Profiles that
# `twistvpn client add` makes after a change name the new ends; older ones keep the old.
listen =
{listen}

# The networks inside the tunnel.  The server takes the first address of each, every client one of the rest.
# They must not overlap a network that the server or its clients are in.
network = {network}
{network6}

# Ping after 10 seconds without traffic; a peer that was silent for 60 seconds is gone.
keepalive = 10 60

# Let clients reach each other.
# client-to-client = yes

# What every client is told, one OpenVPN option a line.  These two send all of a client's traffic through the
# tunnel and its name look-ups to a server of your choice; this host must then forward and masquerade
# (sysctl net.ipv4.ip_forward=1, net.ipv6.conf.all.forwarding=1, and a nat rule in nftables).
# push =
#     redirect-gateway def1 ipv6
#     dhcp-option DNS 9.9.9.9

[tls]
ca = ca.crt
cert = server.crt
key = server.key

# Revoked certificates.  `twistvpn client revoke NAME` rewrites the file; a running server reads it again by itself.
# If the server gives up root, the user it becomes must be able to read this file and to enter its folder:
#   chgrp GROUP . crl.pem && chmod g+x . && chmod g+r crl.pem
# Later versions of the file keep that owner and mode.
crl-verify = crl.pem

[control]
# The key that each client's own key is wrapped under, which hides and guards the handshake.
tls-crypt-v2 = tls-crypt-v2.key
# Clients before OpenVPN 2.5 know no keys of their own.  `twistvpn server add-key tls-crypt` makes one for all of them,
# and `twistvpn client add NAME --key tls-crypt` profiles with it.
# tls-crypt = tls-crypt.key

[data]
# The most wanted first.
data-ciphers = {ciphers}
# For clients that negotiate nothing.  2.4 compares it with the cipher in its profile, which is this one.
data-ciphers-fallback = {fallback}

[device]
# An interface name, or tun for the first free tunN.
dev = tun

[log]
# 0 is errors alone, 3 is usual, 4 and up for looking into trouble.
verb = 3

# A file with the clients that are connected, rewritten every minute.  Under systemd: /run/twistvpn/status.log
# status = status.log
"""

DEFAULT_CIPHERS = ("AES-256-GCM", "AES-128-GCM", "CHACHA20-POLY1305")


def server_ini(
    *,
    listen: Sequence[tuple[str, int]],
    network: IPv4Network,
    network6: IPv6Network | None,
    ciphers: Sequence[str] = DEFAULT_CIPHERS,
) -> str:
    """Write a commented configuration; without `network6` the tunnel has no IPv6.

    `listen` holds ('udp' or 'tcp', port), the most wanted first.
    """
    return _TEMPLATE.format(
        listen="\n".join(f"    {proto}:{port}" for proto, port in listen),
        network=network,
        network6=f"network6 = {network6}" if network6 else "# network6 = fd00:1:2:3::/64",
        ciphers=":".join(ciphers),
        fallback=ciphers[0],
    )
