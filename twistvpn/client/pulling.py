"""What a client pulls: it asks its server for options until they come, and puts together what is pushed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twistvpn.control.push import MAX_PUSHED, PushedOptions, filter_pushed, parse_pushed
from twistvpn.control.push_update import PendingUpdate
from twistvpn.errors import PushRejected
from twistvpn.link.connections import cancel
from twistvpn.wire.messages import MORE_FOLLOWS, PushReply, PushRequest, PushUpdate, encode_message

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from twisted.internet.interfaces import IDelayedCall, IReactorTime

    from twistvpn.client.lookup import PulledNames
    from twistvpn.config.settings import Settings

PUSH_REQUEST_INTERVAL = 5.0
"""Seconds between two requests, as stock clients ask."""


class Pull:
    """One connection's.

    `say` sends a control message; `on_silence` is called once the server has had its time.  `names` looks up those that
    `allow-pull-fqdn` lets the server push.
    """

    def __init__(
        self,
        settings: Settings,
        clock: IReactorTime,
        say: Callable[[str], None],
        on_silence: Callable[[], None],
        names: PulledNames | None,
    ) -> None:
        assert settings.client is not None
        self.ignored: list[str] = []
        """Options of the last update that may be ignored and were."""
        self._settings = settings
        self._client = settings.client
        self._clock = clock
        self._say = say
        self._on_silence = on_silence
        self._names = names
        self._timer: IDelayedCall | None = None
        self._began = self._give_up_at = 0.0
        self._options: list[str] = []
        self._update: PendingUpdate | None = None

    # Asking

    def begin(self) -> None:
        """Ask from now on, for as long as `hand-window` lets the server be silent."""
        self._began = self._clock.seconds()
        self._give_up_at = self._began + self._settings.control.hand_window
        # Not at once: a server that need not be asked may have sent them together with its key.
        self._timer = self._clock.callLater(0, self._ask)

    def be_patient(self, timeout: int | None) -> float:
        """Wait as long as the server asks for, within what stock clients allow; returns the seconds of it."""
        control = self._settings.control
        wait = min(timeout or control.hand_window, max(control.reneg_sec / 2, control.hand_window))
        self._give_up_at = self._began + wait
        return wait

    def stop(self) -> None:
        """Ask no more, and look nothing up."""
        if self._names is not None:
            self._names.cancel()
        cancel(self._timer)
        self._timer = None

    def _ask(self) -> None:
        if self._clock.seconds() >= self._give_up_at:
            self._on_silence()
            return
        self._say(encode_message(PushRequest()))
        self._timer = self._clock.callLater(PUSH_REQUEST_INTERVAL, self._ask)

    # What comes

    @property
    def is_looking(self) -> bool:
        """Whether names are being looked up."""
        return self._names is not None and self._names.is_looking

    def replied(self, reply: PushReply) -> list[str] | None:
        """Take a PUSH_REPLY; returns the options that are wanted once all parts of it are there.

        Raises `PushRejected`.
        """
        self._options += reply.options
        if sum(map(len, self._options)) > MAX_PUSHED:
            raise PushRejected("the server pushes without end")
        if reply.continuation == MORE_FOLLOWS:
            return None
        self.stop()
        return filter_pushed(self._options, self._client.pull_filters)

    def updated(self, message: PushUpdate) -> list[str] | None:
        """Take a PUSH_UPDATE; returns all options that are wanted once all parts of it are there.

        Raises `NegotiationError` for an update that cannot be followed.
        """
        update = self._update or PendingUpdate(self._options)
        self._update = update if message.continuation == MORE_FOLLOWS else None
        update.take(message.options)
        if self._update is not None:
            return None
        wanted = filter_pushed(update.options, self._client.pull_filters)
        self._options, self.ignored = update.options, update.ignored
        return wanted

    def with_addresses(self, options: Sequence[str], then: Callable[[Sequence[str]], None]) -> None:
        """Call `then` with the options, once the names have been looked up that may be among them."""
        if self._names is None:
            then(options)
        else:
            self._names.replace(options, then)

    def read(self, options: Sequence[str]) -> PushedOptions:
        """What the options mean, those of the client's own among them.  Raises `NegotiationError`."""
        options = (*self._client.own_options, *options)
        return parse_pushed(options, self._settings.device.dev_type, self._client.topology)
