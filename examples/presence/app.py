"""twistd --nodaemon --pidfile= --python examples/presence/app.py; $PRESENCE_CONFIG names the configuration."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, cast

from twisted.application.service import Application, MultiService
from twisted.internet import reactor
from twisted.logger import Logger

from examples.presence.server import make_presence_service
from twistvpn.config.load import load
from twistvpn.errors import ConfigError, EnvironmentRefusal

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorCore

_log = Logger("presence")


def _stop(why: str) -> None:
    _log.critical("{why}", why=why)
    running = cast("IReactorCore", reactor)
    running.callWhenRunning(running.stop)


class _Presence(MultiService):
    """One line and exit status 1 in the place of a traceback where a port is taken."""

    def privilegedStartService(self) -> None:
        try:
            super().privilegedStartService()  # type: ignore[no-untyped-call]
        except EnvironmentRefusal as error:
            _log.critical("{why}", why=error)
            raise SystemExit(1) from None


application = Application("presence")
_presence = _Presence()  # type: ignore[no-untyped-call]
_presence.setServiceParent(application)  # type: ignore[no-untyped-call]
try:
    _settings = load(os.environ.get("PRESENCE_CONFIG", "state/server.ini"))
    make_presence_service(reactor, _settings, _stop).setServiceParent(_presence)
except ConfigError as error:
    raise SystemExit(f"presence: {error}") from None
