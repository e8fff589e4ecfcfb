"""What the commands share: errors of one line, and the state folder they work on."""

from __future__ import annotations

import errno
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from twistvpn.errors import TwistvpnError
from twistvpn.pki.authority import CERTIFICATE_LIFETIME
from twistvpn.pki.folder import StateFolder, holds_state

if TYPE_CHECKING:
    from collections.abc import Callable

F = TypeVar("F", bound="Callable[..., Any]")

MAX_DAYS = 3652
SYSTEM_FOLDER = Path("/etc/twistvpn")
_FOLDER = "twistvpn.folder"


class OneLineErrors(click.Group):
    """Commands whose foreseeable failures are one line on standard error and exit status 1."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except TwistvpnError as error:
            raise click.ClickException(_one_line(str(error))) from error
        except OSError as error:
            if error.errno == errno.EPIPE:  # click ends quietly when its reader has gone
                raise
            raise click.ClickException(_one_line(_os_error(error))) from error


def _os_error(error: OSError) -> str:
    text = error.strerror or str(error)
    return text if error.filename is None else f"{error.filename}: {text}"


def _one_line(text: str) -> str:
    return " ".join(text.split())


def days_option(what: str) -> Callable[[F], F]:
    """Add `--days`: how long `what` is valid."""
    return click.option(
        "--days",
        type=click.IntRange(1, MAX_DAYS),
        default=CERTIFICATE_LIFETIME.days,
        show_default=True,
        help=f"How long the {what} is valid.",
    )


def folder_option(*, envvar: str | None = None) -> Callable[[F], F]:
    """Add `--dir`: groups and commands both take it, and the innermost one given counts."""
    return click.option(
        "-d",
        "--dir",
        metavar="DIR",
        type=click.Path(path_type=Path, readable=False),
        envvar=envvar,
        expose_value=False,
        callback=_remember_folder,
        help=f"The state folder.  [default: the current one if it holds a state, or else {SYSTEM_FOLDER}]",
    )


def _remember_folder(ctx: click.Context, _param: click.Parameter, value: Path | None) -> None:
    if value is not None:
        ctx.meta[_FOLDER] = value


def open_folder(ctx: click.Context) -> StateFolder:
    """Open the state folder that the command line, the environment or the current directory names."""
    chosen: Path | None = ctx.meta.get(_FOLDER)
    if chosen is None:
        chosen = Path() if holds_state(Path()) else SYSTEM_FOLDER
    return StateFolder.open(chosen)


def now() -> datetime:
    """Tell the time, for certificates."""
    return datetime.now(timezone.utc)
