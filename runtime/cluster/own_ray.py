# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# Ray's API is partly untyped.
"""Whether the Ray that this process started still runs.

Ray restarts what runs in it, and never itself: its raylet ends when one of its agents does, and takes all
actors along. What started it has to end then, so that whoever supervises it starts it again.
"""

import time
from typing import Any

from ray._private import worker

LOOK_SECONDS = 0.5
NEEDED = ("gcs_server", "raylet")
"""The processes of Ray without which no actor runs. Its dashboard, its monitors of logs and load may end."""


def ended_process() -> str | None:
    """Return which of the needed processes has ended; None if they run, or another Ray was joined."""
    node: Any = worker._global_node
    ended = set() if node is None else {kind for kind, _ in node.dead_processes()}
    return next((kind for kind in NEEDED if kind in ended), None)


def wait_until_ended() -> str:
    """Wait, for ever if another Ray was joined, until a needed process has ended, and return which one."""
    while (kind := ended_process()) is None:
        time.sleep(LOOK_SECONDS)
    return kind
