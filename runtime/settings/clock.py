"""The real clock, for hosts that run on an asyncio event loop."""

import asyncio
import time
from collections.abc import Callable

from populace.actors.clock import Timer


class SystemClock:
    """Implements ``Clock`` with the machine's time and the running loop's timers."""

    def monotonic(self) -> float:
        return time.monotonic()

    def epoch_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Timer:
        return asyncio.get_running_loop().call_later(delay_s, callback)
