"""Lets time pass for an event loop without waiting for it."""

import asyncio


def pass_time(seconds: float) -> None:
    """Set the running event loop's time forward, for as long as the loop lives.

    Set back, what was scheduled meanwhile would wait for longer than it meant to.
    """
    loop = asyncio.get_running_loop()
    time = loop.time
    loop.time = lambda: time() + seconds  # type: ignore[method-assign]
