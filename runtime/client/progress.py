"""Progress of what takes more than two seconds: on a terminal or in a notebook, else nothing."""

import contextlib
import threading
import time
from collections.abc import Callable, Generator

from populace.actors.training import JobState, TrainingJob

PATIENCE_SECONDS = 2.0
"""What ends sooner shows nothing."""

IDLE_SECONDS = 10.0
"""A training without a new step for so long is being judged, or waits for people's turns."""

Say = Callable[[str], None]


def training_phase(state: JobState | str, *, has_stepped: bool, idle_s: float) -> str:
    """Name what an open training is doing; ``idle_s`` are the seconds since its last step."""
    match state:
        case "waiting":
            return "waiting for the trainer"
        case "running" if not has_stepped:
            return "reading the log"
        case "running":
            return "learning" if idle_s < IDLE_SECONDS else "being judged, or waiting for turns"
        case "promoting":
            return "loading the new revision"
        case _:
            return state


class TrainingProgress:
    """Says how far a training is, each time it is told of the job."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._step, self._since = 0, time.monotonic()

    def __call__(self, job: TrainingJob) -> None:
        now, progress = time.monotonic(), job.progress
        if progress.step != self._step:
            self._step, self._since = progress.step, now
        phase = training_phase(job.state, has_stepped=progress.step > 0, idle_s=now - self._since)
        steps = f", step {progress.step} of at most {progress.steps}" if progress.step else ""
        loss = "" if progress.loss is None else f", loss {progress.loss:.3f}"
        self._say(f"Training {job.model.name}: {phase}{steps}{loss}")


@contextlib.contextmanager
def shown(doing: str) -> Generator[Say]:
    """Show on standard error what is done, once it has taken two seconds; yields what changes the words."""
    # What this imports loads where it may be shown.
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    if not (console.is_terminal or console.is_jupyter):
        yield lambda _: None
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    display = Progress(*columns, console=console, transient=True)
    task = display.add_task(doing, total=None)
    begin = threading.Timer(PATIENCE_SECONDS, display.start)
    begin.daemon = True
    begin.start()
    try:
        yield lambda words: display.update(task, description=words)
    finally:
        begin.cancel()
        begin.join()
        display.stop()
