"""twistd --nodaemon --pidfile= --python examples/presence/app.py; $PRESENCE_CONFIG names the configuration."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, cast

from twisted.application.service import Application
from twisted.internet import reactor
from twisted.logger import Logger

from examples.presence.server import make_presence_service
from twistvpn.config.load import load

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorCore

_log = Logger()


def _stop(why: str) -> None:
    _log.critical("{why}", why=why)
    cast("IReactorCore", reactor).stop()


application = Application("presence")
make_presence_service(reactor, load(os.environ.get("PRESENCE_CONFIG", "state/server.ini")), _stop).setServiceParent(
    application
)
