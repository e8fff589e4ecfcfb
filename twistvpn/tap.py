"""`twistd vpn`: options, and the service they make."""

from __future__ import annotations

import atexit
import errno
import gc
import os
import signal
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from twisted.application.service import MultiService
from twisted.internet.error import ReactorNotRunning
from twisted.python import usage

from twistvpn.allocator import keep_freed_memory
from twistvpn.client.terminal import find_terminal
from twistvpn.config.load import load
from twistvpn.config.reread import files_read_again
from twistvpn.errors import ConfigError, EnvironmentRefusal
from twistvpn.privileges import CAP_NET_ADMIN, become, find_identity, has_capability, open_error, unreadable
from twistvpn.service import make_service
from twistvpn.status_file import hand_over_folder, hand_over_status_file
from twistvpn.verbosity import Logger, set_verb

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import FrameType

    from twistvpn.client.service import VpnClientService
    from twistvpn.config.settings import Settings
    from twistvpn.privileges import Identity
    from twistvpn.server.service import VpnServerService

_log = Logger()

_MENDS = {errno.EROFS: "; under systemd etc/twistvpn.service lets us write in /run/twistvpn and /var/lib/twistvpn"}
"""What to do about an error where something shall be written."""


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
        # At once where it runs, else as soon as it does.
        self._reactor.callWhenRunning(self._stop)

    def _stop(self) -> None:
        with suppress(ReactorNotRunning):
            self._reactor.stop()


def _exit_unsuccessfully() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)


class VpnProcessService(MultiService):
    """The VPN service as twistd runs it.

    A refusal at start is one line and exit status 1, not a traceback.  Once all is open that needs root, the process
    goes on as `identity`, if there is one.  SIGHUP is the service's `reload`, SIGUSR2 its `log_status`; SIGUSR1 is
    `reload` too unless twistd has it for the rotation of its log file.
    """

    def __init__(
        self,
        service: VpnServerService | VpnClientService,
        settings: Settings,
        reactor: Any,
        identity: Identity | None = None,
        *,
        daemon: bool = False,
        logs_to_terminal: bool = False,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._service = service
        self._settings = settings
        self._reactor = reactor
        self._identity = identity
        self._daemon = daemon
        self._logs_to_terminal = logs_to_terminal
        self._has_files = False
        self._stopping = False
        service.setServiceParent(self)  # type: ignore[no-untyped-call]

    def privilegedStartService(self) -> None:
        """Open device and ports, then become the user of the configuration."""
        try:
            super().privilegedStartService()  # type: ignore[no-untyped-call]
            self._shed_privileges()
        except (ConfigError, EnvironmentRefusal) as error:
            self._refuse(error)

    def startService(self) -> None:
        """Say what is odd in the configuration, then serve."""
        for note in self._settings.notes:
            _log.info("{note}", note=note)
        try:
            super().startService()  # type: ignore[no-untyped-call]
            # `twist` has no privileged start: there the device and the ports are open only now.
            self._shed_privileges()
        except (ConfigError, EnvironmentRefusal) as error:
            self._refuse(error)
        if not has_capability(CAP_NET_ADMIN):
            _log.warn(
                "this process has no CAP_NET_ADMIN: routes can be neither set nor taken back; "
                "in the place of twistd's --uid write user and group into the configuration, which keeps it"
            )
        self._take_signals()
        _spare_the_collector()
        # The reactor takes these two only when it runs.
        self._reactor.callLater(0, self._stop_once)

    def _shed_privileges(self) -> None:
        if self._has_files:
            return
        self._has_files = True
        identity, server = self._identity, self._settings.server
        written = _written_files(self._settings)
        _make_files(written, identity)
        if server is not None and server.port_share is not None and server.port_share.journal is not None:
            _make_journal(server.port_share.journal, identity)
        if identity is None:
            return
        become(identity)
        _log.info("going on as {who}", who=identity.described)
        # These are opened again and again while we run.
        for option, path in written.items():
            _check_access(path, os.O_WRONLY, f"{option}: {identity.described} cannot write")
        for option, path in files_read_again(self._settings):
            if error := open_error(path):
                raise EnvironmentRefusal(f"{option}: {unreadable(identity, path, error)}")
        sharing = self._settings.server and self._settings.server.port_share
        if sharing and sharing.journal and not os.access(sharing.journal, os.W_OK | os.X_OK):
            raise EnvironmentRefusal(f"port-share: {identity.described} cannot write in {sharing.journal}")

    def _take_signals(self) -> None:
        wanted: dict[signal.Signals, Callable[[], None]] = {
            signal.SIGHUP: self._service.reload,
            signal.SIGUSR1: self._service.reload,
            signal.SIGUSR2: self._service.log_status,
        }
        for number, act in wanted.items():
            # What is ignored (nohup) or taken (twistd's log rotation) stays as it is.
            if signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, partial(self._signalled, act))

    def _stop_once(self) -> None:
        """A second SIGINT or SIGTERM must not stop a reactor that is about to stop."""
        for number in (signal.SIGINT, signal.SIGTERM):
            stop = signal.getsignal(number)
            if callable(stop):
                signal.signal(number, partial(self._first_stop, stop))

    def _first_stop(self, stop: Callable[[int, FrameType | None], Any], number: int, frame: FrameType | None) -> None:
        if not self._stopping:
            self._stopping = True
            stop(number, frame)

    def _signalled(self, act: Callable[[], None], _number: int, _frame: object) -> None:
        self._reactor.callFromThread(act)

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


def _spare_the_collector() -> None:
    """Modules and classes live as long as the process: let the garbage collector pass them by from now on."""
    gc.collect()
    gc.freeze()


def _written_files(settings: Settings) -> dict[str, str]:
    """The files that are written again and again while we run, by option."""
    files = {} if settings.status is None else {"status": settings.status}
    persist = None if settings.server is None else settings.server.pool_persist
    if persist is not None and persist.interval:
        files["ifconfig-pool-persist"] = persist.path
    return files


def _make_files(paths: Mapping[str, str], identity: Identity | None) -> None:
    """See to it that the files are there, and are the user's that we become; refuse to start where they cannot be."""
    for option, path in paths.items():
        try:
            hand_over_status_file(path, *_owner(identity))
        except OSError as error:
            # A disk that is full now may have room later.
            if error.errno != errno.ENOSPC:
                mend = _MENDS.get(error.errno or 0, "")
                raise EnvironmentRefusal(f"{option}: cannot write {path}: {error.strerror}{mend}") from error


def _make_journal(journal: str, identity: Identity | None) -> None:
    """See to it that the folder is there, the user's that we become; what is there stays as it is."""
    try:
        hand_over_folder(journal, *_owner(identity))
    except OSError as error:
        mend = _MENDS.get(error.errno or 0, "")
        raise EnvironmentRefusal(f"port-share: cannot make {journal}: {error.strerror}{mend}") from error


def _owner(identity: Identity | None) -> tuple[int, int]:
    """Whose files are to be, as `os.chown` takes it."""
    if identity is None:
        return -1, -1
    return -1 if identity.uid is None else identity.uid, identity.gid


def _check_access(path: str, flags: int, refusing: str) -> None:
    try:
        os.close(os.open(path, flags | os.O_CLOEXEC))
    except OSError as error:
        raise EnvironmentRefusal(f"{refusing} {path}: {error.strerror}") from error


def _check_files(rundir: str, **paths: str | None) -> None:
    """See to it that twistd can write its files: it would answer with a traceback."""
    for option, path in paths.items():
        if not path or path == "-":
            continue
        folder = (Path(rundir).resolve() / path).parent
        if not os.access(folder, os.W_OK):
            raise SystemExit(f"twistvpn: twistd cannot write {path} in {folder}: give it another --{option}")


def makeService(options: Options) -> VpnProcessService:
    """Make the service (`twisted.application.service.IServiceMaker`)."""
    from twisted.internet import reactor

    keep_freed_memory()
    settings = options.settings
    set_verb(settings.verb)
    twistd: Mapping[str, Any] = options.parent or {
        "nodaemon": True,
        "logfile": None,
        "syslog": False,
        "pidfile": None,
        "rundir": ".",
    }
    daemon = not twistd["nodaemon"]
    try:
        identity = find_identity(settings.user, settings.group, settings.user_origin, settings.group_origin)
        # Who goes to the background has no terminal to be asked at.
        prompt = None if daemon else find_terminal(reactor)
        service = make_service(reactor, settings, _Failure(reactor), prompt=prompt)
    except ConfigError as error:
        raise SystemExit(f"twistvpn: {error}") from error
    _check_files(twistd["rundir"], pidfile=twistd["pidfile"], logfile=twistd["logfile"])
    logs_to_terminal = not daemon and twistd["logfile"] in {None, "-"} and not twistd["syslog"]
    return VpnProcessService(service, settings, reactor, identity, daemon=daemon, logs_to_terminal=logs_to_terminal)
