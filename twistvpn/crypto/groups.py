"""Key exchange groups of TLS (`tls-groups`), for which pyOpenSSL has no name of its own."""

from __future__ import annotations

from OpenSSL import SSL

from twistvpn.errors import ConfigError


def set_groups(context: SSL.Context, names: str) -> None:
    """Offer and accept only these groups: colon separated, in OpenSSL's names, the most wanted first.

    Raises `ConfigError` (without a place) where OpenSSL does not know one of them.
    """
    lib = SSL._lib  # type: ignore[attr-defined]  # the binding is there, under a private name
    if lib.SSL_CTX_set1_curves_list(context._context, names.encode()) != 1:
        lib.ERR_clear_error()
        known = "X25519, X448, secp256r1, secp384r1, secp521r1"
        raise ConfigError(f"OpenSSL does not know all of {names!r}; it has {known} and more")
