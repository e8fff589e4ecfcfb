"""`twistd vpn`: options, and the service they make."""

from __future__ import annotations

import atexit
import os
import sys
from typing import TYPE_CHECKING, Any, ClassVar

from twisted.application.service import MultiService
from twisted.logger import Logger
from twisted.python import usage

from twistvpn.config.load import load
from twistvpn.errors import ConfigError, EnvironmentRefusal
from twistvpn.service import make_service

if TYPE_CHECKING:
    from twistvpn.client.service import VpnClientService
    from twistvpn.config.settings import Settings
    from twistvpn.server.service import VpnServerService

_log = Logger()


class Options(usage.Options):
    """The command line of `twistd vpn`."""

    synopsis = "--config FILE"
    longdesc = "Run an OpenVPN server or client, whichever the configuration describes."
    optParameters: ClassVar = [["config", "c", None, "Configuration: our INI or OpenVPN's own syntax"]]

    settings: Settings

    def postOptions(self) -> None:
        """Read the configuration now, while its author is watching."""
        if self["config"] is None:
            raise usage.UsageError("--config FILE is missing: name a server.ini, server.conf or client.ovpn")
        try:
            self.settings = load(self["config"])
        except ConfigError as error:
            # Not a UsageError: the one line that matters would stand below a page of help.
            raise SystemExit(f"twistvpn: {error}") from error


class _Failure:
    """How this process ends when the service cannot go on: reactor stopped, exit status 1."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor

    def __call__(self, reason: str) -> None:
        _log.critical("twistvpn: {reason}", reason=reason)
        # twistd ends with status 0 whatever happened in the reactor; this is the last thing that runs.
        atexit.register(_exit_unsuccessfully)
        if self._reactor.running:
            self._reactor.stop()


def _exit_unsuccessfully() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)


class VpnProcessService(MultiService):
    """The VPN service as twistd runs it: a refusal at start is one line and exit status 1, not a traceback."""

    def __init__(
        self,
        service: VpnServerService | VpnClientService,
        settings: Settings,
        *,
        daemon: bool = False,
        logs_to_terminal: bool = False,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._settings = settings
        self._daemon = daemon
        self._logs_to_terminal = logs_to_terminal
        service.setServiceParent(self)  # type: ignore[no-untyped-call]

    def privilegedStartService(self) -> None:
        """Open device and ports."""
        try:
            super().privilegedStartService()  # type: ignore[no-untyped-call]
        except (ConfigError, EnvironmentRefusal) as error:
            self._refuse(error)

    def startService(self) -> None:
        """Say what is odd in the configuration, then serve."""
        for note in self._settings.notes:
            _log.info("{note}", note=note)
        try:
            super().startService()  # type: ignore[no-untyped-call]
        except (ConfigError, EnvironmentRefusal) as error:
            self._refuse(error)

    def _refuse(self, error: Exception) -> None:
        _log.critical("twistvpn: {error}", error=error)
        if self._daemon:
            # twistd hands an Exception on to the process that waits for the daemon to come up; the log needs no
            # traceback of it.
            sys.tracebacklimit = 0
            raise error from None
        if sys.__stderr__ is not None and not self._logs_to_terminal:
            sys.__stderr__.write(f"twistvpn: {error}\n")
        raise SystemExit(1) from None


def makeService(options: Options) -> VpnProcessService:
    """Make the service (`twisted.application.service.IServiceMaker`)."""
    from twisted.internet import reactor

    try:
        service = make_service(reactor, options.settings, _Failure(reactor))
    except ConfigError as error:
        raise SystemExit(f"twistvpn: {error}") from error
    twistd = options.parent or {"nodaemon": True, "logfile": None, "syslog": False}
    daemon = not twistd["nodaemon"]
    logs_to_terminal = not daemon and twistd["logfile"] in {None, "-"} and not twistd["syslog"]
    return VpnProcessService(service, options.settings, daemon=daemon, logs_to_terminal=logs_to_terminal)
