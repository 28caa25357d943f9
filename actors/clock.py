"""Time as the actors see it: injected, so that tests control it."""

from collections.abc import Callable
from typing import Protocol


class Timer(Protocol):
    """A scheduled call that can still be taken back."""

    def cancel(self) -> None: ...


class Clock(Protocol):
    """The one source of time of a host. Seconds unless a name says otherwise."""

    def monotonic(self) -> float: ...

    def epoch_ms(self) -> int: ...

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Timer:
        """Call back on the event loop once, ``delay_s`` from now."""
        ...
