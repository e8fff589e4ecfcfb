"""Files that Twisted's endpoint descriptions name: `ssl:443:privateKey=web.key:certKey=web.crt`.

Twisted takes relative paths from the directory that a process happens to be in, and tells of a missing file when it
listens or connects.  Here they are taken from the configuration's folder, as everywhere, and must be there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from twistvpn.config.material import read_file
from twistvpn.wire.roles import Role

if TYPE_CHECKING:
    from twistvpn.config.directive import Directive, Directives

_FIELD = re.compile(r"(?:^|:)((?:[^:\\]|\\.)*)")
_NAMED = re.compile(r"((?:[^=\\]|\\.)*)=(.*)")
_WRAPPER = "haproxy:"


@dataclass(frozen=True)
class _Form:
    """What fields without a name are in one kind of description, and which fields are paths."""

    positions: tuple[str, ...]
    files: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    sockets: tuple[str, ...] = ()
    """What is made only when somebody listens."""


_FORMS = {
    (Role.SERVER, "ssl"): _Form(
        ("port", "privateKey", "certKey"), ("privateKey", "certKey", "extraCertChain", "dhParameters")
    ),
    (Role.SERVER, "tls"): _Form(("path",), folders=("path",)),
    (Role.SERVER, "unix"): _Form(("address",), sockets=("address",)),
    (Role.CLIENT, "ssl"): _Form((), ("privateKey", "certKey"), ("caCertsDir",)),
    (Role.CLIENT, "tls"): _Form(
        ("host", "port", "timeout", "bindAddress", "certificate", "privateKey", "trustRoots"),
        ("certificate", "privateKey"),
        ("trustRoots",),
    ),
    (Role.CLIENT, "unix"): _Form(("path",), sockets=("path",)),
}
"""By who we are and the kind of endpoint; of other kinds we know no paths."""


def with_files(directives: Directives, directive: Directive, role: Role) -> str:
    """The endpoint description that is the directive's argument, its paths absolute.

    Raises `ConfigError` where a file cannot be read or a folder is not there, and where TLS has no certificate.
    """
    text = directive.args[0]
    wrapper = _WRAPPER if text.startswith(_WRAPPER) else ""
    kind, *fields = _FIELD.findall(text[len(wrapper) :])
    if role is Role.SERVER:
        _check_tls(directive, kind, fields)
    form = _FORMS.get((role, kind))
    if form is None:
        return text
    names = [*form.positions, *("" for _ in fields)]
    resolved = [_resolve(directives, directive, form, name, field) for name, field in zip(names, fields, strict=False)]
    return wrapper + ":".join([kind, *resolved])


def _resolve(directives: Directives, directive: Directive, form: _Form, position: str, field: str) -> str:
    """One field, absolute if it is a path; `position` is its name where it is written without."""
    named = _NAMED.fullmatch(field)
    name, value = (position, field) if named is None else (named[1], named[2])
    if name not in {*form.files, *form.folders, *form.sockets}:
        return field
    written = re.sub(r"\\(.)", r"\1", value)
    path = directives.path(written)
    if name in form.files:
        read_file(directives, replace(directive, args=(written,)))
    elif name in form.folders and not Path(path).is_dir():
        mend = "; TLS with one certificate is ssl:PORT:privateKey=FILE:certKey=FILE" if name == "path" else ""
        raise directive.error(f"there is no folder {path}{mend}")
    if path == written:
        return field
    quoted = re.sub(r"([\\:=])", r"\\\1", path)
    return quoted if named is None else f"{name}={quoted}"


def _check_tls(directive: Directive, kind: str, fields: list[str]) -> None:
    """Raise `ConfigError` for what is written as a remote's `tls:HOST:PORT`, and where TLS has no certificate.

    Twisted's own `tls:` takes a folder with the certificates of several names.
    """
    first = "".join(fields[:1])
    if kind in {"tls4", "tls6"} or (kind == "tls" and first.isdecimal()):
        number = next((field for field in reversed(fields) if field.isdecimal()), "PORT")
        raise directive.error(f"TLS at a server is written ssl:{number}:privateKey=FILE:certKey=FILE")
    names_a_key = "=" not in "".join(fields[1:2]) or any(field.startswith("privateKey=") for field in fields)
    if kind == "ssl" and (len(fields) < 2 or not names_a_key):
        raise directive.error(f"TLS needs a certificate; write ssl:{first or 'PORT'}:privateKey=FILE:certKey=FILE")
